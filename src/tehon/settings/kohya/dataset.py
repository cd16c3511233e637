"""Sets of pictures as a data set configuration of sd-scripts.

Sets of equal rules for sizes and batches share a data set, as sd-scripts balances regularisation pictures within one.
"""

from typing import Any

import tomli_w

from tehon.settings.dataset_config import OF_DATASETS, OF_ONE_SUBSET, OF_SUBSETS
from tehon.settings.settings import Settings

Lost = dict[str, tuple[Any, Any]]


def dataset_toml(settings: Settings) -> tuple[str, Lost]:
    """(the file's text, {setting of a set: (its value, None)} of those that can't be said there)."""
    of_dataset = {ours: theirs for theirs, (ours, _) in OF_DATASETS.items()}
    of_subset = {ours: theirs for theirs, (ours, _) in (OF_SUBSETS | OF_ONE_SUBSET).items()}
    shared = settings.data.model_dump()
    datasets: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    lost: Lost = {}
    for number, table in enumerate(settings.data.sets):
        rules: dict[str, Any] = {}
        subset: dict[str, Any] = {}
        for name, value in table.items():
            if name in of_dataset:
                rules[of_dataset[name]] = value
            elif name in of_subset:
                subset[of_subset[name]] = value
            else:
                lost[f"data.sets[{number}].{name}"] = (value, None)
        subset.setdefault("num_repeats", table.get("repeats") or shared["repeats"] or 1)
        same = next((rows for other, rows in datasets if other == rules), None)
        if same is None:
            datasets.append((rules, [subset]))
        else:
            same.append(subset)
    return tomli_w.dumps({"datasets": [{**rules, "subsets": rows} for rules, rows in datasets]}), lost
