"""The studio without a browser: who is let in, what is shown of runs, what is begun, and what is refused."""

import asyncio
import contextlib
import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.datastructures import UploadFile  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from easel import hasama_here, lay_out  # noqa: E402
from hasama.options import flags_of  # noqa: E402
from hasama.recipe import Recipe  # noqa: E402
from hasama.runs.folder import Run  # noqa: E402
from hasama.studio import watching  # noqa: E402
from hasama.studio.app import FORMS, PAGES, make_studio  # noqa: E402
from hasama.studio.forms import fields_of, filled_in  # noqa: E402
from hasama.studio.jobs import Job, Jobs  # noqa: E402
from hasama.studio.uploads import kept_pictures  # noqa: E402
from hasama.studio.words import languages, texts  # noqa: E402
from hasama.studio.words import wanted as wanted_language  # noqa: E402
from odd_files import scene  # noqa: E402

HOST = "127.0.0.1:8765"
OWN = {"host": HOST, "origin": f"http://{HOST}"}
STUDIO = Path(watching.__file__).parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small run in it."""
    root = tmp_path_factory.mktemp("studio")
    words = ["--size", 16, "--width", 8, "--batch", 8, "--latent-size", 8, "--sample-kimg", 0.016]
    done = hasama_here("train", "digits", "dcgan", *words, "--steps", 6, "--threads", 1, "--out", root / "cats")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def client(trained: Path):
    with TestClient(
        make_studio(trained, [HOST], "let-me-in"), base_url=f"http://{HOST}", follow_redirects=False
    ) as it:
        yield it


# --- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost:8765.evil.example", ""])
def test_another_host_is_turned_away(client: TestClient, host: str):
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("path", list(FORMS))
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", f"ftp://{HOST}"])
def test_what_changes_something_must_come_from_here(client: TestClient, path: str, origin: str | None):
    headers = {"host": HOST} | ({} if origin is None else {"origin": origin})
    assert client.post(path, headers=headers, data={"run": "cats"}).status_code == 403


def test_scripts_come_in_by_the_token(client: TestClient):
    answer = client.post("/watch/stop", headers={"host": HOST, "x-hasama-token": "let-me-in"}, data={"run": "none"})
    assert answer.status_code == 422  # let in, and told that there is no such run
    assert client.post("/watch/stop", headers={"host": HOST, "x-hasama-token": "wrong"}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_others_may_link_but_not_ask(client: TestClient, site: str):
    asked = {"host": HOST, "sec-fetch-site": site, "sec-fetch-mode": "cors"}
    visited = {"host": HOST, "sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert client.get("/api/state?run=cats", headers=asked).status_code == 403
    assert client.get("/sample.png?run=cats&seen=48", headers=asked).status_code == 403
    assert client.get("/api/state?run=cats", headers=visited).status_code == 403
    assert client.get("/", headers=visited).status_code == 200


def test_every_answer_says_what_a_browser_may_do(client: TestClient):
    for path in ("/", "/nowhere", "/static/studio.css", "/api/state?run=cats", "/sample.png?run=cats&seen=48"):
        headers = client.get(path, headers={"host": HOST}).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["script-src"] == "'self'"
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "evil.example"}).headers["x-content-type-options"] == "nosniff"


def test_templates_have_no_scripts_of_their_own():
    for template in (STUDIO / "templates").glob("*.html"):
        text = template.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), template
        assert not re.search(r"\son[a-z]+=", text), template
        assert "http://" not in text, template
        assert "https://" not in text, template


def test_beyond_this_machine_a_password_is_needed(trained: Path):
    guarded = make_studio(trained, ["gpu.local:80"], "token", "open sesame")
    with TestClient(guarded, base_url="http://gpu.local:80", follow_redirects=False) as visitor:
        here = {"host": "gpu.local:80", "origin": "http://gpu.local:80"}
        page = visitor.get("/", headers=here | {"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        assert visitor.get("/api/state?run=cats", headers=here).status_code == 401
        assert visitor.post("/login", headers=here, data={"password": "guess"}).status_code == 403
        assert visitor.get("/", headers=here).status_code == 401
        entered = visitor.post("/login", headers=here, data={"password": "open sesame"})
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"].lower()
        assert "samesite=strict" in cookie
        assert "httponly" in cookie
        assert visitor.get("/", headers=here).status_code == 200


def test_the_command_wants_a_password_for_other_hosts(tmp_path: Path):
    done = hasama_here("studio", tmp_path, "--host", "0.0.0.0", "--no-browser")
    assert done.returncode == 2
    assert "HASAMA_STUDIO_PASSWORD" in done.stderr


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../cats", "..", ".", "", "/etc", "cats/../..", "cats\0", "~", "cats/samples/../../.."]
)
def test_nothing_outside_the_folder_is_shown(client: TestClient, name: str):
    for path in (
        "/watch",
        "/api/state",
        "/api/health",
        "/sample.png",
        "/loss.png",
        "/run.zip",
        "/recipe.json",
        "/explore",
    ):
        answer = client.get(path, headers={"host": HOST}, params={"run": name, "seen": "48"})
        assert answer.status_code == 422, (path, name)


def test_a_link_out_of_the_folder_is_not_followed(trained: Path, tmp_path: Path, client: TestClient):
    done = hasama_here(
        "train", "digits", "dcgan", "--size", 16, "--width", 8, "--steps", 1, "--out", tmp_path / "secret"
    )
    assert done.returncode == 0
    link = trained / "link"
    link.symlink_to(tmp_path / "secret")
    try:
        assert client.get("/watch", headers={"host": HOST}, params={"run": "link"}).status_code == 422
    finally:
        link.unlink()


@pytest.mark.parametrize("seen", ["../recipe", "-1", "1e3", "9" * 30, "", "48/../48"])
def test_samples_are_named_by_numbers_alone(client: TestClient, seen: str):
    assert client.get("/sample.png", headers={"host": HOST}, params={"run": "cats", "seen": seen}).status_code == 422


@pytest.mark.parametrize("job", ["../x", "..", "", "a/b", "none"])
def test_jobs_are_named_by_their_folders_alone(client: TestClient, job: str):
    for path in ("/job", "/painting", "/painting.png", "/api/painting", "/train/proposal", "/train/preview.png"):
        assert client.get(path, headers={"host": HOST}, params={"job": job}).status_code == 422


def test_a_language_leads_back_to_our_own_pages_only(client: TestClient):
    for back, wanted in (
        ("/train", "/train"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil", "/"),
        ("//[", "/"),
        ("/[", "/["),
    ):
        answer = client.get("/language", headers={"host": HOST}, params={"to": "sw", "back": back})
        assert answer.headers["location"] == wanted
        assert "hasama-language=sw" in answer.headers["set-cookie"]


# --- uploads --------------------------------------------------------------------------------------


def test_pictures_stay_in_the_order_in_which_they_were_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However coarse the clock of the disk is: weights and masks go by it."""
    names = ["z.png", "a.png", "m.png", "a.png"]
    sent = []
    for number in range(len(names)):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(data := io.BytesIO(), "PNG")
        data.seek(0)
        sent.append(UploadFile(data, filename=names[number]))
    found = asyncio.run(kept_pictures(sent, tmp_path))
    reds = []
    for file in found:
        os.utime(file, (0, 0))
        with Image.open(file) as opened:
            reds.append(opened.getchannel("R").getpixel((0, 0)))
    assert reds == [0, 60, 120, 180]


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "x.exe", "noending", "a.png.html"])
def test_only_pictures_and_archives_are_taken(client: TestClient, trained: Path, name: str):
    answer = client.post("/train/look", headers=OWN, data={"hours": "1"}, files={"files": (name, b"<svg/>")})
    assert answer.status_code == 422
    assert not list((trained / ".studio").rglob(name))


