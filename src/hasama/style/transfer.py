"""Neural style transfer: a canvas is optimised until its features have one image's content and others' style."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image

from hasama.errors import HasamaError
from hasama.shapes import Images
from hasama.style.canvas.canvas import Canvas
from hasama.style.finish import finished
from hasama.style.instant import image_to_start_from, paint_at_once
from hasama.style.matched import columns_for, split_for
from hasama.style.methods.objective import LossAndGradient, loss_and_gradient
from hasama.style.subject import Matches, Subject, first_image, objective_for, with_start_noise


class Frame(NamedTuple):
    """The canvas after one step. The canvas moves on: what is to be kept is taken before the next frame."""

    scale: int
    """Counted from 0."""
    scales: int
    """How many there are."""
    iteration: int
    """Of this scale, counted from 1."""
    iterations: int
    """At most, at this scale."""
    losses: dict[str, float]
    """Weighted, before the step: content, style, tv, temporal. They add up to the total."""
    layers: dict[str, float]
    """The same, layer by layer: 'style relu1_1'."""
    distances: dict[str, float]
    """Layer by layer without the weights: the content's mean squared error, the style's distance."""
    canvas: Canvas
    done: float
    """The share of all the work that is done, if every scale takes all its iterations: 0 to 1."""
    subject: "Subject"
    """What is painted."""
    began: Images | None = None
    """The canvas when this scale began, where targets were chosen by it, or it is painted over (`instant`)."""
    notice: str = ""
    """Something to tell, such as an optimizer that had to be replaced."""

    def __repr__(self) -> str:
        """Short: the canvas would flood a notebook."""
        where = f"scale {self.scale + 1}/{self.scales}, iteration {self.iteration}/{self.iterations}"
        return f"<Frame: {where}, loss {self.total:.4g}>"

    @property
    def total(self) -> float:
        """The weighted sum that is minimised."""
        return sum(self.losses.values())

    @property
    def image(self) -> Images:
        """The picture so far, [1, 3, H, W] in [-1, 1]."""
        return self.canvas.shown()

    @property
    def picture(self) -> Image.Image:
        """The picture so far as people get it, 8 bits a channel, with the content's colours and alpha as asked."""
        return finished(self.subject, self.image, False).shown()

    def state_dict(self) -> dict[str, Any]:
        """What `repaint` needs to go on after this frame: tensors and plain values, to be saved before the next."""
        return {
            "scale": self.scale, "iteration": self.iteration, "iterations": self.iterations,
            "canvas": self.canvas.state_dict(), "began": self.began,
        }  # fmt: skip


def repaint(subject: Subject, state: dict[str, Any] | None = None) -> Iterator[Frame]:
    """Coarse to fine: at each scale the loss is minimised over the pixels, one step a frame.

    Gatys et al. 2016, section 2.4; from coarse to fine as in Gatys et al. 2017, section 6.

    Args:
        subject: the pictures and the recipe.
        state: an earlier frame's `state_dict()`, to go on after it to the same picture.

    Raises:
        HasamaError: there is no such layer, a mask leaves nothing of a style, or the loss is no longer a number.
    """
    recipe, sizes = subject.recipe, subject.sizes()
    if recipe.at_once:
        yield from _at_once(subject, state)
        return
    limits = [
        recipe.frame_iterations if subject.temporal_target else recipe.iterations_at(scale)
        for scale in range(len(sizes))
    ]
    work = [height * width * limit for (height, width), limit in zip(sizes, limits, strict=True)]
    matching = recipe.by_place and recipe.style_weight > 0
    first, done, canvas, began = 0, 0, None, None
    if state is not None:
        first, done, began = state["scale"], state["iteration"], state.get("began")
        canvas = Canvas.from_state(state["canvas"], recipe, subject.device)
    for scale in range(first, len(sizes)):
        if canvas is None:
            canvas = Canvas(_started(subject, *sizes[scale]), recipe)
        elif not done:
            anew = matching and scale == len(sizes) - 1 and recipe.optimizer == "auto"  # other places at each step
            canvas = canvas.enlarged(*sizes[scale], "pyramid" if anew else None)
            began = canvas.shown() if matching else None
        objective = None  # its memory, before there is another
        objective = objective_for(subject, *sizes[scale], _matches(subject, scale, sizes, began))
        while done < limits[scale] and not canvas.has_settled():
            found = loss_and_gradient(objective, canvas.image.detach(), done)
            canvas, notice = moved(canvas, found)
            done += 1
            share = (sum(work[:scale]) + work[scale] * done / limits[scale]) / sum(work)
            counted, terms = (scale, len(sizes), done, limits[scale]), found[:3]
            yield Frame(*counted, *terms, canvas, share, subject, began, notice)
        done = 0


def _started(subject: Subject, height: int, width: int) -> Images:
    if subject.recipe.start == "instant" and subject.start_image is None:
        return with_start_noise(subject, image_to_start_from(subject, height, width))
    return first_image(subject, height, width)


def _at_once(subject: Subject, state: dict[str, Any] | None) -> Iterator[Frame]:
    """The painting of `instant`, a frame for each tile at each level."""
    first, begun = 0, None
    if state is not None:
        whole = state["iteration"] == state["iterations"]
        painted = Canvas.from_state(state["canvas"], subject.recipe, subject.device).shown()
        first, begun = state["scale"] + whole, painted if whole else state["began"]
        if begun is None:  # in the first scale, or saved before this was kept
            first = 0
        else:
            begun = begun.to(subject.device)
    for scale, scales, done, steps, image in paint_at_once(subject, first, begun):
        canvas, share = Canvas(image, subject.recipe), (scale + done / steps) / scales
        yield Frame(scale, scales, done, steps, {}, {}, {}, canvas, share, subject, begun)
        if done == steps:
            begun = canvas.shown()


def _matches(subject: Subject, scale: int, sizes: list[tuple[int, int]], began: Images | None) -> Matches | None:
    """What compares the canvas with the styles place by place, if that is asked: in the last pass layer by layer."""
    if not subject.recipe.by_place:
        return None
    if scale == len(sizes) - 1:
        return split_for(subject, *sizes[scale])
    return columns_for(subject, *sizes[scale], began)


def moved(canvas: Canvas, found: LossAndGradient) -> tuple[Canvas, str]:
    """One step downhill; where L-BFGS finds no way on, Adam takes over from the best that it had."""
    total = found.total
    if canvas.has_stalled:
        return canvas.with_optimizer("adam"), f"L-BFGS stalled after {canvas.steps} steps; Adam goes on."
    sound = math.isfinite(total) and found.is_finite
    if not sound and not (canvas.kind == "lbfgs" and canvas.steps):  # L-BFGS takes such a step back
        raise HasamaError(
            f"Painting broke down: the loss became {total}. Try a lower --learning-rate, or --precision fp32."
        )
    canvas.step(found.gradient, total if sound else math.nan)
    return canvas, ""
