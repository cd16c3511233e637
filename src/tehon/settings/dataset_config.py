"""sd-scripts' data set configuration (TOML or JSON) as tables of our own `data.sets`.

An option is looked up in its subset, its data set, then under `general`; what none of them says is left to the section
`data`, as sd-scripts leaves it to its command line.

>>> read_dataset_config(Path("dataset.toml"))[0]
{'folder': 'pictures/cat', 'repeats': 10, 'resolution': 512}
"""

import json
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem, raise_all

Table = dict[str, Any]
Kinds = tuple[type, ...]
Known = dict[str, tuple[str, Kinds]]

# their name: (ours, the types that sd-scripts takes)
OF_DATASETS: Known = {
    "batch_size": ("batch_size", (int,)),
    "bucket_no_upscale": ("bucket_no_upscale", (bool,)),
    "bucket_reso_steps": ("bucket_reso_steps", (int,)),
    "enable_bucket": ("enable_bucket", (bool,)),
    "max_bucket_reso": ("max_bucket_reso", (int,)),
    "min_bucket_reso": ("min_bucket_reso", (int,)),
    "resolution": ("resolution", (int, list)),
    "validation_split": ("validation_split", (float, int)),
    "resize_interpolation": ("resize_interpolation", (str,)),
}
OF_SUBSETS: Known = {
    "num_repeats": ("repeats", (int,)),
    "class_tokens": ("class_words", (str,)),
    "caption_extension": ("caption_extension", (str,)),
    "color_aug": ("color_aug", (bool,)),
    "flip_aug": ("flip_aug", (bool,)),
    "random_crop": ("random_crop", (bool,)),
    "shuffle_caption": ("shuffle_caption", (bool,)),
    "keep_tokens": ("keep_tokens", (int,)),
    "keep_tokens_separator": ("keep_tokens_separator", (str,)),
    "secondary_separator": ("secondary_separator", (str,)),
    "caption_separator": ("caption_separator", (str,)),
    "enable_wildcard": ("enable_wildcard", (bool,)),
    "caption_prefix": ("caption_prefix", (str,)),
    "caption_suffix": ("caption_suffix", (str,)),
    "caption_dropout_every_n_epochs": ("caption_dropout_every_n_epochs", (int,)),
    "caption_dropout_rate": ("caption_dropout_rate", (float, int)),
    "caption_tag_dropout_rate": ("caption_tag_dropout_rate", (float, int)),
    "resize_interpolation": ("resize_interpolation", (str,)),
}
OF_ONE_SUBSET: Known = {
    "image_dir": ("folder", (str,)),
    "is_reg": ("is_reg", (bool,)),
    "alpha_mask": ("alpha_mask", (bool,)),
    "metadata_file": ("metadata_file", (str,)),
    "conditioning_data_dir": ("mask_folder", (str,)),
}
_WITHOUT_EFFECT: Table = {"network_multiplier": 1.0, "token_warmup_min": 1, "token_warmup_step": 0, "cache_info": False}
"""What tehon does not have, with the value that asks for nothing; any other value is refused."""
_NOT_OURS = (*_WITHOUT_EFFECT, "validation_seed", "face_crop_aug_range", "custom_attributes")
_SAME_FILTER = {"linear": "bilinear", "cubic": "bicubic", "box": "area"}


def read_dataset_config(file: Path, repeats: int = 1) -> list[Table]:
    """One table for each subset, read `repeats` times where the file doesn't say.

    Problems for all that cannot be taken over, at once.
    """
    tree = _read(file)
    reader = _Reader(file)
    general = reader.options("general", tree.get("general", {}), OF_DATASETS | OF_SUBSETS)
    reader.unknown("", tree, {"general", "datasets"})
    found: list[Table] = []
    for i, dataset in enumerate(reader.tables("datasets", tree.get("datasets"))):
        place = f"datasets[{i}]"
        shared = general | reader.options(place, dataset, OF_DATASETS | OF_SUBSETS, ("subsets",))
        for j, subset in enumerate(reader.tables(f"{place}.subsets", dataset.get("subsets"))):
            own = reader.options(f"{place}.subsets[{j}]", subset, OF_SUBSETS | OF_ONE_SUBSET)
            if "folder" not in own:
                reader.problems.append(Problem("config_no_folder", path=file, field=f"{place}.subsets[{j}].image_dir"))
            found.append({"repeats": repeats} | shared | own)
    raise_all(reader.problems)
    return found


def _read(file: Path) -> Table:
    from tehon.settings.files import read_toml

    if file.suffix.lower() != ".json":
        return read_toml(file)
    try:
        tree = json.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise Problem("file_missing", path=file) from None
    except (OSError, ValueError) as error:
        raise Problem("not_json", path=file, reason=error) from None
    if not isinstance(tree, dict):
        raise Problem("not_json", path=file, reason=type(tree).__name__)
    return tree


class _Reader:
    """Takes tables over, and keeps what is wrong with them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def tables(self, place: str, value: Any) -> list[Table]:
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return value
        self.problems.append(Problem("config_no_tables", path=self.file, field=place))
        return []

    def unknown(self, place: str, table: Table, known: set[str]) -> None:
        for name in table:
            if name not in known:
                field = f"{place}.{name}" if place else name
                ours = Problem("config_unknown", path=self.file, field=field)
                theirs = Problem("config_not_ours", path=self.file, field=field)
                self.problems.append(theirs if name in _NOT_OURS else ours)

    def options(
        self, place: str, table: Any, known: dict[str, tuple[str, Kinds]], others: tuple[str, ...] = ()
    ) -> Table:
        """The options of one table under our names; a value of None counts as not given."""
        if not isinstance(table, dict):
            self.problems.append(Problem("config_no_tables", path=self.file, field=place))
            return {}
        given = {name: value for name, value in table.items() if value is not None}
        given = {n: v for n, v in given.items() if n not in _WITHOUT_EFFECT or v != _WITHOUT_EFFECT[n]}
        self.unknown(place, given, {*known, *others})
        found: Table = {}
        for name, value in given.items():
            if name not in known:
                continue
            ours, kinds = known[name]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                expected = " / ".join(kind.__name__ for kind in kinds)
                field = f"{place}.{name}"
                problem = Problem("config_type", path=self.file, field=field, value=repr(value), expected=expected)
                self.problems.append(problem)
                continue
            if ours == "resize_interpolation":
                value = _SAME_FILTER.get(str(value), value)
            found[ours] = float(value) if float in kinds else value
        return found
