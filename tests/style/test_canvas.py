"""The canvas: its optimizers' memory, its average, how it grows, how it stands on disk, when it stops."""

import io
import math
from collections.abc import Iterable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.style.canvas.canvas import WINDOW, Canvas, noise, resized
from hasama.style.canvas.lbfgs import GIVE_UP
from hasama.style.recipe import StyleRecipe

KINDS = ("adam", "lbfgs", "gradient-descent")
RECIPE = StyleRecipe(optimizer="adam", learning_rate=0.03, average=0.9, plateau=0.01)
CPU = torch.device("cpu")

seeds = st.integers(0, 2**32 - 1)


def some(height: int = 6, width: int = 5, seed: int = 0, size: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(1, 3, height, width, generator=generator) * 2 - 1) * size


def walk(canvas: Canvas, steps: int, seed: int = 1) -> Canvas:
    """Downhill in a bowl that is steeper in some pixels than in others."""
    aim = some(*canvas.image.shape[2:], seed=seed)
    steepness = some(*canvas.image.shape[2:], seed=seed + 1).abs() + 0.1
    for _ in range(steps):
        away = canvas.image.detach() - aim
        canvas.step(2 * steepness * away, float((steepness * away.square()).sum()))
    return canvas


def through_a_file(canvas: Canvas) -> Canvas:
    """Saved and opened again, nothing in the file being run."""
    buffer = io.BytesIO()
    torch.save(canvas.state_dict(), buffer)
    buffer.seek(0)
    return Canvas.from_state(torch.load(buffer, weights_only=True), canvas.recipe, CPU)


def fed(losses: Iterable[float], recipe: StyleRecipe = RECIPE, kind: str = "gradient-descent") -> Canvas:
    """A canvas that has seen these losses, on flat ground."""
    canvas = Canvas(torch.zeros(1, 3, 2, 2), recipe, kind)
    for loss in losses:
        canvas.step(torch.zeros(1, 3, 2, 2), loss)
    return canvas


# --- the canvas and its average -------------------------------------------------------------------


def test_a_canvas_is_a_copy():
    image = some()
    before = image.clone()
    canvas = walk(Canvas(image, RECIPE), 3)
    assert torch.equal(image, before)
    assert not torch.equal(canvas.image.detach(), before)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds, steepness=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e6, 1e15]))
@settings(max_examples=10)
def test_whatever_the_gradient_the_canvas_stays_between_black_and_white(kind: str, seed: int, steepness: float):
    canvas = Canvas(some(size=1.0), RECIPE.but(learning_rate=0.5), kind)
    for step in range(4):
        canvas.step(some(seed=seed + step) * steepness, 1.0)
        for image in (canvas.image.detach(), canvas.shown()):
            assert image.isfinite().all()
            assert image.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_steps_go_downhill(kind: str):
    canvas = walk(Canvas(some(), RECIPE, kind), 15)
    assert canvas.steps == 15
    assert canvas.past[-1] < 0.7 * canvas.past[0]


@given(seed=seeds, steepness=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=10)
def test_gradient_descent_goes_straight_down_by_the_learning_rate(seed: int, steepness: float):
    canvas, gradient = Canvas(some(), RECIPE, "gradient-descent"), some(seed=seed)
    canvas.step(gradient * steepness, 1.0)
    step = canvas.image.detach() - some()
    assert float(step.square().mean().sqrt()) == pytest.approx(0.03, rel=1e-4)
    torch.testing.assert_close(step / 0.03, -gradient / gradient.square().mean().sqrt(), rtol=0, atol=1e-4)


def test_adams_first_step_is_the_learning_rate_in_every_pixel():
    canvas, gradient = Canvas(some(), RECIPE, "adam"), some(seed=3)
    canvas.step(gradient, 1.0)
    torch.testing.assert_close(canvas.image.detach(), some() - 0.03 * gradient.sign(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "gradient-descent"])