@pytest.mark.parametrize("name", ["../../evil.png", "..\\evil.png", "/etc/evil.png", ".hidden.png", "a\0b.png"])
def test_files_get_names_of_our_own_folder(client: TestClient, trained: Path, name: str):
    content = io.BytesIO()
    scene(20, 20, seed=1).save(content, "PNG")
    client.post("/train/look", headers=OWN, data={"hours": "1"}, files={"files": (name, content.getvalue())})
    found = [path for path in trained.rglob("*.png") if "evil" in path.name or "hidden" in path.name]
    assert all(path.is_relative_to(trained / ".studio" / "uploads") for path in found)
    assert not Path("/etc/evil.png").exists()
    assert not any(path.name.startswith(".") for path in found)
    _end_jobs(trained)


def test_too_large_a_request_is_refused(client: TestClient):
    answer = client.post("/watch/stop", headers=OWN | {"content-length": str(10**12)}, content=b"x")
    assert answer.status_code == 413
    long = "run=" + "x" * 2_000_000
    form = OWN | {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/watch/stop", headers=form, content=(part for part in [long.encode()])).status_code == 413


def test_what_is_sent_is_shown_as_a_picture_and_nothing_else(client: TestClient, trained: Path):
    folder = trained / ".studio" / "jobs" / "shown"
    folder.mkdir(parents=True, exist_ok=True)
    (trained / "evil.png").write_bytes(b"<html><script>alert(1)</script>")
    about = {"content": str(trained / "evil.png"), "styles": [], "out": str(trained / "x.png"), "recipe": "best"}
    kept = {"words": ["style", "a", "b"], "about": about, "state": "done", "made": 1.0, "pid": None, "code": 0}
    (folder / "job.json").write_text(json.dumps(kept))
    answer = client.get("/painting.png?job=shown&which=content", headers={"host": HOST})
    assert answer.status_code == 422
    assert "alert(1)" not in answer.text
    (trained / "evil.png").unlink()


def _end_jobs(root: Path) -> None:
    jobs = Jobs(root / ".studio" / "jobs")
    for job in jobs.all():
        if job.state == "running" and job.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(job.pid, signal.SIGKILL)


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "sw"])
def test_every_page_is_there_in_every_language(client: TestClient, language: str):
    headers = {"host": HOST, "accept-language": f"{language}-KE,fr;q=0.5"}
    for path in ("/", "/train", "/paint", "/paint?recipe=instant", "/watch?run=cats", "/explore?run=cats"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert f'<html lang="{language}">' in answer.text
        assert texts(language)["runs"] in answer.text


def test_languages_have_the_same_keys_and_none_that_nobody_uses():
    used = set()
    for file in [*(STUDIO / "templates").glob("*.html"), *STUDIO.rglob("*.py")]:
        used |= set(re.findall(r"""(?:\bt|words\(request\))\(\s*["']([^"']+)["']""", file.read_text()))
        used |= set(re.findall(r'"(ring_[a-z_]+)"', file.read_text()))
    families = {key for key in used if key.endswith("_")}
    for code in languages():
        keys = set(texts(code))
        assert keys == set(texts("en")), code
        assert used - families <= keys
        unused = {key for key in keys - used if not any(key.startswith(family) for family in families)}
        assert unused <= {"language", "lessons", "quiz"}, unused
        for key, text in texts(code).items():
            if key in ("lessons", "quiz"):  # see tests/studio/test_learn.py
                continue
            assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", texts("en")[key])), key


def test_the_language_is_what_was_chosen_or_what_the_browser_wants():
    assert wanted_language("sw", "en") == "sw"
    assert wanted_language("xx", "de, sw;q=0.8, en;q=0.5") == "sw"
    assert wanted_language(None, "") == "en"


def test_the_state_of_a_run(client: TestClient):
    told = client.get("/api/state?run=cats", headers={"host": HOST}).json()
    assert told["status"] == "finished"
    assert told["kimg"] == pytest.approx(0.048)
    assert told["samples"][-1] == 48
    assert told["curves"]["images_seen"][-1] == 48
    assert len(told["curves"]["loss_generator"]) == len(told["curves"]["images_seen"])
    health = client.get("/api/health?run=cats", headers={"host": HOST}).json()
    assert health["verdict"]
    image = client.get("/sample.png?run=cats&seen=48", headers={"host": HOST})
    assert image.headers["content-type"] == "image/png"


def test_the_filter_finds(client: TestClient):
    assert "/watch?run=cats" in client.get("/?filter=DCGAN", headers={"host": HOST}).text
    assert "/watch?run=cats" not in client.get("/?filter=stylegan", headers={"host": HOST}).text


def test_a_broken_run_is_told_and_harms_no_other(client: TestClient, trained: Path):
    broken = trained / "broken"
    broken.mkdir()
    (broken / "recipe.json").write_text("{")
    try:
        page = client.get("/", headers={"host": HOST})
        assert page.status_code == 200
        assert "broken" in page.text
        assert "/watch?run=cats" in page.text
        assert client.get("/watch?run=broken", headers={"host": HOST}).status_code == 422
    finally:
        (broken / "recipe.json").unlink()
        broken.rmdir()


def test_names_are_text_and_never_markup(trained: Path, client: TestClient):
    odd = trained / "<b>&'\"x"
    (trained / "cats").rename(odd)
    try:
        page = client.get("/", headers={"host": HOST}).text
        assert "<b>&" not in page
        assert "&lt;b&gt;" in page
        assert client.get("/watch", headers={"host": HOST}, params={"run": odd.name}).status_code == 200
    finally:
        odd.rename(trained / "cats")


def test_a_run_as_a_zip(client: TestClient, trained: Path):
    answer = client.get("/run.zip?run=cats", headers={"host": HOST})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert {"cats/recipe.json", "cats/log.jsonl", "cats/generator.safetensors"} <= names
        assert not any(name.endswith(".pt") for name in names)
        assert archive.read("cats/recipe.json") == (trained / "cats" / "recipe.json").read_bytes()


def test_a_long_log_is_thinned_but_keeps_every_word_of_the_quality(tmp_path: Path):
    run = Run(tmp_path / "long")
    run.folder.mkdir()
    with run.log_file.open("w") as log:
        for number in range(1, 60_001):
            line = {"images_seen": number, "loss_generator": number / 1000, "images_per_second": 5.0}
            if number % 9973 == 0:
                line |= {"kid": float(number), "kid_low": 0.0, "kid_high": 1.0}
            log.write(json.dumps(line) + "\n")
        log.write('{"images_seen": 70000, "loss_gen')  # cut off by a kill
    curves = watching.curves_of(run)
    assert curves["images_seen"] == sorted(curves["images_seen"])
    assert 500 < len(curves["images_seen"]) < 700
    assert curves["images_seen"][0] == 1
    assert curves["images_seen"][-1] == 60_000
    assert [kid for kid in curves["kid"] if kid is not None] == [9973.0 * k for k in range(1, 7)]
    for seen, loss in zip(curves["images_seen"], curves["loss_generator"], strict=True):
        assert loss == seen / 1000


def test_a_log_that_was_cut_and_grew_again_is_read_anew_and_by_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watching, "WHOLE", 1000)
    file = tmp_path / "log.jsonl"

    def written(kids: range) -> None:
        lines = ({"images_seen": 100 * kid + n} | ({"kid": kid} if not n else {}) for kid in kids for n in range(50))
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def kids(_: int = 0) -> list[float]:
        return [kid for kid in watching.curves_in(file, ("kid",), points=20)["kid"] if kid is not None]

    for numbers in (range(1, 150), range(1, 30), range(50, 250), range(51, 251)):  # the last of the same size
        written(numbers)
        with ThreadPoolExecutor(4) as pool:
            assert all(found == list(numbers) for found in pool.map(kids, range(8)))


