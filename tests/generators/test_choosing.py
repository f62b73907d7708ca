"""Choosing of several pictures the one that looks most like real ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from command import TINY, hasama, refused
from hasama.evaluation.nearest import Nearest, nearest_to
from hasama.generators.choosing import AXES, FILE, Look, choose, load_look, look_of, save_look
from hasama.generators.generator_file import TrainedGenerator, load_generator
from hasama.generators.sampling import draw_latents, generate_all, labels_for
from hasama.networks.registry import build
from hasama.perception.extractors import Extractor
from hasama.pictures.cache import open_pictures
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.runs import bases

RECIPE = Recipe(architecture="dcgan", size="16", width=4, latent_size=8)


def colours(images: torch.Tensor) -> torch.Tensor:
    """The mean colour of each quarter: twelve features."""
    return torch.nn.functional.avg_pool2d(images, 8).flatten(1)


EYES = Extractor("colours", "colours", 12, colours, torch.device("cpu"), 1, 10**6)


def some_features(count: int, width: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, width)) @ rng.standard_normal((width, width)) + rng.standard_normal(width)
    return torch.from_numpy(mixed).float()


def untrained(classes: int = 0) -> TrainedGenerator:
    torch.manual_seed(0)
    network = build(RECIPE, 3, classes).generator
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 0, 0.3)
    return TrainedGenerator(network, RECIPE, 8, 3, tuple("abcdefg"[:classes]))


# --- a look ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [7, 21, 200])
def test_likeness_is_the_log_likelihood_of_probabilistic_pca(count: int):
    """Against torch's Gaussian in float64, whose covariance is written out; and against numpy's eigenvalues."""
    known, width = some_features(count, 50), 50
    look = Look.of(known)
    q = min(AXES, (count - 1) // 2)
    assert look.axes.shape == (q, width)
    values = np.linalg.eigvalsh(np.cov(known.double().numpy().T, ddof=0))[::-1]
    assert look.variances.numpy() == pytest.approx(values[:q], rel=1e-4)
    assert look.rest.item() == pytest.approx(values[q:].sum() / (width - q), rel=1e-4)
    axes, rest = look.axes.double(), look.rest.double()
    across = torch.eye(width, dtype=torch.float64) - axes.T @ axes
    covariance = axes.T @ torch.diag(look.variances.double()) @ axes + rest * across
    gaussian = torch.distributions.MultivariateNormal(look.mean.double(), covariance)
    others = some_features(20, width, seed=1)
    wanted = gaussian.log_prob(others.double())
    found = look.likeness(others).double()
    assert (found - found[0]).numpy() == pytest.approx((wanted - wanted[0]).numpy(), rel=1e-3)


def test_the_spread_is_the_mean_squared_distance():
    known = some_features(90, 40)
    away = (known - known.mean(0)).square().sum(1).mean()
    assert Look.of(known).spread.item() == pytest.approx(away.item(), rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_even_one_picture_has_a_look(count: int):
    """Then what is nearer to it is more like it."""
    known = some_features(1, 20).expand(count, -1)
    likeness = Look.of(known).likeness(torch.cat([known[:1] + 1, known[:1] + 0.5, known[:1]]))
    assert likeness.argmax() == 2
    assert likeness.isfinite().all()
    assert Look.of(some_features(count, 20)).likeness(some_features(5, 20)).isnan().sum() == 0


def test_a_look_is_kept_for_its_pictures_only(tmp_path: Path):
    look = Look.of(some_features(60, 40))
    assert load_look(tmp_path) is None
    save_look(look, tmp_path, "some pictures")
    again = load_look(tmp_path, "some pictures")
    assert again is not None
    assert torch.equal(again.mean, look.mean)
    assert torch.equal(again.variances, look.variances)
    assert torch.allclose(again.axes, look.axes, atol=1e-3)
    assert load_look(tmp_path, "others") is None
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:500])
    assert load_look(tmp_path, "some pictures") is None


# --- choosing -------------------------------------------------------------------------------------


@given(count=st.integers(1, 5), of=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_of_each_group_the_most_likely_is_taken(count: int, of: int, seed: int):
    generator, look = untrained(), Look.of(some_features(30, 12) / 9)
    latents = draw_latents(seed, count * of, 8)
    made = generate_all(generator, latents)
    likeness = look.likeness(colours(torch.from_numpy(made).permute(0, 3, 1, 2) / 127.5 - 1))
    choices = list(choose(generator, latents, None, of, look, EYES))
    assert [(one.done, one.total) for one in choices] == [(number + 1, count) for number in range(count)]
    for group, one in enumerate(choices):
        assert one.number // of == group
        assert likeness[one.number] >= likeness[group * of : (group + 1) * of].max() - 1e-3
        assert np.abs(one.picture.astype(int) - made[one.number]).max() <= 1  # in other batches


def test_each_has_its_class_and_truncation():
    generator, look = untrained(3), Look.of(some_features(30, 12) / 9)
    labels = labels_for(generator, 4)
    assert labels is not None
    labels, latents = labels.repeat_interleave(5), draw_latents(0, 20, 8)
    plain = [one.picture for one in choose(generator, latents, labels, 5, look, EYES)]
    calm = [one.picture for one in choose(generator, latents, labels, 5, look, EYES, truncation=0.0)]
    of_classes = generate_all(generator, torch.zeros(3, 8), torch.arange(3))
    assert np.abs(np.stack(calm).astype(int) - of_classes[labels[::5]]).max() <= 1
    assert not any(np.array_equal(one, other) for one, other in zip(plain, calm, strict=True))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A run of a copy of the pictures, which lie beside it."""
    place = tmp_path_factory.mktemp("run")
    shutil.copytree(pictures, place / "pictures")
    words = ["train", place / "pictures", "dcgan", *TINY, "--kimg", "0.032", "--out", place / "run"]
    done = hasama(*words)
    assert done.returncode == 0, done.stderr
    return place / "run"


