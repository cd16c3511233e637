"""Models of transformers that turn pictures into text, like BLIP: a sentence for each picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tehon.messages.problem import Problem, reason_of

_LONGEST = 50  # tokens of a caption


class Blip:
    """A model that was loaded, on the graphics card where there is one."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise Problem("tagger_unreadable", field="--model", path=folder, reason=reason_of(error)) from None
        self.model: Any = model.to(self.device).eval()

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Captions without sampling, so that the same picture gets the same one."""
        given: Any = self.processor(images=list(pictures), return_tensors="pt").to(self.device)
        drawn: Any = self.model.generate(**given, max_new_tokens=_LONGEST, do_sample=False, num_beams=3)
        return [text.strip() for text in self.processor.batch_decode(drawn, skip_special_tokens=True)]
