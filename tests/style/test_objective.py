"""The loss of a canvas and its gradient: the formula in float64, and the same in tiles as in one piece."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hasama.perception.vgg import VGG, layer_names, stride_of
from hasama.perception.vgg_weights import load_weights
from hasama.style.canvas.tiles import Tile, cut_up
from hasama.style.methods.losses import REGULAR, STYLE_LOSSES, TINY
from hasama.style.methods.objective import LossAndGradient, Objective, Region, TemporalTarget, loss_and_gradient
from hasama.style.methods.targets import activations_of, layer_size, masks_for, style_moments
from narrow_vgg import narrow_weights, soft_picture

few = settings(max_examples=15)
STYLE = {"relu1_1": 30.0, "conv2_2": 3.0, "relu3_1": 1.0}
CONTENT = {"relu2_2": 0.5, "relu3_1": 0.2}
LAYERS = tuple(STYLE | CONTENT)
LOSSES = sorted(STYLE_LOSSES)


@pytest.fixture(scope="module")
def network() -> VGG:
    return VGG(narrow_weights(), LAYERS)


def ramp(height: int, width: int) -> Tensor:
    """A mask that grows from left to right, and is nothing in the first fifth."""
    return (torch.linspace(-0.25, 1, width).clamp(min=0)).expand(height, width).contiguous()


def parts(network: VGG, height: int, width: int, loss: str, masked: bool) -> dict[str, Any]:
    """All that a canvas can be judged by: two styles, content, smoothness and the last picture of a film."""
    one_piece = cut_up(height, width, 10_000, LAYERS, "vgg19")
    styles = [
        style_moments(network, cut_up(31, 42, 10_000, LAYERS, "vgg19"), soft_picture(31, 42, seed), list(STYLE))
        for seed in (1, 2)
    ]
    where = [ramp(height, width), 1 - ramp(height, width)] if masked else [None, None]
    wanted = activations_of(network, one_piece, soft_picture(height, width, 3), list(CONTENT))
    return {
        "content": {layer: (weight, wanted[layer]) for layer, weight in CONTENT.items()},
        "regions": [
            Region(
                {layer: (weight, STYLE_LOSSES[loss](style[layer])) for layer, weight in STYLE.items()},
                None if mask is None else masks_for(mask, list(STYLE)),
            )
            for style, mask in zip(styles, where, strict=True)
        ],
        "tv_weight": 2.0,
        "temporal_target": TemporalTarget(5.0, soft_picture(height, width, 4), ramp(height, width)),
    }


def judged(network: VGG, tiles: list[Tile], canvas: Tensor, **given_parts: Any) -> LossAndGradient:
    """By some parts only; what is not given does not count."""
    nothing: dict[str, Any] = {"content": {}, "regions": [], "tv_weight": 0.0, "temporal_target": None}
    return loss_and_gradient(Objective(network, tiles, **(nothing | given_parts)), canvas)


def pieces(height: int, width: int, side: int, layers: tuple[str, ...] = LAYERS) -> tuple[list[Tile], list[Tile]]:
    """The whole as one tile, and as several."""
    return cut_up(height, width, 10_000, layers, "vgg19"), cut_up(height, width, side, layers, "vgg19")


def same(ours: LossAndGradient, wanted: LossAndGradient, tolerance: float = 1e-4) -> None:
    assert ours.losses.keys() == wanted.losses.keys()
    assert ours.layers.keys() == wanted.layers.keys()
    for name, value in wanted.layers.items():
        assert ours.layers[name] == pytest.approx(value, rel=tolerance, abs=1e-7), name
    assert ours.gradient.shape == wanted.gradient.shape
    error = (ours.gradient - wanted.gradient).abs().max()
    assert error <= tolerance * wanted.gradient.abs().max()


# --- tiles against one piece ----------------------------------------------------------------------

CHOICES: dict[str, tuple[str, ...]] = {
    "everything": ("content", "regions", "tv_weight", "temporal_target"),
    "style": ("regions",),
    "content": ("content",),
    "smoothness": ("tv_weight",),
    "temporal": ("temporal_target",),
}


@pytest.mark.parametrize("chosen", CHOICES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_tiles_give_the_same_losses_and_gradient(loss: str, masked: bool, chosen: str, network: VGG):
    all_parts = parts(network, 53, 46, loss, masked)
    some = {name: all_parts[name] for name in CHOICES[chosen]}
    whole, cut = pieces(53, 46, 44)
    assert len(whole) == 1
    assert len(cut) > 3
    canvas = soft_picture(53, 46)
    wanted = judged(network, whole, canvas, **some)
    assert wanted.gradient.abs().max() > 0
    same(judged(network, cut, canvas, **some), wanted)


@given(height=st.integers(5, 70), width=st.integers(5, 70), side=st.integers(28, 60), loss=st.sampled_from(LOSSES))
@few
def test_tiles_do_so_at_any_size(height: int, width: int, side: int, loss: str, network: VGG):
    given_parts = parts(network, height, width, loss, masked=True)
    whole, cut = pieces(height, width, side)
    canvas = soft_picture(height, width)
    same(judged(network, cut, canvas, **given_parts), judged(network, whole, canvas, **given_parts))


def all_five(weights_of: str) -> tuple[VGG, dict[str, float]]:
    layers = {f"relu{block}_1": 4.0 ** (5 - block) for block in range(1, 6)}
    return VGG(narrow_weights(weights_of), layers), layers


@pytest.mark.parametrize("network_name", ["vgg19", "vgg16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_tiles_do_so_with_the_halo_of_the_deepest_layer(loss: str, network_name: str):
    deep, layers = all_five(network_name)
    canvas, names = soft_picture(200, 261), list(layers)
    style = style_moments(
        deep, cut_up(150, 150, 10_000, tuple(layers), network_name), soft_picture(150, 150, 1), names
    )
    region = Region({layer: (weight, STYLE_LOSSES[loss](style[layer])) for layer, weight in layers.items()})
    whole, cut = (cut_up(200, 261, side, tuple(layers), network_name) for side in (10_000, 208))
    assert len(cut) > 2
    ours, wanted = (judged(deep, tiles, canvas, regions=[region], tv_weight=1.0) for tiles in (cut, whole))
    same(ours, wanted)


@pytest.mark.parametrize("loss", LOSSES)
def test_tiles_do_so_in_the_trained_network(loss: str):
    layers = {"relu1_1": 64.0, "relu2_1": 16.0, "conv3_1": 4.0}
    trained = VGG(load_weights(), layers, pooling="average", border="zeros")
    canvas, one = soft_picture(75, 66), cut_up(40, 40, 10_000, tuple(layers), "vgg19")
    style = style_moments(trained, one, soft_picture(40, 40, 1), list(layers))
    region = Region({layer: (weight, STYLE_LOSSES[loss](style[layer])) for layer, weight in layers.items()})
    whole, cut = pieces(75, 66, 64, tuple(layers))
    same(judged(trained, cut, canvas, regions=[region]), judged(trained, whole, canvas, regions=[region]))


def test_bfloat16_points_the_same_way(network: VGG):
    rough = VGG(narrow_weights(), LAYERS, precision=torch.bfloat16)
    given_parts, canvas = parts(network, 47, 50, "wasserstein", masked=False), soft_picture(47, 50)
    whole, cut = pieces(47, 50, 44)
    exact = judged(network, whole, canvas, **given_parts)
    for tiles in (whole, cut):
        found = judged(rough, tiles, canvas, **given_parts)
        assert found.gradient.dtype == torch.float32
        assert found.total == pytest.approx(exact.total, rel=0.02)
        assert F.cosine_similarity(found.gradient.flatten(), exact.gradient.flatten(), 0) > 0.99


# --- the formula ----------------------------------------------------------------------------------


def in_float64(network: VGG, given_parts: dict[str, Any], style_pictures: list[Tensor], loss: str) -> Callable:
    """The whole objective written out anew with numpy: canvas -> {name: weighted loss}."""
    exact = VGG(narrow_weights(), LAYERS, precision=torch.float64)

    def seen_in(image: Tensor) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {layer: values[0].flatten(1).numpy() for layer, values in exact(image.double()).items()}

    def gaussian(rows: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weights = np.ones(rows.shape[1]) if weights is None else weights
        mean, gram = rows @ weights / weights.sum(), (rows * weights) @ rows.T / weights.sum()
        return mean, gram, gram - np.outer(mean, mean)

    def distance(rows: np.ndarray, weights: np.ndarray | None, target: np.ndarray) -> float:
        (mean, gram, spread), (mean2, gram2, spread2) = gaussian(rows, weights), gaussian(target, None)
        if loss == "gram":
            return float(np.square(gram - gram2).mean())
        longer = (REGULAR * spread2.diagonal().mean() + TINY) * np.eye(len(mean))
        spread, spread2 = spread + longer, spread2 + longer
        root = np.real(scipy.linalg.sqrtm(spread2))
        common = np.trace(np.real(scipy.linalg.sqrtm(root @ spread @ root)))
        return float((np.square(mean - mean2).sum() + np.trace(spread + spread2) - 2 * common) / len(mean))

    learnt = [seen_in(picture) for picture in style_pictures]

    def losses(canvas: Tensor) -> dict[str, float]:
        seen, canvas = seen_in(canvas), canvas.double()
        found = {"content": 0.0, "style": 0.0}
        for layer, (weight, wanted) in given_parts["content"].items():
            found["content"] += weight * np.square(seen[layer] - wanted[0].flatten(1).double().numpy()).mean()
        for region, style in zip(given_parts["regions"], learnt, strict=True):
            for layer, (weight, _) in region.distances.items():
                weights = None if region.masks is None else region.masks[layer].double().flatten().numpy()
                found["style"] += weight * distance(seen[layer], weights, style[layer])
        pixels = canvas[0].numpy()
        pairs = [
            (2 / 3, pixels[:, 1:] - pixels[:, :-1]),
            (2 / 3, pixels[:, :, 1:] - pixels[:, :, :-1]),
            (1 / 6, pixels[:, 1:, 1:] - pixels[:, :-1, :-1]),
            (1 / 6, pixels[:, 1:, :-1] - pixels[:, :-1, 1:]),
        ]
        varied = sum(weight * np.square(difference).sum() for weight, difference in pairs)
        found["tv"] = given_parts["tv_weight"] * varied / pixels.size
        temporal_target = given_parts["temporal_target"]
        moved = (temporal_target.confidence.double() * (canvas - temporal_target.wanted.double()).square()).mean()
        found["temporal"] = temporal_target.weight * float(moved)
        return found

    return losses


@pytest.mark.parametrize("side", [10_000, 36])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradient_are_the_formulas(loss: str, masked: bool, side: int, network: VGG):
    """Each loss in float64, and the gradient as a finite difference of their sum at the pixels that feel it most."""
    given_parts, canvas = parts(network, 29, 38, loss, masked), soft_picture(29, 38)
    tiles = cut_up(29, 38, side, LAYERS, "vgg19")
    found = judged(network, tiles, canvas, **given_parts)
    losses = in_float64(network, given_parts, [soft_picture(31, 42, seed) for seed in (1, 2)], loss)
    wanted = losses(canvas)
    assert found.losses.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found.losses[name] == pytest.approx(value, rel=1e-4), name
    assert found.total == pytest.approx(sum(wanted.values()), rel=1e-4)
    gradient, step = found.gradient.flatten(), 1e-6
    strongest = gradient.abs().argsort(descending=True)[:4].tolist()
    for pixel in [*strongest, 0, 17 * 38 + 5, gradient.numel() - 1]:
        further, back = canvas.double(), canvas.double()
        further.view(-1)[pixel] += step
        back.view(-1)[pixel] -= step
        slope = (sum(losses(further).values()) - sum(losses(back).values())) / (2 * step)
        assert float(gradient[pixel]) == pytest.approx(slope, rel=2e-3, abs=1e-3 * float(gradient.abs().max()))


@pytest.mark.parametrize("side", [10_000, 44])
def test_losses_add_up(side: int, network: VGG):
    given_parts = parts(network, 50, 45, "wasserstein", masked=True)
    found = judged(network, cut_up(50, 45, side, LAYERS, "vgg19"), soft_picture(50, 45), **given_parts)
    assert found.total == sum(found.losses.values())
    assert set(found.layers) == {f"style {name}" for name in STYLE} | {f"content {name}" for name in CONTENT} | {
        "tv", "temporal",
    }  # fmt: skip
    for kind, value in found.losses.items():
        assert value == pytest.approx(sum(v for name, v in found.layers.items() if name.split()[0] == kind))
        assert value > 0


@pytest.mark.parametrize("side", [10_000, 44])
def test_a_canvas_that_is_all_that_is_wanted_has_no_loss(side: int, network: VGG):
    canvas = soft_picture(50, 45)
    tiles = cut_up(50, 45, side, LAYERS, "vgg19")
    learnt = style_moments(network, tiles, canvas, list(STYLE))
    seen = activations_of(network, tiles, canvas, list(CONTENT))
    content = {layer: (1.0, seen[layer]) for layer in CONTENT}
    region = Region({layer: (1.0, STYLE_LOSSES["gram"](learnt[layer])) for layer in STYLE})
    temporal_target = TemporalTarget(1.0, canvas, torch.ones(50, 45))
    found = judged(network, tiles, canvas, content=content, regions=[region], temporal_target=temporal_target)
    elsewhere = judged(
        network, tiles, soft_picture(50, 45, 1), content=content, regions=[region], temporal_target=temporal_target
    )
    assert found.total < 1e-8 * elsewhere.total
    assert found.gradient.abs().max() < 1e-4 * elsewhere.gradient.abs().max()


def test_the_canvas_is_left_alone(network: VGG):
    canvas = soft_picture(40, 45)
    before = canvas.clone()
    for tiles in pieces(40, 45, 36):
        judged(network, tiles, canvas, **parts(network, 40, 45, "gram", masked=True))
        assert torch.equal(canvas, before)
        assert not canvas.requires_grad
        assert canvas.grad is None


@pytest.mark.parametrize("side", [10_000, 44])
def test_with_nothing_to_judge_by_nothing_pulls(side: int, network: VGG):
    """As where no style's mask covers anything of a small canvas, and content and smoothness are off."""
    tiles = cut_up(50, 45, side, LAYERS, "vgg19")
    found = judged(network, tiles, soft_picture(50, 45))
    assert found.total == 0
    assert torch.equal(found.gradient, torch.zeros(1, 3, 50, 45))


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [10_000, 44])
@pytest.mark.parametrize("loss", LOSSES)
def test_masks_of_ones_are_no_masks(loss: str, side: int, network: VGG):
    given_parts, canvas = parts(network, 50, 45, loss, masked=False), soft_picture(50, 45)
    tiles, ones = cut_up(50, 45, side, LAYERS, "vgg19"), masks_for(torch.ones(50, 45), list(STYLE))
    masked = given_parts | {"regions": [region._replace(masks=ones) for region in given_parts["regions"]]}
    same(judged(network, tiles, canvas, **masked), judged(network, tiles, canvas, **given_parts))


