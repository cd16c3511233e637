"""Where compiled loops are kept from one process to the next."""

from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile
from typing import Any

from numba import config
from numba.misc.appdirs import AppDirs

FILES = ("attention", "gates", "low_rank", "norms")
"""Those of this package that hold loops."""
_config: Any = config


@cache
def kept() -> Path | None:
    """Where compiled loops of this package are kept: in a folder named after all of its files, since numba looks only
    at the file that a loop stands in, and not at those it calls. It lies with the package where that may be written to,
    else where numba keeps what is a user's, else nowhere."""
    here = Path(__file__).parent
    digest = sha256(b"".join(file.read_bytes() for file in sorted(here.glob("*.py")))).hexdigest()
    users = _config.CACHE_DIR or AppDirs("numba", appauthor=False).user_cache_dir
    for place in (here / "__pycache__", Path(users)):
        folder = place / f"tehon-{digest[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


def must_compile() -> bool:
    """Whether loops have to be compiled before they first run, once for this version: a file's are not where they will
    be kept. Where they can't be kept, which is not once, this is False."""
    folder = kept()
    return folder is not None and not all(any(folder.rglob(f"{file}.*.nbi")) for file in FILES)


def compile_all() -> None:
    """Compiles all loops, or reads them where they are kept."""
    for file in FILES:
        import_module(f"tehon.loops.{file}")


def forget_others(folder: Path) -> None:
    """Deletes what older versions of this package have kept."""
    for other in folder.parent.glob("tehon-" + 16 * "[0-9a-f]"):
        if other != folder:
            rmtree(other, ignore_errors=True)
