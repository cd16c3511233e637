"""Options about the network: `--network_module`, its sizes, and every `--network_args name=value`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tehon.catalog.kinds import LOCON_IN_LYCORIS
from tehon.catalog.layers import OUTSIDE, OUTSIDE_LINEAR
from tehon.settings.kohya.lines import Outcome, Remark, carried, changed, dropped, refused
from tehon.settings.kohya.row_kinds import lacking, needless
from tehon.settings.kohya.rows import ARGUMENT, Around, Row
from tehon.settings.kohya.values import NUMBER, NUMBERS, SWITCH, TEXT, TEXTS, WHOLE

LYCORIS = "lycoris.kohya"
_MODULES = {
    "networks.lora": "lora",
    "networks.dylora": "dylora",
    "networks.lora_fa": "lora_fa",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
}
_OWN_MODULES = {"dylora": "networks.dylora", "lora_fa": "networks.lora_fa"}
_ALGORITHMS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr", "ia3": "ia3", "dylora": "dylora"}
_ATTENTION = r"_attn[12]_to_|_self_attn_"
_CONVOLUTIONS = r"_(resnets|downsamplers|upsamplers)_|_(input|output)_blocks_\d+_0_|_conv$"
_PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "attn-mlp": {"network.conv_rank": 0},
    "full-lin": {"network.conv_rank": 0},
    "attn-only": {"network.conv_rank": 0, "network.include": _ATTENTION},
    "unet-transformer-only": {"network.conv_rank": 0, "optimizer.text_encoder_lr": 0.0},
    "unet-convblock-only": {"network.include": _CONVOLUTIONS, "optimizer.text_encoder_lr": 0.0},
    "ia3": {},
}
_READ_BY_LORA = frozenset((
    "conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "block_dims", "block_alphas", "conv_block_dims",
    "conv_block_alphas", "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
    "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
))  # fmt: skip
_LYCORIS_OWN = frozenset((
    "algo", "preset", "conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "use_tucker", "use_scalar",
    "rs_lora", "dora_wd", "wd_on_output", "factor", "decompose_both", "full_matrix",
))  # fmt: skip
READ_BY: dict[str, frozenset[str]] = {
    "networks.lora": _READ_BY_LORA,
    "networks.lora_fa": _READ_BY_LORA,
    "networks.dylora": frozenset(("conv_dim", "conv_alpha", "unit", *(n for n in _READ_BY_LORA if "plus" in n))),
    "networks.loha": frozenset(("conv_dim", "conv_alpha", "use_tucker", "rank_dropout", "module_dropout")),
    "networks.lokr": frozenset(("conv_dim", "conv_alpha", "use_tucker", "rank_dropout", "module_dropout", "factor")),
    LYCORIS: _LYCORIS_OWN,
}
"""The arguments that each module reads; others it takes and ignores."""


def module_of(own: Mapping[str, Any]) -> str:
    """The module that makes the network of these settings."""
    kind = own["network.kind"]
    more = kind in ("lora", "locon") and any(own[f"network.{name}"] for name in LOCON_IN_LYCORIS)
    lycoris = kind in ("loha", "lokr", "ia3") or more
    return LYCORIS if lycoris else _OWN_MODULES.get(kind, "networks.lora")


def _module(value: str, around: Around) -> Outcome:
    if value == LYCORIS:
        algorithm = str(around.get(f"{ARGUMENT}algo", "lora")).lower()
        kind = _ALGORITHMS.get(algorithm, "")
        if not kind:
            return refused(Remark("no_such_algorithm", {"value": algorithm, "choices": ", ".join(_ALGORITHMS)}))
    elif value in _MODULES:
        kind = _MODULES[value]
    else:
        return refused(Remark("no_such_module", {"value": value, "choices": ", ".join([*_MODULES, LYCORIS])}))
    convolves = _convolves(value, kind, around)
    settings: dict[str, Any] = {"network.kind": "locon" if convolves and kind == "lora" else kind}
    if convolves and kind not in ("lora", "ia3") and not around.get(f"{ARGUMENT}conv_dim"):
        settings["network.conv_rank"] = around.get("network_dim", 4)
    return carried(
        settings, *([Remark("dylora_full_rank")] if kind == "dylora" else []), *_outside(value, kind, convolves, around)
    )


def _outside(module: str, kind: str, convolves: bool, around: Around) -> list[Remark]:
    """What LyCORIS trains of a U-Net beside its blocks: it finds these by names that SDXL's have not in sd-scripts."""
    full = str(around.get(f"{ARGUMENT}preset", "full")).startswith("full")
    remark = Remark("lycoris_outside", {"layers": ", ".join(OUTSIDE if convolves else OUTSIDE_LINEAR)})
    return [remark] if full and module == LYCORIS and kind != "ia3" and not around.sdxl else []


