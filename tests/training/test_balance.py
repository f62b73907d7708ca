"""Referees: who may learn, as a function of the moment alone."""

from typing import Any

import pytest
import torch

from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.training.rules.balance import BALANCES, BalanceInput, always, critic_steps, skip_strong


def moment(step: int = 0, accuracy: float = 0.5) -> BalanceInput:
    return BalanceInput(step, torch.tensor(accuracy))


def test_always_lets_both_learn():
    balance = always()
    assert all(
        balance.discriminator_learns(moment(s, a)) and balance.generator_learns(moment(s, a))
        for s in (0, 1, 7)
        for a in (0.0, 1.0)
    )


def test_skip_strong_makes_the_discriminator_wait_from_the_limit_on():
    balance = skip_strong(0.75)
    answers = [balance.discriminator_learns(moment(accuracy=a)) for a in (0.0, 0.5, 0.74, 0.75, 0.9, 1.0)]
    assert answers == [True, True, True, False, False, False]
    assert all(balance.generator_learns(moment(accuracy=a)) for a in (0.0, 0.75, 1.0))
    assert balance.discriminator_learns(BalanceInput(0)) is True  # nothing known yet


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_critic_steps_lets_the_generator_learn_at_the_last_of_every_n(steps: int):
    balance = critic_steps(steps)
    learns = [balance.generator_learns(moment(step)) for step in range(3 * steps)]
    assert learns == ([False] * (steps - 1) + [True]) * 3
    assert all(balance.discriminator_learns(moment(step)) for step in range(3 * steps))


@pytest.mark.parametrize("name", BALANCES)
def test_referees_remember_nothing(name: str):
    """Whatever was asked before, in whatever order, the answer to a moment is the same."""
    numbers: dict[str, Any] = {"skip-strong": {"skip_above": 0.8}, "critic-steps": {"critic_steps": 3}}.get(name, {})
    recipe = Recipe(balance=name, **numbers)  # pyright: ignore[reportArgumentType]
    moments = [moment(step, accuracy) for step in range(7) for accuracy in (0.1, 0.8, 0.99)]
    fresh = [BALANCES[name](recipe) for _ in moments]
    alone = [(r.discriminator_learns(m), r.generator_learns(m)) for r, m in zip(fresh, moments, strict=True)]
    used = BALANCES[name](recipe)
    backwards = [(used.discriminator_learns(m), used.generator_learns(m)) for m in reversed(moments)]
    assert backwards[::-1] == alone


def test_the_recipes_numbers_arrive_at_the_referee():
    assert (
        BALANCES["skip-strong"](Recipe(balance="skip-strong", skip_above=0.6)).discriminator_learns(
            moment(accuracy=0.65)
        )
        is False
    )
    wgan = RECIPES["wgan-gp"]
    assert [BALANCES[wgan.balance](wgan).generator_learns(moment(s)) for s in range(5)] == [False] * 4 + [True]
