"""Whatever is wrong with a LoRA file, each tool does its work or says a sentence, in little memory.

`HYPOTHESIS_CASES=10000 pytest tests/surgery/test_fuzz.py` tries that many.
"""

import json
import os
import struct
import sys
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tehon.catalog.header import SIZES
from tehon.catalog.kinds import Form, tensor_shapes
from tehon.cli.main import main

CASES = int(os.environ.get("HYPOTHESIS_CASES", "60"))
COMMANDS = (
    "inspect FILE",
    "inspect FILE --json",
    "resize FILE --rank 1 -o OUT.safetensors",
    "resize FILE --rank 2 --sv-fro 0.9 -o OUT.safetensors",
    "merge --lora FILE:0.5 -o OUT.safetensors",
    "merge --lora FILE --lora GOOD --rank 1 -o OUT.safetensors",
    "convert FILE --to diffusers -o OUT.safetensors",
    "convert FILE --to kohya -o OUT.safetensors",
    "convert FILE --to peft -o OUT",
    "cut FILE 1 -o OUT.safetensors",
)
KOHYA = ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_unet_x", "x")
DIFFUSERS = ("unet.mid_block.attentions.0.proj_in", "text_encoder.text_model.encoder.layers.0.mlp.fc1", "vae.x")
KINDS = (
    *3 * (("lora", (4, 6), Form()),),
    ("locon", (4, 6, 3, 3), Form()),
    ("lora", (4, 6), Form(dora="output")),
    ("lora", (4, 6, 3, 3), Form(tucker=True)),
    ("loha", (4, 6), Form()),
    ("loha", (4, 6, 3, 3), Form(tucker=True)),
    ("lokr", (4, 6), Form()),
    ("lokr", (64, 64), Form(decompose_both=True)),
    ("ia3", (4, 6), Form()),
)
texts = st.text(max_size=8) | st.sampled_from(["\ud800", '{"a": "\\ud800"}', '{"conv_dim": 4}', "[" * 5000, "{}", "1"])


@st.composite
def files(draw: Any) -> bytes:
    """A LoRA of one or two layers, with few things wrong or many."""
    shapes: dict[str, list[int]] = {}
    wrong = draw(st.sampled_from([0, 0, 1, 3]))
    if draw(st.integers(0, 2)):
        names = KOHYA if wrong else KOHYA[:2]
        for layer in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
            kind, shape, form = draw(st.sampled_from(KINDS))
            own = tensor_shapes(kind, shape, draw(st.integers(0 if wrong else 1, 3)), form)
            shapes |= {f"{layer}.{name}": list(size) for name, size in own.items()}
    else:
        for layer in draw(st.lists(st.sampled_from(DIFFUSERS), min_size=1, max_size=2)):
            shapes |= {f"{layer}.lora_A.weight": [2, 6], f"{layer}.lora_B.weight": [4, 2]}
    for _ in range(wrong):
        name = draw(st.sampled_from(sorted(shapes)))
        what = draw(st.sampled_from(["gone", "shape", "name", "large"]))
        if what == "gone" and len(shapes) > 1:
            del shapes[name]
        elif what == "shape":
            shapes[name] = draw(st.lists(st.integers(0, 7), max_size=5))
        elif what == "name":
            end = draw(st.sampled_from(["lora_mid.weight", "dora_scale", "alpha", "lora_up.weight", "hada_t1", "bias"]))
            shapes[f"{name.partition('.')[0]}.{end}"] = draw(st.lists(st.integers(1, 4), max_size=4))
        else:
            shapes[name] = [*draw(st.permutations([1, 1 << 15]))]
    table: dict[str, Any] = {}
    if draw(st.booleans()):
        known = ["ss_network_args", "ss_training_comment", "sshs_model_hash", "tehon_header", "tehon_body"]
        table["__metadata__"] = draw(st.dictionaries(st.sampled_from([*known, "lora_adapter_metadata"]), texts))
    body = b""
    usual = draw(st.sampled_from(["F32", "F16", "BF16", "F64"]))
    for name, shape in shapes.items():
        odd = wrong and draw(st.integers(0, 5)) == 0
        dtype = draw(st.sampled_from([*sorted(SIZES), "F4"])) if odd else usual
        size = prod(shape) * SIZES.get(dtype, 1)
        fill = draw(
            st.sampled_from([b"\0", b"\x3c", b"\x3f", b"\x3e", *([b"\xff", b"\x7f", b"\x7c"] if wrong else [])])
        )
        content = fill * size if prod(shape) != 1 else draw(st.binary(min_size=size, max_size=size))
        start = len(body) + (draw(st.sampled_from([-4, 4])) if wrong == 3 and draw(st.integers(0, 9)) == 0 else 0)
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}
        body += content
    text = json.dumps(table).encode()
    whole = struct.pack("<Q", len(text)) + text + body
    return whole[: draw(st.integers(0, len(whole)))] if wrong == 3 and draw(st.integers(0, 9)) == 0 else whole


@settings(max_examples=CASES, deadline=None, suppress_health_check=list[Any](HealthCheck))
@given(files())
def test_any_lora_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, good = Path(folder) / "x.safetensors", Path(folder) / "good.safetensors"
        file.write_bytes(content)
        good.write_bytes(lora({f"{KOHYA[0]}.lora_down.weight": (2, 6), f"{KOHYA[0]}.lora_up.weight": (4, 2)}))
        for number, command in enumerate(COMMANDS):
            named = {"FILE": str(file), "GOOD": str(good), "OUT": f"{folder}/out{number}"}
            for name, path in named.items():
                command = command.replace(name, path)
            words: list[str] = list(command.split(" "))
            assert main(words) in (0, 2), command


def lora(shapes: dict[str, tuple[int, ...]], fill: bytes = b"\x3c", metadata: Any = None) -> bytes:
    """A file of float16 tensors, all of one number."""
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    place = 0
    for name, shape in shapes.items():
        table[name] = {"dtype": "F16", "shape": shape, "data_offsets": [place, place := place + 2 * prod(shape)]}
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + fill * (2 * sum(map(prod, shapes.values())))


LARGE = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is set there")
@pytest.mark.parametrize(
    "shapes",
    [
        {"lokr_w1": (LARGE, 1), "lokr_w2": (1, LARGE)},
        {"hada_w1_a": (LARGE, 1), "hada_w1_b": (1, LARGE), "hada_w2_a": (LARGE, 1), "hada_w2_b": (1, LARGE)},
        {"lora_down.weight": (1, LARGE), "lora_up.weight": (LARGE, 1)},
        {"lora_down.weight": (LARGE, 1), "lora_up.weight": (1, LARGE)},
    ],
)
def test_changes_that_no_memory_holds_are_measured_all_the_same(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import resource

    own = {f"{KOHYA[0]}.{name}": shape for name, shape in shapes.items()}
    (tmp_path / "x.safetensors").write_bytes(lora(own))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["inspect", str(tmp_path / "x.safetensors"), "--json"]) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
    one = 1.05859375  # 0x3c3c
    wanted = one ** len(shapes) * LARGE
    norm = json.loads(capsys.readouterr().out)["norms"]["MID"]["norm"]
    assert norm == pytest.approx(wanted)