def _convolves(module: str, kind: str, around: Around) -> bool:
    """Whether the network reaches the 3x3 convolutions. LyCORIS does unless its preset or a rank of 0 says no."""
    rank = around.values.get(f"{ARGUMENT}conv_dim")
    if module != LYCORIS:
        return bool(rank) and f"{ARGUMENT}conv_block_dims" not in around.values
    without = "network.conv_rank" in _PRESETS.get(str(around.get(f"{ARGUMENT}preset", "full")), {})
    return kind != "ia3" and rank != 0 and not without


def _alpha(value: float, around: Around) -> Outcome:
    if value <= 0:
        rank = float(around.get("network_dim", 4))
        return changed({"network.alpha": rank}, Remark("alpha_zero", {"rank": int(rank)}))
    return carried({"network.alpha": value})


def _weights(value: str, around: Around) -> Outcome:
    return carried({"network.weights": value}, *([] if around.get("dim_from_weights") else [Remark("alpha_of_file")]))


def _base(value: list[str], around: Around) -> Outcome:
    return carried({"network.base_weights": value[0] if len(value) == 1 else value}, Remark("base_adds_layers"))


def _multipliers(value: list[float], around: Around) -> Outcome:
    """Files without a number of their own count whole."""
    files = len(around.get("base_weights", []))
    if len(value) > files:
        return changed(
            {"network.base_weights_multiplier": value[:files]} if files else {}, Remark("cut_to", {"count": files})
        )
    filled = value + [1.0] * (files - len(value))
    return carried({"network.base_weights_multiplier": filled[0] if len(set(filled)) == 1 else filled})


def _algorithm(value: str, around: Around) -> Outcome:
    if around.get("network_module", LYCORIS) != LYCORIS:
        return dropped(Remark("for_lycoris"))
    return _module(LYCORIS, around) if around.on_top else carried({})


def _preset(value: str, around: Around) -> Outcome:
    if value not in _PRESETS:
        return refused(Remark("no_such_preset", {"value": value, "choices": ", ".join(_PRESETS)}))
    return carried(_PRESETS[value])


def _conv_rank(value: int, around: Around) -> Outcome:
    preset = _PRESETS.get(str(around.get(f"{ARGUMENT}preset")), {})
    if around.get("network_module") == LYCORIS and preset.get("network.conv_rank") == 0:
        return dropped(Remark("preset_without_conv"))
    return with_alpha({"network.conv_rank": value}, around) if value else carried({"network.conv_rank": value})


def with_alpha(settings: dict[str, Any], around: Around) -> Outcome:
    """Ranks of convolutions with the alpha that the module takes where none is given: only LyCORIS takes the network's,
    as tehon does. A part of a configuration that names no module leaves it open."""
    module = around.get("network_module", "networks.lora" if around.whole else LYCORIS)
    if module == LYCORIS or f"{ARGUMENT}conv_alpha" in around.values:
        return carried(settings)
    return carried(settings | {"network.conv_alpha": 1.0}, Remark("conv_alpha_absent"))


def _conv_alpha(value: float, around: Around) -> Outcome:
    lycoris = around.get("network_module") == LYCORIS
    if not lycoris and not around.get(f"{ARGUMENT}conv_dim") and f"{ARGUMENT}conv_block_dims" not in around.values:
        return changed({}, Remark("needs_conv"))
    if value > 0:
        return carried({"network.conv_alpha": value})
    blocks = None if lycoris else around.values.get(f"{ARGUMENT}conv_block_dims")
    if blocks:
        given = f"{ARGUMENT}conv_block_alphas" in around.values
        return (
            carried({})
            if given
            else changed({"network.conv_block_alphas": blocks}, Remark("alpha_zero", {"rank": blocks}))
        )
    rank = around.get(f"{ARGUMENT}conv_dim") or around.get("network_dim", 4)
    return changed({"network.conv_alpha": float(rank)}, Remark("alpha_zero", {"rank": int(rank)}))


def _dropout(value: float, around: Around) -> Outcome:
    differences = [Remark("dropout_without_effect")] if value and around.get("network_module") == LYCORIS else []
    return carried({"network.dropout": value}, *differences)


