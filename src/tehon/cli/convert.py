"""`tehon convert FILE --to diffusers`: a LoRA under another program's names."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_result
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=say("cli.convert_file"))
    parser.add_argument("--to", choices=("kohya", "diffusers", "peft"), required=True, help=say("cli.convert_to"))
    add_result(parser, needed=False)


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.convert import convert

    file: Path = options.file
    ending = "" if options.to == "peft" else ".safetensors"
    place = file if file.name else file.resolve()  # as of "."
    out = options.out or place.with_name(f"{place.stem}-{options.to}{ending}")
    layers = convert(file, out, options.to, options.overwrite)
    if options.json:
        print(json_text({"out": str(out), "layers": layers}))
    else:
        print(say("tools.converted", layers=layers, path=out))
    return 0
