"""Where settings end: a plan becomes networks, adapters, data and functions that know nothing of settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from tehon.adapters.flat import FlatParameters
from tehon.data.feed.store import LatentStore
from tehon.data.plan.epochs import Batch
from tehon.diffusion.draws import draw_normal, draw_times
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise
from tehon.families.family import Behaviour, behaviour_of
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.settings.files import to_toml
from tehon.training.attach import Adapters, new_adapters
from tehon.training.loop import Report, train
from tehon.training.optimizers import AdamW
from tehon.training.state import State


@dataclass
class Trainer:
    """A run ready to go: everything is loaded, drawn and encoded."""

    plan: Plan
    behaviour: Behaviour
    parts: Any
    adapters: Adapters
    store: LatentStore
    state: State
    notices: list[str]

    def updates(self) -> Iterator[Report]:
        """Trains from the state's step to the plan's last, with a report after each update."""
        limit = self.plan.settings.optimizer.max_grad_norm
        return train(self.state, self.plan.steps, self.plan.group, self.losses_of, self._rates, limit)

    def losses_of(self, epoch: int, batch: Batch) -> Tensor:
        """The loss of each sample (reads,): the squared error in the noise, at a drawn timestep of a drawn latent."""
        seed = self.plan.settings.training.seed or 0
        keys = [(epoch, read.picture, read.repeat) for read in batch.reads]
        numbers = [read.picture for read in batch.reads]
        shape = self.store.shape(numbers[0])
        device = self.parts.alphas.device
        clean = self.store.draw(numbers, draw_normal(seed, "posterior", keys, shape).to(device))
        noise = draw_normal(seed, "noise", keys, shape).to(device)
        times = draw_times(seed, keys, len(self.parts.alphas)).to(device)
        text = self.behaviour.encode_text(self.parts, [self.plan.pictures[i].caption.text for i in numbers])
        noisy = add_noise(clean, noise, self.parts.alphas, times)
        return squared_error(self.behaviour.predict(self.parts, noisy, times, text), noise)

    def _rates(self, step: int) -> dict[str, float]:
        return {root: self.plan.rate(root, step) for root in self.adapters}


def assemble(plan: Plan) -> Trainer:
    """Loads the model, draws the adapters, encodes the pictures."""
    settings = plan.settings
    seed = settings.training.seed or 0
    device = choose_device(settings.training.device)
    behaviour = behaviour_of(plan.family)
    parts = behaviour.load(plan.model, torch.float32, device)
    pictures = [(picture.path, picture.placement) for picture in plan.pictures]
    size = settings.feed.vae_batch_size
    store = LatentStore(pictures, lambda pixels: behaviour.encode_image(parts, pixels.to(device)), size)
    network = settings.network
    adapters = new_adapters(behaviour, parts, list(plan.base_rates), rank=network.rank, alpha=network.alpha, seed=seed)
    flat = FlatParameters(
        {
            prefix: [parameter for adapter in layers.values() for parameter in adapter.parameters().values()]
            for prefix, layers in adapters.items()
        }
    )
    state = State(flat, AdamW(flat.groups, settings.optimizer.weight_decay))
    return Trainer(plan, behaviour, parts, adapters, store, state, _overlong_captions(plan, behaviour, parts))


def choose_device(wanted: str) -> torch.device:
    """The device by its setting; a Problem when this machine has none of that kind."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[wanted]:
        raise Problem("device_missing", field="training.device", device=wanted)
    return torch.device(wanted)


def fingerprint(plan: Plan) -> str:
    """A digest of all that a saved state depends on: settings, the pictures' contents, places and captions, and the
    model (of each of its weight files the size and the first MiB)."""
    digest = blake2b(to_toml(plan.settings).encode(), digest_size=16)
    for file in sorted(plan.model.rglob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(f"{file.relative_to(plan.model)} {file.stat().st_size}".encode() + stream.read(1 << 20))
    for picture in plan.pictures:
        digest.update(f"{picture.path.name} {picture.placement} {picture.caption.text}".encode())
        digest.update(picture.path.read_bytes())
    return digest.hexdigest()


def _overlong_captions(plan: Plan, behaviour: Behaviour, parts: Any) -> list[str]:
    found: list[str] = []
    for picture in plan.pictures:
        cut = behaviour.overlong(parts, picture.caption.text)
        if cut:
            found.append(say("notice.caption_cut", name=picture.path.name, count=cut, limit=plan.family.token_limit))
    return found
