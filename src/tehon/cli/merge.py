"""`tehon merge [MODEL] --lora FILE:STRENGTH … --out FILE`: LoRAs into a model, or into one LoRA."""

import argparse

from tehon.cli.json_text import json_text
from tehon.cli.lora_words import add_loras, add_precision, add_result, base_model, opened
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help=say("cli.merge_model"))
    add_loras(parser)
    parser.add_argument("--as-lora", action="store_true", help=say("cli.merge_as_lora"))
    parser.add_argument("--rank", type=int, default=0, help=say("cli.merge_rank"))
    parser.add_argument("--conv-rank", type=int, default=0, help=say("cli.tool_conv_rank"))
    add_precision(parser)
    add_result(parser, needed=True)


def run(options: argparse.Namespace) -> int:
    if not options.loras:
        raise Problem("merge_no_lora")
    into_lora = options.as_lora or not options.model
    for field, value in (("--rank", options.rank), ("--conv-rank", options.conv_rank)):
        if value and not into_lora:
            raise Problem("merge_rank_of_model", field=field)
    data = {"out": str(options.out)} | (_into_lora(options) if into_lora else _into_model(options))
    if options.json:
        print(json_text(data))
    else:
        told = {"layers": data["layers"], "path": options.out}
        print(say("tools.merged", **told) if into_lora else say("tools.merged_model", **told))
    return 0


def _into_model(options: argparse.Namespace) -> dict[str, object]:
    from tehon.surgery.merge import merge_into_model

    made = merge_into_model(
        base_model("MODEL", options.model),
        opened(options),
        options.out,
        precision=options.precision,
        overwrite=options.overwrite,
    )
    return {"layers": made.changed, "tensors": made.tensors}


def _into_lora(options: argparse.Namespace) -> dict[str, object]:
    from tehon.surgery.join import join_files
    from tehon.weights.places import layer_places

    layers = join_files(
        opened(options),
        options.out,
        rank=options.rank,
        conv_rank=options.conv_rank,
        places=layer_places(base_model("MODEL", options.model)) if options.model else None,
        precision=options.precision,
        overwrite=options.overwrite,
    )
    ranks = sorted({len(row["lora_down.weight"]) for row in layers.values()})
    return {"layers": len(layers), "ranks": ranks}
