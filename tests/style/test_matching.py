"""`neighbour`: the nearest places by brute force in float64, tiles as the whole, and what becomes of odd pictures."""

import io
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hasama.perception.vgg import VGG
from hasama.style import matched
from hasama.style.canvas.pictures import Picture, from_pixels, to_canvas
from hasama.style.canvas.tiles import cut_up
from hasama.style.matched import columns_for, split_for
from hasama.style.methods.matching import GRID, Bank, Columns, assigned, columns, grid_size, shared
from hasama.style.methods.objective import LossAndGradient, loss_and_gradient
from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
from hasama.style.subject import Style, Subject, network_for, objective_for
from hasama.style.transfer import Frame, repaint
from narrow_vgg import narrow_weights, soft_picture
from reads import Reads

CPU = torch.device("cpu")
RECIPE = STYLE_RECIPES["neighbour"].but(
    size=96, smallest=48, first_iterations=4, iterations=3, precision="fp32", style_layers="relu1_1,relu2_2:2,relu4_3"
)


def picture(height: int, width: int, seed: int) -> Picture:
    pixels = (soft_picture(height, width, seed)[0].permute(1, 2, 0) + 1) * 127.5
    return from_pixels(pixels.byte().numpy())


def subject(recipe: StyleRecipe = RECIPE, *styles: Style, **changes: Any) -> Subject:
    """What is painted, through a narrow network."""
    network = network_for(recipe, narrow_weights(), CPU)
    usual = Subject(picture(96, 80, 1), list(styles) or [Style(picture(72, 96, 2))], recipe, network, CPU, 10_000)
    return usual._replace(**changes)


def last(frames: Any) -> Frame:
    return deque(frames, maxlen=1)[0]


# --- the nearest ----------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(2, 60), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40)
def test_the_nearest_are_those_of_a_search_in_float64(queries: int, rows: int, channels: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    asked, known = (torch.randn(count, channels, generator=generator) + 1 for count in (queries, rows))
    bank = Bank.of(known, torch.zeros(rows, dtype=torch.long))
    alike, chosen = bank.candidates(asked, asked.mean(0))
    q, k = asked.double() - asked.double().mean(0), known.double() - known.double().mean(0)
    wanted = torch.cosine_similarity(q[:, None], k[None], dim=2, eps=1e-12)
    torch.testing.assert_close(alike[0].double(), wanted.max(1).values, atol=2e-5, rtol=0)
    there = wanted.gather(1, chosen[0][:, None])[:, 0]
    torch.testing.assert_close(there, wanted.max(1).values, atol=2e-5, rtol=0)


def test_chunks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    asked, known = (torch.randn(count, 5, generator=generator) for count in (33, 20))
    bank = Bank.of(known, torch.arange(20) % 2)
    whole = bank.candidates(asked, asked.mean(0), 2)
    monkeypatch.setattr("hasama.style.methods.matching.AT_ONCE", 47)
    monkeypatch.setattr("hasama.style.methods.matching.ROWS_AT_ONCE", 7)
    cut = bank.candidates(asked, asked.mean(0), 2)
    assert torch.equal(whole[1], cut[1])
    torch.testing.assert_close(whole[0], cut[0])
    assert (whole[1][0] % 2 == 0).all()  # rows of the style that was asked for
    assert (whole[1][1] % 2 == 1).all()


def test_in_half_precision_the_nearest_is_still_the_nearest():
    generator = torch.Generator().manual_seed(0)
    known = (1 + 0.02 * torch.randn(400, 64, generator=generator)).bfloat16()  # all much alike
    asked = known[torch.randperm(400, generator=generator)[:100]].float()
    bank = Bank.of(known, torch.zeros(400, dtype=torch.long))
    alike, chosen = bank.candidates(asked, bank.mean)
    assert (known[chosen[0]].float() == asked).all(1).float().mean() > 0.98
    assert alike.min() > 0.98


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=4), st.integers(0, 1000))
@settings(max_examples=30)
def test_each_style_gets_its_share_of_the_places_and_takes_the_most_similar(weights: list[float], seed: int):
    alike = torch.rand(len(weights), 400, generator=torch.Generator().manual_seed(seed))
    taken = shared(alike, weights)
    share = torch.bincount(taken, minlength=len(weights)) / 400
    wanted = torch.tensor(weights) / sum(weights)
    torch.testing.assert_close(share, wanted, atol=0.03, rtol=0)
    mine = alike[0, taken == 0] - alike[1:, taken == 0].amax(0)
    others = alike[0, taken != 0] - alike[1:, taken != 0].amax(0)
    if len(weights) == 2 and len(mine) and len(others):  # no two places would gain by exchanging their styles
        assert mine.min() >= others.max() - 1e-6


