"""hasama sample --seeds, mix, directions and project: what they write and say, and what they refuse."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

import hasama.cli.progress
import hasama.pictures.video
from command import refused
from easel import hasama_here, pixels_of
from hasama.cli.arguments import numbers_of
from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.generators.sampling import draw_latents, generate_all
from hasama.networks.registry import build
from hasama.pictures.images import grid
from hasama.recipe import Recipe

TILE = 66  # of 64 pixels, with the gap


def write(folder: Path, architecture: str, channels: int = 3, classes: tuple[str, ...] = ()) -> Path:
    """An untrained generator of 16x16 pictures as a file."""
    recipe = Recipe(architecture=architecture, size="16", width=4, latent_size=8)  # pyright: ignore
    network = build(recipe, channels, len(classes)).generator
    for weight in () if architecture == "stylegan" else network.parameters():  # whose own first weights are large
        nn.init.normal_(weight, 0, 0.3, torch.Generator().manual_seed(weight.numel()))
    path = folder / f"{architecture}-{channels}.safetensors"
    save_generator(TrainedGenerator(network, recipe, 8, channels, classes), path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain"), "dcgan", classes=("cat", "dog"))


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("styled"), "stylegan")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def header(file: Path) -> dict:
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["hasama"])


def tile(table: np.ndarray, row: int, column: int) -> np.ndarray:
    return table[2 + row * TILE :, 2 + column * TILE :][:64, :64]


# --- sample ---------------------------------------------------------------------------------------


def test_numbers():
    assert numbers_of("0-3", "--seeds") == [0, 1, 2, 3]
    assert numbers_of("9, 1,3-4,9", "--seeds") == [9, 1, 3, 4]
    for wrong in ("", "a", "3-1", "1,", "-1", "1-2-3", "0-100000", "1.5", "²", "9" * 50):
        with pytest.raises(HasamaError, match="--seeds"):
            numbers_of(wrong, "--seeds")
    with pytest.raises(HasamaError, match="from 0 to 3"):
        numbers_of("2-4", "--layers", 3)


def test_seeds_are_pictures_of_their_own(styled: Path, tmp_path: Path):
    assert hasama_here("sample", styled, "--seeds", "5,2-3", "--out", tmp_path / "many").returncode == 0
    assert sorted(file.name for file in (tmp_path / "many").iterdir()) == [f"seed{seed:04}.png" for seed in (2, 3, 5)]
    assert hasama_here("sample", styled, "--seed", 5, "--count", 1, "--out", tmp_path / "one").returncode == 0
    (one,) = (tmp_path / "one").iterdir()
    assert one.read_bytes() == (tmp_path / "many" / "seed0005.png").read_bytes()
    done = hasama_here("sample", styled, "--seeds", "5,2-3", "--truncation", 0.5)
    assert done.returncode == 0
    assert (styled.parent / "samples-5,2-3-psi0.5.png").exists()


def test_truncation_brings_pictures_together(styled: Path, plain: Path, tmp_path: Path):
    for run in (styled, plain):
        spread = []
        for psi in (0, 0.5, 1):
            folder = tmp_path / f"{run.stem}-{10 * psi:g}"
            flags = ["--label", "cat"] if run is plain else []
            done = hasama_here("sample", run, "--count", 6, "--truncation", psi, *flags, "--out", folder)
            assert done.returncode == 0, done.stderr
            spread.append(np.stack([pixels_of(file) for file in folder.iterdir()]).std(0).mean())
        assert spread[0] == 0
        assert spread[0] < spread[1] < spread[2]


def test_a_walk_can_be_truncated(styled: Path, tmp_path: Path):
    flags = ["--seconds", 0.5, "--fps", 8, "--count", 1, "--stops", 2]
    for psi in (1, 0):
        out = tmp_path / f"{psi}.webp"
        assert hasama_here("interpolate", styled, *flags, "--truncation", psi, "--out", out).returncode == 0
    assert getattr(Image.open(tmp_path / "1.webp"), "n_frames", 1) == 4
    assert getattr(Image.open(tmp_path / "0.webp"), "n_frames", 1) == 1  # nothing moves


# --- mix ------------------------------------------------------------------------------------------


def test_the_table_of_styles(styled: Path, tmp_path: Path):
    out = tmp_path / "mix.png"
    done = hasama_here("mix", styled, "--rows", "1-2", "--columns", "5,3,4", "--layers", "0-1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "styles of layers 0-1 from" in done.stdout
    one = hasama_here("mix", styled, "--rows", 1, "--columns", 2, "--layers", "5", "--out", tmp_path / "one.png")
    assert "styles of layer 5 from" in one.stdout
    table = pixels_of(out)
    assert table.shape == (3 * TILE + 2, 4 * TILE + 2, 3)
    assert not tile(table, 0, 0).any()
    generator = load_generator(styled)
    for seed, (row, column) in {1: (1, 0), 2: (2, 0), 5: (0, 1), 4: (0, 3)}.items():
        alone = np.asarray(grid(generate_all(generator, draw_latents(seed, 1, 8)), 1))[2:-2, 2:-2]
        np.testing.assert_allclose(tile(table, row, column).astype(int), alone, atol=1)
    cells = [tile(table, row, column) for row in (1, 2) for column in (1, 2, 3)]
    assert len({cell.tobytes() for cell in cells}) == 6


@pytest.mark.parametrize(("layers", "like"), [("0-5", "column"), ("all-none", "refused"), ("6", "refused")])
def test_all_layers_make_the_columns_picture(layers: str, like: str, styled: Path, tmp_path: Path):
    done = hasama_here("mix", styled, "--rows", 1, "--columns", 2, "--layers", layers, "--out", tmp_path / "mix.png")
    if like == "refused":
        refused(done, "--layers takes coarse, middle, fine, or layers from 0 to 5")
        assert not (tmp_path / "mix.png").exists()
        return
    table = pixels_of(tmp_path / "mix.png")
    np.testing.assert_array_equal(tile(table, 1, 1), tile(table, 0, 1))
    assert (tile(table, 1, 1) != tile(table, 1, 0)).any()


def test_without_styles_the_table_holds_what_lies_between(plain: Path, tmp_path: Path):
    out = tmp_path / "mix.png"
    done = hasama_here("mix", plain, "--rows", "1,3", "--columns", "3,1", "--label", "dog", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "has no styles" in done.stdout
    table = pixels_of(out).astype(int)
    assert np.abs(tile(table, 1, 2) - tile(table, 1, 0)).max() <= 1  # of seed 1 with itself
    assert np.abs(tile(table, 1, 1) - tile(table, 2, 2)).max() <= 1  # between 1 and 3, and between 3 and 1
    assert np.abs(tile(table, 1, 1) - tile(table, 1, 0)).max() > 5
    refused(hasama_here("mix", plain, "--layers", "coarse", "--out", out), "no styles", "leave out --layers")
    words = ["mix", plain, "--rows", "1", "--columns", "3", "--label", "dog", "--truncation", 0, "--out", out]
    assert hasama_here(*words).returncode == 0
    table = pixels_of(out).astype(int)  # all are the middle one
    assert np.abs(tile(table, 1, 1) - tile(table, 1, 0)).max() == 0


# --- directions -----------------------------------------------------------------------------------


def test_directions_are_shown_and_kept(plain: Path, styled: Path, tmp_path: Path):
    for run, what in ((plain, "first layer"), (styled, "of w")):
        out = tmp_path / f"{run.stem}.png"
        done = hasama_here("directions", run, "--count", 3, "--samples", 2, "--reach", 3, "--out", out)
        assert done.returncode == 0, done.stderr
        assert what in done.stdout
        assert done.stdout.count(" %") == 3
        strips = pixels_of(out)
        assert strips.shape == (3 * (2 * TILE + 2) + 2 * 12, 7 * TILE + 2, 3)
        assert (tile(strips, 0, 3) == tile(strips[2 * TILE + 2 + 12 :], 0, 3)).all()  # the sample itself
        assert (tile(strips, 0, 0) != tile(strips, 0, 6)).any()
        with safe_open(out.with_suffix(".safetensors"), "pt") as kept:
            assert kept.get_tensor("directions").shape == (3, 8)
            assert kept.get_tensor("shares").diff().max() <= 0


@pytest.mark.parametrize("command", ["directions", "project"])
def test_a_generator_is_not_replaced_by_what_is_found_in_it(command: str, styled: Path, photo: Path, tmp_path: Path):
    """`--out cats.png` writes cats.safetensors beside it."""
    cats = tmp_path / "cats.safetensors"
    cats.write_bytes(styled.read_bytes())
    words = ["directions", cats, "--count", 2] if command == "directions" else ["project", cats, photo, "--steps", 2]
    refused(hasama_here(*words, "--out", tmp_path / "cats.png"), f"{cats} would be replaced", "another name by --out")
    assert cats.read_bytes() == styled.read_bytes()
    assert not (tmp_path / "cats.png").exists()
    for _ in range(2):  # its own file of last time is replaced
        done = hasama_here(*words, "--out", tmp_path / "found.png")
        assert done.returncode == 0, done.stderr
    (tmp_path / "note.safetensors").write_text("mine")
    refused(hasama_here(*words, "--out", tmp_path / "note.png"), "note.safetensors would be replaced")
    assert (tmp_path / "note.safetensors").read_text() == "mine"


def test_directions_in_a_folder(styled: Path, tmp_path: Path):
    done = hasama_here("directions", styled, "--count", 2, "--samples", 1, "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "There are" not in done.stdout
    names = sorted(file.name for file in (tmp_path / "all").iterdir())
    assert names == ["direction-0.png", "direction-1.png", "directions.safetensors"]


def test_more_directions_than_there_are_are_told_of(plain: Path, styled: Path, tmp_path: Path):
    for run in (plain, styled):
        done = hasama_here("directions", run, "--count", 9, "--samples", 1, "--out", tmp_path / "all.png")
        assert done.returncode == 0, done.stderr
        assert "There are 8 directions, not 9" in done.stdout
        assert done.stdout.count(" %") == 8


# --- project --------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_photo_is_projected(space: str, styled: Path, photo: Path, tmp_path: Path):
    """The packaged network looks on."""
    out = tmp_path / "out.png"
    done = hasama_here("project", styled, photo, "--steps", 12, "--space", space, "--threads", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "dB" in done.stdout
    three = pixels_of(out)
    assert three.shape == (132, 3 * 130 + 2, 3)
    left, middle, right = (three[2:130, 2 + k * 130 :][:, :128].astype(int) for k in range(3))
    np.testing.assert_array_equal(right, np.abs(left - middle))
    about = header(out.with_suffix(".safetensors"))
    assert (about["space"], about["steps"]) == (space, 12)
    with safe_open(out.with_suffix(".safetensors"), "pt") as kept:
        assert kept.get_tensor("w").shape == ((1, 8) if space == "w" else (1, 6, 8))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_photos_become_what_the_generator_paints(channels: int, mode: str, photo: Path, tmp_path: Path):
    run = write(tmp_path, "dcgan", channels)
    out = tmp_path / "out.png"
    done = hasama_here("project", run, photo, "--steps", 1, "--fit", "pad", "--out", out)
    assert done.returncode == 0, done.stderr
    assert Image.open(out).mode == mode
    assert ("alpha" in header(out.with_suffix(".safetensors"))["losses"]) == (channels == 4)


def test_an_interrupt_keeps_the_best_so_far(
    plain: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    watch = hasama.cli.progress.watch_projecting

    def interrupted(steps: Iterator) -> Iterator:
        for step in watch(steps):
            if step.step == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(hasama.cli.progress, "watch_projecting", interrupted)
    out = tmp_path / "out.png"
    done = hasama_here("project", plain, photo, "--steps", 100_000, "--out", out)
    assert done.returncode == 130
    about = header(out.with_suffix(".safetensors"))
    assert about["step"] <= 3
    assert about["label"] in ("cat", "dog")
    assert out.exists()


# --- from a picture to the next -------------------------------------------------------------------


def projected(run: Path, out: Path, seed: int, *words: object) -> Path:
    """What `hasama project` writes for noise of one's own."""
    drawn = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(out.with_suffix(".jpg"))
    words = ("project", run, out.with_suffix(".jpg"), "--steps", 2, "--seed", seed, *words, "--out", out)
    done = hasama_here(*words)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("kind", ["styled", "plain"])
