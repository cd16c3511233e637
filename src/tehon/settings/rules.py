"""The rules between settings: combinations that cannot be meant, each refused in one sentence.

>>> broken_rules(settings)
[]
"""

import re
from collections.abc import Iterator

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, tried
from tehon.settings.dataset import DataSettings
from tehon.settings.network_rules import UNET_ALONE, changed_names, network_problems
from tehon.settings.objective_rules import objective_problems
from tehon.settings.optimizer_rules import optimizer_problems
from tehon.settings.precision_rules import average_problems, memory_problems, precision_problems
from tehon.settings.schedule_rules import schedule_problems
from tehon.settings.sets import DataSet, data_sets
from tehon.settings.settings import Settings

_LONGEST_NAME = 180  # bytes: most systems take 255, and steps, temporary files and the like have names made from it

_NOT_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]) *(\..*)?|.*[. ]", re.IGNORECASE)
"""Names of devices there, whatever their ending, and names whose last letter it drops."""


def remarks(settings: Settings) -> Iterator[str]:
    """Sentences about settings that are possible but may not be what was meant."""
    network = settings.network
    if network.alpha > network.rank and not network.dim_from_weights:
        yield say("notice.alpha_above_rank", alpha=network.alpha, rank=network.rank)


def broken_rules(settings: Settings) -> list[Problem]:
    """A Problem for each rule that the settings break."""
    found = [
        *_rates(settings),
        *optimizer_problems(settings.optimizer, settings.network),
        *objective_problems(settings.objective),
        *precision_problems(settings.precision),
        *memory_problems(settings.memory),
        *average_problems(settings.training, settings.optimizer),
        *_feed(settings),
        *_sources(settings.data),
        *network_problems(settings.network),
    ]
    found += _saves(settings)
    sets = tried(found, lambda: data_sets(settings.data)) or ()
    for one in sets:
        found += [*_sizes(one), *_pictures(one), *_augmentation(one, settings)]
    found += _masks(sets, settings) if sets else ()
    found += _samples(settings)
    return list({str(problem): problem for problem in found}.values())  # sets inherit what is wrong


def _rates(settings: Settings) -> Iterator[Problem]:
    rates = settings.optimizer
    yield from schedule_problems(rates)
    unet = rates.learning_rate if rates.unet_lr is None else rates.unet_lr
    if unet == 0 and rates.text_encoder_lr == 0 and not rates.text_encoder_2_lr:
        yield Problem("nothing_trained", field="optimizer.unet_lr")
        return
    changed = changed_names(settings.network)
    for name in sorted(changed & UNET_ALONE) if unet == 0 else ():
        yield Problem("unet_not_trained", field=f"network.{name}")
    text = rates.text_encoder_lr or rates.text_encoder_2_lr
    if not text and "loraplus_text_encoder_lr_ratio" in changed:
        yield Problem("text_not_trained", field="network.loraplus_text_encoder_lr_ratio")
    if rates.stop_text_encoder_training and not text:
        yield Problem("text_not_trained", field="optimizer.stop_text_encoder_training")
    if 0 < rates.stop_text_encoder_training < 100 and unet == 0:
        yield Problem("text_alone", field="optimizer.stop_text_encoder_training")


def _feed(settings: Settings) -> Iterator[Problem]:
    feed = settings.feed
    if feed.cache_latents_to_disk and not feed.cache_latents:
        yield Problem("disk_without_cache", field="feed.cache_latents_to_disk")
    if feed.read_npz and not feed.cache_latents:
        yield Problem("npz_without_cache", field="feed.read_npz")
    if feed.persistent_data_loader_workers and not feed.max_data_loader_n_workers:
        yield Problem("workers_none", field="feed.persistent_data_loader_workers")


