"""A run with --enlarge: the enlarger is fine-tuned, the game played, the enlarger finished; killed at any time."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from command import hasama, make_pictures, refused
from hasama.errors import HasamaError
from hasama.generators.generator_file import load_generator
from hasama.health import quality
from hasama.networks.enlarger import WEIGHTS, Enlarged, load_enlarger
from hasama.pictures.cache import open_pictures
from hasama.presets import RECIPES
from hasama.runs import enlarging
from hasama.runs.enlarging import Tuning
from hasama.runs.folder import Run
from hasama.runs.session import resume, train
from hasama.tensor_files import header_of
from hasama.training.game import Record

RECIPE = RECIPES["r3gan"].but(
    size="32",
    enlarge=2,
    width=2,
    latent_size=4,
    kimg=0.08,
    batch=8,
    ema_kimg=0.01,
    quality_kimg=0.04,
    sample_kimg=0.04,
    health_kimg=0.0,
    checkpoint_minutes=0.0,
    precision="fp32",
)


@pytest.fixture(scope="module", autouse=True)
def brief() -> Iterator[None]:
    """Stages of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enlarging, "STEPS", {"fine-tuning": 6, "finish": 4})
        patch.setattr(enlarging, "LOOK_STEPS", 2)
        patch.setattr(enlarging, "HELD", 4)
        patch.setattr(enlarging, "SIDE", {2: 32, 4: 32, 8: 64})
        patch.setattr(enlarging, "COUNT", {2: 2, 4: 2, 8: 2})
        patch.setattr(quality, "FAKES", 32)
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("p") / "pictures", 40, side=40)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record], dict[str, Path]]:
    """The run that nothing interrupts, its records, and what stood on the disk at some moments of it."""
    place = tmp_path_factory.mktemp("runs")
    run, records, left = place / "whole", [], {}
    moments = {("fine-tuning", 1): "at once", ("fine-tuning", 5): "tuning", ("finish", 3): "finish"}
    for record in train(str(pictures), RECIPE, run):
        records.append(record)
        stage = record.stage if isinstance(record, Tuning) else "game"
        number = sum((r.stage if isinstance(r, Tuning) else "game") == stage for r in records)
        name = moments.get((stage, number)) or ("game" if (stage, number) == ("game", 5) else None)
        if name:
            left[name] = Path(shutil.copytree(run, place / name))
    return run, records, left


def test_a_kill_costs_no_more_of_the_fine_tuning_than_of_the_game(
    whole: tuple[Path, list[Record], dict[str, Path]],
):
    """It is saved every --checkpoint-minutes, too, and not at its looks alone."""
    assert Run(whole[2]["at once"]).enlarging.exists()


def test_the_stages_follow_each_other(whole: tuple[Path, list[Record], dict[str, Path]]):
    run, records, _ = whole
    stages = [record.stage if isinstance(record, Tuning) else "game" for record in records]
    assert stages == ["fine-tuning"] * 6 + ["game"] * 10 + ["finish"] * 4
    assert [record.images_seen for record in records] == [0] * 6 + list(range(8, 88, 8)) + [80] * 4
    assert json.loads(header_of(Run(run).enlarger)) == {"stage": "finish", "steps": 4, "images_seen": 80}
    assert not Run(run).enlarging.exists()
    with Image.open(Run(run).sample_file(80)) as grid:
        assert grid.width > 8 * 32


def test_the_enlarger_learns_and_all_files_have_it(whole: tuple[Path, list[Record], dict[str, Path]]):
    run = Run(whole[0])
    finished = load_enlarger(run.enlarger).state_dict()
    shipped = load_enlarger(WEIGHTS).state_dict()
    assert any(not torch.equal(tensor, shipped[name]) for name, tensor in finished.items())
    for file in (run.generator, run.best):
        network = load_generator(file).network
        assert isinstance(network, Enlarged)
        for name, tensor in network.enlarger.state_dict().items():
            assert torch.equal(tensor, finished[name]), (file, name)
    assert "kid" in json.loads(header_of(run.best))
    game = run.saved_game()
    for part in ("generator", "ema"):
        assert all(torch.equal(game[part][f"enlarger.{name}"], tensor) for name, tensor in finished.items())


