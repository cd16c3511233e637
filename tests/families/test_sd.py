from typing import Any

import pytest
import torch

from tehon.catalog.detect import demo_folder, detect_family
from tehon.families.family import behaviour_of
from tehon.families.samplers import SampleRequest, sample


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    behaviour = behaviour_of(detect_family(demo_folder()))
    return behaviour, behaviour.load(demo_folder(), torch.float32, torch.device("cpu"))


def test_a_prompt_without_emphasis_is_encoded_as_a_caption(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    prompts = ["a red star", ""]
    assert torch.allclose(behaviour.encode_prompts(parts, prompts), behaviour.encode_text(parts, prompts), atol=1e-6)


def test_emphasis_scales_its_words_and_keeps_the_mean(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    plain = behaviour.encode_prompts(parts, ["a red star"])
    strong = behaviour.encode_prompts(parts, ["a (red:1.5) star"])
    assert strong.mean() == pytest.approx(plain.mean().item(), rel=1e-4)
    ratio = (strong / plain)[0].median(-1).values
    assert ratio[2] / ratio[1] == pytest.approx(1.5, rel=1e-3)


def test_a_long_prompt_grows_the_conditioning(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    assert behaviour.encode_prompts(parts, ["red " * 80, "star"]).shape == (2, 152, 96)
    assert behaviour.encode_prompts(parts, ["red " * 999]).shape == (1, 227, 96)


def test_pictures_survive_the_vae(model: tuple[Any, Any]) -> None:
    from tehon.demo.scenes import scene

    behaviour, parts = model
    pixels = torch.frombuffer(bytearray(scene(99, 3).draw().tobytes()), dtype=torch.uint8)
    picture = pixels.view(1, 128, 128, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, std = behaviour.encode_image(parts, picture)
    assert mean.shape == std.shape == (1, 4, 16, 16)
    assert (behaviour.decode(parts, mean) - picture).abs().mean() < 0.06


def test_a_picture_is_the_same_alone_and_in_company(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    two = sample(behaviour, parts, SampleRequest(["a", "b"], [1, 2], (64, 64), steps=3, sampler="euler_a"))
    one = sample(behaviour, parts, SampleRequest(["b"], [2], (64, 64), steps=3, sampler="euler_a"))
    assert (two[1].float() - one[0].float()).abs().max() <= 1
