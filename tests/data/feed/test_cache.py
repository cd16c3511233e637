"""The cache on disk: what is put in comes back, whatever happens to the files."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tehon.data.feed import cache as module
from tehon.data.feed.cache import RECORD, ArrayCache
from tehon.messages.problem import Problem


def key(number: int) -> bytes:
    return number.to_bytes(16, "little")  # ends in zero bytes, which must count


def put(folder: Path, *numbers: int, size: int = 100) -> None:
    with ArrayCache(folder) as cache:
        for number in numbers:
            cache.put(key(number), np.full((2, size), number, np.float32))


def held(folder: Path) -> set[int]:
    cache = ArrayCache(folder)
    found = {n: cache.get(key(n)) for n in range(20)}
    for n, array in found.items():
        assert array is None or (array == n).all()
    return {n for n, array in found.items() if array is not None}


@given(arrays(np.float32, st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)))
def test_an_array_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with ArrayCache(folder) as cache:
        cache.put(key(1), np.zeros(3, np.uint8))
        cache.put(key(2), array)
    found = ArrayCache(folder).get(key(2))
    if array.size:
        assert found is not None
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()


def test_what_is_put_can_be_read_at_once(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    for n in range(1, 5):
        cache.put(key(n), np.full(n, n, np.uint8))
        array = cache.get(key(n))
        assert array is not None
        assert array.tolist() == [n] * n
    assert cache.get(key(9)) is None
    assert len(cache) == 4


def test_two_runs_at_once_share_a_folder(tmp_path: Path) -> None:
    first, second = ArrayCache(tmp_path), ArrayCache(tmp_path)
    for n in (1, 2):
        first.put(key(n), np.full((2, 9), n, np.float32))
    for n in (2, 3):
        second.put(key(n), np.full((2, 9), n, np.float32))
    threads = [threading.Thread(target=one.close) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(tmp_path) == {1, 2, 3}
    assert len(list(tmp_path.glob("*.shard"))) == 2


def test_a_full_shard_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD_BYTES", 2000)
    put(tmp_path, 1, 2, 3, 4, 5)
    assert len(list(tmp_path.glob("*.shard"))) == 2
    assert held(tmp_path) == {1, 2, 3, 4, 5}


def test_a_changed_byte_loses_its_array_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, 1, 2, 3)
    shard = next(tmp_path.glob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1  # each array has 800 bytes
    shard.write_bytes(data)
    assert held(tmp_path) == {1, 3}


def test_a_cut_shard_loses_what_was_cut(tmp_path: Path) -> None:
    put(tmp_path, 1, 2, 3)
    shard = next(tmp_path.glob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:1700])
    cache = ArrayCache(tmp_path)
    assert key(2) in cache
    assert key(3) not in cache
    assert held(tmp_path) == {1, 2}
    shard.unlink()
    assert held(tmp_path) == set()


@pytest.mark.parametrize("left", [0, 10, RECORD.itemsize + 20])
def test_a_cut_index_loses_what_was_cut(left: int, tmp_path: Path) -> None:
    put(tmp_path, 1, 2, 3)
    index = next(tmp_path.glob("*.index"))
    index.write_bytes(index.read_bytes()[:left])
    assert held(tmp_path) == set(range(1, left // RECORD.itemsize + 1))


def test_a_spoiled_index_gives_nothing_wrong(tmp_path: Path) -> None:
    put(tmp_path, 1, 2, 3)
    index = next(tmp_path.glob("*.index"))
    whole = index.read_bytes()
    for place in range(len(whole)):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        cache = ArrayCache(tmp_path)
        for n in (1, 2, 3):
            array = cache.get(key(n))
            assert array is None or (array == np.full((2, 100), n)).all()


def test_an_array_is_never_half_written(tmp_path: Path) -> None:
    """A run that ends without closing has left records only of what is on disk."""
    cache = ArrayCache(tmp_path)
    cache.put(key(1), np.full((2, 100), 1, np.float32))
    cache.flush()
    cache.put(key(2), np.full((2, 100), 2, np.float32))
    assert held(tmp_path) == {1}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match=r"feed\.cache_folder.*file"):
        ArrayCache(tmp_path / "file" / "cache")


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no full device")
    cache = ArrayCache(tmp_path)
    cache._shard = full.open("wb", buffering=0)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Problem, match=r"feed\.cache_folder.*space"):
        cache.put(key(1), np.zeros((2, 100), np.float32))


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_array_never_wins_over_its_replacement(tmp_path: Path, damaged: int) -> None:
    put(tmp_path, 1)
    put(tmp_path, 1)
    shard = sorted(tmp_path.glob("*.shard"))[damaged]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert held(tmp_path) == {1}
