"""What many tests need: golden numbers, small picture folders, the demo model."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from PIL import Image

import tehon

# Before torch is imported, here and in the processes that tests start: the tests' networks are so small that a second
# thread only waits for the first, and the other cores have tests of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell lets what it starts in the background ignore Ctrl-C, and what was ignored stays so; tests are to hear theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("unhurried", deadline=None)  # the machine may be busy
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold slow tests come first, so that when all run, no process waits at the end for another's last one.
    Within a file nothing changes its place."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


GOLDEN = Path(__file__).parent / "golden"
DEMO = Path(tehon.__file__).parent / "demo" / "model"
NANO: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": [8, 16],
        "attention_head_dim": [2, 2],
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "vae": {"block_out_channels": [4, 4, 8, 8], "norm_num_groups": 2},
    "text_encoder": {
        "num_hidden_layers": 3,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "projection_dim": 16,
    },
}


@pytest.fixture(autouse=True)
def _speak_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", "en")


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """A test that trains with a number of threads doesn't leave it to the next: sums round by it."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each test, which is not there until somebody writes into it. `tmp_path_factory` would read the
    names of all others for each of thousands of tests."""
    parent = tmp_path_factory.mktemp("homes")
    return (parent / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]) -> None:
    """What is remembered of pictures and runs stays in the test's own folders."""
    home = next(homes)
    monkeypatch.setenv("TEHON_DATA", str(home / "data"))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home / "cache"))


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Reads a golden file by its stem."""
    return lambda stem: json.loads((GOLDEN / f"{stem}.json").read_text("utf8"))


Album = Callable[..., Path]


@pytest.fixture
def album(tmp_path: Path) -> Album:
    """Makes a parent folder of picture folders: album({"2_cat": [(64, 64), (96, 64)]}) with captions `caption N`."""

    def make(folders: dict[str, list[tuple[int, int]]], captions: bool = True) -> Path:
        parent = tmp_path / "pictures"
        number = 0
        for name, sizes in folders.items():
            (parent / name).mkdir(parents=True)
            for size in sizes:
                colour = (number * 53 % 256, number * 101 % 256, number * 197 % 256)
                Image.new("RGB", size, colour).save(parent / name / f"{number:02d}.png")
                if captions:
                    (parent / name / f"{number:02d}.txt").write_text(f"caption {number}", "utf8")
                number += 1
        return parent

    return make


@pytest.fixture
def tree(album: Album, tmp_path: Path) -> dict[str, Any]:
    """Settings for a quick run on the demo model: three pictures in two buckets, seven reads an epoch."""
    parent = album({"2_red thing": [(64, 64), (96, 64)], "3_blue": [(64, 64)]})
    return {
        "model": {"path": "demo"},
        "data": {"folder": str(parent), "resolution": 128, "batch_size": 2, "bucket_reso_steps": 32},
        "network": {"rank": 2, "alpha": 1.0},
        "training": {"seed": 5, "device": "cpu"},
        "output": {"folder": str(tmp_path / "out"), "name": "mine"},
    }


@pytest.fixture(scope="session")
def twins() -> Any:
    """`tests/twins.py`: random models of every family in both layouts."""
    import twins

    return twins


@pytest.fixture(scope="session")
def models(twins: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """models("sdxl", "folder") or models("sd1", "model.safetensors"): a tiny random model of a family, written once."""
    root = tmp_path_factory.mktemp("models")

    def model(family: str, kind: str) -> Path:
        place = root / family / kind
        if not place.exists():
            nets = twins.networks(family)
            if kind == "folder":
                twins.write_folder(nets, place, family)
            else:
                twins.write_checkpoint(nets, place, family)
        return place

    return model


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Stable Diffusion as small as one can be: the demo model's parts with the fewest blocks and
    channels, the same random weights each time. A training step takes a fraction of one on the demo model, so what
    doesn't ask for pictures is tested with it."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("nano")
    configs = {part: json.loads((DEMO / part / "config.json").read_text("utf8")) | NANO[part] for part in NANO}
    state = torch.random.get_rng_state()
    torch.manual_seed(11)
    unet: Any = UNet2DConditionModel.from_config(configs["unet"])
    vae: Any = AutoencoderKL.from_config(configs["vae"])
    text: Any = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    torch.random.set_rng_state(state)
    for part, network in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        network.save_pretrained(folder / part)
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(DEMO / part, folder / part)
    shutil.copy(DEMO / "model_index.json", folder)
    return folder


@pytest.fixture(scope="session")
def vocabulary() -> str:
    """The folder of the demo's vocabulary, for checkpoints, which have none."""
    return str(DEMO / "tokenizer")


class _BorderKernels:
    """What Triton's kernels for bordered weights do, in PyTorch's words."""

    @staticmethod
    def updated(wide: Any, count: int, factor: Any, scale: float, previous: Any = None) -> tuple[Any, Any]:
        out = wide[:, :count] + scale * wide[:, count:] @ factor.T
        return out if previous is None else out + previous, wide[:, count:].clone()

    @staticmethod
    def spread_table(places: Any, device: Any) -> Any:
        return places

    @staticmethod
    def spread(vector: Any, table: Any) -> None:
        for first, matrix in table:
            matrix.copy_(vector[first : first + matrix.numel()].view(matrix.shape))


@pytest.fixture
def border_kernels() -> type[_BorderKernels]:
    """For machines without a graphics card, in the place of `bordered._kernels(...)`."""
    return _BorderKernels