def test_a_run_that_saves_its_end_has_no_time_left_and_not_less(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Run, "is_held", lambda run: True)
    run = Run(trained / "cats")
    lines = run.log_file.read_text().splitlines()
    beyond = json.loads(lines[-1]) | {"images_seen": 10**6, "images_per_second": 5.0}
    before = run.log_file.read_text()
    try:
        run.log_file.write_text(before + json.dumps(beyond) + "\n")
        assert watching.state_of(run, "cats")["seconds_left"] == 0
    finally:
        run.log_file.write_text(before)


def test_an_odd_log_is_no_trouble(tmp_path: Path):
    run = Run(tmp_path / "odd")
    run.folder.mkdir()
    assert watching.curves_of(run) == {"images_seen": []}
    run.log_file.write_text(
        'nonsense\n{"images_seen": 5, "kid": "x", "loss_generator": NaN}\n[1]\n\n{"images_seen": 6}'
    )
    assert watching.curves_of(run)["images_seen"] == [5, 6]
    json.dumps(watching.curves_of(run), allow_nan=False)


# --- exploring ------------------------------------------------------------------------------------


def picture_of(client: TestClient, **wish: str | float) -> bytes:
    answer = client.get("/generated.png", headers={"host": HOST}, params={"run": "cats", **wish})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_generators_pictures_follow_the_sliders(client: TestClient):
    plain = picture_of(client, seed=3)
    assert Image.open(io.BytesIO(plain)).size == (256, 256)
    assert Image.open(io.BytesIO(picture_of(client, seed=3, keep=1))).size == (16, 16)
    assert picture_of(client, seed=3) == plain
    assert picture_of(client, seed=2, across=1) == plain  # at the pad's right is the next seed
    for wish in ({"seed": 4}, {"truncation": 0.3}, {"across": 0.5}, {"down": 0.5}, {"along": "3,0"}):
        assert picture_of(client, **{"seed": 3, **wish}) != plain, wish


