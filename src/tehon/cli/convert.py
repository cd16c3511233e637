"""`tehon convert FILE --to diffusers`: a LoRA under another program's names."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_result
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=say("cli.convert_file"))
    parser.add_argument("--to", choices=("kohya", "diffusers", "peft"), required=True, help=say("cli.convert_to"))
    parser.add_argument("--prediction", choices=("epsilon", "v"), help=say("cli.convert_prediction"))
    add_result(parser, needed=False)


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.convert import convert

    file: Path = options.file
    ending = "" if options.to == "peft" else ".safetensors"
    place = file if file.name else file.resolve()  # as of "."
    out = options.out or place.with_name(f"{place.stem}-{options.to}{ending}")
    if options.prediction and options.to != "kohya":
        raise Problem("label_of_kohya", field="--prediction", to=options.to)
    layers, labelled = convert(file, out, options.to, options.overwrite, options.prediction)
    if options.json:
        print(json_text({"out": str(out), "layers": layers, "base_known": labelled}))
    else:
        print(say("tools.converted", layers=layers, path=out))
        if not labelled:
            print(say("cli.notice", text=say("tools.base_unknown")))
    return 0