def test_of_one_style_every_place_takes_the_best():
    alike, rows = torch.rand(1, 9), torch.arange(9)[None]
    assert torch.equal(assigned((alike, rows), [3.0]), rows[0])


# --- hypercolumns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 64), (67, 70), (9, 5), (3, 40), (1, 1)])
def test_hypercolumns_are_one_for_every_four_pixels(height: int, width: int):
    network = VGG(narrow_weights(), ("relu1_1", "relu2_2", "relu3_1", "relu4_3"))
    weights = {"relu1_1": 2.0, "relu2_2": 1.0, "relu3_1": 1.0, "relu4_3": 0.5}
    features = network(soft_picture(height, width))
    found = columns(features, weights, height, width)
    assert {level.shape[2:] for level in found.values()} == {torch.Size(grid_size(height, width))}
    if height == 64:
        flat = features["relu1_1"][0, :, 4:8, 8:12].mean((1, 2)) * 2 / features["relu1_1"].shape[1]
        torch.testing.assert_close(found["relu1_1"][0, :, 1, 2], flat)
        mixed = features["relu4_3"][0, :, 1:3, 3] * 0.5 / features["relu4_3"].shape[1]
        between = 0.75 * mixed[:, 0] + 0.25 * mixed[:, 1]  # a quarter of the way from one to the next
        sides = features["relu4_3"][0, :, 1:3, 4] * 0.5 / features["relu4_3"].shape[1]
        beside = 0.75 * sides[:, 0] + 0.25 * sides[:, 1]
        torch.testing.assert_close(found["relu4_3"][0, :, 3, 7], 0.75 * between + 0.25 * beside)


def stages(one: Subject, height: int, width: int, began: Tensor | None) -> list[Any]:
    return [columns_for(one, height, width, began), split_for(one, height, width)]


@pytest.mark.parametrize(
    ("height", "width", "masked"), [(96, 80, False), (101, 75, True), (70, 139, False), (70, 139, True)]
)
def test_tiles_make_the_same_loss_and_gradient_as_the_whole(height: int, width: int, masked: bool, monkeypatch):
    monkeypatch.setattr(matched, "MOST_COLUMNS", 500)
    ramp = torch.linspace(0, 1, 30).expand(20, 30).contiguous()
    styles = [Style(picture(72, 96, 2), where=ramp if masked else None), Style(picture(80, 64, 3), 2.0)]
    one = subject(RECIPE, *styles)
    canvas, began = soft_picture(height, width, 5), soft_picture(height, width, 6)
    tiles = cut_up(height, width, 132 if max(height, width) > 132 else 60, one.network.layers, "vgg19", True)
    assert len(tiles) > 1
    for stage, match in enumerate(stages(one, height, width, began)):
        together = objective_for(one, height, width, match)
        apart = together._replace(tiles=tiles)
        for step in (0, 7):
            a, b = (loss_and_gradient(objective, canvas, step) for objective in (together, apart))
            assert a.total > 0.001, stage
            assert b.total == pytest.approx(a.total, rel=1e-4)
            other = (b.gradient - a.gradient).abs() > 2e-3 * float(a.gradient.abs().max())
            assert other.float().mean() < 0.01  # where two rows are as near as each other


def test_an_evaluation_with_masks_waits_for_no_device():
    ramp = torch.linspace(0, 1, 30).expand(20, 30).contiguous()
    one = subject(RECIPE, Style(picture(72, 96, 2), where=ramp), Style(picture(80, 64, 3), 2.0))
    objective = objective_for(one, 96, 80, columns_for(one, 96, 80, None))
    with Reads() as reads:
        assert loss_and_gradient(objective, soft_picture(96, 80, 5)).total > 0.001
    assert reads.found == []


