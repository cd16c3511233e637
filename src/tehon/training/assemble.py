"""Where settings end: a plan becomes networks, adapters, data and functions that know nothing of settings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import trainable
from tehon.adapters.chance import Moment
from tehon.adapters.flat import FlatParameters
from tehon.adapters.kinds import Training
from tehon.adapters.restraint import Norms, limit_norms
from tehon.data.feed.store import LatentStore
from tehon.data.plan.epochs import Batch
from tehon.diffusion.draws import draw_normal, draw_times, numbers_for
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise
from tehon.families.family import Behaviour, behaviour_of
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.modules import loraplus_ratios, rate_group
from tehon.planning.plan import Plan
from tehon.settings.files import to_toml
from tehon.training.attach import Adapters, Shares, new_adapters, start_from
from tehon.training.loop import Report, train
from tehon.training.optimizers import adamw
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
    moment: Moment

    def updates(self) -> Iterator[Report]:
        """Trains from the state's step to the plan's last, with a report after each update.

        Between updates no adapter draws anything, so that whoever looks at the network then sees all of it.
        """
        limit = self.plan.settings.optimizer.max_grad_norm
        for report in train(self.state, self.plan.steps, self.plan.group, self.losses_of, self._rates, limit):
            self.moment.end()
            yield report if (norms := self._limit_norms()) is None else replace(report, norms=norms)

    def losses_of(self, epoch: int, batch: Batch) -> Tensor:
        """The loss of each sample (reads,): the squared error in the noise, at a drawn timestep of a drawn latent."""
        seed = self.plan.settings.training.seed or 0
        keys = [(epoch, read.picture, read.repeat) for read in batch.reads]
        self._begin(seed, keys)
        numbers = [read.picture for read in batch.reads]
        shape = self.store.shape(numbers[0])
        device = self.parts.alphas.device
        clean = self.store.draw(numbers, draw_normal(seed, "posterior", keys, shape).to(device))
        noise = draw_normal(seed, "noise", keys, shape).to(device)
        times = draw_times(seed, keys, len(self.parts.alphas)).to(device)
        text = self.behaviour.encode_text(self.parts, [self.plan.pictures[i].caption.text for i in numbers])
        noisy = add_noise(clean, noise, self.parts.alphas, times)
        return squared_error(self.behaviour.predict(self.parts, noisy, times, text), noise)

    def _begin(self, seed: int, keys: list[tuple[int, int, int]]) -> None:
        """Tells the adapters for which update and samples they draw; it holds until the backward is done."""
        (step,) = numbers_for(seed, "adapter step", [(self.state.step,)]).tolist()
        self.moment.begin(step, numbers_for(seed, "adapter sample", keys).to(self.parts.alphas.device))

    def _limit_norms(self) -> Norms | None:
        limit = self.plan.settings.network.scale_weight_norms
        every = [adapter for layers in self.adapters.values() for adapter in layers.values()]
        return limit_norms(every, limit) if limit else None

    def _rates(self, step: int) -> dict[str, float]:
        return {group: self.plan.rate(group, step) for group in self.state.flat.groups}


def assemble(plan: Plan) -> Trainer:
    """Loads the model, draws the adapters, encodes the pictures."""
    settings = plan.settings
    seed = settings.training.seed or 0
    device = choose_device(settings.training.device)
    behaviour = behaviour_of(plan.family)
    parts = behaviour.load(plan.model, torch.float32, device)
    pictures = [(picture.path, picture.placement) for picture in plan.pictures]
    size = settings.data.vae_batch_size
    store = LatentStore(pictures, lambda pixels: behaviour.encode_image(parts, pixels.to(device)), size)
    network, moment = settings.network, Moment()
    unit = network.unit if network.kind == "dylora" else 0
    adapters = new_adapters(
        behaviour,
        parts,
        plan.modules,
        seed=seed,
        moment=moment,
        shares=Shares(network.dropout, network.rank_dropout, network.module_dropout),
        training=Training(network.init, frozen_down=network.kind == "lora_fa", unit=unit),
    )
    if plan.start is not None:
        start_from(adapters, plan.modules, plan.start.path)
    flat = FlatParameters(_rate_groups(plan, adapters))
    state = State(flat, adamw(flat.groups, settings.optimizer.weight_decay))
    return Trainer(plan, behaviour, parts, adapters, store, state, _overlong_captions(plan, behaviour, parts), moment)


def _rate_groups(plan: Plan, adapters: Adapters) -> dict[str, list[nn.Parameter]]:
    """{name of a group: its parameters}, as the plan names those that learn at one rate."""
    ratios = loraplus_ratios(plan.settings.network, plan.family)
    found: dict[str, list[nn.Parameter]] = {}
    for module in plan.modules:
        for name, parameter in trainable(adapters[module.root][module.name]).items():
            factor = module.rate_factor(name, ratios[module.root])
            found.setdefault(rate_group(module.root, factor), []).append(parameter)
    return dict(sorted(found.items()))


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
    if plan.start is not None:
        digest.update(plan.start.path.read_bytes())
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
