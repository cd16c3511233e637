"""Drawn pictures as files in a folder, which somebody may be reading while they are drawn again.

>>> write_drawn(Path("10_mofu"), [("01", picture, "mofu on a red background")])
"""

import shutil
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image

from tehon.disk import clear_leftovers, fill_folder, is_leftover, remove, unwritable, write_whole
from tehon.messages.problem import Problem


def write_drawn(folder: Path, drawn: Iterable[tuple[str, Image.Image, str]]) -> None:
    """Pictures with their captions, by file stem, and nothing else, become what is in a folder. What is there as it
    should be is left alone, and what is not is replaced at once. A link in the folder's place may lead to somebody's
    own pictures, and is a Problem."""
    if folder.is_symlink():
        raise Problem("folder_is_link", path=folder)
    files = {name: content for one in drawn for name, content in _files(*one)}
    try:
        if folder.exists():
            _bring_up_to(folder, files)
        else:
            fill_folder(folder, lambda aside: [(aside / name).write_bytes(files[name]) for name in files])
    except OSError as error:
        raise unwritable(folder, error) from None


def _bring_up_to(folder: Path, files: Mapping[str, bytes]) -> None:
    clear_leftovers(folder)
    for place in folder.iterdir():
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.name not in files and not is_leftover(place.name):  # else somebody is drawing these at this moment
            remove(place)
    for name, content in files.items():
        place = folder / name
        if not place.is_file() or place.read_bytes() != content:
            write_whole(place, content)


def _files(stem: str, picture: Image.Image, caption: str) -> Iterable[tuple[str, bytes]]:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    yield f"{stem}.png", buffer.getvalue()
    yield f"{stem}.txt", f"{caption}\n".encode()
