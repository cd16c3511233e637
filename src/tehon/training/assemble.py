"""Where settings end: a plan becomes networks, adapters, data and functions that know nothing of settings."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from tehon.adapters.adapter import trainable
from tehon.adapters.chance import Moment
from tehon.adapters.dylora import share_used
from tehon.adapters.flat import FlatParameters
from tehon.adapters.kinds import Training
from tehon.adapters.lora import Lora
from tehon.adapters.restraint import Norms, limit_norms
from tehon.catalog.activations import MOST_TRANSFORMED
from tehon.data.feed.latents import LatentSource
from tehon.data.feed.texts import TextSource
from tehon.data.plan.epochs import Batch
from tehon.diffusion.draws import Key, numbers_for
from tehon.families.attention import choose_attention
from tehon.families.family import Behaviour, behaviour_of
from tehon.frozen.convolution import freeze_convolutions
from tehon.frozen.encoder import make_quick
from tehon.frozen.lean import make_lean
from tehon.frozen.linear import freeze_linears
from tehon.loops.kept import must_compile
from tehon.machine.transfer import to_device
from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem
from tehon.planning.memory import recomputed, stored
from tehon.planning.modules import decays, loraplus_ratios, rate_group
from tehon.planning.plan import Plan
from tehon.settings.objective import ObjectiveSettings
from tehon.training.attach import (
    Adapters,
    Shares,
    join,
    kept_tensors,
    merge_file,
    new_adapters,
    settle_ranks,
    start_from,
)
from tehon.training.average import Average, averaged
from tehon.training.capture import Graphs, Plainly, Runner
from tehon.training.checkpointing import compute_again
from tehon.training.device import choose_device, computing
from tehon.training.learning import Learning
from tehon.training.loop import Report, Share, train
from tehon.training.objective import Judgement, Noise, Times
from tehon.training.optimizers import build_optimizer, in_use
from tehon.training.prediction import predicted
from tehon.training.process_group import Alone, ProcessGroup, own_share
from tehon.training.readings import held_out, upcoming, view_of
from tehon.training.scaling import LossScale
from tehon.training.sources import Progress, latent_source, needed_by, text_encoder, text_source
from tehon.training.state import State
from tehon.training.step import Step
from tehon.training.validation import Validation

_LOOKS_EVERY = 10


@dataclass(kw_only=True)
class Trainer:
    """A run ready to go: everything is loaded, drawn and encoded."""

    plan: Plan
    behaviour: Behaviour
    parts: Any
    adapters: Adapters
    latents: LatentSource
    texts: TextSource
    step: Step
    state: State
    moment: Moment
    validation: Validation
    needed: frozenset[str]
    """The networks that updates use."""

    learning: Learning
    attention: str
    """How attention is computed: as the settings say, or as found the fastest."""

    peers: ProcessGroup = field(default_factory=Alone)

    @property
    def looks_every(self) -> int:
        """After how many updates somebody looks at losses and asks whether to stop: seldom on a device that would have
        to be waited for."""
        return 1 if self.state.device.type == "cpu" else _LOOKS_EVERY

    def asks(self, step: int) -> bool:
        """Whether several processes ask each other after this update whether to stop; one alone always asks itself."""
        return self.peers.count == 1 or step % self.looks_every == 0

    @contextmanager
    def letting_go(self) -> Generator[None, None, None]:
        """What is loaded within, to draw or to measure, is let go at the end unless the updates use it."""
        try:
            yield
        finally:
            self.parts.release_but(self.needed)

    def updates(self) -> Iterator[Report]:
        """Trains from the state's step to the plan's last, with a report after each update.

        Between updates no adapter draws anything, so that whoever looks at the network then sees all of it.
        """
        limit = self.plan.settings.optimizer.max_grad_norm
        share: Share = partial(own_share, self.peers, self.plan.processes)
        self.latents.expect(partial(upcoming, self.plan, share, self.state.step))
        steps, learn, add_up = self.plan.steps, self.learning.learn, self.peers.add_up
        try:
            for report in train(self.state, steps, self._group, share, learn, add_up, self._rates, limit):
                self.moment.end()
                settle_ranks(self.adapters, report.step, self.plan.steps, not report.skipped, self.peers)
                norms = self._limit_norms()
                if self.state.average is not None and not report.skipped:
                    self.state.average.follow(self.state.flat.weights, report.step, self.state.flat.frozen)
                if self.state.settle():
                    self.learning.runner.forget()
                yield report if norms is None else replace(report, norms=norms)
        finally:
            self.latents.close()

    @contextmanager
    def in_use(self) -> Generator[None, None, None]:
        """While it lasts, the network has the weights to use, which are not those to train where the optimizer needs no
        schedule or an average is made. Whoever measures, draws or saves the LoRA does it within."""
        with in_use(self.state.optimizer, self.state.flat), averaged(self.state.average, self.state.flat):
            yield

    def _group(self, step: int) -> tuple[int, Sequence[Batch]]:
        self.texts.prepare(step)
        return self.plan.group(step)

    def _limit_norms(self) -> Norms | None:
        limit = self.plan.settings.network.scale_weight_norms
        # What has ended was limited with its last update, and once more might round.
        learning = (root for root in self.adapters if not (self.plan.is_text(root) and self._without_text))
        every = [adapter for root in learning for adapter in self.adapters[root].values()]
        return limit_norms(every, limit) if limit else None

    @property
    def _without_text(self) -> bool:
        """Whether the update at hand came after the end of the text encoders' training."""
        return self.state.step > self.plan.text_steps

    def _rates(self, step: int) -> dict[str, float]:
        return {group: self.plan.rate(group, step) for group in self.state.flat.groups}


