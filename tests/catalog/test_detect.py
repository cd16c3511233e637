"""What a model path is, and one sentence for everything that is no base model."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tehon.catalog.detect import find_model
from tehon.messages.problem import Problem

Models = Callable[[str, str], Path]
Tensors = dict[str, torch.Tensor]


def changed(file: Path, to: Path, change: Callable[[Tensors], object], **metadata: str) -> str:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, to, metadata)
    return str(to)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_family_is_the_same_in_every_layout(family: str, models: Models, vocabulary: str) -> None:
    said: dict[str, Any] = {"prediction": "epsilon"} if family == "sd2" else {}
    sides = {"sd1": 512, "sd2": 512, "sdxl": 1024}
    for kind in ("folder", "model.safetensors", "model.ckpt"):
        model = find_model(str(models(family, kind)), tokenizer=vocabulary, **said)
        assert (model.family.name, model.prediction, model.zero_snr) == (family, "epsilon", False)
        assert model.native_side == sides[family]
        assert model.single_file == (kind != "folder")


SHIFTS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


def with_shifts(deviation: float) -> Callable[[Tensors], object]:
    """Half of the shifts lie above and half below zero."""
    return lambda tensors: tensors.update({SHIFTS: torch.tensor([deviation, -deviation]).repeat(32)})


def test_a_2x_model_that_does_not_say_it_is_told_by_its_weights(
    models: Models, tmp_path: Path, vocabulary: str
) -> None:
    """By ComfyUI's rule: velocity when the shifts of one norm deviate by more than 0.09."""
    file = models("sd2", "model.safetensors")
    for deviation, prediction, side in ((0.089, "epsilon", 512), (0.091, "v", 768)):
        for ending in ("safetensors", "ckpt"):
            tensors = load_file(file)
            with_shifts(deviation)(tensors)
            other = tmp_path / f"{deviation}.{ending}"
            save_file(tensors, other) if ending == "safetensors" else torch.save({"state_dict": tensors}, other)
            model = find_model(str(other), tokenizer=vocabulary)
            assert (model.prediction, model.native_side, model.told_by) == (prediction, side, "weights")
            model = find_model(str(other), tokenizer=vocabulary, prediction="epsilon")
            assert (model.prediction, model.told_by) == ("epsilon", "setting")
    assert find_model(str(models("sd1", "model.safetensors")), tokenizer=vocabulary).told_by == "family"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_schedule_in_a_pickle_is_read(dtype: torch.dtype, models: Models, tmp_path: Path, vocabulary: str) -> None:
    """Beside other tensors in one storage too, as the slices of a tensor are saved."""
    file = tmp_path / "model.ckpt"
    tensors = load_file(models("sd1", "model.safetensors"))
    for last, prediction in ((0.0, "v"), (0.0047, "epsilon")):
        both = torch.cat([torch.full((7,), 0.5), torch.linspace(0.999, last, 1000)]).to(dtype)
        torch.save({"state_dict": tensors | {"other": both[:7], "alphas_cumprod": both[7:]}}, file)
        model = find_model(str(file), tokenizer=vocabulary)
        assert (model.zero_snr, model.prediction) == (last == 0, prediction)
        assert model.told_by == ("weights" if last == 0 else "family")
    torch.save({"state_dict": tensors | {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}}, file)
    model = find_model(str(file), tokenizer=vocabulary)
    assert (model.zero_snr, model.prediction, model.told_by) == (True, "v", "file")


def add(name: str, tensor: torch.Tensor) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "metadata", "prediction", "zero"),
    [
        (add("v_pred", torch.empty(0)), {}, "v", False),
        (lambda t: t.update(v_pred=torch.empty(0), ztsnr=torch.empty(0)), {}, "v", True),
        (lambda _: None, {"modelspec.prediction_type": "v"}, "v", False),
        (lambda _: None, {"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        (add("alphas_cumprod", torch.linspace(1, 0, 1000)), {}, "v", True),
        (add("alphas_cumprod", torch.linspace(0.999, 0.0047, 1000)), {}, "epsilon", False),
        (add("alphas_cumprod", torch.linspace(1, 0, 1000).bfloat16()), {}, "v", True),
    ],
    ids=["v_pred", "ztsnr", "modelspec v", "modelspec epsilon", "schedule to zero", "usual schedule", "bf16"],
)
def test_a_checkpoint_says_what_it_predicts(
    change: Any, metadata: Any, prediction: str, zero: bool, models: Models, tmp_path: Path, vocabulary: str
) -> None:
    file = changed(models("sd1", "model.safetensors"), tmp_path / "m.safetensors", change, **metadata)
    model = find_model(file, tokenizer=vocabulary)
    assert (model.prediction, model.zero_snr) == (prediction, zero)
    assert model.schedule["prediction_type"] == {"v": "v_prediction", "epsilon": "epsilon"}[prediction]
    assert model.told_by == ("file" if metadata or "v_pred" in load_file(file) else "weights" if zero else "family")
    if model.told_by == "file":
        other: Any = "epsilon" if prediction == "v" else "v"
        with pytest.raises(Problem, match=f"says itself that it predicts {prediction}, not {other}; remove"):
            find_model(file, tokenizer=vocabulary, prediction=other)


def test_the_configuration_beside_a_checkpoint_is_read(models: Models, tmp_path: Path, vocabulary: str) -> None:
    file = tmp_path / "768-v.safetensors"
    file.write_bytes(models("sd2", "model.safetensors").read_bytes())
    file.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert find_model(str(file), tokenizer=vocabulary).prediction == "v"
    file.with_suffix(".yaml").write_text("model:\n  params:\n    parametrisation_of: velocity\n")
    assert find_model(str(file), tokenizer=vocabulary).prediction == "epsilon"


def test_the_scheduler_of_a_folder_says_what_it_predicts(models: Models, tmp_path: Path, twins: Any) -> None:
    folder = twins.write_folder(twins.networks("sd1"), tmp_path / "v", "sd1", "v_prediction")
    assert find_model(str(folder)).prediction == "v"
    with pytest.raises(Problem, match="says itself that it predicts v, not epsilon"):
        find_model(str(folder), prediction="epsilon")
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(twins.schedule("sample")))
    with pytest.raises(Problem, match="other families are not supported yet"):
        find_model(str(folder))
    silent = {name: value for name, value in twins.schedule("epsilon").items() if name != "prediction_type"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(silent))
    assert find_model(str(folder)).prediction == "epsilon", "what the family predicts as a rule"
    assert find_model(str(folder), prediction="v").prediction == "v"
    config = silent | {"rescale_betas_zero_snr": True}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert (find_model(str(folder)).prediction, find_model(str(folder)).told_by) == ("v", "weights")


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


def refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(Problem) as caught:
        find_model(str(path), **options)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"model.diffusion_model.input_blocks.0.0.weight": Hostile()}}, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt", "holds more than tensors (")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Hostile()))
    refused(tmp_path / "b.ckpt", "is damaged, or older than the format that is read")
    torch.save({"state_dict": {}, "callbacks": {Hostile: 1}}, tmp_path / "c.ckpt")
    refused(tmp_path / "c.ckpt", "holds more than tensors (")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 7, 1000, 1_000_000])
def test_a_file_that_is_cut_off_is_one_sentence(keep: int, models: Models, tmp_path: Path) -> None:
    for kind in ("model.safetensors", "model.ckpt"):
        file = tmp_path / kind
        file.write_bytes(models("sd1", kind).read_bytes()[:keep])
        refused(file, "fetch it again" if kind == "model.ckpt" or keep > 99_999 else "is not a safetensors file")


def test_what_is_no_base_model_is_named(models: Models, tmp_path: Path) -> None:
    whole = load_file(models("sd1", "model.safetensors"))
    first = "model.diffusion_model.input_blocks.0.0.weight"

    def write(name: str, tensors: Tensors) -> Path:
        save_file(tensors, tmp_path / name)
        return tmp_path / name

    lora = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(2, 2)}
    refused(write("lora.safetensors", lora), "is a LoRA and no base model")
    peft = {"unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 2)}
    refused(write("peft.safetensors", peft), "is a LoRA and no base model")
    vae = {name: tensor for name, tensor in whole.items() if name.startswith("first_stage_model.")}
    refused(write("vae.safetensors", vae), "is a VAE alone; give a whole checkpoint here, and the VAE in model.vae")
    bare = {name.removeprefix("first_stage_model."): tensor for name, tensor in vae.items()}
    refused(write("vae2.safetensors", bare), "is a VAE alone")
    refused(write("nine.safetensors", whole | {first: torch.ones(32, 9, 3, 3)}), "is an inpainting model")
    for mark in ("edm_mean", "edm_vpred.sigma_max"):
        refused(write("edm.safetensors", whole | {mark: torch.ones(1)}), "another kind of noise (EDM)")
    refused(write("eight.safetensors", whole | {first: torch.ones(32, 8, 3, 3)}), "no Stable Diffusion 1.x, 2.x or XL")
    unet = {name: tensor for name, tensor in whole.items() if name.startswith("model.")}
    refused(write("unet.safetensors", unet), "with its text encoders")
    refused(write("other.safetensors", {"x": torch.ones(1)}), "is no Stable Diffusion 1.x, 2.x or XL base model")
    del whole["model.diffusion_model.out.2.weight"]
    refused(write("lacking.safetensors", whole), "the first is out.2.weight")


def test_an_inpainting_folder_is_named(models: Models, tmp_path: Path, twins: Any) -> None:
    folder = twins.write_folder(twins.networks("sd1"), tmp_path / "inpainting", "sd1")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 9}))
    refused(folder, "is an inpainting model")


def test_vae_and_vocabulary_of_their_own(models: Models, tmp_path: Path, vocabulary: str) -> None:
    file = models("sd1", "model.safetensors")
    refused(file, "has no vocab.json and merges.txt", tokenizer=str(tmp_path))
    refused(file, "is no VAE of Stable Diffusion", tokenizer=vocabulary, vae=str(tmp_path))
    lora = tmp_path / "lora.safetensors"
    save_file({"a.lora_down.weight": torch.ones(1)}, lora)
    refused(file, "is no VAE of Stable Diffusion", tokenizer=vocabulary, vae=str(lora))
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "config.json").write_text('{"latent_channels": 16}')
    refused(file, "is no VAE of Stable Diffusion", tokenizer=vocabulary, vae=str(tmp_path / "wide"))
    refused(file, "there is no such file", tokenizer=vocabulary, vae=str(tmp_path / "gone.safetensors"))
    refused(file, "has revisions, and", revision="main")
    refused(Path("demo"), "has revisions, and demo is none", revision="main")
    model = find_model(str(file), vae=str(models("sdxl", "folder") / "vae"), tokenizer=str(models("sd1", "folder")))
    assert model.configs["vae"]["scaling_factor"] == 0.13025
    assert [name for name, _ in model.files()] == [".safetensors", "vae diffusion_pytorch_model.safetensors"]
