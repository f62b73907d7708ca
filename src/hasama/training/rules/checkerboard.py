"""Stripes and checks of two pixels, which transposed convolutions draw where nothing should be (Odena et al. 2016,
"Deconvolution and checkerboard artifacts"): how strong they are, so that a generator can be charged for them.

Edges and lines have strong second differences, too, but do not alternate for long: only what goes on for six pixels
counts. And reals have what stripes they have: the generator pays for what is beyond those of the same batch.
"""

import torch
from torch import Tensor

from hasama.shapes import Images, Scalar

GOES_ON = 4
"""Second differences in a row that have to alternate: those of six pixels."""
LEVELS = 127.5  # from -1 to 1 in levels of 255


def checkerboard(images: Images) -> Scalar:
    """The mean amplitude of alternations of period two, in levels of 255, along rows and along columns.

    At each place a second difference (x[i] - 2 x[i+1] + x[i+2]) / 4 is the amplitude of an alternation; it counts as
    the smallest of `GOES_ON` in a row if their signs alternate, else as 0. Pictures of less than six pixels: 0.

    Args:
        images: [N, C, H, W] in [-1, 1].
    """
    exact = images.float()
    return (_along(exact, 2) + _along(exact, 3)) / 2


def _along(images: Images, dim: int) -> Scalar:
    """The same along rows or along columns.

    The smaller of two is chosen by a product: torch's way back through a minimum takes several times as long.
    """
    if images.shape[dim] < GOES_ON + 2:
        return images.new_zeros(())
    bends = images.diff(n=2, dim=dim) * (LEVELS / 4)
    turns = 1 - 2 * (torch.arange(bends.shape[dim], device=images.device) % 2).to(bends.dtype)
    smallest = bends.abs()
    signs = bends.detach().sign() * (turns[:, None] if dim == 2 else turns)  # where they alternate, the same
    for apart in (1, 2):  # of two in a row, then of two such pairs: of `GOES_ON`
        one, other = _pairs(smallest, dim, apart)
        smallest = other + (one - other) * (one <= other).to(one.dtype)
        signs = torch.add(*_pairs(signs, dim, apart))
    return (smallest * (signs.abs() == GOES_ON).to(smallest.dtype)).mean()


def _pairs(values: Tensor, dim: int, apart: int) -> tuple[Tensor, Tensor]:
    """All that has another so far behind it, and these others."""
    count = values.shape[dim] - apart
    return values.narrow(dim, 0, count), values.narrow(dim, apart, count)
