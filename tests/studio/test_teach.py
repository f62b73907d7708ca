"""Teaching and the camera in the studio without a browser: what is begun, gone on with, painted and refused."""

import io
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient  # noqa: E402

from easel import hasama_here, lay_out, style_scene  # noqa: E402
from hasama.studio.app import make_studio  # noqa: E402
from hasama.studio.jobs import Job, Jobs  # noqa: E402
from hasama.studio.pages.camera import LARGEST_FRAME  # noqa: E402
from hasama.studio.pages.page import Studio  # noqa: E402
from hasama.studio.pages.teach import known_networks, network_named  # noqa: E402
from hasama.style.painters.teach_folder import TeachFolder  # noqa: E402

HOST = "127.0.0.1:8765"
OWN = {"host": HOST, "origin": f"http://{HOST}"}
BRIEF = {
    "kimg": "0.02", "crop": "32", "batch": "2", "width": "8", "style_size": "32", "content_layers": "relu2_1",
    "style_layers": "relu1_1,relu2_1",
}  # fmt: skip
NAMES = ["../x", "..", "", "/etc/passwd", "taught/../../x", "taught/stripes\0", "~", "none", "x" * 5000]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `taught/stripes` was taught, in a terminal."""
    root = tmp_path_factory.mktemp("studio")
    _, style = lay_out(tmp_path_factory.mktemp("given"))
    words = [part for name, value in BRIEF.items() for part in ("--" + name.replace("_", "-"), value)]
    done = hasama_here("teach", style, *words, "--threads", 1, "--out", root / "taught" / "stripes.safetensors")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def client(root: Path):
    with TestClient(make_studio(root, [HOST], "token"), base_url=f"http://{HOST}", follow_redirects=False) as it:
        yield it


def jpeg(width: int = 300, height: int = 200, kind: str = "JPEG", seed: int = 5) -> bytes:
    out = io.BytesIO()
    style_scene(width, height, seed).save(out, kind)
    return out.getvalue()


def sent(client: TestClient, body: bytes, **query: str | float):
    asked: dict[str, str | float] = {"network": "taught/stripes", "camera": "test"} | query
    return client.post("/api/camera", headers=OWN | {"content-type": "image/jpeg"}, params=asked, content=body)


def told(answer) -> str:
    """The one sentence that a refusal consists of."""
    assert 400 <= answer.status_code < 500, answer.status_code
    if answer.headers["content-type"].startswith("application/json"):
        sentence = answer.json()["error"]
    elif found := re.search(r'<p class="note[^>]*>(.*?)</p>', answer.text, re.DOTALL):
        sentence = found[1].strip()
    else:
        sentence = answer.text
    assert re.fullmatch(r"[A-Z0-9a-z/-].{10,300}\.", sentence), sentence
    assert "Traceback" not in sentence
    return sentence


# --- the camera -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("width", "size"), [(128, (128, 85)), (256, (256, 171)), (384, (300, 200))])
def test_a_frame_comes_back_painted(client: TestClient, kind: str, width: int, size: tuple[int, int]):
    body = jpeg(kind=kind)
    answer = sent(client, body, width=width)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    painted = Image.open(io.BytesIO(answer.content))
    assert painted.size == size
    before = np.asarray(Image.open(io.BytesIO(body)).convert("RGB").resize(size), float)
    assert np.abs(np.asarray(painted, float) - before).mean() > 5


def test_the_strength_counts(client: TestClient):
    whole, half = (sent(client, jpeg(), strength=strength).content for strength in (1, 0.5))
    assert whole != half


def test_a_still_camera_gives_a_still_painting(client: TestClient):
    """And where something moves, only what is near it changes: the statistics are not the picture's own."""
    still = np.asarray(style_scene(384, 64), np.uint8)
    moved = still.copy()
    moved[:, :64] = 255
    pictures = []
    for pixels in (still, still, moved):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        answer = sent(client, out.getvalue(), width=384, camera="still")
        pictures.append(np.asarray(Image.open(io.BytesIO(answer.content)), float))
    assert np.array_equal(pictures[0], pictures[1])
    far = np.abs(pictures[2] - pictures[0])[:, 64 + 160 + 16 :]
    assert far.mean() < 0.5
    out = io.BytesIO()
    Image.fromarray(moved).save(out, "PNG")
    own = sent(client, out.getvalue(), width=384, camera="another").content
    assert np.abs(np.asarray(Image.open(io.BytesIO(own)), float) - pictures[0])[:, 64 + 160 + 16 :].mean() > 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not a picture"),
        (b"<svg/>", "not a picture"),
        (jpeg()[:3000], "truncated"),
        (jpeg(kind="GIF"), "neither JPEG nor PNG"),
        (jpeg(kind="TIFF"), "neither JPEG nor PNG"),
    ],
)
def test_broken_frames_are_refused(client: TestClient, body: bytes, words: str):
    assert words in told(sent(client, body))


