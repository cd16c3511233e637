"""What a saved state depends on, and what of it has changed since.

The settings that shape what is learned are compared one by one, the model and the pictures by what is in them. Where
files lie, how they are read ahead and what is saved when may change freely.

>>> [str(change) for change in differences(saved, identity(plan))]
['optimizer.learning_rate (0.0001 → 0.001)']
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tehon.catalog.model import Model
from tehon.messages.problem import Problem
from tehon.planning.notices import listed
from tehon.planning.plan import Plan
from tehon.planning.planned import PlannedPicture

_FREE_SECTIONS = ("feed", "output", "samples", "logs", "validation", "memory")
_FREE = (
    "training.resume",
    "training.allow_changes",
    "training.additional_parameters",
    "training.num_cpu_threads_per_process",
)
"""Settings that shape nothing of what is learned, beside these sections."""
_PLACES = ("path", "folder", "reg_folder", "validation_folder", "mask_folder", "metadata_file", "weights")
"""Settings of any section that say where files lie."""
_BOUND = ("feed.read_npz",)
"""Those that shape what is learned though they are in a free section."""
MODEL, START, PICTURES = "model", "network.weights", "data"
"""What is compared by content, by the name under which a change of it is allowed."""
_BLOCKS, _BLOCK = 256, 16 << 10  # so many pieces of a model's file are looked at, of so many bytes


@dataclass(frozen=True)
class Identity:
    """`settings` are {dotted name: value}, `model` and `start` digests of files, `pictures` {name: digest} in the order
    in which they are numbered."""

    settings: dict[str, Any]
    model: str
    start: str
    pictures: dict[str, str]

    @property
    def data(self) -> str:
        """A digest of all pictures in their order."""
        return _digest(repr(list(self.pictures.items())).encode())

    def summary(self) -> dict[str, Any]:
        """What a state keeps of it: all but the single pictures."""
        return {"settings": self.settings, "model": self.model, "start": self.start, "data": self.data}

    def as_data(self) -> dict[str, Any]:
        """What the run directory keeps of it."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """Something that is not as it was. `name` is what it is allowed by, `what` says it in short."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name} ({self.what})" if self.what else self.name


def identity(plan: Plan) -> Identity:
    """Of a plan. Reads the start of each of the model's weight files, and all of the LoRAs that are started from or
    merged into it."""
    pictures: dict[str, str] = {}
    for number, picture in enumerate(plan.pictures):
        name = f"{picture.folder.path.name}/{picture.name}"
        pictures[name if name not in pictures else f"{name} #{number}"] = _of_picture(picture)
    return Identity(
        settings=dict(_compared(plan.settings.model_dump())),
        model=_of_model(plan.model),
        start=_of_files([*([plan.start.path] if plan.start else []), *(one.path for one in plan.base_weights)]),
        pictures=pictures,
    )


def _of_files(files: Sequence[Path]) -> str:
    return _digest(b"".join(file.read_bytes() for file in files)) if files else ""


def differences(
    saved: Mapping[str, Any], now: Identity, pictures_then: Mapping[str, str] | None = None
) -> list[Change]:
    """What has changed since a summary was saved. `pictures_then`, where it is known, tells which pictures."""
    then: Mapping[str, Any] = saved.get("settings", {})
    found: list[Change] = []
    for name in sorted({*then, *now.settings}):
        before, after = then.get(name), now.settings.get(name)
        if before != after:
            found.append(Change(name, f"{_shown(before)} → {_shown(after)}"))
    if saved.get("model") != now.model:
        found.append(Change(MODEL, ""))
    if saved.get("start") != now.start:
        found.append(Change(START, ""))
    if saved.get("data") != now.data:
        found.append(Change(PICTURES, listed(_pictures_changed(pictures_then or {}, now.pictures))))
    return found


def _compared(sections: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for section, values in sections.items():
        for field, value in values.items():
            name = f"{section}.{field}"
            free = section in _FREE_SECTIONS or name in _FREE or field in _PLACES
            if name in _BOUND or not free:
                yield name, _without_places(value)


def _without_places(value: Any) -> Any:
    """A plain copy, as JSON would give it back; the tables of sets without the places of their files."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = [{key: inner for key, inner in table.items() if key not in _PLACES} for table in value]
    return json.loads(json.dumps(value))


def _of_picture(picture: PlannedPicture) -> str:
    mask = blake2b(picture.mask.read_bytes()).digest() if picture.mask is not None else b""
    facts = picture.digest, picture.placement, picture.text, picture.repeats, mask
    return _digest(repr(facts).encode())


def _of_model(model: Model) -> str:
    """Reads blocks from all over each file: fine-tuned models often share their first parts."""
    digest = blake2b(digest_size=16)
    for name, file in model.files():
        try:
            with file.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                digest.update(f"{name} {size}".encode())
                for number in range(_BLOCKS):
                    stream.seek(number * max(_BLOCK, size // _BLOCKS))
                    digest.update(stream.read(_BLOCK))
        except OSError as error:
            raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    return digest.hexdigest()


def _pictures_changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of those that differ, came or went; nothing where only their order did."""
    return [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)] if then else []


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
