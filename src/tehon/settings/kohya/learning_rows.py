"""Options about the loss, the optimizer, learning rates, and how long the training runs."""

from collections.abc import Mapping
from typing import Any, get_args

from tehon.catalog.optimizers import OPTIMIZERS, optimizer_name
from tehon.settings.kohya.arguments import arguments, arguments_back
from tehon.settings.kohya.lines import Outcome, Remark, carried, changed, dropped, refused
from tehon.settings.kohya.row_kinds import at_least, lacking
from tehon.settings.kohya.rows import GUI, Around, Row
from tehon.settings.kohya.values import NUMBER, NUMBERS, SWITCH, TEXT, TEXTS, WHOLE
from tehon.settings.optimizer import ScheduleName
from tehon.settings.optimizer_rules import resolved_name
from tehon.settings.schedule_rules import HEEDED
from tehon.settings.training import MOST_EPOCHS

_OLD_SWITCHES = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
_ONE_RATE = 2e-6
_WARMS = {"lr_warmup", "lr_warmup_steps"}
_DIGITS = 10
"""Percents made of shares are rounded to so many digits, as 0.07 times 100 is not 7."""


# --- rates


def _rate(value: float, around: Around) -> Outcome:
    """Without rates of their own, sd-scripts gives U-Net and text encoder the one rate."""
    settings = {"optimizer.learning_rate": value}
    if around.whole and "text_encoder_lr" not in around.values and not _left_out("text_encoder", around):
        settings["optimizer.text_encoder_lr"] = value
    return carried(settings)


def _left_out(part: str, around: Around) -> bool:
    only = {"text_encoder": "network_train_unet_only", "unet": "network_train_text_encoder_only"}[part]
    preset = str(around.get("network_args.preset"))
    return bool(around.get(only) or (part == "text_encoder" and preset.startswith("unet-")))


def _text_rates(value: list[float], around: Around) -> Outcome:
    if _left_out("text_encoder", around):
        return dropped(Remark("part_left_out", {"part": "text_encoder"}))
    if not value:
        return carried({})
    first, second = value[0], value[1] if len(value) > 1 else value[0]
    differences = [] if first else [Remark("zero_rate")]
    if second == first:
        return carried({"optimizer.text_encoder_lr": first}, *differences)
    if not around.sdxl:
        return changed({"optimizer.text_encoder_lr": first}, Remark("second_rate"))
    return carried(
        {"optimizer.text_encoder_lr": first, "optimizer.text_encoder_2_lr": second}, Remark("one_rate_for_both")
    )


def _text_rates_back(own: Mapping[str, Any]) -> list[float] | None:
    """sd-scripts gives the first number to every text encoder, so no second is written."""
    rate = own["optimizer.text_encoder_lr"]
    return [rate] if rate else None


def _named_rate(target: str) -> Any:
    def carry(value: float, around: Around) -> Outcome:
        return carried({target: value}, Remark("rates_only_documented"))

    return carry


def _unet_rate(value: float, around: Around) -> Outcome:
    if _left_out("unet", around):
        return dropped(Remark("part_left_out", {"part": "unet"}))
    return carried({"optimizer.unet_lr": value}, *([] if value else [Remark("zero_rate")]))


def _only(target: str) -> Any:
    def carry(value: bool, around: Around) -> Outcome:
        return carried({target: 0.0} if value else {})

    return carry


def _only_unet_back(own: Mapping[str, Any]) -> bool:
    return own["optimizer.text_encoder_lr"] == 0


def _text_end(value: float, around: Around) -> Outcome:
    """A percentage, as the window takes it; train_network.py has no such option."""
    return (
        carried({"optimizer.stop_text_encoder_training": value}, Remark("stop_ignored")) if value > 0 else carried({})
    )


# --- optimizer


def _optimizer(value: str, around: Around) -> Outcome:
    for option, name in _OLD_SWITCHES.items():
        if around.get(option):
            return carried({"optimizer.name": name})
    by_path = {row.path.lower(): name for name, row in OPTIMIZERS.items()}
    last = value.rpartition(".")[2].lower()
    by_class = {name.lower(): name for name in OPTIMIZERS}
    known = optimizer_name(value) if "." not in value else by_path.get(value.lower()) or by_class.get(last)
    return carried({"optimizer.name": known or value})


def _optimizer_back(own: Mapping[str, Any]) -> str | None:
    name = resolved_name(own["optimizer.name"])
    paths = {
        "AdEMAMix8bit": "bitsandbytes.optim.AdEMAMix8bit",
        "PagedAdEMAMix8bit": "bitsandbytes.optim.PagedAdEMAMix8bit",
        "CAME": "pytorch_optimizer.CAME",
        "ProdigyPlusScheduleFree": "prodigyplus.ProdigyPlusScheduleFree",
    }
    return paths.get(name, name) or None


