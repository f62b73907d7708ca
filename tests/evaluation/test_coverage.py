"""The figures of mode coverage against their definitions; real samples, collapsed ones; a real run by the command."""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cyclopts
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import hasama.cli.commands.coverage as command
import hasama.evaluation.coverage as covering
import hasama.evaluation.stacked_mnist as stacked
from command import forked, run_code
from hasama.errors import HasamaError
from hasama.evaluation.coverage import STACKED, CoverageProgress, Plane, cover
from hasama.evaluation.stacked_mnist import (
    DigitSet,
    Learning,
    Reader,
    Stacks,
    learn_to_read,
    open_digits,
    read_stacks,
)
from hasama.metrics.modes import (
    MIXTURES,
    Coverage,
    Mixture,
    as_images,
    as_points,
    coverage_of_points,
    coverage_of_stacks,
    divergence,
    draw_points,
    draw_stacks,
    mean_coverage,
    modes_of,
    stack,
    width_of_points,
)
from hasama.networks.architectures.fourier_points import FourierPointNetworks, Waves
from hasama.networks.architectures.points import PointNetworks
from hasama.presets import POINT_RECIPES, RECIPES, recipe_named
from hasama.runs.folder import Run
from hasama.runs.reports.plot import plot_points

seeds = st.integers(0, 2**63 - 1)
names = st.sampled_from(sorted(MIXTURES))

TWO = Mixture(np.array([[0.0, 0.0], [2.0, 0.0]]), 0.1, 2.0)

# --- points: the definitions ----------------------------------------------------------------------


def test_the_mixtures_are_the_published_ones():
    ring, grid = MIXTURES["ring"], MIXTURES["grid"]
    assert (ring.sigma, grid.sigma) == (0.01, 0.05)
    np.testing.assert_allclose(np.hypot(*ring.centres.T), np.ones(8))
    np.testing.assert_allclose(ring.centres[2], [0, 1], atol=1e-12)
    assert sorted(map(tuple, grid.centres)) == [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    assert {(one.samples, one.enough) for one in (ring, grid)} == {(2500, 1)}


def test_the_hundred_are_the_packages():
    """Its 10 x 10 means from -4.5 to 4.5, sigma 0.03; 20,000 points, of which 10 make a mode; 7,000 steps."""
    hundred, plane = MIXTURES["hundred"], covering.PLANES["hundred"]
    ticks = [-4.5, -3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5]
    assert sorted(map(tuple, hundred.centres)) == [(x, y) for x in ticks for y in ticks]
    assert (hundred.sigma, hundred.reach, hundred.samples, hundred.enough) == (0.03, 4.5, 20_000, 10)
    assert covering.KIMG["hundred"] * 1000 <= 7000 * plane.batch
    assert plane.batch <= 2048


def test_a_mode_may_need_more_than_one_point():
    """Three near the first, of which one is of low quality; two near the second."""
    points = np.array([[0.0, 0.0], [0.1, 0.0], [0.31, 0.0], [2.0, 0.0], [2.0, 0.1]])
    assert [coverage_of_points(points, TWO._replace(enough=n)).modes for n in (1, 2, 3)] == [2, 2, 0]


def test_by_hand():
    """Three of four near a mode, all four nearest to it: KL is log 2. Then a fifth, near the other."""
    points = np.array([[0.0, 0.0], [0.29, 0.0], [0.0, -0.2], [0.31, 0.0]])
    found = coverage_of_points(points, TWO)
    assert (found.modes, found.of, found.quality, found.samples) == (1, 2, 3 / 4, 4)
    assert found.kl == pytest.approx(math.log(2), rel=1e-15)
    both = coverage_of_points(np.concatenate([points, [[2.1, 0.1]]]), TWO)
    assert (both.modes, both.quality) == (2, 4 / 5)
    assert both.kl == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4), rel=1e-15)


def test_a_far_sample_counts_for_the_divergence_but_finds_no_mode():
    found = coverage_of_points(np.array([[0.0, 0.0], [9.0, 0.0]]), TWO)
    assert (found.modes, found.quality, found.kl) == (1, 0.5, 0.0)


def test_what_is_no_number_is_of_low_quality():
    found = coverage_of_points(np.array([[0.0, 0.0], [np.nan, 0.0], [0.0, np.inf], [2.0, 0.0]]), TWO)
    assert (found.modes, found.quality, found.kl) == (2, 0.5, 0.0)
    lost = coverage_of_points(np.full((5, 2), np.nan), TWO)
    assert (lost.modes, lost.quality, lost.kl) == (0, 0.0, math.inf)
    assert lost.to_dict()["kl"] is None


