from typing import Any

import pytest
import torch

from tehon.catalog.detect import demo_folder, find_model
from tehon.families.family import behaviour_of
from tehon.families.samplers import SampleRequest, sample


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    model = find_model("demo")
    behaviour = behaviour_of(model.family)
    return behaviour, behaviour.load(model, torch.float32, torch.device("cpu"))


def test_a_prompt_without_emphasis_is_encoded_as_a_caption(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    prompts = ["a red star", ""]
    assert torch.allclose(
        behaviour.encode_prompts(parts, prompts)["states"], behaviour.encode_text(parts, prompts)["states"], atol=1e-6
    )


def test_emphasis_scales_its_words_and_keeps_the_mean(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    plain = behaviour.encode_prompts(parts, ["a red star"])["states"]
    strong = behaviour.encode_prompts(parts, ["a (red:1.5) star"])["states"]
    assert strong.mean() == pytest.approx(plain.mean().item(), rel=1e-4)
    ratio = (strong / plain)[0].median(-1).values
    assert ratio[2] / ratio[1] == pytest.approx(1.5, rel=1e-3)


def test_a_long_prompt_grows_the_conditioning(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    assert behaviour.encode_prompts(parts, ["red " * 80, "star"])["states"].shape == (2, 152, 96)
    assert behaviour.encode_prompts(parts, ["red " * 999])["states"].shape == (1, 227, 96)


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


CAPTION = "a (red:1.5) star on a mint background, [soft]"


@pytest.fixture(scope="module")
def clip() -> Any:
    """The demo's text encoder and tokenizer, loaded by transformers itself."""
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = demo_folder()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    return tokenizer, CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()


@pytest.mark.parametrize("skip", [1, 2, 5, 12])
def test_clip_skip_takes_an_earlier_layer_and_the_last_norm(skip: int, model: tuple[Any, Any], clip: Any) -> None:
    """As a shorter encoder would say it: the last layers taken out, the norm left in."""
    import copy

    behaviour, parts = model
    tokenizer, encoder = clip
    short = copy.deepcopy(encoder)
    layers = short.encoder.layers
    short.encoder.layers = layers[: len(layers) - skip + 1]
    ids = tokenizer(["a red star"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = short(ids).last_hidden_state
    found = behaviour.encode_text(parts, ["a red star"], clip_skip=skip)
    assert found.keys() == {"states"}
    assert torch.allclose(found["states"], expected, atol=1e-5)
    assert torch.allclose(behaviour.encode_prompts(parts, ["a red star"], skip)["states"], expected, atol=1e-5)


@pytest.mark.parametrize("chunks", [2, 3])
def test_long_captions_are_read_in_chunks(chunks: int, model: tuple[Any, Any], clip: Any) -> None:
    """Each piece of 75 tokens is encoded by itself; of the ends between them only the outer ones stay."""
    behaviour, parts = model
    tokenizer, encoder = clip
    words = tokenizer("red star " * 50, add_special_tokens=False).input_ids
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    inner = [*words, end, *[tokenizer.pad_token_id] * 300][: 75 * chunks]
    rows = [[start, *inner[n : n + 75], inner[-1]] for n in range(0, 75 * chunks, 75)]
    with torch.no_grad():
        states = encoder(torch.tensor(rows)).last_hidden_state
    expected = torch.cat([states[0, :1], *states[:, 1:-1], states[-1, -1:]])
    found = behaviour.encode_text(parts, ["red star " * 50], chunks=chunks)["states"]
    assert found.shape == (1, 75 * chunks + 2, 96)
    assert torch.allclose(found[0], expected, atol=1e-5)
    assert behaviour.encode_text(parts, ["red star " * 50])["states"].shape == (1, 77, 96)


@pytest.mark.parametrize("skip", [1, 2])
def test_training_and_drawing_read_emphasis_alike(skip: int, model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    weighted = behaviour.encode_text(parts, [CAPTION], weighted=True, clip_skip=skip)["states"]
    assert torch.equal(weighted, behaviour.encode_prompts(parts, [CAPTION], skip)["states"])
    literal = behaviour.encode_text(parts, [CAPTION], clip_skip=skip)["states"]
    assert not torch.allclose(weighted, literal, atol=1e-2)
    assert behaviour.encode_text(parts, ["(red:1.5) star"], weighted=True)["states"].mean() == pytest.approx(
        behaviour.encode_text(parts, ["red star"], weighted=True)["states"].mean().item(), rel=1e-3
    )


def lengths(places: torch.Tensor) -> list[int]:
    return places.sum(1).tolist()


def test_without_padding_only_the_caption_and_its_ends_are_looked_at(model: tuple[Any, Any], clip: Any) -> None:
    behaviour, parts = model
    captions = ["", "red", "a red star on a mint background", "red " * 99]
    words = [min(75, len(clip[0](caption, add_special_tokens=False).input_ids)) for caption in captions]
    places = behaviour.encode_text(parts, captions, padded=False)["places"]
    assert lengths(places) == [count + 2 for count in words]
    places = behaviour.encode_text(parts, captions, padded=False, chunks=2)["places"]
    assert lengths(places)[:3] == [count + 2 for count in words[:3]]
    assert lengths(places)[3] == 101
    places = behaviour.encode_text(parts, ["(red:1.2)"], padded=False, weighted=True)["places"]
    assert lengths(places) == [3]


def test_without_padding_a_caption_is_what_the_bare_encoder_says_alone(model: tuple[Any, Any], clip: Any) -> None:
    """The prediction equals that for states of the unpadded ids, whatever else is in the batch."""
    behaviour, parts = model
    tokenizer, encoder = clip
    captions = ["a red star", "a blue moon on a mint background, seen from far away"]
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([10, 700])
    told = behaviour.encode_text(parts, captions, padded=False)
    with torch.no_grad():
        together = behaviour.predict(parts, noisy, times, told)
        padded = behaviour.predict(parts, noisy, times, {"states": told["states"]})
        for n, caption in enumerate(captions):
            states = encoder(tokenizer(caption, return_tensors="pt").input_ids).last_hidden_state
            alone = behaviour.predict(parts, noisy[n : n + 1], times[n : n + 1], {"states": states})
            assert torch.allclose(together[n], alone[0], atol=1e-5)
            assert not torch.allclose(together[n], padded[n], atol=1e-4)


def test_what_is_cut_off_is_told_in_words(model: tuple[Any, Any]) -> None:
    behaviour, parts = model
    caption = "red " * 74 + "star on a mint background"
    assert behaviour.overlong(parts, caption) == (4, "on a mint background")
    assert behaviour.overlong(parts, caption, chunks=2) == (0, "")
    assert behaviour.overlong(parts, "(" * 40 + "red " * 75 + ")" * 40, weighted=True) == (0, "")
    assert behaviour.overlong(parts, "(" * 40 + "red " * 75 + ")" * 40)[0] > 40


def test_the_encoder_digest_names_weights_precision_and_scale(model: tuple[Any, Any]) -> None:
    import copy

    behaviour, parts = model
    digest = behaviour.image_encoder_digest(parts)
    assert behaviour.image_encoder_digest(parts) == digest
    other = copy.copy(parts)
    other.vae = copy.deepcopy(parts.vae)
    assert behaviour.image_encoder_digest(other) == digest
    with torch.no_grad():
        next(other.vae.decoder.parameters()).add_(1)
    assert behaviour.image_encoder_digest(other) == digest, "the decoder has no say"
    with torch.no_grad():
        other.vae.encoder.conv_in.bias[0] += 1e-6
    assert behaviour.image_encoder_digest(other) != digest
    other.vae = copy.deepcopy(parts.vae).bfloat16()
    assert behaviour.image_encoder_digest(other) != digest