def _old_switch(name: str) -> Any:
    def carry(value: bool, around: Around) -> Outcome:
        return carried({"optimizer.name": name} if value else {})

    return carry


# --- schedule


def _schedule(value: str, around: Around) -> Outcome:
    choices = get_args(ScheduleName)
    if value not in choices:
        return refused(Remark("no_such_schedule", {"value": value, "choices": ", ".join(choices)}))
    differences: list[Remark] = []
    if value == "polynomial" and (around.get("lr_scheduler_num_cycles") or 1) > 1:
        differences = [Remark("polynomial_cycles")]
    if value in ("constant", "adafactor") and (around.get("lr_warmup_steps") or around.get(f"{GUI}lr_warmup")):
        differences = [Remark("warmup_stops", {"schedule": value})]
    return carried({"optimizer.lr_scheduler": value}, *differences)


def _warmup(value: str, around: Around) -> Outcome:
    """A number of steps, a share below 1, or a percentage with its sign."""
    share, steps = _share_or_steps(value)
    if share is None and steps is None:
        return refused(Remark("not_a_warmup", {"value": value}))
    if steps:
        return carried({"optimizer.lr_warmup_steps": steps})
    return carried({"optimizer.lr_warmup": share or 0.0} | ({} if around.whole else {"optimizer.lr_warmup_steps": 0}))


def _share_or_steps(value: str) -> tuple[float | None, int | None]:
    """(percent, None) or (None, steps); (None, None) when it is neither."""
    text = value.strip()
    try:
        number = float(text.rstrip("%"))
    except ValueError:
        return None, None
    if not 0 <= number <= 1e12:  # nan is neither
        return None, None
    if text.endswith("%"):
        return number, None
    if number < 1:
        return round(100 * number, _DIGITS), None
    return None, int(number)


def _warmup_back(own: Mapping[str, Any]) -> float:
    if not _WARMS & HEEDED[own["optimizer.lr_scheduler"]]:  # sd-scripts stops with an error then
        return 0
    if own["optimizer.lr_warmup_steps"]:
        return own["optimizer.lr_warmup_steps"]
    return round(own["optimizer.lr_warmup"] / 100, _DIGITS + 2)


def _percent(value: float, around: Around) -> Outcome:
    if around.get(f"{GUI}lr_warmup_steps"):
        return dropped(Remark("steps_win"))
    return carried({"optimizer.lr_warmup": value})


def _decay(value: str, around: Around) -> Outcome:
    share, steps = _share_or_steps(value)
    total = around.get("max_train_steps")
    if steps and total and not around.get("max_train_epochs"):
        share = round(100 * steps / total, _DIGITS)
        return changed({"optimizer.lr_decay": share}, Remark("steps_as_share", {"steps": steps, "total": total}))
    if share is None:
        return refused(Remark("decay_in_steps", {"value": value}))
    return carried({"optimizer.lr_decay": share})


def _decay_back(own: Mapping[str, Any]) -> float | None:
    wanted = own["optimizer.lr_scheduler"] == "warmup_stable_decay"
    return round(own["optimizer.lr_decay"] / 100, _DIGITS + 2) if wanted else None


def _ratio_back(own: Mapping[str, Any]) -> float | None:
    """With cosine_with_min_lr sd-scripts asks for it, whatever it is."""
    heeded = "lr_scheduler_min_lr_ratio" in HEEDED[own["optimizer.lr_scheduler"]]
    return own["optimizer.lr_scheduler_min_lr_ratio"] if heeded else None


def _schedule_arguments(value: list[str], around: Around) -> Outcome:
    rows: dict[str, str] = {}
    for word in value:
        name, _, rows[name] = word.partition("=")
    pieces = rows.pop("step_rules", None)
    if rows:
        return refused(Remark("no_schedule_argument", {"names": ", ".join(rows)}))
    return carried({"optimizer.lr_scheduler_pieces": pieces.strip("\"'")} if pieces else {})


def _pieces_back(own: Mapping[str, Any]) -> list[str] | None:
    pieces = "".join(own["optimizer.lr_scheduler_pieces"].split())
    return [f"step_rules={pieces}"] if pieces else None


# --- length


def _steps(value: int, around: Around) -> Outcome:
    """sd-scripts counts steps alone, and takes as many epochs as these need; the GUI's epochs are `gui.epoch`."""
    if around.get("max_train_epochs"):
        return dropped(Remark("epochs_win")) if value and not (around.whole and value == _STEPS) else carried({})
    if not value:
        return carried({"training.max_train_steps": 0})
    # an epoch has at least one step
    settings: dict[str, Any] = {"training.max_train_steps": value, "training.epochs": min(value, MOST_EPOCHS)}
    if around.on_top:
        settings["training.max_train_epochs"] = None
    return changed(settings, Remark("steps_end_it_too")) if around.get(f"{GUI}epoch") else carried(settings)


