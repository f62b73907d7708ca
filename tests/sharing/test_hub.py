"""Pushing: what arrives at a server that speaks the hub's protocol, and what is said when one does not want it."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from command import forked, hasama, refused, run_code
from hasama.cli.app import main
from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, save_generator
from hasama.networks.registry import build
from hasama.pictures.report import Report
from hasama.presets import RECIPES
from hasama.runs.folder import Run
from hasama.sharing import hub

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")

TOKEN = "hf_aTokenOnlyForThisTest"
LARGE = (".safetensors", ".png")  # which a hub wants by LFS


class Stub(ThreadingHTTPServer):
    """A small hub. It keeps what it is sent, and refuses as `refuse` says: the end of a path -> (status, reason)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[tuple[str, str, str | None]] = []
        self.created: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.commits: list[dict[str, bytes]] = []
        self.messages: list[str] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.public = False


class Answer(BaseHTTPRequestHandler):
    """One request to it."""

    server: Stub  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.note(b"")
        if self.server.created and self.path.partition("?")[0] == "/api/models/maria/cats":
            self.answer({"_id": "1", "id": "maria/cats", "private": not self.server.public, "siblings": []})
        else:
            self.answer({"error": "Not found"}, 404)

    def do_PUT(self) -> None:
        body = self.body()
        if not self.note(body):
            digest = hashlib.sha256(body).hexdigest()
            assert self.path == f"/storage/{digest}"
            self.server.objects[digest] = body
            self.answer({})

    def do_POST(self) -> None:
        body = self.body()
        if self.note(body):
            return
        if "/commit/" in self.path:
            self.answer(self.commit(body))
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            there = {"url": f"{self.server.address}/maria/cats"}
            again = len(self.server.created) > 1
            self.answer({**there, "error": "You already created it"} if again else there, 409 if again else 200)
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "lfs" if n.endswith(LARGE) else "regular"} for n in names]
            self.answer({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            where = f"{self.server.address}/storage/"
            self.answer({"objects": [{**o, "actions": {"upload": {"href": where + o["oid"]}}} for o in objects]})
        else:
            assert self.path == "/api/validate-yaml"
            self.answer({"warnings": [{"message": "empty"}], "errors": []})

    def commit(self, body: bytes) -> dict[str, str]:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            else:
                self.server.messages.append(value["summary"])
        self.server.commits.append(files)
        return {"commitUrl": f"{self.server.address}/maria/cats/commit/1", "commitOid": "1" * 40}

    def note(self, body: bytes) -> bool:
        """Write it down; whether it was refused."""
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        for end, (status, reason) in self.server.refuse.items():
            if self.path.endswith(end):
                self.answer({"error": reason}, status)
                return True
        return False

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, value: dict[str, Any], status: int = 200) -> None:
        told = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, as training leaves it."""
    place = Run(tmp_path_factory.mktemp("pushed") / "cats")
    recipe = RECIPES["dcgan"].but(size="16", width=4, latent_size=6)
    place.create(recipe, Report("folder", 5, 4, (16, 16), 3, "crop", "key"), "/home/maria-the-private/photos")
    place.append_log({"images_seen": 2000})
    save_generator(TrainedGenerator(build(recipe, 3).generator, recipe, 6, 3), place.generator)
    return place.folder


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's token, settings or proxies; none reaches a real hub."""
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", nobody_listens())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)  # as somebody may have imported it
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command in this process, with a token; what it says on standard error as one line."""

    def pushed(*words: object, to: str | None = None, token: str = TOKEN) -> str:
        monkeypatch.setattr(sys, "argv", ["hasama", "push", *map(str, words), "--token", token])
        if to is not None:
            monkeypatch.setenv("HF_ENDPOINT", to)
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", to)  # as in a process of its own
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr().err
        assert (ended.value.code or 0) == (2 if told else 0), told
        assert len(told.splitlines()) <= 1
        assert TOKEN not in told
        return told

    return pushed


# --- what arrives ---------------------------------------------------------------------------------


def test_everything_arrives_in_one_commit(run: Path, stub: Stub):
    done = hasama(
        "push", run, "maria/cats", "--private", "--license", "mit", HF_ENDPOINT=stub.address, HF_TOKEN=TOKEN
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Uploading to maria/cats ...\nIt is at {stub.address}/maria/cats\n"

    (files,) = stub.commits
    assert set(files) == {"generator.safetensors", "README.md", "samples.png"}
    assert files["generator.safetensors"] == Run(run).generator.read_bytes()
    assert files["samples.png"].startswith(b"\x89PNG")
    _, front, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "mit"
    assert "# cats\n" in text
    assert "hf download maria/cats generator.safetensors --local-dir ." in text
    assert "4 pictures (photos)" in text
    assert "maria-the-private" not in text
    assert stub.messages[0].startswith("dcgan, 16x16, by Hasama ")

    (created,) = stub.created
    assert (created["organization"], created["name"]) == ("maria", "cats")
    assert created.get("visibility") == "private" or created.get("private") is True
    assert stub.seen[0][1] == "/api/repos/create"
    told = [sent for _, path, sent in stub.seen if not path.startswith("/storage/")]
    assert told == [f"Bearer {TOKEN}"] * len(told)
    stored = [sent for _, path, sent in stub.seen if path.startswith("/storage/")]
    assert stored == [None, None]  # the storage is another server's: it is not told the token


def test_what_is_to_be_private_is_not_sent_where_all_can_see_it(run: Path, stub: Stub):
    """The repository is there already, and public: --private is for one that is made now."""
    stub.public = True
    done = hasama("push", run, "maria/cats", "--private", HF_ENDPOINT=stub.address, HF_TOKEN=TOKEN)
    refused(done, "maria/cats is there already, and public: nothing was sent")
    assert stub.commits == []
    done = hasama("push", run, "maria/cats", HF_ENDPOINT=stub.address, HF_TOKEN=TOKEN)
    assert (done.returncode, len(stub.commits)) == (0, 1)


def test_a_second_push_replaces_the_first(run: Path, stub: Stub, push):
    assert push(run, "maria/cats", to=stub.address) == ""
    assert push(run, "maria/cats", to=stub.address) == ""
    assert len(stub.commits) == 2
    assert "visibility" not in stub.created[0]


def test_a_generator_alone_is_pushed(run: Path, stub: Stub, push):
    assert push(Run(run).generator, "maria/cats", to=stub.address) == ""
    assert b"exported from the file alone" in stub.commits[0]["README.md"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("/repos/create", 401, "does not know this token (401: Because."),
        ("/repos/create", 403, "may not write to maria/cats (403: Because."),
        ("/preupload/main", 403, "may not write to maria/cats (403: Because."),
        ("/commit/main", 403, "may not write to maria/cats (403: Because."),
        ("/repos/create", 400, "refused the upload to maria/cats (400: Because."),
        ("/objects/batch", 413, "refused the upload to maria/cats (413: Because."),
    ],
)
def test_a_refusal_is_told_with_its_reason(end: str, status: int, words: str, run: Path, stub: Stub, push):
    stub.refuse = {end: (status, "Because.\nIt is so.")}
    told = push(run, "maria/cats", to=stub.address)
    assert words in told
    assert (f"{stub.address}/settings/tokens" in told) == (status in (401, 403))
    assert ("hf auth login" in told) == (status in (401, 403))
    assert stub.commits == []


def test_a_refused_file_is_told(run: Path, stub: Stub, push, monkeypatch: pytest.MonkeyPatch):
    digest = hashlib.sha256(Run(run).generator.read_bytes()).hexdigest()
    stub.refuse = {f"/storage/{digest}": (403, "Expired.")}
    assert "(403: " in push(run, "maria/cats", to=stub.address)
    assert stub.commits == []


def test_a_card_that_the_hub_refuses_is_told(run: Path, stub: Stub, push):
    stub.refuse = {"/validate-yaml": (400, "no")}
    told = push(run, "maria/cats", "--license", "my-own", to=stub.address)
    assert "The hub does not accept the model card (is --license one that it knows?)" in told


def test_a_server_that_is_no_hub_is_told(run: Path, stub: Stub, push, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Answer, "do_POST", lambda self: self.body() and self.answer({"welcome": "log in here"}))
    assert "does not answer as a hub would" in push(run, "maria/cats", to=stub.address)


def test_nobody_listens(run: Path, push):
    address = nobody_listens()
    done = hasama("push", run, "maria/cats", HF_ENDPOINT=address, HF_TOKEN=TOKEN)
    refused(done, f"{address} cannot be reached", "check the network", "maria/cats is as it was")
    assert len(done.stderr.splitlines()) == 1
    began = time.monotonic()  # without the start of a process, which on a busy machine takes what it takes
    assert "cannot be reached" in push(run, "maria/cats", to=address)
    assert time.monotonic() - began < 10


def test_a_server_that_says_nothing_is_not_waited_for(run: Path, push, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "TIMEOUTS", (1.0, 1.0, 1.0, 1.0))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        began = time.monotonic()
        told = push(run, "maria/cats", to=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "cannot be reached" in told
    assert time.monotonic() - began < 10


# --- before any work ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["cats", "", "/", "maria/", "/cats", "a/b/c", "maria/my cats", "maria/-cats", "maria/cats.git", "maria/ca--ts",
     "maria/ca..ts", "märia/cats", "maria/cats\n", "../cats", "https://hub.example.org/maria/cats",
     "maria/" + 97 * "c"],
)  # fmt: skip
def test_a_wrong_name_is_refused(name: str):
    with pytest.raises(HasamaError, match=r"user/name|cannot be a repository"):
        hub.check_repository(name)


@pytest.mark.parametrize("name", ["maria/cats", "A/b", "my-org_1/Cats.v2-64px", "maria/" + 96 * "c"])
def test_a_right_name_is_not(name: str):
    hub.check_repository(name)


def test_wrong_input_is_told_before_anything_is_sent(run: Path, tmp_path: Path, stub: Stub, push):
    assert "user/name" in push(tmp_path / "nothing", "cats", to=stub.address)
    assert "There is no generator at" in push(tmp_path / "nothing", "maria/cats", to=stub.address)
    assert "--license takes" in push(run, "maria/cats", "--license", "no licence", to=stub.address)
    assert "signs that no token has" in push(run, "maria/cats", to=stub.address, token="hf_with a space")
    assert stub.seen == []


@pytest.mark.parametrize("address", ["hub.example.org", "ftp://x", "http://", "http://[", "http://x:port"])
def test_an_endpoint_that_is_no_address_is_told(address: str, run: Path, push):
    assert "HF_ENDPOINT must be an address such as" in push(run, "maria/cats", to=address)


def test_without_a_token_it_says_how_to_get_one(run: Path, stub: Stub):
    done = hasama("push", run, "maria/cats", HF_ENDPOINT=stub.address)
    refused(done, "Pushing needs a token", f"{stub.address}/settings/tokens", "hf auth login", "HF_TOKEN", "--token")
    assert stub.seen == []


def test_the_saved_token_is_used(run: Path, stub: Stub, tmp_path: Path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_saved\n")
    done = forked(run_code, "from hasama.sharing.hub import open_hub; print(open_hub())")
    assert "token='hf_saved'" in done.stdout


def test_without_the_extra_it_says_so_and_does_not_load_torch(run: Path):
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; sys.argv = ['hasama', 'push', 'x', 'maria/cats']\n"
        "from hasama.cli.app import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    told = "hasama: Pushing needs the package huggingface_hub: install it with  pip install 'hasama[hub]'\n"
    assert done.stderr == told
