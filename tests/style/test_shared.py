"""A folder that several processes paint: every picture by one of them, and what a killed one leaves by another."""

import itertools
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from command import Started, refused, run_hasama, start
from easel import STEPS, brief, hasama_here, job_in, lay_out, pixels_of
from hasama.claims import PATIENCE_SECONDS, Claim, claimed
from hasama.style.jobs.job import Job
from hasama.style.jobs.painting_file import paint_file
from hasama.style.jobs.shared import share
from odd_files import scene

LETTERS = "abcdef"
STOPS_AT = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, all different."""
    folder = tmp_path_factory.mktemp("shared") / "photos"
    folder.mkdir()
    for number, letter in enumerate(LETTERS):
        scene(48, 32, seed=number).save(folder / f"{letter}.png")
    return folder


@pytest.fixture(scope="module")
def style(photos: Path) -> Path:
    return lay_out(photos.parent / "style")[1]


@pytest.fixture(scope="module")
def alone(photos: Path, style: Path) -> Path:
    """What one process paints that nobody disturbs."""
    out = photos.parent / "alone"
    done = hasama_here("style", photos, style, "--out", out, *brief())
    assert done.returncode == 0, done.stderr
    return out


def check_all_as_alone(out: Path, alone: Path) -> None:
    names = sorted(f"{letter}--s.png" for letter in LETTERS)
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, *(f"{name}.json" for name in names)])
    for name in names:
        assert np.array_equal(pixels_of(out / name), pixels_of(alone / name)), name


def painters_of(said: list[str], out: Path) -> list[int]:
    """How many of the processes say of each picture that they have painted it."""
    return [sum(f"{out / letter}--s.png  48x32, " in words for words in said) for letter in LETTERS]


def dawdle() -> None:
    """The command, but it stands still in the middle of its first picture, after it has saved."""
    from hasama.style.jobs import painting_file

    save = painting_file._Keeper.save

    def and_stand_still(self: painting_file._Keeper, frame: painting_file.Frame) -> None:
        save(self, frame)
        if self.steps == STOPS_AT:
            print("standing still", flush=True)
            time.sleep(100)

    painting_file.SAVE_SECONDS = 0.0
    painting_file._Keeper.save = and_stand_still
    run_hasama()


def read_until(process: Started, words: str) -> str:
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("count", [2, 3])
def test_every_picture_is_painted_by_one_process(count: int, photos: Path, style: Path, alone: Path, tmp_path: Path):
    out = tmp_path / "out"
    processes = [start("style", photos, style, "--out", out, "--sheet", *brief()) for _ in range(count)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, said
    assert painters_of(said, out) == [1] * len(LETTERS), said
    assert any("sheet.png: 6 paintings" in words for words in said)  # whoever comes last sees all
    (out / "sheet.png").unlink()
    check_all_as_alone(out, alone)


def test_another_finishes_what_a_killed_process_has_begun(photos: Path, style: Path, alone: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = start("style", photos, style, "--out", out, *brief(), main=dawdle)
    read_until(first, "standing still")
    second = start("style", photos, style, "--out", out, *brief())
    said = read_until(second, "is painting it")
    assert f"[1/6] {photos / 'a.png'}: process {first.pid} is painting it" in said
    first.kill()
    first.communicate()
    rest = second.communicate()[0]
    assert second.returncode == 0, said + rest
    assert painters_of([said + rest], out) == [1] * len(LETTERS)
    assert f"Going on from {out / 'a--s.png.part'}." in rest
    assert json.loads((out / "a--s.png.json").read_text())["iterations"] == STEPS
    check_all_as_alone(out, alone)


def claim_elsewhere(place: Path, age: float) -> Path:
    """A claim of a machine that is not this one."""
    with claimed(place):
        (file,) = place.parent.glob(f".{place.name}*")
        told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"host": "nodeb", "machine": "another", "pid": 17}))
    os.utime(file, (then := time.time() - age, then))
    return file


def test_what_another_machine_paints_is_left_to_it_until_it_is_silent(photos: Path, style: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = ["style", photos, style, "--out", out, *brief(size=24, first_iterations=1)]
    file = claim_elsewhere(out / "b--s.png", age=0.5 * PATIENCE_SECONDS)
    done = hasama_here(*command)
    assert done.returncode == 0, done.stderr
    assert f"{photos / 'b.png'}: process 17 on nodeb is painting it" in done.stdout
    assert f"1 of 6 are being painted by others: {out / 'b--s.png'} (process 17 on nodeb)." in done.stdout
    assert not (out / "b--s.png").exists()
    single = ["style", photos / "b.png", style, "--out", out / "b--s.png", *brief(size=24, first_iterations=1)]
    refused(hasama_here(*single), "b--s.png: process 17 on nodeb is painting it. Wait for that")

    os.utime(file, (then := time.time() - 2 * PATIENCE_SECONDS, then))
    done = hasama_here(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is already painted.") == 5
    assert (out / "b--s.png").exists()
    assert not list(out.glob(".*"))


def test_who_has_lost_its_claim_writes_nothing_any_more(tmp_path: Path):
    """As after a laptop has slept: another process paints the picture, or has painted it."""
    job, asked = job_in(tmp_path), itertools.count()
    before = set(tmp_path.iterdir())
    frames = list(paint_file(job, lost=lambda: next(asked) >= STOPS_AT))
    assert len(frames) == STOPS_AT
    assert set(tmp_path.iterdir()) == before
    assert len(list(paint_file(job, lost=lambda: False))) == STEPS
    assert job.out.exists()


def test_a_painting_that_is_gone_on_with_does_not_change_the_next_one_s_threads(tmp_path: Path):
    def paint(number: int, job: Job, claim: Claim) -> None:
        seen.append(torch.get_num_threads())
        torch.set_num_threads(3)

    seen: list[int] = []
    jobs = [job_in(tmp_path, f"{name}.png") for name in "ab"]
    states = [turn.state for turn in share(jobs, lambda job: False, paint)]
    assert states == ["painted", "painted"]
    assert seen == [torch.get_num_threads()] * 2


def test_what_is_lost_on_the_way_is_looked_at_again_and_nobody_waits(tmp_path: Path):
    jobs = [job_in(tmp_path, f"{name}.png") for name in "abc"]
    painted: list[str] = []

    def paint(number: int, job: Job, claim: Claim) -> None:
        claim.lost = not painted  # the first one only
        painted.append(job.out.name)

    file = claim_elsewhere(jobs[2].out, age=0)
    turns = [(turn.job.out.stem, turn.state) for turn in share(jobs, lambda job: False, paint)]
    first = [("a", "others"), ("b", "painted"), ("c", "others")]
    assert turns == [*first, ("a", "painted"), ("c", "others"), ("c", "others")]
    assert file.exists()


def test_a_film_is_painted_by_one_process(tmp_path: Path):
    _, style = lay_out(tmp_path)
    frames = [scene(24, 16, seed=seed) for seed in (1, 2)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    claim_elsewhere(tmp_path / "out.gif", age=0)
    done = hasama_here("style", tmp_path / "film.gif", style, "--out", tmp_path / "out.gif", *brief())
    refused(done, "out.gif: process 17 on nodeb is painting it")