_STEPS = 1600


def _epochs(value: int, around: Around) -> Outcome:
    """They take the place of steps and of the GUI's epochs, and may be more than these."""
    if not value:
        return carried({})
    settings = {"training.epochs": value, "training.max_train_steps": 0}
    return carried(settings if around.whole else settings | {"training.max_train_epochs": value})


def _gui_epoch(value: int, around: Around) -> Outcome:
    if around.get("max_train_epochs"):
        return dropped(Remark("epochs_win"))
    if around.get("max_train_steps"):
        return dropped(Remark("epochs_follow"))
    return carried({"training.epochs": value}, Remark("estimate"))


def _epochs_back(own: Mapping[str, Any]) -> int | None:
    """sd-scripts takes the one or the other; with both, steps are what the GUI and its users go by."""
    if own["training.max_train_steps"]:
        return None
    return min(own["training.epochs"], own["training.max_train_epochs"] or own["training.epochs"])


def _group(value: int, around: Around) -> Outcome:
    remarks = [Remark("group_mean")] if value > 1 else []
    return carried({"training.gradient_accumulation_steps": value}, *remarks)


def _resume(value: str, around: Around) -> Outcome:
    if value.rstrip("/\\").endswith("-state"):
        return refused(Remark("accelerate_state", {"path": value}))
    return carried({"training.resume": value})


# --- loss


def _adaptive(value: float, around: Around) -> Outcome:
    if value and not around.get("noise_offset"):
        return changed({}, Remark("adaptive_alone"))
    return carried({"objective.adaptive_noise_scale": value})


def _discount(value: float, around: Around) -> Outcome:
    if not value:
        return changed({}, Remark("discount_zero"))
    return carried({"objective.multires_noise_discount": value} if around.get("multires_noise_iterations") else {})


def _discount_back(own: Mapping[str, Any]) -> float | None:
    return own["objective.multires_noise_discount"]


def _huber_scale(value: float, around: Around) -> Outcome:
    if around.get("loss_type", "l2") not in ("huber", "smooth_l1"):
        return carried({})
    unread = value != 1 and around.get("huber_schedule", "snr") == "snr"
    return carried({"objective.huber_scale": value}, *([Remark("huber_scale_unused")] if unread else []))


def _with_huber(name: str) -> Any:
    """The border's settings say nothing with the other kinds of loss, and GUIs write them all the same."""

    def carry(value: Any, around: Around) -> Outcome:
        return carried({f"objective.{name}": value} if around.get("loss_type") in ("huber", "smooth_l1") else {})

    return carry


def _timestep(name: str) -> Any:
    def carry(value: int, around: Around) -> Outcome:
        return carried({f"objective.{name}": value})

    return carry


