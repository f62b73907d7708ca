"""Shards on a server of this machine: fetched, kept, checked, tried again; and a server that is gone is told."""

import http.server
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hasama.errors import HasamaError
from hasama.pictures.cache import NEAR, Reading, open_cached
from hasama.pictures.dataset import Pictures, batches, hold_out
from hasama.pictures.decoding import Form
from hasama.pictures.shards import fetching
from hasama.pictures.shards.index import Tar
from hasama.pictures.shards.writing import write_shards
from hasama.pictures.sources.sources import open_source
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.session import resume, train
from hasama.tuning import survey

COUNT, SHARDS = 160, 8


class Server(http.server.ThreadingHTTPServer):
    """Gives the files of a folder, unless `answers` has something else for a name; remembers what was asked."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked = folder, list[str]()
        self.answers: dict[str, list[Callable[[Handler], None]]] = {}
        self.address = f"http://127.0.0.1:{self.server_port}/data"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.close_connection = True
        name = self.path.removeprefix("/data/")
        self.server.asked.append(name)
        if answers := self.server.answers.get(name):
            answers.pop(0)(self)
        elif (file := self.server.folder / name).is_file():
            self.give(file.read_bytes())
        else:
            self.send_error(404)

    def give(self, body: bytes, claimed: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards of 20 pictures."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HASAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
    place = tmp_path_factory.mktemp("served")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), np.uint8)
    np.savez(place / "p.npz", images=pixels, labels=np.arange(COUNT) % 3)
    pictures = opened(str(place / "p.npz"), False)
    deque(write_shards(pictures, place / "shards", 0.085), maxlen=0)
    patch.undo()
    assert len(list((place / "shards").glob("*.tar"))) == SHARDS
    return place / "shards"


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "WAITS", (0.01, 0.01, 0.01))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(folder)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def opened(source: str, streamed: bool | None = True, form: Form | None = None) -> Pictures:
    reading = Reading(source, form or Form((16, 16), labels=True), streamed)
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


def drawn(pictures: Pictures, count: int, rank: int = 0, world: int = 1) -> np.ndarray:
    shown = itertools.islice(batches(pictures, 16, 0, 0, False, "cpu", rank, world), count)
    return np.concatenate([images.numpy() for images, _ in shown])


def tars(asked: list[str]) -> list[str]:
    return sorted(name for name in asked if name.endswith(".tar"))


def test_from_a_server_come_the_same_batches_and_each_shard_once(server: Server, folder: Path):
    there, here = opened(f"{server.address}/shards.json"), opened(str(folder))
    assert tars(server.asked) == []
    np.testing.assert_array_equal(drawn(there, 30), drawn(here, 30))
    assert tars(server.asked) == sorted(path.name for path in folder.glob("*.tar"))
    np.testing.assert_array_equal(there.labels, here.labels)  # type: ignore[arg-type]
    assert there.classes == here.classes == ("0", "1", "2")


def test_a_process_fetches_only_its_shards(server: Server):
    asked = []
    for rank in range(4):
        server.asked.clear()
        for path in fetched(server):
            path.unlink()
        drawn(opened(f"{server.address}/shards.json"), 15, rank, 4)
        asked.append(tars(server.asked))
    assert [len(one) for one in asked] == [2, 2, 2, 2]
    assert len(set().union(*map(set, asked))) == SHARDS


def fetched(server: Server) -> list[Path]:
    """The shards in this test's cache."""
    from hasama.pictures.sources.download import cache_folder

    return list((cache_folder() / "shards").glob("*.tar"))


def test_cached_from_a_server(server: Server, folder: Path):
    there, here = opened(f"{server.address}/shards.json", None), opened(str(folder), None)
    assert not there.report.streamed
    assert there.report.digest == here.report.digest


@pytest.mark.parametrize("pattern", ["shard-{000000..000007}.tar", "shard-00000{0,1,2,3,4,5,6,7}.tar"])
def test_tars_of_other_people_on_a_server(server: Server, folder: Path, pattern: str):
    pictures = opened(f"{server.address}/{pattern}")
    assert tars(server.asked) == sorted(path.name for path in folder.glob("*.tar")), "each is listed once"
    here = opened(str(folder))
    np.testing.assert_array_equal(pictures.take(np.arange(COUNT)), here.take(np.arange(COUNT)))
    np.testing.assert_array_equal(pictures.labels, here.labels)  # type: ignore[arg-type]
    opened(f"{server.address}/{pattern}", form=Form((8, 8)))
    assert len(tars(server.asked)) == SHARDS, "and is then known, and kept"


