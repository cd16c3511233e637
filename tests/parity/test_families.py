"""The twins of every family against diffusers' own pipelines: what the text says, predictions, pictures, LoRA files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from tehon.catalog.detect import find_model
from tehon.catalog.header import read_header
from tehon.families.family import behaviour_of
from tehon.families.samplers import SampleRequest, sample
from tehon.families.schedulers import make_scheduler
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.attach import lora_files
from tehon.training.run import start_run
from tehon.weights.readers import match

FAMILIES = ("sd1", "sd2", "sdxl")
LONG = "red star " * 60
Models = Callable[[str, str], Path]


def pipeline(folder: Path, family: str) -> Any:
    kind = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipe = kind.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def theirs(pipe: Any, prompts: list[str], skip: int | None) -> dict[str, Any]:
    """What diffusers makes of prompts of up to 75 tokens."""
    options = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False, "clip_skip": skip}
    if isinstance(pipe, StableDiffusionXLPipeline):
        states, _, pooled, _ = pipe.encode_prompt(prompts, **options)
        return {"states": states, "pooled": pooled}
    return {"states": pipe.encode_prompt(prompts, **options)[0]}


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, models: Models, vocabulary: str) -> tuple[str, Any, Any, Any]:
    """(family, our behaviour, our parts from one file, diffusers' pipeline from the folder). That of 2.x predicts the
    velocity."""
    family = request.param
    file = str(models(family, "model.safetensors"))
    model = find_model(file, tokenizer=vocabulary, prediction="v" if family == "sd2" else "epsilon")
    behaviour = behaviour_of(model.family)
    parts = behaviour.load(model, torch.float32, torch.device("cpu"))
    return family, behaviour, parts, pipeline(models(family, "folder"), family)


@torch.no_grad()
def test_the_text_is_what_diffusers_makes_of_it(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL never uses its last layer, so that 1 and 2 are what diffusers does when nothing is said."""
    family, behaviour, parts, pipe = both
    if not hasattr(pipe.text_encoder, "text_model"):  # diffusers still asks for what transformers 5 took away
        monkeypatch.setattr(type(pipe.text_encoder), "text_model", property(lambda self: self), raising=False)
    prompts = ["a red star on a mint background", "", "star"]
    skips = {1: None, 2: None, 3: 1} if family == "sdxl" else {1: None, 2: 1, 3: 2}
    for ours, other in skips.items():
        found, expected = behaviour.encode_text(parts, prompts, clip_skip=ours), theirs(pipe, prompts, other)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.allclose(found[name], tensor, atol=1e-4), (ours, name)
    one, two = (behaviour.encode_text(parts, ["star"], clip_skip=skip)["states"] for skip in (2, 3))
    assert not torch.allclose(one, two, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("skipped", [0, 1])
def test_long_captions_are_pieces_of_75_tokens_with_each_encoders_padding(both: Any, skipped: int) -> None:
    """Each piece, with the padding rule of its encoder, through diffusers' own encoders; the rule itself is checked
    against sd-scripts' tokens elsewhere. The text as one vector is the first piece's."""
    family, behaviour, parts, pipe = both
    usual = 2 if family == "sdxl" else 1
    found = behaviour.encode_text(parts, [LONG], chunks=3, clip_skip=usual + skipped)
    encoders = [(pipe.tokenizer, pipe.text_encoder)]
    encoders += [(pipe.tokenizer_2, pipe.text_encoder_2)] if family == "sdxl" else []
    states: list[torch.Tensor] = []
    for tokenizer, encoder in encoders:
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        words = tokenizer(LONG, add_special_tokens=False).input_ids
        assert 75 < len(words) < 150
        rows = [[start, *words[:75], pad], [start, *words[75:], end, *[pad] * (150 - len(words))]]
        rows.append([start, *[pad] * 76])
        if pad != end:
            rows[0][-1] = rows[2][1] = end
        rows = [row[:77] for row in rows]
        out = encoder(torch.tensor(rows), output_hidden_states=True)
        hidden = out.hidden_states[-usual - skipped]
        if family != "sdxl":
            hidden = encoder.final_layer_norm(hidden)
        states.append(torch.cat([hidden[0, :1], *hidden[:, 1:-1], hidden[-1, -1:]]))
        if family == "sdxl" and encoder is pipe.text_encoder_2:
            end_of_first = torch.tensor(rows[0]).eq(end).int().argmax()
            vector = encoder.text_projection(encoder.text_model(torch.tensor(rows)).last_hidden_state[0, end_of_first])
            assert torch.allclose(found["pooled"][0], vector, atol=1e-4)
    assert torch.allclose(found["states"][0], torch.cat(states, -1), atol=1e-4)


@torch.no_grad()
def test_the_prediction_is_that_of_diffusers_network(both: Any) -> None:
    family, behaviour, parts, pipe = both
    noisy, times = torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 987])
    told = behaviour.encode_text(parts, ["a red star", "moon"])
    frame = torch.tensor([[200, 100, 0, 7, 64, 128], [64, 128, 3, 0, 64, 128]])
    text = theirs(pipe, ["a red star", "moon"], None)
    more = {"added_cond_kwargs": {"text_embeds": text["pooled"], "time_ids": frame.float()}} if family == "sdxl" else {}
    expected = pipe.unet(noisy, times, text["states"], **more).sample
    found = behaviour.predict(parts, noisy, times, told | {"frame": frame})
    assert torch.allclose(found, expected, atol=1e-4)
    other = behaviour.predict(parts, noisy, times, told | {"frame": frame + 30})
    assert torch.allclose(other, expected, atol=1e-5) == (family != "sdxl"), "only SDXL is told of the size"


