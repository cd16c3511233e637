"""What a trained file says of its base, by which A1111 filters and finds: right for every family, hashed by hand."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tehon.catalog.header import read_header
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.run import start_run

SGM = "https://github.com/Stability-AI/generative-models"
# (family, prediction): ss_base_model_version, architecture, implementation; sd-scripts' sai_model_spec.py and
# train_util.get_sai_model_spec, as the reference has them.
TOLD = {
    ("sd1", "epsilon"): ("sd_v1", "stable-diffusion-v1/lora", "diffusers"),
    ("sd1", "v"): ("sd_v1_v", "stable-diffusion-v1/lora", "diffusers"),
    ("sd2", "epsilon"): ("sd_v2", "stable-diffusion-v2-512/lora", "diffusers"),
    ("sd2", "v"): ("sd_v2_v", "stable-diffusion-v2-768-v/lora", "diffusers"),
    ("sdxl", "epsilon"): ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", SGM),
    ("sdxl", "v"): ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", SGM),
}


def trained(tree: dict[str, Any]) -> Path:
    outcome = start_run(make_plan(validate(tree)), lambda name, facts: None)
    assert outcome.lora is not None
    return outcome.lora


@pytest.mark.parametrize(("family", "prediction"), list(TOLD), ids="-".join)
def test_the_base_is_told_for_every_family(
    family: str, prediction: str, tree: dict[str, Any], twins: Any, vocabulary: str, tmp_path: Path
) -> None:
    model = tmp_path / "base.safetensors"
    twins.write_checkpoint(twins.networks(family), model, family, **{"modelspec.prediction_type": prediction})
    tree["model"] = {"path": str(model), "tokenizer": vocabulary}
    tree["data"] |= {"resolution": 64}
    tree["training"] |= {"max_train_steps": 1}
    tree["optimizer"] = {"text_encoder_lr": 0.0}
    lora = trained(tree)
    facts, content = read_header(lora).metadata, model.read_bytes()
    version, architecture, implementation = TOLD[family, prediction]
    assert facts["ss_base_model_version"] == version
    assert facts["ss_v2"] == str(family == "sd2")
    assert facts["modelspec.architecture"] == architecture
    assert facts["modelspec.implementation"] == implementation
    assert facts["modelspec.prediction_type"] == prediction
    assert (facts["modelspec.title"], facts["modelspec.resolution"]) == ("mine", "64x64")
    assert "modelspec.encoder_layer" not in facts
    assert facts["ss_sd_model_name"] == "base.safetensors"
    assert facts["ss_sd_model_hash"] == sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert facts["ss_new_sd_model_hash"] == sha256(content).hexdigest()
    assert "ss_vae_name" not in facts
    # The independent computation: eight bytes of length, the header, and the rest is the body.
    own = lora.read_bytes()
    assert facts["sshs_model_hash"] == sha256(own[8 + int.from_bytes(own[:8], "little") :]).hexdigest()


def test_a_vae_of_its_own_is_named_and_hashed(tree: dict[str, Any], models: Any, tmp_path: Path) -> None:
    vae = tmp_path / "vae.safetensors"
    rows = load_file(models("sd1", "model.safetensors"))
    save_file({name: tensor for name, tensor in rows.items() if name.startswith("first_stage_model.")}, vae)
    tree["model"] = {"path": str(models("sd1", "folder")), "vae": str(vae)}
    tree["data"] |= {"resolution": 64}
    tree["text"] = {"clip_skip": 2}
    tree["objective"] = {"min_timestep": 10, "max_timestep": 900}
    tree["training"] |= {"max_train_steps": 1}
    facts, content = read_header(trained(tree)).metadata, vae.read_bytes()
    assert facts["ss_vae_name"] == "vae.safetensors"
    assert facts["ss_vae_hash"] == sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert facts["ss_new_vae_hash"] == sha256(content).hexdigest()
    assert "ss_sd_model_hash" not in facts, "a folder has no hash"
    assert (facts["modelspec.encoder_layer"], facts["modelspec.timestep_range"]) == ("2", "10,900")
