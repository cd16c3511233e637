"""Trainings of the tests are on a model as small as one can be: a step takes a fraction of one on the demo model."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tree(tree: dict[str, Any], nano: Path) -> dict[str, Any]:
    """The settings of the same name with this model."""
    return tree | {"model": {"path": str(nano)}}
