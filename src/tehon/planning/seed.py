"""The seed of a run that goes on from another's state: an empty one is that other run's, and not drawn.

>>> with_seed_of_state(settings).training.seed == load_settings(run.settings, {}).training.seed
True
"""

from tehon.catalog.model import expanded
from tehon.runs.layout import RunDirectory
from tehon.settings.files import read_toml
from tehon.settings.settings import Settings


def with_seed_of_state(given: Settings) -> Settings:
    """The settings with the seed of the run whose state `training.resume` names, where they have none of their own and
    the run's directory is there."""
    training = given.training
    if training.seed is not None or not training.resume:
        return given
    path = expanded(training.resume)
    run = RunDirectory(path.absolute().parent.parent if path.is_file() else path)
    if not run.settings.is_file():
        return given
    seed = read_toml(run.settings).get("training", {}).get("seed")
    return given.model_copy(update={"training": training.model_copy(update={"seed": seed})})