def test_a_film_goes_from_one_projection_to_the_next(
    kind: str, styled: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = styled if kind == "styled" else plain
    first, second = (("--space", "w+"), ()) if kind == "styled" else (("--label", "dog"),) * 2
    one, two = projected(run, tmp_path / "one.png", 1, *first), projected(run, tmp_path / "two.png", 2, *second)
    frames: list[np.ndarray] = []
    save = hasama.pictures.video.save_film

    def noting(pictures: Iterator[Image.Image], out: Path, fps: float) -> None:
        kept = list(pictures)
        frames.extend(np.asarray(picture, int) for picture in kept)
        save(iter(kept), out, fps)

    monkeypatch.setattr(hasama.pictures.video, "save_film", noting)
    words = ("interpolate", run, one, two.with_suffix(".safetensors"), "--seconds", 1, "--fps", 8)
    done = hasama_here(*words, "--out", tmp_path / "film.webp")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "film.webp").n_frames == len(frames) == 8  # pyright: ignore
    for picture, frame in ((one, frames[0]), (two, frames[4])):  # each stands at its own moment
        assert np.abs(pixels_of(picture)[:, 130:260].astype(int) - frame[:, :130]).max() <= 1
    whole = np.abs(frames[0] - frames[4]).mean()
    for before, after in ((0, 2), (2, 4), (4, 6), (6, 0)):  # and back to the first
        assert 0 < np.abs(frames[before] - frames[after]).mean() < whole


