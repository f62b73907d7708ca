"""The losses of the two networks: pure functions of logits, one number per image.

Each objective is two functions `(real_logits [N], fake_logits [N]) -> [N]`; the caller takes the mean.
D(x) is the discriminator's logit for the image x: large for real, small for fake.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from hasama.errors import HasamaError
from hasama.shapes import Logits, PerImage

Loss = Callable[[Logits, Logits], PerImage]


def binary_discriminator(real: Logits, fake: Logits, target: float = 1.0) -> PerImage:
    """Cross-entropy with label `target` for reals and 0 for fakes: Goodfellow et al. 2014, eq. 1, negated.

    -t log s(D(x)) - (1 - t) log(1 - s(D(x))) - log(1 - s(D(G(z)))) with s the sigmoid. t < 1 is one-sided
    label smoothing, Salimans et al. 2016, section 3.4.
    """
    return target * F.softplus(-real) + (1 - target) * F.softplus(real) + F.softplus(fake)


def minimax_generator(real: Logits, fake: Logits) -> PerImage:
    """log(1 - s(D(G(z)))), which the generator minimises: Goodfellow et al. 2014, eq. 1."""
    return -F.softplus(fake)


def non_saturating_generator(real: Logits, fake: Logits) -> PerImage:
    """-log s(D(G(z))): the generator learns that its fakes are taken for real. Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake)


def least_squares_discriminator(real: Logits, fake: Logits, target: float = 1.0) -> PerImage:
    """(D(x) - t)^2 / 2 + D(G(z))^2 / 2: Mao et al. 2017, eq. 9 with a = 0, b = t."""
    return (real - target).square() / 2 + fake.square() / 2


def least_squares_generator(real: Logits, fake: Logits) -> PerImage:
    """(D(G(z)) - 1)^2 / 2: Mao et al. 2017, eq. 9 with c = 1."""
    return (fake - 1).square() / 2


def hinge_discriminator(real: Logits, fake: Logits) -> PerImage:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))): Lim and Ye 2017; Miyato et al. 2018, eq. 16."""
    return F.relu(1 - real) + F.relu(1 + fake)


def wasserstein_discriminator(real: Logits, fake: Logits) -> PerImage:
    """D(G(z)) - D(x): Arjovsky et al. 2017, eq. 2, negated. It needs a penalty (wgan-gp) to mean a distance."""
    return fake - real


def wasserstein_generator(real: Logits, fake: Logits) -> PerImage:
    """-D(G(z)): Arjovsky et al. 2017, theorem 3. With the hinge too: Miyato et al. 2018, eq. 17."""
    return -fake


def relativistic_discriminator(real: Logits, fake: Logits) -> PerImage:
    """-log s(D(x) - D(G(z))), a real against a fake: Jolicoeur-Martineau 2019, eq. 3; Huang et al. 2024, eq. 2."""
    return F.softplus(fake - real)


def relativistic_generator(real: Logits, fake: Logits) -> PerImage:
    """-log s(D(G(z)) - D(x)): real and fake exchanged. Huang et al. 2024, eq. 2."""
    return F.softplus(real - fake)


class Objective(NamedTuple):
    """The two networks' losses and what else an objective decides.

    Attributes:
        discriminator: the loss that the discriminator minimises.
        generator: the loss that the generator minimises.
        boundary: the logit between fake and real; None if only differences of logits have a meaning.
        compares: whether the generator's loss depends on the reals' logits.
    """

    discriminator: Callable[..., PerImage]
    generator: Loss
    boundary: float | None = 0.0
    compares: bool = False


OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(binary_discriminator, minimax_generator),
    "non-saturating": Objective(binary_discriminator, non_saturating_generator),
    "least-squares": Objective(least_squares_discriminator, least_squares_generator, boundary=0.5),
    "hinge": Objective(hinge_discriminator, wasserstein_generator),
    "wasserstein": Objective(wasserstein_discriminator, wasserstein_generator, boundary=None),
    "relativistic": Objective(relativistic_discriminator, relativistic_generator, boundary=None, compares=True),
}


def objective_named(name: str, label_smoothing: float = 0.0) -> Objective:
    """An objective by name; with label smoothing its target for reals is 1 less that.

    Raises:
        HasamaError: the objective has no target to smooth.
    """
    objective = OBJECTIVES[name]
    if not label_smoothing:
        return objective
    if objective.discriminator not in (binary_discriminator, least_squares_discriminator):
        raise HasamaError(f"The objective {name} has no target for reals that could be smoothed.")
    return objective._replace(discriminator=partial(objective.discriminator, target=1 - label_smoothing))


def accuracy(objective: Objective, real: Logits, fake: Logits) -> tuple[torch.Tensor, torch.Tensor]:
    """The shares of reals and of fakes [scalars, 0 to 1] that the discriminator gets right.

    Where the objective compares logits only with each other, right means: the real has the larger one.
    """
    if objective.boundary is None:
        right = (real > fake).float().mean()
        return right, right
    return (real > objective.boundary).float().mean(), (fake < objective.boundary).float().mean()
