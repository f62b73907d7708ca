"""A run that was interrupted and resumed is the run that was not: bit for bit, whatever interrupted it."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from command import FORM, TINY, hasama, make_pictures, refused, run_code, start
from hasama.presets import RECIPES
from hasama.runs.folder import Run
from hasama.runs.standing import rising

SMALL = ["dcgan", *FORM]  # for runs of some `length`
BRIEF = ["dcgan", *TINY]
TIMES = ("seconds", "images_per_second")


def length(kimg: float = 4.8, minutes: float = 0.002) -> list[object]:
    """The flags of a run of 300 steps that is saved often, and whose rates fall."""
    schedule = ["--lr-final", 0.25, "--schedule-kimg", 4]
    return ["--kimg", kimg, "--sample-kimg", 0.5, "--checkpoint-minutes", minutes, "--mirror", *schedule]


@pytest.fixture(scope="module")
def reference(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupted."""
    out = tmp_path_factory.mktemp("reference") / "run"
    done = hasama("train", pictures, *SMALL, *length(), "--out", out, HASAMA_CACHE=str(out.parent / "cache"))
    assert done.returncode == 0, done.stderr
    return out


def same_tensors(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return one == other


def assert_same_run(run: Path, reference: Path) -> None:
    """Weights, optimizers, averages, log and sample grids are equal to the last bit."""
    games = [torch.load(folder / "game.pt", weights_only=True) for folder in (run, reference)]
    assert same_tensors(*games)
    assert (run / "generator.safetensors").read_bytes() == (reference / "generator.safetensors").read_bytes()
    logs = [
        [{name: value for name, value in line.items() if name not in TIMES} for line in Run(folder).log()]
        for folder in (run, reference)
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 30 + 1  # every tenth of 300 steps, and the doctor's look at 3 kimg
    assert sum("diversity" in line for line in logs[0]) == 1
    grids = [{file.name: file.read_bytes() for file in (folder / "samples").iterdir()} for folder in (run, reference)]
    assert grids[0].items() >= grids[1].items()  # an interrupted run may have one more, from where it stopped


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(seed: int, pictures: Path, reference: Path, tmp_path: Path):
    out, kills, chance = tmp_path / "run", 0, random.Random(seed)
    for _ in range(40):
        process = start("train", pictures, *SMALL, *length(), "--out", out)
        if kills < 3:
            before = (out / "game.pt").stat().st_mtime_ns if (out / "game.pt").exists() else 0
            wait_for(
                lambda process=process, before=before: (
                    process.poll() is not None
                    or ((out / "game.pt").exists() and (out / "game.pt").stat().st_mtime_ns != before)
                )
            )
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        assert Run(out).recipe().kimg == 4.8  # never a run that cannot be read
        if (out / "game.pt").exists():
            torch.load(out / "game.pt", weights_only=True)
    assert kills >= 1
    assert_same_run(out, reference)
    assert not [file.name for file in out.iterdir() if file.name.startswith(".") and file.name != ".lock"]


def test_killed_before_the_first_checkpoint(pictures: Path, reference: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = start("train", pictures, *SMALL, *length(minutes=5), "--out", out)
    wait_for((out / "recipe.json").exists)
    process.kill()
    process.communicate()
    assert not (out / "game.pt").exists()
    assert hasama("resume", out).returncode == 0
    games = [torch.load(folder / "game.pt", weights_only=True) for folder in (out, reference)]
    assert same_tensors(*games)


def test_ctrl_c_saves_and_says_how_to_go_on(pictures: Path, reference: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = start("train", pictures, *SMALL, *length(), "--out", out)
    wait_for(lambda: len(Run(out).log()) >= 3)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"hasama resume {out}" in said
    assert "Traceback" not in said
    seen = Run(out).images_seen()
    assert 0 < seen < 4800
    done = hasama("resume", out)
    assert done.returncode == 0
    assert "Going on with" in done.stdout
    assert_same_run(out, reference)


def test_stop_command_from_another_process(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = start("train", pictures, *SMALL, *length(kimg=1000), "--out", out)
    wait_for(lambda: len(Run(out).log()) >= 2)
    refused(hasama("train", pictures, *SMALL, *length(kimg=1000), "--out", out), "another process")
    assert "training" in hasama("runs", tmp_path, COLUMNS="200").stdout
    assert hasama("stop", out).returncode == 0
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "hasama resume" in said
    assert 0 < Run(out).images_seen() < 1_000_000
    assert "stopped" in hasama("runs", tmp_path, COLUMNS="200").stdout


def test_pictures_that_changed_meanwhile_do_not_change_the_run(reference: Path, tmp_path: Path):
    pictures, out = make_pictures(tmp_path / "pictures"), tmp_path / "run"
    done = hasama("train", pictures, *SMALL, *length(1.6), "--out", out)
    assert done.returncode == 0
    (pictures / "light" / "000.png").unlink()
    done = hasama("train", pictures, *SMALL, *length(), "--out", out)
    assert done.returncode == 0
    assert "have changed since" in done.stdout
    assert "the 40 pictures" in " ".join(done.stdout.split())
    games = [torch.load(folder / "game.pt", weights_only=True) for folder in (out, reference)]
    assert same_tensors(*games)


def test_changed_pictures_without_the_cache_are_refused(tmp_path: Path):
    pictures, out = make_pictures(tmp_path / "pictures"), tmp_path / "run"
    assert hasama("train", pictures, *BRIEF, "--kimg", "0.2", "--out", out).returncode == 0
    (pictures / "light" / "000.png").unlink()
    before = (out / "game.pt").read_bytes()
    refused(hasama("resume", out, "--kimg", "0.4", HASAMA_CACHE=str(tmp_path / "other")), "are not those", "--out")
    assert (out / "game.pt").read_bytes() == before


def test_a_full_disk_keeps_the_last_checkpoint(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert hasama("train", pictures, *BRIEF, "--kimg", "0.32", "--out", out).returncode == 0
    before = {name: (out / name).read_bytes() for name in ("game.pt", "generator.safetensors", "loss.png")}

    no_room = (  # a file cannot grow beyond this: what a full disk does, for one process
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from hasama.cli.app import main; main()"
    )
    process = start(no_room, "resume", out, "--kimg", "0.64", main=run_code)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert "Traceback" not in said
    assert "Cannot write" in said
    assert {name: (out / name).read_bytes() for name in before} == before
    assert hasama("resume", out).returncode == 0


def test_a_damaged_checkpoint_is_refused_and_left_alone(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert hasama("train", pictures, *BRIEF, "--kimg", "0.2", "--out", out).returncode == 0
    whole = (out / "game.pt").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint", whole[:2000] + bytes(500) + whole[2500:]):
        (out / "game.pt").write_bytes(damaged)
        refused(hasama("resume", out, "--kimg", "0.4"), "checkpoint", "damaged")
        assert (out / "game.pt").read_bytes() == damaged


def test_a_checkpoint_never_executes_code(pictures: Path, tmp_path: Path):
    out, trace = tmp_path / "run", tmp_path / "executed"
    assert hasama("train", pictures, *BRIEF, "--kimg", "0.2", "--out", out).returncode == 0

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {trace}",)

    torch.save({"version": "0", "game": Bomb()}, out / "game.pt")
    refused(hasama("resume", out, "--kimg", "0.4"), "damaged")
    assert not trace.exists()


def test_other_settings_do_not_fit_a_run(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    command = ["train", pictures, *BRIEF, "--out", out]
    assert hasama(*command, "--kimg", "0.2").returncode == 0
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    refused(hasama(*command, "--kimg", "0.2", "--seed", "3"), "--seed 0 (now --seed 3)", "hasama resume")
    refused(hasama("train", make_pictures(tmp_path / "others", 3), *BRIEF, "--out", out), "is training on")
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    assert hasama(*command, "--kimg", "0.4").returncode == 0  # a new length is no other setting
    assert Run(out).images_seen() == 400
    assert json.loads((out / "recipe.json").read_text())["recipe"]["kimg"] == 0.4
    assert "already has its" in hasama(*command).stdout  # and without --kimg the run's own holds


def test_what_has_been_moved_away_is_the_same_by_any_of_its_names(tmp_path: Path):
    """The same command, typed with relative paths as before: the run has all that it needs."""
    make_pictures(tmp_path / "cats")
    begun = ["train", "cats", *BRIEF, "--kimg", "0.1", "--out", "begun"]
    assert hasama(*begun, cwd=str(tmp_path)).returncode == 0
    words = ["train", "cats", *BRIEF, "--init-from", "begun", "--out", "run"]
    done = hasama(*words, "--kimg", "0.1", cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (tmp_path / "cats").rename(tmp_path / "moved")
    (tmp_path / "begun").rename(tmp_path / "gone")
    done = hasama(*words, "--kimg", "0.2", cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").images_seen() >= 200
    refused(hasama("train", "dogs", *words[2:], cwd=str(tmp_path)), "is training on")
    refused(hasama(*words[:-4], "--init-from", "other", *words[-2:], cwd=str(tmp_path)), "now --init-from")


def test_that_rates_rise_again_in_a_longer_run_is_told(tmp_path: Path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    recipe = RECIPES["dcgan"].but(kimg=10.0, lr_final=0.1)
    run.save_recipe(recipe)
    assert rising(run, recipe.but(kimg=20.0)) == ""  # nothing was trained yet
    (run.folder / "game.pt").touch()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "images_seen", lambda self: 10_000)
        told = rising(run, recipe.but(kimg=20.0))
        assert "had fallen to 10%, rise to 55% of the first" in told
        assert rising(run, recipe) == ""
        run.save_recipe(recipe.but(schedule_kimg=10.0))
        assert rising(run, recipe.but(kimg=20.0, schedule_kimg=10.0)) == ""


def test_a_longer_run_is_not_made_shorter(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    command = ["train", pictures, *BRIEF, "--kimg", "0.2", "--out", out]
    assert hasama(*command).returncode == 0
    assert hasama("resume", out, "--kimg", "0.4").returncode == 0
    assert hasama(*command).returncode == 0
    assert Run(out).recipe().kimg == 0.4
    refused(hasama("resume", out, "--kimg", "0.3"), "already has 0.4 kimg", "larger")


def test_resuming_keeps_the_threads(pictures: Path, tmp_path: Path):
    """For another number of threads adds in another order, and the bits differ."""
    out = tmp_path / "run"
    assert hasama("train", pictures, *BRIEF, "--kimg", "0.2", "--threads", 2, "--out", out).returncode == 0
    assert hasama("resume", out, "--kimg", "0.4", OMP_NUM_THREADS="1").returncode == 0
    assert Run(out).threads() == 2
    assert hasama("resume", out, "--kimg", "0.6", "--threads", 1).returncode == 0
    assert Run(out).threads() == 1


def test_moved_pictures_without_the_cache(tmp_path: Path):
    pictures, out = make_pictures(tmp_path / "pictures"), tmp_path / "a run"
    flags = [*BRIEF, "--out", out]
    assert hasama("train", pictures, *flags, "--kimg", "0.2").returncode == 0
    others = make_pictures(tmp_path / "others", 8)
    elsewhere = {"HASAMA_CACHE": str(tmp_path / "elsewhere")}
    refused(hasama("train", others, *flags, "--kimg", "0.4", **elsewhere), "are not those")
    pictures.rename(tmp_path / "moved")
    refused(hasama("resume", out, "--kimg", "0.4", **elsewhere), "no pictures at", "NEWPLACE", f"--out '{out}'")
    done = hasama("train", tmp_path / "moved", *flags, "--kimg", "0.4", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert Run(out).images()["name"] == str(tmp_path / "moved")
    assert f"hasama resume '{out}'" in done.stdout  # fit for pasting, the blank notwithstanding


def test_runs_tell_what_was_really_saved(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = start("train", pictures, *SMALL, *length(kimg=1000, minutes=60), "--out", out)
    wait_for(lambda: len(Run(out).log()) >= 3)
    process.kill()
    process.communicate()
    assert " 0/1000 " in hasama("runs", tmp_path, COLUMNS="200").stdout
    process = start("resume", out)
    assert process.stdout
    said = process.stdout.readline()
    assert "at 0 of 1000 kimg" in said
    assert "was not saved, and is done again" in said
    process.kill()
    process.communicate()


@pytest.mark.parametrize("how", ["touched", "unpacked anew", "one changed"])
def test_contents_decide_whether_the_files_have_changed(how: str, tmp_path: Path):
    pictures, out = make_pictures(tmp_path / "pictures", 8), tmp_path / "run"
    command = ["train", pictures, *TINY, "--out", out]
    assert hasama(*command, "--kimg", "0.1").returncode == 0
    for file in sorted(pictures.rglob("*.png")):
        data = file.read_bytes()
        if how == "unpacked anew":
            file.unlink()
        if how != "touched":
            file.write_bytes(data)
        os.utime(file, (1e9, 1e9))
    if how == "one changed":
        file = pictures / "light" / "000.png"
        file.write_bytes((pictures / "dark" / "001.png").read_bytes())
    done = hasama(*command, "--kimg", "0.2")
    assert done.returncode == 0, done.stderr
    assert ("have changed since" in done.stdout) == (how == "one changed")
    assert Run(out).images_seen() >= 200


def test_one_picture_is_told_before_the_first_step(tmp_path: Path):
    folder = tmp_path / "one"
    make_pictures(folder, 1)
    done = hasama("train", folder, *TINY, "--kimg", "0.05", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "There is only one picture" in said
    assert f"hasama train {folder}/light/000.png" in done.stdout.replace("\n", "")
