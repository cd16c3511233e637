"""Which of the pictures of one set are learned, how each is placed and captioned, and why others are left out.

>>> Selection(one, files, troubles, mask_folders).pictures(folders).names
['01.png', '02.png', '03.png']
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from tehon.data.plan.buckets import BucketRule, Placement, Size
from tehon.data.plan.entries import EXTENSIONS, split_name
from tehon.data.plan.folders import PictureFolder
from tehon.data.plan.measurements import Measurements
from tehon.data.plan.variation import LookRules
from tehon.data.plan.wording import Wording
from tehon.messages.problem import Problem
from tehon.planning.captions import Captions
from tehon.planning.files import Files
from tehon.planning.masks import Masks
from tehon.planning.planned import PictureSet, PlannedPictures
from tehon.planning.troubles import LeftOut, Troubles, Unused
from tehon.settings.dataset import DataSettings
from tehon.settings.sets import DataSet


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


_NOWHERE = Placement((0, 0), (0, 0))
"""In the place of those that are left out."""

_MUCH = 0.1  # of a picture's area
_BLURRED = 1.2  # times its own size


class Selection:
    """Makes planned pictures of the files of one set. A folder's pictures are judged column by column: each question is
    put to all of those that are still in, and takes some of them out."""

    def __init__(self, one: DataSet, files: Files, troubles: Troubles, masks: list[Path]) -> None:
        self._set = _picture_set(one)
        self._data = one.data
        self._files = files
        self._troubles = troubles
        self._captions = Captions(one, files.index, troubles)
        self._masks = Masks(masks, files)
        self._skip = one.data.broken_pictures == "skip"
        self._places: dict[Size, Placement] = {}
        self._no_place: dict[Size, Problem] = {}
        try:
            self._set.rule.check()
            self._fits = True
        except Problem as problem:
            troubles.problems.append(Problem(problem.key, **{**problem.values, "field": one.field("resolution")}))
            self._fits = False

    def pictures(self, folders: list[PictureFolder]) -> PlannedPictures:
        """Those of these folders that can be learned; what is wrong with the others goes to the troubles."""
        return PlannedPictures.joined(self._of_folder(folder) for folder in folders if self._fits)

    def tell_unused(self, unused: Unused) -> None:
        """What of the masks and of the metadata file this set had no picture for."""
        if self._fits:
            unused.add("masks_unused", self._data.mask_folder, map(str, self._masks.unused()))
            unused.add("metadata_unused", self._data.metadata_file, self._captions.unused())

    def _of_folder(self, folder: PictureFolder) -> PlannedPictures:
        listing, seen = self._files.listings[folder.path], self._files.measured[folder.path]
        names, count = listing.pictures.names, len(listing.pictures)
        files = self._captions.of(folder, listing)
        self._leave_out_unreadable(folder, listing.unreadable)
        out = {number: self._broken(folder, names[number], reason) for number, reason in seen.errors.items()}
        out |= self._unplaced(folder, names, seen.sizes, _still_in(count, out))
        masks, unmasked = self._masked(folder, names, seen.sizes, _still_in(count, out))
        out |= unmasked
        captions = self._captions.choose(folder, files, names, _still_in(count, out))
        out |= captions.without
        for number in sorted(out):
            self._troubles.leave_out(*out[number])
        self._note_kinds(folder, names, seen, _still_in(count, out))
        self._note_sizes(folder, names, seen.sizes, _still_in(count, out))
        return PlannedPictures(
            sets=[self._set] * count,
            folders=[folder] * count,
            names=names,
            sizes=seen.sizes,
            placements=[self._places.get(size, _NOWHERE) for size in seen.sizes],
            texts=captions.texts,
            text_sources=captions.sources,
            digests=seen.digests,
            repeats=[folder.repeats] * count,
            masks=masks,
        ).without(out)

    def _leave_out_unreadable(self, folder: PictureFolder, unreadable: dict[str, str]) -> None:
        for name, reason in unreadable.items():
            if split_name(name)[1] in EXTENSIONS:
                self._troubles.leave_out(*self._broken(folder, name, reason))

    def _broken(self, folder: PictureFolder, name: str, reason: str) -> LeftOut:
        return Problem("picture_broken", path=folder.path / name, reason=reason), self._skip

    def _unplaced(
        self, folder: PictureFolder, names: list[str], sizes: list[Size], numbers: Sequence[int]
    ) -> dict[int, LeftOut]:
        """Those that no bucket takes. Pictures of one size are placed once."""
        for size in {sizes[number] for number in numbers}.difference(self._places, self._no_place):
            try:
                self._places[size] = self._set.rule.place(size)
            except Problem as problem:
                self._no_place[size] = problem
        out: dict[int, LeftOut] = {}
        for number in numbers if self._no_place else ():
            problem = self._no_place.get(sizes[number])
            if problem:
                values = {**problem.values, "path": folder.path / names[number]}
                out[number] = Problem(problem.key, **values), self._skip
        return out

    def _masked(
        self, folder: PictureFolder, names: list[str], sizes: list[Size], numbers: Sequence[int]
    ) -> tuple[list[Path | None], dict[int, LeftOut]]:
        """The masks, where the set has some, and the pictures that lack theirs."""
        masks: list[Path | None] = [None] * len(names)
        out: dict[int, LeftOut] = {}
        for number in numbers if self._data.mask_folder else ():
            try:
                masks[number] = self._masks.of(folder.path, names[number], sizes[number])
            except Problem as problem:
                out[number] = problem, self._skip
        return masks, out

    def _note_kinds(self, folder: PictureFolder, names: list[str], seen: Measurements, numbers: Sequence[int]) -> None:
        for number in numbers if any(seen.animated) else ():
            if seen.animated[number]:
                self._troubles.note("animated", folder.path / names[number])
        for number in numbers if self._data.alpha_mask else ():
            if not seen.alpha[number]:
                self._troubles.note("without_alpha", folder.path / names[number])

    def _note_sizes(self, folder: PictureFolder, names: list[str], sizes: list[Size], numbers: Sequence[int]) -> None:
        """Pictures of which much is not seen, or that are blurred. A piece at random is another one at each reading."""
        cut = {size for size, place in self._places.items() if place.lost > _MUCH and not self._set.look.random_crop}
        blurred = {size for size, place in self._places.items() if place.resized[0] > _BLURRED * size[0]}
        for kind, odd in (("cropped", cut), ("enlarged", blurred)):
            for number in numbers if odd else ():
                if sizes[number] in odd:
                    self._troubles.note(kind, os.path.join(folder.path, names[number]))


def _still_in(count: int, out: Collection[int]) -> Sequence[int]:
    """The numbers of the pictures that nothing has taken out so far."""
    return [number for number in range(count) if number not in out] if out else range(count)
