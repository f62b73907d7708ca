"""Convolutions, leaky ReLUs and means that can be differentiated twice at the price of two ordinary ones.

A gradient penalty is differentiated again, through the discriminator's own gradient. PyTorch's derivative of a
convolution's derivative transposes and copies maps, and goes through grouped convolutions group by group. Here the
three bilinear maps that belong to a convolution y = x * w are three functions, each differentiated by the two others
(Dumoulin & Visin 2016, sections 2 and 4, for their arithmetic; the idea is that of Karras et al. 2020, who did so for
CUDA). The results are PyTorch's own, but for rounding; derivatives of any order are right.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {torch.conv2d: False, torch.conv_transpose2d: True}
"""What is replaced, and whether it is transposed."""


class How(NamedTuple):
    """A convolution's settings, in the order in which torch's own operators take them."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int


@contextmanager
def fast_second_derivatives(wanted: bool = True) -> Iterator[None]:
    """Inside, 2-D convolutions, transposed ones too, are differentiated twice by these functions instead of torch's.

    Args:
        wanted: False does nothing, for what is differentiated once is faster by torch alone.
    """
    if not wanted:
        yield
        return
    with _Replaced():
        yield


class _Replaced(TorchFunctionMode):
    """Catches torch's convolutions, so that the networks need not know of it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in OTHERS:
            return OTHERS[func](*args, **kwargs)
        if func not in CONVOLUTIONS:
            return func(*args, **kwargs)
        read = _transposed if CONVOLUTIONS[func] else _ordinary
        x, weight, bias, how = read(*args, **kwargs)
        if x.ndim != 4 or how is None:  # one picture without a batch; padding by name
            return func(*args, **kwargs)
        if torch.is_autocast_enabled(x.device.type):  # which does not see into these functions
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            return _Convolution.apply(*map(_no_leaf, (x, weight, bias)), how)


def _ordinary(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, How | None]:  # fmt: skip
    """The arguments of torch.conv2d."""
    how = (
        None if isinstance(padding, str) else How(_two(stride), _two(padding), _two(dilation), False, [0, 0], groups)
    )
    return input, weight, bias, how


def _transposed(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> tuple[Tensor, Tensor, Tensor | None, How]:  # fmt: skip
    """The arguments of torch.conv_transpose2d."""
    how = How(_two(stride), _two(padding), _two(dilation), True, _two(output_padding), groups)
    return input, weight, bias, how


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """The arguments of torch.nn.functional.leaky_relu."""
    return _LeakyReLU.apply(input, negative_slope, inplace)


def _avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The arguments of torch.nn.functional.avg_pool2d."""
    kernel = _two(kernel_size)
    stride = kernel if stride is None else _two(stride)
    how = (kernel, stride, _two(padding), ceil_mode, count_include_pad, divisor_override)
    ops = torch.ops.aten
    return _Means.apply(
        input, Linear(lambda x: ops.avg_pool2d(x, *how), lambda dy, x: ops.avg_pool2d_backward(dy, x, *how))
    )