def test_queries_of_tiles_choose_the_same_hypercolumns(monkeypatch):
    whole = subject()
    tiles = cut_up(96, 80, 60, whole.network.layers, "vgg19", True)
    began = soft_picture(96, 80, 6)
    one = objective_for(whole, 96, 80, columns_for(whole, 96, 80, began)).matches[0]
    assert isinstance(one, Columns)

    def in_tiles(self: Subject, height: int, width: int) -> list[Any]:
        return tiles if (height, width) == (96, 80) else cut_up(height, width, 10_000, self.network.layers, "vgg19")

    monkeypatch.setattr(Subject, "tiles", in_tiles)
    other = objective_for(whole, 96, 80, columns_for(whole, 96, 80, began)).matches[0]
    assert isinstance(other, Columns)
    assert len(tiles) > 1
    assert one.chosen.shape == grid_size(96, 80)
    assert (one.chosen == other.chosen).float().mean() > 0.99  # but for ties


def test_the_style_itself_is_at_no_distance():
    style = picture(64, 64, 2)
    one = subject(RECIPE.but(rotations=False), Style(style), content=style)
    canvas = to_canvas(style, 64, 64)
    found = [loss_and_gradient(objective_for(one, 64, 64, match), canvas) for match in stages(one, 64, 64, None)]
    assert found[0].total == pytest.approx(0, abs=1e-5)
    far = loss_and_gradient(objective_for(one, 64, 64, split_for(one, 64, 64)), soft_picture(64, 64, 9))
    assert found[1].total < 0.5 * far.total  # which compares some places only
    assert set(found[1].layers) == {f"style {layer}" for layer in RECIPE.style}


def by_hand(objective: Any, canvas: Tensor) -> float:
    """The loss of the hypercolumns, in float64 and in one line."""
    (match,) = objective.matches
    found = columns(objective.network(canvas), match.weights, *canvas.shape[2:])
    ours = torch.cat(list(found.values()), 1)[0].double()
    theirs = match.bank.rows[match.chosen].permute(2, 0, 1).double()
    return float((1 - torch.cosine_similarity(ours, theirs, dim=0, eps=1e-12)).mean())


def test_the_loss_is_the_mean_cosine_distance_to_the_chosen_hypercolumns():
    one = subject()
    objective = objective_for(one, 96, 80, columns_for(one, 96, 80, None))
    canvas = soft_picture(96, 80, 4)
    assert loss_and_gradient(objective, canvas).total == pytest.approx(by_hand(objective, canvas), rel=1e-4)


def test_distances_are_told_without_their_weights():
    one = subject()
    for match in stages(one, 96, 80, None):
        objective = objective_for(one, 96, 80, match)
        found = loss_and_gradient(objective, soft_picture(96, 80, 5))
        told = {name: value for name, value in found.distances.items() if name.startswith("style")}
        assert told
        for name, distance in told.items():
            part = 1 if name == "style columns" else 1 / len(told)
            assert found.layers[name] == pytest.approx(part * one.recipe.style_weight * distance, rel=1e-5)


@pytest.mark.parametrize("stage", [0, 1])
def test_the_gradient_is_the_slope_of_the_loss(stage: int):
    one = subject()
    objective = objective_for(one, 96, 80, stages(one, 96, 80, None)[stage])
    canvas, way = soft_picture(96, 80, 4), soft_picture(96, 80, 5)
    found = loss_and_gradient(objective, canvas, 3)
    small = 1e-3
    ends = [loss_and_gradient(objective, canvas + sign * small * way, 3).total for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * small)
    assert float((found.gradient * way).sum()) == pytest.approx(
        slope, rel=(0.03, 0.1)[stage], abs=1e-4
    )  # the nearest may change


def test_the_last_pass_looks_at_other_places_each_step(monkeypatch):
    monkeypatch.setattr("hasama.style.methods.matching.SIDE", 8)
    one = subject()
    objective, canvas = objective_for(one, 96, 80, split_for(one, 96, 80)), soft_picture(96, 80, 4)
    totals: list[LossAndGradient] = [loss_and_gradient(objective, canvas, step) for step in (0, 0, 1, 2)]
    assert totals[0].total == totals[1].total
    assert len({found.total for found in totals}) == 3


# --- painting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["pyramid", "lbfgs", "adam"])
def test_it_goes_over_the_last_scale_twice_and_comes_nearer_each_time(optimizer: Any):
    one = subject(RECIPE.but(optimizer=optimizer, iterations=12, first_iterations=12, learning_rate=0.02))
    assert one.sizes() == [(48, 40), (96, 80), (96, 80)]
    totals: dict[int, list[float]] = {}
    for frame in repaint(one):
        totals.setdefault(frame.scale, []).append(frame.total)
        assert frame.image.abs().max() <= 1
        names = {f"style {layer}" for layer in RECIPE.style} if frame.scale == 2 else {"style columns"}
        assert set(frame.layers) == names
    assert [len(found) for found in totals.values()] == [12, 12, 12]
    for found in list(totals.values())[:2]:
        assert min(found[-2:]) < 0.97 * found[0]