def test_a_bomb_is_refused_before_it_is_decoded(client: TestClient):
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    began = time.monotonic()
    assert "gigantic" in told(sent(client, out.getvalue()))
    assert "larger than any camera's" in told(sent(client, jpeg(5000, 20, "PNG")))
    assert time.monotonic() - began < 2


def test_a_huge_body_is_refused(client: TestClient):
    assert sent(client, b"x" * (LARGEST_FRAME + 1)).status_code == 413
    pieces = (b"x" * 2**20 for _ in range(LARGEST_FRAME // 2**20 + 1))
    answer = client.post("/api/camera?network=taught/stripes", headers=OWN, content=pieces)
    assert answer.status_code == 413
    assert told(answer) == "That is too large."


@pytest.mark.parametrize("language", ["en", "sw"])
def test_the_pages_are_there_in_every_language(client: TestClient, language: str):
    headers = {"host": HOST, "accept-language": language}
    for path in ("/teach", "/taught?name=taught/stripes", "/paint?recipe=taught", "/camera?network=taught/stripes"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert f'<html lang="{language}">' in answer.text
        assert "stripes" in answer.text


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_named_and_never_paths(client: TestClient, name: str):
    for path in ("/taught", "/api/taught", "/taught/preview.png", "/taught/network.safetensors"):
        assert told(client.get(path, headers={"host": HOST}, params={"name": name}))
    assert "no taught network" in told(sent(client, jpeg(), network=name))
    for path in ("/teach/stop", "/teach/resume"):
        assert told(client.post(path, headers=OWN, data={"name": name}))


def test_a_link_out_of_the_folder_is_no_network(root: Path, tmp_path: Path):
    (tmp_path / "secret.safetensors").write_bytes((root / "taught" / "stripes.safetensors").read_bytes())
    link = root / "taught" / "link.safetensors"
    link.symlink_to(tmp_path / "secret.safetensors")
    try:
        assert set(known_networks(Studio(root))) == {"taught/stripes"}
        with pytest.raises(Exception, match="no taught network"):
            network_named(Studio(root), "taught/link")
    finally:
        link.unlink()


@pytest.mark.parametrize("wish", [{"width": 4096}, {"width": "wide"}, {"strength": 2}, {"strength": "nan"}])
def test_impossible_wishes_are_told(client: TestClient, wish: dict[str, str | float]):
    assert told(sent(client, jpeg(), **wish))


def test_the_camera_is_for_our_own_pages_alone(client: TestClient):
    policy = client.get("/camera", headers={"host": HOST}).headers["permissions-policy"]
    assert "camera=(self)" in policy
    assert "microphone=()" in policy
    assert "*" not in policy


def test_torch_comes_with_the_first_frame_and_not_before(root: Path):
    """In a process of its own: pages over taught networks need none of it."""
    script = """
import sys
from starlette.testclient import TestClient
from hasama.studio.app import make_studio
client = TestClient(make_studio(__import__("pathlib").Path(sys.argv[1]), ["h:1"], "t"), base_url="http://h:1")
named = "taught?name=taught/stripes"
for path in ("/teach", f"/{named}", f"/api/{named}", "/paint?recipe=taught", "/camera"):
    answer = client.get(path, headers={"host": "h:1"})
    assert answer.status_code == 200 and "stripes" in answer.text, path
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- teaching -------------------------------------------------------------------------------------


def wait_for(jobs: Jobs, job: Job, *states: str, seconds: float = 120) -> Job:
    until = time.monotonic() + seconds
    while (now := jobs.get(job.id) or job).state not in states:
        assert time.monotonic() < until, f"{job.id} is {now.state}: {now.said()}"
        time.sleep(0.2)
        jobs.turn()
    return now


def begin(client: TestClient, *files: tuple[str, tuple[str, bytes]], **data: str):
    form = BRIEF | {"shown": ",".join(BRIEF)} | data
    return client.post("/teach/start", headers=OWN, data=form, files=list(files))


def test_it_is_taught_from_a_zip_and_goes_on_longer(tmp_path: Path):
    photos = io.BytesIO()
    with zipfile.ZipFile(photos, "w") as archive:
        archive.writestr("photos/a.jpg", jpeg())
        archive.writestr("photos/read me.txt", "no picture")
    app = make_studio(tmp_path, [HOST], "token")
    jobs = app.state.studio.jobs
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        paintings = [
            ("paintings", (name, jpeg(40, 40, "PNG", seed))) for seed, name in enumerate(("one.png", "two.png"))
        ]
        answer = begin(client, *paintings, ("photos", ("photos.zip", photos.getvalue())))
        assert answer.headers["location"] == "/taught?name=taught%2Fone%2Btwo", answer.text
        assert client.get(answer.headers["location"], headers={"host": HOST}).status_code == 200
        job = wait_for(jobs, jobs.all()[0], "done", "failed")
        state = client.get("/api/taught?name=taught/one%2Btwo", headers={"host": HOST}).json()
        assert state["status"] == "finished", job.said()
        assert state["images_seen"] == state["total"] == 20
        assert {"images_seen", "style", "tv"} <= set(state["curves"])
        assert client.get(f"/job?job={job.id}", headers={"host": HOST}).headers["location"].startswith("/taught?")
        folder = TeachFolder(tmp_path / "taught" / "one+two.teaching")
        assert json.loads(folder.about.read_text())["photos"].endswith("photos.zip")
        more = {"name": "taught/one+two", "kimg": "0.03"}
        assert client.post("/teach/resume", headers=OWN, data=more).status_code == 303
        wait_for(jobs, jobs.all()[0], "done")
        assert folder.log()[-1]["images_seen"] == 30
        assert client.post("/teach/resume", headers=OWN, data=more | {"kimg": "long"}).status_code == 422
        again = begin(client, paintings[0], name="one+two")  # a name that is taken
        assert again.headers["location"] == "/taught?name=taught%2Fone%2Btwo-2"
        jobs.stop(jobs.all()[0])


def test_what_was_begun_in_a_terminal_goes_on_here(root: Path, client: TestClient):
    page = client.get("/teach", headers={"host": HOST}).text
    assert "/taught?name=taught%2Fstripes" in page
    folder = TeachFolder(root / "taught" / "stripes.teaching")
    words = folder.command(kimg=0.04)
    assert words[0] == "teach"
    assert words[words.index("--kimg") :][:2] == ["--kimg", "0.04"]
    assert words[-1] == str(root / "taught" / "stripes.safetensors")
    before = len(folder.log())
    done = hasama_here(*folder.command(), "--threads", 1)  # all is done already, and nothing is refused
    assert done.returncode == 0, done.stderr
    assert len(folder.log()) == before


def zipped(photo: bytes) -> bytes:
    """A zip with one photo in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.jpg", photo)
    return made.getvalue()


def test_what_cannot_be_learnt_from_is_told(client: TestClient, tmp_path: Path):
    good = ("paintings", ("good.png", jpeg(40, 40, "PNG")))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("read me.txt", "no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    for files, data, words in (
        ([], {}, "Choose a painting"),
        ([("paintings", ("bad.png", b"nonsense"))], {}, "bad.png cannot be read: not a picture"),
        ([("paintings", ("bad.html", b"nonsense"))], {}, "files that end in"),
        ([("paintings", ("bad.png", jpeg(kind="PNG")[:2000]))], {}, "bad.png cannot be read"),
        ([good], {"source": str(tmp_path)}, "There are no photos in"),
        ([good], {"source": str(tmp_path / "nowhere")}, "There is no folder or zip"),
        ([good], {"source": str(tmp_path / "notes.txt")}, "There is no folder or zip"),
        ([good, ("photos", ("p.zip", empty.getvalue()))], {}, "There are no photos in p.zip"),
        ([good, ("photos", ("p.zip", b"nonsense"))], {}, "not a zip"),
        ([good, ("photos", ("p.zip", zipped(jpeg())[:-30]))], {}, "p.zip is not a zip file, or is damaged"),
        ([good, ("photos", ("p.zip", zipped(jpeg()[:3000])))], {}, "No photo in p.zip can be read: a.jpg: truncated"),
        ([good, ("photos", ("p.jpg", jpeg()[:3000]))], {}, "No photo in what was sent can be read: p.jpg: truncated"),
        ([good, ("photos", ("p.zip", zipped(jpeg()))), ("photos", ("q.jpg", jpeg()))], {}, "one zip of photos, or"),
        ([good], {"kimg": "much"}, "takes a number"),
        ([good], {"kimg": "-1"}, "must be between"),
        ([good], {"style_layers": "nonsense"}, "nonsense"),
    ):
        before = len(client.app.state.studio.jobs.all())  # type: ignore[attr-defined]
        assert words in told(begin(client, *files, **data)), (words, data)
        assert len(client.app.state.studio.jobs.all()) == before  # type: ignore[attr-defined]
        assert not list(client.app.state.studio.uploads.rglob("good.png"))  # type: ignore[attr-defined]


def test_only_networks_are_taken_as_networks(client: TestClient, root: Path):
    content = ("content", ("c.png", jpeg(40, 30, "PNG")))
    other = ("network_file", ("other.safetensors", b"nonsense"))
    form = {"recipe": "taught", "strength": "0.5"}
    answer = client.post("/paint/start", headers=OWN, data=form, files=[content, other])
    assert "no network that hasama teach made" in told(answer)
    assert not list(root.rglob("other.safetensors"))
    assert "Choose a taught network" in told(client.post("/paint/start", headers=OWN, data=form, files=[content]))
    bad = form | {"network": "../x"}
    assert "no taught network" in told(client.post("/paint/start", headers=OWN, data=bad, files=[content]))
    colours = form | {"network": "taught/stripes", "keep_colour": "histogram"}
    assert "by --keep-colour luminance" in told(
        client.post("/paint/start", headers=OWN, data=colours, files=[content])
    )
    strong = form | {"network": "taught/stripes", "strength": "7"}
    assert "--strength must be" in told(client.post("/paint/start", headers=OWN, data=strong, files=[content]))


def test_a_network_that_was_sent_paints_and_is_known_from_then_on(client: TestClient, root: Path):
    file = (root / "taught" / "stripes.safetensors").read_bytes()
    files = [("content", ("c.png", jpeg(40, 30, "PNG"))), ("network_file", ("sent.safetensors", file))]
    form = {"recipe": "taught", "strength": "0.5", "size": "20"}
    jobs = client.app.state.studio.jobs  # type: ignore[attr-defined]
    answer = client.post("/paint/start", headers=OWN, data=form, files=files)
    job = wait_for(jobs, jobs.get(answer.headers["location"].partition("job=")[2]), "done", "failed")
    assert job.state == "done", job.said()
    assert Path(job.about["out"]).name == "c--sent.png"
    with Image.open(job.about["out"]) as painted:
        assert painted.size == (20, 15)
    known = known_networks(client.app.state.studio)  # type: ignore[attr-defined]
    (name,) = [name for name in known if name.endswith("/sent")]
    assert sent(client, jpeg(), network=name).status_code == 200
    page = client.get(answer.headers["location"], headers={"host": HOST}).text
    assert "sent" in page
