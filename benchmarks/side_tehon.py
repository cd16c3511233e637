"""tehon with its defaults, from settings to the updates of the loop. `settings` are laid over what all sizes share."""

import os
import tempfile
from pathlib import Path
from typing import Any

from tehon.machine.processor import QUIET_SPINS

os.environ.setdefault("GOMP_SPINCOUNT", str(QUIET_SPINS))  # as for the command, before PyTorch is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from side import drawn, serve
from torch import Tensor

from tehon.adapters.adapter import trainable
from tehon.diffusion.noising import add_noise
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble


def weights_by_name(trainer: Trainer) -> dict[str, Tensor]:
    """The trained weights, by the layers' names in the file and their own."""
    return {
        f"{name}.{kind}": weight
        for layers in trainer.adapters.values()
        for name, adapter in layers.items()
        for kind, weight in trainable(adapter).items()
    }


class Ours:
    def __init__(self, about: dict[str, Any]) -> None:
        self.text = about["text"]
        tree: dict[str, dict[str, Any]] = {
            "model": {"path": about["model"]},
            "data": {"folder": about["pictures"], "resolution": about["side"], "batch_size": about["batch"]},
            "network": {"rank": about["rank"], "alpha": float(about["rank"])},
            "optimizer": {"name": "AdamW", "text_encoder_lr": 1e-4 if self.text else 0.0},
            "training": {"seed": 1, "device": "cpu", "max_train_steps": 100_000},
            "output": {"folder": tempfile.mkdtemp()},
        }
        for section, values in about.get("settings", {}).items():
            tree[section] = tree.get(section, {}) | values
        self.trainer = assemble(make_plan(validate(tree)))
        self.updates = self.trainer.updates()

    def step(self) -> None:
        next(self.updates).loss.item()

    def guard(self, inputs: Path, answer: Path) -> None:
        given, trainer = torch.load(inputs), self.trainer
        named = weights_by_name(trainer)
        with torch.no_grad():
            for key, weight in named.items():
                weight.copy_(drawn(key, weight))
        trainer.state.flat.gradients.zero_()
        told = trainer.texts.read([given["caption"]])
        noisy = add_noise(given["latents"], given["noise"], trainer.parts.alphas, given["times"])
        loss = F.mse_loss(trainer.behaviour.predict(trainer.parts, noisy, given["times"], told), given["noise"])
        loss.backward()
        gradients = {key: weight.grad for key, weight in named.items()}
        torch.save({"loss": loss.item(), "gradients": gradients}, answer)
        trainer.state.flat.gradients.zero_()


if __name__ == "__main__":
    serve(Ours)