def _begin(moment: Moment, state: State, plan: Plan, device: torch.device, keys: Sequence[Key]) -> None:
    """Tells the adapters for which update and samples they draw; it holds until the backward is done."""
    (step,) = numbers_for(plan.seed, "adapter step", [(state.step,)]).tolist()
    samples = to_device(numbers_for(plan.seed, "adapter sample", keys), device)
    moment.begin(step, samples, share=share_used(state.step, plan.steps))


def assemble(
    plan: Plan,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, total: False,
    peers: ProcessGroup | None = None,
) -> Trainer:
    """Loads the model, draws the adapters, encodes the pictures; of these each of several processes does a share."""
    peers = peers or Alone()
    settings = plan.settings
    device, dtype = choose_device(settings.training.device), computing(settings.precision.mixed_precision)
    runner = _runner(plan, device, notice)
    behaviour = behaviour_of(plan.family)
    parts = _loaded(plan, behaviour, dtype, device, notice)
    latents = latent_source(plan, behaviour, parts, device, notice, progress, peers)
    encode, moment = text_encoder(plan, behaviour, parts), Moment()
    texts = text_source(plan, behaviour, parts, encode, moment, notice)
    needed = needed_by(plan, texts)
    parts.release_but(needed)
    attention = choose_attention(settings.memory.attention, device, dtype)
    if device.type == "cpu" and dtype == torch.float32 and must_compile():
        notice(say("notice.compiling_loops"))
    behaviour.use_attention(parts, attention)
    adapters = _joined(plan, behaviour, parts, moment)
    state = _state(plan, adapters, dtype)
    for adapter in (adapter for layers in adapters.values() for adapter in layers.values()):
        if isinstance(adapter, Lora):
            adapter.compute_narrow(state.flat.narrow)
    parts.release_but(needed)  # and what has been moved
    step = _step(plan, behaviour, parts, latents, texts, partial(_begin, moment, state, plan, device))
    masked = settings.objective.masked_loss
    validation = Validation(behaviour, parts, latents, encode, held_out(plan), plan.seed, masked, plan.model.prediction)
    _check_prediction(plan, step, notice)
    return Trainer(
        plan=plan,
        behaviour=behaviour,
        parts=parts,
        adapters=adapters,
        latents=latents,
        texts=texts,
        step=step,
        state=state,
        moment=moment,
        validation=validation,
        needed=needed,
        learning=Learning(step, state, runner),
        attention=attention,
        peers=peers,
    )


def _step(
    plan: Plan,
    behaviour: Behaviour,
    parts: Any,
    latents: LatentSource,
    texts: TextSource,
    begin: Callable[[Sequence[Key]], None],
) -> Step:
    """What makes the losses of a batch, with the objective that the settings ask for."""
    own = plan.settings.objective
    noise, times, judgement = build_objective(own)
    return Step(
        behaviour=behaviour,
        parts=parts,
        latents=latents,
        texts=texts,
        view_of=partial(view_of, plan),
        caption_of=plan.caption,
        weights=[own.prior_loss_weight if picture.is_reg else 1.0 for picture in plan.pictures],
        seed=plan.seed,
        masked=own.masked_loss,
        begin=begin,
        noise=noise,
        times=times,
        judgement=judgement,
        objective=plan.model.prediction,
    )


def _loaded(plan: Plan, behaviour: Behaviour, dtype: torch.dtype, device: torch.device, notice: Notice) -> Any:
    """The model, whose networks come when they are asked for and are then made ready for this device."""
    parts = behaviour.load(plan.model, dtype, device, stored(plan))
    if device.type == "cpu" and dtype != torch.float32:
        notice(say("notice.half_on_cpu", precision=plan.settings.precision.mixed_precision))
    for base in plan.base_weights:
        parts.when_loaded.append(partial(merge_file, behaviour, base.path, base.strength))
    if device.type == "cpu" and dtype == torch.float32 and not stored(plan):
        parts.when_loaded.append(_freeze)
    if device.type == "cuda":
        parts.when_loaded.append(_lean)
    return parts


def _joined(plan: Plan, behaviour: Behaviour, parts: Any, moment: Moment) -> Adapters:
    """New adapters in their places, with the weights that training starts from."""
    network = plan.settings.network
    unit = network.unit if network.kind == "dylora" else 0
    adapters = new_adapters(
        behaviour,
        parts,
        plan.modules,
        seed=plan.seed,
        moment=moment,
        shares=Shares(network.dropout, network.rank_dropout, network.module_dropout),
        training=Training(network.init, frozen_down=network.kind == "lora_fa", unit=unit),
    )
    join(parts.unet, adapters)
    for root, paths in recomputed(plan).items():
        compute_again(behaviour.roots(parts, [root])[root], paths)
    if plan.start is not None:
        start_from(adapters, plan.modules, plan.start.path)
    return adapters


