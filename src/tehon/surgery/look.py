"""What a LoRA file holds: kinds, ranks, alphas, how much it changes and where, hashes, and who can read it.

>>> look(Path("mofu.safetensors"))["norms"]["MID"]
{'norm': 0.84, 'layers': 12}
"""

import json
from collections import Counter
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from tehon.catalog.header import Header, read_header, read_scalars
from tehon.catalog.kinds import dora_side, kind_of, rank_of
from tehon.catalog.layers import Shapes
from tehon.catalog.lora_names import block_names, family_of_lora, other_naming
from tehon.surgery.fitting import NEEDS_WEIGHT
from tehon.surgery.lora_layers import LoraLayers, open_lora
from tehon.surgery.norms import change_norm
from tehon.weights.hashes import body_hash, file_hashes
from tehon.weights.readers import match


def look(file: Path, norms: bool = True) -> dict[str, Any]:
    """All that can be said of a file, as JSON has it. `norms` works with every tensor; without it only the header is
    read and the file's digests are taken."""
    header = read_header(file)
    layers = header.layers()
    family = family_of_lora(layers, header.metadata)
    ranks = Counter(rank for tensors in layers.values() if (rank := rank_of(tensors)))
    known = any(kind_of(tensors) for tensors in layers.values())
    broken: list[str] = []
    found: dict[str, Any] = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "tensors": len(header.shapes),
        "types": dict(Counter(header.dtypes.values())),
        "names": "kohya" if known else other_naming(header.shapes) or None,
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
        "norms": _norms(open_lora(file), broken) if norms and known and family else {},
        "not_finite": broken,
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
    counts = Counter(f"{value:g}" for value in read_scalars(file, header, names).values())
    missing = sum(kind_of(tensors) not in (None, "ia3") for tensors in layers.values()) - len(names)
    return dict(sorted(counts.items())) | ({"none": missing} if missing > 0 else {})


def hashes(file: Path, header: Header) -> dict[str, Any]:
    """The digests by which programs know a file, taken from the file, and beside them what its metadata say.

    `sshs_model_hash` is that of the body, whose first 12 digits are AutoV3; `sha256` and its first 10, AutoV2, are of
    the whole file; `legacy` is A1111's first one, over 64 KiB at 1 MiB of the file.
    """
    legacy, whole = file_hashes(file)
    body = body_hash(file, header.body)
    stored = header.metadata.get("sshs_model_hash")
    return {
        "sha256": whole,
        "autov2": whole[:10],
        "legacy": legacy,
        "sshs_model_hash": body,
        "autov3": body[:12],
        "stored_sshs_model_hash": stored,
        "stored_sshs_legacy_hash": header.metadata.get("sshs_legacy_hash"),
        "hash_holds": None if stored is None else stored == body,
    }


def _norms(lora: LoraLayers, broken: list[str]) -> dict[str, dict[str, Any]]:
    """{block: {norm, layers, and the largest of its layers' norms}}: the Frobenius norm of all changes of a block
    together. None where it depends on the model, as with DoRA and (IA)³, and where numbers are not `finite`; the
    tensors that hold such numbers are added to `broken`."""
    blocks = block_names(lora.layers, lora.family)
    squares: dict[str, list[float | None]] = {}
    for layer, block in blocks.items():
        norm = _norm(lora, layer, broken)
        squares.setdefault(block, []).append(None if norm is None else norm * norm)
    order = [*lora.family.text_rate_roots, *map(lora.family.blocks.name, range(lora.family.blocks.count)), "other"]
    found: dict[str, dict[str, Any]] = {}
    for block in (block for block in order if block in squares):
        known = [square for square in squares[block] if square is not None]
        finite = isfinite(sum(known))
        whole = finite and len(known) == len(squares[block])
        found[block] = {
            "norm": sum(known) ** 0.5 if whole else None,
            "largest": max(known) ** 0.5 if whole else None,
            "layers": len(squares[block]),
            "finite": finite,
        }
    return found


def _norm(lora: LoraLayers, layer: str, broken: list[str]) -> float | None:
    """A layer's norm; None where it depends on the model, NaN where it is not finite."""
    tensors = {key: lora.source.tensor(name) for key, name in lora.names(layer).items()}
    wrong = [name for key, name in lora.names(layer).items() if not tensors[key].double().isfinite().all()]
    broken += wrong
    if wrong:
        return nan
    kind = kind_of(tensors)
    return None if kind is None or any(name in tensors for name in NEEDS_WEIGHT) else change_norm(tensors)


def _opened(value: str) -> Any:
    """Metadata are strings; those that hold JSON objects or lists are opened, if they can be written again."""
    if value[:1] in ("{", "["):
        try:
            opened = json.loads(value)
            json.dumps([[opened]], ensure_ascii=False, indent=2, allow_nan=False).encode()
        except (ValueError, RecursionError):  # half a character among it, NaN, or lists in lists without end
            return value
        return opened
    return value