@pytest.mark.parametrize("moment", [pytest.param("at once", marks=pytest.mark.slow), "tuning", "game", "finish"])
def test_killed_at_any_time_it_goes_on_to_the_same_end(
    moment: str, whole: tuple[Path, list[Record], dict[str, Path]], tmp_path: Path
):
    run, records, left = whole
    out = Path(shutil.copytree(left[moment], tmp_path / "run"))
    again = list(resume(out))
    assert len(again) < len(records) or moment == "at once"
    for name in ("generator.safetensors", "best.safetensors", "enlarger.safetensors"):
        assert (out / name).read_bytes() == (run / name).read_bytes(), name
    last = Run(run).sample_file(80).name
    assert (out / "samples" / last).read_bytes() == (run / "samples" / last).read_bytes()


@pytest.mark.parametrize("last", [1, *(pytest.param(last, marks=pytest.mark.slow) for last in (2, 3, 4, 6))])
def test_stopped_while_tuning_nothing_is_lost(
    last: int, pictures: Path, tmp_path: Path, whole: tuple[Path, list, dict]
):
    """Between two looks, or where one is due."""
    out = tmp_path / "run"
    for number, _ in enumerate(train(str(pictures), RECIPE, out), 1):
        if number == last:
            break  # as Ctrl-C does
    assert len([record for record in resume(out) if isinstance(record, Tuning)]) == 6 - last + 4
    for name in ("generator.safetensors", "enlarger.safetensors"):
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.parametrize("look_steps", [2, 100])
def test_what_makes_it_worse_is_not_kept(
    look_steps: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What ships is looked at, too, and so is the last step, however few there are."""
    monkeypatch.setattr(enlarging, "RATE", 10.0)
    monkeypatch.setattr(enlarging, "LOOK_STEPS", look_steps)
    run = Run(tmp_path / "run")
    steps = train(str(pictures), RECIPE, run.folder)
    next(step for step in steps if not isinstance(step, Tuning))
    shipped, kept = (load_enlarger(file).state_dict() for file in (WEIGHTS, run.enlarger))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in shipped.items())


def test_the_steps_after_the_last_look_count(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(enlarging, "LOOK_STEPS", 100)
    looks = []
    monkeypatch.setattr(enlarging._Stage, "look", lambda stage: looks.append(stage.steps))
    steps = train(str(pictures), RECIPE, tmp_path / "run")
    next(step for step in steps if not isinstance(step, Tuning))
    assert looks == [0, 6]


@pytest.mark.slow
def test_a_longer_run_finishes_the_enlarger_again(whole: tuple[Path, list[Record], dict[str, Path]], tmp_path: Path):
    out = Path(shutil.copytree(whole[0], tmp_path / "longer"))
    Run(out).save_recipe(RECIPE.but(kimg=0.12))
    stages = [record.stage if isinstance(record, Tuning) else "game" for record in resume(out)]
    assert stages == ["game"] * 5 + ["finish"] * 4
    assert json.loads(header_of(Run(out).enlarger))["images_seen"] == 120
    assert not list(resume(out))  # and nothing more


def test_damaged_files_are_told(whole: tuple[Path, list[Record], dict[str, Path]], tmp_path: Path):
    out = Path(shutil.copytree(whole[2]["tuning"], tmp_path / "damaged"))
    Run(out).enlarging.write_bytes(b"PK not really")
    with pytest.raises(HasamaError, match="delete it, and the fine-tuning of the enlarger begins anew"):
        list(resume(out))
    cut = bytearray((whole[2]["tuning"] / Run(out).enlarging.name).read_bytes())
    cut[len(cut) // 2] ^= 8
    Run(out).enlarging.write_bytes(cut)
    with pytest.raises(HasamaError, match="delete it, and the fine-tuning of the enlarger begins anew"):
        list(resume(out))
    Run(out).enlarging.unlink()
    Run(out).enlarger.write_bytes(b"nothing")
    with pytest.raises(HasamaError, match=r"enlarger.safetensors is not a readable enlarger.*Delete it, and"):
        list(resume(out))


@pytest.mark.parametrize(
    ("changes", "count", "mode"),
    [
        pytest.param({"labels": True, "mirror": True}, 24, "RGB", marks=pytest.mark.slow),
        ({"size": "24x48"}, 24, "L"),
        ({"enlarge": 4, "size": "32x48"}, 24, "RGBA"),
        pytest.param({"vision_aid": "efficientnet", "batch": 4}, 6, "RGB", marks=pytest.mark.slow),
        ({"architecture": "vae", "objective": "non-saturating", "penalty": "none", "gamma_final": 1.0}, 24, "RGB"),
    ],
)
def test_other_pictures(changes: dict, count: int, mode: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    channels = len(mode)
    for number in range(count):
        folder = tmp_path / "p" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 256, (48, 48, channels), np.uint8)
        Image.fromarray(values[..., 0] if channels == 1 else values, mode).save(folder / f"{number}.png")
    recipe = RECIPE.but(**{"lr_final": 1.0, "held_out": 0.0} | changes)
    records = list(train(str(tmp_path / "p"), recipe, tmp_path / "run"))
    assert isinstance(records[-1], Tuning)
    assert all(np.isfinite(value) for record in records for value in record.figures().values())
    assert load_generator(tmp_path / "run" / "generator.safetensors").channels == channels


# --- the command ----------------------------------------------------------------------------------


def picture(mode: str, width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    values = np.stack([(x * 3 + y * k) % 256 for k in range(4)], -1).astype(np.uint8)
    return Image.fromarray(values, "RGBA") if mode == "RGBA" else Image.fromarray(values[..., :3]).convert(mode)


@pytest.mark.parametrize(("mode", "times"), [("L", 2), ("RGB", 4), ("RGBA", 2), ("P", 2), ("RGB", 8)])
def test_enlarge_a_picture(mode: str, times: int, tmp_path: Path):
    picture(mode, 21, 33).save(tmp_path / "a.png")
    done = hasama("enlarge", tmp_path / "a.png", "--times", times)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / f"a-x{times}.png") as made:
        assert made.size == (21 * times, 33 * times)
        assert made.mode == ("RGBA" if mode == "RGBA" else "RGB")
        small = made.convert("RGB").reduce(times)
    there = np.asarray(picture(mode, 21, 33).convert("RGB"), int)
    if mode in ("L", "RGB"):
        assert np.abs(np.asarray(small, int) - there)[2:-2, 2:-2].mean() < 25


def test_a_folder_that_is_there_may_have_a_dot_in_its_name(tmp_path: Path):
    picture("RGB", 10, 12).save(tmp_path / "a.png")
    out = tmp_path / "results.v2"
    out.mkdir()
    for words in (("enlarge", tmp_path / "a.png"), ("sample", "digits", "--count", 1)):
        done = hasama(*words, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert {file.name for file in out.iterdir()} == {"a.png", "seed0-000000.png"}


def test_enlarge_a_folder_passes_over_what_is_broken(tmp_path: Path):
    (tmp_path / "p" / "more").mkdir(parents=True)
    picture("RGB", 10, 12).save(tmp_path / "p" / "a.png")
    picture("L", 10, 12).save(tmp_path / "p" / "more" / "b.jpg")
    (tmp_path / "p" / "c.png").write_bytes(b"no picture")
    done = hasama("enlarge", tmp_path / "p", "--times", 2)
    assert done.returncode == 1
    assert "c.png" in done.stderr
    assert "2 of 3 enlarged" in done.stdout
    made = {str(file.relative_to(tmp_path / "p-x2")) for file in (tmp_path / "p-x2").rglob("*.png")}
    assert made == {"a.png", "more/b.png"}


@pytest.mark.parametrize("where", [".", "my.photos", "..", "../my.photos"])
def test_folders_of_any_name_are_enlarged_beside_themselves(where: str, tmp_path: Path):
    folder = tmp_path / "my.photos"
    folder.mkdir()
    (folder / "below").mkdir()
    picture("RGB", 8, 8).save(folder / "a.png")
    (folder / "round.png").symlink_to(folder / "round.png")
    here = {"my.photos": tmp_path, "..": folder / "below"}.get(where, folder)
    done = hasama("enlarge", where, "--times", 2, cwd=here)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in (tmp_path / "my.photos-x2").iterdir()] == ["a.png"]


def test_a_new_folder_with_a_dot_is_no_picture(tmp_path: Path):
    (tmp_path / "p").mkdir()
    picture("RGB", 8, 8).save(tmp_path / "p" / "a.png")
    assert hasama("enlarge", tmp_path / "p", "--times", 2, "--out", tmp_path / "v1.2").returncode == 0
    assert (tmp_path / "v1.2" / "a.png").exists()
    refused(hasama("enlarge", tmp_path / "p", "--times", 2, "--out", tmp_path / "b.png"), "is a folder: --out")


def test_the_place_is_tried_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from hasama.cli.generators.project import enlarge
    from hasama.generators import enlarging

    picture("RGB", 8, 8).save(tmp_path / "a.png")
    (tmp_path / "taken.png").mkdir()
    monkeypatch.setattr(enlarging, "enlarge_in_tiles", lambda *given: pytest.fail("enlarged first"))
    with pytest.raises(HasamaError, match=r"Cannot write .*taken.png"):
        enlarge(tmp_path / "a.png", times="2", out=tmp_path / "taken.png")


def test_what_cannot_be_enlarged_is_told(tmp_path: Path):
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    refused(hasama("enlarge", tmp_path / "round.png"), "round.png")
    (tmp_path / "round.png").unlink()
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    refused(hasama("enlarge", tmp_path / "gone.png"), "It is a link to nowhere.png, which is not there.")
    (tmp_path / "gone.png").unlink()
    refused(hasama("enlarge", tmp_path / "none.png"), "There is no picture at")
    picture("RGB", 8, 8).save(tmp_path / "a.png")
    refused(hasama("enlarge", tmp_path / "a.png", "--times", 3), "times")
    refused(hasama("enlarge", tmp_path / "a.png", "--out", tmp_path / "b.doc"), ".doc")
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png")
    refused(hasama("enlarge", tmp_path / "large.png", "--times", 8), "72000x72000", "--times")
    assert {file.name for file in tmp_path.iterdir()} == {"a.png", "large.png"}


def test_how_long_the_fine_tuning_takes_is_told_beforehand(monkeypatch: pytest.MonkeyPatch, pictures: Path):
    """By its longest length, and a clock that ticks once a step."""
    monkeypatch.setattr(enlarging, "STEPS", {"fine-tuning": 400})
    monkeypatch.setattr(enlarging, "TIMED", 1)
    monkeypatch.setattr(enlarging, "time", SimpleNamespace(perf_counter=iter(map(float, range(100))).__next__))
    found, cpu = open_pictures(str(pictures), RECIPE), torch.device("cpu")
    for kimg, steps in ((0.08, 10), (3.2, 50), (10_000.0, 400)):  # at least; an eighth of the game's; at most
        assert enlarging.tuning_seconds(RECIPE.but(kimg=kimg), found, cpu) == steps
    assert enlarging.tuning_seconds(RECIPE.but(enlarge=1), found, cpu) == 0
