"""What tests of training share: the plan of settings with changes, and a watcher that says nothing.

>>> start_run(planned(tree, training={"epochs": 2}), quiet)
"""

from typing import Any

from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import validate

Tree = dict[str, Any]


def merged(tree: Tree, changes: Tree) -> Tree:
    """The settings with {section: {field: value}} changed."""
    return {section: tree.get(section, {}) | changes.get(section, {}) for section in tree | changes}


def planned(tree: Tree, **changes: Tree) -> Plan:
    return make_plan(validate(merged(tree, changes)))


def quiet(name: str, facts: dict[str, Any]) -> None:
    pass
