"""The studio's queue and doors: two of one name, a disk that takes nothing, odd requests and odd runs."""

import asyncio
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.datastructures import UploadFile  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from easel import hasama_here  # noqa: E402
from hasama.errors import HasamaError  # noqa: E402
from hasama.presets import RECIPES  # noqa: E402
from hasama.runs.folder import Run  # noqa: E402
from hasama.studio import jobs as queue  # noqa: E402
from hasama.studio import uploads  # noqa: E402
from hasama.studio.app import make_studio  # noqa: E402
from hasama.studio.jobs import Job, Jobs  # noqa: E402
from hasama.studio.pages.page import TEMPLATES, short  # noqa: E402
from hasama.studio.security import WRONG_MOST, WRONG_SECONDS, Tries  # noqa: E402
from hasama.studio.serve import serve  # noqa: E402
from hasama.style.painters.recipe import TeachRecipe  # noqa: E402
from hasama.style.painters.teach_folder import TeachFolder  # noqa: E402

HOST = "127.0.0.1:8765"
OWN = {"host": HOST, "origin": f"http://{HOST}"}
LONG = "x" * 5000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def client(root: Path):
    root.mkdir()
    with TestClient(make_studio(root, [HOST], "in"), base_url=f"http://{HOST}", follow_redirects=False) as visitor:
        yield visitor


def jobs_of(client: TestClient) -> Jobs:
    app: Any = client.app
    return app.state.studio.jobs


def train_once(root: Path) -> None:
    words = ["--size", 16, "--width", 8, "--batch", 8, "--latent-size", 8, "--sample-kimg", 0.016]
    done = hasama_here("train", "digits", "dcgan", *words, "--steps", 6, "--threads", 1, "--out", root / "cats")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def trained(root: Path, client: TestClient) -> TestClient:
    train_once(root)
    return client


