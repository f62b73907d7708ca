"""Bases: run folders that ship, to begin with and to sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import TINY, hasama, refused
from hasama.generators.generator_file import load_generator
from hasama.generators.sampling import draw_latents
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.runs import bases
from hasama.runs.bases import BASES, about_base, base_names, is_base, place_named
from hasama.runs.folder import Run
from hasama.runs.transfer import as_wide, inherit
from hasama.sharing.making_bases import make_base
from hasama.training.setup import new_game

ABOUT = {"pictures": "random shapes", "authors": "nobody", "licence": "CC0"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of random pictures, whose path must not be told."""
    private = tmp_path_factory.mktemp("my-private-name")
    generator = np.random.default_rng(0)
    for number in range(20):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(private / f"secret-{number}.png")
    out = private / "run"
    done = hasama("train", private, "r3gan", *TINY, "--kimg", "0.1", "--out", out)
    assert done.returncode == 0, done.stderr
    return Run(out)


@pytest.fixture
def base(run: Run, tmp_path: Path, monkeypatch) -> Path:
    """The run as the only base that there is."""
    monkeypatch.setattr(bases, "BASES", tmp_path / "bases")
    make_base(run, tmp_path / "bases" / "shapes", ABOUT)
    return tmp_path / "bases" / "shapes"


def begun(recipe: Recipe, name: str | Path, classes: int = 0):
    game = new_game(build(recipe, 3, classes), recipe)
    return game, inherit(game, name)


def test_a_base_is_the_run_in_half_precision(run: Run, base: Path):
    recipe = run.recipe().but(seed=5)
    game, report = begun(recipe, "shapes")
    assert report.fresh == []
    theirs = run.saved_game()
    for network, which in ((game.pair.generator, "ema"), (game.bare_discriminator, "discriminator")):
        for name, tensor in network.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, theirs[which][name].half().float()), name
    assert game.ema is not None
    for name, tensor in game.ema.state_dict().items():
        assert torch.equal(tensor, theirs["ema"][name].half().float()), name
    pictures, same = (
        load_generator(file).generate(draw_latents(0, 4, recipe.latent_size)).astype(int)
        for file in (base / "generator.safetensors", run.generator)
    )
    assert abs(pictures - same).max() <= 3
    assert (base / "game.pt").stat().st_size < run.checkpoint.stat().st_size / 3  # no optimizers, half precision


def test_a_base_tells_nothing_private(run: Run, base: Path):
    for file in base.iterdir():
        assert b"private" not in file.read_bytes(), file
        assert b"secret" not in file.read_bytes(), file
    assert about_base("shapes") == ABOUT | {"kimg": run.images_seen() / 1000}


def test_a_name_means_a_base_only_where_nothing_else_has_it(base: Path, run: Run, tmp_path: Path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert place_named("shapes") == base
    assert place_named(Path("shapes")) == base
    assert place_named("shape") == Path("shape")
    Path("shapes").mkdir()  # a folder of pictures is no run
    assert is_base("shapes")
    (here / "shapes" / "recipe.json").write_text("{}")
    assert not is_base("shapes")
    assert place_named("shapes") == Path("shapes")
    assert not is_base(str(run.folder))


def test_classes_count_for_nothing_at_first(run: Run, base: Path):
    recipe = run.recipe().but(seed=5)
    plain, _ = begun(recipe, "shapes")
    game, report = begun(recipe.but(labels=True), "shapes", classes=3)
    assert "generator.weigh.weight" in report.taken
    latents = torch.randn(6, recipe.latent_size)
    for classes in (torch.zeros(6, dtype=torch.long), torch.arange(6) % 3):
        with torch.no_grad():
            made, wanted = game.pair.generator(latents, classes), plain.pair.generator(latents)
            torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)
            judged, like = game.bare_discriminator(made, classes), plain.bare_discriminator(wanted)
            torch.testing.assert_close(judged, like, rtol=0, atol=1e-4)


