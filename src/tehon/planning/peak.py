"""How much memory a run on a CPU takes at its peak, phase by phase, without torch. `docs/memory.md` has the formula and
how far it was off where it was measured.

>>> estimate(plan).peak.name
'training'
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tehon.catalog.activations import MOST_TRANSFORMED
from tehon.catalog.weight_files import Held, weights_of
from tehon.messages.problem import Problem
from tehon.planning.memory import bytes_transformed, kept_numbers, spares_convolutions, stored, tokens
from tehon.planning.plan import Plan
from tehon.planning.saves import bytes_of_state
from tehon.planning.trained import bytes_kept, bytes_remembered, bytes_trained, numbers_trained

PhaseName = Literal["encoding", "captions", "loading", "training", "saving", "samples"]
PartName = Literal["libraries", "networks", "adapters", "activations", "heap", "data", "file", "state", "vae"]
Parts = dict[str, int]
"""{PartName: bytes}."""

LIBRARIES = 530_000_000
"""Python, PyTorch, diffusers and transformers before the first network; measured on Linux with a PyTorch for CPUs."""
WARM = 115_000_000
"""What they add once they have computed: compiled kernels, buffers of threads, code that is read when it is used; and
70 MB of numba with its loops."""
SLACK = 0.7
"""How much of what comes and goes in a step stays unusable in the C library's heap, as a share of it."""
RETURNED = 32_000_000
"""Blocks larger than this the heap gives back to the system when they are no longer used; smaller ones stay."""
BUFFER = 1.15
"""How much room a state takes while it is written, against its size."""
ENCODED, DECODED = 5, 6
"""How many pictures of the VAE's first width are there at once, at full size, while it encodes and decodes."""
ENCODER = 1.55
"""Numbers of its encoder's kernels as Winograd's way has them, for each number of a VAE: 4 for each of an encoder's 3x3
kernels, which are 39 % of a VAE of Stable Diffusion."""
_SIZES = {"no": 4, "fp16": 2, "bf16": 2}
_PACKED = {"fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "nf4": 0.5625}  # bytes a number; of 4 bits, with a scale for each 64


@dataclass(frozen=True)
class Phase:
    """A time of the run, with the bytes that are resident in its largest moment, by what they are for."""

    name: PhaseName
    parts: Parts

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class MemoryEstimate:
    phases: tuple[Phase, ...]

    @property
    def peak(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.total)


def estimate(plan: Plan) -> MemoryEstimate | None:
    """What the process of a run has resident at most. The processes of `feed.max_data_loader_n_workers` are others.
    None when the files of the model's weights can't be read, which is for the start to say."""
    try:
        return MemoryEstimate(tuple(_phases(plan)))
    except (Problem, OSError):
        return None


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _phases(plan: Plan) -> Iterator[Phase]:
    held = {part: weights_of(plan.model, part) for part in plan.model.configs}
    latents, texts = _bytes_of_latents(plan), _bytes_of_texts(plan)
    vae = _bytes_of_vae(held["vae"])
    if plan.settings.feed.cache_latents:
        quick: Parts = {"networks": vae + _bytes_quick(plan, held["vae"]), "activations": _encoding(plan)}
        yield Phase("encoding", {"libraries": LIBRARIES} | quick | {"data": latents})
    needed = [part for part in plan.model.configs if part not in _unused(plan)]
    if not plan.text_trained and plan.settings.feed.cache_text:
        told = sum(_bytes_of(plan, part, held[part]) for part in plan.family.text_encoders)
        yield Phase("captions", {"libraries": LIBRARIES + WARM, "networks": told, "data": latents + texts})
    networks = sum(vae if part == "vae" else _bytes_of(plan, part, held[part]) for part in needed)
    yield from _loading(plan, held, networks)
    kept = kept_numbers(plan)
    size = _SIZES[plan.settings.precision.mixed_precision]
    moving = (kept.numbers + kept.transient) * size
    slack = round(SLACK * moving)
    networks += bytes_transformed(plan) + (_bytes_quick(plan, held["vae"]) if "vae" in needed else 0)
    lasting: Parts = {"libraries": LIBRARIES + WARM, "networks": networks, "adapters": bytes_of_adapters(plan)}
    data: Parts = {"data": latents + texts}
    yield Phase("training", lasting | {"activations": moving, "heap": slack} | data)
    staying: Parts = {"heap": round((moving + slack) * min(1.0, RETURNED / (kept.largest * size)))}
    yield Phase("saving", lasting | staying | {"state": round(BUFFER * bytes_of_state(plan))} | data)
    if plan.samples.prompts:
        more: Parts = {"vae": 0 if "vae" in needed else vae, "activations": _decoding(plan)}
        yield Phase("samples", lasting | staying | more | data)


def _loading(plan: Plan, held: dict[str, Held], networks: int) -> Iterator[Phase]:
    """While the U-Net is read, its file is mapped into memory as a whole; what it becomes in another number type comes
    on top. On Linux what was read of the file is given back at once, unless LoRA files are to be merged first."""
    if _as_in_file(plan, "unet", held["unet"]) or (sys.platform == "linux" and not plan.base_weights):
        return
    yield Phase("loading", {"libraries": LIBRARIES + WARM, "networks": networks, "file": held["unet"].bytes})


def bytes_of_adapters(plan: Plan) -> int:
    """Weights and gradients, two copies of the weights to go back to, the average, and the optimizer's memory."""
    average = 4 * numbers_trained(plan) if plan.settings.training.ema_decay else 0
    return 4 * bytes_trained(plan) + average + bytes_remembered(plan) + bytes_kept(plan)


def _unused(plan: Plan) -> set[str]:
    """The networks that no update uses."""
    found = {"vae"} if plan.settings.feed.cache_latents else set[str]()
    if not plan.text_trained and plan.settings.feed.cache_text:
        found |= set(plan.family.text_encoders)
    return found


def _as_in_file(plan: Plan, part: str, held: Held) -> bool:
    """Whether a network is used as it lies in its file, which is then mapped into memory."""
    size = _SIZES[plan.settings.precision.mixed_precision]
    return held.bytes == held.numbers * size and part not in stored(plan)


def _bytes_of(plan: Plan, part: str, held: Held) -> int:
    """Of a network that computes. Of a mapped file's words only those are read that captions have."""
    if _as_in_file(plan, part, held):
        return (held.numbers - held.words) * held.bytes // max(1, held.numbers)
    each = _PACKED[stored(plan)[part]] if part in stored(plan) else _SIZES[plan.settings.precision.mixed_precision]
    return round(held.numbers * each)


def _bytes_of_vae(held: Held) -> int:
    """It computes in float32 with its channels last: a copy beside the file as it is mapped."""
    return held.bytes + 4 * held.numbers


def _bytes_quick(plan: Plan, held: Held) -> int:
    """Of the copies of the encoder's kernels for Winograd's way."""
    return min(MOST_TRANSFORMED, round(ENCODER * 4 * held.numbers)) if spares_convolutions(plan) else 0


def _encoding(plan: Plan) -> int:
    wide = plan.model.configs["vae"]["block_out_channels"][0]
    at_once = plan.settings.feed.vae_batch_size
    return (
        ENCODED
        * 4
        * wide
        * max(group.bucket[0] * group.bucket[1] * min(at_once, len(group.pictures)) for group in plan.groups)
    )


def _decoding(plan: Plan) -> int:
    wide = plan.model.configs["vae"]["block_out_channels"][0]
    return DECODED * 4 * wide * max(prompt.width * prompt.height for prompt in plan.samples.prompts)


def _bytes_of_latents(plan: Plan) -> int:
    """Mean and deviation of each picture, mirrored too where that is left to chance; 0 where none are kept."""
    if not plan.settings.feed.cache_latents:
        return 0
    found = 0
    for one, placement, numbers in (*plan.pictures.alike, *plan.validation.alike):
        wide, high = (side // plan.family.stride for side in placement.bucket)
        found += 2 * 4 * plan.family.latent_channels * wide * high * (1 + one.look.flip) * len(numbers)
    return found


def _bytes_of_texts(plan: Plan) -> int:
    """The states of each caption, where they are kept."""
    if plan.text_trained or not plan.settings.feed.cache_text:
        return 0
    wide = sum(plan.model.configs[part]["hidden_size"] for part in plan.family.text_encoders)
    size = _SIZES[plan.settings.precision.mixed_precision]
    return len({*plan.pictures.texts}) * tokens(plan) * wide * size
