"""Whether the test that `guards/heeded.toml` names for a setting fails when that setting has no effect.

`python tests/heeded.py` tries every setting, which takes a while, and `python tests/heeded.py network.rank` that one.
pytest runs the test where plans are made as if the setting had been left alone.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
TESTS = {
    f"{section}.{name}": test
    for section, table in tomllib.loads((HERE / "guards" / "heeded.toml").read_text("utf8")).items()
    for name, test in table.items()
}
IGNORED = "TEHON_IGNORED_SETTING"


def pytest_configure() -> None:
    """In the process of the test: from here on no plan heeds the setting."""
    from tehon.planning import plan
    from tehon.settings import files
    from tehon.settings.fields import fields

    section, _, name = os.environ[IGNORED].partition(".")
    (field,) = (field for field in fields() if field.name == f"{section}.{name}")

    def left_alone(own: Any) -> Any:
        return own.model_copy(update={name: field.default})

    draft_plan = plan.draft_plan
    plan.draft_plan = lambda given: draft_plan(given.model_copy(update={section: left_alone(getattr(given, section))}))
    if section == "objective":  # tests give these without a plan, too
        from tehon.training import assemble

        build_objective = assemble.build_objective
        assemble.build_objective = lambda settings: build_objective(left_alone(settings))
    if name == "additional_parameters":  # they are in the settings before there is a plan
        files._with_words = lambda tree: tree  # pyright: ignore[reportPrivateUsage]


def outcome(name: str) -> str:
    """ "heeded" where the test fails, and what is wrong where it does not."""
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "heeded", "-p", "no:cacheprovider", str(HERE / TESTS[name])],
        env=os.environ | {IGNORED: name, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    words = {0: f"WITHOUT EFFECT in {TESTS[name]}", 1: "heeded"}
    return words.get(done.returncode, f"NOT TRIED:\n{done.stdout}{done.stderr}")


def main() -> int:
    names = sys.argv[1:] or list(TESTS)
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, words in zip(names, pool.map(outcome, names), strict=True):
            print(f"{name}: {words}", flush=True)
            failed += words != "heeded"
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
