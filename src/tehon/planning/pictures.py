"""The pictures of a run, each with all that is decided about it, and everything that is wrong with them.

>>> found = find_pictures(resolved_settings)
>>> found.pictures[0].caption.text, len(found.troubles.problems)
"""

import gc
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tehon.data.plan.buckets import BucketRule, Placement, Size
from tehon.data.plan.captions import Caption, caption_suffixes
from tehon.data.plan.folders import PictureFolder, find_folders, ignored_children, plain_folder
from tehon.data.plan.index import Index, user_cache_folder
from tehon.data.plan.listing import EXTENSIONS, split_name
from tehon.data.plan.shares import balanced, held_out
from tehon.data.plan.variation import LookRules, Source
from tehon.data.plan.wording import Wording, plain
from tehon.messages.problem import Problem
from tehon.planning.files import Files
from tehon.planning.masks import Masks
from tehon.planning.troubles import Troubles
from tehon.planning.wordings import Captions
from tehon.settings.dataset import DataSettings
from tehon.settings.sets import DataSet, data_sets
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class PictureSet:
    """What all pictures of one set share. Pictures of equal `sizing` may share a batch."""

    place: str
    is_reg: bool
    rule: BucketRule
    batch_size: int
    look: LookRules
    wording: Wording
    interpolation: str
    background: str
    alpha_mask: bool

    @property
    def sizing(self) -> tuple[BucketRule, int]:
        return self.rule, self.batch_size


class PlannedPicture(NamedTuple):
    """One picture with all that the plan decides about it. `size` is (width, height) as it is seen."""

    set: PictureSet
    folder: PictureFolder
    name: str
    size: Size
    placement: Placement
    caption: Caption
    digest: bytes
    repeats: int
    mask: Path | None

    @property
    def path(self) -> Path:
        return self.folder.path / self.name

    @property
    def is_reg(self) -> bool:
        return self.set.is_reg

    @property
    def source(self) -> Source:
        """What is needed to read it."""
        return Source(
            path=self.path,
            digest=self.digest.hex(),
            placement=self.placement,
            interpolation=self.set.interpolation,
            background=self.set.background,
            mask=self.mask,
            alpha_mask=self.set.alpha_mask,
            size=self.size,
        )

    @property
    def plain_caption(self) -> str:
        """Its caption with nothing left to chance; what validation uses, with the middle of the picture."""
        return plain(self.caption.text, self.set.wording)


@dataclass
class FoundPictures:
    """`reg_reads` counts the regularisation pictures with their own repeats, before they are brought into balance."""

    pictures: tuple[PlannedPicture, ...] = ()
    validation: tuple[PlannedPicture, ...] = ()
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
    train: list[PlannedPicture] = []
    validation: list[PlannedPicture] = []
    unused = _Unused()
    for one, folders, masks in places:
        reader = _Reader(one, files, troubles, masks)
        found = reader.pictures(folders)
        reader.tell_unused(unused)
        if one.held_out:
            validation += found
            continue
        out = _split(one, found, settings.training.seed or 0, troubles)
        validation += [found[number]._replace(repeats=1) for number in sorted(out)]
        train += [picture for number, picture in enumerate(found) if number not in out]
    index.close()
    train = _without(train, validation, troubles)
    unused.note(troubles)
    troubles.index = index.trouble
    troubles.tell_once()
    _note_duplicates(train, troubles)
    raw = sum(picture.repeats for picture in train if picture.set.is_reg)
    return FoundPictures(tuple(_in_balance(train, troubles)), tuple(validation), raw, troubles)


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


def bucket_rule(data: DataSettings) -> BucketRule:
    assert isinstance(data.resolution, list), "a plan's settings are resolved"
    return BucketRule(
        (data.resolution[0], data.resolution[1]),
        data.bucket_reso_steps,
        data.min_bucket_reso,
        data.max_bucket_reso,
        upscale=not data.bucket_no_upscale,
        enabled=data.enable_bucket,
    )


def _picture_set(one: DataSet) -> PictureSet:
    data = one.data
    return PictureSet(
        place=one.place,
        is_reg=data.is_reg,
        rule=bucket_rule(data),
        batch_size=data.batch_size,
        look=LookRules(data.random_crop, data.flip_aug, data.color_aug),
        wording=Wording(
            prefix=data.caption_prefix,
            suffix=data.caption_suffix,
            wildcards=data.enable_wildcard,
            separator=data.caption_separator,
            secondary=data.secondary_separator,
            shuffle=data.shuffle_caption,
            keep=data.keep_tokens,
            keep_mark=data.keep_tokens_separator,
            tag_dropout=data.caption_tag_dropout_rate,
            dropout=data.caption_dropout_rate,
            dropout_every=data.caption_dropout_every_n_epochs,
        ),
        interpolation=data.resize_interpolation,
        background=data.background,
        alpha_mask=data.alpha_mask,
    )