def test_a_projection_is_not_replaced(styled: Path, tmp_path: Path):
    """By the film between it and another, nor by that of another photo of the same name."""
    mine, other = (projected(styled, tmp_path / f"{name}.gif", 1) for name in ("mine", "other"))
    before = mine.read_bytes()
    told = refused(
        hasama_here("interpolate", styled, mine, other, "--out", mine), "one of the pictures to go through"
    )
    assert mine.read_bytes() == before, told
    run = tmp_path / "run.safetensors"
    run.write_bytes(styled.read_bytes())
    for folder, seed in (("a", 0), ("b", 1), ("b", 1)):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (90 * seed, 0, 0)).save(tmp_path / folder / "one.png")
        assert hasama_here("project", run, tmp_path / folder / "one.png", "--steps", 1).returncode == 0
    found = sorted(path.name for path in tmp_path.glob("one-*"))
    ending = (".png", ".safetensors")
    assert found == sorted(f"one-projected{number}{one}" for number in ("", "-2") for one in ending)


def test_of_a_generator_that_is_another_by_now_that_is_said(styled: Path, tmp_path: Path):
    mine = projected(styled, tmp_path / "mine.png", 1)
    trained = load_generator(styled)
    assert "another" not in hasama_here("directions", styled, "--of", mine, "--out", tmp_path / "d.png").stdout
    with torch.no_grad():
        next(trained.network.parameters()).add_(0.01)
    save_generator(trained, tmp_path / "later.safetensors")
    later = hasama_here("directions", tmp_path / "later.safetensors", "--of", mine, "--out", tmp_path / "d.png")
    assert later.returncode == 0
    assert "The generator is another than when these were projected" in later.stdout
    grey = write(tmp_path, "stylegan", 1)
    refused(hasama_here("directions", grey, "--of", mine, "--out", tmp_path / "d.png"), "with another generator")


