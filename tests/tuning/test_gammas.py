"""Trials of gamma differ in nothing else, and only a clearly better one replaces the usual."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import hasama
from advice import advise
from command import hasama as command
from hasama.cli.commands.suggest import suggest
from hasama.errors import HasamaError
from hasama.health.quality import Quality
from hasama.perception.extractors import Extractor
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.runs.pace import Pace
from hasama.tuning.gammas import GammaTrial, best_gamma, check_gammas, try_gammas

RECIPE = hasama.RECIPES["r3gan"].but(size="16", width=2, latent_size=4, batch=8, precision="fp32")


def look(kid: float, apart: float = 0.1) -> Quality:
    return Quality(10_000, kid, kid - apart, kid + apart)


def test_the_usual_one_stays_unless_another_is_clearly_better():
    assert best_gamma({0.5: look(1.0), 5.0: look(2.0)}, usual=5.0)[0] == 0.5
    gamma, why = best_gamma({0.5: look(1.0), 5.0: look(1.1)}, usual=5.0)
    assert gamma == 5.0
    assert "not clearly better" in why
    assert "10 kimg" in why
    assert best_gamma({0.5: look(1.0), 50.0: look(1.1)}, usual=5.0)[0] == 0.5  # the usual one was not tried
    assert best_gamma({0.5: look(3.0), 5.0: look(1.0)}, usual=5.0)[0] == 5.0


def test_where_the_usual_one_was_not_tried_it_says_so():
    gamma, why = best_gamma({0.05: look(0.5), 0.01: look(0.6)}, usual=5.0)
    assert gamma == 0.05
    assert "the usual 5 was not among them" in why
    assert "usual" not in best_gamma({0.05: look(0.5), 0.01: look(9.0)}, usual=0.05)[1]


def test_where_all_broke_down_the_usual_one_stays():
    nothing = Quality(10_000, *3 * (float("inf"),))
    for tried in ({0.5: nothing, 50.0: nothing}, {0.5: nothing, 5.0: nothing}):
        gamma, why = best_gamma(tried, usual=5.0)
        assert gamma == 5.0
        assert "all of them broke down" in why
    assert best_gamma({0.5: nothing, 50.0: look(1.1)}, usual=5.0)[0] == 50.0


@pytest.mark.parametrize("gammas", [[], [1.0], [2.0, 2.0], [1.0, -1.0], [1.0, float("nan")]])
def test_bad_weights_are_refused(gammas: list[float]):
    with pytest.raises(HasamaError):
        check_gammas(gammas, RECIPE)
    with pytest.raises(HasamaError, match="penalty"):
        check_gammas([1.0, 2.0], hasama.RECIPES["dcgan"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", images=rng.integers(0, 256, (60, 16, 16, 3), np.uint8))
    return tmp_path / "noise.npz"


def test_each_weight_is_trained_with_and_looked_at(source: Path, monkeypatch: pytest.MonkeyPatch):
    def extract(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)

    averages = Extractor("averages", "averages", 48, extract, torch.device("cpu"), 1, 64 * 64 * 64)
    monkeypatch.setattr("hasama.tuning.gammas.extractor_named", lambda *_: averages)
    pictures = hasama.open_pictures(str(source), RECIPE)
    records = list(try_gammas(RECIPE, pictures, [0.5, 50.0], 0.03))
    found = [(one.gamma, one.quality.kid) for one in records if one.quality is not None]
    assert [gamma for gamma, _ in found] == [0.5, 50.0]
    assert found[0][1] != found[1][1]
    again = [one.quality.kid for one in try_gammas(RECIPE, pictures, [50.0, 0.5], 0.03) if one.quality is not None]
    assert again == [found[1][1], found[0][1]]  # a function of the gamma, not of the order
    assert [one.done for one in records if one.gamma == 0.5] == [8, 16, 24, 30, 30]


@pytest.mark.slow
def test_the_command_tells_what_it_tried(source: Path, tmp_path: Path):
    gammas = ["--gammas", "0.5, 50", "--gamma-kimg", "0.1"]
    done = advise("suggest", source, *gammas, "--threads", 1, cwd=str(tmp_path), HASAMA_TEST_SECONDS="0.1")
    assert done.returncode == 0, done.stderr
    assert "by gamma 0.5: " in done.stdout
    assert "--gamma" in done.stdout.split("Begin with:")[1] or "not clearly better" in done.stdout


def test_the_trials_take_batches_that_fit(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    tried: list[Recipe] = []

    def measure(recipe: Recipe, *_, **__) -> Pace:
        if recipe.batch > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Pace(50.0, 10, None)

    def trials(recipe: Recipe, pictures: Pictures, gammas: Sequence[float], *_) -> Iterator[GammaTrial]:
        tried.append(recipe)
        return (GammaTrial(gamma, "", 1, 1, look(gamma)) for gamma in gammas)

    monkeypatch.setattr("hasama.runs.pace.measure", measure)
    monkeypatch.setattr("hasama.tuning.gammas.try_gammas", trials)
    assert suggest(str(source), gammas="0.5,50", json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert [recipe.batch for recipe in tried] == [told["recipe"]["batch"]] == [4]
    assert told["recipe"]["gamma"] == 0.5


@pytest.mark.parametrize("gammas", ["", "1", "1,1", "1,x", "1,-2", "1,nan"])
def test_the_command_refuses_bad_weights(source: Path, gammas: str):
    done = command("suggest", str(source), f"--gammas={gammas}")
    assert done.returncode == 2
    assert "at least two different numbers" in done.stderr
