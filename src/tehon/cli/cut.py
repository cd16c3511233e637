"""`tehon cut FILE.safetensors RANK`: a smaller LoRA out of a DyLoRA."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_result
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=say("cli.lora_file"))
    parser.add_argument("rank", type=int, metavar="RANK", help=say("cli.cut_rank"))
    add_result(parser, needed=False)


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.cut import cut_file

    file: Path = options.file
    out = options.out or file.with_name(f"{file.stem}-rank{options.rank}.safetensors")
    layers = cut_file(file, options.rank, out, options.overwrite)
    if options.json:
        ranks = sorted({len(row["lora_down.weight"]) for row in layers.values()})
        print(json_text({"out": str(out), "layers": len(layers), "ranks": ranks}))
    else:
        print(out)
    return 0
