"""Options about what is written: the LoRAs, states, sample pictures and logs, and the loss on held-out pictures."""

from collections.abc import Mapping
from typing import Any

from tehon.settings.kohya.lines import Outcome, Remark, carried, changed, dropped
from tehon.settings.kohya.row_kinds import renamed
from tehon.settings.kohya.rows import GUI, Around, Row
from tehon.settings.kohya.values import SWITCH, TEXT, WHOLE

_LOGS, _LOGS_BACK = renamed("logs.log_with", {"tensorboard": "tensorboard", "wandb": "wandb", "all": "all"})
_PRECISION, _PRECISION_BACK = renamed(
    "output.save_precision", {"float": "float", "fp16": "fp16", "bf16": "bf16", "fp32": "float", "no": "float"}
)
ABOUT = ("title", "author", "description", "license", "tags", "trigger_phrase", "usage_hint")
"""What people write of a LoRA, under modelspec's names."""
_FLAGS = ("n ", "w ", "h ", "d ", "s ", "l ", "ss ")


def _format(value: str, around: Around) -> Outcome:
    return carried({}) if value == "safetensors" else changed({}, Remark("only_safetensors"))


def _every_steps(value: int, around: Around) -> Outcome:
    return carried({"output.save_every_n_steps": value}, *([Remark("last_step_twice")] if value else []))


def _ratio(value: int, around: Around) -> Outcome:
    """At least so many files in all: one after every so many epochs."""
    epochs = around.get("max_train_epochs")
    if value and epochs:
        return changed({"output.save_every_n_epochs": max(1, epochs // value)}, Remark("saves_counted"))
    return dropped(Remark("saves_uncounted")) if value else carried({})


def _states(value: bool, around: Around) -> Outcome:
    """A state beside each LoRA, and at the end."""
    if not value:
        return carried({}, Remark("states_anyway"))
    epochs, steps = around.get("save_every_n_epochs", 0), around.get("save_every_n_steps", 0)
    settings = {"output.save_state_every_n_epochs": epochs, "output.save_state_every_n_steps": steps}
    return carried(settings | {"output.save_state_on_train_end": True}, Remark("states_place"))


def _states_back(own: Mapping[str, Any]) -> bool:
    pairs = [
        (own[f"output.save_state_every_n_{unit}"], own[f"output.save_every_n_{unit}"]) for unit in ("epochs", "steps")
    ]
    return any(state for state, _ in pairs) and all(state == lora for state, lora in pairs)


def _at_end(value: bool, around: Around) -> Outcome:
    return carried({"output.save_state_on_train_end": True} if value else {})


def _kept_steps(value: int, around: Around) -> Outcome:
    return carried({"output.save_last_n_steps": value}, *([Remark("steps_not_files")] if value else []))


def _kept_states(value: int, around: Around) -> Outcome:
    """sd-scripts keeps as many states of epochs as this; here all states count alike."""
    return changed({"output.save_last_n_states": value}, Remark("states_counted")) if value else carried({})


def _kept_state_steps(value: int, around: Around) -> Outcome:
    return carried({"output.save_last_n_steps_state": value})


def _by_steps(value: int, around: Around) -> Outcome:
    both = [Remark("samples_both")] if value and around.get("sample_every_n_epochs") else []
    place = [Remark("samples_place")] if value and not both else []
    return carried({"samples.every_n_steps": max(0, value)}, *both, *place)


def _by_epochs(value: int, around: Around) -> Outcome:
    return carried({"samples.every_n_epochs": max(0, value)}, *([Remark("samples_place")] if value > 0 else []))


def _prompts_file(value: str, around: Around) -> Outcome:
    """kohya_ss writes such a file and names it at every start, though it be empty."""
    asked = any(around.get(f"sample_{when}") for when in ("every_n_steps", "every_n_epochs", "at_first"))
    return carried({"samples.prompts_file": value}) if asked or not around.whole else dropped(Remark("no_samples"))


def _prompts(value: str, around: Around) -> Outcome:
    lines = [line.strip().lower() for line in value.splitlines()]
    parsed = any(line.startswith(_FLAGS) or line.startswith("--") for line in lines)
    return carried({"samples.prompts": value}, *([Remark("flags_in_prompt")] if parsed else []))


def _wandb(value: bool, around: Around) -> Outcome:
    if not value:
        return carried({})
    return carried({"logs.log_with": "wandb"}, Remark("wandb_lost"))


def _logger(value: str, around: Around) -> Outcome:
    if value == "tensorboard" and not around.get("logging_dir"):
        return changed({}, Remark("log_folder"))
    return _LOGS(value, around)


def _comment(value: str, around: Around) -> Outcome:
    return carried({"output.training_comment": value})


ROWS = (
    Row("output_dir", TEXT, "output.folder"),
    Row("output_name", TEXT, "output.name", absent="unnamed"),
    Row("save_precision", TEXT, "output.save_precision", "float", carry=_PRECISION, back=_PRECISION_BACK),
    Row("save_model_as", TEXT, carry=_format, back=lambda own: "safetensors"),
    Row("training_comment", TEXT, "output.training_comment", carry=_comment),
    Row("no_metadata", SWITCH, "output.no_metadata"),
    *(Row(f"metadata_{name}", TEXT, f"output.metadata_{name}") for name in ABOUT),
    Row("save_every_n_epochs", WHOLE, "output.save_every_n_epochs", 0),
    Row("save_every_n_steps", WHOLE, "output.save_every_n_steps", carry=_every_steps),
    Row("save_n_epoch_ratio", WHOLE, carry=_ratio, reaches=("output.save_every_n_epochs",)),
    Row("save_last_n_epochs", WHOLE, "output.save_last_n_epochs"),
    Row("save_last_n_steps", WHOLE, "output.save_last_n_steps", carry=_kept_steps),
    Row("save_state", SWITCH, "output.save_state_every_n_epochs", carry=_states, back=_states_back,
        reaches=("output.save_state_every_n_steps", "output.save_state_on_train_end")),
    Row("save_state_on_train_end", SWITCH, "output.save_state_on_train_end", carry=_at_end),
    Row("save_last_n_epochs_state", WHOLE, "output.save_last_n_states", carry=_kept_states),
    Row("save_last_n_steps_state", WHOLE, "output.save_last_n_steps_state", carry=_kept_state_steps),
    # sample pictures
    Row("sample_every_n_steps", WHOLE, "samples.every_n_steps", carry=_by_steps),
    Row("sample_every_n_epochs", WHOLE, "samples.every_n_epochs", carry=_by_epochs),
    Row("sample_at_first", SWITCH, "samples.at_first"),
    Row("sample_sampler", TEXT, "samples.sampler", "ddim"),
    Row("sample_prompts", TEXT, "samples.prompts_file", carry=_prompts_file),
    Row(f"{GUI}sample_prompts", TEXT, "samples.prompts", carry=_prompts),
    # logs
    Row("logging_dir", TEXT, "logs.folder"),
    Row("log_with", TEXT, "logs.log_with", carry=_logger, back=_LOGS_BACK),
    Row("log_prefix", TEXT, "logs.prefix"),
    Row("log_tracker_name", TEXT, "logs.tracker_name"),
    Row("wandb_run_name", TEXT, "logs.run_name"),
    Row(f"{GUI}use_wandb", SWITCH, carry=_wandb, reaches=("logs.log_with",)),
    # the loss on held-out pictures
    Row("validate_every_n_epochs", WHOLE, "validation.every_n_epochs"),
    Row("validate_every_n_steps", WHOLE, "validation.every_n_steps"),
)  # fmt: skip