def test_after_the_first_step_the_average_is_the_canvas(kind: str):
    canvas = Canvas(some(), RECIPE, kind)
    assert torch.equal(canvas.shown(), some())
    walk(canvas, 1)
    assert not torch.equal(canvas.image.detach(), some())
    torch.testing.assert_close(canvas.shown(), canvas.image.detach(), rtol=0, atol=1e-6)


@given(decay=st.floats(0.01, 0.9999), steps=st.integers(2, 12))
@settings(max_examples=15)
def test_the_average_weighs_each_canvas_by_its_age(decay: float, steps: int):
    canvas = Canvas(some(), RECIPE.but(average=decay))
    seen = []
    for _ in range(steps):
        walk(canvas, 1)
        seen.append(canvas.image.detach().double().clone())
    weights = [decay ** (steps - 1 - index) for index in range(steps)]
    wanted = sum(weight * image for weight, image in zip(weights, seen, strict=True)) / sum(weights)
    torch.testing.assert_close(canvas.shown().double(), wanted, rtol=0, atol=1e-4 if decay > 0.999 else 2e-6)


def test_without_an_average_the_canvas_is_shown():
    canvas = walk(Canvas(some(), RECIPE.but(average=0.0)), 4)
    assert torch.equal(canvas.shown(), canvas.image.detach())


def test_lbfgs_shows_the_last_picture_whose_loss_is_known():
    canvas = Canvas(some(), RECIPE, "lbfgs")
    assert torch.equal(canvas.shown(), some())
    for _ in range(5):
        judged = canvas.image.detach().clone()
        walk(canvas, 1)
        assert torch.equal(canvas.shown(), judged)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_stays_when_painting_goes_on(kind: str):
    canvas = walk(Canvas(some(), RECIPE, kind), 2)
    shown = canvas.shown()
    before = shown.clone()
    walk(canvas, 2)
    assert torch.equal(shown, before)


# --- growing --------------------------------------------------------------------------------------


def test_adams_memory_grows_with_the_canvas():
    canvas = walk(Canvas(some(12, 10), RECIPE), 5)
    bigger = canvas.enlarged(17, 14)
    assert bigger.image.shape == (1, 3, 17, 14)
    assert (bigger.steps, len(bigger.past)) == (0, 0)
    torch.testing.assert_close(bigger.shown(), resized(canvas.shown(), 17, 14).clamp(-1, 1))
    state = bigger.optimizer.state_dict()["state"][0]
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == bigger.image.shape
    assert float(state["step"]) == 5
    assert (state["exp_avg_sq"] >= 0).all()
    before = canvas.optimizer.state_dict()["state"][0]
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(state[name].mean(), before[name].mean(), rtol=0.2, atol=1e-4)
    walk(bigger, 3)
    assert bigger.shown().isfinite().all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=15)