@pytest.mark.parametrize(
    "wish", [{"seed": "x"}, {"seed": -1}, {"truncation": "nan"}, {"across": 7}, {"along": "1e9"}, {"label": "cat"}]
)
def test_impossible_wishes_are_told(client: TestClient, wish: dict[str, str | float]):
    answer = client.get("/generated.png", headers={"host": HOST}, params={"run": "cats", **wish})
    assert answer.status_code == 422


def test_a_walk_is_a_film(client: TestClient):
    pytest.importorskip("imageio_ffmpeg")
    film = client.get("/walk.mp4?run=cats&seed=1", headers={"host": HOST})
    assert film.headers["content-type"] == "video/mp4"
    assert film.content[4:8] == b"ftyp"


# --- forms ----------------------------------------------------------------------------------------


def test_a_form_says_what_the_recipe_says():
    from hasama.fields import GROUPS

    recipe = Recipe(
        mirror=True, gamma=0.5, penalty="r1", discriminator_norm="none", generator_betas=(0.0, 0.9), only="a,b"
    )
    fields = {one.name: one for group in fields_of(recipe, GROUPS).values() for one in group}
    assert set(fields) == set(vars(recipe))
    form = {"shown": ",".join(fields)}
    form |= {name: one.value for name, one in fields.items() if one.kind != "truth" or one.value}
    assert filled_in(form, recipe) == {}
    form["batch"], form["gamma"] = "32", ""
    del form["mirror"]
    changes = filled_in(form, recipe)
    assert changes == {"batch": 32, "gamma": None, "mirror": False}
    assert flags_of(changes) == ["--batch", "32", "--no-mirror"] or "--no-mirror" in flags_of(changes)


