"""All figures together: their floors, and whether the intervals are as wide as the figures really scatter."""

from collections.abc import Generator

import numpy as np
import pytest
import torch

from hasama.metrics import intervals as figures
from hasama.metrics.distances import fid, fid_with_deviation, kid
from hasama.metrics.intervals import (
    Figure,
    by_neighbours,
    fid_interval,
    figures_of,
    floor_of_fid,
    jackknife_interval,
    kid_interval,
    share_interval,
    stream,
)
from hasama.metrics.neighbours import coverage, density, precision, recall


def normal(rng: np.random.Generator, count: int, size: int = 8, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((count, size)).astype(np.float32)) + shift


def at_the_end(work: Generator[int, None, dict[str, Figure]]) -> tuple[list[int], dict[str, Figure]]:
    done = []
    while True:
        try:
            done.append(next(work))
        except StopIteration as end:
            return done, end.value


def test_each_figure_is_the_one_of_its_function(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(figures, "RESAMPLES", 6)
    rng = np.random.default_rng(0)
    reals, fakes = normal(rng, 90), normal(rng, 60, shift=0.3)
    done, found = at_the_end(figures_of(reals, fakes, seed=3))
    assert done == list(range(7))
    some = reals[:60]
    values = {
        "fid": fid(reals, fakes), "kid": kid(reals, fakes, seed=3)[0], "precision": precision(some, fakes),
        "recall": recall(some, fakes), "density": density(some, fakes), "coverage": coverage(some, fakes),
    }  # fmt: skip
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(values, rel=1e-9)
    one, other = reals[45:], reals[:45]
    floors = {
        "fid": fid(one, other) * (1 / 90 + 1 / 60) / (2 / 45),
        "recall": recall(one, other),
        "coverage": coverage(one, other),
    }
    assert {name: found[name].floor for name in floors} == pytest.approx(floors, rel=1e-9)
    assert {name: (f.real, f.generated) for name, f in found.items()} == (
        dict.fromkeys(("fid", "kid"), (90, 60))
        | dict.fromkeys(("precision", "recall", "density", "coverage"), (60, 60))
    )
    for figure in found.values():
        assert figure.low <= figure.value <= figure.high
    assert at_the_end(figures_of(reals, fakes, seed=3))[1] == found


def test_more_fakes_than_reals_are_sampled_whatever_their_order(monkeypatch: pytest.MonkeyPatch):
    """Fakes that are sorted by class: the first ones would be of a few classes only."""
    monkeypatch.setattr(figures, "RESAMPLES", 2)
    rng = np.random.default_rng(0)
    centres = 40 * torch.eye(8)
    reals = normal(rng, 200) + centres[torch.arange(200) % 8]
    fakes = normal(rng, 800) + centres[torch.arange(800) * 8 // 800]
    _, found = at_the_end(figures_of(reals, fakes))
    assert found["coverage"].value > 0.85
    assert (found["coverage"].real, found["coverage"].generated, found["fid"].generated) == (200, 200, 800)


def scatter(shift: float, reals: int, fakes: int, times: int) -> dict[str, tuple[float, float]]:
    """How far figures of fresh pictures scatter, and how far their intervals say they do."""
    rng = np.random.default_rng(7)
    values: dict[str, list[float]] = {"kid": [], "fid": []}
    widths: dict[str, list[float]] = {"kid": [], "fid": []}
    for number in range(times):
        one, other = normal(rng, reals), normal(rng, fakes, shift=shift)
        mean, deviation = kid(one, other, 30, 100, number)
        low, high = kid_interval(mean, deviation, 30, 100, min(reals, fakes))
        values["kid"].append(mean)
        widths["kid"].append((high - low) / 2 / 1.96)
        low, high = fid_interval(*fid_with_deviation(one, other))
        values["fid"].append((low + high) / 2)
        widths["fid"].append((high - low) / 2 / 1.96)
    return {name: (float(np.std(values[name])), float(np.mean(widths[name]))) for name in values}


def test_intervals_are_as_wide_as_figures_of_fresh_pictures_scatter():
    for really, told in scatter(0.5, 300, 300, 80).values():
        assert told == pytest.approx(really, rel=0.3)


def resampled(rng: np.random.Generator, features: torch.Tensor) -> torch.Tensor:
    return features[torch.from_numpy(rng.integers(0, len(features), len(features)))]


def test_the_infinitesimal_jackknife_is_the_bootstrap_in_one_go():
    rng = np.random.default_rng(0)
    one, other = normal(rng, 300), 1.2 * normal(rng, 500, shift=0.4)
    value, told = fid_with_deviation(one, other)
    assert value == pytest.approx(fid(one, other), rel=1e-12)
    by_bootstrap = np.std([fid(resampled(rng, one), resampled(rng, other)) for _ in range(200)])
    assert told == pytest.approx(by_bootstrap, rel=0.15)


def test_of_fewer_pictures_than_features_it_is_rather_too_wide_but_nearer_than_the_bootstrap():
    rng = np.random.default_rng(0)
    pairs = [(normal(rng, 60, 80), 1.2 * normal(rng, 50, 80, 0.4)) for _ in range(30)]
    found = np.array([fid_with_deviation(*pair) for pair in pairs])
    really, told = np.std(found[:, 0]), np.mean(found[:, 1])
    by_bootstrap = np.std([fid(*(resampled(rng, rows) for rows in pairs[0])) for _ in range(30)])
    assert really < told < by_bootstrap < 2.5 * really


def test_a_pictures_weight_moves_fid_as_the_jackknife_says():
    """Of each picture that counts twice; what the figure moves by is its change over the number of pictures."""
    rng = np.random.default_rng(1)
    one, other = normal(rng, 300, 3).double(), 1.5 * normal(rng, 400, 3, 0.5).double()
    squares = 0.0
    for rows, pair in ((one, lambda more: (more, other)), (other, lambda more: (one, more))):
        figures = [fid(*pair(torch.cat([rows, picture[None]]))) for picture in rows]
        squares += float(np.var(figures)) * len(rows)
    assert fid_with_deviation(one, other)[1] == pytest.approx(squares**0.5, rel=0.02)


def test_intervals_of_good_fakes_are_rather_too_wide():
    for really, told in scatter(0.0, 200, 200, 40).values():
        assert really < told < 3 * really


@pytest.mark.parametrize(("count", "size", "shift"), [(60, 8, 0.3), (200, 16, 0.0)])
def test_intervals_of_what_neighbours_decide_hold_the_mean_figure(
    count: int, size: int, shift: float, monkeypatch: pytest.MonkeyPatch
):
    """Of 40 pairs of fresh sets, 95 % of which is 38."""
    monkeypatch.setattr(figures, "RESAMPLES", 15)
    monkeypatch.setattr(figures, "SUBSETS", 2)
    rng, found = np.random.default_rng(5), []
    for number in range(40):
        _, judged = at_the_end(figures_of(normal(rng, count, size), normal(rng, count, size, shift), number))
        found.append({name: judged[name] for name in ("precision", "recall", "density", "coverage")})
    for name in found[0]:
        mean = np.mean([one[name].value for one in found])
        assert sum(one[name].low <= mean <= one[name].high for one in found) >= 35, name
        told = np.mean([one[name].high - one[name].low for one in found]) / 2 / 1.96
        assert 0.75 < told / np.std([one[name].value for one in found]) < 1.8, name  # rather too wide than too narrow


def test_the_floor_of_fid_is_what_a_perfect_generator_gets():
    rng = np.random.default_rng(3)
    perfect = np.mean([fid(normal(rng, 400, 16), normal(rng, 200, 16)) for _ in range(20)])
    told = np.mean([floor_of_fid(normal(rng, 200, 16), normal(rng, 200, 16), 400, 200) for _ in range(20)])
    assert told == pytest.approx(perfect, rel=0.1)


def test_jackknife_by_hand():
    """The mean of n numbers: subsets without repetition scatter by s^2 / b (1 - b / n)."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100)
    means = [float(rng.permutation(values)[:20].mean()) for _ in range(4000)]
    low, high = jackknife_interval(5.0, means, 20, 100)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 10, rel=0.05)
    assert low + high == pytest.approx(10)
    assert jackknife_interval(0.1, [0.0, 5.0], 10, 20)[0] == 0


def test_shares_have_an_interval_even_at_their_ends():
    """Wilson's own: of 30 of 30 the lower end is n / (n + z^2)."""
    assert share_interval(1.0, 30) == (pytest.approx(30 / (30 + 1.96**2)), 1)
    assert share_interval(0.0, 30) == (0, pytest.approx(1.96**2 / (30 + 1.96**2)))
    assert share_interval(0.5, 100) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    same = torch.zeros(40, 4)
    _, found = at_the_end(figures_of(same, same))
    assert (found["precision"].value, found["precision"].high) == (1, 1)
    assert found["precision"].low == pytest.approx(40 / (40 + 1.96**2))
    assert by_neighbours(same, same + 9)["precision"] == 0


def test_an_interval_around_the_figure_never_holds_a_fid_below_zero():
    assert fid_interval(1.0, 2.0) == (0, pytest.approx(1 + 1.96 * 2))
    assert kid_interval(0.0, 1.0, 100, 1000, 5000) == pytest.approx(
        (-1.0, 1.0), abs=0.01
    )  # a quarter, and a hundredth
    assert kid_interval(0.0, 1.0, 4, 2, 3)[1] < 3


def test_streams_are_apart_and_repeat():
    draws = {tuple(stream(*place).integers(2**62, size=2)) for place in ((0,), (1,), (0, 1), (1, 0), (0, 0, 1))}
    assert len(draws) == 5
    assert stream(5, 2).random() == stream(5, 2).random()