def test_a_plain_canvas_is_moved_alike_before_and_after_it_grew(height: int, width: int, high: int, wide: int):
    """What is constant stays constant, at any size, so that the next step is the one it would have been."""
    plain = torch.tensor([0.5, -0.2, 0.1]).view(1, 3, 1, 1)
    slope = torch.tensor([1.0, -3.0, 0.01]).view(1, 3, 1, 1)
    canvas = Canvas(plain.expand(1, 3, height, width), RECIPE.but(average=0.0))
    for _ in range(3):
        canvas.step(slope.expand(1, 3, height, width).clone(), 1.0)
    bigger = canvas.enlarged(high, wide)
    for one in (canvas, bigger):
        one.step(slope.expand_as(one.image).clone(), 1.0)
    small = canvas.image.detach()[:, :, :1, :1]
    torch.testing.assert_close(bigger.image.detach(), small.expand(1, 3, high, wide), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_canvas_that_never_moved_grows_too(kind: str):
    bigger = Canvas(some(), RECIPE.but(optimizer=kind)).enlarged(9, 8)
    assert bigger.kind == kind
    torch.testing.assert_close(bigger.shown(), resized(some(), 9, 8).clamp(-1, 1))
    walk(bigger, 3)


def test_a_grown_canvas_stays_between_black_and_white():
    edge = torch.ones(1, 3, 8, 8)
    edge[..., :4] = -1  # bicubic filters overshoot at edges
    assert resized(edge, 19, 19).abs().max() > 1
    assert Canvas(edge, RECIPE).enlarged(19, 19).image.detach().abs().max() <= 1


def test_beyond_a_megapixel_adam_takes_over_from_lbfgs():
    canvas = Canvas(torch.zeros(1, 3, 4, 4), StyleRecipe(optimizer="auto"))
    assert canvas.kind == "lbfgs"
    bigger = canvas.enlarged(4, 2**18 + 1)
    assert bigger.kind == "adam"
    assert bigger.average is not None


def test_after_a_stall_adam_stays():
    canvas = Canvas(some(), RECIPE.but(optimizer="lbfgs")).with_optimizer("adam")
    assert canvas.enlarged(8, 8).kind == "adam"


# --- on disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [0, 1, 7, 30])
def test_a_canvas_from_a_file_goes_on_to_the_same_bits(kind: str, steps: int):
    canvas = walk(Canvas(some(), RECIPE, kind), steps)
    again = through_a_file(canvas)
    assert (again.kind, again.steps, list(again.past)) == (kind, steps, list(canvas.past))
    assert torch.equal(again.shown(), canvas.shown())
    for one in (canvas, again):
        walk(one, 9)
    assert torch.equal(again.image, canvas.image)
    assert torch.equal(again.shown(), canvas.shown())
    assert list(again.past) == list(canvas.past)
    bigger, other = (one.enlarged(9, 7) for one in (canvas, again))
    for one in (bigger, other):
        walk(one, 2)
    assert torch.equal(bigger.shown(), other.shown())


def test_a_canvas_whose_step_was_just_taken_back_goes_on_to_the_same_bits():
    canvas = walk(Canvas(some(), RECIPE, "lbfgs"), 4)
    canvas.step(some(seed=9), 1e9)
    again = through_a_file(canvas)
    for one in (canvas, again):
        walk(one, 5)
    assert torch.equal(again.image, canvas.image)
    assert again.has_stalled == canvas.has_stalled


def test_the_state_holds_nothing_but_tensors_and_plain_values():
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(map(plain, value)) and all(map(plain, value.values()))
        if isinstance(value, (list, tuple)):
            return all(map(plain, value))
        return value is None or isinstance(value, (torch.Tensor, int, float, str, bool))

    for kind in KINDS:
        assert plain(walk(Canvas(some(), RECIPE, kind), 2).state_dict())


# --- when to go on, when to stop ------------------------------------------------------------------


def test_constant_losses_settle_when_there_are_enough_of_them():
    losses = [3.0] * (2 * WINDOW)
    assert not fed(losses[1:]).has_settled()
    assert fed(losses).has_settled()


@pytest.mark.parametrize(
    ("losses", "settled"),
    [
        ([0.99**index for index in range(2 * WINDOW)], False),  # falls by a fifth from window to window
        ([1 - 1e-5 * index for index in range(2 * WINDOW)], True),
        ([1.0 + index for index in range(2 * WINDOW)], True),  # rises
        ([2.0, 1.0] * WINDOW, True),  # to and fro
        ([0.0] * 2 * WINDOW, False),  # nothing is not less than nothing
        ([5.0] * 500 + [4.0] * WINDOW, False),
    ],
)
def test_losses_settle_when_the_mean_hardly_falls(losses: list[float], settled: bool):
    assert fed(losses).has_settled() == settled


@given(st.floats(1e-3, 0.5), st.floats(0, 0.6), st.floats(1e-6, 1e6))
@settings(max_examples=25)
def test_the_plateau_is_the_share_by_which_a_window_must_improve(plateau: float, share: float, scale: float):
    if abs(share - plateau) < 1e-6:
        return
    losses = [scale] * WINDOW + [scale * (1 - share)] * WINDOW
    assert fed(losses, RECIPE.but(plateau=plateau)).has_settled() == (share < plateau)


def test_without_a_plateau_nothing_settles():
    assert not fed([1.0] * 500, RECIPE.but(plateau=0.0)).has_settled()


def test_what_settled_before_a_file_is_settled_after_it():
    assert through_a_file(fed([1.0] * (2 * WINDOW))).has_settled()


@pytest.mark.parametrize("worse", [1e9, math.inf, math.nan])
def test_lbfgs_stalls_when_every_step_makes_it_worse(worse: float):
    canvas = walk(Canvas(some(), RECIPE, "lbfgs"), 5)
    best = canvas.shown()
    for _ in range(GIVE_UP):
        assert not canvas.has_stalled
        canvas.step(some(seed=8) * worse, worse)
        assert canvas.image.isfinite().all()
    assert canvas.has_stalled
    assert torch.equal(canvas.shown(), canvas.with_optimizer("adam").image.detach())
    assert torch.equal(canvas.shown(), best)


def test_each_step_taken_back_is_tried_shorter():
    canvas = walk(Canvas(some(), RECIPE, "lbfgs"), 3)
    lengths = []
    for _ in range(GIVE_UP - 1):
        lengths.append(float((canvas.image.detach() - canvas.shown()).norm()))
        canvas.step(some(seed=8), 1e9)
    assert lengths[0] > 0
    assert all(after == pytest.approx(before / 4, rel=1e-3) for before, after in pairwise(lengths))


def test_one_good_step_makes_up_for_all_that_were_taken_back():
    canvas = walk(Canvas(some(), RECIPE, "lbfgs"), 3)
    for _ in range(3):
        for _ in range(GIVE_UP - 1):
            canvas.step(some(seed=8), 1e9)
        walk(canvas, 1)
    assert not canvas.has_stalled


def test_frozen_losses_are_no_stall_but_settle():
    canvas = fed([1.0] * (2 * WINDOW), kind="lbfgs")
    assert not canvas.has_stalled
    assert canvas.has_settled()


@pytest.mark.parametrize("kind", ["adam", "gradient-descent"])
def test_only_lbfgs_stalls(kind: str):
    assert not fed([1.0, *[10.0**power for power in range(30)]], kind=kind).has_stalled


def test_another_optimizer_goes_on_from_the_picture_that_is_shown():
    for before in KINDS:
        canvas = walk(Canvas(some(), RECIPE, before), 4)
        for after in KINDS:
            other = canvas.with_optimizer(after)
            assert (other.kind, other.steps, len(other.past)) == (after, 0, 0)
            assert torch.equal(other.image.detach(), canvas.shown())
            assert (other.average is None) == (after == "lbfgs")
            walk(other, 2)


# --- pictures to start from -----------------------------------------------------------------------


def test_noise_is_the_seeds():
    assert torch.equal(noise(20, 30, 5), noise(20, 30, 5))
    assert not torch.equal(noise(20, 30, 5), noise(20, 30, 6))


def test_noise_is_grey_in_the_mean_and_white():
    drawn = noise(200, 200, 2**63 - 1)[0].double()
    assert drawn.abs().max() == 1
    expected = 0.4797  # the standard deviation of a normal one of 0.5, cut at one
    for channel in drawn:
        assert abs(channel.mean()) < 0.01
        assert float(channel.std()) == pytest.approx(expected, abs=0.01)
        assert abs(float((channel[1:] * channel[:-1]).mean())) < 0.01
        assert abs(float((channel[:, 1:] * channel[:, :-1]).mean())) < 0.01
    assert abs(float((drawn[0] * drawn[1]).mean())) < 0.01


def test_resizing_to_the_same_size_is_a_copy():
    image = some()
    copy = resized(image, 6, 5)
    assert torch.equal(copy, image)
    assert copy.data_ptr() != image.data_ptr()