def test_the_chosen_are_among_those_of_the_seed(run: Path, tmp_path: Path):
    """And once the look is kept, the training's pictures are not wanted any more."""
    assert hasama("sample", run, "--count", "12", "--out", tmp_path / "all").returncode == 0
    first = hasama("sample", run, "--count", "4", "--best-of", "3", "--out", tmp_path / "best")
    assert first.returncode == 0, first.stderr
    assert (run / FILE).exists()
    assert "4 pictures in the folder" in first.stdout
    names = sorted(file.name for file in (tmp_path / "best").iterdir())
    assert [int(name[6:12]) // 3 for name in names] == [0, 1, 2, 3]
    for name in names:
        one, other = (np.asarray(Image.open(tmp_path / place / name), int) for place in ("best", "all"))
        assert np.abs(one - other).max() <= 1
    moved = shutil.copytree(run, tmp_path / "moved")
    shutil.move(run.parent / "pictures", run.parent / "gone")
    try:
        again = hasama("sample", moved, "--count", "4", "--best-of", "3", "--out", tmp_path / "again")
        assert again.returncode == 0, again.stderr
        assert sorted(file.name for file in (tmp_path / "again").iterdir()) == names
        (moved / FILE).unlink()
        with_others = hasama("sample", moved, "--best-of", "3", HASAMA_CACHE=str(tmp_path / "empty"))
        refused(with_others, "--source")
        given = ["--source", run.parent / "gone", "--count", "4", "--best-of", "3", "--out", tmp_path / "given"]
        assert hasama("sample", moved, *given).returncode == 0
        assert not (moved / FILE).exists()  # of other pictures, perhaps
    finally:
        shutil.move(run.parent / "gone", run.parent / "pictures")


def test_a_film_stops_at_the_chosen(run: Path, tmp_path: Path):
    """Of one stop, and as many frames as there are at least, it is a still picture: the one that `sample` chooses."""
    flags = ["--seed", "3", "--count", "1", "--best-of", "5"]
    film = hasama("interpolate", run, *flags, "--stops", "1", "--seconds", "0.1", "--out", tmp_path / "film.webp")
    assert film.returncode == 0, film.stderr
    assert hasama("sample", run, *flags, "--out", tmp_path / "one").returncode == 0
    (one,) = (tmp_path / "one").iterdir()
    assert one.name != "seed3-000000.png"  # else nothing would be told apart
    chosen = np.asarray(Image.open(one), int)
    shown = np.asarray(Image.open(tmp_path / "film.webp").convert("RGB"), int)[2:-2, 2:-2][::8, ::8]
    assert np.abs(shown - chosen).mean() < 12  # WebP is not exact
    refused(hasama("interpolate", run, "--source", "digits"), "for --best-of")


def test_a_base_brings_its_look(tmp_path: Path):
    done = hasama("sample", "portraits", "--count", "2", "--best-of", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["portraits-samples-0-best-of-4.png"]
    generator = load_generator(bases.BASES / "portraits" / "generator.safetensors")
    assert generator.recipe is not None
    look = load_look(bases.BASES / "portraits")
    assert look is not None
    assert look.mean.shape == (1280,)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--best-of", "0"], "--best-of takes 1 to 100, not 0"),
        (["--best-of", "101"], "--best-of takes 1 to 100"),
        (["--best-of", "2", "--seeds", "1,2"], "nothing to choose"),
        (["--source", "digits"], "for --best-of"),
    ],
)
def test_what_cannot_be_chosen_is_refused(flags: list[str], told: str, run: Path):
    refused(hasama("sample", run, *flags), told)


