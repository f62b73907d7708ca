"""Stripes and checks of two pixels, which transposed convolutions draw where nothing should be (Odena et al. 2016,
"Deconvolution and checkerboard artifacts"): how strong they are, so that a generator can be charged for them.

Edges and lines have strong second differences, too, but do not alternate for long: only what goes on for six pixels
counts. And reals have what stripes they have: the generator pays for what is beyond those of the same batch.
"""

import torch

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
    if images.shape[dim] < GOES_ON + 2:
        return images.new_zeros(())
    bends = images.diff(n=2, dim=dim) * (LEVELS / 4)
    signs = 1 - 2 * (torch.arange(bends.shape[dim], device=images.device) % 2).to(bends.dtype)
    same = bends * (signs[:, None] if dim == 2 else signs)  # where they alternate, these have one sign
    parts = [same.narrow(dim, first, same.shape[dim] - GOES_ON + 1) for first in range(GOES_ON)]
    lowest, highest = parts[0], parts[0]
    for part in parts[1:]:
        lowest, highest = torch.minimum(lowest, part), torch.maximum(highest, part)
    return lowest.clamp(min=0).mean() - highest.clamp(max=0).mean()