def test_pictures_are_those_of_diffusers(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are rounded to whole numbers of 0 to 255, and after."""
    _, behaviour, parts, pipe = both
    drawn: list[torch.Tensor] = []
    decode = behaviour.decode

    def seen(parts: Any, latents: torch.Tensor) -> torch.Tensor:
        drawn.append(decode(parts, latents))
        return drawn[-1]

    monkeypatch.setattr(behaviour, "decode", seen)
    pipe.scheduler = make_scheduler("euler_a", parts.schedule)
    prompts = ["a red star on a white background", "moon"]
    options: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 5.0, "width": 64, "height": 128}
    negative = "blue"
    options |= {"negative_prompt": negative, "output_type": "np"}
    expected = np.concatenate(
        [
            pipe(prompt, generator=torch.Generator().manual_seed(seed), **options).images
            for seed, prompt in enumerate(prompts)
        ]
    )
    request = SampleRequest(prompts, [0, 1], (64, 128), negative, steps=3, guidance=5.0, sampler="euler_a")
    found = sample(behaviour, parts, request).numpy()
    bare = (drawn[0] / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(bare - expected).max() < 1e-4
    assert np.abs(found - expected * 255).max() < 0.5 + 255e-4, "rounding to whole numbers"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_twin_trains_and_its_lora_loads_in_diffusers(
    family: str, tree: dict[str, Any], models: Models, vocabulary: str, tmp_path: Path, caplog: Any
) -> None:
    """From a checkpoint to a LoRA with 3x3 convolutions, every key matched, and the same prediction with it."""
    tree["model"] = {"path": str(models(family, "model.safetensors")), "tokenizer": vocabulary, "prediction": "epsilon"}
    tree["network"] |= {"conv_rank": 2}
    tree["training"] |= {"max_train_steps": 2}
    tree["optimizer"] = {"learning_rate": 0.05, "text_encoder_lr": 0.05, "lr_scheduler": "constant"}
    outcome = start_run(make_plan(validate(tree)), lambda *_: None)
    assert outcome.lora is not None
    layers = read_header(outcome.lora).layers()
    assert [row.whole for row in match(layers)] == [True] * 3
    pipe = pipeline(models(family, "folder"), family)
    with caplog.at_level(logging.WARNING):
        pipe.load_lora_weights(str(outcome.lora))
    parts_of = [pipe.unet, pipe.text_encoder, *([pipe.text_encoder_2] if family == "sdxl" else [])]
    assert sum("lora_A" in name for part in parts_of for name, _ in part.named_parameters()) == len(layers)
    model = make_plan(validate(tree | {"output": tree["output"] | {"name": "x"}})).model
    behaviour = behaviour_of(model.family)
    parts = behaviour.load(model, torch.float32, torch.device("cpu"))
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    frame = torch.tensor([[64, 64, 0, 0, 64, 64]])
    with torch.no_grad():
        text = theirs(pipe, ["star"], None)
        more = (
            {"added_cond_kwargs": {"text_embeds": text["pooled"], "time_ids": frame.float()}}
            if family == "sdxl"
            else {}
        )
        expected = pipe.unet(noisy, times, text["states"], **more).sample
        base = behaviour.predict(parts, noisy, times, behaviour.encode_text(parts, ["star"]) | {"frame": frame})
        with lora_files(behaviour, parts, [(outcome.lora, 1.0)]) as count:
            found = behaviour.predict(parts, noisy, times, behaviour.encode_text(parts, ["star"]) | {"frame": frame})
    assert count == len(layers)
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(found, base, atol=1e-2), "the LoRA must change something for this to mean anything"