def test_a_look_is_of_the_pictures_of_the_source(pictures: Path):
    known = open_pictures(str(pictures), RECIPES["dcgan"].but(size="16"))
    features = colours(torch.from_numpy(known.take(np.arange(len(known)))).permute(0, 3, 1, 2) / 127.5 - 1)
    assert torch.allclose(look_of(known, EYES).mean, features.mean(0), atol=1e-4)


# --- beside real pictures -------------------------------------------------------------------------


def test_the_nearest_real_pictures_are_found(run: Path, tmp_path: Path, pictures: Path):
    """Real pictures are nearest to themselves; the table has a row for each picture; copies are told."""
    known = open_pictures(str(pictures), RECIPES["dcgan"].but(size="16"))
    made = known.take(np.array([5, 2, 9]))
    *_, found = nearest_to(made, run, 3)
    assert isinstance(found, Nearest)
    assert found.pictures.shape == (3, 3, 16, 16, 3)
    assert np.array_equal(found.pictures[:, 0], made)
    assert found.near == pytest.approx(0, abs=0.01)
    *_, found = nearest_to(made, run, 10**6, str(pictures))
    assert isinstance(found, Nearest)
    assert found.pictures.shape[1] == len(known)
    done = hasama("sample", run, "--count", "3", "--nearest", "4", "--out", tmp_path / "table.png")
    assert done.returncode == 0, done.stderr
    assert "times as far" in done.stdout
    assert Image.open(tmp_path / "table.png").size == (5 * 66 + 2, 3 * 66 + 2)
    alone = hasama("sample", run, "--count", "3", "--columns", "1", "--out", tmp_path / "alone.png")
    assert alone.returncode == 0
    table, first = (np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in ("table", "alone"))
    assert np.abs(table[:, : first.shape[1]] - first).max() <= 1


@pytest.mark.parametrize("mirror", [False, True])
def test_a_mirrored_copy_is_a_copy_where_mirrored_pictures_were_trained_on(
    mirror: bool, run: Path, tmp_path: Path, pictures: Path
):
    other = shutil.copytree(run, tmp_path / "run")
    told = json.loads((other / "recipe.json").read_text())
    told["recipe"]["mirror"] = mirror
    (other / "recipe.json").write_text(json.dumps(told))
    known = open_pictures(str(pictures), RECIPES["dcgan"].but(size="16"))
    made = np.ascontiguousarray(known.take(np.array([5, 2, 9]))[:, :, ::-1])
    *_, found = nearest_to(made, other, 2)
    assert isinstance(found, Nearest)
    assert found.near is not None
    assert np.array_equal(found.pictures[:, 0], made) == mirror
    assert (found.near < 0.01) == mirror


def test_one_real_picture_is_everybodys_nearest(run: Path, tmp_path: Path):
    Image.new("RGB", (16, 16), (200, 10, 10)).save(tmp_path / "one.png")
    *_, found = nearest_to(np.zeros((2, 16, 16, 3), np.uint8), run, 3, str(tmp_path))
    assert isinstance(found, Nearest)
    assert found.pictures.shape == (2, 1, 16, 16, 3)
    assert found.near is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--nearest", "17"], "--nearest takes 0 to 16, not 17"),
        (["--nearest", "2", "--columns", "3"], "leave out --columns"),
        (["--nearest", "2", "--out", "folder"], "name a picture"),
    ],
)
def test_what_is_no_table_is_refused(flags: list[str], told: str, run: Path):
    refused(hasama("sample", run, *flags), told)


def test_of_a_base_alone_the_pictures_are_asked_for(tmp_path: Path):
    """Its pictures do not come with it."""
    refused(hasama("sample", "portraits", "--count", "2", "--nearest", "2", cwd=tmp_path), "--source")
