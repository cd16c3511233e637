"""`tehon cut FILE.safetensors RANK`: a smaller LoRA out of a DyLoRA."""

import argparse
from pathlib import Path

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help=say("cli.lora_file"))
    parser.add_argument("rank", type=int, metavar="RANK", help=say("cli.cut_rank"))
    parser.add_argument("-o", "--out", type=Path, help=say("cli.cut_out"))


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.cut import cut_file

    file: Path = options.file
    out = options.out or file.with_name(f"{file.stem}-rank{options.rank}.safetensors")
    cut_file(file, options.rank, out)
    print(out)
    return 0
