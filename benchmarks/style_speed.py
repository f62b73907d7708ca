"""One evaluation of the style loss and its gradient: Hasama against the PyTorch tutorial's way.

    python benchmarks/style_speed.py [--content PICTURE --style PICTURE] [--size 512] [--rounds 3]
    python benchmarks/style_speed.py --goal 300      # the time to the tutorial's loss after so many evaluations

Both sides: the same packaged VGG19, Gatys's layers (style conv1_1 ... conv5_1, content conv4_2), the tutorial's
weights, L-BFGS from the content. The tutorial's side is its code written out (Alexis Jacq, pytorch.org/tutorials,
"Neural Transfer Using PyTorch"): loss modules in an nn.Sequential, float32. Ours is the public `repaint`.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sides import compare, print_table, report

CHANNELS = {"conv1_1": 64, "conv2_1": 128, "conv3_1": 256, "conv4_1": 512, "conv5_1": 512}
CONTENT = "conv4_2"
STYLE_WEIGHT = 1e6
COARSE = 60
"""Evaluations of ours at half the size, before those at the full one, in `to_goal`."""
STEP = 20
"""Evaluations of `torch.optim.LBFGS` in one step: nothing can be seen between."""


def picture(path: str, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: a file, or one of scikit-learn's two photographs."""
    from PIL import Image

    if path in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        opened = Image.fromarray(load_sample_image(f"{path}.jpg"))
    else:
        opened = Image.open(path).convert("RGB")
    return np.asarray(opened.resize((size, size), Image.Resampling.LANCZOS))


