"""The studio when something goes wrong: no room on the disk, bombs, a child that is killed, many visitors at once."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

starlette = pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient  # noqa: E402

from hasama.runs.folder import Run  # noqa: E402
from hasama.studio.app import make_studio  # noqa: E402
from hasama.studio.jobs import Job, Jobs  # noqa: E402

HOST = "127.0.0.1:8765"
OWN = {"host": HOST, "origin": f"http://{HOST}"}


def visit(root: Path) -> TestClient:
    return TestClient(make_studio(root, [HOST], "let-me-in"), base_url=f"http://{HOST}", follow_redirects=False)


def jobs_of(client: TestClient) -> Jobs:
    app: Any = client.app
    return app.state.studio.jobs


def ended(jobs: Jobs, name: str, seconds: float = 120) -> Job:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        jobs.turn()
        job = jobs.get(name)
        assert job is not None
        if job.state in ("done", "failed", "stopped"):
            return job
        time.sleep(0.1)
    raise AssertionError(name)


def png(side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(out, "PNG", compress_level=0)
    return out.getvalue()


# --- no room --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path):
    """A folder on a disk of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("no small disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_leaves_nothing_behind(small_disk: Path):
    with visit(small_disk) as client:
        assert client.get("/").status_code == 200
        large = {"content": ("c.png", png(800)), "styles": ("s.png", png())}
        answer = client.post("/paint/start", headers=OWN, data={"recipe": "instant", "shown": ""}, files=large)
        assert answer.status_code == 422, answer.text
        assert "No space left" in answer.text
        assert [file for file in small_disk.rglob("*") if file.is_file() and file.stat().st_size > 4096] == []
        (small_disk / "filling").write_bytes(bytes(shutil.disk_usage(small_disk).free))
        answer = client.post("/train/look", headers=OWN, data={"source": "digits", "hours": "1"})
        assert answer.status_code == 422, answer.text
        assert "No space left" in answer.text
        assert client.get("/").status_code == 200
        (small_disk / "filling").unlink()
        answer = client.post("/train/look", headers=OWN, data={"source": "digits", "hours": "0.02", "size": "16"})
        assert answer.status_code == 303, answer.text
        jobs = jobs_of(client)
        jobs.stop(ended(jobs, answer.headers["location"].partition("job=")[2]))


# --- bombs ----------------------------------------------------------------------------------------


def huge_header(side: int) -> bytes:
    """A PNG that says that it is as large as that, and has next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_a_picture_of_a_header_is_refused_in_a_sentence(tmp_path: Path):
    with visit(tmp_path) as client:
        files = {"content": ("c.png", huge_header(50_000)), "styles": ("s.png", png())}
        began = time.monotonic()
        answer = client.post("/paint/start", headers=OWN, data={"recipe": "instant", "shown": ""}, files=files)
        jobs = jobs_of(client)
        if answer.status_code == 303:
            job = ended(jobs, answer.headers["location"].partition("job=")[2])
            assert job.state == "failed"
            told = job.said()
        else:
            assert answer.status_code == 422
            told = answer.text
        assert "gigantic" in told
        assert "Traceback" not in told
        assert time.monotonic() - began < 60


class Repeated:
    """Compresses the same block again and again, which takes five seconds of doing it two thousand times."""

    def __init__(self, block: bytes) -> None:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.block, self.packed = block, deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)

    def compress(self, given: bytes) -> bytes:
        assert len(given) == len(self.block)
        return self.packed

    def flush(self) -> bytes:
        return b"\x03\x00"


def test_a_zip_that_unfolds_without_end_is_read_with_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two gibibytes of nothing in two mebibytes, beside pictures that are fine: these are used, that is told."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(24):
            archive.writestr(f"{number}.png", png(16))
        with monkeypatch.context() as patch, archive.open("bomb.png", "w", force_zip64=True) as bomb:
            patch.setattr(bomb, "_compressor", Repeated(bytes(2**20)))
            for _ in range(2048):
                bomb.write(bytes(2**20))
    assert len(out.getvalue()) < 4 * 2**20
    with visit(tmp_path) as client:
        files = {"files": ("many.zip", out.getvalue())}
        data = {"hours": "0.02", "size": "16"}
        answer = client.post("/train/look", headers=OWN, data=data, files=files)
        assert answer.status_code == 303, answer.text
        jobs = jobs_of(client)
        name = answer.headers["location"].partition("job=")[2]
        peak = 0
        while (job := jobs.get(name)) and job.state not in ("done", "failed", "stopped"):
            jobs.turn()
            peak = max(peak, _memory(job.pid))
            time.sleep(0.05)
        assert job is not None
        assert job.state == "done", job.said()
        assert json.loads(job.printed.read_text())["cache_bytes"] == 24 * 16 * 16 * 3  # of the 24 that are pictures
        assert peak < 1536


def _memory(pid: int | None) -> float:
    """MiB."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


# --- a child that is killed -----------------------------------------------------------------------


def test_a_training_that_is_killed_is_told_and_goes_on_where_it_was_saved(tmp_path: Path):
    words = ["train", "digits", "dcgan", "--size", "16", "--width", "8", "--batch", "8", "--kimg", "2000"]
    with visit(tmp_path) as client:
        jobs = jobs_of(client)
        job = jobs.add([*words, "--threads", "1", "--out", str(tmp_path / "long")], place=str(tmp_path / "long"))
        run = Run(tmp_path / "long")
        until = time.monotonic() + 90
        while not run.log() and time.monotonic() < until:
            time.sleep(0.1)
        client.post("/watch/stop", headers=OWN, data={"run": "long"})
        ended(jobs, job.id)
        saved = run.images_seen()
        client.post("/watch/resume", headers=OWN, data={"run": "long"})
        second = jobs.all()[0]
        while run.log()[-1]["images_seen"] <= saved and time.monotonic() < until:
            time.sleep(0.1)
        running = jobs.get(second.id)
        assert running is not None
        assert running.pid is not None
        os.kill(running.pid, signal.SIGKILL)
        assert ended(jobs, second.id).state == "failed"
        assert client.get("/api/state?run=long").json()["status"] == "paused"
        assert client.get("/watch?run=long").status_code == 200
        assert client.get("/").status_code == 200
        more = {"run": "long", "kimg": str((saved + 80) / 1000)}
        assert client.post("/watch/resume", headers=OWN, data=more).status_code == 303
        assert ended(jobs, jobs.all()[0].id).state == "done"
        assert run.images_seen() == saved + 80


# --- many at once ---------------------------------------------------------------------------------


def test_two_browsers_at_once_each_play_their_own_game(tmp_path: Path):
    seen: dict[int, list] = {1: [], 2: []}

    def play(client: TestClient, seed: int) -> None:
        asked = {"settings": {"seed": seed}, "who": "both", "steps": 5}
        for _ in range(4):
            answer = client.post("/api/ring", headers=OWN, json=asked)
            told = answer.json()
            asked["id"] = told["id"]
            seen[seed].append((told["steps"], told["fake"]))
            assert client.get("/").status_code == 200

    with visit(tmp_path) as client:
        both = [threading.Thread(target=play, args=(client, seed)) for seed in seen]
        for one in both:
            one.start()
        for one in both:
            one.join(60)
        assert [steps for steps, _ in seen[1]] == [steps for steps, _ in seen[2]] == [5, 10, 15, 20]
        assert seen[1][-1][1] != seen[2][-1][1]
        alone: dict = {"settings": {"seed": 1}, "who": "both", "steps": 5}
        for steps, fake in seen[1]:
            told = client.post("/api/ring", headers=OWN, json=alone).json()
            alone["id"] = told["id"]
            assert (told["steps"], told["fake"]) == (steps, fake)
