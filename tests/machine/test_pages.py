"""Pages of a mapped file are given back, and nothing else."""

import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from tehon.families.networks import fill
from tehon.frozen.convolution import freeze_convolutions
from tehon.machine.pages import let_go

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise(2) of Linux")
MEGABYTES = 4_000_000 * 4 / 1e6


def resident() -> float:
    """Megabytes of mapped files that lie in memory."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


@pytest.fixture
def mapped(tmp_path: Path) -> dict[str, torch.Tensor]:
    file = tmp_path / "weights.safetensors"
    numbers = torch.arange(4_000_000, dtype=torch.float32)
    safetensors.torch.save_file({"a": numbers, "b": numbers + 1, "c": numbers + 2}, file)
    with safe_open(file, "pt") as content:
        return {name: content.get_tensor(name) for name in ("a", "b", "c")}


def test_pages_go_and_come_back_from_the_file(mapped: dict[str, torch.Tensor]) -> None:
    sums = {name: tensor.double().sum() for name, tensor in mapped.items()}
    mapped["a"][-1] = mapped["c"][0] = 7.0  # written pages of the neighbours, which stay
    before = resident()
    let_go(mapped["b"])
    assert before - resident() == pytest.approx(MEGABYTES, abs=1)
    assert mapped["b"].double().sum() == sums["b"]
    assert mapped["a"][-1] == mapped["c"][0] == 7.0


def test_what_is_no_file_stays() -> None:
    own = torch.arange(4_000_000)
    let_go(own)
    assert own.equal(torch.arange(4_000_000))
    let_go(torch.ones(1))


def test_convolutions_keep_one_copy_of_a_mapped_weight(tmp_path: Path) -> None:
    layer = nn.Conv2d(640, 640, 3, padding=1)
    torch.manual_seed(0)
    pictures = torch.randn(1, 640, 8, 8)
    expected = layer(pictures)
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(layer.state_dict(), file)
    layer.load_state_dict(safetensors.torch.load_file(file), assign=True)
    layer.requires_grad_(False)
    layer(pictures)
    before = resident()
    freeze_convolutions(nn.Sequential(layer), 0)
    assert before - resident() == pytest.approx(640 * 640 * 9 * 4 / 1e6, abs=1)
    torch.testing.assert_close(layer(pictures), expected, rtol=1e-4, atol=1e-4)


ALONE = """
import re, torch
from pathlib import Path
from tehon.machine.pages import large_blocks_kept

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

def taken(size):
    torch.ones(size, dtype=torch.uint8)
    return round(resident() - before)

before = resident()
with large_blocks_kept():
    print(taken(200_000_000), taken(100_000_000))
print(taken(0), taken(200_000_000))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt(3) of glibc")
def test_large_blocks_are_kept_for_the_next_and_then_given_back() -> None:
    """In a process of its own, as others' blocks would be among them."""
    out = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True).stdout
    first, second, after, later = map(int, out.split())
    assert first == pytest.approx(195, abs=15)
    assert second == pytest.approx(first, abs=5), "the first block was not taken again"
    assert max(after, later) < 20


@pytest.mark.parametrize("storage", ["fp16", "bf16", "fp8", None])
def test_a_network_in_another_type_leaves_nothing_of_its_file_in_memory(tmp_path: Path, storage: str | None) -> None:
    file = tmp_path / "weights.safetensors"
    weight = torch.randn(2000, 2000)
    safetensors.torch.save_file({"down_blocks.0.weight": weight, "other": torch.ones(9)}, file)
    with torch.device("meta"):
        network: Any = nn.ModuleDict({"down_blocks": nn.ModuleList([nn.Linear(2000, 2000, bias=False)])})
    before = resident()
    with safe_open(file, "pt") as content:
        tensors = {"down_blocks.0.weight": content.get_tensor("down_blocks.0.weight")}
        other = content.get_tensor("other")  # of the same file and in use, so that the file stays mapped
    computing = torch.float32 if storage else torch.float16
    fill(network, tensors, computing, torch.device("cpu"), file, storage)
    kept: torch.Tensor = network["down_blocks"][0].weight
    assert (kept.float() - weight).abs().max() < 0.3
    assert resident() - before < MEGABYTES / 4
    assert other.sum() == 9


def test_half_a_file_that_is_kept_in_half_is_no_copy(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"down_blocks.0.weight": torch.randn(2000, 2000).half()}, file)
    with torch.device("meta"):
        network: Any = nn.ModuleDict({"down_blocks": nn.ModuleList([nn.Linear(2000, 2000, bias=False)])})
    with safe_open(file, "pt") as content:
        tensors = {"down_blocks.0.weight": content.get_tensor("down_blocks.0.weight")}
    place = tensors["down_blocks.0.weight"].data_ptr()
    fill(network, tensors, torch.float16, torch.device("cpu"), file, "fp16")
    assert network["down_blocks"][0].weight.data_ptr() == place
