"""All rows, by the names of their options.

>>> ROWS["train_batch_size"].target
'data.batch_size'
"""

from tehon.settings.kohya import block_rows, data_rows, learning_rows, network_rows, other_rows, output_rows
from tehon.settings.kohya.rows import Row

_ALL = (*data_rows.ROWS, *network_rows.ROWS, *block_rows.ROWS, *learning_rows.ROWS, *output_rows.ROWS, *other_rows.ROWS)
ROWS: dict[str, Row] = {row.option: row for row in _ALL}
assert len(ROWS) == len(_ALL), "an option has one row"

SCRIPT_OPTIONS = tuple(sorted({name for name, row in ROWS.items() if row.is_script} | {"network_args", "config_file"}))
"""What train_network.py and sdxl_train_network.py take."""

OURS_ALONE: dict[str, str] = {
    "model.revision": "ours_hub",
    "model.tokenizer": "ours_tokenizer",
    "data.class_words": "ours_sets",
    "data.sets": "ours_sets",
    "data.is_reg": "ours_sets",
    "data.validation_folder": "ours",
    "data.background": "ours",
    "data.missing_captions": "ours",
    "data.broken_pictures": "ours",
    "feed.read_npz": "ours",
    "feed.cache_folder": "ours",
    "network.init": "ours",
    "network.exclude": "ours",
    "training.ema_decay": "ours",
    "objective.timestep_sampling": "ours",
    "objective.logit_mean": "ours",
    "objective.logit_std": "ours",
    "objective.stratified_timesteps": "ours",
    "training.allow_changes": "ours",
    "training.device": "ours",
    "training.cuda_graphs": "ours",
    "training.additional_parameters": "ours_words",
    "validation.stop_after": "ours",
    "logs.wandb_offline": "ours",
    "output.overwrite": "ours",
    "output.save_state_every_n_minutes": "ours",
}
"""Settings that no option of sd-scripts stands for, with the remark on why."""
