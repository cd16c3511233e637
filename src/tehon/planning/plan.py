"""The plan of a run: everything that is known before the first step, worked out without torch.

>>> plan = make_plan(settings)
>>> plan.steps, plan.rate("lora_unet", 0)
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tehon.catalog.detect import detect_family, model_folder, native_side
from tehon.catalog.families import Family
from tehon.data.plan.buckets import BucketRule, Placement, Size
from tehon.data.plan.captions import Caption, find_caption
from tehon.data.plan.epochs import Batch, batches_per_epoch, epoch_batches
from tehon.data.plan.folders import PictureFolder, find_folders, ignored_children
from tehon.data.plan.images import picture_files, sizes
from tehon.messages.problem import Problem, raise_all
from tehon.planning.modules import PlannedModule, check_dropout, group_rates, loraplus_ratios, plan_modules
from tehon.planning.rates import Schedule, warmup_steps
from tehon.planning.start import StartFile, check_layers, check_start, modules_of_file, read_start
from tehon.settings.resolve import resolve
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class PlannedPicture:
    """One picture with all that the plan decides about it."""

    path: Path
    folder: PictureFolder
    size: Size
    placement: Placement
    caption: Caption


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before its first step. `settings` are the `given` ones with nothing left open; steps are updates of the
    weights."""

    given: Settings
    settings: Settings
    family: Family
    model: Path
    pictures: tuple[PlannedPicture, ...]
    ignored_folders: tuple[Path, ...]
    empty_folders: tuple[Path, ...]
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    steps: int
    schedule: Schedule
    base_rates: dict[str, float]
    modules: tuple[PlannedModule, ...]
    start: StartFile | None

    @cached_property
    def group_rates(self) -> dict[str, float]:
        """{name of a group of parameters: its learning rate before the schedule}."""
        return group_rates(self.modules, self.base_rates, loraplus_ratios(self.settings.network, self.family))

    @property
    def reads_per_epoch(self) -> int:
        return sum(picture.folder.repeats for picture in self.pictures)

    @property
    def buckets(self) -> dict[Size, list[int]]:
        """{bucket: numbers of its pictures}, sorted by size."""
        found: dict[Size, list[int]] = {}
        for number, picture in enumerate(self.pictures):
            found.setdefault(picture.placement.bucket, []).append(number)
        return dict(sorted(found.items()))

    def rate(self, group: str, step: int) -> float:
        """The learning rate of a part, or of a group of parameters with a factor on it, at an update counted from 0."""
        return (self.base_rates | self.group_rates)[group] * self.schedule.factor(step)

    def group(self, step: int) -> tuple[int, list[Batch]]:
        """(epoch counted from 0, the batches that make up this update)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.settings.training.gradient_accumulation_steps
        return epoch, self._epoch(epoch)[place * size : (place + 1) * size]

    def _epoch(self, epoch: int) -> list[Batch]:
        return _ordered(self, epoch)


@lru_cache(maxsize=2)
def _ordered(plan: Plan, epoch: int) -> list[Batch]:
    seed = plan.settings.training.seed
    assert seed is not None, "a plan's settings are resolved"
    repeats = [picture.folder.repeats for picture in plan.pictures]
    return epoch_batches(plan.buckets, repeats, plan.settings.data.batch_size, seed, epoch)


def make_plan(given: Settings) -> Plan:
    """Reads the model's and the pictures' headers and works everything out. Problems for all that can't be trained."""
    model = model_folder(given.model.path)
    family = detect_family(model)
    settings = resolve(given, native_side(model, family))
    start, modules = _network(settings, family, model)
    pictures = plan_pictures(settings)
    training, rates = settings.training, settings.optimizer
    members: dict[Size, list[int]] = {}
    for number, picture in enumerate(pictures):
        members.setdefault(picture.placement.bucket, []).append(number)
    batches = batches_per_epoch(members, [p.folder.repeats for p in pictures], settings.data.batch_size)
    per_epoch = -(-batches // training.gradient_accumulation_steps)
    epochs = min(training.epochs, training.max_train_epochs or training.epochs)
    steps = per_epoch * epochs
    if training.max_train_steps:
        steps = min(steps, training.max_train_steps)
    schedule = Schedule(
        rates.lr_scheduler,
        steps,
        warmup_steps(rates.lr_scheduler, rates.lr_warmup, steps),
        rates.lr_scheduler_num_cycles,
        rates.lr_scheduler_power,
        rates.learning_rate or max(_base_rates(settings, family).values()),
    )
    return Plan(
        given=given,
        settings=settings,
        family=family,
        model=model,
        pictures=pictures,
        ignored_folders=tuple(ignored_children(Path(settings.data.folder))),
        empty_folders=_empty_folders(settings, pictures),
        batches_per_epoch=batches,
        steps_per_epoch=per_epoch,
        epochs=epochs,
        steps=steps,
        schedule=schedule,
        base_rates=_base_rates(settings, family),
        modules=modules,
        start=start,
    )


def _network(settings: Settings, family: Family, model: Path) -> tuple[StartFile | None, tuple[PlannedModule, ...]]:
    """The LoRA file to start from, if there is one, and all modules that are trained."""
    rates = _base_rates(settings, family)
    start = read_start(settings.network)
    if start is not None:
        check_layers(start, settings.network.kind, family, model)
    if start is not None and settings.network.dim_from_weights:
        modules = modules_of_file(start, settings, family, model, rates)
    else:
        modules = plan_modules(settings, family, model, rates)
    if start is not None:
        check_start(start, settings, modules)
    check_dropout(settings.network, modules)
    return start, modules


def plan_pictures(settings: Settings) -> tuple[PlannedPicture, ...]:
    """Every picture with its caption and its place; Problems for all broken or too small ones at once."""
    data = settings.data
    folders = find_folders(Path(data.folder))
    paths = [(folder, path) for folder in folders for path in picture_files(folder.path)]
    if not paths:
        raise Problem("folder_empty", field="data.folder", path=data.folder)
    assert isinstance(data.resolution, list), "a plan's settings are resolved"
    rule = BucketRule(
        (data.resolution[0], data.resolution[1]),
        data.bucket_reso_steps,
        data.min_bucket_reso,
        data.max_bucket_reso,
        upscale=not data.bucket_no_upscale,
        enabled=data.enable_bucket,
    )
    rule.check()
    found: list[PlannedPicture] = []
    problems: list[Problem] = []
    for (folder, path), size in zip(paths, sizes(path for _, path in paths), strict=True):
        try:
            placement = rule.place(size)
        except Problem as problem:
            problems.append(Problem(problem.key, **{**problem.values, "path": path}))
            continue
        try:
            caption = find_caption(path, folder.words, data.caption_extension)
        except Problem as problem:
            problems.append(problem)
            continue
        found.append(PlannedPicture(path, folder, size, placement, caption))
    raise_all(problems)
    return tuple(found)


def _empty_folders(settings: Settings, pictures: tuple[PlannedPicture, ...]) -> tuple[Path, ...]:
    filled = {picture.folder.path for picture in pictures}
    return tuple(f.path for f in find_folders(Path(settings.data.folder)) if f.path not in filled)


def _base_rates(settings: Settings, family: Family) -> dict[str, float]:
    """{prefix: learning rate} of the parts that are trained."""
    rates = settings.optimizer
    assert rates.unet_lr is not None, "a plan's settings are resolved"
    both = {
        root: rates.text_encoder_lr if root in family.text_rate_roots else rates.unet_lr
        for root in family.adapter_roots
    }
    return {root: rate for root, rate in both.items() if rate > 0}
