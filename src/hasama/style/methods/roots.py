"""Roots and polar factors of matrices by products alone: ONNX knows no eigenvalues, graphics cards are slow at them.

Newton's iteration after Schulz: a step is two or three products. Higham 2008, Functions of Matrices, equations 5.22
(the sign of a matrix), 6.3 (its root and its inverse root together) and 8.20 (its polar factor); its steps are scaled
as in Chen & Chow 2014, A stable scaling of Newton-Schulz, which halves their number.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hasama.style.methods.transport import FLOOR

SQUARED = 6
"""Times that a matrix is squared to see its largest eigenvalue: a mean of all, weighted by their 64th powers."""
SPARE = 1.06
"""By so much it may be larger than it seems: with 256 others just below it (5 %)."""
UNDECIDED = FLOOR / 20
"""How near to the floor eigenvalues are that may count as above or as below."""
CUSHION = 0.06
"""Full scaling would send the largest eigenvalue to the smallest, where rounding could turn its sign."""
NEAR = 1e-6
"""Of 1, where the smallest eigenvalue is to arrive."""
UNSEEN = 1e-6
"""Of a matrix's norm: singular values below are rounding's in float32, and their directions are not turned."""


def inverse_root(matrix: Tensor) -> Tensor:
    """The power -1/2 of a symmetric matrix [C, C]; eigenvalues below `FLOOR` of the largest count as this.

    Args:
        matrix: without negative eigenvalues but for rounding. In float32 this moves eigenvalues by some 1e-7 of the
            largest, which is a hundredth of the floor.
    """
    size = _trace(matrix)
    scaled = matrix / size
    largest = _largest(scaled) * SPARE
    root = _floored(scaled / largest, FLOOR / SPARE)
    inverse = eye = torch.eye(len(matrix), dtype=matrix.dtype)
    for factor in factors((FLOOR / SPARE) ** 0.5):
        step = torch.addmm(eye, inverse, root, beta=1.5 * factor, alpha=-0.5 * factor**3)
        root, inverse = root @ step, step @ inverse
    return inverse * (size * largest).rsqrt()


def polar_factor(matrix: Tensor) -> Tensor:
    """The orthogonal matrix U in `matrix` = U P, P symmetric and positive: the nearest one [C, C]."""
    factor = matrix / torch.linalg.matrix_norm(matrix)
    for scale in factors(UNSEEN):
        factor = torch.addmm(factor, factor, factor.T @ factor, beta=1.5 * scale, alpha=-0.5 * scale**3)
    return factor


def _largest(matrix: Tensor) -> Tensor:
    """The largest eigenvalue, from below, of a matrix whose trace is 1."""
    power = matrix
    for _ in range(SQUARED):
        power = power @ power
        power = power / _trace(power)
    return (matrix * power).sum()


def _floored(matrix: Tensor, floor: float) -> Tensor:
    """Eigenvalues x of at most 1 -> max(x, floor) = (x + floor + |x - floor|) / 2, with |y| = y sign(y)."""
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    above = matrix - floor * eye
    sign = above
    for factor in factors(UNDECIDED):
        sign = sign @ torch.addmm(eye, sign, sign, beta=1.5 * factor, alpha=-0.5 * factor**3)
    size = above @ sign
    return 0.5 * (matrix + floor * eye) + 0.25 * (size + size.T)


def factors(least: float) -> Iterator[float]:
    """What each step takes its matrix times, x -> f x (3 - f^2 x^2) / 2, until all within `least` to 1 is near 1."""
    while least < 1 - NEAR:
        aside = max(least, CUSHION)
        factor = (3 / (1 + aside + aside**2)) ** 0.5
        yield factor
        least = min(factor * x * (3 - (factor * x) ** 2) / 2 for x in (least, 1.0))


def _trace(matrix: Tensor) -> Tensor:
    return (matrix * torch.eye(len(matrix), dtype=matrix.dtype)).sum()