def test_the_width_of_the_modes():
    """By hand, of real points, and of such as are half as wide; quality alone finds the narrow ones better."""
    points = np.array([[0.1, 0.0], [-0.1, 0.0], [2.0, 0.1], [2.0, -0.1], [1.0, 0.0], [np.nan, 0.0]])
    assert width_of_points(points, TWO) == pytest.approx(math.sqrt(0.1**2 / 2) / 0.1)
    hundred = MIXTURES["hundred"]
    assert width_of_points(draw_points(hundred, 0, 20_000), hundred) == pytest.approx(0.974, abs=0.01)
    narrow = draw_points(hundred._replace(sigma=0.015), 0, 20_000)
    assert width_of_points(narrow, hundred) == pytest.approx(0.5, abs=0.01)
    assert math.isnan(width_of_points(points[4:], TWO))


@given(arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 1000)))
@settings(max_examples=100)
def test_the_divergence_is_the_definitions(counts: np.ndarray):
    counts[0] += 1
    total, modes = int(counts.sum()), len(counts)
    wanted = math.fsum(c / total * math.log((c / total) / (1 / modes)) for c in counts.tolist() if c)
    assert divergence(counts) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert 0 <= divergence(counts) <= math.log(modes) + 1e-12
    assert divergence(counts[::-1]) == pytest.approx(divergence(counts), abs=1e-12)


@given(names, seeds)
@settings(max_examples=25)
def test_real_points_find_all_modes_and_are_good(name: str, seed: int):
    found = coverage_of_points(draw_points(MIXTURES[name], seed, MIXTURES[name].samples), MIXTURES[name])
    assert found.modes == found.of == len(MIXTURES[name].centres)
    assert found.quality == pytest.approx(1 - math.exp(-9 / 2), abs=0.012)  # five standard deviations
    assert found.kl < 0.02


@given(names, seeds, st.data())
@settings(max_examples=25)
def test_a_collapsed_sample_finds_one_mode(name: str, seed: int, data: st.DataObject):
    mixture = MIXTURES[name]
    mode = mixture.centres[data.draw(st.integers(0, len(mixture.centres) - 1))]
    found = coverage_of_points(
        mode + 0.5 * mixture.sigma * np.random.default_rng(seed).uniform(-1, 1, (100, 2)), mixture
    )
    assert (found.modes, found.quality) == (1, 1.0)
    assert found.kl == pytest.approx(math.log(found.of), rel=1e-12)


@given(names, seeds)
@settings(max_examples=20)
def test_points_survive_the_way_through_pictures(name: str, seed: int):
    mixture = MIXTURES[name]
    points = draw_points(mixture, seed, 50)
    images = as_images(points, mixture)
    assert (tuple(images.shape), images.dtype) == ((50, 2, 1, 1), torch.float32)
    assert images.abs().max() < 1.2
    np.testing.assert_allclose(as_points(images, mixture), points, atol=1e-6)


def test_the_mean_of_runs():
    one, two = Coverage(8, 8, 0.9, 0.1, 2500), Coverage(7, 8, 0.8, 0.3, 2500)
    mean = mean_coverage([one, two])
    assert (mean.modes, mean.of, mean.samples) == (7.5, 8, 2500)
    assert (mean.quality, mean.kl) == (pytest.approx(0.85), pytest.approx(0.2))
    assert mean_coverage([Coverage(1000, 1000, None, 0.1, 26_000)]).quality is None


# --- stacked digits -------------------------------------------------------------------------------


def test_stacks_by_hand():
    read = np.array([[0, 0, 0], [9, 9, 9], [2, 0, 7], [2, 0, 7]])
    assert modes_of(read).tolist() == [0, 999, 207, 207]
    found = coverage_of_stacks(read)
    assert (found.modes, found.of, found.quality, found.samples) == (3, 1000, None, 4)
    assert found.kl == pytest.approx(0.5 * math.log(250) + 0.5 * math.log(500), rel=1e-12)


