"""Where latents come from: encoded once and kept, in memory or on disk, or encoded at each reading.

All give the posterior's mean and standard deviation, and the training draws from it at each reading. Keeping both
instead of one draw means that a cache changes nothing but the time: every reading gets a fresh sample.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tehon.data.feed.loader import Loader
from tehon.data.feed.pixels import Piece
from tehon.data.feed.views import View, Views, mask_key, pixels_key, read_views
from tehon.machine.transfer import to_device
from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
Epochs = Callable[[], Iterable[Iterable[Views]]]
Given = Callable[[View], "NDArray[np.float32] | None"]
Thing = TypeVar("Thing")


class Peers(Protocol):
    """Several processes that encode the same pictures, each a share: this one is number `rank` of `count`."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def hand_out(self, thing: Thing) -> Thing:
        """What the first process gave to this."""
        ...

    def exchange(self, own: Thing) -> list[Thing]:
        """What each process gave."""
        ...


class Moments(NamedTuple):
    """The posterior of some readings: float32 `mean` and `std` (n, c, h, w), and what counts in the loss, `mask`
    (n, 1, h, w) from 0 to 1, or None when everything does. They may be the cache's own, so nobody writes to them."""

    mean: Tensor
    std: Tensor
    mask: Tensor | None

    def draw(self, noise: Tensor) -> Tensor:
        """A sample of each posterior, mean + std * noise (n, c, h, w)."""
        return self.mean + self.std * noise


class LatentSource(Protocol):
    """Gives the moments of readings, in their order. Each row depends on its own view alone."""

    def expect(self, epochs: Epochs) -> None:
        """Says what will be read, epoch by epoch. Reading anything else in between is right too, but not ahead."""
        ...

    def read(self, views: Sequence[View]) -> Moments: ...

    def close(self) -> None:
        """Ends what works ahead."""
        ...


class Arrays(Protocol):
    """Arrays by key: `Memory`, or `ArrayCache` on disk."""

    shared: bool
    """Whether other processes find here what this one puts, once it is flushed and they have looked again."""

    def __contains__(self, key: bytes, /) -> bool: ...

    def get(self, key: bytes, /) -> NDArray[Any] | None: ...

    def put(self, key: bytes, array: NDArray[Any], /) -> None: ...

    def flush(self) -> None: ...

    def refresh(self) -> None:
        """Looks again."""
        ...


class Memory(dict[bytes, "NDArray[Any]"]):
    """Arrays kept for the time of the run."""

    shared = False

    def put(self, key: bytes, array: NDArray[Any]) -> None:
        self[key] = array

    def flush(self) -> None:
        """Nothing to do."""

    def refresh(self) -> None:
        """Nothing to do."""


class KeptLatents:
    """Every view is encoded once. `encoder` names the network and its precision: other names, other latents."""

    def __init__(self, arrays: Arrays, encode: Encode, encoder: str, device: torch.device, tell: Notice) -> None:
        self.arrays = arrays
        self.encode = encode
        self.encoder = encoder
        self.device = device
        self.tell = tell
        self._given = Memory()
        self._mask_digests: dict[Path, str] = {}
        self._told: set[Path] = set()

    def take(self, views: Iterable[View], given: Given) -> int:
        """Uses what `given` has for these views, moments (2, c, h, w), instead of encoding them; says how many views
        need no encoding for that."""
        count = 0
        for view in views:
            moments = given(view)
            if moments is not None:
                self._given.put(pixels_key(view, self.encoder), moments)
                count += 1
        return count

    def missing(self, views: Iterable[View]) -> list[View]:
        """Those that `fill` has to read: of views with equal pixels and equal masks, one."""
        found: dict[tuple[bytes, bytes | None], View] = {}
        for view in views:
            if not self._latent_kept(view) or not self._mask_kept(view):
                key = pixels_key(view, self.encoder), self._mask_key(view) if _masked(view) else None
                found.setdefault(key, view)
        return list(found.values())

    def fill(self, views: Sequence[View], batch_size: int, loader: Loader, peers: Peers | None = None) -> Iterator[int]:
        """Encodes what is missing, pictures of one bucket together, `batch_size` at a time, and says after each batch
        how many views are done. The order is that of buckets, then of `views`: the same in every run. Of several
        processes each takes every so-manieth batch, and gets what the others made of theirs."""
        todo = sorted(self.missing(views), key=lambda view: (view.source.placement.bucket, not self._latent_kept(view)))
        rank, count = (peers.rank, peers.count) if peers else (0, 1)
        jobs = _runs(peers.hand_out(todo) if peers else todo, batch_size)
        own = jobs[rank::count]
        made = zip(own, loader.map(read_views, own), strict=True)
        for first in range(0, len(jobs), count):
            new = self._keep(*next(made)) if first + rank < len(jobs) else {}
            for theirs in peers.exchange({} if self.arrays.shared else new) if peers else ():
                for key in theirs.keys() - new.keys():
                    self.arrays.put(key, theirs[key])
            yield sum(map(len, jobs[first : first + count]))
        next(made, None)
        self.arrays.flush()
        if peers and self.arrays.shared and count > 1:
            peers.exchange(None)
            self.arrays.refresh()
            for _ in self.fill(views, batch_size, loader):  # of processes that don't share a disk
                pass

    def expect(self, epochs: Epochs) -> None:
        """Nothing to do: `fill` has been there."""

    def close(self) -> None:
        """Nothing to do."""

    def read(self, views: Sequence[View]) -> Moments:
        rows = [self._latent(view) for view in views]
        both = np.stack(rows, 1) if len(rows) > 1 else rows[0][:, None]  # a single one is not even copied
        mean, std = to_device(torch.from_numpy(both), self.device).unbind()
        return Moments(mean, std, _masks([self._mask(view) for view in views], mean))

    def _latent_kept(self, view: View) -> bool:
        key = pixels_key(view, self.encoder)
        return key in self._given or key in self.arrays

    def _mask_kept(self, view: View) -> bool:
        return not _masked(view) or self._mask_key(view) in self.arrays

    def _latent(self, view: View) -> NDArray[np.float32]:
        key = pixels_key(view, self.encoder)
        found = self._given.get(key)
        return self._found(view, key) if found is None else found

    def _mask(self, view: View) -> NDArray[np.uint8] | None:
        return self._found(view, self._mask_key(view)) if _masked(view) else None

    def _found(self, view: View, key: bytes) -> NDArray[Any]:
        """What is kept under a key; when it has been damaged on disk, made again."""
        found = self.arrays.get(key)
        if found is None:
            self.tell(say("notice.cache_rebuilt", path=view.source.path))
            self._keep([view], read_views((view,)))
            self.arrays.flush()
            found = self.arrays.get(key)
            assert found is not None, "it was put there just now"
        return found

    def _keep(self, views: Sequence[View], pieces: Sequence[Piece]) -> dict[bytes, NDArray[Any]]:
        """Puts what is made of these pieces into the arrays, and says what that is."""
        kept: dict[bytes, NDArray[Any]] = {}
        for view, piece in zip(views, pieces, strict=True):
            _tell_profile(view, piece, self._told, self.tell)
            if piece.mask is not None:
                kept[self._mask_key(view)] = piece.mask
        by_key = {pixels_key(view, self.encoder): i for i, view in enumerate(views) if not self._latent_kept(view)}
        new = list(by_key.values())
        if new:
            mean, std = _encoded(self.encode, [views[i] for i in new], [pieces[i] for i in new], self.device)
            for row, i in enumerate(new):
                kept[pixels_key(views[i], self.encoder)] = torch.stack([mean[row], std[row]]).cpu().numpy()
        for key, array in kept.items():
            self.arrays.put(key, array)
        return kept

    def _mask_key(self, view: View) -> bytes:
        mask = view.source.mask
        if mask is None:
            return mask_key(view, view.source.digest)
        if mask not in self._mask_digests:
            self._mask_digests[mask] = blake2b(_content(mask), digest_size=16).hexdigest()
        return mask_key(view, self._mask_digests[mask])