# --- jobs -----------------------------------------------------------------------------------------


def wait_for(jobs: Jobs, job: Job, *states: str, seconds: float = 60) -> Job:
    until, now = time.monotonic() + seconds, job
    while time.monotonic() < until:
        jobs.turn()
        now = jobs.get(job.id)
        assert now is not None
        if now.state in states:
            return now
        time.sleep(0.1)
    raise AssertionError(f"{job.id} is {now.state}: {now.said()}")


def test_one_job_of_a_lane_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = Jobs(tmp_path / "jobs")
    real = subprocess.Popen
    slow = "import time; time.sleep(1.5)"
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: real([sys.executable, "-c", slow], **more))
    first, second = jobs.add(["train", "a"]), jobs.add(["train", "b"])
    paint = jobs.add(["style", "c"])
    assert [job.state for job in (first, second, paint)] == ["running", "waiting", "running"]
    wait_for(jobs, first, "done")
    assert wait_for(jobs, second, "running", "done").state in ("running", "done")
    third = jobs.add(["train", "c"])
    jobs.stop(third)
    assert wait_for(jobs, third, "stopped").pid is None
    wait_for(jobs, second, "done")


def test_a_studio_that_comes_back_finds_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = Jobs(tmp_path / "jobs")
    real = subprocess.Popen
    slow = "import time; time.sleep(30)"
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: real([sys.executable, "-c", slow], **more))
    job = jobs.add(["train", "a"])
    again = Jobs(tmp_path / "jobs")
    again.turn()
    now = again.get(job.id)
    assert now is not None
    assert now.state == "running"
    assert now.pid
    os.kill(now.pid, signal.SIGKILL)
    jobs.children[job.id].wait()
    assert wait_for(again, job, "done").code == -1