def test_all_modes_equally_often_are_no_divergence_and_one_alone_is_the_largest():
    every = np.array([[a, b, c] for a in range(10) for b in range(10) for c in range(10)])
    assert coverage_of_stacks(every).modes == 1000
    assert coverage_of_stacks(every).kl == pytest.approx(0, abs=1e-12)
    assert coverage_of_stacks(np.full((50, 3), 4)).kl == pytest.approx(math.log(1000))


def test_real_stacks_have_the_published_floor():
    """MNIST's own counts of each digit."""
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    labels = np.repeat(np.arange(10), counts)
    floors = [coverage_of_stacks(labels[draw_stacks(len(labels), seed, 26_000)]) for seed in range(3)]
    assert np.mean([floor.kl for floor in floors]) == pytest.approx(0.0235, abs=0.001)
    assert all(floor.modes == 1000 for floor in floors)


def some_digits(count: int = 300, side: int = 32) -> DigitSet:
    """Ten kinds of bars, each at another height, with a little noise: as easy to read as can be."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 10
    pixels = rng.integers(0, 40, (count, side, side), np.uint8)
    for row, label in zip(pixels, labels, strict=True):
        row[3 * label : 3 * label + 3] = 220
    return DigitSet(pixels, labels)


def test_each_channel_is_the_chosen_digit():
    digits = some_digits(20)
    chosen = np.array([[3, 3, 7], [0, 19, 5]])
    stacks = stack(digits.pixels, chosen)
    assert stacks.shape == (2, 32, 32, 3)
    for picture, row in zip(stacks, chosen, strict=True):
        for channel, number in enumerate(row):
            assert (picture[..., channel] == digits.pixels[number]).all()


@given(seeds, st.integers(1, 40), st.integers(0, 10**9))
@settings(max_examples=40)
def test_draws_are_functions_of_seed_and_position(seed: int, count: int, first: int):
    for draw in (lambda at: draw_stacks(60_000, seed, count, at), lambda at: draw_points(TWO, seed, count, at)):
        assert np.array_equal(draw(first), draw(first))
        assert not np.array_equal(draw(first), draw(first + count))


def test_networks_that_grow_have_grown_at_the_end_of_a_short_run():
    adapted = Stacks(some_digits(), Reader()).adapted(RECIPES["progressive"], 50.0)
    assert adapted.grow_kimg / adapted.kimg == RECIPES["progressive"].grow_kimg / RECIPES["progressive"].kimg


@pytest.mark.parametrize("ground", [Plane(MIXTURES["grid"]), Stacks(some_digits(), Reader())])
def test_the_batches_go_on_where_a_run_stood(ground: Plane | Stacks):
    recipe = RECIPES["r3gan"].but(batch=8, seed=5)
    whole = [batch.images for batch in islice(ground.batches(recipe, torch.device("cpu")), 6)]
    rest = [batch.images for batch in islice(ground.batches(recipe, torch.device("cpu"), 24), 3)]
    for late, again in zip(whole[3:], rest, strict=True):
        assert torch.equal(late, again)
    assert all(not torch.equal(whole[0], other) for other in whole[1:])


# --- reading --------------------------------------------------------------------------------------


def last(records: Iterator[Learning]) -> Reader:
    reader = None
    for record in records:
        reader = record.reader
    assert reader is not None
    return reader


def test_a_reader_learns_is_kept_and_is_the_same_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stacked, "BATCH", 32)
    digits = some_digits(600)
    state = torch.get_rng_state()
    reader = last(learn_to_read(digits))
    assert torch.equal(torch.get_rng_state(), state)
    chosen = draw_stacks(600, 0, 50)
    assert (read_stacks(reader, stack(digits.pixels, chosen)) == digits.labels[chosen]).all()

    (kept,) = (own_cache / "readers").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(stacked, "_train", None)  # no need of it
        again = last(learn_to_read(digits))
    for one, two in zip(reader.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)

    content = kept.read_bytes()
    for damaged in (content[:5000], content[:-2] + bytes([content[-2] ^ 4, content[-1]])):  # none of them is trusted
        kept.write_bytes(damaged)
        anew = last(learn_to_read(digits))
        for one, two in zip(reader.parameters(), anew.parameters(), strict=True):
            assert torch.equal(one, two)


def test_a_reader_that_cannot_read_judges_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    digits = some_digits(200)
    shuffled = DigitSet(digits.pixels, np.random.default_rng(1).permutation(digits.labels))
    assert shuffled.digest() != digits.digest()
    with pytest.raises(HasamaError, match=r"reads only \d+\.\d% of 20 others right; 98\.5% are needed"):
        last(learn_to_read(shuffled))
    assert not (own_cache / "readers").exists()


def save_digits(place: Path, classes: int = 10) -> Path:
    digits = some_digits(600, 28 + 4)
    np.savez(place, images=digits.pixels[:, 2:-2, 2:-2], labels=digits.labels % classes)
    return place


def test_digits_get_a_black_edge(tmp_path: Path):
    digits = open_digits(str(save_digits(tmp_path / "digits.npz")))
    assert digits.pixels.shape == (600, 32, 32)
    assert not digits.pixels[:, [0, 1, 30, 31]].any()
    assert (digits.pixels[:, 2:-2, 2:-2] == some_digits(600).pixels[:, 2:-2, 2:-2]).all()
    assert np.bincount(digits.labels).tolist() == [60] * 10


def test_other_pictures_are_refused(tmp_path: Path, pictures: Path):
    with pytest.raises(HasamaError, match=r"classes of .* are: 0, 1, 2"):
        open_digits(str(save_digits(tmp_path / "few.npz", 3)))
    with pytest.raises(HasamaError, match="ten classes called 0 to 9"):
        open_digits(str(pictures))


# --- playing --------------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    """The command, as `cli.main` calls it, in this process."""
    app = cyclopts.App(result_action="return_value", suppress_keyboard_interrupt=False)
    app.command(command.coverage)
    return app(["coverage", *map(str, arguments)], exit_on_error=False)


class End(NamedTuple):
    """The last record, all of which is there."""

    found: Coverage
    floor: Coverage
    sample: np.ndarray


def ended(record: CoverageProgress) -> End:
    assert record.found is not None
    assert record.floor is not None
    assert record.sample is not None
    return End(record.found, record.floor, record.sample)


def end_of(what: str, seed: int = 0, recipe: str = "r3gan", kimg: float = 1.0) -> End:
    (last,) = deque(cover(what, recipe_named(recipe, POINT_RECIPES).but(seed=seed), kimg), maxlen=1)
    return ended(last)


def test_the_records_go_from_playing_to_judging():
    every = list(cover("ring", RECIPES["r3gan"].but(seed=3), 1.0))
    playing = [record for record in every if record.stage == "training"]
    assert [record.done for record in playing] == [min(1.0, 100 * n / 1000) for n in range(1, 11)]
    assert set(playing[0].losses) == {"discriminator", "generator"}
    assert every[-2] == CoverageProgress("counting modes", 0.0)
    assert every[-2].losses == {}
    end = ended(every[-1])
    assert (end.sample.shape, end.found.of, end.floor.modes) == ((2500, 2), 8, 8)


def test_a_seed_gives_the_same_run_and_another_seed_another():
    samples = [end_of("grid", seed).sample for seed in (3, 3, 4)]
    assert np.array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[0], samples[2])


def test_points_are_played_by_the_recipes_rules_and_none_of_its_networks():
    plane, wanted = Plane(MIXTURES["ring"]), RECIPES["gentle"]
    played = plane.adapted(wanted, 5.0)
    for name in covering.RULES:
        assert getattr(played, name) == getattr(wanted, name), name
    assert (played.kimg, played.precision, played.schedule_images) == (5.0, "fp32", 5000)
    falling = plane.adapted(RECIPES["r3gan"].but(size="256", augment="ada"), 7.0)
    assert (falling.schedule_images, falling.gamma, falling.augment) == (7000, covering.POINT_GAMMA, "none")
    assert plane.adapted(RECIPES["r3gan"].but(gamma=3.0), 7.0).gamma == 3
    assert plane.adapted(RECIPES["wgan-gp"], 7.0).penalty_weight == 10


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "vae"])
def test_every_recipe_that_plays_can_be_played_on_points(name: str):
    assert end_of("ring", recipe=name, kimg=0.2).found.of == 8


def test_the_networks_begin_among_the_points():
    torch.manual_seed(0)
    pair = PointNetworks().build()
    points = pair.generator(torch.randn(2000, 2))
    assert tuple(points.shape) == (2000, 2, 1, 1)
    assert 0.2 < points.std() < 3
    assert tuple(pair.discriminator(points).shape) == (2000,)


def test_the_generator_of_the_hundred_begins_at_the_places_of_a_lattice():
    networks = FourierPointNetworks(reach=1.0, slowest=1.0, octaves=2, places=4)
    pair = networks.build()
    torch.nn.init.zeros_(list(pair.generator.parameters())[-2])  # the last weight: places are not moved
    quarters = [-20.0, -0.68, -0.67, -0.001, 0.001, 0.67, 0.68, 20.0]  # quartiles of the normal: -0.6745, 0, 0.6745
    latents = torch.tensor([[x, -x, 3.0, -3.0] for x in quarters])
    wanted = torch.tensor([-0.75, -0.75, -0.25, -0.25, 0.25, 0.25, 0.75, 0.75])
    torch.testing.assert_close(pair.generator(latents)[:, :, 0, 0], torch.stack([wanted, -wanted], 1))
    assert tuple(pair.discriminator(pair.generator(latents)).shape) == (8,)


def test_waves_by_hand():
    waves = Waves(slowest=math.pi / 2, octaves=2)
    found = waves(torch.tensor([[1.0, 0.5]]))  # angles: pi/2 and pi; pi/4 and pi/2
    half = math.sqrt(0.5)
    wanted = torch.tensor([[1.0, 0.5, 1.0, 0.0, half, 1.0, 0.0, -1.0, half, 0.0]])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert waves.features == 10


@pytest.mark.slow
def test_most_of_a_hundred_modes_are_found_in_a_hundred_steps():
    """Points all over the square would be of high quality by 2.5 %. (It was 93 modes, 11.6 %.)"""
    end = end_of("hundred", 100, "hundred", kimg=51.2)
    assert end.found.modes >= 80
    assert end.found.quality is not None
    assert end.found.quality > 3 * 0.025
    assert end.floor.quality == pytest.approx(1 - math.exp(-9 / 2), abs=0.004)
    assert end.sample.shape == (20_000, 2)


def test_a_collapsed_and_a_perfect_generator_are_told_apart():
    plane = Plane(MIXTURES["grid"])

    class Painting(torch.nn.Module):
        def __init__(self, collapsed: bool) -> None:
            super().__init__()
            self.collapsed, self.weight = collapsed, torch.nn.Parameter(torch.zeros(()))

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            points = draw_points(MIXTURES["grid"], 1, len(latents))
            return as_images(np.repeat(points[:1], len(points), 0) if self.collapsed else points, MIXTURES["grid"])

    found = [
        plane.measure(covering.TrainedGenerator(Painting(collapsed), None, 2, 3), 0)[0] for collapsed in (True, False)
    ]
    assert found[0].modes <= 1
    assert found[0].kl == pytest.approx(math.log(25))
    assert (found[1].modes, found[1].quality) == (25, pytest.approx(0.989, abs=0.012))


def test_a_ring_is_learnt_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "ring"
    assert run("ring", "--seeds", "100", "--kimg", "25", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "coverage.json").read_text())
    assert (told["what"], told["recipe"], told["kimg"]) == ("ring", "r3gan", 25)
    (row,) = told["seeds"]
    assert (row["seed"], row["of"], row["samples"]) == (100, 8, 2500)
    assert row["modes"] >= 6
    assert told["floor"]["quality"] == pytest.approx(0.989, abs=0.012)
    with Image.open(out / "coverage.png") as picture:
        assert min(picture.size) > 400


def test_the_table_has_the_floor_each_seed_and_the_mean(capsys: pytest.CaptureFixture[str]):
    assert run("ring", "dcgan", "--seeds", "7,9", "--kimg", "0.5") == 0
    said = capsys.readouterr().out
    for words in ("ring by dcgan, 0.5 kimg", "real data", "8 of 8", "seed 7", "seed 9", "mean of 2", "high quality"):
        assert words in said


def test_stacks_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(stacked, "BATCH", 32)
    monkeypatch.setattr(stacked, "STACK_SAMPLES", 70)
    source, out = save_digits(tmp_path / "digits.npz"), tmp_path / "stacked"
    assert run(STACKED, "--source", source, "--kimg", "0.1", "--out", out) == 0
    told = json.loads((out / "coverage.json").read_text())
    assert (told["floor"]["of"], told["floor"]["quality"], told["mean"]["samples"]) == (1000, None, 70)
    assert told["floor"]["modes"] > 60  # of 70 draws, a few the same
    assert (out / "coverage.png").exists()
    said = capsys.readouterr().out
    assert "stacked-mnist by stacked-mnist" in said  # its own recipe
    assert "real data" in said


def test_an_interrupted_command_shows_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    runs = command._run

    def interrupted(asked: object, recipe: command.Recipe, *rest: object) -> object:
        if recipe.seed:
            raise KeyboardInterrupt
        return runs(asked, recipe, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(command, "_run", interrupted)
    assert run("ring", "--seeds", "0-4", "--kimg", "0.2") == 130
    assert "mean of 1" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        run("ring", "--seeds", "1-4", "--kimg", "0.2")
    with pytest.raises(KeyboardInterrupt):  # the second Ctrl-C: at once
        run("ring", "--seeds", "0-4", "--kimg", "0.2", "--out", tmp_path)
    assert list(figures(tmp_path)) == [0]


def figures(out: Path) -> dict[int, tuple[float, float]]:
    """Modes and divergence by seed."""
    return {
        row["seed"]: (row["modes"], row["kl"]) for row in json.loads((out / "coverage.json").read_text())["seeds"]
    }


@pytest.mark.parametrize(("what", "name", "batch"), [("grid", "r3gan", 100), ("hundred", "hundred", 512)])
def test_a_game_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, what: str, name: str, batch: int):
    recipe, kept, kimg = recipe_named(name, POINT_RECIPES).but(seed=5), Run(tmp_path / "game"), 12 * batch / 1000
    begun = cover(what, recipe, kimg, kept=kept)
    assert [round(record.done, 3) for record in islice(begun, 3)] == [0.083, 0.167, 0.25]
    begun.close()
    assert kept.images_seen() == 3 * batch
    rest = list(cover(what, recipe, kimg, kept=kept))
    assert round(rest[0].done, 3) == 0.333
    assert kept.images_seen() == 12 * batch
    again = list(cover(what, recipe, kimg, kept=kept))  # stopped while it was judged
    assert [record.stage for record in again] == ["counting modes", "counting modes"]
    whole = end_of(what, 5, name, kimg=kimg).sample
    assert np.array_equal(ended(rest[-1]).sample, whole)
    assert np.array_equal(ended(again[-1]).sample, whole)


def test_the_command_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real process is killed in its second seed: what it had saved, and the first seed, are not lost."""
    kept, whole = tmp_path / "kept", tmp_path / "whole"
    words = ["coverage", "ring", "dcgan", "--kimg", "2", "--seeds", "3-4", "--threads", "1", "--out"]
    code = f"""
import hasama.evaluation.coverage, hasama.runs.folder, os, sys
from hasama.cli.app import main
hasama.evaluation.coverage.SAVE_SECONDS = 0.0
save = hasama.runs.folder.Run.save_game
def saves(run, game):
    save(run, game)
    if run.folder.name == "seed-4" and game.images_seen == 700:
        os.kill(os.getpid(), 9)
hasama.runs.folder.Run.save_game = saves
sys.argv = ["hasama", *{words!r}, {str(kept)!r}]
sys.exit(main())
"""
    killed = forked(run_code, code)
    assert killed.returncode == -9, killed.stderr
    assert list(figures(kept)) == [3]
    assert Run(kept / "seed-4").images_seen() == 700
    cover_, begun = covering.cover, []

    def watched(*arguments: object) -> Iterator[CoverageProgress]:
        records = cover_(*arguments)  # pyright: ignore[reportArgumentType]
        begun.append(next(records))
        yield begun[-1]
        yield from records

    monkeypatch.setattr(covering, "cover", watched)
    assert run(*words[1:], kept) == 0
    assert [record.done for record in begun] == [0.4]  # the second seed alone, at 800 of 2,000
    monkeypatch.undo()
    assert run(*words[1:], whole) == 0
    assert figures(kept) == figures(whole)
    assert {file.name for file in kept.iterdir()} == {"coverage.json", "coverage.png", "settings.json"}


