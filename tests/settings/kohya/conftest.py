"""The presets, which several tests need."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


def _presets() -> dict[str, dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("presets", Path(__file__).with_name("presets.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PRESETS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "preset" in metafunc.fixturenames:
        rows = _presets()
        metafunc.parametrize("preset", list(rows.values()), ids=list(rows))


@pytest.fixture
def presets() -> dict[str, dict[str, Any]]:
    return _presets()
