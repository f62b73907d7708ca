"""Precision, recall, density and coverage: figures from nearest neighbours."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hasama.errors import HasamaError
from hasama.metrics.distances import Fakes, Reals

DISTANCES_AT_ONCE = 2**22
TIE = 1e-12
"""Squared distances count as equal if they differ by less than this share of the largest squared length of a feature
vector."""


# --- neighbourhoods -------------------------------------------------------------------------------


def neighbourhoods(real: Reals, fake: Fakes, k: int = 5) -> tuple[Bool[Tensor, " reals"], Int[Tensor, " fakes"]]:
    """Whether each real has a fake in its neighbourhood, and in how many reals' neighbourhoods each fake lies.

    The neighbourhood is the ball to the k-th nearest other real, its surface included (so that a fake that *is* a
    real covers it, even one of which there are more than k copies).

    Raises:
        HasamaError: no more than k reals, or no fakes.
    """
    covered, crowd = [], torch.zeros(len(fake), dtype=torch.int64)
    for inside in _in_neighbourhoods(real, fake, k):
        covered.append(inside.any(1))
        crowd += inside.sum(0)
    return torch.cat(covered), crowd


def coverage(real: Reals, fake: Fakes, k: int = 5) -> float:
    """The share of reals that have a fake in their neighbourhood: Naeem et al. 2020, eq. 8.

    As many good fakes as reals reach 1 - 1/2^k. Errors as in `neighbourhoods`.
    """
    return int(neighbourhoods(real, fake, k)[0].sum()) / len(real)


def density(real: Reals, fake: Fakes, k: int = 5) -> float:
    """The mean number of reals' neighbourhoods that a fake lies in, over k: Naeem et al. 2020, eq. 7; 1 is good.

    Errors as in `neighbourhoods`.
    """
    return int(neighbourhoods(real, fake, k)[1].sum()) / (k * len(fake))


def precision(real: Reals, fake: Fakes, k: int = 3) -> float:
    """The share of fakes that lie in some real's neighbourhood: Kynkäänniemi et al. 2019, eq. 2 and 3.

    It depends on the number of pictures: compare equal numbers. Errors as in `neighbourhoods`.
    """
    return int((neighbourhoods(real, fake, k)[1] > 0).sum()) / len(fake)


def recall(real: Reals, fake: Fakes, k: int = 3) -> float:
    """The share of reals that lie in some fake's neighbourhood: `precision` with the two exchanged.

    Raises:
        HasamaError: no more than k fakes, or no reals.
    """
    if not (1 <= k < len(fake)) or not len(real):
        raise _too_few(real, fake, k)
    return precision(fake, real, k)


def _too_few(real: Tensor, fake: Tensor, k: int) -> HasamaError:
    return HasamaError(f"Of {len(real)} real and {len(fake)} generated pictures, no {k} neighbours can be found.")


def _in_neighbourhoods(real: Tensor, fake: Tensor, k: int) -> Iterator[Tensor]:
    """Whether each fake lies in each real's ball: bool [some reals, fakes], a few reals at a time."""
    if not (1 <= k < len(real)) or not len(fake):
        raise _too_few(real, fake, k)
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre
    slack = TIE * max(_squares(real).max().item(), _squares(fake).max().item())
    for some in real.split(max(1, DISTANCES_AT_ONCE // max(len(real), len(fake)))):
        nearest = _distances(some, real).topk(k + 1, dim=1, largest=False).values  # the first of them is itself
        yield _distances(some, fake) <= nearest[:, -1:] + slack


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared, by products: |a|^2 - 2 a.b + |b|^2, ten times as fast as difference by difference.

    Equal distances come out a few last digits apart; hence `TIE`.
    """
    return torch.addmm(_squares(b), a, b.T, alpha=-2).add_(_squares(a)[:, None])


def _squares(a: Tensor) -> Tensor:
    return a.square().sum(1)
