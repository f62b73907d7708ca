"""The package as a person uses it in Python: what is taken, and what is refused in a sentence."""

# pyright: reportArgumentType=false, reportCallIssue=false
# for that is what most of it is about

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import hasama
from hasama.evaluation.evaluate import evaluate
from hasama.generators.directions import find_directions
from hasama.runs.bases import BASES
from hasama.style.canvas.pictures import from_pixels
from odd_files import scene

TINY = hasama.RECIPES["dcgan"].but(size="16", width=4, latent_size=6, batch=4, precision="fp32")


@pytest.fixture(autouse=True)
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes that tests have and users have not."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def generator() -> hasama.TrainedGenerator:
    return hasama.TrainedGenerator(hasama.build(TINY).generator, TINY, 6, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("python") / "pictures"
    place.mkdir()
    for number in range(4):
        scene(20 + number, 20).save(place / f"{number}.png")
    return place


def test_numbers_of_numpy_are_numbers():
    recipe = TINY.but(batch=np.int64(5), kimg=np.float32(0.5), mirror=np.bool_(True), generator_lr=np.float64(1e-3))
    assert (recipe.batch, recipe.kimg, recipe.mirror, recipe.generator_lr) == (5, 0.5, True, 1e-3)
    assert [type(value) for value in (recipe.batch, recipe.kimg, recipe.mirror)] == [int, float, bool]
    assert hasama.Recipe.from_dict(recipe.to_dict()) == recipe
    assert hasama.StyleRecipe(size=np.int32(96)).size == 96
    for wrong in (np.array([5]), np.float64(2.5), np.int64(0), np.float32("nan")):
        with pytest.raises(hasama.HasamaError, match="--batch"):
            TINY.but(batch=wrong)


def test_a_preset_is_called_by_its_name_and_a_folder_by_its_path(folder: Path):
    pictures = hasama.open_pictures(folder, TINY)
    assert len(pictures) == 4
    assert hasama.open_pictures(str(folder), "dcgan").report.used == 4
    pair = hasama.build("dcgan")
    assert pair.latent_size == hasama.RECIPES["dcgan"].latent_size
    with pytest.raises(hasama.HasamaError, match="Did you mean dcgan"):
        hasama.build("dcgna")


def test_latents_are_whatever_holds_numbers(generator: hasama.TrainedGenerator):
    latents = hasama.draw_latents(0, 3, 6)
    expected = generator.generate(latents)
    for same in (latents.double(), latents.numpy(), latents.tolist()):
        assert np.array_equal(generator.generate(same), expected)
        assert np.array_equal(hasama.generate_all(generator, same), expected)
    assert hasama.generate_all(generator, latents[:0]).shape == (0, 16, 16, 3)


def test_classes_are_given_by_number_or_by_name():
    recipe = hasama.Recipe(size="8", width=2, latent_size=4)
    network = hasama.build(recipe, 1, classes=3).generator
    generator = hasama.TrainedGenerator(network, recipe, 4, 1, ("ant", "bee", "cow"))
    latents = hasama.draw_latents(1, 3, 4)
    expected = generator.generate(latents, torch.tensor([2, 0, 1]))
    for given in ([2, 0, 1], ("cow", "ant", "bee"), np.array([2, 0, 1], np.int32), torch.tensor([2, 0, 1])):
        assert np.array_equal(generator.generate(latents, given), expected)
        assert np.array_equal(hasama.generate_all(generator, latents, given), expected)
    wrong = ([0, 1], [0, 1, 3], [0, 1, -1], ["ant", "bee", "dog"], [0.0, 1.0, 2.0], 1, [True] * 3, torch.zeros(3))
    for given in wrong:
        for make in (generator.generate, lambda latents, given: hasama.generate_all(generator, latents, given)):
            with pytest.raises(hasama.HasamaError, match="Labels are"):
                make(latents, given)
    with pytest.raises(hasama.HasamaError, match=r"classes \(ant, bee, cow\), one for each of 3\."):
        generator.generate(latents, "cow")
    plain = hasama.TrainedGenerator(hasama.build(recipe, 1).generator, recipe, 4, 1)
    with pytest.raises(hasama.HasamaError, match="knows no classes"):
        plain.generate(latents, [0, 0, 0])


def test_labels_may_have_so_few_bits_that_the_number_of_classes_has_no_room_in_them():
    many = tuple(map(str, range(256)))
    recipe = TINY.but(labels=True)
    generator = hasama.TrainedGenerator(hasama.build(recipe, 1, 256).generator, recipe, 6, 1, many)
    labels = generator.as_labels(np.array([3, 255], np.uint8), 2)
    assert labels is not None
    assert labels.tolist() == [3, 255]
    none = generator.as_labels([], 0)
    assert none is not None
    assert none.shape == (0,)


def test_a_generator_is_loaded_as_the_commands_take_it(tmp_path: Path):
    """A run's, its best one where that is clearly better; a base's by its name; a file's."""
    assert hasama.load_generator("digits").channels == 1
    shutil.copytree(BASES / "digits", tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").unlink(missing_ok=True)
    for given in (tmp_path / "run", hasama.Run(tmp_path / "run"), str(tmp_path / "run" / "generator.safetensors")):
        assert hasama.load_generator(given).recipe == hasama.load_generator("digits").recipe
    with pytest.raises(hasama.HasamaError, match="There is no generator at"):
        hasama.load_generator(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(torch.full((2, 6), float("nan")), "not finite"), (torch.full((2, 6), float("inf")), "not finite"),
     (torch.zeros(2, 5), r"\[n, 6\]"), (torch.zeros(6), r"\[n, 6\]"), ("latents", "got str"), (None, "got NoneType")],
)  # fmt: skip
def test_other_latents_are_refused(generator: hasama.TrainedGenerator, wrong: Any, told: str):
    for make in (generator.generate, lambda given: hasama.generate_all(generator, given)):
        with pytest.raises(hasama.HasamaError, match=told):
            make(wrong)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: hasama.draw_latents(-1, 2, 6), "from 0 up"),
        (lambda: hasama.interpolate(0, 0, 3, 6), "at least one stop"),
        (lambda: hasama.interpolate(0, 3, 0, 6), "at least one stop"),
        (lambda: hasama.build(TINY, channels=0), "1, 3 or 4 channels"),
        (lambda: hasama.build(TINY, classes=-1), "0 classes or more"),
        (lambda: hasama.grid(np.zeros((0, 4, 4, 3), np.uint8)), "at least 1"),
        (lambda: hasama.grid(np.zeros((2, 4, 4, 3))), "float64"),
        (lambda: hasama.grid([np.zeros((4, 4, 3), np.uint8)]), "got list"),
        (lambda: hasama.grid(np.zeros((2, 4, 4, 3), np.uint8), gap=-5), "gap of 0 or more"),
        (lambda: hasama.grid(np.zeros((2, 4, 4, 3), np.uint8), columns=0), "a column or more"),
        (lambda: hasama.save_picture(np.zeros((4, 4, 3), np.uint8), "a.png"), "got ndarray"),
        (lambda: hasama.stylize("a.png", Image.new("RGB", (8, 8))), "got Image"),
        (lambda: hasama.stylize("a.png", None), "got NoneType"),
        (lambda: hasama.stylize("a.png", []), "at least one picture"),
        (lambda: hasama.stylize("a.png", "b.png", "skech"), "Did you mean sketch"),
        (lambda: hasama.stylize("a.png", "b.png", 5), "takes StyleRecipe here; got int"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(call: Callable[[], Any], told: str):
    with pytest.raises(hasama.HasamaError, match=told):
        call()


@pytest.mark.parametrize(("batch", "seed", "start"), [(0, 0, 0), (-1, 0, 0), (4, -1, 0), (4, 0, -5)])
def test_batches_of_nothing_are_refused_at_once(folder: Path, batch: int, seed: int, start: int):
    with pytest.raises(hasama.HasamaError, match="A batch is 1 or more"):
        hasama.batches(hasama.open_pictures(folder, TINY), batch, seed, start)


@pytest.mark.parametrize("wrong", [lambda wanted: wanted * 200, lambda wanted: wanted * float("nan"),
                                   lambda wanted: (wanted * 100).to(torch.uint8)])  # fmt: skip
def test_a_wanted_picture_in_another_scale_is_refused(
    generator: hasama.TrainedGenerator, wrong: Callable[[Any], Any]
):
    wanted = torch.rand(1, 3, 16, 16) * 2 - 1
    with pytest.raises(hasama.HasamaError, match=r"floats in \[-1, 1\]"):
        hasama.project(generator, wrong(wanted), steps=1)


def test_a_style_may_name_a_file_and_a_picture_may_be_opened(folder: Path):
    picture = from_pixels(np.asarray(scene(24, 20)))
    first = hasama.STYLE_RECIPES["sketch"].but(size=24, first_iterations=1, iterations=1)
    frames = [
        next(iter(hasama.stylize(folder / "0.png", style, first)))
        for style in (folder / "1.png", hasama.Style(folder / "1.png"), [str(folder / "1.png")])  # pyright: ignore
    ]
    assert all(torch.equal(frame.canvas.image, frames[0].canvas.image) for frame in frames)
    assert next(iter(hasama.stylize(picture, picture, first))).total >= 0


@pytest.mark.parametrize("wrong", [None, 5, ["a", "b"], np.zeros((2, 16, 16, 3), np.uint8)])
def test_what_is_no_path_is_refused_in_a_sentence(wrong: Any, tmp_path: Path):
    out = tmp_path / "run"
    for read in (lambda: next(hasama.train(wrong, TINY, out)), lambda: hasama.open_pictures(wrong, TINY)):
        with pytest.raises(hasama.HasamaError, match=r"Pictures are given by the path .* hasama\.play"):
            read()
    assert not out.exists()
    for use in (
        lambda: next(hasama.train("digits", TINY, wrong)),
        lambda: next(hasama.resume(wrong)),
        lambda: hasama.load_generator(wrong),
    ):
        with pytest.raises(hasama.HasamaError, match=r"A path is a text or a Path; got \w+\.$"):
            use()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda g, p: hasama.draw_latents(1.0, 2, 6), "seed must be a whole number; got 1.0"),
        (lambda g, p: hasama.draw_latents(0, "2", 6), "count must be a whole number; got '2'"),
        (lambda g, p: hasama.draw_latents(0, 2, -3), "size of a latent .* got -3"),
        (lambda g, p: hasama.interpolate(0, 2, 3.5, 6), "number of frames must be a whole number; got 3.5"),
        (lambda g, p: hasama.generate_all("runs/cats", torch.zeros(1, 6)), "load_generator gives; got str"),
        (lambda g, p: hasama.generate_all(g, torch.zeros(1, 6), truncation="0.7"), "truncation must .* got '0.7'"),
        (lambda g, p: hasama.generate_all(g, torch.zeros(1, 6), truncation=np.nan), "truncation must .* got nan"),
        (lambda g, p: hasama.project(g, torch.zeros(1, 3, 16, 16), steps=2.5), "steps must be a whole number"),
        (lambda g, p: hasama.project(g.network, torch.zeros(1, 3, 16, 16)), "load_generator gives; got Generator"),
        (lambda g, p: find_directions(g, -1), "directions must be at least 1; got -1"),
        (lambda g, p: find_directions("runs/cats", 3), "load_generator gives; got str"),
        (lambda g, p: next(evaluate("digits", count=12.5)), "number of pictures must be a whole number; got 12.5"),
        (lambda g, p: next(evaluate("digits", seed="a")), "seed must be a whole number; got 'a'"),
        (lambda g, p: next(evaluate("digits", source=3)), "Pictures are given by the path of a folder"),
        (lambda g, p: hasama.save_generator(g.network, "cats.safetensors"), "load_generator gives; got Generator"),
        (lambda g, p: hasama.save_generator(g, None), "A path is a text or a Path; got NoneType"),
        (lambda g, p: hasama.grid(np.zeros((4, 8, 8, 1), np.uint8), columns=2.0), "columns must be a whole number"),
        (lambda g, p: hasama.save_picture(Image.new("L", (8, 8)), None), "A path is a text or a Path"),
        (lambda g, p: hasama.batches("digits", 4, 0), "open_pictures gives; got str"),
        (lambda g, p: hasama.batches(p, 4.0, 0), "batch must be a whole number; got 4.0"),
        (lambda g, p: hasama.batches(p, 4, 0, rank=2, world=2), "got 2 of 2"),
        (lambda g, p: hasama.batches(p, 4, 0, device="gpu"), "The device 'gpu' cannot be used here"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_of_by_its_name(
    generator: hasama.TrainedGenerator, folder: Path, call: Callable[..., Any], told: str
):
    with pytest.raises(hasama.HasamaError, match=told):
        call(generator, hasama.open_pictures(folder, TINY))


def test_a_class_that_is_wanted_by_its_number_is_refused_in_a_sentence():
    recipe = TINY.but(labels=True)
    two = hasama.TrainedGenerator(hasama.build(recipe, classes=2).generator, recipe, 6, 3, ("cat", "dog"))
    with pytest.raises(hasama.HasamaError, match=r"no class called 0\. There are: cat, dog"):
        find_directions(two, 3, label=0)


def test_a_device_is_given_as_torch_has_it_or_by_its_name(tmp_path: Path, folder: Path):
    here, short = torch.device("cpu"), TINY.but(kimg=0.008, health_kimg=0, quality_kimg=0)
    assert len(list(hasama.train(folder, short, tmp_path / "run", here))) == 2
    assert len(list(hasama.resume(tmp_path / "run", device=here))) == 0
    for name in (here, "cpu", "cpu:0"):
        assert hasama.load_generator(tmp_path / "run", name).device.type == "cpu"
    assert hasama.load_generator(tmp_path / "run", "auto").device.type in ("cpu", "cuda", "mps", "xpu")
    for wrong in ("gpu", "meta", "mtia", None, 0):
        for use in (
            lambda wrong=wrong: hasama.load_generator(tmp_path / "run", wrong),
            lambda wrong=wrong: hasama.new_game(hasama.build(TINY), TINY, wrong),
            lambda wrong=wrong: next(hasama.train(folder, TINY, tmp_path / "other", wrong)),
        ):
            with pytest.raises(hasama.HasamaError, match=r"cannot be used here|A device is called by its name"):
                use()


def test_other_default_numbers_than_float32_are_told_of(folder: Path, tmp_path: Path):
    torch.set_default_dtype(torch.float64)
    try:
        for call in (
            lambda: hasama.build("dcgan"),
            lambda: next(hasama.train(folder, "dcgan", tmp_path / "run")),
            lambda: next(iter(hasama.stylize(folder / "0.png", folder / "0.png"))),
        ):
            with pytest.raises(hasama.HasamaError, match=r"torch.set_default_dtype\(torch.float32\)"):
                call()
    finally:
        torch.set_default_dtype(torch.float32)
