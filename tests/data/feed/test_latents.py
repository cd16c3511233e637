"""Where latents come from: the same for all sources, encoded again exactly when something they depend on changes."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tehon.data.feed import latents as module
from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.latents import Arrays, FreshLatents, KeptLatents, Memory, Moments
from tehon.data.feed.loader import Loader
from tehon.data.feed.npz import read_npz
from tehon.data.feed.pixels import Piece, read_piece
from tehon.data.feed.views import View, read_views
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Shift, Source
from tehon.messages.problem import Problem

CPU = torch.device("cpu")
SQUARE, WIDE = Placement((64, 64), (64, 64)), Placement((96, 64), (100, 64))


class Encoder:
    """A VAE that keeps every eighth pixel, and counts what it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(pixels.shape))
        return pixels[:, :, ::8, ::8], pixels[:, :, ::8, ::8].abs() + 0.5

    @property
    def pictures(self) -> int:
        return sum(shape[0] for shape in self.shapes)


def picture(path: Path, placement: Placement, seed: int = 0, **facts: object) -> Source:
    pixels = np.random.default_rng(seed).integers(0, 256, (placement.resized[1], placement.resized[0], 4), np.uint8)
    Image.fromarray(pixels).save(path)
    digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return Source(path, digest, placement, **facts)  # type: ignore[arg-type]


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    (tmp_path / "pictures").mkdir()
    places = [SQUARE, WIDE, SQUARE, SQUARE]
    return [picture(tmp_path / "pictures" / f"{n}.png", place, n) for n, place in enumerate(places)]


def views(sources: Sequence[Source], flips: tuple[bool, ...] = (False,)) -> list[View]:
    return [View(source, Look(source.placement.crop, flip)) for source in sources for flip in flips]


def nobody(text: str) -> None:
    raise AssertionError(text)


def kept(
    views: list[View], encode: Encoder, arrays: Arrays | None = None, encoder: str = "vae", size: int = 2
) -> KeptLatents:
    latents = KeptLatents(Memory() if arrays is None else arrays, encode, encoder, CPU, nobody)
    list(latents.fill(views, size, Loader(0)))
    return latents


def on_disk(folder: Path, views: list[View], encoder: str = "vae") -> int:
    """How many pictures a new run has to encode."""
    encode = Encoder()
    with ArrayCache(folder) as cache:
        kept(views, encode, cache, encoder)
    return encode.pictures


def same(a: Moments, b: Moments) -> bool:
    masks = (a.mask is None and b.mask is None) or (
        a.mask is not None and b.mask is not None and torch.equal(a.mask, b.mask)
    )
    return torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) and masks


def test_buckets_are_encoded_together_in_batches(sources: list[Source]) -> None:
    encode = Encoder()
    latents = KeptLatents(Memory(), encode, "vae", CPU, nobody)
    assert list(latents.fill(views(sources), 2, Loader(0))) == [2, 1, 1]
    assert encode.shapes == [(2, 3, 64, 64), (1, 3, 64, 64), (1, 3, 64, 96)]
    pixels = torch.tensor(read_piece(sources[0], Look((0, 0))).pixels).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(latents.read(views(sources[:1])).mean[0], pixels[:, ::8, ::8])


