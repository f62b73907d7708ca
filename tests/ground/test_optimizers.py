"""Our optimizers are torch's, number for number, without torch's compiler."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn, optim

from hasama.networks.registry import build
from hasama.optimizers import SGD, Adam, Muon, orthogonal
from hasama.presets import RECIPES
from hasama.training.setup import matrices, new_game


def after(kind: type[optim.Adam], steps: int, first: dict[str, Any] | None = None, **how: Any) -> tuple[Tensor, Any]:
    """The weights and the optimizer's state after some steps of a small network."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    adam = kind(layer.parameters(), lr=0.1, betas=(0.5, 0.9), **how)
    if first is not None:
        adam.load_state_dict(first)
    for step in range(steps):
        adam.zero_grad(set_to_none=True)
        (layer(torch.full((1, 3), 1.0 + step)) ** 2).sum().backward()
        adam.step()
    return torch.cat([p.detach().flatten() for p in layer.parameters()]), adam.state_dict()


@pytest.mark.parametrize("how", [{}, {"fused": True}, {"weight_decay": 0.1, "foreach": True}], ids=str)
def test_it_steps_as_torchs_does(how: dict[str, Any]):
    ours, theirs = after(Adam, 3, **how), after(optim.Adam, 3, **how)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(after(Adam, 2, theirs[1], **how)[0], after(optim.Adam, 2, ours[1], **how)[0])


def test_gradient_descent_is_torchs_too():
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    for weight, descent in ((ours, SGD([ours], 0.3)), (theirs, optim.SGD([theirs], 0.3))):
        for step in range(3):
            weight.grad = torch.tensor([1.0, -2.0, step])
            descent.step()
    assert torch.equal(ours, theirs)


def test_a_step_leaves_no_trace_in_the_graph_and_gives_what_a_closure_returns():
    weight = nn.Parameter(torch.ones(2))
    adam = Adam([weight])
    weight.grad = torch.ones(2)
    assert adam.step(lambda: torch.is_grad_enabled()) is True
    assert weight.grad_fn is None


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("turns", "large", "least"), [(5, 0.05, 0.6), (3, 0.3, 0.6), (3, 0.05, 0.2)])
@pytest.mark.parametrize("shape", [(5, 16, 40), (2, 40, 16), (3, 24, 24)])
def test_singular_values_come_near_one_and_directions_stay(
    shape: tuple[int, int, int], turns: int, large: float, least: float
):
    """Those of at least so much of the largest come to at least so much."""
    given = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given[0] *= 1e4  # however long it is
    turned = orthogonal(given, turns)
    left, values, right = torch.linalg.svd(given, full_matrices=False)
    seen = left.mT @ turned @ right.mT  # in the directions of the matrix that was given
    along = torch.diagonal(seen, dim1=1, dim2=2)
    torch.testing.assert_close(seen, torch.diag_embed(along), atol=1e-9, rtol=0)
    assert (along[values > large * values[:, :1]] > least).all()
    assert (along < 1.25).all()
    assert not orthogonal(torch.zeros(shape)).any()


def test_muon_moves_a_matrix_by_its_turned_momentum_and_all_else_as_adam_does():
    """Two steps by hand in float64: momentum 0.5, root mean square 0.8 of the rate, weight decay in the gradient."""
    draw = torch.Generator().manual_seed(2)
    first, bias = torch.randn(16, 20, generator=draw), torch.randn(16, generator=draw)
    slopes = [torch.randn(16, 20, generator=draw) for _ in range(2)]
    weight, by_muon, by_adam = (nn.Parameter(t.clone()) for t in (first, bias, bias))
    kernel = nn.Parameter(first.reshape(16, 5, 2, 2).clone())  # a convolution's: the same matrix
    how: dict[str, Any] = {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.3}
    muon, adam = Muon([weight, kernel], [by_muon], **how), Adam([by_adam], **how)
    want, momentum = first.double(), torch.zeros(16, 20, dtype=torch.float64)
    for slope in slopes:
        weight.grad, kernel.grad = slope, slope.reshape(kernel.shape)
        by_muon.grad = by_adam.grad = slope[:, 0]
        assert muon.step(lambda: 7) == 7
        adam.step()
        momentum = 0.5 * momentum + 0.5 * (slope.double() + 0.3 * want)
        left, _, right = torch.linalg.svd(momentum, full_matrices=False)
        step = orthogonal(momentum[None])[0] * 0.8 * 20**0.5
        assert torch.nn.functional.cosine_similarity(step.flatten(), (left @ right).flatten(), dim=0) > 0.97
        assert step.square().mean().sqrt() == pytest.approx(0.8, rel=0.2)
        want = want - 0.1 * step
    torch.testing.assert_close(weight.double(), want, atol=1e-4, rtol=0)
    torch.testing.assert_close(kernel.flatten(1), weight)
    assert torch.equal(by_muon, by_adam)


