"""The pictures of a run, each with all that is decided about it, and everything that is wrong with them.

>>> found = find_pictures(resolved_settings)
>>> found.pictures[0].caption.text, len(found.troubles.problems)
"""

import gc
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

from tehon.data.plan.captions import caption_suffixes
from tehon.data.plan.folders import PictureFolder, find_folders, ignored_children, plain_folder
from tehon.data.plan.index import Index, user_cache_folder
from tehon.data.plan.shares import balanced, held_out
from tehon.messages.problem import Problem
from tehon.planning.files import Files
from tehon.planning.planned import PlannedPictures
from tehon.planning.selection import Selection
from tehon.planning.troubles import Troubles, Unused
from tehon.settings.sets import DataSet, data_sets
from tehon.settings.settings import Settings


@dataclass
class FoundPictures:
    """`reg_reads` counts the regularisation pictures with their own repeats, before they are brought into balance."""

    pictures: PlannedPictures = field(default_factory=PlannedPictures)
    validation: PlannedPictures = field(default_factory=PlannedPictures)
    reg_reads: int = 0
    troubles: Troubles = field(default_factory=Troubles)


def find_pictures(settings: Settings) -> FoundPictures:
    """All pictures of a run. `settings` are resolved; what is wrong with single pictures is in the result."""
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage, and looking for it takes a fifth of the time with 100,000 pictures
    try:
        return _find(settings)
    finally:
        if collecting:
            gc.enable()


def _find(settings: Settings) -> FoundPictures:
    troubles = Troubles()
    cache = settings.feed.cache_folder
    index = Index(Path(cache) if cache else user_cache_folder())
    places = [(one, *_folders(one, troubles)) for one in data_sets(settings.data)]
    files = Files(
        index, troubles, {text for one, *_ in places for text in caption_suffixes(one.data.caption_extension)}
    )
    files.measure([folder.path for _, folders, _ in places for folder in folders])
    files.measure(path for _, _, masks in places for path in masks)
    to_learn: list[PlannedPictures] = []
    held: list[PlannedPictures] = []
    unused = Unused()
    for one, folders, masks in places:
        selection = Selection(one, files, troubles, masks)
        found = selection.pictures(folders)
        selection.tell_unused(unused)
        if one.held_out:
            held.append(found)
            continue
        out = _split(one, found, settings.training.seed or 0, troubles)
        held.append(replace(found.select(sorted(out)), repeats=[1] * len(out)))
        to_learn.append(found.without(out))
    index.close()
    train, validation = PlannedPictures.joined(to_learn), PlannedPictures.joined(held)
    train = _without(train, validation, troubles)
    unused.note(troubles)
    troubles.index = index.trouble
    troubles.tell_once()
    _note_duplicates(train, troubles)
    raw = sum(compress(train.repeats, train.is_reg))
    return FoundPictures(_in_balance(train, troubles), validation, raw, troubles)


def _folders(one: DataSet, troubles: Troubles) -> tuple[list[PictureFolder], list[Path]]:
    """(the picture folders of a set, the folders that may hold their masks)."""
    data, field = one.data, one.field("folder")
    path = Path(data.folder)
    try:
        if data.repeats:
            return [plain_folder(path, data.repeats, data.class_words, field)], _mask_folders(one, [path])
        folders = find_folders(path, field)
        for ignored in ignored_children(path):
            troubles.note("folder_ignored", ignored)
        return folders, _mask_folders(one, [folder.path for folder in folders])
    except Problem as problem:
        troubles.problems += problem.all
        return [], []


def _mask_folders(one: DataSet, folders: list[Path]) -> list[Path]:
    if not one.data.mask_folder:
        return []
    base = Path(one.data.mask_folder)
    if not base.is_dir():
        raise Problem("mask_folder_missing", field=one.field("mask_folder"), path=base)
    return [base, *(base / folder.name for folder in folders if (base / folder.name).is_dir())]


def _split(one: DataSet, pictures: PlannedPictures, seed: int, troubles: Troubles) -> set[int]:
    """The numbers of those that are held out for validation."""
    share = one.data.validation_split
    out = held_out(pictures.digests, share, seed)
    if share and not out and pictures:
        troubles.problems.append(Problem("validation_too_few", field=one.field("validation_split")))
    return out


def _without(train: PlannedPictures, validation: PlannedPictures, troubles: Troubles) -> PlannedPictures:
    """Leaves out what another set holds out, or the validation would be on what is learned."""
    if not validation:
        return train
    seen = set(validation.digests)
    both = [number for number, digest in enumerate(train.digests) if digest in seen]
    for number in both:
        troubles.note("held_out_elsewhere", train[number].path)
    return train.without(both)


def _in_balance(pictures: PlannedPictures, troubles: Troubles) -> PlannedPictures:
    """Regularisation pictures with the repeats that they get in this run; those that get none are left out."""
    numbers = list(compress(range(len(pictures)), pictures.is_reg))
    wanted = sum(pictures.repeats) - sum(pictures.repeats[number] for number in numbers) if numbers else 0
    if not wanted:
        return pictures
    given = [*pictures.repeats]
    for number, repeats in zip(numbers, balanced([given[i] for i in numbers], wanted), strict=True):
        given[number] = repeats
    unused = [number for number, repeats in enumerate(given) if not repeats]
    for number in unused:
        troubles.note("reg_unused", pictures[number].path)
    return replace(pictures, repeats=given).without(unused)


def _note_duplicates(pictures: PlannedPictures, troubles: Troubles) -> None:
    """Files with the same bytes as another one; the same file in two sets is no duplicate."""
    names, folders, digests = pictures.names, pictures.folders, pictures.digests
    first = dict(zip(reversed(digests), reversed(range(len(digests))), strict=True))
    troubles.odd["duplicates"] += [
        f"{names[number]} = {names[other]}"
        for number, other in enumerate(map(first.__getitem__, digests))
        if other != number and (names[other] != names[number] or folders[other].path != folders[number].path)
    ]
