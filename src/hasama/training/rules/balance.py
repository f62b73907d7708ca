"""Balance between generator and discriminator: which of them learns at this step. A balance rule has no memory."""

from collections.abc import Callable
from typing import NamedTuple

from hasama.recipe import Recipe
from hasama.shapes import Scalar


class BalanceInput(NamedTuple):
    """What a balance rule is given: the steps before this one, and the discriminator's accuracy on this batch."""

    step: int
    accuracy: Scalar | None = None


class Balance(NamedTuple):
    """One question for each network: does it learn at this step? The answer depends on nothing but the input.

    `asks` tells whether it depends on the accuracy, for which the device must be waited for; the generator learns at
    one of `generator_every` steps.
    """

    discriminator_learns: Callable[[BalanceInput], bool]
    generator_learns: Callable[[BalanceInput], bool]
    asks: bool = False
    generator_every: int = 1


def _yes(now: BalanceInput) -> bool:
    return True


def always() -> Balance:
    """Both learn at every step: Goodfellow et al. 2014, algorithm 1 with k = 1."""
    return Balance(_yes, _yes)


def skip_strong(skip_above: float) -> Balance:
    """The discriminator waits while its accuracy on reals and fakes is `skip_above` or more."""
    return Balance(lambda now: now.accuracy is None or bool(now.accuracy < skip_above), _yes, asks=True)


def critic_steps(steps: int) -> Balance:
    """The generator learns at the last of every `steps` steps: n_critic of Arjovsky et al. 2017, algorithm 1."""
    return Balance(_yes, lambda now: now.step % steps == steps - 1, generator_every=steps)


BALANCES: dict[str, Callable[[Recipe], Balance]] = {
    "always": lambda recipe: always(),
    "skip-strong": lambda recipe: skip_strong(recipe.skip_above),
    "critic-steps": lambda recipe: critic_steps(recipe.critic_steps),
}