@pytest.mark.parametrize(("code", "state"), [(0, "stopped"), (130, "stopped"), (1, "failed"), (-9, "failed")])
def test_who_was_asked_to_stop_and_failed_has_failed(
    code: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    jobs = Jobs(tmp_path / "jobs")
    real = subprocess.Popen
    ends = f"os.kill(os.getpid(), {-code})" if code < 0 else f"os._exit({code})"
    script = (
        f"import os, signal, time; signal.signal(signal.SIGINT, lambda *_: {ends}); print(flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: real([sys.executable, "-c", script], **more))
    job = jobs.add(["train", "a"])
    until = time.monotonic() + 30
    while not job.printed.stat().st_size and time.monotonic() < until:
        time.sleep(0.05)
    jobs.stop(job)
    assert wait_for(jobs, job, "stopped", "failed", "done").state == state


@pytest.mark.real_jobs
def test_what_cannot_be_started_does_not_stop_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = Jobs(tmp_path / "jobs")
    assert wait_for(jobs, jobs.add(["train", "a\0b"]), "failed").about["why"]
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: real([sys.executable, "-c", "pass"], **more))
    wait_for(jobs, jobs.add(["train", "c"]), "done")


@pytest.mark.real_jobs
def test_what_fails_says_why(tmp_path: Path):
    jobs = Jobs(tmp_path / "jobs")
    job = wait_for(jobs, jobs.add(["train", str(tmp_path / "nothing")]), "failed")
    assert "nothing" in job.said()
    assert "Traceback" not in job.said()


# --- from pictures to a training ------------------------------------------------------------------


def test_digits_are_looked_at_and_trained(tmp_path: Path):
    app = make_studio(tmp_path, [HOST], "let-me-in")
    jobs = app.state.studio.jobs
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        answer = client.post("/train/look", headers=OWN, data={"source": "digits", "hours": "0.02", "size": "16"})
        assert answer.status_code == 303, answer.text
        address = answer.headers["location"]
        job = jobs.get(address.partition("job=")[2])
        wait_for(jobs, job, "done", seconds=120)
        page = client.get(address, headers={"host": HOST})
        assert 'action="/train/start"' in page.text
        shown = re.search(r'name="shown" value="([^"]+)"', page.text)
        assert shown is not None
        fields = _form_of(page.text) | {"kimg": "0.064", "name": "my digits", "batch": "8"}
        begun = client.post("/train/start", headers=OWN, data=fields)
        assert begun.status_code == 303, begun.text
        wait_for(jobs, jobs.get(begun.headers["location"].partition("job=")[2]), "done", seconds=180)
        there = client.get(begun.headers["location"], headers={"host": HOST})
        assert there.headers["location"] == "/watch?run=my%20digits"
        assert Run(tmp_path / "my digits").recipe().batch == 8
        other = client.post("/train/start", headers=OWN, data=fields | {"preset": "lesson", "name": "other"})
        wait_for(jobs, jobs.get(other.headers["location"].partition("job=")[2]), "done", seconds=180)
        recipe = Run(tmp_path / "other").recipe()
        assert (recipe.architecture, recipe.size, recipe.batch, recipe.kimg) == ("dense", "16", 8, 0.064)
        unknown = client.post("/train/start", headers=OWN, data=fields | {"preset": "none"})
        assert unknown.status_code == 422
        wrong = client.post("/train/start", headers=OWN, data=fields | {"batch": "-1"})
        assert wrong.status_code == 422
        assert "--batch" in wrong.text


def _form_of(page: str) -> dict[str, str]:
    """What a browser would send of the form."""
    form = page.partition('action="/train/start"')[2].partition("</form>")[0]
    found = {}
    for tag in re.findall(r"<input[^>]*>", form):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            found[given["name"]] = given.get("value", "on")
    for name, options in re.findall(r'<select name="(\w+)">(.*?)</select>', form, re.S):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def test_a_picture_is_painted_with_a_mask_and_then_larger(tmp_path: Path):
    content, style = lay_out(tmp_path / "given")
    mask = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).save(mask, "PNG")
    app = make_studio(tmp_path / "root", [HOST], "let-me-in")
    jobs = app.state.studio.jobs
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        page = client.get("/paint?recipe=instant", headers={"host": HOST}).text
        shown = re.search(r'name="shown" value="([^"]+)"', page)
        assert shown is not None
        data = {"recipe": "instant", "shown": "size,strength", "size": "48", "strength": "1"}
        files = {
            "content": ("c.png", content.read_bytes()), "styles": ("s.png", style.read_bytes()),
            "mask0": ("mask0.png", mask.getvalue()),
        }  # fmt: skip
        answer = client.post("/paint/start", headers=OWN, data=data, files=files)
        assert answer.status_code == 303, answer.text
        job = wait_for(jobs, jobs.get(answer.headers["location"].partition("job=")[2]), "done", seconds=120)
        assert "--where" in job.words
        told = client.get(f"/api/painting?job={job.id}", headers={"host": HOST}).json()
        assert told["picture"]
        made = client.get(f"/painting.png?job={job.id}", headers={"host": HOST})
        assert Image.open(io.BytesIO(made.content)).size == (48, 32)
        assert client.get(answer.headers["location"], headers={"host": HOST}).status_code == 200
        larger = client.post("/paint/larger", headers=OWN, data={"job": job.id})
        assert larger.status_code == 303, larger.text
        second = wait_for(jobs, jobs.get(larger.headers["location"].partition("job=")[2]), "done", seconds=120)
        assert Image.open(second.about["out"]).size == (96, 64)
        assert client.get("/paint", headers={"host": HOST}).text.count("/painting?job=") >= 2
        assert client.post("/paint/start", headers=OWN, data=data).status_code == 422


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mix": "2,x"}, "--mix takes a positive number for each of the 1 styles"),
        ({"content": -40}, "c.png cannot be read: truncated"),
        ({"styles": -40}, "s.png cannot be read: truncated"),
        ({"mask0": b"nonsense"}, "mask0.png cannot be read: not a picture"),
        ({"size": "0.5"}, "--size takes"),
    ],
)
def test_a_painting_that_could_only_fail_is_not_begun(wrong: dict[str, Any], told: str, tmp_path: Path):
    content, style = lay_out(tmp_path / "given")
    app = make_studio(tmp_path / "root", [HOST], "let-me-in")
    files = {"content": ("c.png", content.read_bytes()), "styles": ("s.png", style.read_bytes())}
    data = {"recipe": "instant", "shown": ""}
    for name, how in wrong.items():
        if isinstance(how, str):
            data |= {name: how, "shown": name}
        elif isinstance(how, bytes):
            files[name] = (f"{name}.png", how)
        else:
            files[name] = (files[name][0], files[name][1][:how])
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        answer = client.post("/paint/start", headers=OWN, data=data, files=files)
    assert answer.status_code == 422
    assert told in html.unescape(answer.text)
    assert app.state.studio.jobs.all() == []
    assert not list(app.state.studio.uploads.rglob("*"))  # nothing is left of what was sent


