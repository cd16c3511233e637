import torch
from torch import nn

from tehon.adapters.chance import Chance, Moment
from tehon.adapters.kinds import Training, build
from tehon.adapters.restraint import Restraint
from tehon.weights.cut import cut_ranks


def test_every_cut_is_what_was_trained_at_that_rank() -> None:
    """As other programs read it, with the cut file's own alpha / rank, and on what DyLoRA computed when it drew it."""
    torch.manual_seed(0)
    layer, moment = nn.Linear(12, 10).requires_grad_(False), Moment()
    shapes = {"lora_down.weight": (8, 12), "lora_up.weight": (10, 8)}
    adapter = build(layer, shapes, 4.0, Restraint(Chance(moment, "x")), Training(unit=1))
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
    rows = {"x": {name: tensor.detach() for name, tensor in adapter.tensors.items()} | {"alpha": torch.tensor(4.0)}}
    x = torch.randn(5, 12)
    seen: set[int] = set()
    for step in range(200):
        moment.begin(step, torch.tensor([1]))
        rank = adapter.drawn_rank()  # type: ignore[attr-defined]
        if rank in seen:
            continue
        seen.add(rank)
        cut = cut_ranks(rows, rank)["x"]
        assert cut["lora_down.weight"].shape == (rank, 12)
        scale = float(cut["alpha"]) / rank
        read = layer(x) + scale * (x @ cut["lora_down.weight"].T @ cut["lora_up.weight"].T)
        assert torch.allclose(adapter.forward(x), read, atol=1e-5)
    assert seen == set(range(1, 9))


def test_layers_of_a_smaller_rank_stay_whole() -> None:
    row = {"lora_down.weight": torch.randn(2, 3), "lora_up.weight": torch.randn(3, 2), "alpha": torch.tensor(1.0)}
    cut = cut_ranks({"x": row}, 4)["x"]
    assert all(torch.equal(cut[name], tensor) for name, tensor in row.items())