def looked_at(jobs: Jobs) -> Job:
    """As if the pictures had been looked at, and this were proposed."""
    told = {"recipe": RECIPES["dcgan"].but(size="16").to_dict(), "preset": "dcgan"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Jobs, "turn", lambda self: None)
        job = jobs.add(["suggest", "digits"], source="digits", hours="1")
    jobs._save(job._replace(state="done", code=0))
    job.printed.write_text(json.dumps(told))
    return job


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing begins."""
    monkeypatch.setattr(Jobs, "turn", lambda self: None)


# --- names and places -----------------------------------------------------------------------------


def test_two_trainings_that_wait_have_folders_of_their_own(client: TestClient, root: Path, still: None):
    jobs = jobs_of(client)
    job = looked_at(jobs)
    for kimg in ("1", "2", "3"):
        form = {"job": job.id, "name": "dup", "shown": "kimg", "kimg": kimg}
        assert client.post("/train/start", headers=OWN, data=form).status_code == 303
    places = [one.about["place"] for one in reversed(jobs.all()) if one.lane == "train"]
    assert places == [str(root / name) for name in ("dup", "dup-2", "dup-3")]
    first = next(one for one in jobs.all() if one.about.get("place") == places[0])
    jobs.stop(first)  # taken back: its name is free again
    form = {"job": job.id, "name": "dup", "shown": "kimg", "kimg": "4"}
    client.post("/train/start", headers=OWN, data=form)
    assert jobs.all()[0].about["place"] == places[0]


def test_a_job_leads_to_its_own_run_alone(trained: TestClient, root: Path, still: None):
    jobs = jobs_of(trained)
    first = jobs.add(["train", "digits", "dcgan", "--out", str(root / "cats")], place=str(root / "cats"))
    jobs._save(first._replace(state="failed", code=2))
    assert trained.get(f"/job?job={first.id}").headers["location"] == "/watch?run=cats"
    time.sleep(0.01)
    jobs.add(["resume", str(root / "cats")], place=str(root / "cats"))
    first.complained.write_text("hasama: it has other settings\n")
    page = trained.get(f"/job?job={first.id}")
    assert page.status_code == 200
    assert "it has other settings" in page.text


def test_who_goes_on_twice_is_told(trained: TestClient, still: None):
    more = {"run": "cats", "kimg": "60"}
    assert trained.post("/watch/resume", headers=OWN, data=more).status_code == 303
    answer = trained.post("/watch/resume", headers=OWN, data=more)
    assert answer.status_code == 422
    assert "being trained already" in answer.text
    assert len([job for job in jobs_of(trained).all() if job.words[0] == "resume"]) == 1


# --- a disk that takes nothing --------------------------------------------------------------------


def test_the_queue_outlives_a_disk_that_takes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    jobs, begun = Jobs(root), []
    run = [sys.executable, "-c", "pass"]

    def begin(*_: object, **given: Any) -> subprocess.Popen:
        begun.append(1)
        return subprocess.Popen(run, **{key: given[key] for key in ("stdin", "stdout", "stderr")})

    write, full = queue.write_json, [False]

    def refuse(path: Path, value: Any) -> None:
        if full[0]:
            raise HasamaError(f"Cannot write {path}: No space left.")
        write(path, value)

    monkeypatch.setattr(queue, "subprocess", SimpleNamespace(Popen=begin, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(queue, "write_json", refuse)
    with monkeypatch.context() as waiting:
        waiting.setattr(Jobs, "turn", lambda self: None)
        first, second = jobs.add(["train", "a"]), jobs.add(["train", "b"])

    full[0] = True
    until = time.monotonic() + 60
    while (now := jobs.get(second.id)) and now.state != "done" and time.monotonic() < until:
        jobs.turn()
        time.sleep(0.02)
    assert [one.state for one in jobs.all()] == ["done", "done"]
    assert len(begun) == 2  # each of them once
    assert json.loads((first.folder / "job.json").read_text())["state"] == "waiting"
    assert 0 < len(caplog.records) < 8  # and not at each turn
    full[0] = False
    jobs.turn()
    assert [Jobs(root).get(one.id) for one in (first, second)] == [jobs.get(one.id) for one in (first, second)]


def test_what_can_only_be_read_is_shown(trained: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch):
    jobs_of(trained).add(["images", "digits", "--preview", str(root / "digits.png")])

    def refuse(path: Path, _: Any) -> None:
        raise HasamaError(f"Cannot write {path}.")

    monkeypatch.setattr(queue, "write_json", refuse)
    for path in ("/", "/watch?run=cats", "/api/state?run=cats"):
        assert trained.get(path).status_code == 200
    answer = trained.post("/watch/resume", headers=OWN, data={"run": "cats"})
    assert answer.status_code == 422
    assert "Cannot write" in answer.text


@pytest.mark.parametrize(
    ("complaint", "state"),
    [("hasama: There are no pictures at gone.\n", "failed"), ("Traceback (most recent call last):\n", "failed"),
     ("a warning of some library\n", "done"), ("", "done")],
)  # fmt: skip
def test_of_what_nobody_saw_end_its_complaint_tells(root: Path, still: None, complaint: str, state: str):
    jobs = Jobs(root)
    job = jobs.add(["train", "gone"])
    job.complained.write_text(complaint)
    jobs._save(job._replace(state="running", pid=2**22 - 1, about={"started": "1"}))
    assert Jobs(root)._looked_at(Jobs(root).get(job.id) or job).state == state


def test_of_a_painting_that_nobody_saw_end_the_picture_tells(root: Path, still: None):
    """A process that was killed says nothing: without its picture it is not done."""
    jobs, out = Jobs(root), root / "a.png"
    job = jobs.add(["style", "c.png", "s.png"], content="c.png", styles=["s.png"], out=str(out), recipe="best")
    jobs._save(job._replace(state="running", pid=2**22 - 1, about=job.about | {"started": "1"}))
    assert Jobs(root)._looked_at(Jobs(root).get(job.id) or job).state == "failed"
    about = job.about | {"started": "1", "stopping": True}
    jobs._save(job._replace(state="running", pid=2**22 - 1, about=about))
    assert Jobs(root)._looked_at(Jobs(root).get(job.id) or job).state == "stopped"
    out.write_bytes(b"it")
    jobs._save(job._replace(state="running", pid=2**22 - 1, about=job.about | {"started": "1"}))
    assert Jobs(root)._looked_at(Jobs(root).get(job.id) or job).state == "done"


def test_a_painting_that_was_stopped_goes_on_in_its_place(client: TestClient, root: Path, still: None):
    jobs, out = jobs_of(client), root / "paintings" / "a.png"
    about = {"content": "c.png", "styles": ["s.png"], "out": str(out), "recipe": "best"}
    job = jobs.add(["style", "c.png", "s.png", "--out", str(out)], **about)
    assert client.post("/paint/resume", headers=OWN, data={"job": job.id}).status_code == 422  # it waits, or paints
    jobs._save(job._replace(state="stopped", about=job.about | {"stopping": True}))
    assert 'action="/paint/resume"' in client.get(f"/painting?job={job.id}", headers=OWN).text
    answer = client.post("/paint/resume", headers=OWN, data={"job": job.id})
    again = jobs.get(answer.headers["location"].partition("job=")[2])
    assert again is not None
    assert again.words == job.words
    assert again.about["out"] == str(out)
    assert "stopping" not in again.about
    assert (
        'action="/paint/resume"' not in client.get(f"/painting?job={job.id}", headers=OWN).text
    )  # it is painted now


def test_no_painting_lies_where_the_preview_of_another_does(root: Path, still: None):
    jobs, folder = Jobs(root / "jobs"), root / "paintings"
    first = jobs.free_place(folder, "cat--starry-preview", ".png")
    jobs.add(["style", "x", "y"], out=str(first))
    assert jobs.free_place(folder, "cat--starry", ".png").name != "cat--starry.png"
    second = jobs.free_place(folder, "dog--starry", ".png")
    jobs.add(["style", "x", "y"], out=str(second))
    assert jobs.free_place(folder, "dog--starry-preview", ".png").name != "dog--starry-preview.png"


def test_a_gigantic_painting_has_its_page(client: TestClient, root: Path, still: None):
    """So large that Pillow takes it for an attack."""
    out = root / "paintings" / "large.png"
    out.parent.mkdir(parents=True)
    head = struct.pack(">IIBBBBB", 16384, 10923, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    out.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", 0xAE426082))
    jobs = jobs_of(client)
    job = jobs.add(["style", "c", "s"], content="c.png", styles=["s.png"], out=str(out), recipe="instant")
    jobs._save(job._replace(state="done"))
    page = client.get(f"/painting?job={job.id}", headers=OWN)
    assert page.status_code == 200
    assert "keep=1" in page.text
    assert "/paint/larger" not in page.text


def test_two_studios_over_one_folder_begin_a_job_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    begun: list[list[str]] = []

    def slow(command: list[str], **named: Any) -> Any:
        begun.append(command)
        time.sleep(0.1)
        return SimpleNamespace(pid=os.getpid(), poll=lambda: None)

    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "turn", lambda self: None)
        Jobs(root).add(["train", "photos"])
    monkeypatch.setattr(queue.subprocess, "Popen", slow)
    studios = [Jobs(root) for _ in range(4)]
    threads = [threading.Thread(target=studio.turn) for studio in studios]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1
    (job,) = studios[-1].all()
    assert (job.state, job.pid) == ("running", os.getpid())


def test_a_job_that_is_saving_itself_is_not_interrupted_again(
    root: Path, still: None, monkeypatch: pytest.MonkeyPatch
):
    """A second Ctrl-C would end it at once, unsaved."""
    sent: list[int] = []
    jobs = Jobs(root)
    job = jobs.add(["style", "a.png", "b.png"], out="c.png")
    child = SimpleNamespace(pid=os.getpid(), poll=lambda: None)
    jobs.children[job.id] = child  # type: ignore[assignment]
    jobs._save(job._replace(state="running", pid=child.pid))
    monkeypatch.setattr(queue.os, "kill", lambda pid, number: sent.append(number))
    for _ in range(3):
        jobs.stop(job)
    assert sent == [signal.SIGINT]
    monkeypatch.setattr(queue, "SAVING", 0.0)  # it does not end: perhaps it hangs
    jobs.stop(job)
    assert sent == 2 * [signal.SIGINT]


def test_what_a_studio_was_killed_while_beginning_is_begun_by_the_next(root: Path, still: None):
    jobs = Jobs(root)
    job = jobs.add(["train", "photos"], place="cats")
    jobs._save(job._replace(state="running"))  # without a process
    assert Jobs(root)._looked_at(job._replace(state="running")).state == "waiting"
    job.printed.touch()  # it may have begun: whoever looks can see
    jobs._save(job._replace(state="running"))
    assert Jobs(root)._looked_at(job._replace(state="running")).state == "failed"


def test_a_process_of_somebody_elses_is_no_job(root: Path, still: None, monkeypatch: pytest.MonkeyPatch):
    """Where nobody tells when a process began, its number says nothing: another may have it by now."""
    jobs = Jobs(root)
    job = jobs.add(["train", "photos"])
    monkeypatch.setattr(queue, "_started", lambda pid: "")
    jobs._save(job._replace(state="running", pid=os.getpid(), about={"started": ""}))
    assert Jobs(root)._looked_at(jobs.get(job.id) or job).state != "running"


def test_what_looks_at_pictures_can_be_stopped(client: TestClient, root: Path, still: None):
    jobs = jobs_of(client)
    job = jobs.add(["suggest", "/", "--json"], source="/", hours="1")
    shown = jobs.add(["images", "/"], of=job.id)
    page = client.get(f"/train/proposal?job={job.id}", headers=OWN).text
    assert 'action="/job/stop"' in page
    assert f"/job?job={job.id}" in client.get("/", headers=OWN).text
    there = client.get(f"/job?job={job.id}", headers=OWN)
    assert there.headers["location"] == f"/train/proposal?job={job.id}"
    client.post("/job/stop", headers=OWN, data={"job": job.id})
    for one in (job, shown):
        now = jobs.get(one.id)
        assert now is not None
        assert now.state == "stopped" or now.about.get("stopping")
    jobs._save((jobs.get(job.id) or job)._replace(state="stopped"))
    there = client.get(f"/train/proposal?job={job.id}", headers=OWN)
    assert there.headers["location"] == f"/job?job={job.id}"
    assert client.get(there.headers["location"], headers=OWN).status_code == 200


def test_names_that_are_no_utf8_break_no_page(trained: TestClient, root: Path):
    """As from an old disk or zip."""
    source = root.parent / os.fsdecode(b"B\xfccher")
    about = json.loads((root / "cats" / "images.json").read_text())
    (root / "cats" / "images.json").write_text(json.dumps(about | {"name": str(source)}))
    odd = root / os.fsdecode(b"M\xfcller")
    shutil.copytree(root / "cats", odd)
    for address in ("/", "/watch?run=cats", "/api/state?run=cats", "/paint"):
        assert trained.get(address, headers=OWN).status_code == 200, address
    assert "B\\udcfccher" in trained.get("/watch?run=cats", headers=OWN).text


def test_a_grid_that_the_browser_has_is_not_sent_again(trained: TestClient, root: Path):
    seen = trained.get("/api/state?run=cats", headers=OWN).json()["samples"][-1]
    address = f"/sample.png?run=cats&seen={seen}"
    first = trained.get(address, headers=OWN)
    known = OWN | {"if-none-match": first.headers["etag"]}
    again = trained.get(address, headers=known)
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    Run(root / "cats").sample_file(seen).write_bytes(b"another, which the autopilot has made")
    assert trained.get(address, headers=known).content == b"another, which the autopilot has made"


def test_what_the_autopilot_gave_up_is_not_shown_as_the_newest(trained: TestClient, root: Path):
    run = Run(root / "cats")
    seen = run.log()[-1]["images_seen"]
    run.sample_file(10 * seen).write_bytes(next(run.samples.glob("*.png")).read_bytes())
    made = trained.get("/api/state?run=cats", headers=OWN).json()["samples"]
    assert made[-1] == 10 * seen
    run.autopilot_file.write_text(json.dumps({"recipe": run.recipe().to_dict(), "interventions": []}))
    old = run.autopilot_file.stat().st_mtime_ns
    os.utime(run.sample_file(10 * seen), ns=(old - 10**9, old - 10**9))
    assert trained.get("/api/state?run=cats", headers=OWN).json()["samples"] == made[:-1]


def test_many_files_of_few_names_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Folders of classes, flattened: the work grows with the files, not with their square."""
    asked: list[str] = []

    def noted(stem: str, ending: str) -> str:
        asked.append(stem)
        return stem + ending

    monkeypatch.setattr(uploads, "fitting_name", noted)
    names = [f"{number:04}.png" for number in range(5)] * 60 + ["A.jpg", "a.jpg", "a.JPG"]
    sent = [UploadFile(io.BytesIO(b"x"), filename=name) for name in names]
    made = asyncio.run(uploads._written(sent, tmp_path, (".png", ".jpg")))
    assert len({path.name.casefold() for path in made}) == len(names) == len(list(made[0].parent.iterdir()))
    assert len(asked) <= 2 * len(names)


