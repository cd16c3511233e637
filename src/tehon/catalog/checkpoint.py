"""The networks in a checkpoint of one file, described as diffusers and transformers describe theirs.

Such a file has no configuration: all that its networks' makers chose follows from the shapes of the tensors, but for
the number of attention heads, which the family knows.

>>> configs = network_configs(header.shapes, FAMILIES["sd1"])
>>> configs["unet"]["block_out_channels"]
[320, 640, 1280, 1280]

Layout: CompVis/latent-diffusion and Stability-AI/generative-models; `Family.file_parts` says what stands where.
"""

import re
from collections.abc import Callable
from typing import Any

from tehon.catalog.families import Family, FilePart
from tehon.catalog.layers import Shapes
from tehon.catalog.names import VAE_RESOLUTIONS

Config = dict[str, Any]


def network_configs(shapes: Shapes, family: Family) -> dict[str, Config]:
    """{part: its network's configuration}. A KeyError names the tensor that is missing."""
    found: dict[str, Config] = {}
    for part, place in family.file_parts.items():
        start = place.prefix
        own = {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}
        found[part] = _READERS[place.layout](own, family, place)
    encoders = [found[part] for part in family.text_encoders]
    if found["unet"].get("addition_embed_type"):
        # The label embedding takes the pooled text and six numbers, each as a vector of this many.
        wide = found["unet"]["projection_class_embeddings_input_dim"] - encoders[-1]["projection_dim"]
        found["unet"]["addition_time_embed_dim"] = wide // 6
    return found


def unet_config(shapes: Shapes, family: Family, _place: FilePart | None = None) -> Config:
    """A UNet2DConditionModel's, from a U-Net's tensors under their original names."""
    levels = 1 + _count(shapes, r"input_blocks\.\d+\.0\.op\.weight")
    firsts = [1 + 3 * level for level in range(levels)]
    channels = [shapes[f"input_blocks.{n}.0.out_layers.3.weight"][0] for n in firsts]
    depths = [_count(shapes, rf"input_blocks\.{n}\.1\.transformer_blocks\.\d+\.norm1\.weight") for n in firsts]
    middle = _count(shapes, r"middle_block\.1\.transformer_blocks\.\d+\.norm1\.weight")
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)]
    config: Config = {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": 2,
        "down_block_types": down,
        "up_block_types": up,
        # The middle has the depth of the last resolution, whether that has attention itself or not.
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), middle],
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": len(shapes["middle_block.1.proj_in.weight"]) == 2,
        # diffusers calls the number of heads by the name of their width.
        "attention_head_dim": [max(1, c // family.head_width) for c in channels] if family.head_width else 8,
    }
    if "label_emb.0.0.weight" in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        }
    return config


def vae_config(shapes: Shapes, family: Family, _place: FilePart | None = None) -> Config:
    """An AutoencoderKL's, from a VAE's tensors under their original names."""
    levels = range(VAE_RESOLUTIONS)
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{n}.block.0.conv2.weight"][0] for n in levels],
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.\d+\.conv1\.weight"),
        "down_block_types": ["DownEncoderBlock2D"] * VAE_RESOLUTIONS,
        "up_block_types": ["UpDecoderBlock2D"] * VAE_RESOLUTIONS,
        "scaling_factor": family.latent_scale,
        "force_upcast": family.vae_overflows,
    }


def clip_config(shapes: Shapes, _family: Family, place: FilePart) -> Config:
    """A CLIPTextConfig's, from the tensors of CLIP's text encoder as transformers names them."""
    outer = "text_model." if any(name.startswith("text_model.") for name in shapes) else ""
    words, width = shapes[f"{outer}embeddings.token_embedding.weight"]
    inner = shapes[f"{outer}encoder.layers.0.mlp.fc1.weight"][0]
    layers = _count(shapes, rf"{re.escape(outer)}encoder\.layers\.\d+\.mlp\.fc1\.weight")
    return _text_config(words, width, inner, layers - place.spare_layers, "quick_gelu", width)


def open_clip_config(shapes: Shapes, _family: Family, place: FilePart) -> Config:
    """A CLIPTextConfig's, from the tensors of OpenCLIP's text encoder under their original names."""
    words, width = shapes["token_embedding.weight"]
    inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
    layers = _count(shapes, r"transformer\.resblocks\.\d+\.mlp\.c_fc\.weight")
    return _text_config(words, width, inner, layers - place.spare_layers, "gelu", shapes["text_projection"][1])


def _text_config(words: int, width: int, inner: int, layers: int, act: str, projection: int) -> Config:
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,  # in every CLIP that a Stable Diffusion was trained with
        "hidden_act": act,
        "projection_dim": projection,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }


_READERS: dict[str, Callable[[Shapes, Family, FilePart], Config]] = {
    "unet": unet_config,
    "vae": vae_config,
    "clip": clip_config,
    "open_clip": open_clip_config,
}


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in shapes)
