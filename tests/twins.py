"""Random models with the topology of the real ones and tiny widths, written in both layouts: diffusers' folders, and
checkpoints of one file with the original names, as those who trained such models wrote them.

>>> write_folder(networks("sdxl"), Path("folder"), "sdxl")
>>> write_checkpoint(networks("sdxl"), Path("model.safetensors"), "sdxl")
"""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tehon.catalog.detect import demo_folder
from tehon.catalog.families import FAMILIES
from tehon.catalog.names import original_unet_path

CROSS = [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"]
CROSS_UP = ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3]
XL = {
    "use_linear_projection": True,
    "transformer_layers_per_block": [1, 2, 10],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "addition_embed_type": "text_time",
}
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {
        "block_out_channels": [32, 32, 64, 64],
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "down_block_types": CROSS,
        "up_block_types": CROSS_UP,
    },
    "sd2": {
        "block_out_channels": [64, 64, 128, 128],
        "cross_attention_dim": 64,
        "attention_head_dim": [1, 1, 2, 2],
        "use_linear_projection": True,
        "down_block_types": CROSS,
        "up_block_types": CROSS_UP,
    },
    "sdxl": XL
    | {
        "block_out_channels": [32, 64, 96],
        "cross_attention_dim": 192,
        "attention_head_dim": [1, 1, 1],
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 96 + 6 * 8,
    },
}
REAL: dict[str, dict[str, Any]] = {
    "sd1": UNETS["sd1"] | {"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768},
    "sd2": UNETS["sd2"]
    | {
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
    },
    "sdxl": UNETS["sdxl"]
    | {
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
REAL_VAE = VAE | {"block_out_channels": [128, 256, 512, 512]}
_END = {"vocab_size": 1024, "bos_token_id": 1022, "eos_token_id": 1023}
TEXTS: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {"text_encoder": _END | {"hidden_size": 64, "num_hidden_layers": 4, "hidden_act": "quick_gelu"}},
    "sd2": {"text_encoder": _END | {"hidden_size": 64, "num_hidden_layers": 3, "hidden_act": "gelu"}},
    "sdxl": {
        "text_encoder": _END | {"hidden_size": 64, "num_hidden_layers": 3, "hidden_act": "quick_gelu"},
        "text_encoder_2": _END
        | {"hidden_size": 128, "num_hidden_layers": 4, "hidden_act": "gelu", "projection_dim": 96},
    },
}
REAL_TEXT = {"hidden_size": 768, "num_hidden_layers": 12, "hidden_act": "quick_gelu", "intermediate_size": 3072}
REAL_TEXT |= {"num_attention_heads": 12, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}

Networks = dict[str, Any]


def text_config(row: dict[str, Any]) -> CLIPTextConfig:
    wide = row["hidden_size"]
    own = {"intermediate_size": 2 * wide, "num_attention_heads": wide // 64, "projection_dim": wide}
    return CLIPTextConfig(**own | row)


@cache
def networks(name: str) -> Networks:
    """The twin's networks, with drawn weights; they are shared, so nobody may change them."""
    return build(name)


def build(
    name: str, unet: dict[str, Any] | None = None, vae: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Networks:
    """Networks of a family by part, with drawn weights: the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(len(name) + ord(name[2]))
        scale = {"scaling_factor": FAMILIES[name].latent_scale, "force_upcast": FAMILIES[name].vae_overflows}
        found: Networks = {
            "unet": UNet2DConditionModel(**unet or UNETS[name]),
            "vae": AutoencoderKL(**(vae or VAE), **scale),
        }
        for part, row in ({"text_encoder": text} if text else TEXTS[name]).items():
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            found[part] = kind(text_config(row))
        for part, network in found.items():
            for path, tensor in network.named_parameters():
                if part.startswith("text") and tensor.ndim == 2 and "embedding" not in path:
                    nn.init.normal_(tensor, std=tensor.shape[1] ** -0.5)  # so that the captions differ
    return {part: network.eval().requires_grad_(False) for part, network in found.items()}


def schedule(prediction: str, zero_snr: bool = False) -> dict[str, Any]:
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
        "rescale_betas_zero_snr": zero_snr,
    }


def write_folder(nets: Networks, folder: Path, name: str, prediction: str = "epsilon", **options: Any) -> Path:
    """A folder in diffusers' layout; `options` are for diffusers' and transformers' own writing."""
    for part, network in nets.items():
        network.save_pretrained(folder / part, **options)
    pipeline = "StableDiffusionXLPipeline" if name == "sdxl" else "StableDiffusionPipeline"
    index: dict[str, Any] = {"_class_name": pipeline, "scheduler": ["diffusers", "DDIMScheduler"]}
    for part, network in nets.items():
        index[part] = ["transformers" if part.startswith("text") else "diffusers", type(network).__name__]
    for part, pad in FAMILIES[name].pads.items():
        tokenizer = part.replace("text_encoder", "tokenizer")
        index[tokenizer] = ["transformers", "CLIPTokenizer"]
        write_tokenizer(folder / tokenizer, pad)
    if name != "sdxl":
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule(prediction)))
    return folder


def write_tokenizer(folder: Path, pad: str) -> Path:
    """The demo's vocabulary, with a padding token."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(demo_folder() / "tokenizer" / name, folder / name)
    config = json.loads((demo_folder() / "tokenizer" / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": pad}))
    return folder


def original(nets: Networks, name: str) -> dict[str, Tensor]:
    """All tensors under their original names."""
    found: dict[str, Tensor] = {}
    attending = {i for i, kind in enumerate(nets["unet"].config.up_block_types) if "CrossAttn" in kind}
    for key, tensor in nets["unet"].state_dict().items():
        found[f"model.diffusion_model.{original_unet(key, attending)}"] = tensor
    for key, tensor in nets["vae"].state_dict().items():
        conv = ".attentions." in key and "group_norm" not in key and key.endswith("weight")
        found[f"first_stage_model.{original_vae(key)}"] = tensor[..., None, None] if conv else tensor
    for part, place in FAMILIES[name].file_parts.items():
        if place.layout == "clip":
            rows = nets[part].state_dict().items()
            found |= {f"{place.prefix}text_model.{key.removeprefix('text_model.')}": row for key, row in rows}
        elif place.layout == "open_clip":
            rows = open_clip(nets[part], place.spare_layers)
            found |= {f"{place.prefix}{key}": tensor for key, tensor in rows.items()}
    return {key: tensor.clone().contiguous() for key, tensor in found.items()}


def original_unet(key: str, attending: set[int]) -> str:
    path, _, end = key.rpartition(".")
    place, _, last = path.rpartition(".")
    if last in ("norm1", "norm2") and ".resnets." in path:
        resnet = original_unet_path(f"{place}.conv1", attending).removesuffix(".in_layers.2")
        return f"{resnet}.{'in' if last == 'norm1' else 'out'}_layers.0.{end}"
    return f"{original_unet_path(path, attending)}.{end}"


def original_vae(key: str) -> str:
    for new, old in (
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_(\w)", r"mid.attn_1.\1"),
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):
        key = re.sub(new, old, key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)


def open_clip(network: Any, spare_layers: int) -> dict[str, Tensor]:
    """OpenCLIP's tensors: query, key and value in one, the projection the other way round; layers that no picture is
    drawn with at the end."""
    rows = {key.removeprefix("text_model."): tensor for key, tensor in network.state_dict().items()}
    wide = network.config.hidden_size
    found = {
        "token_embedding.weight": rows["embeddings.token_embedding.weight"],
        "positional_embedding": rows["embeddings.position_embedding.weight"],
        "ln_final.weight": rows["final_layer_norm.weight"],
        "ln_final.bias": rows["final_layer_norm.bias"],
        "text_projection": rows.get("text_projection.weight", torch.eye(wide)).T,
        "logit_scale": torch.tensor(4.6),
    }
    layers = network.config.num_hidden_layers
    for i in range(layers + spare_layers):
        own, place = f"encoder.layers.{i % layers}", f"transformer.resblocks.{i}"
        for end in ("weight", "bias"):
            three = [rows[f"{own}.self_attn.{one}_proj.{end}"] for one in "qkv"]
            found[f"{place}.attn.in_proj_{end}"] = torch.cat(three)
            found[f"{place}.attn.out_proj.{end}"] = rows[f"{own}.self_attn.out_proj.{end}"]
            for new, old in (
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                found[f"{place}.{old}.{end}"] = rows[f"{own}.{new}.{end}"]
    return found


def write_checkpoint(nets: Networks, file: Path, name: str, **metadata: str) -> Path:
    """One file in the original layout: safetensors, or a pickle as Lightning wrote them."""
    tensors = original(nets, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(tensors, file, metadata)
    else:
        torch.save({"state_dict": tensors, "global_step": 1000}, file)
    return file
