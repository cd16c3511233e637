"""Files that are there whole or not at all, whatever ends the process or the machine while they are written.

A file is written beside its place, forced to disk, and renamed; then the folder is forced to disk too, since a rename
is an entry in the folder and may be forgotten with it when the power fails.

>>> write_whole(Path("state.pt"), header, payload)
"""

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from tehon.messages.problem import Problem

_ASIDE = re.compile(r"\.(.+)\.tehon-[0-9a-f]{8}", re.DOTALL)
"""The name of what is being written; one that nobody is writing is left over from a process that died."""
_LONGEST = 255 - len("..tehon-12345678")  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_whole(file: Path, *parts: bytes | memoryview) -> None:
    """The parts become the file's content. A Problem when they can't; what was there before then stays."""
    fill_whole(file, lambda aside: _write(aside, parts))


def write_new(file: Path, text: str, overwrite: bool = False) -> None:
    """Writes a text, and the folders on the way to it; a Problem when the file is there and may not be replaced."""
    if not overwrite and is_there(file):
        raise Problem("file_exists", path=file)
    make_folder(file.parent)
    write_whole(file, text.encode())


def make_folder(folder: Path) -> None:
    """The folder with all on the way to it, where they are not there yet; a Problem when they can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def fill_whole(file: Path, fill: Callable[[Path], object]) -> None:
    """`fill` is given a path beside the file's, and what it writes there becomes the file."""
    aside = _beside(file)
    try:
        aside.touch()
        with _held(aside):
            fill(aside)
            sync_file(aside)
            _rename(aside, file)
        sync_folder(file.parent)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(file, error) from None
        raise