def _rank_dropout(value: float, around: Around) -> Outcome:
    differences = [Remark("rank_dropout_uneven")] if value and around.get("network_module") == LYCORIS else []
    return carried({"network.rank_dropout": value}, *differences)


def _decompose(value: bool, around: Around) -> Outcome:
    return carried({"network.decompose_both": value}, *([] if value else [Remark("false_taken_for_true")]))


def _old_tucker(value: bool, around: Around) -> Outcome:
    """use_cp and use_conv_cp are use_tucker's old names; LyCORIS lets it win even when it says no."""
    if f"{ARGUMENT}use_tucker" in around.values:
        return dropped(Remark("tucker_old_name"))
    return carried({"network.tucker": value})


def _no_tucker(value: bool, around: Around) -> Outcome:
    """LyCORIS' oldest switch for it, which says the opposite and is read as the same."""
    if f"{ARGUMENT}use_tucker" in around.values:
        return dropped(Remark("tucker_old_name"))
    return carried({"network.tucker": not value}, Remark("tucker_opposite"))


def _side(value: bool, around: Around) -> Outcome:
    if not around.get(f"{ARGUMENT}dora_wd"):
        return carried({})
    return carried({"network.dora_side": "output" if value else "input"})


def _dora(value: bool, around: Around) -> Outcome:
    """LyCORIS trains the lengths of outputs unless told otherwise; on LoHa and LoKr too, which is not done here."""
    algorithm = str(around.get(f"{ARGUMENT}algo")).lower()
    if value and algorithm in ("loha", "lokr"):
        return refused(Remark("dora_elsewhere", {"algo": algorithm}))
    side = around.get(f"{ARGUMENT}wd_on_output", True)
    return carried({"network.dora": value} | ({"network.dora_side": "output" if side else "input"} if value else {}))


def _unit(value: int, around: Around) -> Outcome:
    return carried({"network.unit": value}, *([Remark("lycoris_dylora")] if around.get(f"{ARGUMENT}algo") else []))


def ignored_by_dylora(row: Row) -> Row:
    """The row of an option that kohya's DyLoRA takes without a word and does nothing with, while ours heeds it."""
    plain = row.carry

    def carry(value: Any, around: Around) -> Outcome:
        own = plain(value, around) if plain else carried({row.target: value})
        ignored = value and own.settings and around.get("network_module") == "networks.dylora"
        return replace(own, differences=(*own.differences, Remark("dylora_ignores"))) if ignored else own

    return replace(row, carry=carry)


def _argument(name: str, kind: str, target: str = "", **more: Any) -> Row:
    return Row(f"{ARGUMENT}{name}", kind, target, **more)


def _back_of(name: str, target: str) -> Any:
    """Only what the module reads is sent to it, and only when it says something."""

    def back(own: Mapping[str, Any]) -> Any:
        return own[target] or None if name in READ_BY[module_of(own)] else None

    return back


def _conv_rank_back(own: Mapping[str, Any]) -> int | None:
    module, rank = module_of(own), own["network.conv_rank"]
    if own["network.kind"] == "locon" and rank is None:
        rank = own["network.rank"]
    return (rank or 0) if module == LYCORIS and own["network.kind"] != "ia3" else rank or None


def _conv_alpha_back(own: Mapping[str, Any]) -> float | None:
    convolves = _conv_rank_back(own) or own["network.conv_block_dims"] != ""
    return (own["network.conv_alpha"] or own["network.alpha"]) if convolves else None


def _side_back(own: Mapping[str, Any]) -> bool | None:
    return own["network.dora_side"] == "output" if own["network.dora"] else None


def _base_back(own: Mapping[str, Any]) -> list[str] | None:
    files = own["network.base_weights"]
    return (files if isinstance(files, list) else [files]) if files else None


def _multipliers_back(own: Mapping[str, Any]) -> list[float] | None:
    files, factors = _base_back(own), own["network.base_weights_multiplier"]
    if not files or factors == 1:
        return None
    return factors if isinstance(factors, list) else [factors] * len(files)


def _algorithm_back(own: Mapping[str, Any]) -> str | None:
    if module_of(own) != LYCORIS:
        return None
    return {"loha": "loha", "lokr": "lokr", "ia3": "ia3"}.get(own["network.kind"], "locon")


def _preset_back(own: Mapping[str, Any]) -> str | None:
    if module_of(own) != LYCORIS:
        return None
    if own["network.kind"] == "ia3":
        return "ia3"
    return "full" if _conv_rank_back(own) else "attn-mlp"


