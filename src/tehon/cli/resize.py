"""`tehon resize FILE --rank N`: a LoRA of fewer ranks that does nearly the same."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_precision, add_result, add_rules, rule_of
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=say("cli.lora_file"))
    parser.add_argument("--rank", type=int, required=True, help=say("cli.tool_rank"))
    parser.add_argument("--conv-rank", type=int, default=0, help=say("cli.tool_conv_rank"))
    add_rules(parser)
    add_precision(parser)
    add_result(parser, needed=False)


def run(options: argparse.Namespace) -> int:
    from tehon.surgery.lora_layers import open_lora
    from tehon.surgery.resize import resize_file

    file: Path = options.file
    out = options.out or file.with_name(f"{file.stem}-rank{options.rank}.safetensors")
    rule, number = rule_of(options)
    rows = resize_file(
        open_lora(file),
        out,
        rank=options.rank,
        conv_rank=options.conv_rank,
        rule=rule,
        number=number,
        precision=options.precision,
        overwrite=options.overwrite,
    )
    if options.json:
        layers = [vars(row) for row in rows]
        print(json_text({"out": str(out), "layers": layers}))
        return 0
    before, after = (max(getattr(row, name) for row in rows) for name in ("before", "after"))
    least = min(row.kept_norm for row in rows)
    print(say("tools.resized", before=before, after=after, share=f"{least:.1%}", path=out))
    return 0