@pytest.mark.parametrize("optimizer", ["pyramid", "lbfgs"])
def test_resumed_it_is_the_same_painting_to_the_bit(optimizer: Any):
    recipe = RECIPE.but(optimizer=optimizer, content_weight=0.01, content_layers="relu2_2", tv_weight=0.1)
    frames = list(_states(subject(recipe)))
    wanted = frames[-1][1]
    for state, _ in frames[:-1]:
        resumed = last(repaint(subject(recipe), torch.load(io.BytesIO(state), weights_only=True)))
        assert torch.equal(resumed.image, wanted)


def _states(one: Subject):
    for frame in repaint(one):
        buffer = io.BytesIO()
        torch.save(frame.state_dict(), buffer)
        yield buffer.getvalue(), frame.image


@pytest.mark.parametrize("colours", ["painted", "matched", "hues"])
@pytest.mark.parametrize(("height", "width"), [(60, 1), (1, 60), (7, 9)])
def test_narrow_pictures_flat_and_grey_styles_are_painted(height: int, width: int, colours: Any):
    flat = from_pixels(np.full((20, 30, 3), (200, 40, 90), np.uint8))
    grey = from_pixels(np.random.default_rng(0).integers(0, 256, (16, 1, 1), np.uint8).repeat(20, 1).repeat(3, 2))
    point = from_pixels(np.full((1, 1, 3), 77, np.uint8))
    for style in (flat, grey, point):
        one = subject(RECIPE.but(size=0, colours=colours), Style(style), content=picture(height, width, 1))
        frame = last(repaint(one))
        assert frame.image.isfinite().all()
        assert frame.picture.size == (width, height)
        if style is flat and colours == "matched":
            assert np.abs(np.asarray(frame.picture).astype(int).mean((0, 1)) - (200, 40, 90)).max() < 12


def test_a_mask_says_what_is_learnt_and_where():
    left = torch.zeros(20, 40)
    left[:, :20] = 1
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((220, 30, 30), (20, 40, 220)))
    half = from_pixels(np.concatenate([red, blue], 1))
    one = subject(RECIPE.but(rotations=False), Style(half, mask=left))
    (match,) = objective_for(one, 96, 80, columns_for(one, 96, 80, None)).matches
    both = objective_for(
        subject(RECIPE.but(rotations=False), Style(half)), 96, 80, columns_for(subject(), 96, 80, None)
    )
    assert isinstance(match, Columns)
    assert isinstance(both.matches[0], Columns)
    rows = grid_size(*(66, 131))[0] * grid_size(*(66, 131))[1]
    assert len(match.bank.rows) <= 0.6 * rows
    where = subject(RECIPE, Style(half, where=left), Style(half, where=1 - left))
    found = objective_for(where, 96, 80, columns_for(where, 96, 80, None)).matches
    assert len(found) == 2
    masks = [one.mask for one in found if isinstance(one, Columns) and one.mask is not None]
    torch.testing.assert_close(sum(masks), torch.ones(grid_size(96, 80)))
    assert masks[0][:, 0].min() > 0.9
    assert masks[0][:, -1].max() < 0.1
    assert masks[0].shape == found[0].chosen.shape if isinstance(found[0], Columns) else False


def test_a_film_goes_over_its_size_twice_too():
    from hasama.style.methods.objective import TemporalTarget

    held = TemporalTarget(1.0, soft_picture(96, 80, 3), torch.ones(96, 80))
    one = subject(RECIPE.but(frame_iterations=2), temporal_target=held, start_image=soft_picture(96, 80, 3))
    assert one.sizes() == [(96, 80)] * 2
    frame = last(repaint(one))
    assert {"temporal", "style relu1_1"} <= set(frame.layers)


def test_the_grid_is_that_of_a_layer():
    network = VGG(narrow_weights(), (GRID,))
    for height, width in ((64, 70), (13, 22), (2, 5)):
        assert network(soft_picture(height, width))[GRID].shape[2:] == grid_size(height, width)