class FreshLatents:
    """Every reading is encoded when it is read; the pictures of the readings to come are decoded ahead."""

    def __init__(
        self, encode: Encode, device: torch.device, tell: Notice, loader: Loader, persistent: bool = False
    ) -> None:
        """`persistent` workers read across the border of epochs, others end there."""
        self.encode = encode
        self.device = device
        self.tell = tell
        self.loader = loader
        self.persistent = persistent
        self._order: Iterator[Views] = iter(())
        self._pieces: Iterator[list[Piece]] = iter(())
        self._expected: Views | None = None
        self._told: set[Path] = set()

    def expect(self, epochs: Epochs) -> None:
        self._order = chain.from_iterable(epochs())
        maps = [chain.from_iterable(epochs())] if self.persistent else epochs()
        self._pieces = chain.from_iterable(self.loader.map(read_views, epoch) for epoch in maps)
        self._expected = next(self._order, None)

    def close(self) -> None:
        self._pieces, self._expected = iter(()), None

    def read(self, views: Sequence[View]) -> Moments:
        wanted = tuple(views)
        if wanted == self._expected:
            pieces = next(self._pieces)
            self._expected = next(self._order, None)
        else:
            pieces = read_views(wanted)
        for view, piece in zip(wanted, pieces, strict=True):
            _tell_profile(view, piece, self._told, self.tell)
        mean, std = _encoded(self.encode, wanted, pieces, self.device)
        return Moments(mean, std, _masks([piece.mask for piece in pieces], mean))


def _encoded(
    encode: Encode, views: Sequence[View], pieces: Sequence[Piece], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of pieces of one size; a Problem that names the picture when one is not finite."""
    pixels = torch.from_numpy(np.stack([piece.pixels for piece in pieces])).to(device)
    mean, std = encode(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    mean, std = mean.float(), std.float()
    if not bool((mean.sum() + std.sum()).isfinite()):
        for view, own_mean, own_std in zip(views, mean, std, strict=True):
            if not bool((own_mean.isfinite() & own_std.isfinite()).all()):
                raise Problem("latent_not_finite", path=view.source.path)
    return mean, std


def _masks(masks: Sequence[NDArray[np.uint8] | None], like: Tensor) -> Tensor | None:
    """(n, 1, h, w) from 0 to 1 on the device of `like` (n, c, h, w); readings without a mask count everywhere."""
    if all(mask is None for mask in masks):
        return None
    whole = np.full(like.shape[-2:], 255, np.uint8)
    rows = np.stack([whole if mask is None else mask for mask in masks])
    return to_device(torch.from_numpy(rows), like.device).unsqueeze(1).float() / 255


def _tell_profile(view: View, piece: Piece, told: set[Path], tell: Notice) -> None:
    """Says once for each picture that its colour profile is not used."""
    if piece.bad_profile and view.source.path not in told:
        told.add(view.source.path)
        tell(say("notice.profile_broken", path=view.source.path))


def _masked(view: View) -> bool:
    return view.source.mask is not None or view.source.alpha_mask


def _runs(views: Sequence[View], size: int) -> list[Views]:
    """The views in runs of at most `size` that share a bucket."""
    runs: list[Views] = []
    for view in views:
        if runs and len(runs[-1]) < size and runs[-1][0].source.placement.bucket == view.source.placement.bucket:
            runs[-1] = (*runs[-1], view)
        else:
            runs.append((view,))
    return runs


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
