"""Frozen convolutions: the output, and the gradient of the input alone, for which no input is kept.

On a graphics card the library computes them. What follows is for a CPU, in float32.

oneDNN brings a frozen weight into its own order at each call, forward and backward, which on the small maps in a U-Net
takes longer than the convolution; and autograd keeps the input for a weight's gradient that nobody asks for.
Here a convolution is a product of matrices on a weight that lies as it is needed, and Winograd's (`winograd.py`) on
larger maps. Which, follows from shapes and the processor, so that a resumed run computes as it did. Pictures are kept
with their channels last, in whatever order they come.

>>> freeze_convolutions(unet, most_bytes=2 * 2**30)
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from tehon.frozen.winograd import F4
from tehon.machine.pages import let_go
from tehon.machine.products import linear, onednn_is_faster, times

Way = Literal["winograd", "columns", "library"]
_FEWEST_TILES = 32  # rows of Winograd's products; with fewer, reading four times the weights takes longer
_FEWEST_WEIGHTS = 2**16  # with fewer, the library's single call is the fastest
_FEWEST_WITH_ONEDNN = 9 * 2**16  # the same where oneDNN is faster than MKL: it is what computes convolutions anyway
_MOST_ROWS = 4096  # pixels of a batch; with more, the copies of what lies under the kernels grow large


class FrozenConv2d(nn.Conv2d):
    """A Conv2d whose weight does not change while it has a transformed copy."""

    may_transform: bool = False
    transformed: Tensor | None = None
    transformed_from: int = -1
    """The version of the weight that was transformed."""

    def forward(self, input: Tensor) -> Tensor:
        return self.convolved(input, self.bias)

    def convolved(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """With another bias, or with none where somebody else adds it in a pass that is made anyway."""
        way = self.way(x)
        derived = torch.is_grad_enabled() and x.requires_grad
        if self.weight.requires_grad or (way == "library" and not derived):
            return F.conv2d(x, self.weight, bias, self.stride, _padding(self))
        if way == "library":
            return _Library.apply(x, self, bias)  # pyright: ignore[reportReturnType]
        out: Any = _Convolution.apply(x.permute(0, 2, 3, 1), self, bias, way)
        return out.permute(0, 3, 1, 2)

    def way(self, x: Tensor) -> Way:
        """How a batch of this shape is computed."""
        if x.device.type == "cuda" and _pointwise(self):
            return "columns"
        if x.dtype != torch.float32 or self.weight.dtype != torch.float32 or x.device.type != "cpu":
            return "library"
        if self.weight.numel() < _fewest_weights():
            return "library"
        if self.may_transform:
            down, right = F4.tiles(x.shape[2], x.shape[3])
            if len(x) * down * right >= _FEWEST_TILES:
                return "winograd"
        rows = len(x) * x.shape[2] * x.shape[3] // (self.stride[0] * self.stride[1])
        return "columns" if rows <= _MOST_ROWS else "library"

    def winograd_weights(self) -> Tensor:
        """The transformed weight, worked out when it is first used and after the weight has been changed."""
        if self.transformed is None or self.transformed_from != self.weight._version:
            self.transformed, self.transformed_from = F4.weights(self.weight), self.weight._version
        return self.transformed

    def matrix(self) -> Tensor:
        """The weight as (out, kernel's places * in)."""
        return self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)


def freeze_convolutions(network: nn.Module, most_bytes: int) -> None:
    """Lets the convolutions of a network compute in these ways. Transformed weights take at most so many
    bytes: those of the smallest layers, which have the largest maps."""
    layers = sorted(_plain(network.modules()), key=lambda layer: layer.weight.numel())
    for layer in layers:
        frozen: Any = layer
        frozen.__class__ = FrozenConv2d
        wide = F4.side**2 * layer.in_channels * layer.out_channels * 4
        large = layer.weight.numel() >= _fewest_weights()
        frozen.may_transform = large and _winogradable(layer) and wide <= most_bytes
        if frozen.may_transform:
            most_bytes -= wide
        before = layer.weight.data
        layer.weight.data = before.contiguous(memory_format=torch.channels_last)
        if layer.weight.data_ptr() != before.data_ptr():
            let_go(before)