def test_a_run_is_stopped_and_goes_on(tmp_path: Path):
    app = make_studio(tmp_path, [HOST], "let-me-in")
    jobs = app.state.studio.jobs
    words = ["train", "digits", "dcgan", "--size", "16", "--width", "8", "--batch", "8", "--kimg", "2000"]
    job = jobs.add([*words, "--threads", "1", "--out", str(tmp_path / "long")], place=str(tmp_path / "long"))
    run = Run(tmp_path / "long")
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        until = time.monotonic() + 90
        while not run.log() and time.monotonic() < until:
            time.sleep(0.2)
        state = client.get("/api/state?run=long", headers={"host": HOST}).json()
        assert state["status"] == "training"
        assert client.post("/watch/resume", headers=OWN, data={"run": "long"}).status_code == 422
        assert client.post("/watch/stop", headers=OWN, data={"run": "long"}).status_code == 303
        wait_for(jobs, job, "done", "stopped")
        assert client.get("/api/state?run=long", headers={"host": HOST}).json()["status"] == "paused"
        stood = run.images_seen()
        assert stood > 0
        more = {"run": "long", "kimg": str((stood + 80) / 1000)}
        assert client.post("/watch/resume", headers=OWN, data=more).status_code == 303
        wait_for(jobs, jobs.all()[0], "done")
        assert run.images_seen() == stood + 80
        assert client.post("/watch/resume", headers=OWN, data=more | {"kimg": "many"}).status_code == 422


def test_pages_and_forms_have_their_own_addresses():
    assert not set(PAGES) & set(FORMS)


# --- the game in the plane ------------------------------------------------------------------------


def asked(client: TestClient, **what: object) -> dict:
    answer = client.post("/api/ring", headers=OWN, json=what)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_game_is_played_and_goes_on(client: TestClient):
    begun = asked(client, settings={"data": "ring"}, steps=0)
    assert begun["steps"] == 0
    assert len(begun["heat"]) == begun["side"] ** 2
    assert len(begun["grid"]) == begun["grid_side"] ** 2
    assert all(0 <= held <= 1 for held in begun["heat"])
    on = asked(client, id=begun["id"], settings={"data": "ring"}, steps=5)
    assert (on["id"], on["steps"]) == (begun["id"], 5)
    assert on["fake"] != begun["fake"]
    assert on["real"] == begun["real"]
    other = asked(client, id=begun["id"], settings={"data": "grid"}, steps=1)
    assert other["id"] != begun["id"]
    assert other["steps"] == 1


def test_one_player_steps_while_the_other_waits(client: TestClient):
    settings = {"data": "gaussians", "objective": "relativistic", "penalty": "r1+r2"}
    begun = asked(client, settings=settings, steps=3)
    d = asked(client, id=begun["id"], settings=settings, who="discriminator", steps=4)
    assert d["fake"] == begun["fake"]
    assert d["heat"] != begun["heat"]
    g = asked(client, id=begun["id"], settings=settings, who="generator", steps=4)
    assert g["heat"] == d["heat"]
    assert g["fake"] != d["fake"]


