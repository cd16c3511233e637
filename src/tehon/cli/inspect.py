"""`tehon inspect FILE.safetensors`: what a LoRA file holds and says about itself."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help=say("cli.lora_file"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def run(options: argparse.Namespace) -> int:
    from tehon.catalog.header import read_header
    from tehon.catalog.kinds import rank_of

    header = read_header(options.file)
    modules = header.layers()
    ranks = Counter(rank for tensors in modules.values() if (rank := rank_of(tensors)))
    kinds = Counter(_kind(tensors) for tensors in modules.values())
    data: dict[str, Any] = {
        "file": str(options.file),
        "bytes": options.file.stat().st_size,
        "tensors": len(header.shapes),
        "types": dict(Counter(header.dtypes.values())),
        "modules": {root: sum(m.startswith(root) for m in modules) for root in ("lora_te", "lora_unet")},
        "kinds": dict(kinds),
        "ranks": {str(rank): count for rank, count in ranks.items()},
        "metadata": {key: _read(value) for key, value in sorted(header.metadata.items())},
    }
    print(json.dumps(data, ensure_ascii=False, indent=2) if options.json else _text(data))
    return 0


def _kind(tensors: dict[str, tuple[int, ...]]) -> str:
    from tehon.catalog.kinds import dora_side, kind_of

    return (kind_of(tensors) or "unknown") + (" + DoRA" if dora_side(tensors) else "")


def _read(value: str) -> Any:
    """Metadata are strings; those that hold JSON objects or lists are opened."""
    if value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _text(data: dict[str, Any]) -> str:
    def joined(counts: dict[str, Any]) -> str:
        return ", ".join(f"{name}: {count}" for name, count in counts.items())

    lines = [
        f"{data['file']}  ({data['bytes'] / 1e6:.2f} MB)",
        say("inspect.tensors", count=data["tensors"], types=joined(data["types"])),
        say("inspect.modules", modules=joined(data["modules"])),
        say("inspect.kinds", kinds=joined(data["kinds"])),
        say("inspect.ranks", ranks=joined(data["ranks"])),
        "",
    ]
    for key, value in data["metadata"].items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        lines.append(f"{key:36} {shown if len(shown) <= 160 else shown[:157] + '...'}")
    return "\n".join(lines)
