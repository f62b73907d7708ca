"""Which base is of pictures like these, and what `hasama suggest` makes of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hasama as package
from command import hasama
from hasama.generators.choosing import EXTRACTOR, Look, load_look, look_of, save_look
from hasama.perception.extractors import Extractor, extract_features, extractor_named
from hasama.pictures.dataset import Pictures
from hasama.presets import DEFAULT, GENTLE, RECIPES
from hasama.recipe import Recipe
from hasama.runs import bases
from hasama.runs.folder import Run
from hasama.runs.transfer import as_wide
from hasama.sharing.making_bases import make_base
from hasama.tuning import kinship
from hasama.tuning.kinship import AKIN, apart, begun_anew, nearest_base, with_base
from hasama.tuning.suggest import Suggestion

SMALL = RECIPES[DEFAULT].but(size="32")


def save_shapes(folder: Path, round_ones: bool, first: int, count: int = 40) -> Path:
    """Dark discs on light ground, or bright grids."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:32, :32]
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        if round_ones:
            middle, radius = rng.uniform(10, 22, 2), rng.uniform(5, 10)
            inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2
            pixels = np.where(inside[..., None], rng.integers(0, 80, 3), rng.integers(180, 255, 3))
        else:
            step = rng.integers(3, 6)
            pixels = np.where(((y % step == 0) | (x % step == 0))[..., None], [250, 240, 0], rng.integers(0, 255, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return extractor_named(EXTRACTOR)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinship")


@pytest.fixture(scope="module")
def base(place: Path, extractor: Extractor) -> Path:
    """A base of discs."""
    source, out = save_shapes(place / "discs", True, 0), place / "run"
    flags = ["--size", "32", "--kimg", "0.016", "--batch", "8", "--quality-kimg", "0", "--precision", "fp32"]
    done = hasama("train", source, *flags, "--out", out)
    assert done.returncode == 0, done.stderr
    folder = place / "bases" / "discs"
    make_base(Run(out), folder, {"pictures": "discs", "authors": "the tests", "licence": "CC0"})
    save_look(look_of(opened(source), extractor), folder)
    return folder


def opened(source: Path, recipe: Recipe = SMALL) -> Pictures:
    return package.open_pictures(str(source), recipe)


def test_the_look_is_the_mean_and_the_spread_of_the_features(base: Path, place: Path, extractor: Extractor):
    pictures = opened(place / "discs")
    look = look_of(pictures, extractor)
    features = torch.cat(list(extract_features(extractor, pictures.take(np.arange(len(pictures)))))).double()
    torch.testing.assert_close(look.mean.double(), features.mean(0), atol=1e-4, rtol=1e-4)
    assert float(look.spread) == pytest.approx(float((features - features.mean(0)).square().sum(1).mean()), rel=1e-4)
    assert apart(look, look) == 0


def test_the_base_of_such_pictures_is_found_and_of_others_none(base: Path, place: Path, extractor, monkeypatch):
    monkeypatch.setattr(bases, "BASES", base.parent)
    same = opened(save_shapes(place / "more", True, 500))
    kin = nearest_base(same, SMALL, extractor)
    assert kin is not None
    assert kin.name == "discs"
    assert 0 < kin.apart <= AKIN
    assert nearest_base(opened(save_shapes(place / "grids", False, 900)), SMALL, extractor) is None


@pytest.mark.parametrize(
    "changes", [{"size": "16"}, {"width": 8}, {"latent_size": 32}, {"group_width": 16}, {"colour": "grey"}]
)
def test_a_recipe_that_could_not_begin_there_gets_none(base: Path, place: Path, extractor, monkeypatch, changes):
    monkeypatch.setattr(bases, "BASES", base.parent)
    recipe = SMALL.but(**changes)
    pictures = opened(place / "discs", recipe)
    assert nearest_base(pictures, SMALL, extractor) is not None or "colour" in changes or "size" in changes
    assert nearest_base(pictures, recipe, extractor) is None


def test_the_colour_that_is_trained_in_decides_not_the_files(base: Path, place: Path, extractor, monkeypatch):
    """`suggest` may choose another: grey for grey pictures in colour files, rgb for opaque ones with alpha."""
    monkeypatch.setattr(bases, "BASES", base.parent)
    with_alpha = opened(place / "discs", SMALL.but(colour="rgba"))
    assert nearest_base(with_alpha, SMALL.but(colour="rgb"), extractor) is not None
    assert nearest_base(opened(place / "discs"), SMALL.but(colour="grey"), extractor) is None


@pytest.mark.slow
def test_of_two_bases_of_the_same_pictures_the_larger_that_fits(
    base: Path, place: Path, extractor, monkeypatch, tmp_path: Path
):
    """And who begins there gets a generator as wide as the base's."""
    import shutil

    from easel import hasama_here

    shutil.copytree(base.parent, tmp_path / "bases")
    flags = ["--size", "64", "--generator-width", "20", "--kimg", "0.008", "--batch", "8", "--quality-kimg", "0"]
    done = hasama("train", place / "discs", *flags, "--precision", "fp32", "--out", tmp_path / "large")
    assert done.returncode == 0, done.stderr
    about = {"pictures": "discs", "authors": "the tests", "licence": "CC0"}
    make_base(Run(tmp_path / "large"), tmp_path / "bases" / "large", about)
    save_look(look_of(opened(place / "discs", SMALL.but(size="64")), extractor), tmp_path / "bases" / "large")
    monkeypatch.setattr(bases, "BASES", tmp_path / "bases")
    known = {name: load_look(bases.BASES / name) for name in bases.base_names()}

    def apart_by_name(_: Look, other: Look) -> float:
        (name,) = (name for name, look in known.items() if look and look.mean.equal(other.mean))
        return {"large": 0.05, "discs": 0.04}[name]

    monkeypatch.setattr(kinship, "apart", apart_by_name)
    for size, name, width in (("32", "discs", None), ("64", "large", 20), ("128", "large", 20)):
        recipe = SMALL.but(size=size)
        kin = nearest_base(opened(place / "discs", recipe), recipe, extractor)
        assert kin is not None
        assert kin.name == name
        assert as_wide(recipe.but(init_from=str(bases.BASES / name))).generator_width == width
    monkeypatch.chdir(tmp_path)
    done = hasama_here("suggest", place / "discs", "--size", "64", "--json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"init-from large", "generator-width 20"} <= {one["choice"] for one in told["reasons"]}
    assert "--init-from large" in told["command"]
    assert "--generator-width 20" in told["command"]


def test_a_damaged_look_is_no_base(base: Path, place: Path, extractor, monkeypatch, tmp_path: Path):
    import shutil

    shutil.copytree(base.parent, tmp_path / "bases")
    (tmp_path / "bases" / "discs" / "look.safetensors").write_bytes(b"nonsense")
    monkeypatch.setattr(bases, "BASES", tmp_path / "bases")
    assert nearest_base(opened(place / "discs"), SMALL, extractor) is None


def test_suggest_says_so_and_its_command_begins_there(base: Path, place: Path, monkeypatch):
    from easel import hasama_here

    monkeypatch.setattr(bases, "BASES", base.parent)
    monkeypatch.chdir(place)
    done = hasama_here("suggest", place / "discs", "--size", "32", "--json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "--init-from discs" in told["command"]
    assert [one["choice"] for one in told["reasons"]].count("init-from discs") == 1
    assert told["smaller"] is None or "--init-from" not in told["smaller"]["command"]


@pytest.mark.parametrize(("size", "begins"), [("32", "discs"), ("16", "")])
def test_the_smaller_one_begins_there_too_if_it_fits_and_else_as_from_nothing(
    base: Path, place: Path, extractor, monkeypatch, size: str, begins: str
):
    monkeypatch.setattr(bases, "BASES", base.parent)
    monkeypatch.setattr(kinship, "apart", lambda *_: AKIN / 2)
    pictures, plain = opened(place / "discs"), RECIPES[DEFAULT].but(size="64")
    found = with_base(Suggestion(DEFAULT, plain, [], []), pictures, extractor)
    assert (found.recipe.init_from, found.recipe.generator_lr) == ("discs", GENTLE)
    halved = found._replace(recipe=found.recipe.but(size=size))
    less = begun_anew(halved, plain, pictures, extractor).recipe
    assert less.init_from == begins
    assert less == plain.but(size=size) if not begins else less.generator_lr == GENTLE
    unaided = Suggestion(DEFAULT, plain.but(size=size), [], [])
    assert begun_anew(unaided, plain, pictures, extractor) is unaided  # none was akin at the full size