def test_the_same_settings_play_the_same_game(client: TestClient):
    games = [asked(client, settings={"seed": 3}, steps=20) for _ in range(2)]
    assert games[0]["fake"] == games[1]["fake"]
    rules = {"seed": 3, "objective": "hinge"}
    assert asked(client, settings=rules, steps=20)["fake"] != games[0]["fake"]


def test_rules_change_while_it_is_played(client: TestClient):
    begun = asked(client, settings={}, steps=2)
    still = asked(client, id=begun["id"], settings={"generator_lr": 0.0, "discriminator_lr": 0.0}, steps=3)
    assert still["id"] == begun["id"]
    assert still["fake"] == begun["fake"]
    assert asked(client, id=begun["id"], settings={"critic_steps": 4}, steps=4)["steps"] == 9


def test_points_that_one_draws_are_the_real_ones(client: TestClient):
    told = asked(client, settings={"data": "drawn", "points": [[0.5, 0.5], [-0.5, 0.2]]}, steps=1)
    assert told["of"] == 2
    near = [min((x - a) ** 2 + (y - b) ** 2 for a, b in ((0.5, 0.5), (-0.5, 0.2))) for x, y in told["real"]]
    assert max(near) < 0.03


def test_a_good_recipe_finds_the_ring_and_is_praised(client: TestClient):
    settings: dict = {"objective": "relativistic", "penalty": "r1+r2"}
    told: dict = {"id": ""}
    for _ in range(12):
        told = asked(client, id=told["id"], settings=settings, steps=100)
        if told["verdict"] == "ring_fine":
            break
    assert told["modes"] >= 7
    assert told["verdict"] == "ring_fine"


@pytest.mark.parametrize(
    "what",
    [
        {"settings": {"data": "moon"}}, {"settings": {"data": "drawn"}}, {"settings": {"latent_size": 99}},
        {"settings": {"gamma": "x"}}, {"settings": {"objective": "none"}}, {"steps": 10**6}, {"steps": -1},
        {"who": "nobody"}, {"settings": {"points": [[1]]}}, {"settings": {"generator_lr": -1.0}},
        {"settings": {"data": "drawn", "points": [[1e400, 0]]}},
    ],
)  # fmt: skip
def test_impossible_games_are_told(client: TestClient, what: dict):
    text = json.dumps(what)
    answer = client.post("/api/ring", headers=OWN | {"content-type": "application/json"}, content=text)
    assert answer.status_code == 422
    assert answer.json()["error"]


# --- remedies -------------------------------------------------------------------------------------


def test_a_remedy_trains_anew_with_what_is_advised(trained: Path, monkeypatch: pytest.MonkeyPatch):
    from types import SimpleNamespace

    from hasama.health.findings import Finding
    from hasama.health.remedies import Remedy
    from hasama.runs.reports import diagnosis

    remedy = Remedy({"discriminator_lr": 1e-5}, "it learns too fast")
    finding = Finding("discriminator-wins", "serious", 48, 0, {}, "It wins.", (remedy,))
    passed = Finding("mode-collapse", "serious", 48, 0, {}, "It passed.", (remedy,))
    found = SimpleNamespace(
        seen=(SimpleNamespace(finding=finding, holds=True), SimpleNamespace(finding=passed, holds=False))
    )
    monkeypatch.setattr(diagnosis, "diagnose", lambda run: found)
    real = subprocess.Popen
    quick = [sys.executable, "-c", "pass"]
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: real(quick, **more))
    app = make_studio(trained, [HOST], "let-me-in")
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        asked_for = {"run": "cats", "finding": "discriminator-wins", "number": "0"}
        assert client.post("/watch/remedy", headers=OWN, data=asked_for).status_code == 303
        job = next(job for job in app.state.studio.jobs.all() if job.about.get("instead_of"))
        wait_for(app.state.studio.jobs, job, "done")
        words = job.words
        assert words[:2] == ["train", "digits"]
        assert words[words.index("--discriminator-lr") + 1] == "1e-05"
        assert words[words.index("--out") + 1] == str(trained / "cats-2")
        for wrong in ({"number": "1"}, {"number": "x"}, {"finding": "mode-collapse"}, {"run": "dogs"}):
            assert client.post("/watch/remedy", headers=OWN, data=asked_for | wrong).status_code == 422
