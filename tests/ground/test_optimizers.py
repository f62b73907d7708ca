"""Our optimizers are torch's, number for number, without torch's compiler."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn, optim

from hasama.optimizers import SGD, Adam


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
