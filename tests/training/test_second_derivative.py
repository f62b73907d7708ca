"""Convolutions whose second derivative is written out: torch's own results, for every kind, and no work in vain."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hasama.networks.registry import ARCHITECTURES, build
from hasama.presets import RECIPES
from hasama.shapes import each
from hasama.training.rules.second_derivative import _ToWeight, fast_second_derivatives
from hasama.training.setup import new_game
from hasama.training.turns import penalties, play, real_and_fake_logits

# (channels in, out, and the convolution's settings)
ORDINARY: dict[str, tuple[int, int, dict[str, Any]]] = {
    "1x1": (3, 2, {}),
    "3x3": (2, 3, {"padding": 1}),
    "grouped": (4, 6, {"padding": 1, "groups": 2}),
    "depthwise, strided": (3, 3, {"padding": 1, "groups": 3, "stride": 2}),
    "strided, not square": (2, 2, {"padding": (1, 0), "stride": (2, 1)}),
    "dilated": (2, 2, {"dilation": 2}),
}
TRANSPOSED: dict[str, tuple[int, int, dict[str, Any]]] = {
    "4x4, strided": (2, 3, {"stride": 2, "padding": 1}),
    "grouped": (4, 2, {"stride": 2, "padding": 1, "groups": 2, "output_padding": 1}),
    "dilated": (2, 2, {"dilation": 2}),
}
KINDS = [
    *(pytest.param(F.conv2d, *kind, id=name) for name, kind in ORDINARY.items()),
    *(pytest.param(F.conv_transpose2d, *kind, id=f"transposed, {name}") for name, kind in TRANSPOSED.items()),
]


def given(function: Any, inside: int, out: int, how: dict[str, Any], side: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, weights and biases in float64."""
    groups, rng = how.get("groups", 1), torch.Generator().manual_seed(0)
    shape = (out, inside // groups) if function is F.conv2d else (inside, out // groups)
    sizes = ((2, inside, 6, 5), (*shape, side, side), (out,))
    x, weight, bias = (torch.randn(*size, generator=rng, dtype=torch.float64, requires_grad=True) for size in sizes)
    return x, weight, bias


@pytest.mark.parametrize(("function", "inside", "out", "how"), KINDS)
def test_both_derivatives_are_right(function: Any, inside: int, out: int, how: dict[str, Any]):
    def convolved(*tensors: Tensor) -> Tensor:
        with fast_second_derivatives():
            return function(*tensors, **how)

    tensors = given(function, inside, out, how)
    torch.testing.assert_close(convolved(*tensors), function(*tensors, **how))
    assert torch.autograd.gradcheck(convolved, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolved, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolved, tensors[:2], fast_mode=True)  # without biases


def test_derivatives_of_the_third_order_are_right():
    tensors = given(F.conv2d, 2, 2, {})[:2]

    def slope(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        with fast_second_derivatives():
            cubed = F.conv2d(x, weight, padding=1).pow(3).sum()
        return torch.autograd.grad(cubed, (x, weight), create_graph=True)

    assert torch.autograd.gradgradcheck(slope, tensors, fast_mode=True)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_leaky_relu_too(inplace: bool):
    def leaky(x: Tensor) -> Tensor:
        with fast_second_derivatives():
            return F.leaky_relu(2 * x, 0.2, inplace=inplace).pow(3)

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(leaky(x), F.leaky_relu(2 * x, 0.2).pow(3))
    assert torch.autograd.gradcheck(leaky, x)
    assert torch.autograd.gradgradcheck(leaky, x)


MEANS = [
    pytest.param(F.avg_pool2d, (2,), {}, id="halved"),
    pytest.param(F.avg_pool2d, ((3, 2),), {"stride": (1, 2), "padding": 1, "count_include_pad": False}, id="padded"),
    pytest.param(F.adaptive_avg_pool2d, (4,), {}, id="adaptive"),
    pytest.param(F.adaptive_avg_pool2d, ((None, 1),), {}, id="adaptive, a side as it is"),
]


@pytest.mark.parametrize(("function", "given", "how"), MEANS)
def test_means_too(function: Any, given: tuple[Any, ...], how: dict[str, Any]):
    def mean(x: Tensor) -> Tensor:
        with fast_second_derivatives():
            return function(2 * x, *given, **how).pow(3)

    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(mean(x), function(2 * x, *given, **how).pow(3))
    assert torch.autograd.gradcheck(mean, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(mean, x, fast_mode=True)


class Layouts(TorchDispatchMode):
    """Notes what is computed of maps (not pictures) that lie in memory in different orders."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        maps = [x for x in tree_leaves(args) if isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] > 4]
        last = [x.is_contiguous(memory_format=torch.channels_last) for x in maps]
        plain = [x.is_contiguous() for x in maps]  # parts of maps are neither, those of a single place are both
        if (
            any(p and not c for p, c in zip(plain, last, strict=True))
            and any(last)
            and not func.is_view
            and "copy" not in func.name()
        ):
            self.mixed.append(f"{func.name()} {[tuple(x.shape) for x in maps]}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("preset", ["r3gan", "fast", "vision-aided"])
def test_all_maps_of_a_step_are_laid_out_alike(preset: str, precision: str):
    recipe = RECIPES[preset].but(size="64", width=4, batch=2, precision=precision, augment="none")
    steps = play(new_game(build(recipe, 3), recipe), itertools.repeat(torch.zeros(2, 3, 64, 64)))
    next(steps)
    with Layouts() as noted:
        next(steps)
    assert noted.mixed == []


GANS = [name for name in ARCHITECTURES if name != "vae"]


@pytest.mark.parametrize("penalty", ["r1", "r1+r2", "wgan-gp"])
@pytest.mark.parametrize("architecture", GANS)
@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_a_penaltys_gradients_are_torchs_own(architecture: str, penalty: str, precision: str, monkeypatch: Any):
    changes = {"size": "16", "width": 4, "latent_size": 4, "batch": 4, "penalty": penalty, "gamma": 1.0}
    exact = {"precision": "fp32" if precision == "float64" else "bf16", "penalty_every": 1, "augment": "none"}
    norm = {"discriminator_norm": "none"}
    recipe = RECIPES[architecture].but(**changes, **exact, **norm)
    game = new_game(build(recipe, 3), recipe)
    if precision == "float64":
        game.pair.discriminator.double()
        for parameter in game.pair.discriminator.parameters():
            parameter.data = parameter.data.contiguous()
        game.discriminate = lambda images, labels=None: game.pair.discriminator(images)  # type: ignore[method-assign]
    torch.manual_seed(1)
    for parameter in game.pair.discriminator.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)  # zeros would hide differences
    game.pair.grow(10**9)
    kind = torch.float64 if precision == "float64" else torch.float32
    real = game.pair.view(torch.randn(4, 3, 16, 16, dtype=kind))
    fake = game.pair.view(torch.randn(4, 3, 16, 16, dtype=kind))

    def gradients(fast: bool) -> dict[str, Tensor]:
        monkeypatch.setattr("hasama.training.turns.fast_second_derivatives", lambda: fast_second_derivatives(fast))
        game.pair.discriminator.zero_grad()
        shown_real, shown_fake = (each(lambda x: x.detach().clone().requires_grad_(), v) for v in (real, fake))
        torch.manual_seed(2)
        with fast_second_derivatives(fast):
            outputs = real_and_fake_logits(game, shown_real, shown_fake, None)
        (penalties(game, outputs, None).mean() + outputs["real"][1].mean()).backward()
        return {n: p.grad.clone() for n, p in game.pair.discriminator.named_parameters() if p.grad is not None}

    theirs, ours = gradients(False), gradients(True)
    assert ours.keys() == theirs.keys()
    whole = torch.cat([slope.flatten().double() for slope in theirs.values()])
    apart = torch.cat([(ours[name] - theirs[name]).flatten().double() for name in theirs])
    assert whole.norm() > 0
    assert apart.norm() / whole.norm() < (1e-6 if precision == "float64" else 0.05)  # penalties sum in float32


def test_a_penaltys_first_gradient_costs_no_gradient_of_the_weights(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    apply = _ToWeight.apply
    monkeypatch.setattr(_ToWeight, "apply", lambda *given: asked.append("weight") or apply(*given))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    with fast_second_derivatives():
        logits = network(images).sum((1, 2, 3))
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    assert not asked
    slope.square().sum().backward()
    assert len(asked) == 2  # one for each convolution
    assert all(p.grad is not None for name, p in network.named_parameters() if name.endswith("weight"))


def test_what_it_does_not_know_is_left_to_torch():
    x, weight, _ = given(F.conv2d, 2, 2, {})
    with fast_second_derivatives():
        assert "ConvolutionBackward0" in str(F.conv2d(x, weight, padding="same").grad_fn)
        assert "_ConvolutionBackward" in str(F.conv2d(x, weight, padding=1).grad_fn)
        torch.testing.assert_close(F.conv2d(x[0], weight), F.conv2d(x, weight)[0])  # a picture without a batch
    assert "ConvolutionBackward0" in str(F.conv2d(x, weight, padding=1).grad_fn)


def test_autocast_reaches_into_it():
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(images)
        with fast_second_derivatives():
            ours = layer(images)
    assert ours.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(ours, plain)
    ours.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
