"""3x3 convolutions with a fraction of the multiplications (Winograd; Lavin and Gray, arXiv 1509.09308), as a batch of
matrix products.

Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A makes m x m outputs from (m + 2) x (m + 2) inputs. A frozen layer's G g Gᵀ is worked out
once. The gradient of the input is the transpose of the whole map, so it uses the same G g Gᵀ. Pictures here are
(n, h, w, c).

>>> transformed = F4.weights(layer.weight)
>>> F4.forward(x, transformed)
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tehon.machine.products import each_times, times

_STRIP = 2**22
"""Numbers of tiles that are worked on at once, which stay in a processor's cache."""


@dataclass(frozen=True)
class Winograd:
    """F(m x m, 3 x 3): `inputs` is Bᵀ (m + 2, m + 2), `kernel` G (m + 2, 3), `outputs` Aᵀ (m, m + 2)."""

    inputs: tuple[tuple[float, ...], ...]
    kernel: tuple[tuple[float, ...], ...]
    outputs: tuple[tuple[float, ...], ...]

    @property
    def step(self) -> int:
        """m, the side of a tile of outputs."""
        return len(self.outputs)

    @property
    def side(self) -> int:
        """m + 2, the side of a tile of inputs."""
        return len(self.inputs)

    @cached_property
    def _into(self) -> Tensor:
        """Bᵀ on rows and columns of a tile, (side², side²)."""
        return _on_both(self.inputs)

    @cached_property
    def _back(self) -> Tensor:
        """Aᵀ on rows and columns, (step², side²)."""
        return _on_both(self.outputs)

    def tiles(self, height: int, width: int) -> tuple[int, int]:
        """How many tiles lie below and beside each other."""
        return -(-height // self.step), -(-width // self.step)

    def weights(self, weight: Tensor) -> Tensor:
        """G g Gᵀ in float32: (out, in, 3, 3) to (side², in, out)."""
        out, wide = weight.shape[:2]
        kernels = weight.float().permute(2, 3, 1, 0).reshape(9, -1)
        return (_on_both(self.kernel) @ kernels).view(-1, wide, out)

    def forward(self, x: Tensor, transformed: Tensor) -> Tensor:
        """The convolution with a border of zeros: (n, h, w, in) to (n, h, w, out)."""
        n, height, width, _ = x.shape
        down, right = self.tiles(height, width)
        wide, out = transformed.shape[1:]
        framed = self._framed(x, down, right)
        whole = x.new_empty(n, down, self.step, right, self.step, out)
        some = max(1, _STRIP // (self.side**2 * n * right * max(wide, out)))
        for first in range(0, down, some):
            rows = min(some, down - first)
            tiles = times(self._into, self._cut(framed, first, rows, right))
            products = each_times(tiles.view(self.side**2, -1, wide), transformed)
            made = times(self._back, products.flatten(1)).view(self.step, self.step, n, rows, right, out)
            whole[:, first : first + rows] = made.permute(2, 3, 0, 4, 1, 5)
        return whole.view(n, down * self.step, right * self.step, out)[:, :height, :width]

    def backward(self, gradient: Tensor, transformed: Tensor) -> Tensor:
        """The input's gradient from the output's: (n, h, w, out) to (n, h, w, in)."""
        n, height, width, _ = gradient.shape
        down, right = self.tiles(height, width)
        tiles = self._apart(gradient, down, right)
        products = times(self._back.T, tiles).view(self.side**2, n * down * right, -1)
        rows = each_times(products, transformed.transpose(1, 2)).flatten(1)
        return self._overlaid(times(self._into.T, rows), (n, down, right), (height, width))

    def _framed(self, x: Tensor, down: int, right: int) -> Tensor:
        """A picture in a border of zeros, which are more where its last tiles reach beyond it."""
        n, height, width, channels = x.shape
        framed = x.new_empty(n, down * self.step + 2, right * self.step + 2, channels)
        framed[:, 1 : height + 1, 1 : width + 1] = x
        for edge in (framed[:, :1], framed[:, height + 1 :], framed[:, :, :1], framed[:, :, width + 1 :]):
            edge.zero_()
        return framed

    def _cut(self, framed: Tensor, first: int, rows: int, right: int) -> Tensor:
        """Overlapping tiles (side², n tiles c) of some rows of tiles."""
        n, _, _, channels = framed.shape
        picture, row, column, one = framed.stride()
        shape = (self.side, self.side, n, rows, right, channels)
        steps = (row, column, picture, self.step * row, self.step * column, one)
        return framed.as_strided(shape, steps, first * self.step * row).reshape(self.side**2, -1)

    def _apart(self, pictures: Tensor, down: int, right: int) -> Tensor:
        """The tiles of outputs (step², n tiles c) that lie side by side."""
        n, height, width, channels = pictures.shape
        step = self.step
        if (height, width) != (down * step, right * step):
            whole = pictures.new_zeros(n, down * step, right * step, channels)
            whole[:, :height, :width] = pictures
            pictures = whole
        tiles = pictures.reshape(n, down, step, right, step, channels).permute(2, 4, 0, 1, 3, 5)
        return tiles.reshape(step**2, -1)

    def _overlaid(self, tiles: Tensor, counts: tuple[int, int, int], size: tuple[int, int]) -> Tensor:
        """The sum of overlapping tiles (side², n tiles c), without the border: what `_cut` cuts, the other way."""
        n, down, right = counts
        step = self.step
        parts = tiles.view(self.side, self.side, n, down, right, -1).permute(2, 3, 0, 4, 1, 5)
        framed = tiles.new_zeros(n, down + 1, step, right + 1, step, parts.shape[-1])
        framed[:, :down, :, :right] = parts[:, :, :step, :, :step]
        framed[:, 1:, :2, :right] += parts[:, :, step:, :, :step]
        framed[:, :down, :, 1:, :2] += parts[:, :, :step, :, step:]
        framed[:, 1:, :2, 1:, :2] += parts[:, :, step:, :, step:]
        whole = framed.view(n, (down + 1) * step, (right + 1) * step, -1)
        return whole[:, 1 : size[0] + 1, 1 : size[1] + 1]


def _on_both(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    once = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(once, once).float()


F4 = Winograd(
    inputs=(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    kernel=(
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    outputs=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)
"""A quarter of the multiplications is left, with four times the weights."""
