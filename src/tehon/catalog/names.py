"""The names of layers: as checkpoints of one file have them, as diffusers and transformers do, and the way between.

The original code numbers the parts of a U-Net on each way, `input_blocks.4.1`; diffusers counts resolutions and the
parts of each, `down_blocks.1.attentions.0`. Every rule holds for all of Stable Diffusion's networks: on each way a
resolution is three numbers, two of Res blocks with what follows them and one of the change of size.

>>> unet_name("input_blocks.4.1.proj_in.weight")
'down_blocks.1.attentions.0.proj_in.weight'
>>> original_unet_path("down_blocks.1.attentions.0.proj_in")
'input_blocks.4.1.proj_in'

Sources: CompVis/latent-diffusion, ldm/modules/diffusionmodules/{openaimodel,model}.py; open_clip, model.py.
"""

import re
from collections.abc import Collection

_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OPEN_CLIP = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_ENDS = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
VAE_RESOLUTIONS = 4


def unet_name(name: str) -> str:
    """diffusers' name of a layer or tensor of a U-Net, from its original one; a KeyError when there is no such."""
    for own, other in _UNET_ENDS.items():
        if name == own or name.startswith(f"{own}."):
            return other + name.removeprefix(own)
    found = re.fullmatch(r"(input|middle|output)_blocks?(?:\.(\d+))?\.(\d+)\.(.+)", name)
    if not found:
        raise KeyError(name)
    way, number, inner, rest = found[1], int(found[2] or 0), int(found[3]), found[4]
    if way == "middle":
        kind, place = ("attentions", 0) if inner == 1 else ("resnets", inner // 2)
        return f"mid_block.{kind}.{place}.{_inside(rest)}"
    level, place = divmod(number - 1, 3) if way == "input" else divmod(number, 3)
    if way == "input" and rest.startswith("op."):
        return f"down_blocks.{level}.downsamplers.0.conv.{rest[3:]}"
    if way == "output" and rest.startswith("conv."):
        return f"up_blocks.{level}.upsamplers.0.{rest}"
    side = "down" if way == "input" else "up"
    return f"{side}_blocks.{level}.{'attentions' if inner else 'resnets'}.{place}.{_inside(rest)}"


def _inside(rest: str) -> str:
    for own, other in _RESNET.items():
        if rest == own or rest.startswith(f"{own}."):
            return other + rest.removeprefix(own)
    return rest  # the layers of transformers have one name in both


def original_unet_path(path: str, attending: Collection[int] = ()) -> str:
    """The original path of a layer of a U-Net, from diffusers'. `attending` are the resolutions on the way up that have
    attention: what makes the picture larger stands behind it."""
    for own, other in _UNET_ENDS.items():
        if path == other:
            return own
    kind = re.fullmatch(
        r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path
    )
    if not kind:
        raise KeyError(path)
    way, level, what, place, rest = kind[1], int(kind[2] or 0), kind[3], int(kind[4]), kind[5]
    if what == "resnets":
        rest = {other: own for own, other in _RESNET.items()}[rest]
    if way == "mid":
        return f"middle_block.{1 if what == 'attentions' else 2 * place}.{rest}"
    if what == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op"
    if what == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if level in attending else 1}.conv"
    inner = 1 if what == "attentions" else 0
    return (
        f"input_blocks.{1 + 3 * level + place}.{inner}.{rest}"
        if way == "down"
        else f"output_blocks.{3 * level + place}.{inner}.{rest}"
    )


def vae_name(name: str) -> str:
    """diffusers' name of a tensor of a VAE, from its original one. The decoder's resolutions count the other way."""
    place, _, end = name.rpartition(".")
    place = place.replace("mid.block_1", "mid_block.resnets.0").replace("mid.block_2", "mid_block.resnets.1")
    place = place.replace("norm_out", "conv_norm_out").replace("nin_shortcut", "conv_shortcut")
    attention = re.fullmatch(r"(.+)\.mid\.attn_1\.(\w+)", place)
    if attention:
        place = f"{attention[1]}.mid_block.attentions.0.{_VAE_ATTENTION[attention[2]]}"
    place = re.sub(r"\.(down|up)\.(\d+)\.block\.", lambda m: f".{_vae_block(m)}.resnets.", place)
    place = re.sub(r"\.(down|up)\.(\d+)\.(down|up)sample\.", lambda m: f".{_vae_block(m)}.{m[3]}samplers.0.", place)
    return f"{place}.{end}"


def _vae_block(found: "re.Match[str]") -> str:
    number = int(found[2])
    return f"down_blocks.{number}" if found[1] == "down" else f"up_blocks.{VAE_RESOLUTIONS - 1 - number}"


def open_clip_names(name: str) -> list[str]:
    """transformers' names of what a tensor of OpenCLIP's text encoder holds: three where query, key and value are one
    tensor, one below the other; none for what no picture needs."""
    if name in _OPEN_CLIP_ENDS:
        return [_OPEN_CLIP_ENDS[name]]
    found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
    if not found:
        return []
    layer = f"text_model.encoder.layers.{found[1]}"
    if found[2] == "attn.in_proj":
        return [f"{layer}.self_attn.{one}_proj.{found[3]}" for one in "qkv"]
    return [f"{layer}.{_OPEN_CLIP[found[2]]}.{found[3]}"]
