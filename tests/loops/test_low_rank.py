"""A LoRA's products as loops, against exact values in 64 bits."""

import pytest
import torch
from torch import Tensor, nn

from tehon.adapters import by_loops, fused
from tehon.adapters.adapter import trainable
from tehon.adapters.flat import FlatParameters
from tehon.adapters.lora import Lora

SCALE = 0.7
SHAPES = [(1, 4, 3, 5), (16, 8, 64, 64), (77, 8, 40, 96), (1003, 12, 33, 17), (130, 16, 2560, 48), (64, 4, 320, 2560)]


def drawn(rows: int, rank: int, wide: int, high: int) -> list[Tensor]:
    """x, A, B, the gradient of the output, and what is there already of output and gradients."""
    generator = torch.Generator().manual_seed(rows)
    sizes = [(rows, wide), (rank, wide), (high, rank), (rows, high)]
    sizes += [(rows, high), (rows, wide), (rank, wide), (high, rank)]
    return [torch.randn(size, generator=generator) for size in sizes]


def by_sums(x: Tensor, down: Tensor, up: Tensor, pull: Tensor, *there: Tensor) -> list[Tensor]:
    x, down, up, pull = (one.double() for one in (x, down, up, pull))
    h, dh = x @ down.t(), pull @ up
    changes = [h @ up.t(), dh @ down, dh.t() @ x, pull.t() @ h]
    return [h, *(one.double() + SCALE * change for one, change in zip(there, changes, strict=True))]


def by_ours(x: Tensor, down: Tensor, up: Tensor, pull: Tensor, *there: Tensor) -> list[Tensor]:
    out, *to = (one.clone() for one in there)
    h = by_loops.add_change(x, down, up, SCALE, out)
    by_loops.add_gradients(x, down, up, SCALE, h, pull, (to[0], to[1], to[2]))
    return [h, out, *to]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_added_to_output_and_gradients(shape: tuple[int, int, int, int]) -> None:
    given = drawn(*shape)
    for ours, exact in zip(by_ours(*given), by_sums(*given), strict=True):
        assert (ours - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_threads_gives_the_same_bits(
    shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_loops, "_ALONE", 0)
    given, found = drawn(*shape), dict[int, list[Tensor]]()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = by_ours(*given)
    finally:
        torch.set_num_threads(before)
    for threads in (2, 3):
        assert all(torch.equal(one, other) for one, other in zip(found[1], found[threads], strict=True))


def test_what_is_not_finite_stays_in_its_row() -> None:
    x, *others = drawn(40, 8, 24, 24)
    x[17, 3] = torch.nan
    h, out, to_x, to_down, _ = by_ours(x, *others)
    assert h.isnan().any(1).nonzero().flatten().tolist() == [17]
    assert out.isnan().any(1).nonzero().flatten().tolist() == [17]
    assert not to_x.isnan().any()
    assert to_down.isnan().any(0).nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize(
    ("rank", "width", "dtype", "loops"),
    [
        (8, 48, torch.float32, True),
        (6, 48, torch.float32, False),
        (32, 48, torch.float32, False),
        (8, 2576, torch.float32, False),
        (8, 48, torch.bfloat16, False),
    ],
)
def test_loops_are_used_where_they_have_room_and_are_faster(
    rank: int, width: int, dtype: torch.dtype, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    for name in ("add_change", "add_gradients"):
        plain = getattr(by_loops, name)
        monkeypatch.setattr(by_loops, name, lambda *given, name=name, plain=plain: used.append(name) or plain(*given))
    layer = nn.Linear(width, 40).to(dtype).requires_grad_(False)
    adapter = Lora(layer, {"lora_down.weight": (rank, width), "lora_up.weight": (40, rank)}, 4.0)
    adapter.initialise(torch.Generator().manual_seed(1))
    FlatParameters({"one": list(trainable(adapter).values())})
    x = torch.randn(3, width, dtype=dtype, requires_grad=True)
    adapter.forward(x).sum().backward()
    assert used == (["add_change", "add_gradients"] if loops else [])
    assert fused.Branch(layer, adapter.down, adapter.up).looped == (loops or dtype != torch.float32)