class _Unused:
    """Masks and entries of metadata files of no picture. Sets may share a folder or a file: what one of them uses is
    in use."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, kind: str, place: str, names: Iterable[str]) -> None:
        """What one set leaves of a folder or file."""
        left = dict.fromkeys(names)
        known = self._left.get((kind, place), left)
        self._left[kind, place] = {name: None for name in known if name in left}

    def note(self, troubles: Troubles) -> None:
        for (kind, _), names in self._left.items():
            for name in names:
                troubles.note(kind, name)


class _Reader:
    """Makes planned pictures of the files of one set."""

    def __init__(self, one: DataSet, files: Files, troubles: Troubles, masks: list[Path]) -> None:
        self._set = _picture_set(one)
        self._data = one.data
        self._files = files
        self._troubles = troubles
        self._captions = Captions(one, files.index, troubles)
        self._masks = Masks(masks, files)
        self._places: dict[Size, Placement | Problem] = {}
        try:
            self._set.rule.check()
            self._fits = True
        except Problem as problem:
            troubles.problems.append(Problem(problem.key, **{**problem.values, "field": one.field("resolution")}))
            self._fits = False

    def pictures(self, folders: list[PictureFolder]) -> list[PlannedPicture]:
        if not self._fits:
            return []
        return [picture for folder in folders for picture in self._of_folder(folder)]

    def tell_unused(self, unused: "_Unused") -> None:
        """What of the masks and of the metadata file this set had no picture for."""
        if self._fits:
            unused.add("masks_unused", self._data.mask_folder, map(str, self._masks.unused()))
            unused.add("metadata_unused", self._data.metadata_file, self._captions.unused())

    def _of_folder(self, folder: PictureFolder) -> Iterable[PlannedPicture]:
        listing = self._files.listings[folder.path]
        caption_of = self._captions.of(folder, listing)
        skip = self._data.broken_pictures == "skip"
        for name, reason in listing.unreadable.items():
            if split_name(name)[1] in EXTENSIONS:
                self._troubles.leave_out(_broken(folder, name, reason), skip)
        for (name, _, _, _), one in zip(listing.pictures, self._files.measured[folder.path], strict=True):
            if one.error:
                self._troubles.leave_out(_broken(folder, name, one.error), skip)
                continue
            place = self._places.get(one.size) or self._place(one.size)
            if isinstance(place, Problem):
                values = {**place.values, "path": folder.path / name}
                self._troubles.leave_out(Problem(place.key, **values), skip)
                continue
            mask = None
            if self._data.mask_folder:
                try:
                    mask = self._masks.of(folder.path, name, one.size)
                except Problem as problem:
                    self._troubles.leave_out(problem, skip)
                    continue
            caption = caption_of(name)
            if caption is None:
                continue
            if one.animated:
                self._troubles.note("animated", folder.path / name)
            if self._data.alpha_mask and not one.alpha:
                self._troubles.note("without_alpha", folder.path / name)
            yield PlannedPicture(self._set, folder, name, one.size, place, caption, one.digest, folder.repeats, mask)

    def _place(self, size: Size) -> Placement | Problem:
        try:
            self._places[size] = self._set.rule.place(size)
        except Problem as problem:
            self._places[size] = problem
        return self._places[size]


def _broken(folder: PictureFolder, name: str, reason: str) -> Problem:
    return Problem("picture_broken", path=folder.path / name, reason=reason)


def _split(one: DataSet, pictures: list[PlannedPicture], seed: int, troubles: Troubles) -> set[int]:
    """The numbers of those that are held out for validation."""
    share = one.data.validation_split
    out = held_out([picture.digest for picture in pictures], share, seed)
    if share and not out and pictures:
        troubles.problems.append(Problem("validation_too_few", field=one.field("validation_split")))
    return out


def _without(train: list[PlannedPicture], validation: list[PlannedPicture], troubles: Troubles) -> list[PlannedPicture]:
    """Leaves out what another set holds out, or the validation would be on what is learned."""
    if not validation:
        return train
    seen = {picture.digest for picture in validation}
    for picture in train:
        if picture.digest in seen:
            troubles.note("held_out_elsewhere", picture.path)
    return [picture for picture in train if picture.digest not in seen]


def _in_balance(pictures: list[PlannedPicture], troubles: Troubles) -> list[PlannedPicture]:
    """Regularisation pictures with the repeats that they get in this run; those that get none are left out."""
    numbers = [number for number, picture in enumerate(pictures) if picture.set.is_reg]
    wanted = sum(picture.repeats for picture in pictures if not picture.set.is_reg) if numbers else 0
    if not wanted:
        return pictures
    for number, repeats in zip(numbers, balanced([pictures[i].repeats for i in numbers], wanted), strict=True):
        if not repeats:
            troubles.note("reg_unused", pictures[number].path)
        pictures[number] = pictures[number]._replace(repeats=repeats)
    return [picture for picture in pictures if picture.repeats]


def _note_duplicates(pictures: list[PlannedPicture], troubles: Troubles) -> None:
    """Files with the same bytes as another one; the same file in two sets is no duplicate."""
    first: dict[bytes, PlannedPicture] = {}
    for picture in pictures:
        other = first.setdefault(picture.digest, picture)
        if other is not picture and (other.name != picture.name or other.folder.path != picture.folder.path):
            troubles.note("duplicates", f"{picture.name} = {other.name}")
