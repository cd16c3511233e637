"""`tehon inspect FILE.safetensors`: what a LoRA file holds and says about itself."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tehon.cli.json_text import json_text
from tehon.disk import sized
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=say("cli.lora_file"))
    parser.add_argument("--no-norms", action="store_true", help=say("cli.inspect_no_norms"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def run(options: argparse.Namespace) -> int:
    from tehon.catalog.header import read_header

    read_header(options.file)  # what is no such file is refused before torch is loaded

    from tehon.surgery.look import look

    data = look(options.file, norms=not options.no_norms)
    print(json_text(data, 2) if options.json else "\n".join(_text(data)))
    return 0


def _text(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['file']}  ({sized(data['bytes'])})"
    yield say("inspect.tensors", count=data["tensors"], types=_joined(data["types"]))
    if data["names"] in ("diffusers", "peft"):
        yield say("inspect.names", names=data["names"])
    yield say("inspect.modules", modules=_joined(data["modules"]))
    yield say("inspect.kinds", kinds=_joined(data["kinds"]))
    yield say("inspect.ranks", ranks=_joined(data["ranks"]))
    yield say("inspect.alphas", alphas=_joined(data["alphas"]))
    for row in data["readers"]:
        yield say("inspect.reader", matched=row["matched"], total=row["total"], reader=row["name"])
    yield from _hashes(data["hashes"])
    if data["norms"]:
        yield say("inspect.norms")
        widest = max((row["norm"] or 0.0 for row in data["norms"].values()), default=0.0) or 1.0
        for block, row in data["norms"].items():
            bar = "█" * round(30 * (row["norm"] or 0.0) / widest)
            unknown = say("inspect.norm_unknown") if row["finite"] else "nan"
            norm = unknown if row["norm"] is None else f"{row['norm']:.4f}"
            yield f"  {block:8} {norm:>10}  {bar}"
    if data["not_finite"]:
        yield say("inspect.not_finite", count=len(data["not_finite"]), name=data["not_finite"][0])
    yield ""
    for key, value in data["metadata"].items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        yield f"{key:36} {shown if len(shown) <= 160 else shown[:157] + '...'}"


def _hashes(own: dict[str, Any]) -> Iterator[str]:
    """The digests of the file, and whether the one in its metadata is true."""
    yield say("inspect.hashes", sha256=own["sha256"], autov2=own["autov2"], autov3=own["autov3"], legacy=own["legacy"])
    yield f"sshs_model_hash {own['sshs_model_hash']}"
    if own["hash_holds"] is False:
        yield say("inspect.hash_differs", stored=own["stored_sshs_model_hash"])


def _joined(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
