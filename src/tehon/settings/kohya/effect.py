"""Which of tehon's own refusals say of a setting that it has no effect: other programs take such settings silently, so
an import leaves them out and says so.
"""

from typing import Any

from tehon.messages.problem import Problem

REQUIRED = ("model.path", "data.folder", "output.folder")
"""What no preset has and no training goes without."""

_NO_EFFECT = frozenset((
    "not_for_kind", "needs_conv", "dora_side_alone", "threshold_alone", "fixed_by_weights", "no_effect_whole",
    "base_multiplier_alone", "objective_alone", "kept_unsaved", "disk_without_cache", "npz_without_cache",
    "workers_none", "class_words_alone", "masks_unused", "masks_nowhere", "dim_without_weights",
    "unet_not_trained", "text_not_trained", "norm_schedule_free", "dora_no_norm", "allowed_without_resume",
))  # fmt: skip
_ELSEWHERE = {"prompts_none": ("samples.every_n_steps", "samples.every_n_epochs", "samples.at_first")}
"""Refusals that are about other fields than the one that does nothing."""


def without_effect(problem: Problem) -> tuple[str, ...]:
    """The settings that this refusal says do nothing; none when it is about something else."""
    if problem.key in _ELSEWHERE:
        return _ELSEWHERE[problem.key]
    return (str(problem.values["field"]),) if problem.key in _NO_EFFECT else ()


def filled(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tree with something in the place of what is required, so that the rest can be checked."""
    found = {section: dict(table) for section, table in tree.items()}
    for name in REQUIRED:
        section, _, field = name.partition(".")
        table = found.setdefault(section, {})
        nowhere = name != "data.folder" or not (table.get("sets") or table.get("dataset_config"))
        if nowhere and not table.get(field):
            table[field] = "demo"
    return found