def fill_folder(folder: Path, fill: Callable[[Path], object], overwrite: bool = False) -> None:
    """`fill` is given an empty folder within one beside the folder's place, and that becomes the folder. With
    `overwrite` one that is there is replaced if nothing is in it that the new one doesn't have by the same name. What
    is left over of an earlier try is cleared away, and a folder that it had taken aside is brought back."""
    folder = folder.absolute()
    if is_there(folder) and (not overwrite or not folder.is_dir()):
        raise Problem("file_exists", path=folder)
    aside, old = _beside(folder), folder.with_name(f".{_cut(folder.name)}.tehon-before")
    try:
        if old.exists():  # a process died between the two renames below, or before it removed the old one
            shutil.rmtree(old, ignore_errors=True) if folder.exists() else _rename(old, folder)
            if not overwrite:
                raise Problem("file_exists", path=folder)
        clear_leftovers_of(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        with _held(aside):
            new = aside / "new"
            new.mkdir()
            fill(new)
            if folder.exists():
                _check_replaces(folder, new)
                _rename(folder, old)
            _rename(new, folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        if old.exists() and not folder.exists():
            _rename(old, folder)
        if isinstance(error, OSError):
            raise unwritable(folder, error) from None
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_replaces(folder: Path, by: Path) -> None:
    """A Problem when something would be gone, and not only be another."""
    for place in sorted(folder.rglob("*")):
        inside = place.relative_to(folder)
        if not place.is_dir() and not (by / inside).is_file():
            raise Problem("folder_has_others", path=folder, name=inside.as_posix())


def append(file: Path, text: str, durable: bool = False) -> None:
    """Adds to a file in one write; with `durable` it is on the disk when this returns."""
    try:
        with file.open("a", encoding="utf8") as stream:
            stream.write(text)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise unwritable(file, error) from None


def link_or_copy(source: Path, target: Path) -> None:
    """The same content at a second place, without taking its room twice where the disk can do that."""

    def fill(aside: Path) -> None:
        aside.unlink()
        try:
            os.link(source, aside)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, aside)

    fill_whole(target, fill)


def remove(file: Path) -> None:
    """Takes a file away, if it is there; one that resists stays."""
    with suppress(OSError):
        file.unlink(missing_ok=True)


def sync_file(file: Path) -> None:
    """Forces a file's content to disk."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Forces the folder's entries to disk. Windows can't and needn't: it writes them with the file."""
    if sys.platform != "win32":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network disks have no such thing
                raise
        finally:
            os.close(number)


def clear_leftovers(folder: Path, own: Callable[[str], object] = lambda name: True) -> None:
    """Removes what a process that died was writing there, of the files and folders that `own` says are ours by their
    names; what somebody is writing stays."""
    for aside in folder.glob(".*.tehon-*"):
        match = _ASIDE.fullmatch(aside.name)
        if match and own(match[1]):
            with _held(aside) as left:
                pass
            if left and aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            elif left:
                remove(aside)


def clear_leftovers_of(place: Path) -> None:
    """The same of those that were to become this file or folder."""
    clear_leftovers(place.parent, lambda name: name == _cut(place.name))


def is_leftover(name: str) -> bool:
    """Whether it is the name of something that a process was writing, and is not done with."""
    return _ASIDE.fullmatch(name) is not None


def is_there(place: Path) -> bool:
    """Whether there is a file or folder; a Problem where none can be, as of a name that is too long."""
    try:
        return place.exists()
    except OSError as error:
        raise unwritable(place, error) from None


def check_space(folder: Path, needed: int, *, one_file: bool = False) -> None:
    """A Problem when the disk has less room than this many bytes, or when the folder is gone; `one_file` is all that is
    to be written, so that no setting could make it less."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(folder, error) from None
    if free < needed:
        room = {"free": sized(free), "needed": sized(needed)}
        if one_file:
            raise Problem("disk_full_for_file", path=folder, **room)
        raise Problem("disk_full", path=folder, **room)


def sized(size: float) -> str:
    """Bytes in the unit in which they have one to three figures before the point.

    >>> sized(129_522_700_000)
    '129.5 GB'
    """
    figure, unit = size / 1000, "KB"
    for larger in ("MB", "GB", "TB"):
        if figure < 999.95:
            break
        figure, unit = figure / 1000, larger
    return f"{figure:.1f} {unit}"


def unwritable(file: Path, error: OSError) -> Problem:
    """The sentence for a write that failed; a full disk and a limit of size have their own."""
    if error.errno in _FULL:
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(file.parent).free
        return Problem("disk_full_at", path=file, free=sized(free))
    if error.errno == errno.EFBIG:
        return Problem("size_refused", path=file)
    return Problem("not_written", path=file, reason=error.strerror or error)


def _beside(place: Path) -> Path:
    """A path in the same folder that nobody else has, for what is to become this one or was it."""
    return place.with_name(f".{_cut(place.name)}.tehon-{secrets.token_hex(4)}")


def _cut(name: str) -> str:
    """As much of a name as leaves room for what is put around it."""
    return name.encode(errors="surrogateescape")[:_LONGEST].decode(errors="ignore")


@contextmanager
def _held(aside: Path) -> Generator[bool, None, None]:
    """Holds a file or folder that is being written; whether nobody else does. The system takes it back however this
    process ends. Windows removes no file that is open, so that only a folder need be held there, by such a file."""
    if sys.platform == "win32":
        with _open_within(aside) if aside.is_dir() else nullcontext(True) as mine:
            yield mine
        return
    import fcntl

    try:
        number = os.open(aside, os.O_RDONLY if aside.is_dir() else os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except OSError:  # somebody else has it, or the drive has no locks
        mine = False
    try:
        yield mine
    finally:
        os.close(number)


@contextmanager
def _open_within(folder: Path) -> Generator[bool, None, None]:
    """Holds an open file in the folder; whether nobody else does."""
    file = folder / "held"
    try:
        file.unlink(missing_ok=True)
    except PermissionError:
        yield False
    else:
        with file.open("wb"):
            yield True


def _write(aside: Path, parts: tuple[bytes | memoryview, ...]) -> None:
    with aside.open("wb") as stream:
        stream.writelines(parts)


def _rename(aside: Path, file: Path) -> None:
    """Windows refuses while somebody reads the old file; whoever does is soon done."""
    for left in reversed(range(20)):
        try:
            aside.replace(file)
            return
        except PermissionError:
            if sys.platform != "win32" or not left:
                raise
            time.sleep(0.05)