def test_hundred_by_one_command_in_a_process_of_its_own(tmp_path: Path):
    """Its recipe is the default; what is done is not done again."""
    words = ["coverage", "hundred", "--kimg", "2", "--seeds", "7", "--threads", "1", "--json", "--out", str(tmp_path)]
    code = f"import sys; from hasama.cli.app import main; sys.argv = ['hasama', *{words!r}]; sys.exit(main())"
    first, again = forked(run_code, code), forked(run_code, code)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    told = json.loads(first.stdout)
    assert (told["what"], told["recipe"], told["kimg"], told["mean"]["of"]) == ("hundred", "hundred", 2, 100)
    assert json.loads(again.stdout)["seeds"] == told["seeds"]  # to the second that it took
    assert {file.name for file in tmp_path.iterdir()} == {"coverage.json", "coverage.png", "settings.json"}


def test_ctrl_c_saves_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    asked = iter([False] * 5 + [True])

    @contextmanager
    def stopped() -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked)

    words = ["ring", "--seeds", "1", "--kimg", "2", "--out", tmp_path / "kept"]
    with monkeypatch.context() as patch:
        patch.setattr(command, "asked_to_stop", stopped)
        assert run(*words) == 130
    assert "Stopped after 0 of 1 seeds. The same command goes on." in capsys.readouterr().out
    assert Run(tmp_path / "kept" / "seed-1").images_seen() == 600
    taken = tmp_path / "kept" / "seed-1" / "seconds.json"
    assert 0 < json.loads(taken.read_text())["seconds"] < 100
    taken.write_text('{"seconds": 1000}')
    assert run(*words) == 0
    assert figures(tmp_path / "kept")[1][0] >= 0
    (ended,) = json.loads((tmp_path / "kept" / "coverage.json").read_text())["seeds"]
    assert 1000 < ended["seconds"] < 1100  # of both sittings


