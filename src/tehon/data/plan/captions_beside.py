"""The caption files of folders, listed by a process of its own while this one lists their pictures: with many files,
most of the time goes into asking the system for the times of each.

>>> with CaptionsBeside([Path("10_mofu")], (".txt",)) as captions:
...     captions.of(Path("10_mofu")).texts[".txt"].names
['01.txt', '02.txt']
"""

import marshal
import subprocess
import sys
from array import array
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tehon.data.plan import entries
from tehon.data.plan.entries import CAPTIONS
from tehon.data.plan.listing import Listing, Stamps, list_folder


class CaptionsBeside:
    """Lists the captions of folders, one folder after the other and one ahead of whoever asks. `texts` are the
    extensions, as `list_folder` has them. Without its process it does the same by itself."""

    def __init__(self, folders: Sequence[Path], texts: Collection[str]) -> None:
        self._texts = tuple(texts)
        self.process = _started(marshal.dumps((self._texts, [str(folder) for folder in folders])))

    def __enter__(self) -> "CaptionsBeside":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process:
            assert self.process.stdout, "the process was started with pipes"
            self.process.kill()
            self.process.stdout.close()
            self.process.wait()

    def of(self, folder: Path) -> Listing:
        """The CAPTIONS of a folder. OSError when the folder can't be read."""
        found = self._answer(str(folder))
        return _unpacked(folder, found) if found else list_folder(folder, self._texts, CAPTIONS)

    def _answer(self, folder: str) -> "tuple[Any, ...] | None":
        """What the process says of a folder; None when it says nothing, or no more. It answers in the order in which it
        was asked."""
        if not self.process:
            return None
        assert self.process.stdout, "the process was started with pipes"
        with suppress(OSError, EOFError, ValueError, TypeError):
            while True:
                size = int.from_bytes(self.process.stdout.read(8), "little")
                name, *found = marshal.loads(self.process.stdout.read(size))
                if name == folder:
                    return tuple(found)
        return None


def _started(job: bytes) -> "subprocess.Popen[bytes] | None":
    # -I passes over PYTHONUTF8, and names of files have to be read as they are here.
    words = [sys.executable, "-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", entries.__file__]
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    assert process.stdin, "the process was started with pipes"
    with suppress(OSError):
        process.stdin.write(job)
        process.stdin.close()
    return process


def _unpacked(folder: Path, answer: tuple[Any, ...]) -> Listing:
    texts, others, folders, not_read, unreadable = answer
    stamps = {
        extension: Stamps(names, stems, *(array("q", column) for column in numbers))
        for extension, (names, stems, *numbers) in texts.items()
    }
    return Listing(
        folder, Stamps.of(()), stamps, others, sorted(folder / name for name in folders), sorted(not_read), unreadable
    )