def test_a_refused_form_leaves_a_way_back_in_any_language(client: TestClient):
    told = client.post("/paint/start", headers=OWN, data={"recipe": "best"})
    assert told.status_code == 422
    (back,) = set(re.findall(r'href="/language\?to=sw&amp;back=([^"]+)"', told.text))
    assert client.get(unquote(back), headers=OWN).status_code == 200


def test_the_language_can_be_chosen_before_the_password_is_given(root: Path):
    root.mkdir()
    with TestClient(make_studio(root, [HOST], "in", "sesame"), base_url=f"http://{HOST}") as visitor:
        answer = visitor.get("/language?to=sw&back=/login", headers=OWN, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert "sw" in answer.headers["set-cookie"]


# --- doors ----------------------------------------------------------------------------------------


def test_where_others_may_visit_the_number_of_a_machine_is_a_name_of_it(root: Path):
    root.mkdir()
    with TestClient(make_studio(root, ["gpu.local:80"], "in", "sesame")) as visitor:
        for host in ("192.168.0.5:8765", "[fe80::1]:8765", "10.0.0.7"):
            here = {"host": host, "origin": f"http://{host}"}
            assert visitor.get("/login", headers=here).status_code == 200
            given = visitor.post("/login", headers=here, data={"password": "sesame"}, follow_redirects=False)
            assert given.status_code == 303
            other = here | {"origin": "http://10.9.9.9"}
            assert visitor.post("/login", headers=other, data={"password": "sesame"}).status_code == 403
        for host in ("evil.example", "1.2.3.4.evil.example", "0x7f000001:80", "[x]:80", "[::1", ""):
            answer = visitor.get("/login", headers={"host": host})
            assert answer.status_code == (200 if host == "[::1" else 421)
    with TestClient(make_studio(root, [HOST], "in")) as visitor:  # on this machine alone
        refused = visitor.get("/", headers={"host": "192.168.0.5:8765"})
        assert refused.status_code == 421
        assert HOST in refused.text


def test_who_guesses_has_to_wait(root: Path):
    now = [0.0]
    tries = Tries(lambda: now[0])
    for _ in range(WRONG_MOST):
        assert not tries.too_many()
        tries.add()
    assert tries.too_many()
    now[0] = WRONG_SECONDS + 1
    assert not tries.too_many()
    root.mkdir()
    with TestClient(make_studio(root, [HOST], "in", "sesame"), follow_redirects=False) as visitor:
        codes = [
            visitor.post("/login", headers=OWN, data={"password": "guess"}).status_code for _ in range(WRONG_MOST + 1)
        ]
        assert codes == [403] * WRONG_MOST + [429]
        assert visitor.post("/login", headers=OWN, data={"password": "sesame"}).status_code == 429


# --- odd runs and odd requests --------------------------------------------------------------------


@pytest.mark.parametrize("kid", ['"x"', "{}", "NaN", "1e999", "true", "null"])
def test_an_odd_line_of_a_log_breaks_nothing(trained: TestClient, root: Path, kid: str):
    with (root / "cats" / "log.jsonl").open("a") as log:
        log.write(f'{{"images_seen": 48, "kid": {kid}, "images_per_second": {kid}}}\n')
        log.write('{"images_seen": true}\n{"images_seen": 1' + "0" * 400 + "}\n")
    (root / "cats" / "samples" / "²³.png").write_bytes(b"")
    assert trained.get("/").status_code == 200
    assert trained.get("/watch?run=cats").status_code == 200
    state = trained.get("/api/state?run=cats").json()
    assert state["kid"] is None
    assert state["kimg"] == 0.048


@pytest.mark.parametrize("kept", ['{"words": []}', '{"words": ["rm"]}', "[]", "5", '{"words": 5, "state": "done"}'])
def test_an_odd_job_is_none(client: TestClient, root: Path, kept: str):
    told = json.loads(kept)
    usual = {"words": ["train"], "about": {}, "state": "waiting", "made": 0.0}
    folder = root / ".studio" / "jobs" / "odd"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(usual | told if isinstance(told, dict) else told))
    for path in ("/", "/paint", "/teach"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/watch", "/api/state", "/api/health", "/recipe.json", "/run.zip", "/explore"])
def test_a_name_that_is_too_long_is_none(client: TestClient, path: str):
    for name in (LONG, "/".join(["x" * 200] * 40)):
        assert client.get(path, params={"run": name}).status_code == 422


def test_what_cannot_be_is_refused_in_a_sentence(trained: TestClient, still: None):
    job = jobs_of(trained).add(["train", "digits"])
    look = {"hours": "1", "source": LONG}
    for path, form in (
        ("/train/look", look),
        ("/train/look", {"hours": "1", "source": "digits", "size": "16x"}),
        ("/train/look", {"hours": "1", "source": "digits", "size": "99999"}),
        ("/watch/remedy", {"run": "cats", "number": "9" * 5000}),
        ("/watch/remedy", {"run": "cats", "number": "²"}),
        ("/paint/start", {"again": job.id, "recipe": "instant"}),
        ("/paint/larger", {"job": job.id}),
    ):
        answer = trained.post(path, headers=OWN, data=form)
        assert answer.status_code == 422, (path, form, answer.text)
        assert len(answer.text) < 4000
    assert trained.get("/paint", params={"again": job.id}).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        '{"settings": [1]}', '{"settings": "abc"}', '{"settings": 5}', '{"settings": {"seed": Infinity}}',
        '{"settings": {"latent_size": Infinity}}', '{"settings": {"seed": 1' + "0" * 400 + "}}", "[" * 100_000,
        '{"settings": {"data": "drawn", "points": [[1e300, 2], [0, 0]]}, "steps": 3}',
        '{"settings": {"gamma": 1e300}}',
    ],
)  # fmt: skip
def test_an_odd_game_is_refused_in_a_sentence(client: TestClient, asked: str):
    answer = client.post("/api/ring", headers=OWN, content=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]


