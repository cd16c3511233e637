"""Caption files: which one is a picture's, and what it says.

>>> read_text(caption_file(Path("10_mofu/01.png")))
'mofu, sitting'
"""

from pathlib import Path

from tehon.captions.files import content_of
from tehon.messages.problem import Problem

EXTENSIONS = (".caption", ".txt")
"""Where captions are looked for when no extension is given, the first first; new ones get the last."""


def caption_file(picture: Path, extension: str = "") -> Path:
    """The caption file beside a picture, or where it would be."""
    endings = (f".{extension.lstrip('.')}",) if extension else EXTENSIONS
    files = [picture.with_suffix(ending) for ending in endings]
    return next((file for file in files if file.is_file()), files[-1])


def read_text(file: Path) -> str:
    """A caption file's text; a Problem when it is no UTF-8."""
    try:
        return (content_of(file) or b"").decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=file) from None