@pytest.mark.parametrize("side", [10_000, 44])
def test_a_style_with_a_place_pulls_only_there(side: int, network: VGG):
    where = torch.zeros(60, 66)
    where[:, :20] = 1
    style = parts(network, 60, 66, "wasserstein", masked=False)["regions"][0]
    region = style._replace(masks=masks_for(where, list(STYLE)))
    tiles = cut_up(60, 66, side, LAYERS, "vgg19")
    found = judged(network, tiles, soft_picture(60, 66), regions=[region])
    assert (found.gradient[..., :20].abs().amax((0, 1, 2)) > 0).all()
    assert (found.gradient[..., 20 + 10 :] == 0).all()  # relu3_1 reaches ten pixels further


@given(height=st.integers(1, 70), width=st.integers(1, 70))
@few
def test_masks_are_means_over_what_each_place_pools(height: int, width: int):
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(height * width))
    layers = ["relu5_1", "conv1_2", "relu3_2", "relu1_1"]
    masks = masks_for(mask, layers)
    assert masks.keys() == set(layers)
    assert torch.equal(masks["relu1_1"], mask)
    for layer, found in masks.items():
        assert tuple(found.shape) == layer_size(layer, height, width)
        stride = stride_of(layer)
        if min(height, width) < stride:
            continue
        high, wide = found.shape
        blocks = mask[: high * stride, : wide * stride].double().reshape(high, stride, wide, stride)
        torch.testing.assert_close(found.double(), blocks.mean((1, 3)), rtol=1e-5, atol=1e-6)