def test_what_was_sent_goes_when_it_is_refused_for_whatever_reason(client: TestClient, root: Path):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    files = {"paintings": ("a.png", out.getvalue())}
    answer = client.post("/teach/start", headers=OWN, data={"source": LONG}, files=files)
    assert answer.status_code == 422
    assert [*(root / ".studio").rglob("*.png")] == []


def test_a_class_that_is_called_like_a_flag_is_no_flag(client: TestClient, root: Path, still: None):
    jobs = jobs_of(client)
    form = {"job": looked_at(jobs).id, "name": "odd", "shown": "labels,only", "labels": "1", "only": "--help"}
    assert client.post("/train/start", headers=OWN, data=form).status_code == 303
    words = jobs.all()[0].words
    assert "--only=--help" in words
    done = hasama_here(*words, "--steps", 1)
    assert done.returncode == 2
    assert "--help" in done.stderr  # there is no such class
    assert "Usage" not in done.stdout


def test_files_and_a_folder_at_once_are_refused_before_anything_is_kept(trained: TestClient, root: Path, still: None):
    """One of them would be left out, and nobody would be told."""
    file = ("seven.png", b"whatever it is")
    for address, name, other in (
        ("/train/look", "files", {"source": "digits"}),
        ("/teach/start", "photos", {"source": str(root)}),
        ("/paint/start", "content", {"run": "cats", "recipe": "instant"}),
    ):
        answer = trained.post(address, headers=OWN, data=other, files=[(name, file), (name, file)])
        assert answer.status_code == 422
        assert "Files were sent (seven.png and 1 more), and" in answer.text, address
        assert "take one of the two" in answer.text
        assert not list((root / ".studio").rglob("seven*"))
    assert jobs_of(trained).all() == []


