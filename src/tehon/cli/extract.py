"""`tehon extract BASE TUNED --rank N --out FILE`: a LoRA out of two models."""

import argparse

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_result, add_rules, base_model, rule_of
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help=say("cli.extract_base"))
    parser.add_argument("tuned", metavar="TUNED", help=say("cli.extract_tuned"))
    parser.add_argument("--rank", type=int, default=64, help=say("cli.tool_rank"))
    parser.add_argument("--conv-rank", type=int, default=0, help=say("cli.extract_conv_rank"))
    add_rules(parser)
    parser.add_argument(
        "--precision", choices=("float", "fp16", "bf16"), default="fp16", help=say("cli.extract_precision")
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help=say("cli.extract_device"))
    add_result(parser, needed=True)


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.extract import extract

    rule, number = rule_of(options)
    found = extract(
        base_model("BASE", options.base),
        base_model("TUNED", options.tuned),
        options.out,
        rank=options.rank,
        conv_rank=options.conv_rank,
        rule=rule,
        number=number,
        precision=options.precision,
        device=options.device,
        overwrite=options.overwrite,
    )
    rows = found.layers
    least = min(row.kept_norm for row in rows)
    if options.json:
        layers = [{"name": row.name, "rank": row.rank, "kept_norm": row.kept_norm} for row in rows]
        left = {"layers": found.left_out, "share": found.left_share}
        print(json_text({"out": str(options.out), "layers": layers, "left_out": left}))
    else:
        print(say("tools.extracted", layers=len(rows), share=f"{least:.1%}", path=options.out))
        if found.left_out:
            print(say("tools.extract_left", layers=found.left_out, share=f"{found.left_share:.1%}"))
    return 0
