"""Pictures with all that the plan decides about them: one as an object, many as columns.

>>> pictures[0].caption.text, pictures[0].path
('mofu on the left', PosixPath('pictures/10_mofu/01.png'))
>>> pictures.repeats
[10, 10, 10]
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, overload

from tehon.data.plan.buckets import BucketRule, Placement, Size
from tehon.data.plan.captions import Caption
from tehon.data.plan.folders import PictureFolder
from tehon.data.plan.variation import LookRules, Source
from tehon.data.plan.wording import Wording, plain


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
    """One picture with all that the plan decides about it. `size` is (width, height) as it is seen; `text` is its
    caption, `text_source` where that comes from."""

    set: PictureSet
    folder: PictureFolder
    name: str
    size: Size
    placement: Placement
    text: str
    text_source: str
    digest: bytes
    repeats: int
    mask: Path | None

    @property
    def path(self) -> Path:
        return self.folder.path / self.name

    @property
    def caption(self) -> Caption:
        return Caption(self.text, self.text_source)

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
        return plain(self.text, self.set.wording)


@dataclass(frozen=True, eq=False)
class PlannedPictures(Sequence[PlannedPicture]):
    """Many pictures: a column for each field of `PlannedPicture`, in the same order.

    Whatever looks at all pictures of a run goes through the columns that it needs. A `PlannedPicture` is made when one
    is asked for, since making 100,000 of them takes a third of the time and the memory of a plan.
    """

    sets: list[PictureSet] = field(default_factory=list[PictureSet])
    folders: list[PictureFolder] = field(default_factory=list[PictureFolder])
    names: list[str] = field(default_factory=list[str])
    sizes: list[Size] = field(default_factory=list[Size])
    placements: list[Placement] = field(default_factory=list[Placement])
    texts: list[str] = field(default_factory=list[str])
    text_sources: list[str] = field(default_factory=list[str])
    digests: list[bytes] = field(default_factory=list[bytes])
    repeats: list[int] = field(default_factory=list[int])
    masks: list[Path | None] = field(default_factory=list[Path | None])

    @staticmethod
    def joined(parts: Iterable["PlannedPictures"]) -> "PlannedPictures":
        """The pictures of all parts, one part after the other."""
        filled = [part for part in parts if part]
        if len(filled) == 1:
            return filled[0]
        columns = zip(*(part.columns for part in filled), strict=True)
        return PlannedPictures(*(list(chain.from_iterable(pieces)) for pieces in columns))

    @property
    def columns(self) -> tuple[list[Any], ...]:
        return (
            *(self.sets, self.folders, self.names, self.sizes, self.placements),
            *(self.texts, self.text_sources, self.digests, self.repeats, self.masks),
        )

    def select(self, numbers: Iterable[int]) -> "PlannedPictures":
        """Those of these numbers, in their order."""
        chosen = list(numbers)
        return PlannedPictures(*([column[number] for number in chosen] for column in self.columns))

    def without(self, numbers: Collection[int]) -> "PlannedPictures":
        """All but those of these numbers."""
        out = set(numbers)
        return self.select(number for number in range(len(self)) if number not in out) if out else self

    @cached_property
    def is_reg(self) -> list[bool]:
        """Whether each is for regularisation."""
        return [one.is_reg for one in self.sets]

    @cached_property
    def alike(self) -> list[tuple[PictureSet, Placement, list[int]]]:
        """The numbers of the pictures that have set and placement in common."""
        found: dict[tuple[int, int], list[int]] = defaultdict(list)  # identities are found faster than equals
        for number, key in enumerate(zip(map(id, self.sets), map(id, self.placements), strict=True)):
            found[key].append(number)
        return [(self.sets[numbers[0]], self.placements[numbers[0]], numbers) for numbers in found.values()]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, number: int) -> PlannedPicture: ...
    @overload
    def __getitem__(self, number: slice) -> "PlannedPictures": ...
    def __getitem__(self, number: int | slice) -> "PlannedPicture | PlannedPictures":
        if isinstance(number, slice):
            return self.select(range(len(self))[number])
        return PlannedPicture(*(column[number] for column in self.columns))

    def __iter__(self) -> Iterator[PlannedPicture]:
        return map(PlannedPicture, *self.columns)
