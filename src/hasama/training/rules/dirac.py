"""The smallest game there is: the Dirac-GAN of Mescheder et al. 2018, section 2.1.

All data are one point, 0. The generator is one number, theta, the point that it makes; the discriminator is one
number, psi, its slope: D(x) = psi x. Where both are 0 neither wins, and that is where the game should end. In the
plane of the two numbers one sees whether it does. Objectives and penalties are the functions that train pictures.
"""

import itertools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hasama.training.rules.objectives import Objective
from hasama.training.rules.penalties import PENALTIES, between

NODES = 9
"""Of the Gauss-Hermite rule by which the mean over instance noise is taken."""

Numbers = Float[Tensor, " n"]


class Dirac(NamedTuple):
    """The rules of the game.

    Attributes:
        objective: which losses both minimise.
        penalty: a name in `PENALTIES`.
        gamma: its weight.
        noise: standard deviation of the instance noise on real and fake points (section 3.2 there).
    """

    objective: Objective
    penalty: str = "none"
    gamma: float = 1.0
    noise: float = 0.0

    def pulls(self, theta: Numbers, psi: Numbers) -> tuple[Numbers, Numbers]:
        """Where gradient descent takes both, if both move at once: minus each player's gradient at each (theta, psi).

        The discriminator's holds theta, the generator's psi.
        """
        made, slope = theta.detach().clone().requires_grad_(), psi.detach().clone().requires_grad_()
        weight, on_real, on_fake = (column[:, None] for column in self._noises().to(theta).unbind(1))
        real, fake = (slope * on_real).flatten(), (slope * (made + on_fake)).flatten()  # [noises * n]
        losses = (self.objective.discriminator(real, fake), self.objective.generator(real, fake))
        d_loss, g_loss = ((weight * loss.view(len(weight), -1)).sum(0) for loss in losses)
        if self.penalty != "none":
            d_loss = d_loss + self.gamma * self._penalty(made.detach(), slope)
        (down_made,) = torch.autograd.grad(g_loss.sum(), made, retain_graph=True)
        (down_slope,) = torch.autograd.grad(d_loss.sum(), slope)
        return -down_made, -down_slope

    def path(self, theta: float, psi: float, rate: float, steps: int, at_once: bool) -> Float[Tensor, "places 2"]:
        """(theta, psi) after each step of gradient descent.

        Args:
            theta: where the generator begins.
            psi: where the discriminator begins.
            rate: the learning rate of both.
            steps: how many.
            at_once: whether both move from where both stand; else the discriminator first, as in training.
        """
        here = torch.tensor([[theta], [psi]], dtype=torch.float64)
        seen = [here]
        for _ in range(steps):
            down, up = self.pulls(here[0], here[1])
            if at_once:
                here = torch.stack([here[0] + rate * down, here[1] + rate * up])
            else:
                slope = here[1] + rate * up
                here = torch.stack([here[0] + rate * self.pulls(here[0], slope)[0], slope])
            seen.append(here)
        return torch.stack(seen)[:, :, 0]

    def _noises(self) -> Float[Tensor, "noises 3"]:
        """A weight, noise on the real point, and noise on the fake one: their weighed mean is that over all noise."""
        if not self.noise:
            return torch.tensor([[1.0, 0.0, 0.0]])
        places, weights = np.polynomial.hermite_e.hermegauss(NODES)
        shares = list(zip(places * self.noise, weights / weights.sum(), strict=True))
        pairs = itertools.product(shares, shares)
        return torch.tensor([[w * v, x, y] for (x, w), (y, v) in pairs], dtype=torch.float64)

    def _penalty(self, made: Numbers, slope: Numbers) -> Numbers:
        """The sum of the penalties on real points at 0 and fake ones at theta: points are pictures of one pixel."""
        total = torch.zeros_like(slope)
        points = {"real": torch.zeros_like(made)[:, None, None, None], "fake": made[:, None, None, None]}
        for penalty in PENALTIES[self.penalty]:
            images = between(points["real"], points["fake"]) if penalty.on == "between" else points[penalty.on]
            assert isinstance(images, Tensor)
            images = images.detach().requires_grad_()
            total = total + penalty.cost(images, images.flatten() * slope)
        return total