# --- what a picture is learnt by ------------------------------------------------------------------


@given(height=st.integers(1, 80), width=st.integers(1, 80), side=st.integers(28, 60))
@few
def test_activations_of_tiles_are_those_of_the_whole(height: int, width: int, side: int, network: VGG):
    image = soft_picture(height, width)
    found = activations_of(network, cut_up(height, width, side, LAYERS, "vgg19"), image, list(LAYERS))
    wanted = network(image)
    for layer in LAYERS:
        assert tuple(found[layer].shape[2:]) == layer_size(layer, height, width)
        assert not found[layer].requires_grad
        torch.testing.assert_close(found[layer], wanted[layer], rtol=1e-4, atol=1e-5)


@given(height=st.integers(4, 80), width=st.integers(4, 80), side=st.integers(28, 60), masked=st.booleans())
@few
def test_moments_of_tiles_are_those_of_the_whole(height: int, width: int, side: int, masked: bool, network: VGG):
    image, mask = soft_picture(height, width), ramp(height, width) if masked else None
    whole, cut = pieces(height, width, side)
    ours = style_moments(network, cut, image, list(STYLE), mask)
    seen = network(image)
    for layer in STYLE:
        rows = seen[layer][0].flatten(1).double()
        weights = torch.ones(rows.shape[1]) if mask is None else masks_for(mask, [layer])[layer].flatten()
        weights = weights.double()
        wanted = (weights.sum(), rows @ weights, (rows * weights) @ rows.T)
        for moment, right in zip(ours[layer], wanted, strict=True):
            scale = max(1.0, float(right.abs().max()))
            torch.testing.assert_close(moment.double(), right, rtol=1e-4, atol=1e-5 * scale)
        one_piece = style_moments(network, whole, image, list(STYLE), mask)[layer]
        torch.testing.assert_close(ours[layer].outer, one_piece.outer, rtol=1e-4, atol=1e-4)


@given(height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=10)
def test_layer_sizes_are_the_networks(height: int, width: int):
    for layer, values in VGG(narrow_weights(), layer_names("vgg19"))(soft_picture(height, width)).items():
        assert layer_size(layer, height, width) == tuple(values.shape[2:])
