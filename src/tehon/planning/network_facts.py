"""What the metadata of a LoRA file say about its network, in the words of the programs that can load it again.

sd-scripts and LyCORIS write the module, its sizes and every argument it was made with (`ss_network_*`).
"""

from math import prod
from typing import Any

from tehon.catalog.kinds import KINDS, LOCON_IN_LYCORIS, dora_side
from tehon.planning.plan import Plan
from tehon.settings.network_rules import changed_names


def network_facts(plan: Plan) -> dict[str, Any]:
    """The network under the names of the program whose module can load it again: sd-scripts, or LyCORIS."""
    network = plan.settings.network
    kind = KINDS[network.kind]
    changed = changed_names(network)
    module = "lycoris.kohya" if changed & LOCON_IN_LYCORIS else kind.module
    arguments = {_ARGUMENTS[name]: _argument(getattr(network, name)) for name in _ARGUMENTS if name in changed}
    if network.conv_rank:
        arguments["conv_dim"] = str(network.conv_rank)
    if network.conv_rank or network.conv_block_dims != "":  # without it sd-scripts' modules take 1
        arguments["conv_alpha"] = str(network.conv_alpha)
    if network.dora:
        arguments["wd_on_output"] = str(network.dora_side == "output")
    if module == "lycoris.kohya":
        arguments |= {"preset": _preset(plan), "algo": kind.algorithm}
    sizes = {(module.rank, module.alpha) for module in plan.modules} if network.dim_from_weights else set()
    if network.dim_from_weights:
        arguments |= _from_file(plan)
    rank, alpha = sizes.pop() if len(sizes) == 1 else (network.rank, network.alpha)
    return {
        "network_module": module,
        "network_dim": "Dynamic" if sizes else rank,  # what sd-scripts writes for files of several ranks
        "network_alpha": "Dynamic" if sizes else alpha,
        "network_dropout": network.dropout or None,
        "scale_weight_norms": network.scale_weight_norms or None,
        **({"network_args": arguments} if arguments else {}),
    }


def _preset(plan: Plan) -> str:
    """LyCORIS' name for the layers that are trained."""
    if plan.settings.network.kind == "ia3":
        return "ia3"
    return "full" if any(prod(module.shape[2:]) > 1 for module in plan.modules) else "attn-mlp"


def _from_file(plan: Plan) -> dict[str, str]:
    """The arguments that the tensors of a file tell, where its settings are not known."""
    tensors = {name for module in plan.modules for name in module.tensors}
    found: dict[str, str] = {}
    convs = {(module.rank, module.alpha) for module in plan.modules if prod(module.shape[2:]) > 1}
    if len(convs) == 1:
        ((rank, alpha),) = convs
        found |= {"conv_dim": str(rank), "conv_alpha": str(alpha)}
    if "dora_scale" in tensors:
        sides = {dora_side(module.tensors) for module in plan.modules}
        found["wd_on_output"] = str(sides == {"output"})
    if tensors & {"lora_mid.weight", "hada_t1", "lokr_t2"}:
        found["use_tucker"] = "True"
    if "lokr_w1_a" in tensors:
        found["decompose_both"] = "True"
    return found


_ARGUMENTS = {
    "conv_rank": "conv_dim",
    "conv_alpha": "conv_alpha",
    "rs_lora": "rs_lora",
    "dora": "dora_wd",
    "tucker": "use_tucker",
    "use_scalar": "use_scalar",
    "factor": "factor",
    "decompose_both": "decompose_both",
    "full_matrix": "full_matrix",
    "unit": "unit",
    "dropout": "dropout",
    "rank_dropout": "rank_dropout",
    "module_dropout": "module_dropout",
    "loraplus_lr_ratio": "loraplus_lr_ratio",
    "loraplus_unet_lr_ratio": "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio": "loraplus_text_encoder_lr_ratio",
    "down_lr_weight": "down_lr_weight",
    "mid_lr_weight": "mid_lr_weight",
    "up_lr_weight": "up_lr_weight",
    "block_lr_zero_threshold": "block_lr_zero_threshold",
    "block_dims": "block_dims",
    "block_alphas": "block_alphas",
    "conv_block_dims": "conv_block_dims",
    "conv_block_alphas": "conv_block_alphas",
}
"""Settings by their names among the `network_args` of sd-scripts and LyCORIS."""


def _argument(value: object) -> str:
    """A value as it stands behind `name=` on those programs' command lines."""
    if isinstance(value, list):
        return ",".join(f"{number:g}" for number in value)
    return str(value)
