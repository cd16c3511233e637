"""The sets of pictures of a run: the section `data` itself, or its tables merged over it.

>>> [one.place for one in data_sets(settings.data)]
['data.sets[0]', 'data.sets[1]', 'data.reg_folder']
"""

from dataclasses import dataclass

from pydantic import ValidationError

from tehon.messages.problem import Problem, raise_all
from tehon.settings.complaints import complaints
from tehon.settings.dataset import DataSettings

RUN_WIDE = ("sets", "dataset_config", "reg_folder", "validation_folder")
"""Fields that a set cannot have for itself."""


@dataclass(frozen=True)
class DataSet:
    """One set with nothing left to inherit. `place` is its name in messages; `held_out`: it is for validation alone."""

    place: str
    data: DataSettings
    held_out: bool = False

    def field(self, name: str) -> str:
        """The dotted name of one of the set's settings."""
        return field_of(self.place, name)


def field_of(place: str, name: str) -> str:
    """The dotted name of a setting of the set at this place."""
    if place.removeprefix("data.") in RUN_WIDE:  # it has a folder and no settings of its own
        return place if name == "folder" else f"data.{name}"
    return f"{place}.{name}"


def data_sets(data: DataSettings) -> tuple[DataSet, ...]:
    """All sets; Problems, named like `data.sets[1].resolution`, for all tables that don't fit."""
    shared = {name: value for name, value in data.model_dump().items() if name not in RUN_WIDE}
    plain = shared | {"mask_folder": "", "alpha_mask": False, "repeats": 0, "class_words": "", "validation_split": 0.0}
    found: list[DataSet] = []
    problems: list[Problem] = []
    for number, table in enumerate(data.sets):
        place = f"data.sets[{number}]"
        problems += [Problem("set_run_wide", field=f"{place}.{name}", name=name) for name in table if name in RUN_WIDE]
        own = {name: value for name, value in table.items() if name not in RUN_WIDE}
        try:
            one = DataSettings.model_validate(shared | own)
            if one.is_reg and "validation_split" not in own:  # the share of the section is for those to learn
                one = one.model_copy(update={"validation_split": 0.0})
            found.append(DataSet(place, one))
        except ValidationError as error:
            problems += complaints(error, place)
    raise_all(problems)
    if not data.sets:
        found.append(DataSet("data", DataSettings.model_validate(shared)))
    if data.reg_folder:
        table = plain | {"folder": data.reg_folder, "is_reg": True}
        found.append(DataSet("data.reg_folder", DataSettings.model_validate(table)))
    if data.validation_folder:
        table = plain | {"folder": data.validation_folder, "repeats": data.repeats, "class_words": data.class_words}
        found.append(DataSet("data.validation_folder", DataSettings.model_validate(table), held_out=True))
    return tuple(found)