def _fewest_weights() -> int:
    return _FEWEST_WITH_ONEDNN if onednn_is_faster() else _FEWEST_WEIGHTS


def _plain(modules: Iterable[nn.Module]) -> list[nn.Conv2d]:
    return [
        module
        for module in modules
        if type(module) is nn.Conv2d
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
    ]


def _winogradable(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))


def _pointwise(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))


class _Convolution(torch.autograd.Function):
    """(n, h, w, in) to (n, h', w', out), without keeping the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenConv2d, bias: Tensor | None, way: Way) -> Tensor:
        ctx.layer, ctx.way, ctx.shape = layer, way, x.shape
        if way == "winograd":
            out = F4.forward(x, layer.winograd_weights())
            return out if bias is None else out.add_(bias)
        return _by_columns(x, layer, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = grad_outputs
        if ctx.way == "winograd":
            return F4.backward(gradient, ctx.layer.winograd_weights()), None, None, None
        return _columns_back(gradient, ctx.layer, ctx.shape), None, None, None


def _by_columns(x: Tensor, layer: FrozenConv2d, bias: Tensor | None) -> Tensor:
    """The pixels under the kernel at each of its places as rows, times the weight."""
    n, height, width, channels = x.shape
    (tall, wide), (down, right), (top, left) = layer.kernel_size, layer.stride, _padding(layer)
    rows, columns = (height + 2 * top - tall) // down + 1, (width + 2 * left - wide) // right + 1
    if (tall, wide, top, left, down, right) == (1, 1, 0, 0, 1, 1):
        seen = x.reshape(-1, channels)
    else:
        framed = x.new_zeros(n, height + 2 * top, width + 2 * left, channels)
        framed[:, top : top + height, left : left + width] = x
        picture, row, column, one = framed.stride()
        shape = (n, rows, columns, tall, wide, channels)
        steps = (picture, down * row, right * column, row, column, one)
        seen = framed.as_strided(shape, steps).reshape(n * rows * columns, -1)
    out = linear(seen, layer.matrix(), bias)
    return out.view(n, rows, columns, -1)


def _columns_back(gradient: Tensor, layer: FrozenConv2d, shape: torch.Size) -> Tensor:
    """What each pixel under the kernel gets, summed up where kernels overlap."""
    n, rows, columns, _ = gradient.shape
    _, height, width, channels = shape
    (tall, wide), (down, right), (top, left) = layer.kernel_size, layer.stride, _padding(layer)
    seen = times(gradient.reshape(n * rows * columns, -1), layer.matrix())
    if (tall, wide, top, left, down, right) == (1, 1, 0, 0, 1, 1):
        return seen.view(shape)
    seen = seen.view(n, rows, columns, tall * wide, channels).unbind(3)
    framed = gradient.new_zeros(n, height + 2 * top, width + 2 * left, channels)
    picture, row, column, one = framed.stride()
    steps = (picture, down * row, right * column, one)
    for place, some in enumerate(seen):
        i, j = divmod(place, wide)
        under = framed.as_strided((n, rows, columns, channels), steps, i * row + j * column)
        under.add_(some)
    return framed[:, top : top + height, left : left + width]


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    padding: Any = layer.padding
    return padding


class _Library(torch.autograd.Function):
    """The library's convolution, of which the backward needs the input's shape alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Conv2d, bias: Tensor | None) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return F.conv2d(x, layer.weight, bias, layer.stride, _padding(layer))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        layer, (gradient,) = ctx.layer, grad_outputs
        padding: Any = layer.padding
        if gradient.device.type == "cpu":
            return conv2d_input(ctx.shape, layer.weight, gradient, layer.stride, padding), None, None
        sizes = zip(ctx.shape[2:], gradient.shape[2:], layer.kernel_size, layer.stride, padding, strict=True)
        beyond = [whole - ((part - 1) * step - 2 * edge + kernel) for whole, part, kernel, step, edge in sizes]
        # the same, without two copies of the gradient in another order
        return F.conv_transpose2d(gradient, layer.weight, None, layer.stride, padding, beyond), None, None