def test_figures_of_other_settings_are_not_overwritten(tmp_path: Path):
    assert run("ring", "--kimg", "0.2", "--seeds", "0", "--out", tmp_path) == 0
    assert run("ring", "--kimg", "0.2", "--seeds", "1", "--out", tmp_path) == 0
    assert list(figures(tmp_path)) == [0, 1]
    for other, name in ((["grid", "--kimg", "0.2"], "what"), (["ring", "dcgan", "--kimg", "0.2"], "recipe"),
                        (["ring", "--kimg", "0.3"], "kimg")):  # fmt: skip
        with pytest.raises(HasamaError, match=rf"holds the coverage of other settings \({name} differs\)"):
            run(*other, "--out", tmp_path)
    (tmp_path / "coverage.json").write_text('{"seeds": [{"seed": 1}]}')
    with pytest.raises(HasamaError, match="are damaged"):
        run("ring", "--kimg", "0.2", "--out", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rign",), "no protocol of mode coverage called 'rign'. Did you mean ring"),
        (("ring", "dcgna"), "no recipe called 'dcgna'. Did you mean dcgan"),
        (("ring", "--seeds", "two"), "--seeds takes numbers such as 0-35"),
        (("ring", "--seeds", "0-5000"), "at most 1000 seeds"),
        (("ring", "--kimg", "0"), "--kimg must be at least 0.001"),
        (("ring", "--threads", "0"), "--threads must be between 1 and 1024"),
        (("ring", "--device", "abacus"), "device 'abacus' cannot be used"),
        (("ring", "vae"), "A vae plays no game"),
        (("hundred", "hunderd"), "Did you mean hundred"),
        (("stacked-mnist", "hundred"), "no recipe called 'hundred'"),
        (("ring", "stacked-mnist"), "no recipe called 'stacked-mnist'"),
        (("ring", "--source", "mnist"), "--source is for stacked-mnist"),
        ((STACKED, "--source", "nowhere.npz"), "no pictures at nowhere.npz"),
    ],
)
def test_errors_are_sentences(arguments: tuple[str, ...], words: str):
    with pytest.raises(HasamaError, match=words.replace(".", r"\.")):
        run(*arguments)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HasamaError, match="is no folder"):
        run("ring", "--out", tmp_path / "file")
    with pytest.raises(HasamaError, match="Cannot write"):
        run("ring", "--out", tmp_path / "file" / "inside")
    Run(tmp_path / "mine").save_recipe(RECIPES["dcgan"])
    with pytest.raises(HasamaError, match="is the folder of a training"):
        run("ring", "--out", tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["recipe.json"]


@pytest.mark.parametrize("spread", [0.1, 1e9])
def test_the_picture_of_the_points_has_all_of_its_title(spread: float, tmp_path: Path):
    ring = MIXTURES["ring"]
    plot_points(draw_points(ring, 0, 99_999) * np.float32(spread), ring, tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as made:
        title = np.asarray(made.convert("L"))[:25]
    assert (title < 100).any()
    assert (title[:, [0, 1, -2, -1]] > 250).all()
