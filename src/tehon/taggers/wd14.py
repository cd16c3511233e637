"""Taggers of the WD14 kind: an ONNX network with one output for each line of `selected_tags.csv`.

The picture is pasted on a white square, scaled to the side that the network takes, and given as float32 from 0 to 255,
(n, side, side, 3) in the order blue, green, red, as SmilingWolf's models were trained.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tehon.messages.problem import Problem, reason_of
from tehon.taggers.tagger import Wishes

_GENERAL, _CHARACTER = 0, 4  # categories; 9 is a rating, which is no tag


class Wd14:
    """A network that was opened, with its tags."""

    def __init__(self, folder: Path, wishes: Wishes) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise Problem("tagger_library", field="--model", library="onnxruntime") from None
        self.tags = _tags(folder / "selected_tags.csv")
        self.wishes = wishes
        runtime: Any = onnxruntime
        try:
            self.session: Any = runtime.InferenceSession(
                str(folder / "model.onnx"), providers=runtime.get_available_providers()
            )
            self.input: Any = self.session.get_inputs()[0]
            self.side = int(self.input.shape[1])
        except Exception as error:  # noqa: BLE001  onnxruntime has errors of its own, which share no class
            raise Problem("tagger_unreadable", field="--model", path=folder, reason=reason_of(error)) from None
        count = self.session.get_outputs()[0].shape[-1]
        if count != len(self.tags):
            raise Problem("tagger_tags", field="--model", path=folder, count=len(self.tags), wanted=count)

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """The tags that the network is sure of, the surest first."""
        values = np.stack([prepared(picture, self.side) for picture in pictures])
        size = self.input.shape[0] if isinstance(self.input.shape[0], int) else len(values)
        groups = [values[start : start + size] for start in range(0, len(values), size)]
        shares = np.concatenate([self.session.run(None, {self.input.name: group})[0] for group in groups])
        return [self._caption(row) for row in shares]

    def _caption(self, shares: NDArray[np.float32]) -> str:
        general, character = self.wishes.threshold, self.wishes.character_threshold
        limits = {_GENERAL: general, _CHARACTER: general if character is None else character}
        found = [
            (-float(share), self._text(name))
            for share, (name, category) in zip(shares, self.tags, strict=True)
            if category in limits and share > limits[category]
        ]
        return ", ".join(name for _, name in sorted(found))

    def _text(self, name: str) -> str:
        """Tags of up to three signs are faces like ^_^."""
        return name if self.wishes.keep_underscores or len(name) <= 3 else name.replace("_", " ")


def prepared(picture: Image.Image, side: int) -> NDArray[np.float32]:
    """(side, side, 3), blue first, 0 to 255."""
    wide = max(picture.size)
    square = Image.new("RGB", (wide, wide), "white")
    square.paste(picture, ((wide - picture.width) // 2, (wide - picture.height) // 2))
    scaled = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(scaled, np.float32)[:, :, ::-1])


def _tags(file: Path) -> list[tuple[str, int]]:
    """(name, category) of each output."""
    try:
        with file.open(encoding="utf8", newline="") as stream:
            return [(row["name"], int(row["category"])) for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise Problem("tagger_unreadable", field="--model", path=file, reason=error) from None
