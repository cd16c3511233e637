"""Files of every kind against the rules of other programs, at the size of SD 1.5."""

from pathlib import Path

import pytest
import torch

from tehon.catalog.kinds import Form, ia3_on_input, tensor_shapes
from tehon.catalog.layers import text_layers, unet_layers
from tehon.messages.problem import Problem
from tehon.weights.lora_file import check_readers, write_lora
from tehon.weights.readers import match

SD15 = {
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}


def layers(kind: str, form: Form) -> dict[str, dict[str, tuple[int, ...]]]:
    rows = [("lora_unet", row) for row in unet_layers(SD15)] + [("lora_te", row) for row in text_layers(CLIP)]
    return {
        f"{prefix}_{row.path.replace('.', '_')}": tensor_shapes(kind, row.shape, 4, form)
        for prefix, row in rows
        if kind != "ia3" or ia3_on_input(row.path) is not None
    }


A1111, COMFY, DIFFUSERS = "A1111", "ComfyUI and Forge", "diffusers"


@pytest.mark.parametrize(
    ("kind", "form", "readers"),
    [
        ("lora", Form(), {A1111, COMFY, DIFFUSERS}),
        ("lora", Form(tucker=True), {A1111, COMFY}),
        ("lora", Form(dora="output"), {COMFY}),
        ("lora", Form(dora="input"), {A1111, COMFY}),
        ("dylora", Form(), {A1111, COMFY, DIFFUSERS}),
        ("loha", Form(), {A1111, COMFY}),
        ("loha", Form(tucker=True), {A1111, COMFY}),
        ("lokr", Form(), {A1111, COMFY}),
        ("lokr", Form(decompose_both=True, tucker=True), {A1111, COMFY}),
        ("lokr", Form(full_matrix=True), {A1111, COMFY}),
        ("ia3", Form(), {A1111}),
    ],
)
def test_programs_that_know_a_kind_match_every_layer(kind: str, form: Form, readers: set[str]) -> None:
    held = layers(kind, form)
    for row in match(held):
        if row.reader in readers:
            assert (row.matched, row.total, row.known) == (len(held), len(held), True), row.reader
        else:
            assert not row.whole
            assert not row.known, row.reader


def test_a_layer_of_another_name_or_with_a_missing_tensor_does_not_match() -> None:
    held = layers("lora", Form())
    name = next(iter(held))
    assert {row.matched for row in match({**held, "lora_unet_nowhere": held[name]})} == {len(held)}
    broken = {key: shape for key, shape in held[name].items() if key != "lora_up.weight"}
    assert {(row.matched, row.known) for row in match({**held, name: broken})} == {(len(held) - 1, True)}


def test_a_file_that_a_program_would_read_in_part_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    good = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {f"{good}.lora_down.weight": torch.ones(2, 3), f"{good}.lora_up.weight": torch.ones(3, 2)}
    write_lora(file, tensors, {}, "float")
    assert [(row.reader, row.matched, row.total) for row in check_readers(file)] == [
        (name, 1, 1) for name in (A1111, COMFY, DIFFUSERS)
    ]
    strange = {key.replace("proj_in", "proj_on"): tensor.clone() for key, tensor in tensors.items()}
    write_lora(file, tensors | strange, {}, "float")
    with pytest.raises(Problem, match="only 1 of 2 layers match the key rules of A1111"):
        check_readers(file)