def test_a_projected_picture_is_moved_along_the_directions(styled: Path, tmp_path: Path):
    for space in ("w", "w+"):
        mine = projected(styled, tmp_path / f"{space}.png", 1, "--space", space)
        out = tmp_path / f"{space}-directions.png"
        done = hasama_here("directions", styled, "--of", mine, "--count", 2, "--out", out)
        assert done.returncode == 0, done.stderr
        strips = pixels_of(out).astype(int)
        assert strips.shape == (2 * (TILE + 2) + 12, 7 * TILE + 2, 3)
        middle = pixels_of(mine)[2:130, 132:260].astype(int)[::2, ::2]
        np.testing.assert_array_equal(tile(strips, 0, 3), middle)
        assert (tile(strips, 0, 0) != tile(strips, 0, 6)).any()


def test_projections_that_cannot_be_gone_through_are_refused(styled: Path, plain: Path, tmp_path: Path):
    mine = projected(styled, tmp_path / "mine.png", 1)
    cat, dog = (projected(plain, tmp_path / f"{name}.png", 1, "--label", name) for name in ("cat", "dog"))
    out = ("--out", tmp_path / "film.gif")
    for words, *told in (
        (["interpolate", styled, mine], "two or more projections"),
        (["interpolate", styled, mine, mine, "--count", 9], "leave out --seed, --count"),
        (["interpolate", styled, mine, mine, "--best-of", 2], "leave out --seed, --count"),
        (["interpolate", styled, mine, tmp_path / "no.png"], "no.png: ", "nothing was projected there"),
        (["interpolate", styled, mine, tmp_path / "no.safetensors"], "no.safetensors: ", "not there"),
        (["interpolate", styled, mine, cat], "cat.png: ", "another generator"),
        (["interpolate", plain, cat, dog], "several classes"),
        (["directions", styled, "--of", mine, "--samples", 4], "leave out --samples"),
        (["directions", plain, "--of", dog, "--label", "dog"], "--label"),
        (["directions", plain, "--of", mine], "mine.png: ", "another generator"),
        (["directions", plain, "--samples", 0], "--samples take 1 to 100"),
        (["directions", plain, "--of", "."], "nothing was projected there"),
        (
            ["directions", styled, "--of", mine.with_suffix(".jpg")],
            "what lies beside it is the projection of mine.png",
        ),
        (["directions", styled, "--of", tmp_path / "x.jpg"], f"hasama project RUN {tmp_path / 'x.jpg'}"),
    ):
        refused(hasama_here(*words, *(out if words[0] == "interpolate" else ())), *told)
    assert not (tmp_path / "film.gif").exists()