def test_processes_that_start_together_list_them_once(server: Server):
    pattern = f"{server.address}/shard-{{000000..000007}}.tar"
    threads = [threading.Thread(target=open_source, args=(pattern,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tars(server.asked)) == SHARDS


@pytest.mark.parametrize("looks", ["headers", "scan"])
def test_nobody_waits_for_a_shard_that_nobody_wants(
    server: Server, folder: Path, tmp_path: Path, looks: str, monkeypatch: pytest.MonkeyPatch
):
    """The next one is asked for ahead; when what is wanted has been read, it is broken off."""
    listed = json.loads((folder / "shards.json").read_text())
    first, second = listed["shards"][:2]
    first["labels"], second["labels"], second["bytes"] = [0] * first["count"], [1] * second["count"], 10**9
    (tmp_path / "shards.json").write_text(json.dumps(listed | {"shards": [first, second]}))
    (tmp_path / first["name"]).write_bytes((folder / first["name"]).read_bytes())
    begun, gone = threading.Event(), threading.Event()

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        begun.set()
        try:
            for _ in range(400):
                handler.wfile.write(bytes(2**20))
                time.sleep(0.02)
        except OSError:
            gone.set()

    monkeypatch.setattr(server, "folder", tmp_path)
    server.answers[second["name"]] = [endless]
    if looks == "scan":
        form = Form((16, 16), only=listed["classes"][0])
        assert len(opened(f"{server.address}/shards.json", False, form)) == first["count"]
    else:
        monkeypatch.setattr(survey, "HEADERS_MOST", 5)
        found = survey.read_headers(open_source(f"{server.address}/shards.json"))
        assert found is not None
        assert (found.width, found.height) == (16, 16)
    assert not begun.wait(1) or gone.wait(5)


def test_a_failing_request_is_tried_again(server: Server, folder: Path):
    name, data = "shard-000003.tar", (folder / "shard-000003.tar").read_bytes()
    server.answers[name] = [
        lambda handler: handler.send_error(503),
        lambda handler: handler.give(data[:1000], claimed=len(data)),
        lambda handler: handler.connection.close(),
    ]
    np.testing.assert_array_equal(drawn(opened(f"{server.address}/shards.json"), 12), drawn(opened(str(folder)), 12))
    assert server.asked.count(name) == 4


def test_a_server_that_was_away_when_nobody_needed_it_yet(server: Server, folder: Path, own_cache: Path):
    tar = open_source(str(folder)).shards.shards[2].tar  # type: ignore[union-attr]
    tar = tar._replace(place=f"{server.address}/{tar.name}")
    server.answers[tar.name] = [lambda handler: handler.send_error(503)] * 4
    shards = fetching.Fetched(own_cache / "shards")
    shards.ask([tar])
    end = time.monotonic() + 20
    while server.answers[tar.name] or not shards._future(tar).done():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert shards.get(tar).read(0, 9) == (folder / tar.name).read_bytes()[:9]


def test_the_list_is_tried_again_too(server: Server):
    server.answers["shards.json"] = [lambda handler: handler.send_error(500)]
    assert len(opened(f"{server.address}/shards.json")) == COUNT


def test_another_file_than_the_list_says_is_refused(server: Server, folder: Path):
    data = (folder / "shard-000005.tar").read_bytes()
    wrong = bytes([data[600] ^ 1]).join([data[:600], data[601:]])
    pictures = opened(f"{server.address}/shards.json")
    for body in (wrong, data + b"x", data[:-512]):
        server.answers["shard-000005.tar"] = [lambda handler, body=body: handler.give(body)] * 99
        with pytest.raises(
            HasamaError, match=r"shard-000005\.tar is not the file that it should be.*Nothing was kept"
        ):
            drawn(pictures, 12)
    server.answers = {}
    np.testing.assert_array_equal(drawn(pictures, 3), drawn(opened(str(folder)), 3))


@pytest.mark.parametrize(("code", "attempts"), [(404, 1), (403, 1), (503, 4)])
def test_what_the_server_answers_is_told(server: Server, own_cache: Path, code: int, attempts: int):
    pictures = opened(f"{server.address}/shards.json")
    server.answers["shard-000000.tar"] = [lambda handler: handler.send_error(code)] * 99
    told = rf"Cannot fetch .*shard-000000\.tar: the server answers {code}"
    with pytest.raises(HasamaError, match=told):
        fetching.fetch(Tar(f"{server.address}/shard-000000.tar", 0), own_cache / "shards")
    assert server.asked.count("shard-000000.tar") == attempts
    with pytest.raises(HasamaError, match=told):
        drawn(pictures, 9)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_server_that_is_not_there(server: Server, streamed: bool, folder: Path, monkeypatch: pytest.MonkeyPatch):
    address = f"{server.address}/shards.json"
    reading = Reading(address, Form((16, 16)), streamed)
    server.shutdown()
    server.server_close()

    def read() -> None:
        deque(reading.scan(), maxlen=0)
        drawn(reading.pictures(), 1)

    with pytest.raises(HasamaError, match=r"Cannot fetch .*refused.* \(4 attempts\)"):
        read()
    with pytest.raises(HasamaError, match=r"Cannot fetch .*shards\.json"):
        Reading(address, Form((16, 16)))


def test_shards_take_no_more_room_than_they_may(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch):
    size = max(path.stat().st_size for path in folder.glob("*.tar"))
    monkeypatch.setenv("HASAMA_SHARDS_GB", str(3.5 * size / 1e9))
    np.testing.assert_array_equal(drawn(opened(f"{server.address}/shards.json"), 40), drawn(opened(str(folder)), 40))
    assert 1 <= len(fetched(server)) <= 3
    assert len(tars(server.asked)) >= SHARDS


def test_samples_are_drawn_from_the_first_shards(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hasama.pictures.cache.NEAR", 50)
    assert NEAR > 8192 + 256, "what the health's looks need"
    pictures = opened(f"{server.address}/shards.json")
    assert (len(pictures), pictures.at_hand) == (COUNT, 60)
    assert opened(str(folder)).at_hand == COUNT
    training, held = hold_out(pictures, 0.2, 0)
    assert held is not None
    assert (training.at_hand, len(held), held.at_hand) == (28, 32, 32)
    held.take(np.arange(32))
    training.take(np.arange(28))
    assert len(tars(server.asked)) == 3


# --- in a training --------------------------------------------------------------------------------

TINY = Recipe(size="16", width=4, latent_size=8, batch=16, kimg=0.64, sample_kimg=100, precision="fp32", labels=True)


def test_a_server_that_goes_while_training_leaves_a_run_that_goes_on_exactly(
    server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HASAMA_STREAM_GB", "0")
    address = f"{server.address}/shards.json"
    monkeypatch.setattr("hasama.pictures.cache.NEAR", 30)
    recipe = TINY.but(batch=2, kimg=0.1)  # two lanes of four shards, of which two each are here at once
    deque(train(address, recipe, tmp_path / "whole"), maxlen=0)
    for path in fetched(server):
        path.unlink()
    gone = server.answers | {f"shard-{n:06d}.tar": [lambda handler: handler.send_error(502)] * 99 for n in range(8)}

    steps = train(address, recipe, tmp_path / "run")
    for _ in range(2):
        next(steps)
    server.answers = gone
    for path in fetched(server):
        path.unlink()
    with pytest.raises(HasamaError, match=r"Cannot fetch .*502.* The run stands at 0\.\d+ kimg:  hasama resume"):
        deque(steps, maxlen=0)
    stands = Run(tmp_path / "run").images_seen()
    assert 4 <= stands < 100
    server.answers = {}
    monkeypatch.setenv("HASAMA_STREAM_GB", "16")  # a run goes on as it began
    deque(resume(tmp_path / "run"), maxlen=0)
    one, other = (tmp_path / name / "generator.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    assert json.loads((tmp_path / "run/images.json").read_text())["streamed"] == SHARDS


def test_a_run_finds_its_shards_without_the_cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HASAMA_STREAM_GB", "0")
    address = f"{server.address}/shards.json"
    deque(train(address, TINY.but(kimg=0.16), tmp_path / "run"), maxlen=0)
    digest = Run(tmp_path / "run").images()["digest"]
    monkeypatch.setenv("HASAMA_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("HASAMA_STREAM_GB")
    assert open_cached(Run(tmp_path / "run").images()["key"]) is None
    deque(train(address, TINY.but(kimg=0.32), tmp_path / "run"), maxlen=0)
    assert Run(tmp_path / "run").images_seen() == 320
    assert Run(tmp_path / "run").images()["digest"] == digest


def test_listing_goes_on_where_it_was_broken_off(server: Server):
    """What was fetched for it is not fetched again."""
    pattern = f"{server.address}/shard-{{000000..000007}}.tar"
    server.answers["shard-000005.tar"] = [lambda handler: handler.send_error(403)]
    with pytest.raises(HasamaError):
        opened(pattern)
    first = tars(server.asked)
    assert len(first) >= 6
    opened(pattern)
    assert sorted(set(tars(server.asked))) == [f"shard-{number:06}.tar" for number in range(SHARDS)]
    assert tars(server.asked).count("shard-000000.tar") == 1


@pytest.mark.parametrize("body", [b"<html>come back later</html>" * 99, b""])
def test_what_a_server_gave_in_place_of_a_tar_is_fetched_again(server: Server, folder: Path, body: bytes):
    whole = (folder / "shard-000000.tar").read_bytes()
    server.answers["shard-000000.tar"] = [lambda handler: handler.give(body or whole[:5000])]
    with pytest.raises(HasamaError):
        opened(f"{server.address}/shard-000000.tar")
    assert len(opened(f"{server.address}/shard-000000.tar")) == 20


def test_parts_of_killed_downloads_go(server: Server):
    opened(f"{server.address}/shards.json", False)
    one = fetched(server)[0]
    left = one.with_name(f".{one.name}.ab12cd34.tar")
    left.write_bytes(b"half")
    one.unlink()
    opened(f"{server.address}/shards.json", False, Form((8, 8), labels=True))
    assert one.exists()
    assert not left.exists()


def test_no_room_for_a_shard_is_no_fault_of_its_pictures(server: Server, monkeypatch: pytest.MonkeyPatch):
    """It is told, and nothing is kept of it."""
    monkeypatch.setenv("HASAMA_SHARDS_GB", "50GB")
    with pytest.raises(HasamaError, match="HASAMA_SHARDS_GB"):
        opened(f"{server.address}/shards.json", False)
    monkeypatch.delenv("HASAMA_SHARDS_GB")
    assert len(opened(f"{server.address}/shards.json", False)) == COUNT