def _adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The arguments of torch.nn.functional.adaptive_avg_pool2d; a side that is None stays as it is."""
    size = [now if side is None else side for side, now in zip(_two(output_size), input.shape[-2:], strict=True)]
    ops = torch.ops.aten
    return _Means.apply(input, Linear(lambda x: ops._adaptive_avg_pool2d(x, size), ops._adaptive_avg_pool2d_backward))


OTHERS = {F.leaky_relu: _leaky_relu, F.avg_pool2d: _avg_pool2d, F.adaptive_avg_pool2d: _adaptive_avg_pool2d}
"""What is replaced beside convolutions."""


def _two(value: Any) -> list[Any]:
    return [value, value] if isinstance(value, int) else list(value) * (1 if len(value) == 2 else 2)


def _no_leaf(tensor: Tensor | None) -> Tensor | None:
    """The same, as something computed: of a leaf the engine cannot tell whether its gradient is wanted."""
    return tensor.view_as(tensor) if tensor is not None and tensor.is_leaf and tensor.requires_grad else tensor


def _wanted(ctx: Any) -> list[bool]:
    """Which of a function's inputs the gradient is wanted for, in this very pass.

    `ctx.needs_input_grad` says only whether an input requires one: in a penalty's first gradient all weights do, and
    none is asked for.
    """
    return [node is not None and (_is_leaf(node) or _will_run(node)) for node, _ in ctx.next_functions]


def _is_leaf(node: Any) -> bool:
    return not node.next_functions


def _will_run(node: Any) -> bool:
    return torch._C._will_engine_execute_node(node)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A gradient in the layout of another tensor: convolutions are slow where layouts differ."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _derive(dy: Tensor, x: Tensor, weight: Tensor, bias: bool, how: How, wanted: list[bool]) -> list[Tensor | None]:
    sizes = [dy.shape[1]] if bias else None
    return list(torch.ops.aten.convolution_backward(dy, x, weight, sizes, *how, wanted))


class _Convolution(Function):
    """y = x * w + b: x [N, C, H, W], w [F, C / groups, h, w] (transposed: [C, F / groups, h, w]), b [F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: How) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.bias = how, bias is not None
        return torch.ops.aten.convolution(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight = ctx.saved_tensors
        wanted = [*_wanted(ctx), False, False][:3]
        dy = _laid_out(dy, x)
        if not torch.is_grad_enabled():  # nobody will differentiate this again: all at once
            return *_derive(dy, x, weight, ctx.bias, ctx.how, wanted), None
        return (
            _ToInput.apply(dy, weight, x, ctx.how) if wanted[0] else None,
            _ToWeight.apply(dy, x, weight, ctx.how) if wanted[1] else None,
            dy.sum((0, 2, 3)) if wanted[2] else None,
            None,
        )


class _ToInput(Function):
    """dL/dx from dL/dy and w; of x itself only the shape and the layout count."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, x: Tensor, how: How) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.how = how
        found = _derive(dy, x, weight, False, how, [True, False, False])[0]
        assert found is not None
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ddx,) = gradients
        dy, weight = ctx.saved_tensors
        wanted = _wanted(ctx)
        ddx = _laid_out(ddx, dy)
        return (
            _Convolution.apply(ddx, weight, None, ctx.how) if wanted[0] else None,
            _ToWeight.apply(dy, ddx, weight, ctx.how) if wanted[1] else None,
            None,
            None,
        )


class _ToWeight(Function):
    """dL/dw from dL/dy and x; of w itself only the shape and the layout count."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, how: How) -> Tensor:
        ctx.save_for_backward(dy, x)
        ctx.how = how
        found = _derive(dy, x, weight, False, how, [False, True, False])[1]
        assert found is not None
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ddw,) = gradients
        dy, x = ctx.saved_tensors
        wanted = _wanted(ctx)
        return (
            _Convolution.apply(x, ddw, None, ctx.how) if wanted[0] else None,
            _ToInput.apply(dy, ddw, x, ctx.how) if wanted[1] else None,
            None,
            None,
        )


class _LeakyReLU(Function):
    """max(x, slope x). Its second derivative is nothing; torch adds zeros as large as the maps instead."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, inplace: bool) -> Tensor:
        y = torch.ops.aten.leaky_relu_(x, slope) if inplace else torch.ops.aten.leaky_relu(x, slope)
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (y,) = gradients, ctx.saved_tensors
        return _Sloped.apply(dy, y.detach(), ctx.slope), None, None


class _Sloped(Function):
    """dL/dx of a leaky ReLU from dL/dy; y says where it is flat."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return torch.ops.aten.leaky_relu_backward(dy, y, slope, True)  # True: y is the result, not the input

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ddx,), (y,) = gradients, ctx.saved_tensors
        return _Sloped.apply(ddx, y, ctx.slope), None, None


class Linear(NamedTuple):
    """A linear function of maps.

    Attributes:
        down: maps -> means of places of them.
        up: its transpose: (dL/dy, maps, of which only the shape and the layout count) -> dL/dx.
    """

    down: Callable[[Tensor], Tensor]
    up: Callable[[Tensor, Tensor], Tensor]


class _Means(Function):
    """Means of places. Their second derivative is nothing; torch adds zeros as large as the maps instead, laid out
    channel after channel, so that every layer behind them mixes two layouts, at ten times its price.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, of: Linear) -> Tensor:
        ctx.save_for_backward(x)
        ctx.of = of
        return of.down(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x,) = gradients, ctx.saved_tensors
        return _Spread.apply(dy, x, ctx.of), None


class _Spread(Function):
    """dL/dx from dL/dy; of x itself only the shape and the layout count."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, of: Linear) -> Tensor:
        ctx.of = of
        return of.up(dy, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Means.apply(gradients[0], ctx.of), None, None
