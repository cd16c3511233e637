from pathlib import Path
from typing import Any

import tehon.api as tehon
from tehon.settings.files import to_toml, validate


def test_plan_and_train_from_python(tree: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(validate(tree)), "utf8")
    plan = tehon.make_plan(tehon.load_settings(file, {"training.max_train_steps": 1}))
    told: list[str] = []
    outcome = tehon.train(plan, lambda name, facts: told.append(name))
    assert outcome.steps == 1
    assert outcome.lora == tmp_path / "out" / "mine.safetensors"
    before, after = ["encoding", "encoding", "started"], ["state_saved", "step", "notice", "checked", "finished"]
    assert told == before + after  # the notice: what one step learns is too little for fp16