def _simple(name: str, kind: str, target: str = "", **more: Any) -> Row:
    target = f"network.{target or name}"
    return _argument(name, kind, target, back=_back_of(name, target), **more)


ROWS = (
    Row("network_module", TEXT, "network.kind", "networks.lora", carry=_module, back=module_of,
        reaches=("network.conv_rank",)),
    Row("network_dim", WHOLE, "network.rank", 4),
    Row("network_alpha", NUMBER, "network.alpha", 1.0, carry=_alpha),
    ignored_by_dylora(Row("network_dropout", NUMBER, "network.dropout", carry=_dropout)),
    Row("network_weights", TEXT, "network.weights", carry=_weights),
    Row("dim_from_weights", SWITCH, "network.dim_from_weights"),
    Row("base_weights", TEXTS, "network.base_weights", carry=_base, back=_base_back),
    Row("base_weights_multiplier", NUMBERS, "network.base_weights_multiplier", carry=_multipliers,
        back=_multipliers_back),
    ignored_by_dylora(Row("scale_weight_norms", NUMBER, "network.scale_weight_norms")),
    _argument("algo", TEXT, carry=_algorithm, reaches=("network.kind",), back=_algorithm_back),
    _argument("preset", TEXT, carry=_preset, back=_preset_back,
              reaches=("network.include", "network.conv_rank", "optimizer.text_encoder_lr")),
    _argument("conv_dim", WHOLE, "network.conv_rank", carry=_conv_rank, back=_conv_rank_back,
              reaches=("network.conv_alpha",)),
    _argument("conv_alpha", NUMBER, "network.conv_alpha", carry=_conv_alpha, back=_conv_alpha_back),
    _simple("rank_dropout", NUMBER, carry=_rank_dropout),
    ignored_by_dylora(_simple("module_dropout", NUMBER)),
    _simple("unit", WHOLE, carry=_unit),
    _argument("block_size", WHOLE, carry=_unit, reaches=("network.unit",)),
    _simple("rs_lora", SWITCH),
    _simple("dora_wd", SWITCH, "dora", carry=_dora, reaches=("network.dora_side",)),
    _argument("wd_on_output", SWITCH, "network.dora_side", carry=_side, back=_side_back),
    _simple("use_tucker", SWITCH, "tucker"),
    _argument("use_cp", SWITCH, carry=_old_tucker, reaches=("network.tucker",)),
    _argument("use_conv_cp", SWITCH, carry=_old_tucker, reaches=("network.tucker",)),
    _argument("disable_conv_cp", SWITCH, carry=_no_tucker, reaches=("network.tucker",)),
    _simple("use_scalar", SWITCH),
    _argument("factor", WHOLE, "network.factor", back=lambda own: own["network.factor"]
              if own["network.kind"] == "lokr" and own["network.factor"] != -1 else None),
    _simple("decompose_both", SWITCH, carry=_decompose),
    _simple("full_matrix", SWITCH),
    ignored_by_dylora(_simple("block_lr_zero_threshold", NUMBER)),
    _simple("loraplus_lr_ratio", NUMBER),
    _simple("loraplus_unet_lr_ratio", NUMBER),
    _simple("loraplus_text_encoder_lr_ratio", NUMBER),
    ignored_by_dylora(_argument("dropout", NUMBER, carry=_dropout, reaches=("network.dropout",))),
    needless(f"{ARGUMENT}bypass_mode", SWITCH, "same_result"),
    needless(f"{ARGUMENT}rank_dropout_scale", SWITCH, "never_read"),
    needless(f"{ARGUMENT}train_on_input", SWITCH, "never_read"),
    needless(f"{ARGUMENT}unbalanced_factorization", SWITCH, "lokr_balanced"),
    needless(f"{ARGUMENT}train_t5xxl", SWITCH, "other_families"),
    lacking(f"{ARGUMENT}train_norm", SWITCH, "no_train_norm"),
    lacking(f"{ARGUMENT}constraint", NUMBER, "no_oft"),
    lacking(f"{ARGUMENT}constrain", NUMBER, "no_oft"),
    lacking(f"{ARGUMENT}rescaled", SWITCH, "no_oft"),
    lacking(f"{ARGUMENT}enable_all_linear", SWITCH, "no_oft"),
    lacking(f"{ARGUMENT}enable_conv", SWITCH, "no_oft"),
)  # fmt: skip
