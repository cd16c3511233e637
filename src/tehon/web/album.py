"""The pictures that the form's folders hold, as the plan sees them: sizes, crops, captions, troubles.

>>> album = Album(draft, pictures)
>>> album.load()
>>> album.entries[0].caption, album.readings(0, epoch=2)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tehon.captions import tags
from tehon.captions.files import Change, change_to, make, read_text, take_back
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.draft import Draft
from tehon.web.pictures import Pictures
from tehon.web.stand_ins import of_stand_in

if TYPE_CHECKING:
    from tehon.planning.plan import Plan

_KEPT = 200  # changes that can be taken back


@dataclass(frozen=True)
class Entry:
    """One picture. `crop` is (left, top, width, height) as shares of the whole; `caption_file` is where its caption
    stands or would stand, None where it comes from a metadata file; of its lines the first is the caption, or, with
    `every_line`, all are."""

    token: str
    path: Path
    size: tuple[int, int]
    bucket: tuple[int, int]
    crop: tuple[float, float, float, float]
    repeats: int
    caption: str
    caption_file: Path | None
    every_line: bool
    captioned: bool
    is_reg: bool

    def as_tile(self) -> dict[str, Any]:
        """What the gallery shows of it."""
        return {
            "id": self.token,
            "name": self.path.name,
            "thumb": f"/thumb/{self.token}",
            "size": "{}×{} → {}×{}  ×{}".format(*self.size, *self.bucket, self.repeats),
            "crop": self.crop if self.crop != (0, 0, 1, 1) else None,
            "caption": self.caption.replace("\n", " / "),
            "mark": say("sheet.reg") if self.is_reg else "" if self.captioned else say("web.no_caption"),
        }


@dataclass(frozen=True)
class Reading:
    """What one reading shows the network: the caption, the piece (as `Entry.crop`), mirrored or not."""

    caption: str
    crop: tuple[float, float, float, float]
    flip: bool


class Album:
    """`trouble` says why there is nothing to show; `sentences` are what is wrong with pictures; `changes` can be taken
    back, the last one first. What reads is run in a thread, and imports the plan there, which the tab itself does not
    need."""

    def __init__(self, draft: Draft, pictures: Pictures) -> None:
        self.draft = draft
        self.pictures = pictures
        self.changes: list[Change] = []
        self.plan: Plan | None = None
        self.entries: list[Entry] = []
        self.trouble = ""
        self.sentences: list[str] = []
        self.turn = Lock()  # one loads or writes at a time: who loads later reads what is true now, so has to end later

    def glance(self) -> list[dict[str, Any]]:
        """The pictures of the folder by their names alone, for the gallery to show while `load` measures them, which
        takes a second for each thousand or so; what is wrong with the folder is left to `load`."""
        from tehon.data.plan.folders import find_folders
        from tehon.data.plan.listing import list_folder

        folder, repeats = Path(str(self.draft.get("data.folder"))), self.draft.get("data.repeats")
        try:
            folders = [folder] if repeats else [one.path for one in find_folders(folder)]
            names = [(one, name) for one in folders for name in list_folder(one).pictures.names]
        except (Problem, OSError):
            return []
        tokens = [(self.pictures.token(one / name), name) for one, name in names]
        return [{"id": token, "name": name, "thumb": f"/thumb/{token}", "size": ""} for token, name in tokens]

    def load(self) -> None:
        """Reads the folders. A model or an output folder need not be chosen yet."""
        with self.turn:
            self._load()

    def _load(self) -> None:
        from tehon.planning.notices import picture_notices
        from tehon.planning.plan import draft_plan
        from tehon.settings.files import validate

        self.plan, self.entries, self.trouble, self.sentences = None, [], "", []
        try:
            plan = self.plan = draft_plan(validate(self.draft.tree_for_pictures()))
        except Problem as problem:
            self.trouble = self._why_nothing(problem)
            return
        self.entries = self._entries(plan)
        self.sentences = [*map(str, plan.troubles.problems), *picture_notices(plan)]

    def _why_nothing(self, problem: Problem) -> str:
        """What is still to be chosen before the pictures can be shown, or else what is wrong."""
        if any(one.key == "key_missing" and one.values["field"] == "data.folder" for one in problem.all):
            return say("web.needed", name=say("label.data.folder"))
        if any(of_stand_in(one, self.draft) for one in problem.all):
            return say("web.needed", name=say("label.model.path"))
        return str(problem)

    def _entries(self, plan: "Plan") -> list[Entry]:
        from tehon.data.plan.captions import CLASS_WORDS, METADATA, new_suffix
        from tehon.data.plan.entries import split_name
        from tehon.settings.sets import data_sets

        data = {one.place: one.data for one in data_sets(plan.settings.data)}
        found: list[Entry] = []
        for number in range(len(plan.pictures)):
            picture = plan.pictures[number]
            source = picture.caption.source
            own = data[picture.set.place]
            ending = source if source.startswith(".") else new_suffix(own.caption_extension)
            file = picture.path.with_name(split_name(picture.name)[0] + ending)
            entry = Entry(
                token=self.pictures.token(picture.path),
                path=picture.path,
                size=picture.size,
                bucket=picture.placement.bucket,
                crop=_shares(picture.placement.crop, picture.placement.bucket, picture.placement.resized),
                repeats=picture.repeats,
                caption=picture.caption.text,
                caption_file=None if source == METADATA else file,
                every_line=own.enable_wildcard,
                captioned=source != CLASS_WORDS,
                is_reg=picture.is_reg,
            )
            found.append(entry)
        return found

    def readings(self, number: int, epoch: int) -> list[Reading]:
        """What the network is fed of a picture in an epoch, counted from 0."""
        plan = self.plan
        assert plan is not None
        placement = plan.pictures[number].placement
        found: list[Reading] = []
        for batch in plan.epoch(epoch):
            for read in batch.reads:
                if read.picture == number:
                    look = plan.look(epoch, read)
                    crop = _shares(look.crop, placement.bucket, placement.resized)
                    found.append(Reading(plan.caption(epoch, read), crop, look.flip))
        return found

    def tag_counts(self) -> list[tuple[str, int]]:
        return tags.count(entry.caption for entry in self.entries if entry.captioned)

    def edit(self, entries: Iterable[Entry], change: tags.Edit) -> int:
        """Changes the captions of some pictures, as they are on the disk now, in one step that `undo` takes back; how
        many. Lines that are no captions stay. Their files are those of the entries, whatever the form says by now."""
        try:
            with self.turn:
                texts = {
                    entry.caption_file: _edited(entry.caption_file, entry.every_line, change)
                    for entry in entries
                    if entry.caption_file is not None
                }
                new = change_to(texts)
                if new:
                    self.changes = [*self.changes[-_KEPT + 1 :], new]
                    make(new)
                return len(new)
        finally:
            self.load()

    def undo(self) -> int:
        """Takes the last change back; how many files are as they were. A Problem when one of them was changed by
        somebody else since; the change then stays the last one."""
        try:
            with self.turn:
                back = take_back(self.changes[-1]) if self.changes else []
                self.changes = self.changes[:-1]
                return len(back)
        finally:
            self.load()


def _edited(file: Path, every_line: bool, change: tags.Edit) -> str:
    from tehon.data.plan.captions import caption_text

    text = read_text(file)
    new = change(caption_text(text, every_line))
    return new if every_line else "\n".join([new, *text.splitlines()[1:]])


def _shares(
    corner: tuple[int, int], bucket: tuple[int, int], whole: tuple[int, int]
) -> tuple[float, float, float, float]:
    return corner[0] / whole[0], corner[1] / whole[1], bucket[0] / whole[0], bucket[1] / whole[1]
