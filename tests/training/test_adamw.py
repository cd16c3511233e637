"""The flat AdamW against torch's."""

import torch
from torch import nn

from tehon.training.adamw import AdamW


def test_adamw_is_bit_for_bit_torchs_also_after_a_save() -> None:
    torch.manual_seed(3)
    start = {"one": torch.randn(257), "two": torch.randn(64)}
    own = {name: nn.Parameter(values.clone()) for name, values in start.items()}
    theirs = {name: nn.Parameter(values.clone()) for name, values in start.items()}
    arguments = {"lr": 0.0, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    ours = AdamW([{"params": [parameter]} for parameter in own.values()], **arguments)
    rows = [{"params": [parameter]} for parameter in theirs.values()]
    torchs = torch.optim.AdamW(rows, **arguments, foreach=False)
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
