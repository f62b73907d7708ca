"""Painting itself: what each flag and mask does to the picture, and that a painting resumed is the painting."""

import io
import math
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from hasama.errors import HasamaError
from hasama.perception.vgg import Weights
from hasama.perception.vgg_weights import load_weights
from hasama.style import transfer
from hasama.style.canvas.canvas import WINDOW, Canvas, noise
from hasama.style.canvas.colour import colours_of
from hasama.style.canvas.lbfgs import GIVE_UP
from hasama.style.canvas.pictures import Picture, from_pixels, to_canvas
from hasama.style.finish import finished, in_the_styles_colours
from hasama.style.methods.objective import LossAndGradient
from hasama.style.recipe import StyleRecipe
from hasama.style.subject import Style, Subject, content_image, network_for, small_style, style_image
from hasama.style.transfer import Frame, repaint
from reads import Reads

CPU = torch.device("cpu")
OPTIMIZERS = ("adam", "lbfgs", "gradient-descent")

TINY = StyleRecipe(
    size=48, smallest=32, style_layers="relu1_1:4,relu2_1:1", content_layers="relu2_1", optimizer="adam",
    average=0.8, plateau=0.0, first_iterations=8, iterations=5, precision="fp32",
)  # fmt: skip
# One scale, and equal steps: what differs by a last bit stays alike.
PLAIN = TINY.but(smallest=48, optimizer="gradient-descent", average=0.0, first_iterations=6)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights()


def photograph(index: int, width: int, height: int) -> Picture:
    """A Chinese temple (0) or a flower (1)."""
    pixels = load_sample_images().images[index]
    return from_pixels(np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)))


