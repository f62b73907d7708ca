"""Our Adam is torch's, number for number, without torch's compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from hasama.adam import Adam


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


def test_a_step_leaves_no_trace_in_the_graph_and_gives_what_a_closure_returns():
    weight = nn.Parameter(torch.ones(2))
    adam = Adam([weight])
    weight.grad = torch.ones(2)
    assert adam.step(lambda: torch.is_grad_enabled()) is True
    assert weight.grad_fn is None


def test_a_training_does_not_load_torchs_compiler():
    code = """
import sys, torch
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.training.setup import new_game
from hasama.training.turns import play
recipe = RECIPES["r3gan"].but(size="8", width=2, batch=2)
game = new_game(build(recipe, 1), recipe)
next(play(game, [torch.zeros(2, 1, 8, 8)]))
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
