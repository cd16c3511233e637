"""What a LoRA file holds: kinds, ranks, alphas, how much it changes and where, hashes, and who can read it.

>>> look(Path("mofu.safetensors"))["norms"]["MID"]
{'norm': 0.84, 'layers': 12}
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tehon.catalog.header import Header, check_whole, read_header, read_scalars
from tehon.catalog.kinds import dora_side, kind_of, rank_of
from tehon.catalog.lora_names import block_names, family_of_lora
from tehon.messages.problem import Problem
from tehon.surgery.factors import singular_of_product
from tehon.surgery.fitting import NEEDS_WEIGHT, change
from tehon.surgery.join import PLAIN, thin, weight_shape
from tehon.surgery.lora_layers import LoraLayers, Shapes, open_lora
from tehon.weights.readers import match
from tehon.weights.slices import body_hash, chunks


def look(file: Path, norms: bool = True) -> dict[str, Any]:
    """All that can be said of a file, as JSON has it. `norms` works with every tensor; without it only the header is
    read and the file's digests are taken."""
    header = read_header(file)
    check_whole(file, header)
    layers = header.layers()
    family = family_of_lora(layers, header.metadata)
    ranks = Counter(rank for tensors in layers.values() if (rank := rank_of(tensors)))
    known = any(kind_of(tensors) for tensors in layers.values())
    found: dict[str, Any] = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "tensors": len(header.shapes),
        "types": dict(Counter(header.dtypes.values())),
        "family": family.name if family else None,
        "modules": _roots(layers),
        "kinds": dict(Counter(map(_kind, layers.values()))),
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "alphas": _alphas(file, header, layers),
        "hashes": hashes(file, header),
        "readers": [
            {"name": row.reader, "matched": row.matched, "total": row.total, "knows_kind": row.known}
            for row in (match(layers) if known else [])
        ],
        "norms": _norms(open_lora(file)) if norms and known and family else {},
        "metadata": {key: _opened(value) for key, value in sorted(header.metadata.items())},
    }
    return found


def _roots(layers: Mapping[str, Shapes]) -> dict[str, int]:
    """How many layers there are for each network."""
    roots = ("lora_te1", "lora_te2", "lora_te", "lora_unet")
    counts = Counter(next((root for root in roots if name.startswith(f"{root}_")), "other") for name in layers)
    return {root: counts[root] for root in (*roots, "other") if counts[root]}


def _kind(tensors: Shapes) -> str:
    return (kind_of(tensors) or "unknown") + (" + DoRA" if dora_side(tensors) else "")


def _alphas(file: Path, header: Header, layers: Mapping[str, Shapes]) -> dict[str, int]:
    """{alpha: how many layers have it}; "none" where a file says none, which then is the rank."""
    names = [f"{name}.alpha" for name, tensors in layers.items() if "alpha" in tensors]
    try:
        counts = Counter(f"{value:g}" for value in read_scalars(file, header, names).values())
    except KeyError:  # a number type that no alpha has
        raise Problem("not_safetensors", path=file) from None
    missing = sum(kind_of(tensors) not in (None, "ia3") for tensors in layers.values()) - len(names)
    return dict(sorted(counts.items())) | ({"none": missing} if missing > 0 else {})


def hashes(file: Path, header: Header) -> dict[str, Any]:
    """The digests by which programs know a file, taken from the file, and beside them what its metadata say.

    `sshs_model_hash` is that of the body, whose first 12 digits are AutoV3; `sha256` and its first 10, AutoV2, are of
    the whole file; `legacy` is A1111's first one, over 64 KiB at 1 MiB of the file.
    """
    whole, legacy, place = hashlib.sha256(), hashlib.sha256(), 0
    for chunk in chunks(file):
        whole.update(chunk)
        legacy.update(chunk[max(0, 0x100000 - place) : max(0, 0x110000 - place)])
        place += len(chunk)
    body = body_hash(file, header.body)
    stored = header.metadata.get("sshs_model_hash")
    return {
        "sha256": whole.hexdigest(),
        "autov2": whole.hexdigest()[:10],
        "legacy": legacy.hexdigest()[:8],
        "sshs_model_hash": body,
        "autov3": body[:12],
        "stored_sshs_model_hash": stored,
        "stored_sshs_legacy_hash": header.metadata.get("sshs_legacy_hash"),
        "hash_holds": None if stored is None else stored == body,
    }


@torch.no_grad()
def _norms(lora: LoraLayers) -> dict[str, dict[str, Any]]:
    """{block: {norm, layers, and the largest of its layers' norms}}: the Frobenius norm of all changes of a block
    together. None where it depends on the model, as with DoRA and (IA)³."""
    blocks = block_names(lora.layers, lora.family)
    squares: dict[str, list[float | None]] = {}
    for layer, block in blocks.items():
        norm = _norm(lora, layer)
        squares.setdefault(block, []).append(None if norm is None else norm**2)
    order = [*lora.family.text_rate_roots, *map(lora.family.blocks.name, range(lora.family.blocks.count)), "other"]
    found: dict[str, dict[str, Any]] = {}
    for block in (block for block in order if block in squares):
        known = [square for square in squares[block] if square is not None]
        whole = len(known) == len(squares[block])
        found[block] = {
            "norm": sum(known) ** 0.5 if whole else None,
            "largest": max(known) ** 0.5 if whole else None,
            "layers": len(squares[block]),
        }
    return found


def _norm(lora: LoraLayers, layer: str) -> float | None:
    tensors = lora.layers[layer]
    if not kind_of(tensors) or any(name in tensors for name in NEEDS_WEIGHT):
        return None
    if PLAIN - {"alpha"} <= tensors.keys() <= PLAIN:
        return float(singular_of_product(*thin(lora, layer, weight_shape(tensors)))[1].norm())
    shape = _shape(tensors)
    return None if shape is None else float(change(torch.zeros(shape), lora.tensors(layer), layer, lora.path).norm())


def _shape(tensors: Shapes) -> tuple[int, ...] | None:
    """The shape of a weight that the tensors fit. A kernel that they don't tell is laid flat; the norm is the same."""
    if "lora_mid.weight" in tensors:
        return tensors["lora_up.weight"][0], tensors["lora_down.weight"][1], *tensors["lora_mid.weight"][2:]
    if "hada_t1" in tensors:
        return tensors["hada_w1_a"][1], tensors["hada_w1_b"][1], *tensors["hada_t1"][2:]
    if "hada_w1_a" in tensors:
        return tensors["hada_w1_a"][0], tensors["hada_w1_b"][1]
    one = tensors.get("lokr_w1") or (tensors["lokr_w1_a"][0], tensors["lokr_w1_b"][1])
    if "lokr_w2" in tensors:
        two = tensors["lokr_w2"]
    elif "lokr_t2" in tensors:
        two = tensors["lokr_w2_a"][1], tensors["lokr_w2_b"][1], *tensors["lokr_t2"][2:]
    else:
        two = tensors["lokr_w2_a"][0], tensors["lokr_w2_b"][1]
    return one[0] * two[0], one[1] * two[1], *two[2:]


def _opened(value: str) -> Any:
    """Metadata are strings; those that hold JSON objects or lists are opened."""
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
