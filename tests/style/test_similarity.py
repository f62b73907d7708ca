"""Self-similarity as content loss, absolute total variation, and a start between content and noise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.perception.vgg import VGG
from hasama.style.canvas.canvas import noise
from hasama.style.canvas.pictures import from_pixels, to_canvas
from hasama.style.canvas.tiles import cut_up
from hasama.style.methods import similarity
from hasama.style.methods.losses import total_variation
from hasama.style.methods.objective import Objective, loss_and_gradient
from hasama.style.methods.similarity import SelfSimilarity, distances
from hasama.style.recipe import StyleRecipe
from hasama.style.subject import Style, Subject, first_image, network_for, objective_for
from hasama.style.transfer import repaint
from narrow_vgg import narrow_weights, soft_picture

CPU = torch.device("cpu")
LAYERS = ("relu2_1", "relu3_1")
RECIPE = StyleRecipe(
    size=64, smallest=64, content_loss="self-similarity", content_layers="relu2_1,relu3_1:2", style_layers="relu1_1",
    content_weight=1.0, tv_weight=0.0, first_iterations=25, precision="fp32", optimizer="lbfgs", plateau=0.0,
)  # fmt: skip


@given(st.integers(2, 20), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=30)
def test_the_distances_are_the_papers_in_float64(count: int, channels: int, seed: int):
    rows = torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)) + 0.5
    found = distances(rows)
    r = rows.double().numpy()
    unit = r / np.linalg.norm(r, axis=1, keepdims=True)
    apart = np.clip(1 - unit @ unit.T, 0, None)
    if apart.sum(0).min() > 1e-3:
        np.testing.assert_allclose(found.numpy(), apart / apart.sum(0), atol=1e-4)


def test_only_proportions_count():
    one = SelfSimilarity.of(torch.rand(1, 6, 5, 7), 0)
    rows = torch.rand(35, 6)
    assert one.loss(rows).item() > 0.01
    assert one.loss(3 * rows).item() == pytest.approx(one.loss(rows).item(), abs=1e-5)
    mixed = rows @ torch.linalg.qr(torch.randn(6, 6)).Q  # turned: other features, the same likeness
    assert one.loss(mixed).item() == pytest.approx(one.loss(rows).item(), abs=1e-4)


def test_the_content_itself_costs_nothing_and_every_place_is_looked_at(monkeypatch):
    activations = torch.rand(1, 6, 5, 7)
    one = SelfSimilarity.of(activations, 3)
    assert sorted(one.places.tolist()) == list(range(35))
    assert one.loss(activations[0].flatten(1).T).item() == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(similarity, "PLACES", 10)
    few, other = SelfSimilarity.of(activations, 3), SelfSimilarity.of(activations, 4)
    assert len(set(few.places.tolist())) == 10
    assert few.places.tolist() != other.places.tolist()


def objective(network: VGG, side: int, height: int, width: int) -> Objective:
    content = network(soft_picture(height, width, 3))
    likeness = {layer: (0.7, SelfSimilarity.of(content[layer], 0)) for layer in LAYERS}
    tiles = cut_up(height, width, side, network.layers, "vgg19")
    return Objective(network, tiles, {}, [], 0.5, likeness=likeness)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (75, 61), (40, 110)])
def test_tiles_make_the_same_loss_and_gradient_as_the_whole(height: int, width: int, monkeypatch):
    monkeypatch.setattr(similarity, "PLACES", 90)
    network, canvas = VGG(narrow_weights(), LAYERS), soft_picture(height, width, 4)
    whole, cut = objective(network, 10_000, height, width), objective(network, 52, height, width)
    assert len(cut.tiles) > 2
    one, other = (loss_and_gradient(goal, canvas) for goal in (whole, cut))
    assert one.layers["content relu2_1"] > 0.05
    assert one.layers == pytest.approx(other.layers, rel=1e-4)
    assert one.distances["content relu3_1"] == pytest.approx(one.layers["content relu3_1"] / 0.7)
    torch.testing.assert_close(one.gradient, other.gradient, atol=1e-3 * float(one.gradient.abs().max()), rtol=0)


def test_the_gradient_is_the_slope():
    network = VGG(narrow_weights(), LAYERS).double()
    for name, buffer in network.named_buffers():
        assert buffer.dtype == torch.float64, name
    network.precision = torch.float64
    goal, canvas, way = objective(network, 10_000, 32, 32), soft_picture(32, 32, 4), soft_picture(32, 32, 5)
    found = loss_and_gradient(goal, canvas)
    ends = [loss_and_gradient(goal, canvas + sign * 1e-3 * way).total for sign in (1, -1)]
    assert float((found.gradient * way).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.03)


def subject(recipe: StyleRecipe) -> Subject:
    contents = from_pixels(((soft_picture(64, 64, 1)[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy())
    styles = [Style(from_pixels(((soft_picture(64, 64, 2)[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy()))]
    return Subject(contents, styles, recipe, network_for(recipe, narrow_weights(), CPU), CPU, 10_000)


def test_the_likeness_is_painted_from_noise():
    one = subject(RECIPE.but(start="noise", style_weight=0.0))
    losses = [frame.losses["content"] for frame in repaint(one)]
    assert losses[-1] < 0.6 * losses[0]
    assert set(objective_for(one, 64, 64).likeness) == set(LAYERS)


# --- total variation, and the start ---------------------------------------------------------------


def test_absolute_total_variation_by_hand():
    picture = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, -1.0]]).view(1, 1, 2, 3)
    assert total_variation(picture, (0, 2, 0, 3), True).item() == pytest.approx((1 + 0 + 1 + 2) + (0 + 0 + 2))
    parts = [total_variation(picture, box, True) for box in ((0, 1, 0, 2), (0, 1, 2, 3), (1, 2, 0, 2), (1, 2, 2, 3))]
    assert sum(map(float, parts)) == pytest.approx(6)  # boxes add up


def test_absolute_total_variation_is_asked_for_by_a_flag():
    canvas = soft_picture(64, 64, 5)
    for tv in ("squared", "absolute"):
        recipe = RECIPE.but(style_weight=0.0, content_weight=1e-9, tv_weight=2.0, tv=tv)
        found = loss_and_gradient(objective_for(subject(recipe), 64, 64), canvas)
        by_hand = 2.0 / canvas.numel() * total_variation(canvas, (0, 64, 0, 64), tv == "absolute")
        assert found.losses["tv"] == pytest.approx(float(by_hand), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_start_is_so_much_noise(share: float):
    one = subject(RECIPE.but(start_noise=share))
    wanted = (1 - share) * to_canvas(one.content, 64, 64) + share * noise(64, 64, 0)
    torch.testing.assert_close(first_image(one, 64, 64), wanted, atol=1e-6, rtol=0)