def test_without_a_terminal_a_line_is_told_now_and_then(
    plain: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hasama.cli.progress, "LINE_SECONDS", 0.0)
    done = hasama_here("project", plain, photo, "--steps", 4, "--label", "dog", "--out", tmp_path / "out.png")
    assert "step 2/4" in done.stdout
    assert "left  loss" in done.stdout
    assert "as dog" in done.stdout


# --- bad input ------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_in_one_line(plain: Path, styled: Path, photo: Path, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (tmp_path / "file").write_text("a")
    good = photo.read_bytes()
    for arguments, words in (
        (["project", plain, tmp_path / "nowhere.jpg"], "no such file"),
        (["project", plain, tmp_path / "broken.jpg"], "Cannot read"),
        (["project", plain, tmp_path], "Cannot read"),
        (["project", tmp_path / "nothing", photo], "no generator"),
        (["project", tmp_path, photo], "no run at"),
        (["project", plain, photo, "--space", "w"], "leave out --space"),
        (["project", styled, photo, "--space", "x"], "w, w+ or z"),
        (["project", plain, photo, "--label", "dgo"], "Did you mean dog?"),
        (["project", styled, photo, "--label", "dog"], "leave out --label"),
        (["project", plain, photo, "--steps", -1], "--steps"),
        (["project", plain, photo, "--fit", "cut"], "--fit"),
        (["project", plain, photo, "--out", photo], "the picture itself"),
        (["project", plain, photo, "--out", tmp_path / "a.xyz"], ".png"),
        (["project", plain, photo, "--out", "/proc/nowhere/a.png"], "Cannot write"),
        (["mix", tmp_path / "nothing"], "no generator"),
        (["mix", styled, "--rows", "4-1"], "--rows"),
        (["mix", styled, "--columns", "0-100"], "at most 100"),
        (["mix", styled, "--truncation", 2.1], "--truncation"),
        (["directions", styled, "--count", 0], "--count"),
        (["directions", styled, "--reach", "nan"], "--reach"),
        (["directions", styled, "--out", tmp_path / "file"], "no folder"),
        (["directions", plain, "--label", "dgo"], "Did you mean dog?"),
        (["sample", plain, "--seeds", "x"], "--seeds"),
        (["sample", plain, "--truncation", "nan"], "--truncation"),
        (["interpolate", plain, "--truncation", -1], "--truncation"),
    ):
        refused(hasama_here(*arguments), words)
    assert photo.read_bytes() == good
