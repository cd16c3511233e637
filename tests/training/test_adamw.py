"""The flat AdamW against torch's."""

from typing import Any

import pytest
import torch
from torch import nn

from tehon.training import adamw
from tehon.training.adamw import AdamW

CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")


DEVICES = ["cpu", pytest.param("cuda", marks=CARD)]


@pytest.mark.parametrize("device", DEVICES)
def test_adamw_is_bit_for_bit_torchs_fused_one_also_after_a_save(device: str) -> None:
    torch.manual_seed(3)
    start = {"one": torch.randn(257, device=device), "two": torch.randn(64, device=device)}
    own = {name: nn.Parameter(values.clone()) for name, values in start.items()}
    theirs = {name: nn.Parameter(values.clone()) for name, values in start.items()}
    arguments: dict[str, Any] = {"lr": 0.0, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    ours = AdamW([{"params": [parameter]} for parameter in own.values()], **arguments)
    rows = [{"params": [parameter]} for parameter in theirs.values()]
    torchs = torch.optim.AdamW(rows, **arguments, fused=True)
    for step in range(30):
        for number, (name, parameter) in enumerate(theirs.items()):
            parameter.grad = torch.randn_like(parameter) * 10.0 ** (-step % 7)
            own[name].grad = parameter.grad.clone()
            ours.param_groups[number]["lr"] = torchs.param_groups[number]["lr"] = 1e-2 / (step + 1) * (number + 1)
        if step == 11:
            saved = ours.state_dict()
            ours = AdamW([{"params": [parameter]} for parameter in own.values()], **arguments)
            ours.load_state_dict(saved)
            for number, group in enumerate(ours.param_groups):
                group["lr"] = torchs.param_groups[number]["lr"]
        ours.step()
        torchs.step()
        for name, parameter in theirs.items():
            assert torch.equal(own[name], parameter)


@pytest.mark.parametrize("piece", [2**18, 50], ids=["at once", "piece by piece"])
def test_weights_of_16_bits_move_as_those_of_32(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adamw, "_PIECE", piece)
    torch.manual_seed(3)
    own = nn.Parameter(torch.randn(257).bfloat16())
    theirs = nn.Parameter(own.detach().float())
    arguments: dict[str, Any] = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    ours, torchs = AdamW([{"params": [own]}], **arguments), torch.optim.AdamW([theirs], **arguments, foreach=False)
    for step in range(12):
        own.grad = torch.randn(257).bfloat16() * 10.0 ** (-step % 5)
        theirs.grad = own.grad.float()
        with torch.no_grad():
            theirs.copy_(own)
        ours.step()
        torchs.step()
        assert torch.allclose(own.float(), theirs, rtol=2**-7, atol=2**-9)  # two roundings, of weights near zero too