def test_the_next_pictures_are_decoded_while_some_are_encoded(
    sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding begins when the encoder has begun with what comes before, and the encoder ends when it is done: done in
    turn, the two would wait for each other."""
    order = sorted(range(4), key=lambda number: sources[number].placement.bucket)
    begun, decoded = [Event() for _ in range(5)], [Event() for _ in range(5)]
    begun[-1].set(), decoded[-1].set()  # nothing comes before the first, or after the last
    met: list[bool] = []

    def decode(wanted: Sequence[View]) -> list[Piece]:
        number = order.index(sources.index(wanted[0].source))
        met.append(begun[number - 1].wait(20))
        pieces = read_views(tuple(wanted))
        decoded[number].set()
        return pieces

    class Slow(Encoder):
        def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            number = len(self.shapes)
            begun[number].set()
            met.append(decoded[number + 1].wait(20))
            return super().__call__(pixels)

    monkeypatch.setattr(module, "read_views", decode)
    assert list(KeptLatents(Memory(), Slow(), "vae", CPU, nobody).fill(views(sources), 1, Loader(0))) == [1] * 4
    assert met == [True] * 8


class Side:
    """One of two threads that stand for processes: what they exchange lies on the table between them."""

    count = 2

    def __init__(self, rank: int, table: list[Any], meet: Barrier) -> None:
        self.rank, self.table, self.meet = rank, table, meet

    def exchange(self, own: Any) -> list[Any]:
        self.meet.wait(20)
        self.table[self.rank] = own
        self.meet.wait(20)
        return list(self.table)

    def hand_out(self, thing: Any) -> Any:
        return self.exchange(thing)[0]


@pytest.mark.parametrize("disks", [0, 1, 2])
def test_two_processes_encode_a_share_each_and_have_all(sources: list[Source], tmp_path: Path, disks: int) -> None:
    """In memory, on one disk, or each on a disk of its own, where everything is encoded twice."""
    table, meet = [None, None], Barrier(2)
    encoders = [Encoder(), Encoder()]
    folders = [tmp_path / f"cache {rank * (disks - 1)}" for rank in range(2)]
    arrays: list[Arrays] = [ArrayCache(folder) if disks else Memory() for folder in folders]
    sides = [KeptLatents(arrays[rank], encoders[rank], "vae", CPU, nobody) for rank in range(2)]

    def fill(rank: int) -> list[int]:
        return list(sides[rank].fill(views(sources), 1, Loader(0), Side(rank, table, meet)))

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(fill, range(2))) == [[2, 2], [2, 2]]
    assert [encoder.pictures for encoder in encoders] == ([4, 4] if disks == 2 else [2, 2])
    whole = kept(views(sources), Encoder()).read(views([sources[0], sources[2]]))
    assert all(same(side.read(views([sources[0], sources[2]])), whole) for side in sides)


def test_a_draw_is_the_mean_and_a_deviation_times_noise(sources: list[Source]) -> None:
    moments = kept(views(sources), Encoder()).read(views([sources[0], sources[2]]))
    noise = torch.randn(2, 3, 8, 8)
    assert torch.equal(moments.draw(noise), moments.mean + moments.std * noise)
    assert (moments.std >= 0.5).all()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_all_sources_give_the_same(workers: int, sources: list[Source], tmp_path: Path) -> None:
    """In memory, on disk, from the disk again, and encoded at each reading: with flips and with masks."""
    sources = [replace(source, alpha_mask=n != 2) for n, source in enumerate(sources)]
    every = views(sources, (False, True))
    square = [view for view in every if view.source.placement == SQUARE]
    memory = kept(every, Encoder())
    with ArrayCache(tmp_path / "cache") as cache:
        disk = kept(every, Encoder(), cache)
        first = disk.read(square)
    again = Encoder()
    reopened = kept(every, again, ArrayCache(tmp_path / "cache"))
    assert again.pictures == 0
    fresh = FreshLatents(Encoder(), CPU, nobody, Loader(workers))
    fresh.expect(lambda: [[tuple(every[2:4]), tuple(square)]])
    fresh.read(every[2:4])
    assert memory.read(square).mask is not None
    for other in (first, reopened.read(square), fresh.read(square)):
        assert same(memory.read(square), other)


def test_flips_are_encoded_and_not_mirrored_latents(sources: list[Source]) -> None:
    latents = kept(views(sources, (False, True)), Encoder())
    plain, flipped = (latents.read(views(sources[:1], (flip,))).mean for flip in (False, True))
    assert not torch.equal(flipped, plain.flip(-1))
    pixels = torch.tensor(read_piece(sources[0], Look((0, 0))).pixels).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(flipped[0], pixels.flip(-1)[:, ::8, ::8])


def test_readings_without_mask_count_everywhere(sources: list[Source]) -> None:
    mixed = [replace(sources[0], alpha_mask=True), sources[2]]
    mask = kept(views(mixed), Encoder()).read(views(mixed)).mask
    assert mask is not None
    assert mask.shape == (2, 1, 8, 8)
    assert (mask[1] == 1).all()
    assert 0.3 < mask[0].mean() < 0.7
    assert kept(views(sources), Encoder()).read(views(sources[:1])).mask is None


Change = Callable[[list[Source]], list[Source]]


@pytest.mark.parametrize(
    ("change", "encoded"),
    [
        pytest.param(lambda s: s, 0, id="nothing"),
        pytest.param(lambda s: s[::-1], 0, id="the order"),
        pytest.param(lambda s: s[1:], 0, id="one less"),
        pytest.param(lambda s: [*s, replace(s[0], digest="new")], 1, id="one more"),
        pytest.param(lambda s: [replace(s[0], digest="new"), *s[1:]], 1, id="one picture"),
        pytest.param(lambda s: [replace(s[1], placement=Placement((96, 64), (99, 64))), *s[:1], *s[2:]], 1, id="size"),
        pytest.param(lambda s: [replace(x, placement=Placement((32, 32), (32, 32))) for x in s], 4, id="resolution"),
        pytest.param(lambda s: [replace(s[0], interpolation="nearest"), *s[1:]], 1, id="interpolation"),
        pytest.param(lambda s: [replace(s[0], background="black"), *s[1:]], 1, id="background"),
        pytest.param(lambda s: [replace(s[0], alpha_mask=True), *s[1:]], 0, id="mask"),
    ],
)
def test_what_changed_is_encoded_again_and_nothing_else(
    change: Change, encoded: int, sources: list[Source], tmp_path: Path
) -> None:
    assert on_disk(tmp_path / "cache", views(sources)) == 4
    assert on_disk(tmp_path / "cache", views(change(sources))) == encoded
    assert on_disk(tmp_path / "cache", views(sources)) == 0


def test_another_vae_encodes_everything_and_forgets_nothing(sources: list[Source], tmp_path: Path) -> None:
    assert on_disk(tmp_path / "cache", views(sources)) == 4
    assert on_disk(tmp_path / "cache", views(sources), "another") == 4
    assert on_disk(tmp_path / "cache", views(sources), "another") == 0
    assert on_disk(tmp_path / "cache", views(sources)) == 0


def test_a_renamed_or_copied_picture_is_known(sources: list[Source], tmp_path: Path) -> None:
    assert on_disk(tmp_path / "cache", views(sources)) == 4
    moved = shutil.copy(sources[0].path, tmp_path / "other.png")
    assert on_disk(tmp_path / "cache", views([replace(sources[0], path=Path(moved))])) == 0
    assert on_disk(tmp_path / "twins", views([sources[0], replace(sources[0], path=Path(moved))])) == 1


def test_flips_and_crops_are_encoded_apart(sources: list[Source], tmp_path: Path) -> None:
    assert on_disk(tmp_path / "cache", views(sources)) == 4
    assert on_disk(tmp_path / "cache", views(sources, (False, True))) == 4
    assert on_disk(tmp_path / "cache", [View(sources[1], Look((0, 0)))]) == 1


def test_a_changed_mask_file_makes_a_new_mask_and_no_new_latents(sources: list[Source], tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    means: list[float] = []
    for level in (0, 255):
        Image.new("L", (64, 64), level).save(mask)
        masked = views([replace(sources[0], mask=mask)])
        encode = Encoder()
        with ArrayCache(tmp_path / "cache") as cache:
            moments = kept(masked, encode, cache).read(masked)
        assert encode.pictures == (1 if level == 0 else 0)
        assert moments.mask is not None
        means.append(moments.mask.mean().item())
    assert means == [0, 1]


def test_one_picture_with_two_masks_is_encoded_once_and_masked_twice(sources: list[Source], tmp_path: Path) -> None:
    both: list[View] = []
    for level in (0, 255):
        mask = tmp_path / f"{level}.png"
        Image.new("L", (64, 64), level).save(mask)
        both += views([replace(sources[0], mask=mask)])
    encode = Encoder()
    latents = KeptLatents(Memory(), encode, "vae", CPU, nobody)
    assert len(latents.missing(both + both)) == 2
    assert list(latents.fill(both + both, 1, Loader(0))) == [1, 1]
    moments = latents.read(both)
    assert moments.mask is not None
    assert moments.mask.mean((1, 2, 3)).tolist() == [0, 1]
    assert encode.pictures == 1
    assert latents.missing(both) == []


def test_given_latents_are_counted_for_each_view(sources: list[Source]) -> None:
    moments = np.zeros((2, 3, 8, 8), np.float32)
    latents = KeptLatents(Memory(), Encoder(), "vae", CPU, nobody)
    assert latents.take(views([sources[0], sources[0], sources[1]]), lambda view: moments) == 3


def test_damage_on_disk_is_repaired_and_told(sources: list[Source], tmp_path: Path) -> None:
    on_disk(tmp_path, views(sources))
    shard = next(tmp_path.glob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[10] ^= 255
    shard.write_bytes(data)
    told: list[str] = []
    encode = Encoder()
    with ArrayCache(tmp_path) as cache:
        latents = KeptLatents(cache, encode, "vae", CPU, told.append)
        assert list(latents.fill(views(sources), 2, Loader(0))) == []
        found = latents.read(views([sources[0], sources[2]]))
    assert len(told) == 1
    assert "0.png" in told[0]
    assert encode.pictures == 1
    assert same(found, kept(views(sources), Encoder()).read(views([sources[0], sources[2]])))
    assert on_disk(tmp_path, views(sources)) == 0


def test_a_latent_that_is_not_finite_is_named(sources: list[Source]) -> None:
    def broken(pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean = pixels[:, :, ::8, ::8].clone()
        mean[-1] = float("nan")
        return mean, mean

    with pytest.raises(Problem, match=r"2\.png"):
        list(KeptLatents(Memory(), broken, "vae", CPU, nobody).fill(views([sources[0], sources[2]]), 2, Loader(0)))


def test_the_pictures_after_a_broken_one_are_not_lost_in_silence(sources: list[Source]) -> None:
    sources[2].path.write_bytes(b"no picture")
    with pytest.raises(Problem, match=r"2\.png"):
        kept(views(sources), Encoder())


@hypothesis_settings(max_examples=12)
@given(st.integers(0, 11), st.sampled_from([0, 0, 0, 1, 3]), st.booleans())
def test_any_resume_point_and_any_workers_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, start: int, workers: int, persistent: bool
) -> None:
    """Three epochs of four batches with crops, flips and colours, begun anywhere."""
    folder = tmp_path_factory.mktemp("pictures")
    sources = [picture(folder / f"{n}.png", Placement((32, 32), (40, 48)), n) for n in range(3)]
    looks = [Look((n % 9, n % 17), n % 2 == 1, Shift(hue=n * 7.0) if n % 3 else None) for n in range(24)]
    jobs = [tuple(View(sources[(n + k) % 3], looks[2 * n + k]) for k in range(2)) for n in range(12)]
    plain = [FreshLatents(Encoder(), CPU, nobody, Loader(0)).read(job) for job in jobs]
    fresh = FreshLatents(Encoder(), CPU, nobody, Loader(workers), persistent)
    epochs = [jobs[max(start, n) : n + 4] for n in (0, 4, 8) if start < n + 4]
    fresh.expect(lambda: epochs)
    for number in range(start, 12):
        if number % 5 == 3:
            fresh.read(jobs[0])  # something else in between
        assert same(fresh.read(jobs[number]), plain[number])
    fresh.close()


def write_npz(path: Path, latents: np.ndarray, original: tuple[int, int], crop: list[float], **more: object) -> None:
    """As sd-scripts writes it."""
    np.savez(path, latents=latents, original_size=np.array(original), crop_ltrb=np.array(crop), **more)


def test_latents_of_sd_scripts_are_used_where_they_fit(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", WIDE)
    size = (100, 64)
    sample = np.random.default_rng(0).normal(size=(4, 8, 12)).astype(np.float32)
    # 100 x 64 fits into 96 x 64 at 96 x 61.44, with (64 - 61.44) // 2 = 1 above
    write_npz(tmp_path / "a_0100x0064_sd.npz", sample, size, [0, 1, 96, 62.44], latents_flipped=sample[:, ::-1])
    plain, flipped = views([source], (False, True))
    for view, expected in ((plain, sample), (flipped, sample[:, ::-1])):
        found = read_npz(view, 0.18215)
        assert found is not None
        assert np.allclose(found[0], expected * 0.18215)
        assert (found[1] == 0).all()
    assert read_npz(View(source, Look((0, 0))), 1.0) is None, "another crop"
    smaller = replace(source, placement=Placement((64, 64), (100, 64)))
    assert read_npz(views([smaller])[0], 1.0) is None, "another bucket"
    write_npz(tmp_path / "a.npz", sample, size, [16, 0, 80, 64])
    assert read_npz(plain, 1.0) is None, "the old name comes first, and its crop is another"
    write_npz(tmp_path / "a.npz", sample, (101, 64), [0, 1, 96, 62.44])
    assert read_npz(plain, 1.0) is None, "another original size"
    (tmp_path / "a.npz").write_bytes(b"PK broken")
    assert read_npz(plain, 1.0) is None


def test_given_latents_are_read_instead_of_encoded_and_never_kept(sources: list[Source], tmp_path: Path) -> None:
    encode = Encoder()
    moments = np.stack([np.full((3, 8, 8), 7, np.float32), np.zeros((3, 8, 8), np.float32)])
    with ArrayCache(tmp_path / "cache") as cache:
        latents = KeptLatents(cache, encode, "vae", CPU, nobody)
        assert latents.take(views(sources), lambda view: moments if view.source == sources[0] else None) == 1
        list(latents.fill(views(sources), 4, Loader(0)))
        read = latents.read(views([sources[0]]))
    assert encode.pictures == 3
    assert (read.mean == 7).all()
    assert (read.draw(torch.randn(1, 3, 8, 8)) == 7).all()
    assert on_disk(tmp_path / "cache", views(sources)) == 1