def test_a_run_is_no_folder_of_runs(tmp_path: Path):
    run = tmp_path / "runs" / "cats"
    run.mkdir(parents=True)
    (run / "recipe.json").write_text("{}")
    with pytest.raises(HasamaError, match="is a run itself") as told:
        serve(run, "127.0.0.1", 70_000, None, False, print)  # there is no such port: nothing is ever served
    assert str(tmp_path / "runs") in str(told.value)
    assert not (run / ".studio").exists()


def test_the_job_of_a_teaching_whose_root_was_moved_has_a_page(client: TestClient, root: Path, still: None):
    jobs = jobs_of(client)
    place = root.parent / "elsewhere" / "taught" / "waves.teaching"
    job = jobs.add(["teach", "waves.png"], place=str(place), out=str(place.with_suffix(".safetensors")))
    jobs._save(job._replace(state="done", code=0))
    page = client.get(f"/job?job={job.id}")
    assert page.status_code == 200
    assert "waves.teaching" in page.text


def test_a_failure_is_told_until_a_terminal_has_gone_on(trained: TestClient, root: Path, still: None):
    jobs, run = jobs_of(trained), Run(root / "cats")
    job = jobs.add(["resume", str(run.folder)], place=str(run.folder))
    job.complained.write_text("hasama: there was no room\n")
    with pytest.MonkeyPatch.context() as patched:  # nobody saw it end
        patched.setattr(queue, "_lives", lambda job: False)
        jobs._looked_at(job._replace(state="running", pid=2**22))
    told = trained.get("/api/state?run=cats").json()["job"]
    assert told == {"state": "failed", "said": "hasama: there was no room"}
    with run.held():
        assert trained.get("/api/state?run=cats").json()["job"]["said"] == ""
    assert trained.get("/api/state?run=cats").json()["job"] == told
    later = time.time_ns() + 10**9
    os.utime(run.log_file, ns=(later, later))
    assert trained.get("/api/state?run=cats").json()["job"]["said"] == ""


