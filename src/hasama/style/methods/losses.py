"""What style transfer minimises: pure functions of features, of their moments, and of pictures."""

from collections.abc import Callable

import torch
from torch import Tensor

from hasama.shapes import Images, Scalar
from hasama.style.methods.moments import Moments
from hasama.style.methods.roots import polar_factor

Distance = Callable[[Moments], Scalar]
"""A style loss in one layer: from the canvas's moments to their distance from the target's."""

REGULAR = 1e-3
"""Of the target's mean variance, added to both covariances' diagonals: directions in which nothing varies have no
variance, and the root of none has no gradient; and what little there is, is the noise of float32 sums."""

TINY = 1e-8
"""The same for a layer that never fires at all."""

ROUNDING = 1e-6
"""Of a canvas's mean square: at least so much is added to variances that are differences in float32."""

NEIGHBOURS = ((0, 1, 2 / 3), (1, 0, 2 / 3), (1, 1, 1 / 6), (1, -1, 1 / 6))
"""(down, right, weight). The gradient of these squares is minus twice the nine-point Laplacian, which is isotropic
to fourth order, so that no direction is smoothed more than another."""


def gram_distance(target: Moments) -> Distance:
    """Mean squared difference of the Gram matrices (Gatys et al. 2016, equation 4, up to constants)."""
    wanted = target.gram

    def distance(canvas: Moments) -> Scalar:
        return (canvas.gram - wanted).square().mean()

    return distance


def wasserstein_distance(target: Moments, by_products: bool | None = None) -> Distance:
    """Squared Wasserstein-2 distance between the Gaussians with these moments, per channel.

    |m - m'|^2 + tr S + tr S' - 2 tr (S'^(1/2) S S'^(1/2))^(1/2)    (Dowson & Landau 1982, equation 4)

    Of the target's covariance S' the root is taken once. The last trace is then, on a processor, the sum of the roots
    of eigenvalues in float64; a graphics card stays in float32 and waits for nobody: see `CommonTrace`.

    Args:
        target: what is wanted.
        by_products: the card's way; None: on a card.
    """
    mean, wanted = target.mean, _covariance(target)
    one = torch.eye(len(wanted), dtype=wanted.dtype)
    regular = (REGULAR * wanted.diagonal().mean() + TINY) * one
    wanted = wanted + regular
    values, vectors = torch.linalg.eigh(wanted)
    root, spread = vectors * values.clamp(min=0).sqrt() @ vectors.T, wanted.trace()
    if by_products is None:
        by_products = mean.device.type != "cpu"
    if by_products:
        one, regular, root, spread = (each.to(mean) for each in (one, regular, root, spread))

    def distance(canvas: Moments) -> Scalar:
        if by_products:
            least = regular.maximum(ROUNDING * canvas.gram.diagonal().mean().detach() * one)
            covariance = canvas.gram - torch.outer(canvas.mean, canvas.mean) + least
            common = CommonTrace.apply(covariance, root)
        else:
            covariance = _covariance(canvas) + regular
            between = root @ covariance @ root
            common = torch.linalg.eigvalsh((between + between.T) / 2).clamp(min=TINY**2).sqrt().sum()
        apart = (covariance.trace() + spread - 2 * common).to(mean)
        return ((canvas.mean - mean).square().sum() + apart) / len(mean)

    return distance


class CommonTrace(torch.autograd.Function):
    """tr (R S R)^(1/2) by products alone, and its derivative by S.

    With S = L L^T it is the sum of the singular values of R L, which its polar factor U shows: tr U^T R L. What
    float32 loses there is the root of what it would lose of R S R. The derivative is R U L^-1 / 2, made symmetric.
    """

    @staticmethod
    def forward(ctx, covariance: Tensor, root: Tensor) -> Tensor:
        lower = torch.linalg.cholesky_ex(covariance)[0]  # which, unlike cholesky, waits for no answer
        product = root @ lower
        factor = polar_factor(product)
        slope = torch.linalg.solve_triangular(lower, root @ factor, upper=False, left=False)
        ctx.save_for_backward(slope)
        return (factor * product).sum()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * (slope + slope.T) / 4, None


def _covariance(moments: Moments) -> Tensor:
    """Roots of small eigenvalues want the digits that float64 has; on the CPU, for not every GPU has it."""
    mean = moments.mean.cpu().double()
    return moments.gram.cpu().double() - torch.outer(mean, mean)


def from_nothing(distance: Distance, like: Moments) -> float:
    """The distance of an empty layer, in which nothing fires, from the target: a unit for other distances."""
    nothing = Moments(torch.ones_like(like.mass), torch.zeros_like(like.total), torch.zeros_like(like.outer))
    return float(distance(nothing))


STYLE_LOSSES: dict[str, Callable[[Moments], Distance]] = {
    "gram": gram_distance,
    "wasserstein": wasserstein_distance,
}


def squared_error(canvas: Tensor, target: Tensor) -> Scalar:
    """Sum of squared differences (Gatys et al. 2016, equation 1, without its half)."""
    return (canvas.float() - target.float()).square().sum()


def total_variation(images: Images, box: tuple[int, int, int, int], absolute: bool = False) -> Scalar:
    """Sum of squared differences between neighbours, each pair counted where its first pixel lies inside the box.

    Pairs of boxes that tile a picture so add up to the whole picture's.

    Args:
        images: [1, C, H, W].
        box: (top, bottom, left, right) in pixels.
        absolute: sum the absolute differences to the right and below instead (the anisotropic total variation of
            Rudin, Osher & Fatemi 1992): flat areas with sharp edges, where squares blur them.
    """
    top, bottom, left, right = box
    height, width = images.shape[2:]
    whole = images.new_zeros(())
    for down, across, weight in NEIGHBOURS:
        last, begin, end = min(bottom, height - down), max(left, -across), min(right, width - across)
        first = images[:, :, top:last, begin:end]
        second = images[:, :, top + down : last + down, begin + across : end + across]
        if absolute:
            whole = whole + (first - second).abs().sum() * (abs(down) + abs(across) == 1)
        else:
            whole = whole + weight * (first - second).square().sum()
    return whole
