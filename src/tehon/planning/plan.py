"""The plan of a run: everything that is known before the first step, worked out without torch.

>>> plan = make_plan(settings)
>>> plan.steps, plan.rate("lora_unet", 0)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from tehon.catalog.detect import find_model
from tehon.catalog.families import Family
from tehon.catalog.model import Model
from tehon.data.plan.buckets import BucketRule, Size
from tehon.data.plan.epochs import Batch, Group, Read, batches_per_epoch, epoch_batches
from tehon.data.plan.variation import Look, Source, look_at, stream_of
from tehon.data.plan.wording import worded
from tehon.messages.problem import Problem, raise_all, tried
from tehon.planning.base_weights import BaseFile, read_base_weights
from tehon.planning.intervals import Intervals
from tehon.planning.modules import (
    PlannedModule,
    check_dropout,
    check_one_rate,
    group_rates,
    loraplus_ratios,
    part_of,
    plan_modules,
)
from tehon.planning.pictures import FoundPictures, find_pictures
from tehon.planning.planned import PictureSet, PlannedPictures
from tehon.planning.prompts import PlannedSamples, plan_samples
from tehon.planning.rates import Schedule, schedule_for, text_steps
from tehon.planning.seed import with_seed_of_state
from tehon.planning.start import StartFile, check_start, fitted, modules_of_file, read_start
from tehon.planning.troubles import Troubles
from tehon.settings.optimizer_rules import OptimizerChoice, choose_optimizer
from tehon.settings.resolve import resolve
from tehon.settings.rules import broken_rules, remarks
from tehon.settings.settings import Settings


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before its first step. `settings` are the `given` ones with nothing left open; steps are updates of the
    weights, the first `text_steps` of which train the text encoders. `pictures` are those that are learned,
    `validation` those that are held out; `reg_reads` counts the regularisation pictures with their own repeats, as
    kohya's metadata does. `zero_snr_anyway`: the model's own noise ends in pure noise."""

    given: Settings
    settings: Settings
    model: Model
    pictures: PlannedPictures
    validation: PlannedPictures
    groups: tuple[Group, ...]
    reg_reads: int
    troubles: Troubles
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    steps: int
    optimizer: OptimizerChoice
    schedule: Schedule
    text_steps: int
    base_rates: dict[str, float]
    modules: tuple[PlannedModule, ...]
    start: StartFile | None
    base_weights: tuple[BaseFile, ...]
    samples: PlannedSamples
    zero_snr_anyway: bool

    @property
    def family(self) -> Family:
        return self.model.family

    @cached_property
    def group_rates(self) -> dict[str, float]:
        """{name of a group of parameters: its learning rate before the schedule}."""
        return group_rates(self.modules, self.base_rates, loraplus_ratios(self.settings.network, self.family))

    @property
    def rank_and_alpha(self) -> tuple[int, float]:
        """The settings' own; with a file's ranks, those of its strongest layer."""
        network = self.settings.network
        if not network.dim_from_weights:
            return network.rank, network.alpha
        return max(((m.rank, m.alpha) for m in self.modules), key=lambda size: size[1] / size[0])

    @property
    def measurements(self) -> Intervals | None:
        """When the loss on held-out pictures is measured, beside after the last update; None: never."""
        own = self.settings.validation
        if not self.validation or not (own.every_n_steps or own.every_n_epochs):
            return None
        return Intervals(own.every_n_steps, own.every_n_epochs, self.steps, self.steps_per_epoch)

    def measured_at(self, step: int) -> bool:
        """Whether it is measured after an update."""
        intervals = self.measurements
        return intervals is not None and (step == self.steps or intervals.due(step))

    @property
    def repeats(self) -> list[int]:
        """How often each picture is read in an epoch."""
        return self.pictures.repeats

    @cached_property
    def reads_per_epoch(self) -> int:
        return sum(self.repeats)

    @cached_property
    def sets(self) -> list[PictureSet]:
        """The sets that pictures are learned from, in their order."""
        return list({one.place: one for one in self.pictures.sets}.values())

    def rate(self, group: str, step: int) -> float:
        """The learning rate of a part, or of a group of parameters with a factor on it, at an update counted from 0."""
        if step >= self.text_steps and self.is_text(group):
            return 0.0
        return (self.base_rates | self.group_rates)[group] * self.schedule.factor(step)

    def is_text(self, group: str) -> bool:
        """Whether a part, or the part of a group of parameters, is a text encoder."""
        return part_of(group) in self.family.text_rate_roots

    @cached_property
    def text_trained(self) -> bool:
        return any(map(self.is_text, self.base_rates))

    def group(self, step: int) -> tuple[int, list[Batch]]:
        """(epoch counted from 0, the batches that make up this update)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.settings.training.gradient_accumulation_steps
        return epoch, self.epoch(epoch)[place * size : (place + 1) * size]

    def epoch(self, epoch: int) -> list[Batch]:
        """All batches of an epoch, counted from 0."""
        return _ordered(self, epoch)

    def source(self, picture: int) -> Source:
        """What is needed to read a picture, by its number."""
        return self.pictures[picture].source

    def look(self, epoch: int, read: Read) -> Look:
        """Crop, mirroring and colours of one reading."""
        placement, one = self.pictures.placements[read.picture], self.pictures.sets[read.picture]
        return look_at(placement, one.look, stream_of(self.seed, epoch, read.picture, read.repeat))

    def caption(self, epoch: int, read: Read) -> str:
        """The caption that one reading is learned with."""
        text, one = self.pictures.texts[read.picture], self.pictures.sets[read.picture]
        return worded(text, one.wording, stream_of(self.seed, epoch, read.picture, read.repeat), epoch)

    @property
    def processes(self) -> int:
        """For how many processes a batch is planned; each of them learns a share of it."""
        processes = self.settings.training.num_processes
        assert processes is not None, "a plan's settings are resolved"
        return processes

    @property
    def seed(self) -> int:
        seed = self.settings.training.seed
        assert seed is not None, "a plan's settings are resolved"
        return seed


@lru_cache(maxsize=2)
def _ordered(plan: Plan, epoch: int) -> list[Batch]:
    return epoch_batches(plan.groups, plan.repeats, plan.seed, epoch)


def make_plan(given: Settings) -> Plan:
    """The plan of a run that can start. Problems for all that can't be trained, at once."""
    plan = draft_plan(given)
    raise_all(plan.troubles.problems)
    return plan