@pytest.mark.parametrize(("seen", "on", "status"), [(5, 0, "failed"), (5, 1, "paused"), (10, 0, "finished")])
def test_a_teaching_that_failed_once_may_be_finished(
    client: TestClient, root: Path, still: None, seen: int, on: int, status: str
):
    """`on`: whether a terminal has gone on since."""
    folder = TeachFolder(root / "taught" / "waves.teaching")
    folder.begin(TeachRecipe(kimg=0.01), {}, {})
    folder.add_to_log({"images_seen": seen})
    jobs = jobs_of(client)
    job = jobs.add(["teach", "waves.png"], place=str(folder.folder), out=str(root / "taught" / "waves.safetensors"))
    job.complained.write_text("hasama: there was no room\n")
    jobs._save(job._replace(state="failed", code=2, about=job.about | {"ended": time.time() + 1 - 60 * on}))
    told = client.get("/api/taught?name=taught/waves").json()
    assert told["status"] == status
    assert told["said"] == ("" if on else "hasama: there was no room")


# --- names and figures ----------------------------------------------------------------------------


def test_what_is_chosen_by_name_is_sent_letter_by_letter(trained: TestClient, root: Path):
    """A browser makes one space of two where an option has no value of its own."""
    shutil.copytree(root / "cats", root / "two  spaces")
    for address in ("/watch?run=cats", "/paint"):
        assert '<option value="two  spaces"' in trained.get(address).text, address
    for template in TEMPLATES.glob("*.html"):
        for option in re.findall("<option[^>]*>", template.read_text()):
            assert " value=" in option, template


def test_long_lengths_are_told_in_figures(trained: TestClient, root: Path):
    run = Run(root / "cats")
    run.save_recipe(run.recipe().but(kimg=25_000))
    run.append_log({"images_seen": 12_345_600, "images_per_second": 12_345.6})
    for address in ("/", "/watch?run=cats"):
        page = trained.get(address).text
        assert "25000" in page
        assert "12350" in page
        assert "e+0" not in page
    assert [short(0.00123456), short(999.96), short(0), short(None), short(120, 2)] == [
        "0.001235",
        "1000",
        "0",
        "–",
        "120",
    ]