def test_what_has_no_gradient_stays_and_state_goes_on():
    def new() -> tuple[nn.Linear, Muon]:
        torch.manual_seed(3)
        layer = nn.Linear(16, 16)
        return layer, Muon([layer.weight], [layer.bias], lr=0.1)

    def move(layer: nn.Linear, muon: Muon, times: int) -> None:
        for _ in range(times):
            muon.zero_grad(set_to_none=True)
            layer(torch.ones(2, 16)).square().sum().backward()
            muon.step()

    straight, broken, later = new(), new(), new()
    straight[1].step()
    assert torch.equal(straight[0].weight, broken[0].weight)
    move(*straight, 4)
    move(*broken, 2)
    later[0].load_state_dict(broken[0].state_dict())
    later[1].load_state_dict(broken[1].state_dict())
    move(*later, 2)
    assert torch.equal(straight[0].weight, later[0].weight)
    assert torch.equal(straight[0].bias, later[0].bias)


def test_muon_moves_the_matrices_of_the_generators_inner_layers():
    recipe = RECIPES["vision-aided"].but(size="16", generator_optimizer="muon")
    game = new_game(build(recipe, 3), recipe)
    assert game.aid is not None
    assert not isinstance(game.optimizers.discriminator, Muon)
    assert not isinstance(game.aid.optimizer, Muon)
    optimizer, names = game.optimizers.generator, {p: name for name, p in game.pair.generator.named_parameters()}
    moved = {names[p] for group in optimizer.param_groups if group["matrices"] for p in group["params"]}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({*held}) == len(names)  # each once
    inner = "expand.weight", "shrink.weight", "ask.weight", "tell.weight", "narrow.0.weight", "scale.weight"
    assert moved == {name for name in names.values() if any(part in name for part in (*inner, "weigh.weight"))}


@pytest.mark.parametrize("architecture", ["stylegan", "dcgan", "dense"])
def test_weights_that_are_scaled_when_they_are_used_and_large_kernels_are_matrices_too(architecture: str):
    recipe = RECIPES[architecture].but(size="32", width=16, generator_optimizer="muon")
    generator = build(recipe, 3).generator
    sizes = [tuple(weight.shape) for weight in matrices(generator)]
    assert sizes
    assert min(min(size[:2]) for size in sizes) >= 16
    assert any(len(size) == 4 and size[-1] > 1 for size in sizes) == (architecture != "dense")
    known = {*generator.parameters()}
    assert all(weight in known for weight in matrices(generator))


def test_neither_training_nor_painting_loads_torchs_compiler(tmp_path: Path):
    """In one process, for its reading of torch takes longer than all the rest."""
    Image.effect_noise((24, 24), 90).convert("RGB").save(tmp_path / "a.png")
    code = """
import sys, torch
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.style.painting import stylize
from hasama.style.recipe import STYLE_RECIPES
from hasama.training.setup import new_game
from hasama.training.turns import play
recipe = RECIPES["r3gan"].but(size="8", width=2, batch=2)
game = new_game(build(recipe, 1), recipe)
next(play(game, [torch.zeros(2, 1, 8, 8)]))
assert "torch._dynamo" not in sys.modules, "training"
for optimizer in ("none", "adam", "gradient-descent"):
    recipe = STYLE_RECIPES["instant" if optimizer == "none" else "sketch"].but(size=24, optimizer=optimizer)
    next(iter(stylize("a.png", "a.png", recipe)))
    assert "torch._dynamo" not in sys.modules, optimizer
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)