def _freeze(part: str, network: nn.Module) -> None:
    """Lets layers and blocks compute as what is frozen can on a CPU."""
    freeze_linears(network)
    if part == "unet":
        freeze_convolutions(network, MOST_TRANSFORMED)
        make_lean(network)
    if part == "vae":
        make_quick(network.get_submodule("encoder"), MOST_TRANSFORMED)


def _lean(part: str, network: nn.Module) -> None:
    """The same on a graphics card, where the library's convolutions are the fastest; they keep nothing."""
    if part == "unet":
        unet: Any = network
        unet.to(memory_format=torch.channels_last)
        freeze_convolutions(network, 0)
        make_lean(network)


def _runner(plan: Plan, device: torch.device, notice: Notice) -> Runner:
    """Who computes the batches: graphs on a graphics card, unless they are switched off or an adapter draws anew."""
    wanted, network = plan.settings.training.cuda_graphs, plan.settings.network
    if wanted == "on" and device.type != "cuda":
        raise Problem("graphs_device", field="training.cuda_graphs", device=device.type)
    if wanted == "off" or device.type != "cuda":
        return Plainly()
    if network.kind == "dylora" or network.dropout or network.rank_dropout or network.module_dropout:
        if wanted == "on":
            raise Problem("graphs_drawn", field="training.cuda_graphs")
        notice(say("notice.drawn_not_captured"))
        return Plainly()
    return Graphs(device, notice, must=wanted == "on")


def _check_prediction(plan: Plan, step: Step, notice: Notice) -> None:
    """Asks the network what it predicts when its file does not say it. Against a setting there is a notice, as somebody
    may want a network to learn the other way."""
    model = plan.model
    if model.told_by == "file":
        return
    epoch, batches = plan.group(0)
    found = predicted(step, epoch, batches[0])
    if found in (None, model.prediction):
        return
    if model.told_by != "setting":
        raise Problem("prediction_measured", field="model.prediction", path=model.path, found=found)
    notice(say("notice.prediction_measured", path=model.path, found=found, given=model.prediction))


def build_objective(settings: ObjectiveSettings) -> tuple[Noise, Times, Judgement]:
    """Noise, timesteps and loss as the settings say."""
    noise = Noise(
        offset=settings.noise_offset,
        offset_random=settings.noise_offset_random_strength,
        adaptive=settings.adaptive_noise_scale,
        levels=settings.multires_noise_iterations,
        discount=settings.multires_noise_discount,
        perturbation=settings.ip_noise_gamma,
        perturbation_random=settings.ip_noise_gamma_random_strength,
    )
    times = Times(
        low=settings.min_timestep,
        high=settings.max_timestep,
        sampling=settings.timestep_sampling,
        mean=settings.logit_mean,
        spread=settings.logit_std,
        stratified=settings.stratified_timesteps,
    )
    judgement = Judgement(
        kind=settings.loss_type,
        threshold=settings.huber_schedule,
        base=settings.huber_c,
        scale=settings.huber_scale,
        min_snr=settings.min_snr_gamma,
        debiased=settings.debiased_estimation_loss,
        v_like=settings.v_pred_like_loss,
        v_scaled=settings.scale_v_pred_loss_like_noise_pred,
    )
    return noise, times, judgement


def _state(plan: Plan, adapters: Adapters, computed: torch.dtype) -> State:
    """What changes while the run trains, before its first update."""
    precision, decay = plan.settings.precision, plan.settings.training.ema_decay
    flat = FlatParameters(_rate_groups(plan, adapters), computed if precision.full else torch.float32)
    flat.compute_in(computed)
    spared = [name for name in flat.groups if not decays(name)]
    chosen = plan.optimizer
    return State(
        flat,
        build_optimizer(chosen.name, chosen.arguments, flat, spared),
        arguments=tuple(chosen.arguments),
        kept=kept_tensors(adapters),
        endings={name: plan.text_steps for name in flat.groups if plan.is_text(name) and plan.text_steps < plan.steps},
        scale=LossScale() if computed == torch.float16 else None,
        average=Average(flat.weights, decay) if decay else None,
    )


def _rate_groups(plan: Plan, adapters: Adapters) -> dict[str, list[nn.Parameter]]:
    """{name of a group: its parameters}, as the plan names those that learn at one rate."""
    ratios = loraplus_ratios(plan.settings.network, plan.family)
    found: dict[str, list[nn.Parameter]] = {}
    for module in plan.modules:
        for name, parameter in trainable(adapters[module.root][module.name]).items():
            factor = module.rate_factor(name, ratios[module.root])
            found.setdefault(rate_group(module.root, factor, name), []).append(parameter)
    return dict(sorted(found.items()))