TEMPLE, FLOWER = photograph(0, 48, 36), photograph(1, 40, 40)
STRIPES = from_pixels(
    np.where(np.arange(40)[:, None, None] // 4 % 2, [230, 40, 30], [20, 60, 200]).repeat(40, 1).astype(np.uint8)
)


def subject(weights: Weights, recipe: StyleRecipe = TINY, *styles: Style, **changes: Any) -> Subject:
    """What is painted: the temple as a flower, unless said otherwise."""
    usual = Subject(TEMPLE, list(styles) or [Style(FLOWER)], recipe, network_for(recipe, weights, CPU), CPU, 1000)
    return usual._replace(**changes)


def last(frames: Any) -> Frame:
    return deque(frames, maxlen=1)[0]


def painted(weights: Weights, recipe: StyleRecipe = TINY, *styles: Style, **changes: Any) -> torch.Tensor:
    return last(repaint(subject(weights, recipe, *styles, **changes))).image


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square; white less black is 2."""
    return float((one - other).square().mean().sqrt())


def kept(frame: Frame) -> dict[str, Any]:
    """The frame's state as it comes back from a file."""
    buffer = io.BytesIO()
    torch.save(frame.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def image_of(state: dict[str, Any], one: Subject) -> torch.Tensor:
    return Canvas.from_state(state["canvas"], one.recipe, CPU).image


# --- scales, counters, losses ---------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([0, 16, 48, 512]), st.integers(16, 600))
@settings(max_examples=25)
def test_the_last_scale_is_as_large_as_asked_and_no_scale_changes_the_shape(
    height: int, width: int, size: int, smallest: int
):
    content = Picture(np.zeros((height, width, 3), np.uint8))
    recipe = TINY.but(size=size, smallest=smallest)
    sizes = Subject(content, [], recipe, None, CPU, 0).sizes()  # type: ignore[arg-type]
    assert max(sizes[-1]) == (size or max(height, width))
    if size == 0:
        assert sizes[-1] == (height, width)
    for high, wide in sizes:
        assert min(high, wide) >= 1
        assert abs(high - max(1, height * max(high, wide) / max(height, width))) <= 0.5 + 1e-9
        assert abs(wide - max(1, width * max(high, wide) / max(height, width))) <= 0.5 + 1e-9
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("style_loss", ["wasserstein", "gram"])
def test_losses_fall_at_every_scale_and_counters_count(weights: Weights, optimizer: Any, style_loss: Any):
    one = subject(weights, TINY.but(optimizer=optimizer, style_loss=style_loss, start="noise"))
    totals: dict[int, list[float]] = {}
    counted, done = [], 0.0
    for frame in repaint(one):
        counted.append((frame.scale, frame.iteration))
        assert (frame.scales, frame.iterations) == (len(one.sizes()), 5 if frame.scale else 8)
        assert frame.image.shape == (1, 3, *one.sizes()[frame.scale])
        assert frame.image.abs().max() <= 1
        assert set(frame.losses) == {"content", "style", "tv"}
        assert set(frame.layers) == {"content relu2_1", "style relu1_1", "style relu2_1", "tv"}
        assert frame.total == pytest.approx(sum(frame.losses.values()))
        assert frame.total == pytest.approx(sum(frame.layers.values()))
        assert done < frame.done <= 1
        assert not frame.notice
        totals.setdefault(frame.scale, []).append(frame.total)
        done = frame.done
    assert counted == [(0, n) for n in range(1, 9)] + [(s, n) for s in (1, 2) for n in range(1, 6)]
    assert done == pytest.approx(1)
    for falling in totals.values():
        assert min(falling[-2:]) < 0.95 * falling[0]  # L-BFGS may be about to take its last step back


def test_work_is_counted_by_the_pixels_of_each_scale(weights: Weights):
    one = subject(weights)
    work = [height * width * limit for (height, width), limit in zip(one.sizes(), (8, 5, 5), strict=True)]
    for frame in repaint(one):
        behind = sum(work[: frame.scale]) + work[frame.scale] * frame.iteration / frame.iterations
        assert frame.done == pytest.approx(behind / sum(work))


def test_a_scale_ends_early_on_a_plateau(weights: Weights):
    """Any loss is a plateau that improves by less than all of it."""
    recipe = TINY.but(plateau=1.0, first_iterations=3 * WINDOW, iterations=3 * WINDOW, style_layers="relu1_1")
    one = subject(weights, recipe.but(content_layers="relu1_1", size=32, smallest=24))
    ends = {frame.scale: (frame.iteration, kept(frame)) for frame in repaint(one)}
    assert [iteration for iteration, _ in ends.values()] == [2 * WINDOW] * len(one.sizes())
    again = next(iter(repaint(one, ends[0][1])))  # what was settled when it was saved is settled when it goes on
    assert (again.scale, again.iteration) == (1, 1)
    assert list(repaint(one, ends[len(ends) - 1][1])) == []


# --- seeds and starts -----------------------------------------------------------------------------


def test_the_same_seed_paints_the_same_picture_and_another_another(weights: Weights):
    recipe = TINY.but(start="noise", seed=7)
    first = painted(weights, recipe)
    assert torch.equal(first, painted(weights, recipe))
    assert difference(first, painted(weights, recipe.but(seed=8))) > 0.05


def test_a_seed_means_nothing_without_noise(weights: Weights):
    assert torch.equal(painted(weights, PLAIN.but(seed=7)), painted(weights, PLAIN.but(seed=8)))


def test_painting_starts_from_what_it_is_told_to(weights: Weights):
    frozen = PLAIN.but(learning_rate=0.0, first_iterations=1)  # nothing moves
    content, style = to_canvas(TEMPLE, 36, 48), to_canvas(FLOWER, 36, 48)
    for start, wanted in (("content", content), ("style", style), ("noise", noise(36, 48, 0))):
        assert torch.equal(painted(weights, frozen.but(start=start)), wanted)
    picture = painted(weights, frozen.but(start="noise"), start=STRIPES)  # it is read by `plan`
    assert torch.equal(picture, to_canvas(STRIPES, 36, 48))


def test_what_is_aimed_at_costs_nothing(weights: Weights):
    """The content's content loss, and the style's style loss at its own size."""
    frame = next(iter(repaint(subject(weights, PLAIN))))
    assert frame.losses["content"] == 0
    assert frame.losses["style"] > 0.01
    frame = next(iter(repaint(subject(weights, PLAIN.but(start="style"), content=photograph(0, 48, 48)))))
    assert frame.losses["style"] == pytest.approx(0, abs=1e-4)
    assert frame.losses["content"] > 0


def test_weights_of_nothing_leave_a_loss_out(weights: Weights):
    for name in ("content", "style", "tv"):
        frame = next(iter(repaint(subject(weights, PLAIN.but(**{f"{name}_weight": 0.0})))))
        assert set(frame.losses) == {"content", "style", "tv"} - {name}


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_painting_resumed_is_the_painting_to_the_bit(weights: Weights, optimizer: Any):
    one = subject(weights, TINY.but(optimizer=optimizer))
    states, seen, image = {}, [], torch.zeros(0)
    for frame in repaint(one):
        states[frame.scale, frame.iteration] = kept(frame)
        seen.append((frame.scale, frame.iteration, frame.done, frame.total))
        image = frame.image
    for place in ((0, 1), (0, 5), (0, 8), (1, 1), (1, 5), (2, 4)):  # (0, 8) and (1, 5): a scale's end
        rest = []
        for frame in repaint(one, states[place]):
            rest.append((frame.scale, frame.iteration, frame.done, frame.total))
        assert rest == seen[-len(rest) :]
        assert rest[0][:2] > place
        assert torch.equal(frame.image, image)  # pyright: ignore[reportPossiblyUnboundVariable]
    assert list(repaint(one, states[2, 5])) == []


# --- several styles and masks ---------------------------------------------------------------------


def test_a_style_that_hardly_counts_is_hardly_seen(weights: Weights):
    alone = painted(weights, PLAIN, Style(FLOWER))
    nearly = painted(weights, PLAIN, Style(FLOWER, 1.0), Style(STRIPES, 0.0001))
    both = painted(weights, PLAIN, Style(FLOWER, 1.0), Style(STRIPES, 1.0))
    assert difference(nearly, alone) < 0.05 * difference(both, alone)
    assert difference(both, alone) > 0.01


def test_only_the_proportion_of_the_weights_counts(weights: Weights):
    one = painted(weights, PLAIN, Style(FLOWER, 1.0), Style(STRIPES, 3.0))
    other = painted(weights, PLAIN, Style(FLOWER, 2.0), Style(STRIPES, 6.0))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("field", ["mask", "where"])
@pytest.mark.parametrize("size", [(36, 48), (7, 5)])
def test_an_all_white_mask_is_none(weights: Weights, field: str, size: tuple[int, int]):
    masked = painted(weights, PLAIN, Style(FLOWER)._replace(**{field: torch.ones(size)}))
    torch.testing.assert_close(masked, painted(weights, PLAIN), rtol=0, atol=2e-3)


def test_a_style_that_goes_nowhere_has_no_effect(weights: Weights):
    nowhere = Style(STRIPES, where=torch.zeros(9, 9))
    without = painted(weights, PLAIN, Style(FLOWER))
    torch.testing.assert_close(painted(weights, PLAIN, Style(FLOWER), nowhere), without, rtol=0, atol=1e-4)
    alone = painted(weights, PLAIN, nowhere)
    torch.testing.assert_close(alone, painted(weights, PLAIN.but(style_weight=0.0)), rtol=0, atol=1e-4)


def test_nothing_to_do_leaves_the_canvas_as_it_is(weights: Weights):
    """The only style goes nowhere, and nothing else counts."""
    recipe = TINY.but(content_weight=0.0, tv_weight=0.0, smallest=48)
    for optimizer in OPTIMIZERS:
        image = painted(weights, recipe.but(optimizer=optimizer), Style(FLOWER, where=torch.zeros(9, 9)))
        torch.testing.assert_close(image, to_canvas(TEMPLE, 36, 48), rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_style_is_painted_where_its_mask_is_white(weights: Weights, optimizer: Any):
    left = torch.zeros(36, 48)
    left[:, :24] = 1
    recipe = PLAIN.but(optimizer=optimizer, tv_weight=0.0)
    image = painted(weights, recipe, Style(STRIPES, where=left))
    start = to_canvas(TEMPLE, 36, 48)
    there, elsewhere = difference(image[..., :20], start[..., :20]), difference(image[..., 32:], start[..., 32:])
    assert there > 0.02
    assert elsewhere < 0.2 * there


def test_two_styles_each_in_its_place(weights: Weights):
    """A grey canvas becomes red on the left and blue on the right, as the two styles are: 1.33 and -1.33."""
    red, blue = (from_pixels(np.full((24, 24, 3), colour, np.uint8)) for colour in ((200, 30, 30), (30, 30, 200)))
    left = torch.zeros(36, 48)
    left[:, :24] = 1
    grey = from_pixels(np.full((36, 48, 3), 120, np.uint8))
    recipe = PLAIN.but(content_weight=0.0, tv_weight=0.0, optimizer="adam", learning_rate=0.05, first_iterations=40)
    image = painted(weights, recipe, Style(red, where=left), Style(blue, where=1 - left), content=grey)[0]
    redness = (image[0] - image[2]).mean(0)
    assert redness[:18].mean() > 1
    assert redness[30:].mean() < -1


def test_a_style_is_learnt_from_where_its_mask_is_white(weights: Weights):
    pixels = np.full((40, 40, 3), (200, 30, 30), np.uint8)
    pixels[:, 20:] = (30, 30, 200)
    red = torch.zeros(40, 40)
    red[:, :18] = 1
    recipe = PLAIN.but(content_weight=0.0, tv_weight=0.0, optimizer="adam", learning_rate=0.05, start="noise")
    warm = painted(weights, recipe, Style(from_pixels(pixels), mask=red))[0]
    cold = painted(weights, recipe, Style(from_pixels(pixels), mask=red.flip(1)))[0]
    warmth = [float((image[0] - image[2]).mean()) for image in (warm, cold)]
    assert warmth[0] > warmth[1] + 0.1


@pytest.mark.parametrize("black", [torch.zeros(40, 40), torch.zeros(1, 1), torch.full((40, 40), 1e-9)])
def test_a_style_mask_that_is_black_everywhere_is_refused(weights: Weights, black: torch.Tensor):
    with pytest.raises(HasamaError, match="black everywhere"):
        painted(weights, PLAIN, Style(FLOWER, mask=black))


# --- colours and transparency ---------------------------------------------------------------------


def soft(picture: Picture) -> Picture:
    """Far from black and white, where colours have room."""
    return from_pixels((80 + picture.pixels // 3).astype(np.uint8))


def chroma(picture: Image.Image) -> np.ndarray:
    """I and Q of YIQ."""
    pixels = np.asarray(picture.convert("RGB"), np.float64) / 127.5 - 1
    return pixels @ np.array([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]).T


def test_with_luminance_the_contents_hues_stay(weights: Weights):
    content = Image.fromarray(soft(TEMPLE).pixels)
    recipe = TINY.but(start="style", learning_rate=0.02)
    for keep, alike in (("luminance", True), ("no", False)):
        frame = last(repaint(subject(weights, recipe.but(keep_colour=keep), Style(STRIPES), content=soft(TEMPLE))))
        assert frame.picture.size == (48, 36)
        away = np.abs(chroma(frame.picture) - chroma(content)).mean()
        assert (away < 0.01) == alike, away
        if keep == "luminance":
            brightness = np.asarray(frame.picture.convert("L"), np.float64) - np.asarray(content.convert("L"))
            assert np.abs(brightness).mean() > 3  # it was painted


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_contents_colours_are_those_that_are_seen(weights: Weights, share: float):
    """What is invisible lies on the mean colour, and would make all colours paler."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[: round(40 * share)] = 255
    seen = from_pixels(pixels[: round(40 * share)])
    icon = Picture(pixels, alpha)
    found = []
    for content in (seen, icon):
        one = subject(weights, PLAIN.but(keep_colour="histogram"), content=content)
        found.append(style_image(one, one.styles[0], 40, 40).flatten(2).std(2))
    torch.testing.assert_close(found[1], found[0], rtol=0.1, atol=0.02)
    own, mask = small_style(Style(icon))
    assert mask is not None
    wanted = colours_of(*small_style(Style(seen)))
    torch.testing.assert_close(colours_of(own, mask).covariance, wanted.covariance, rtol=0.1, atol=0.01)


def test_with_luminance_the_networks_see_grey(weights: Weights):
    one = subject(weights, PLAIN.but(keep_colour="luminance"))
    for image in (content_image(one, 36, 48), style_image(one, one.styles[0], 40, 40)):
        assert torch.equal(image[:, 0], image[:, 1])
        assert torch.equal(image[:, 0], image[:, 2])
    frame = next(iter(repaint(one)))
    assert frame.losses["content"] == pytest.approx(0, abs=1e-9)  # it starts from the same grey


@pytest.mark.parametrize("way", ["matched", "hues"])
def test_colours_are_those_of_the_part_that_is_learnt_from(weights: Weights, way: str):
    """A style red on the left and blue on the right, of which only the left is learnt from."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 40, (40, 40, 3))
    pixels[:, :20], pixels[:, 20:] = (180, 40, 40), (40, 40, 180)
    pixels = (pixels + noise).astype(np.uint8)
    mask = torch.zeros(40, 40)
    mask[:, :16] = 1  # well within the red
    left = Picture(np.ascontiguousarray(pixels[:, :16]))
    canvas = to_canvas(TEMPLE, 36, 48)
    masked, alone = (
        in_the_styles_colours(subject(weights, PLAIN.but(colours=way), style), canvas)
        for style in (Style(Picture(pixels), mask=mask), Style(left))
    )
    torch.testing.assert_close(masked, alone, rtol=0, atol=0.1)
    assert masked[0, 0].mean() > masked[0, 2].mean() + 0.5
    kept = PLAIN.but(keep_colour="histogram")
    one = subject(weights, kept, Style(Picture(pixels), mask=mask))
    mean = style_image(one, one.styles[0], 40, 40)[0, :, :, :16].mean((1, 2))
    wanted = to_canvas(one.content, *one.content.size)[0].mean((1, 2))
    torch.testing.assert_close(mean, wanted, rtol=0, atol=0.05)


def test_with_histogram_the_style_has_the_contents_colours(weights: Weights):
    content, style = soft(TEMPLE), soft(FLOWER)
    one = subject(weights, PLAIN.but(keep_colour="histogram"), Style(style), content=content)
    wanted, plain = colours_of(to_canvas(content, 36, 48)), colours_of(to_canvas(style, 40, 40))
    found = colours_of(style_image(one, one.styles[0], 40, 40))
    for name in ("mean", "covariance"):
        near, far = (float((getattr(have, name) - getattr(wanted, name)).norm()) for have in (found, plain))
        assert near < 1e-3
        assert far > 0.02
    recipe = PLAIN.but(content_weight=0.0, tv_weight=0.0, start="noise", optimizer="adam", first_iterations=15)
    means = [
        colours_of(painted(weights, recipe.but(keep_colour=keep), Style(STRIPES))).mean
        - colours_of(to_canvas(TEMPLE, 36, 48)).mean
        for keep in ("histogram", "no")
    ]
    assert float(means[0].norm()) < float(means[1].norm())


def test_the_contents_alpha_goes_onto_the_painting(weights: Weights):
    alpha = np.zeros((36, 48), np.uint8)
    alpha[:, 24:] = 255
    recipe = TINY.but(size=40, smallest=40, first_iterations=3)
    hidden = [TEMPLE.pixels.copy(), TEMPLE.pixels.copy()]
    hidden[1][:, :24] = (0, 255, 0)  # what nobody can see must not matter
    frames = [last(repaint(subject(weights, recipe, content=Picture(pixels, alpha)))) for pixels in hidden]
    torch.testing.assert_close(frames[0].image, frames[1].image, rtol=0, atol=1e-5)
    picture = frames[0].picture
    assert (picture.mode, picture.size) == ("RGBA", (40, 30))
    found = np.asarray(picture.getchannel("A"))
    assert found[:, :15].max() < 5
    assert found[:, 25:].min() > 250


def test_a_transparent_style_is_learnt_from_without_its_hidden_colours(weights: Weights):
    alpha = np.full((40, 40), 255, np.uint8)
    alpha[:, 20:] = 0
    hidden = FLOWER.pixels.copy()
    hidden[:, 20:] = (0, 255, 0)
    one, other = (painted(weights, PLAIN, Style(Picture(pixels, alpha))) for pixels in (FLOWER.pixels, hidden))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("deep", [False, True])
def test_the_finished_picture_has_the_depth_that_is_asked_for_and_the_contents_profile(weights: Weights, deep: bool):
    one = subject(weights, PLAIN, content=TEMPLE._replace(profile=b"a profile"))
    picture = finished(one, to_canvas(TEMPLE, 36, 48), deep)
    assert picture.is_deep == deep
    assert picture.profile == b"a profile"
    np.testing.assert_allclose(picture.pixels / (257 if deep else 1), TEMPLE.pixels, atol=0.01)


# --- odd shapes and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("width", "height"), [(1, 40), (40, 1), (1, 1)])
def test_pictures_one_pixel_wide_are_painted(weights: Weights, optimizer: Any, width: int, height: int):
    layers = "relu1_1,relu2_1,relu3_1"
    recipe = TINY.but(size=32, smallest=16, optimizer=optimizer, style_layers=layers, content_layers="relu3_1")
    frame = last(
        repaint(subject(weights, recipe, Style(photograph(1, width, height)), content=photograph(0, width, height)))
    )
    wanted = {(1, 40): (32, 1), (40, 1): (1, 32), (1, 1): (32, 32)}[width, height]
    assert frame.image.shape == (1, 3, *wanted)
    assert frame.image.isfinite().all()
    assert math.isfinite(frame.total)


def test_the_deepest_layers_see_a_picture_of_one_pixel(weights: Weights):
    recipe = TINY.but(size=0, style_layers="relu1_1,relu5_1", content_layers="relu4_2", first_iterations=2)
    image = painted(weights, recipe, Style(photograph(1, 1, 1)), content=photograph(0, 1, 1))
    assert image.shape == (1, 3, 1, 1)
    assert image.isfinite().all()


def test_small_windows_paint_the_same_picture(weights: Weights):
    whole = painted(weights, PLAIN)
    for styles in ([Style(FLOWER)], [Style(FLOWER, where=torch.ones(3, 3))]):
        tiled = painted(weights, PLAIN, *styles, side=24)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-3)


def test_strokes_are_as_large_as_the_style_is_made(weights: Weights):
    """Stripes twice as wide have half as many edges, and so less style in common with the narrow ones."""
    recipe = PLAIN.but(content_weight=0.0, tv_weight=0.0)
    one = subject(weights, recipe.but(start="style", style_scale=1.0), Style(STRIPES), content=photograph(0, 48, 48))
    same, other = (
        next(iter(repaint(one._replace(recipe=one.recipe.but(style_scale=scale))))).losses["style"]
        for scale in (1.0, 2.0)
    )
    assert same == pytest.approx(0, abs=1e-4)
    assert other > 0.01


@pytest.mark.parametrize(("optimizer", "most"), [("adam", 0), ("gradient-descent", 0), ("lbfgs", 1)])
def test_a_step_hardly_waits_for_a_device(weights: Weights, optimizer: str, most: int):
    """All losses are read together; L-BFGS asks once whether a step tells something of the curvature."""
    frames = repaint(subject(weights, PLAIN.but(optimizer=optimizer, first_iterations=9)))
    for number in (1, 2, 3):
        assert repr(next(frames)).startswith(f"<Frame: scale 1/1, iteration {number}/9, loss ")
    with Reads() as reads:
        for _ in range(4):
            next(frames)
    assert len(reads.found) <= 4 * most


# --- what goes wrong ------------------------------------------------------------------------------


def judging(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Replace the losses of some evaluations, counted from 1: real ones break down only after a long time."""
    real, count = transfer.loss_and_gradient, [0]

    def loss_and_gradient(objective: Any, canvas: torch.Tensor, step: int) -> LossAndGradient:
        found = real(objective, canvas, step)
        count[0] += 1
        if count[0] not in losses:
            return found
        return found._replace(losses={"style": losses[count[0]]})

    monkeypatch.setattr(transfer, "loss_and_gradient", loss_and_gradient)


@pytest.mark.parametrize("worse", [1e30, math.nan])
def test_where_lbfgs_stalls_adam_goes_on_and_says_so(weights: Weights, monkeypatch: pytest.MonkeyPatch, worse: float):
    judging(monkeypatch, {4 + more: worse for more in range(GIVE_UP)})
    one = subject(weights, TINY.but(optimizer="lbfgs", first_iterations=14))
    frames = [(frame.notice, frame.canvas.kind, frame.total, kept(frame)) for frame in repaint(one)]
    told = [index for index, (notice, *_) in enumerate(frames) if notice]
    assert len(told) == 1
    assert "L-BFGS" in frames[told[0]][0]
    assert "Adam" in frames[told[0]][0]
    assert [kind for _, kind, *_ in frames] == ["lbfgs"] * told[0] + ["adam"] * (len(frames) - told[0])
    totals = [total for _, _, total, _ in frames[:14]]
    assert totals[told[0] + 1] <= 1.001 * totals[2]  # it goes on from the best picture, not from the leap
    assert totals[-1] < totals[2]
    monkeypatch.undo()
    final = last(repaint(one, frames[told[0]][3]))  # and a resumed painting knows which optimizer it has
    assert torch.equal(final.canvas.image, image_of(frames[-1][3], one))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e12])
def test_lbfgs_takes_one_bad_step_back_and_goes_on(weights: Weights, monkeypatch: pytest.MonkeyPatch, bad: float):
    judging(monkeypatch, {4: bad})
    frames = [
        (frame.total, frame.notice) for frame in repaint(subject(weights, TINY.but(optimizer="lbfgs", smallest=48)))
    ]
    assert not any(notice for _, notice in frames)
    assert frames[-1][0] < frames[2][0]


@pytest.mark.parametrize("optimizer", ["adam", "gradient-descent"])
@pytest.mark.parametrize("when", [1, 3])
def test_a_loss_that_is_no_number_is_told_with_what_to_do(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, optimizer: Any, when: int
):
    judging(monkeypatch, {when: math.nan})
    with pytest.raises(HasamaError, match=r"nan.*--learning-rate"):
        painted(weights, TINY.but(optimizer=optimizer))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loss_beyond_all_numbers_is_told_at_once(weights: Weights, optimizer: Any):
    with pytest.raises(HasamaError, match="broke down"):
        painted(weights, TINY.but(optimizer=optimizer, style_weight=1e300))


def test_a_layer_that_the_network_does_not_have_is_refused(weights: Weights):
    with pytest.raises(HasamaError, match="relu2_3"):
        subject(weights, TINY.but(style_layers="relu2_3"))
