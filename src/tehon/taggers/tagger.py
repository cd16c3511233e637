"""One small interface for models that caption pictures; which library runs one follows from the files of its folder.

>>> tagger = open_tagger("wd-v1-4-swinv2-tagger-v3", Wishes())
>>> list(tag_pictures(tagger, [Path("01.png")], batch=4))
['1girl, solo, outdoors']
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from tehon.data.plan.images import open_upright
from tehon.messages.problem import Problem, reason_of


@dataclass(frozen=True)
class Wishes:
    """What counts as a tag: how sure the model must be of it (of a character, another share if given), and whether its
    underscores stay."""

    threshold: float = 0.35
    character_threshold: float | None = None
    keep_underscores: bool = False


class Tagger(Protocol):
    """A model that says what is in pictures."""

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """One caption for each picture (RGB, any size)."""
        ...


def open_tagger(model: str, wishes: Wishes) -> Tagger:
    """The model in a folder, or of a name on the hub. `model.onnx` with `selected_tags.csv` is one of the WD14 kind,
    `config.json` one of transformers' that turn pictures into text, like BLIP. A Problem where it is neither, or the
    library for it is not installed."""
    folder = _folder(model)
    if (folder / "model.onnx").is_file():
        from tehon.taggers.wd14 import Wd14

        return Wd14(folder, wishes)
    if (folder / "config.json").is_file():
        from tehon.taggers.blip import Blip

        return Blip(folder)
    raise Problem("tagger_unknown", field="--model", path=model)


def _folder(model: str) -> Path:
    folder = Path(os.path.expanduser(model))
    if folder.is_dir():
        return folder
    if model.count("/") != 1 or folder.is_absolute():
        raise Problem("tagger_missing", field="--model", path=model)
    from huggingface_hub import snapshot_download

    wanted = ["model.onnx", "selected_tags.csv", "*.json", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(model, allow_patterns=wanted))
    except Exception as error:  # noqa: BLE001  the hub raises errors of many libraries
        raise Problem("tagger_not_fetched", field="--model", path=model, reason=reason_of(error)) from None


def tag_pictures(tagger: Tagger, pictures: Sequence[Path], batch: int) -> Iterator[str]:
    """A caption for each file, some at a time; a Problem names a picture that cannot be read."""
    for start in range(0, len(pictures), batch):
        yield from tagger.describe([open_upright(path).convert("RGB") for path in pictures[start : start + batch]])
