"""Pictures for the browser, by tokens: no address holds a path, so there is none to forge.

>>> token = pictures.token(Path("pictures/10_mofu/01.png"))
>>> pictures.thumb(token)
PosixPath('.../thumbs/5f1c....webp')
"""

from hashlib import blake2b
from pathlib import Path

from tehon.disk import fill_whole

_THUMB = 320  # pixels of the longer side
_LARGE = 1280
_EFFORT = 1  # of WebP's 0 to 6: a third of the time that the usual 4 takes, and a tenth larger files


class Pictures:
    """The pictures that the page has shown, and their small copies in a cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Path] = {}

    def token(self, path: Path) -> str:
        """The picture's name in addresses; from now on it may be read."""
        path = path.absolute()
        found = blake2b(str(path).encode("utf8", "surrogateescape"), digest_size=12).hexdigest()
        self.known[found] = path
        return found

    def thumb(self, token: str) -> Path | None:
        return self._copy(token, _THUMB)

    def large(self, token: str) -> Path | None:
        return self._copy(token, _LARGE)

    def _copy(self, token: str, side: int) -> Path | None:
        """A copy of at most this size, made when it is first asked for; None for one that is unknown or broken."""
        path = self.known.get(token)
        if path is None:
            return None
        from PIL import Image, ImageOps  # the page is there without them

        try:
            facts = path.stat()
            name = blake2b(
                f"{path}|{facts.st_mtime_ns}|{facts.st_size}|{side}".encode(errors="replace"), digest_size=16
            )
            copy = self.folder / f"{name.hexdigest()}.webp"
            if not copy.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                with Image.open(path) as picture:
                    picture.draft("RGB", (side, side))
                    small = ImageOps.exif_transpose(picture)
                    small.thumbnail((side, side))
                    shown = small.convert("RGBA" if "A" in small.getbands() or "transparency" in small.info else "RGB")
                    fill_whole(copy, lambda aside: shown.save(aside, "WEBP", quality=82, method=_EFFORT))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        return copy
