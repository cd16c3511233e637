"""The caption of each picture, and where it came from.

>>> find_caption(Path("10_mofu/01.png"), words="mofu", extension="")
Caption(text='mofu on the left', source='.txt')
"""

from dataclasses import dataclass
from pathlib import Path

from tehon.messages.problem import Problem

CLASS_WORDS = "class words"


@dataclass(frozen=True)
class Caption:
    """`source` is the extension of the file that the text was read from, or CLASS_WORDS for the folder's name."""

    text: str
    source: str


def find_caption(picture: Path, words: str, extension: str) -> Caption:
    """The first line of the caption file beside the picture; without one, the class words of its folder.

    An empty `extension` looks for `.caption`, then for `.txt`.
    """
    dotted = extension if extension.startswith(".") else f".{extension}"
    for suffix in (dotted,) if extension else (".caption", ".txt"):
        file = picture.with_suffix(suffix)
        if file.is_file():
            return Caption(_first_line(file), suffix)
    return Caption(words, CLASS_WORDS)


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=file) from None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror) from None
    return lines[0].strip() if lines else ""