def test_a_weight_that_is_no_number_makes_no_base(run: Run, tmp_path: Path):
    from hasama.errors import HasamaError

    broken = Run(tmp_path / "broken")
    broken.folder.mkdir()
    for file in run.folder.iterdir():
        if file.is_file() and not file.name.startswith("."):
            (broken.folder / file.name).write_bytes(file.read_bytes())
    state = torch.load(broken.checkpoint, weights_only=True)
    state["game"]["discriminator"]["logit.weight"].fill_(torch.nan)
    torch.save(state, broken.checkpoint)
    with pytest.raises(HasamaError, match="not a number"):
        make_base(broken, tmp_path / "base", ABOUT)


# --- those that ship


def test_what_ships_is_small_and_says_whose_the_pictures_are():
    assert base_names()
    assert sum(file.stat().st_size for file in BASES.rglob("*")) < 20_000_000
    notice = (BASES.parent / "NOTICE.md").read_text()
    for name in base_names():
        about = about_base(name)
        assert about["kimg"] > 10
        assert about["licence"] in notice
        assert f"`{name}`" in notice


@pytest.mark.parametrize("name", base_names())
def test_the_default_recipe_takes_over_every_weight_of_a_base(name: str):
    own = Run(BASES / name)
    recipe = as_wide(RECIPES["vision-aided"].but(size=own.recipe().size, init_from=name))
    game = new_game(build(recipe, own.images()["channels"]), recipe)
    taken, state = inherit(game, name).taken, own.saved_game()
    kept = {which: state[which] for which in ("generator", "discriminator", "heads") if which in state}
    known = {f"{which}.{name.removeprefix('discriminator.')}" for which, part in kept.items() for name in part}
    assert not [name for name in known - {*taken} if name.endswith(("weight", "bias", "basis"))]
    latents = draw_latents(1, 2, recipe.latent_size)
    with torch.no_grad():  # what the recipe has beside, begins at nothing
        base = load_generator(own.generator).network.eval()(latents)
        torch.testing.assert_close(
            game.sampling_generator.eval()(latents), base, rtol=0, atol=0.02
        )  # saved as halves


def test_a_base_can_be_sampled_at_once(tmp_path: Path):
    name = base_names()[0]
    done = hasama("sample", name, "--count", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}-samples-0.png"]
    refused(hasama("sample", "portrait", cwd=tmp_path), "portrait")


def test_a_run_begins_with_a_base_by_its_name(pictures: Path, tmp_path: Path):
    name = base_names()[0]
    size = Run(BASES / name).recipe().size
    out, more = tmp_path / "run", ("--size", size, "--kimg", "0.016", "--quality-kimg", "0")
    done = hasama("train", pictures, "--like", name, *more, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"begins with the weights of {name}" in done.stdout
    assert Run(out).recipe().init_from == name
    refused(hasama("train", pictures, "--like", "portrait", *more, "--out", tmp_path / "no"), "The bases that come")


def test_who_begins_with_a_base_gets_a_generator_as_wide_unless_asked(tmp_path: Path):
    """And the same command again goes on."""
    pictures = [np.random.default_rng(number).integers(0, 256, (128, 128, 3), np.uint8) for number in range(12)]
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    few = ["--size", "128", "--init-from", "portraits-128", "--batch", "4", "--quality-kimg", "0", "--threads", "1"]
    for kimg in ("0.004", "0.008"):
        done = hasama("train", tmp_path / "photos", "vision-aided", *few, "--kimg", kimg, "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr
    run = Run(tmp_path / "run")
    assert (run.recipe().generator_width, run.images_seen()) == (32, 8)
    asked = RECIPES["vision-aided"].but(size="128", init_from="portraits-128", generator_width=48)
    assert as_wide(asked) is asked
    narrower = RECIPES["vision-aided"].but(size="128", init_from="portraits")
    assert as_wide(narrower) == narrower
    assert as_wide(asked.but(init_from="", generator_width=None)).generator_width is None