def draft_plan(given: Settings) -> Plan:
    """A plan of what is left when the pictures that can't be learned are taken out; they are in its troubles."""
    model = find_model(**given.model.model_dump())
    settings = resolve(with_seed_of_state(given), model)
    start, modules, found = _survey(settings, model)
    zero_snr_anyway = model.zero_snr
    if settings.objective.zero_terminal_snr and not zero_snr_anyway:
        model = model.with_zero_snr()
    if all(found.pictures.is_reg):
        raise_all(found.troubles.problems or found.troubles.skipped or [_nothing_to_learn(settings, found.troubles)])
    training, rates = settings.training, settings.optimizer
    groups = _grouped(found.pictures, training.num_processes or 1)
    batches = batches_per_epoch(groups, found.pictures.repeats)
    per_epoch = -(-batches // training.gradient_accumulation_steps)
    epochs = min(training.epochs, training.max_train_epochs or training.epochs)
    steps = per_epoch * epochs
    if training.max_train_steps:
        steps = min(steps, training.max_train_steps)
    epochs = -(-steps // per_epoch)  # those that are begun, as sd-scripts counts
    base_rates, optimizer = _base_rates(settings, model.family), choose_optimizer(rates)
    own = settings.validation
    if own.stop_after and not (found.validation and (own.every_n_steps or own.every_n_epochs)):
        found.troubles.problems.append(Problem("nothing_measured", field="validation.stop_after"))
    base_rate = rates.learning_rate or max(base_rates.values())
    schedule = schedule_for(rates, steps, base_rate, optimizer.warmup_init)
    if rates.lr_warmup_steps and schedule.name == "warmup_stable_decay" and schedule.warmup + schedule.decay > steps:
        lengths = {"warmup": schedule.warmup, "decay": schedule.decay, "total": steps}
        found.troubles.problems.append(Problem("warmup_and_decay_steps", field="optimizer.lr_warmup_steps", **lengths))
    samples = plan_samples(settings, model.native_side, steps, per_epoch, found.troubles.problems)
    return Plan(
        given=given,
        settings=settings,
        model=model,
        pictures=found.pictures,
        validation=found.validation,
        groups=groups,
        reg_reads=found.reg_reads,
        troubles=found.troubles,
        batches_per_epoch=batches,
        steps_per_epoch=per_epoch,
        epochs=epochs,
        steps=steps,
        optimizer=optimizer,
        schedule=schedule,
        text_steps=text_steps(rates.stop_text_encoder_training, steps),
        base_rates=base_rates,
        modules=modules,
        start=start,
        base_weights=read_base_weights(settings.network, model),
        samples=samples,
        zero_snr_anyway=zero_snr_anyway,
    )


def _survey(settings: Settings, model: Model) -> tuple[StartFile | None, tuple[PlannedModule, ...], FoundPictures]:
    """The modules to train, with the LoRA file to start from, and the pictures. Problems for the settings, else for all
    that does not fit the model and all pictures that can't be learned, at once."""
    raise_all(broken_rules(settings), remarks(settings))
    problems = list(_unfit(settings, model))
    network = tried(problems, lambda: _network(settings, model))
    found = tried(problems, lambda: find_pictures(settings))
    if problems:
        raise_all([*problems, *(found.troubles.problems if found else [])], remarks(settings))
    assert network is not None, "without a problem there is a network"
    assert found is not None, "without a problem there are pictures"
    return *network, found


def _unfit(settings: Settings, model: Model) -> Iterator[Problem]:
    """What this model can't be trained with."""
    rates, own, path = settings.optimizer, settings.objective, settings.model.path
    if rates.text_encoder_2_lr != rates.text_encoder_lr and len(model.family.text_encoders) < 2:
        yield Problem("second_encoder_missing", field="optimizer.text_encoder_2_lr", path=path)
    if own.v_pred_like_loss and model.prediction == "v":
        yield Problem("v_like_of_v", field="objective.v_pred_like_loss", path=path)
    if own.scale_v_pred_loss_like_noise_pred and model.prediction != "v":
        yield Problem("v_scale_of_noise", field="objective.scale_v_pred_loss_like_noise_pred")
    if own.zero_terminal_snr and model.prediction != "v":
        yield Problem("zero_snr_of_noise", field="objective.zero_terminal_snr")


def _network(settings: Settings, model: Model) -> tuple[StartFile | None, tuple[PlannedModule, ...]]:
    """The LoRA file to start from, if there is one, and all modules that are trained."""
    rates = _base_rates(settings, model.family)
    start = read_start(settings.network)
    if start is not None:
        start = fitted(start, model)
    if start is not None and settings.network.dim_from_weights:
        modules = modules_of_file(start, settings, model, rates)
    else:
        modules = plan_modules(settings, model, rates)
    if start is not None:
        check_start(start, settings, modules)
    check_dropout(settings.network, modules)
    check_one_rate(settings, group_rates(modules, rates, loraplus_ratios(settings.network, model.family)))
    return start, modules


def _nothing_to_learn(settings: Settings, troubles: Troubles) -> Problem:
    if troubles.odd["held_out_elsewhere"]:
        return Problem("validation_takes_all", field="data.validation_folder")
    folder = settings.data.folder or next(table["folder"] for table in settings.data.sets if table.get("folder"))
    return Problem("folder_empty", field="data.folder", path=folder)


def _grouped(pictures: PlannedPictures, processes: int) -> tuple[Group, ...]:
    """The pictures by what may share a batch: rules in the order of their sets, then sizes. A batch is what all
    processes learn at once."""
    found: dict[tuple[BucketRule, int], dict[Size, list[int]]] = {}
    for one, placement, numbers in pictures.alike:
        found.setdefault(one.sizing, {}).setdefault(placement.bucket, []).extend(numbers)
    return tuple(
        Group(bucket, batch_size * processes, tuple(sorted(numbers)))
        for (_, batch_size), buckets in found.items()
        for bucket, numbers in sorted(buckets.items())
    )


def _base_rates(settings: Settings, family: Family) -> dict[str, float]:
    """{prefix: learning rate} of the parts that are trained; 1 where Adafactor finds it, which the schedule follows."""
    rates = settings.optimizer
    assert rates.unet_lr is not None, "a plan's settings are resolved"
    texts = (rates.text_encoder_lr, rates.text_encoder_2_lr)
    each = dict.fromkeys(family.adapter_roots, rates.unet_lr)
    each |= dict(zip(family.text_rate_roots, texts, strict=False))
    own = choose_optimizer(rates).relative
    return {root: 1.0 if own else rate for root, rate in each.items() if rate}
