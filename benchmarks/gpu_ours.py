"""tehon on a graphics card with its defaults in bf16, from settings to the updates of its loop, for `gpu.py`."""

import gc
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_models import DEVICE, MODELS, real_folder
from side import drawn
from side_tehon import weights_by_name
from sizes import pictures_folder
from torch import Tensor

from tehon.adapters.bordered import narrowed
from tehon.diffusion.noising import add_noise
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import assemble


@dataclass(frozen=True)
class Case:
    model: str
    batch: int
    rank: int = 8
    checkpointing: str = "off"

    @property
    def name(self) -> str:
        return f"{self.model}-b{self.batch}-r{self.rank}{'' if self.checkpointing == 'off' else '-checkpointing'}"


@dataclass(frozen=True)
class Batch:
    """One batch on the card, for both sides: `latents` and `noise` (n, 4, h, w), `times` (n,), what the text says."""

    latents: Tensor
    noise: Tensor
    times: Tensor
    states: Tensor
    added: dict[str, Tensor] | None


class Ours:
    def __init__(self, root: Path, case: Case, **training: Any) -> None:
        side, count = MODELS[case.model].side, 2 * case.batch
        tree: dict[str, dict[str, Any]] = {
            "model": {"path": str(real_folder(root, case.model))},
            "data": {
                "folder": str(pictures_folder(root, side, count)),
                "resolution": side,
                "batch_size": case.batch,
            },
            "network": {"rank": case.rank, "alpha": float(case.rank)},
            "optimizer": {"name": "AdamW", "text_encoder_lr": 0.0},
            "precision": {"mixed_precision": "bf16"},
            "memory": {"gradient_checkpointing": case.checkpointing},
            "training": {"seed": 1, "device": DEVICE, "epochs": 1000, **training},
            "output": {"folder": tempfile.mkdtemp()},
        }
        self.notices: list[str] = []
        self.trainer = assemble(make_plan(validate(tree)), self.notices.append)
        self.trainer.state.good.every = self.trainer.looks_every
        self.updates = self.trainer.updates()

    def step(self) -> Tensor:
        """An update; as often as in a run, the weights before it are known to be good."""
        report = next(self.updates)
        if report.step % self.trainer.looks_every == 0:
            self.trainer.state.good.confirm()
        return report.loss

    def batch(self) -> Batch:
        trainer = self.trainer
        epoch, batches = trainer.plan.group(0)
        given = trainer.step.given(epoch, batches[0])
        told = {name.removeprefix("told "): tensor for name, tensor in given.items() if name.startswith("told ")}
        added = None
        if "pooled" in told:
            added = {"text_embeds": told["pooled"], "time_ids": told["frame"].to(told["pooled"].dtype)}
        return Batch(given["clean"], given["noise"], given["times"], told["states"], added)

    def guard(self, batch: Batch) -> tuple[float, Mapping[str, Tensor]]:
        """Loss and gradients with drawn weights; the weights stay drawn."""
        trainer = self.trainer
        named = weights_by_name(trainer)
        with torch.no_grad():
            for key, weight in named.items():
                weight.copy_(drawn(key, weight.cpu()))
        flat = trainer.state.flat
        flat.gradients.zero_()
        told = {"states": batch.states}
        if batch.added is not None:
            told |= {"pooled": batch.added["text_embeds"], "frame": batch.added["time_ids"]}
        with narrowed(flat):
            noisy = add_noise(batch.latents, batch.noise, trainer.parts.alphas, batch.times)
            loss = F.mse_loss(trainer.behaviour.predict(trainer.parts, noisy, batch.times, told), batch.noise)
            loss.backward()
        found = {key: weight.grad.flatten().clone() for key, weight in named.items() if weight.grad is not None}
        flat.gradients.zero_()
        return float(loss), found


@contextmanager
def ours(root: Path, case: Case, **training: Any) -> Generator[Ours, None, None]:
    """tehon, gone from the card after the block."""
    one = Ours(root, case, **training)
    try:
        yield one
    finally:
        one.updates.close()
        one.__dict__.clear()
        clear()


def clear() -> None:
    """Gives back what nobody uses any more, and forgets peaks."""
    gc.collect()
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def seconds(step: Any, count: int) -> float:
    """Seconds of a step, the mean of so many without a pause."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def measured(root: Path, case: Case) -> dict[str, Any]:
    """The figures of a case: seconds a step, of the first one, of the one that is captured; and memory."""
    clear()
    before = torch.cuda.memory_allocated()
    with ours(root, case) as one:
        first, captured = seconds(one.step, 1), seconds(one.step, 1)
        count = max(2, min(20, round(0.5 / seconds(one.step, 1))))
        rounds = [seconds(one.step, count) for _ in range(3)]
        return {
            "case": case.name,
            "seconds": sorted(rounds)[1],
            "rounds": rounds,
            "first_step": first,
            "captured_step": captured,
            "weights_bytes": torch.cuda.memory_allocated() - before,
            "peak_bytes": torch.cuda.max_memory_reserved(),
            "steady_bytes": torch.cuda.memory_reserved(),
            "most_in_use_bytes": torch.cuda.max_memory_allocated(),
            "left_before": before,
            "notices": one.notices,
        }