def tutorial(content: np.ndarray, style: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:  # noqa: C901 (in one piece)
    """The usual code: (loss, canvas [1, 3, H, W] in [0, 1]) after each evaluation."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from hasama.perception.vgg_weights import load_weights

    weights = load_weights()

    def load(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous().float() / 255

    class ContentLoss(nn.Module):
        def __init__(self, target: torch.Tensor) -> None:
            super().__init__()
            self.target = target.detach()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.loss = F.mse_loss(x, self.target)
            return x

    def gram_matrix(x: torch.Tensor) -> torch.Tensor:
        a, b, c, d = x.size()
        features = x.reshape(a * b, c * d)
        return torch.mm(features, features.t()).div(a * b * c * d)

    class StyleLoss(nn.Module):
        def __init__(self, target: torch.Tensor) -> None:
            super().__init__()
            self.target = gram_matrix(target).detach()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.loss = F.mse_loss(gram_matrix(x), self.target)
            return x

    class Normalization(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor(weights.mean).view(-1, 1, 1)
            self.std = torch.tensor(weights.std).view(-1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - self.mean) / self.std

    content_image, style_image = load(content), load(style)
    model, contents, styles = nn.Sequential(Normalization()), [], []
    for place, (weight, bias) in weights.convolutions.items():
        name = f"conv{place}"
        if place.endswith("_1") and place != "1_1":
            model.append(nn.MaxPool2d(kernel_size=2, stride=2))
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        convolution.weight.data, convolution.bias.data = weight, bias  # type: ignore[union-attr]
        model.append(convolution)
        if name == CONTENT:
            contents.append(ContentLoss(model(content_image)))
            model.append(contents[-1])
        if name in CHANNELS:
            styles.append(StyleLoss(model(style_image)))
            model.append(styles[-1])
        if name == "conv5_1":
            break
        model.append(nn.ReLU(inplace=False))

    canvas = content_image.clone().requires_grad_(True)
    model.eval()
    model.requires_grad_(False)
    optimizer = torch.optim.LBFGS([canvas])
    seen: list[float] = []

    def closure() -> torch.Tensor:
        with torch.no_grad():
            canvas.clamp_(0, 1)
        optimizer.zero_grad()
        model(canvas)
        loss = torch.stack([one.loss for one in styles]).sum() * STYLE_WEIGHT + contents[0].loss
        loss.backward()
        seen.append(loss.item())
        return loss

    while True:
        optimizer.step(closure)  # twenty evaluations
        yield from ((loss, canvas.detach().clamp(0, 1).numpy()) for loss in seen)
        seen.clear()


def our_recipe(size: int, **changes):
    """The tutorial's loss as a recipe: its Gram matrices are divided by the channels, too."""
    from hasama import StyleRecipe

    shares = {layer: STYLE_WEIGHT / channels**2 for layer, channels in CHANNELS.items()}
    return StyleRecipe(
        size=size, smallest=size, start="content", style_loss="gram", optimizer="lbfgs", tv_weight=0.0, balance=False,
        style_layers=",".join(f"{layer}:{share}" for layer, share in shares.items()), content_layers=CONTENT,
        style_weight=sum(shares.values()), content_weight=1.0, border="zeros", plateau=0.0, first_iterations=100_000,
    ).but(**changes)  # fmt: skip


def ours(content: np.ndarray, style: np.ndarray, **changes) -> Iterator[tuple[float, np.ndarray]]:
    """The same with Hasama."""
    from hasama.style.canvas.pictures import from_pixels
    from hasama.style.painting import plan
    from hasama.style.subject import Style
    from hasama.style.transfer import repaint

    recipe = our_recipe(content.shape[0], **changes)
    for frame in repaint(plan(from_pixels(content), [Style(from_pixels(style))], recipe)):
        yield frame.total, (frame.canvas.image.detach().numpy() + 1) / 2


SIDES = {"tutorial": tutorial, "ours": ours}


def side(name: str, content: np.ndarray, style: np.ndarray, evaluations: int) -> None:
    """Time evaluations after a warm-up of one step of the tutorial's optimizer, which takes `STEP` at once."""
    losses = SIDES[name](content, style)
    evaluations = max(1, round(evaluations / STEP)) * STEP
    for _ in itertools.islice(losses, STEP):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(losses, evaluations):
        pass
    report(evaluations, time.perf_counter() - start)


def judged(content: np.ndarray, style: np.ndarray) -> Callable[[np.ndarray], float]:
    """The tutorial's loss of a canvas [1, 3, H, W] in [0, 1], in float32."""
    import torch

    from hasama.style.canvas.pictures import from_pixels
    from hasama.style.methods.objective import loss_and_gradient
    from hasama.style.painting import plan
    from hasama.style.subject import Style, objective_for

    recipe = our_recipe(content.shape[0], precision="fp32")
    objective = objective_for(plan(from_pixels(content), [Style(from_pixels(style))], recipe), *content.shape[:2])
    return lambda canvas: loss_and_gradient(objective, torch.from_numpy(canvas * 2 - 1).float().clamp(-1, 1)).total


def to_goal(content: np.ndarray, style: np.ndarray, evaluations: int, precision: str) -> float:
    """How many times as long as ours the tutorial takes to the loss that it has after so many evaluations.

    Ours begins at half the size, as every recipe but `gatys` begins small; its evaluations and their time count.
    """
    size = content.shape[0]
    judge = judged(content, style)
    canvas, spent = deque(_clocked(itertools.islice(tutorial(content, style), evaluations)), maxlen=1)[0]
    goal = judge(canvas)
    print(f"{'tutorial':34}{evaluations:5} evaluations {spent:8.1f} s   loss {goal:.1f}", flush=True)
    coarse = {"smallest": size // 2, "scale_step": 2.0, "first_iterations": COARSE, "iterations": 100_000}
    for count, (canvas, seconds) in enumerate(_clocked(ours(content, style, precision=precision, **coarse)), 1):
        if canvas.shape[-1] == size and count % 5 == 0 and (loss := judge(canvas)) <= goal:
            print(f"{'ours':34}{count:5} evaluations {seconds:8.1f} s   loss {loss:.1f}")
            print(f"to the same loss: {spent / seconds:.2f}x less time", flush=True)
            return spent / seconds
        if count == 2 * evaluations:
            sys.exit(f"ours has only {judge(canvas):.1f} after {count} evaluations and {seconds:.1f} s")
    raise AssertionError("ours ended by itself")


def _clocked(frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[np.ndarray, float]]:
    """Each canvas with the seconds that its making took so far, whatever the consumer does between."""
    spent = 0.0
    while True:
        start = time.perf_counter()
        frame = next(frames, None)
        spent += time.perf_counter() - start
        if frame is None:
            return
        yield frame[1], spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--content", default="china", help="a picture, or china or flower")
    parser.add_argument("--style", default="flower", help="a picture, or china or flower")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--goal", type=int, help="compare the time to the loss after so many evaluations")
    parser.add_argument("--precision", default="auto", help="of ours, with --goal: auto, fp32 or bf16")
    parser.add_argument("--side", choices=SIDES)
    given = parser.parse_args()
    if given.side:
        pictures = picture(given.content, given.size), picture(given.style, given.size)
        side(given.side, *pictures, given.evaluations)
        return
    if given.goal:
        pictures = picture(given.content, given.size), picture(given.style, given.size)
        found = [to_goal(*pictures, given.goal, given.precision) for _ in range(given.rounds)]
        print(f"median of {given.rounds}: {statistics.median(found):.2f}x less time")
        return
    names = ("content", "style", "size", "evaluations")
    arguments = [f"--{name}={getattr(given, name)}" for name in names]
    print(f"evaluations a second at {given.size}x{given.size} (the column images/s)")
    sides = {"tutorial": False, "tutorial (keeping memory)": True, "ours": False}
    print_table(compare(str(Path(__file__)), sides, arguments, given.rounds), "ours")


if __name__ == "__main__":
    main()