ROWS = (
    # rates
    Row("learning_rate", NUMBER, "optimizer.learning_rate", _ONE_RATE, carry=_rate,
        reaches=("optimizer.text_encoder_lr",)),
    Row("unet_lr", NUMBER, "optimizer.unet_lr", carry=_unet_rate, back=lambda own: own["optimizer.unet_lr"] or None),
    Row("text_encoder_lr", NUMBERS, "optimizer.text_encoder_lr", carry=_text_rates, back=_text_rates_back,
        reaches=("optimizer.text_encoder_2_lr",), always=True),
    Row("text_encoder_lr1", NUMBER, carry=_named_rate("optimizer.text_encoder_lr"),
        reaches=("optimizer.text_encoder_lr",)),
    Row("text_encoder_lr2", NUMBER, carry=_named_rate("optimizer.text_encoder_2_lr"),
        reaches=("optimizer.text_encoder_2_lr",)),
    Row("network_train_unet_only", SWITCH, carry=_only("optimizer.text_encoder_lr"), back=_only_unet_back,
        reaches=("optimizer.text_encoder_lr",)),
    Row("network_train_text_encoder_only", SWITCH, carry=_only("optimizer.unet_lr"),
        back=lambda own: own["optimizer.unet_lr"] == 0, reaches=("optimizer.unet_lr",)),
    # optimizer
    Row("optimizer_type", TEXT, "optimizer.name", "AdamW", carry=_optimizer, back=_optimizer_back),
    Row("use_8bit_adam", SWITCH, carry=_old_switch("AdamW8bit"), reaches=("optimizer.name",)),
    Row("use_lion_optimizer", SWITCH, carry=_old_switch("Lion"), reaches=("optimizer.name",)),
    Row("optimizer_args", TEXTS, "optimizer.arguments", carry=arguments, back=arguments_back),
    Row("max_grad_norm", NUMBER, "optimizer.max_grad_norm"),
    # schedule
    Row("lr_scheduler", TEXT, "optimizer.lr_scheduler", "constant", carry=_schedule),
    Row("stop_text_encoder_training", NUMBER, "optimizer.stop_text_encoder_training", carry=_text_end,
        back=lambda own: None),
    Row(f"{GUI}stop_text_encoder_training", NUMBER, "optimizer.stop_text_encoder_training", carry=_text_end),
    Row("lr_warmup_steps", TEXT, "optimizer.lr_warmup_steps", "0", carry=_warmup, back=_warmup_back,
        reaches=("optimizer.lr_warmup",)),
    Row(f"{GUI}lr_warmup", NUMBER, "optimizer.lr_warmup", carry=_percent),
    Row(f"{GUI}lr_warmup_steps", WHOLE, "optimizer.lr_warmup_steps"),
    Row("lr_scheduler_num_cycles", WHOLE, "optimizer.lr_scheduler_num_cycles",
        carry=at_least("optimizer.lr_scheduler_num_cycles", 1, "below_lowest")),
    Row("lr_scheduler_power", NUMBER, "optimizer.lr_scheduler_power",
        carry=lambda value, around: carried({"optimizer.lr_scheduler_power": value}) if value > 0
        else changed({"optimizer.lr_scheduler_power": 1.0}, Remark("below_lowest", {"lowest": 1}))),
    Row("lr_scheduler_min_lr_ratio", NUMBER, "optimizer.lr_scheduler_min_lr_ratio", back=_ratio_back),
    Row("lr_scheduler_timescale", WHOLE, "optimizer.lr_scheduler_timescale",
        back=lambda own: own["optimizer.lr_scheduler_timescale"] or None),
    Row("lr_decay_steps", TEXT, "optimizer.lr_decay", carry=_decay, back=_decay_back),
    Row("lr_scheduler_args", TEXTS, "optimizer.lr_scheduler_pieces", carry=_schedule_arguments, back=_pieces_back),
    lacking("lr_scheduler_type", TEXT, "no_custom_schedule"),
    # length
    Row("max_train_steps", WHOLE, "training.max_train_steps", _STEPS, carry=_steps,
        reaches=("training.epochs", "training.max_train_epochs"),
        back=lambda own: own["training.max_train_steps"] or None),
    Row("max_train_epochs", WHOLE, "training.max_train_epochs", carry=_epochs, back=_epochs_back,
        reaches=("training.epochs", "training.max_train_steps"), always=True),
    Row(f"{GUI}epoch", WHOLE, "training.epochs", carry=_gui_epoch),
    Row("gradient_accumulation_steps", WHOLE, "training.gradient_accumulation_steps", carry=_group),
    Row("seed", WHOLE, "training.seed"),
    Row("resume", TEXT, "training.resume", carry=_resume, back=lambda own: None),
    # noise, timesteps, loss
    Row("noise_offset", NUMBER, "objective.noise_offset"),
    Row("noise_offset_random_strength", SWITCH, "objective.noise_offset_random_strength", differs="each_strength"),
    Row("adaptive_noise_scale", NUMBER, "objective.adaptive_noise_scale", carry=_adaptive),
    Row("multires_noise_iterations", WHOLE, "objective.multires_noise_iterations", differs="each_spread"),
    Row("multires_noise_discount", NUMBER, "objective.multires_noise_discount", carry=_discount, back=_discount_back),
    Row("ip_noise_gamma", NUMBER, "objective.ip_noise_gamma"),
    Row("ip_noise_gamma_random_strength", SWITCH, "objective.ip_noise_gamma_random_strength", differs="each_strength"),
    Row("min_timestep", WHOLE, "objective.min_timestep", carry=_timestep("min_timestep")),
    Row("max_timestep", WHOLE, "objective.max_timestep", carry=_timestep("max_timestep")),
    Row("loss_type", TEXT, "objective.loss_type"),
    Row("huber_schedule", TEXT, "objective.huber_schedule", carry=_with_huber("huber_schedule")),
    Row("huber_c", NUMBER, "objective.huber_c", carry=_with_huber("huber_c")),
    Row("huber_scale", NUMBER, "objective.huber_scale", carry=_huber_scale),
    Row("min_snr_gamma", NUMBER, "objective.min_snr_gamma"),
    Row("debiased_estimation_loss", SWITCH, "objective.debiased_estimation_loss"),
    Row("scale_v_pred_loss_like_noise_pred", SWITCH, "objective.scale_v_pred_loss_like_noise_pred"),
    Row("zero_terminal_snr", SWITCH, "objective.zero_terminal_snr", differs="zero_snr_weights"),
    Row("v_pred_like_loss", NUMBER, "objective.v_pred_like_loss"),
    Row("prior_loss_weight", NUMBER, "objective.prior_loss_weight"),
)  # fmt: skip
