"""Balance between the players: who may learn at this step. A referee remembers nothing."""

from collections.abc import Callable
from typing import NamedTuple

from hasama.recipe import Recipe
from hasama.shapes import Scalar


class Moment(NamedTuple):
    """What a referee is told: steps taken before this one, and the discriminator's accuracy on this batch."""

    step: int
    accuracy: Scalar | None = None


class Referee(NamedTuple):
    """One stateless question per player."""

    discriminator_learns: Callable[[Moment], bool]
    generator_learns: Callable[[Moment], bool]


def _yes(moment: Moment) -> bool:
    return True


def always() -> Referee:
    """Both learn at every step: Goodfellow et al. 2014, algorithm 1 with k = 1."""
    return Referee(_yes, _yes)


def skip_strong(strong: float) -> Referee:
    """The discriminator waits while it is right about at least the share `strong` of reals and fakes."""
    return Referee(lambda moment: moment.accuracy is None or bool(moment.accuracy < strong), _yes)


def critic_steps(steps: int) -> Referee:
    """The generator learns at the last of every `steps` steps: n_critic of Arjovsky et al. 2017, algorithm 1."""
    return Referee(_yes, lambda moment: moment.step % steps == steps - 1)


REFEREES: dict[str, Callable[[Recipe], Referee]] = {
    "always": lambda recipe: always(),
    "skip-strong": lambda recipe: skip_strong(recipe.strong),
    "critic-steps": lambda recipe: critic_steps(recipe.critic_steps),
}