def _samples(settings: Settings) -> Iterator[Problem]:
    samples = settings.samples
    if samples.prompts and samples.prompts_file:
        yield Problem("prompts_twice", field="samples.prompts_file")
    wanted = samples.every_n_steps or samples.every_n_epochs or samples.at_first
    if wanted and not samples.prompts.strip() and not samples.prompts_file:
        yield Problem("prompts_none", field="samples.prompts")
    if "tensorboard" in settings.logs.wanted and not settings.logs.folder:
        yield Problem("log_folder_missing", field="logs.folder", log_with=settings.logs.log_with)


def _saves(settings: Settings) -> Iterator[Problem]:
    output = settings.output
    if (length := len(output.name.encode())) > _LONGEST_NAME:
        yield Problem("name_too_long", field="output.name", count=length, limit=_LONGEST_NAME)
    if _NOT_ON_WINDOWS.fullmatch(output.name):
        yield Problem("name_not_on_windows", field="output.name", value=repr(output.name))
    for unit in ("epochs", "steps"):
        if getattr(output, f"save_last_n_{unit}") and not getattr(output, f"save_every_n_{unit}"):
            yield Problem("kept_unsaved", field=f"output.save_last_n_{unit}", needed=f"output.save_every_n_{unit}")
    if settings.training.allow_changes and not settings.training.resume:
        yield Problem("allowed_without_resume", field="training.allow_changes")


def _sources(data: DataSettings) -> Iterator[Problem]:
    """Where the pictures of the whole run come from."""
    if data.dataset_config and (data.folder or data.sets):
        yield Problem("dataset_config_alone", field="data.dataset_config")
    if data.validation_split and data.validation_folder:
        yield Problem("validation_twice", field="data.validation_split")


def _sizes(one: DataSet) -> Iterator[Problem]:
    data = one.data
    sides = data.resolution if isinstance(data.resolution, list) else [data.resolution or 8]
    if len(sides) != 2 and isinstance(data.resolution, list):
        yield Problem("resolution_not_two", field=one.field("resolution"), count=len(sides))
    if not data.enable_bucket and any(side % 8 for side in sides):
        yield Problem("resolution_not_eight", field=one.field("resolution"), value=data.resolution)
    if data.min_bucket_reso > data.max_bucket_reso:
        low, high = data.min_bucket_reso, data.max_bucket_reso
        yield Problem("bucket_range", field=one.field("min_bucket_reso"), low=low, high=high)


def _pictures(one: DataSet) -> Iterator[Problem]:
    data = one.data
    if data.class_words and not data.repeats:
        yield Problem("class_words_alone", field=one.field("class_words"))
    if data.is_reg and data.validation_split:
        yield Problem("validation_of_reg", field=one.field("validation_split"))
    if not _is_colour(data.background):
        yield Problem("not_a_colour", field=one.field("background"), value=repr(data.background))


def _is_colour(text: str) -> bool:
    from PIL import ImageColor

    try:
        return bool(ImageColor.getcolor(text, "RGB"))
    except ValueError:
        return False


def _augmentation(one: DataSet, settings: Settings) -> Iterator[Problem]:
    """Cached latents are the same at each reading; sd-scripts refuses the same."""
    for name in ("random_crop", "color_aug"):
        if settings.feed.cache_latents and getattr(one.data, name) and not one.held_out:
            yield Problem("not_with_cached_latents", field=one.field(name))


def _masks(sets: tuple[DataSet, ...], settings: Settings) -> Iterator[Problem]:
    with_masks = [one for one in sets if one.data.mask_folder or one.data.alpha_mask]
    for one in with_masks:
        if one.data.mask_folder and one.data.alpha_mask:
            yield Problem("masks_twice", field=one.field("alpha_mask"))
    if with_masks and not settings.objective.masked_loss:
        name = "mask_folder" if with_masks[0].data.mask_folder else "alpha_mask"
        yield Problem("masks_unused", field=with_masks[0].field(name))
    if settings.objective.masked_loss and not with_masks and not settings.data.dataset_config:
        yield Problem("masks_nowhere", field="objective.masked_loss")
    if all(one.data.is_reg or one.held_out for one in sets):
        yield Problem("only_reg", field=sets[0].field("is_reg"))
