"""The finished file in diffusers: every key matched, and the same pictures as ours."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline

from tehon.adapters.adapter import detach
from tehon.catalog.detect import demo_folder
from tehon.catalog.header import read_header
from tehon.families.samplers import SampleRequest, sample
from tehon.families.schedulers import make_scheduler
from tehon.training.assemble import Trainer
from tehon.training.attach import file_tensors, lora_files
from tehon.weights.lora_file import write_lora
from tehon.weights.readers import match

PROMPTS = ["a red star on a white background", "mofu"]


@pytest.fixture
def lora(trainer: Trainer, tmp_path: Path) -> Path:
    file = tmp_path / "strong.safetensors"
    write_lora(file, file_tensors(trainer.adapters), {"ss_network_dim": "2"}, "float")
    for layers in trainer.adapters.values():
        for adapter in layers.values():
            detach(adapter)
    return file


def pipeline() -> Any:
    return StableDiffusionPipeline.from_pretrained(demo_folder(), local_files_only=True).to(torch.float32)


def test_pictures_are_those_of_diffusers(trainer: Trainer, lora: Path) -> None:
    """With the sampler that draws noise of its own; `test_samplers.py` goes through the others."""
    pipe = pipeline()
    pipe.load_lora_weights(str(lora))
    pipe.scheduler = make_scheduler("euler_a", trainer.parts.schedule)
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"num_inference_steps": 6, "guidance_scale": 5.0, "width": 128, "height": 128}
    theirs = np.stack(
        [
            np.asarray(pipe(prompt, generator=torch.Generator().manual_seed(seed), **options).images[0])
            for seed, prompt in enumerate(PROMPTS)
        ]
    )
    request = SampleRequest(PROMPTS, [0, 1], (128, 128), steps=6, guidance=5.0, sampler="euler_a")
    base = sample(trainer.behaviour, trainer.parts, request).numpy()
    with lora_files(trainer.behaviour, trainer.parts, [(lora, 1.0)]) as layers:
        ours = sample(trainer.behaviour, trainer.parts, request).numpy()
    assert layers == 264
    assert np.abs(ours.astype(float) - theirs).mean() < 2
    assert np.abs(ours.astype(float) - base).mean() > 2, "the LoRA must change the picture for this to mean anything"


@pytest.mark.parametrize(("network", "layers"), [({}, 264), ({"kind": "locon"}, 351)], ids=["lora", "locon"])
def test_diffusers_matches_every_key(
    tree: dict[str, Any],
    stir: Callable[[dict[str, Any]], Trainer],
    tmp_path: Path,
    network: dict[str, Any],
    layers: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tree["network"] |= network
    file = tmp_path / "strong.safetensors"
    write_lora(file, file_tensors(stir(tree).adapters), {"ss_network_dim": "2"}, "float")
    pipe = pipeline()
    with caplog.at_level(logging.WARNING):
        pipe.load_lora_weights(str(file))
    loaded = sum("lora_A" in name for part in (pipe.unet, pipe.text_encoder) for name, _ in part.named_parameters())
    assert loaded == layers
    assert [row.whole for row in match(read_header(file).layers())] == [True] * 3, "our own rules say the same"
    keys = safetensors.torch.load_file(file)
    named = dict(pipe.unet.named_parameters())
    down = named["mid_block.attentions.0.proj_in.lora_A.default_0.weight"]
    assert torch.equal(down, keys["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"])
    if layers > 264:
        down = named["up_blocks.0.resnets.0.conv_shortcut.lora_A.default_0.weight"]
        assert torch.equal(down, keys["lora_unet_up_blocks_0_resnets_0_conv_shortcut.lora_down.weight"])


@pytest.mark.parametrize("network", [{"kind": "loha"}, {"kind": "lokr"}], ids=["loha", "lokr"])
def test_diffusers_refuses_the_kinds_that_our_rules_say_it_does_not_know(
    tree: dict[str, Any], stir: Callable[[dict[str, Any]], Trainer], tmp_path: Path, network: dict[str, Any]
) -> None:
    tree["network"] |= network
    file = tmp_path / "strong.safetensors"
    write_lora(file, file_tensors(stir(tree).adapters), {}, "float")
    assert [row.known for row in match(read_header(file).layers())] == [True, True, False]
    with pytest.raises(ValueError, match="not been correctly renamed"):
        pipeline().load_lora_weights(str(file))
