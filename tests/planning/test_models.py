"""Plans for models of every family: what is trained, at which size and rates, and what does not fit the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.planning.report import as_data
from tehon.settings.files import validate

Models = Callable[[str, str], Path]
Tree = dict[str, Any]


def planned(tree: Tree, path: Path, vocabulary: str, **sections: dict[str, Any]) -> Plan:
    model = {"path": str(path), "tokenizer": vocabulary, "prediction": "epsilon"} | sections.pop("model", {})
    changed = {name: tree.get(name, {}) | more for name, more in sections.items()}
    return make_plan(validate(tree | {"model": model} | changed))


def test_the_plan_of_sdxl(tree: Tree, models: Models, vocabulary: str) -> None:
    del tree["data"]["resolution"]
    plan = planned(tree, models("sdxl", "model.safetensors"), vocabulary)
    assert plan.settings.data.resolution == [1024, 1024]
    counts = {root: sum(module.root == root for module in plan.modules) for root in plan.base_rates}
    assert counts == {"lora_te1": 3 * 6, "lora_te2": 4 * 6, "lora_unet": 722}
    with_conv = planned(tree, models("sdxl", "folder"), vocabulary, network={"conv_rank": 2})
    assert sum(module.root == "lora_unet" for module in with_conv.modules) == 788
    assert {module.name for module in plan.modules} <= {module.name for module in with_conv.modules}
    assert "lora_unet_output_blocks_5_2_conv" in {module.name for module in with_conv.modules}


def test_each_text_encoder_has_its_rate(tree: Tree, models: Models, vocabulary: str) -> None:
    file = models("sdxl", "model.safetensors")
    rates = planned(tree, file, vocabulary, optimizer={"text_encoder_lr": 2e-5}).base_rates
    assert rates == {"lora_te1": 2e-5, "lora_te2": 2e-5, "lora_unet": 1e-4}
    rates = planned(tree, file, vocabulary, optimizer={"text_encoder_2_lr": 0.0}).base_rates
    assert rates == {"lora_te1": 5e-5, "lora_unet": 1e-4}
    alone = planned(
        tree, file, vocabulary, optimizer={"unet_lr": 0.0, "text_encoder_lr": 0.0, "text_encoder_2_lr": 1.0}
    )
    assert {module.root for module in alone.modules} == {"lora_te2"}
    with pytest.raises(Problem, match=r"optimizer\.text_encoder_2_lr: the model in .* has one text encoder"):
        planned(tree, models("sd1", "folder"), vocabulary, optimizer={"text_encoder_2_lr": 1e-5})


def test_lists_by_block_have_23_numbers_for_sdxl(tree: Tree, models: Models, vocabulary: str) -> None:
    file = models("sdxl", "model.safetensors")
    ranks = list(range(1, 24))
    plan = planned(tree, file, vocabulary, network={"block_dims": ranks})
    for module in plan.modules:
        assert module.rank == (2 if module.block is None else ranks[module.block])
    factors = [0.5] * 4 + [1.0] * 4 + [0.0]
    halved = planned(tree, file, vocabulary, network={"down_lr_weight": factors, "mid_lr_weight": [1, 0.25, 1]})
    found = {module.block: module.factor for module in halved.modules if module.block is not None}
    assert found == {5: 1.0, 6: 1.0, 8: 1.0, 11: 0.25} | dict.fromkeys(range(13, 19), 1.0)
    for lists in ({"block_dims": [4] * 25}, {"down_lr_weight": [1.0] * 12}, {"mid_lr_weight": "1"}):
        with pytest.raises(Problem, match=r"numbers? where this model has (23|9|3) blocks"):
            planned(tree, file, vocabulary, network=lists)


def test_what_the_weights_tell_is_said(tree: Tree, models: Models, vocabulary: str) -> None:
    def said(**model: Any) -> bool:
        plan = planned(tree, models("sd2", "model.safetensors"), vocabulary, model=model)
        return any("by its weights, as ComfyUI reads them, it is epsilon" in text for text in as_data(plan)["warnings"])

    assert said(prediction=None)
    assert not said()


def test_clip_skip_2_changes_nothing_for_sdxl(tree: Tree, models: Models, vocabulary: str) -> None:
    def said(family: str, skip: int) -> bool:
        plan = planned(tree, models(family, "model.safetensors"), vocabulary, text={"clip_skip": skip})
        return any("text.clip_skip has no effect: SDXL never uses" in text for text in as_data(plan)["warnings"])

    assert [said("sdxl", skip) for skip in (1, 2, 3)] == [False, True, False]
    assert not said("sd1", 2)


def test_what_is_given_beside_the_model_is_in_the_plan(tree: Tree, models: Models, vocabulary: str) -> None:
    file = models("sd2", "model.safetensors")
    plan = planned(tree, file, vocabulary, model={"prediction": "v", "vae": str(models("sd1", "folder") / "vae")})
    assert plan.model.prediction == "v"
    assert plan.settings.model.prediction == "v"
    assert plan.model.vae == models("sd1", "folder") / "vae"
    assert plan.model.tokenizer == Path(vocabulary)
    for field, value in (("vae", "nowhere"), ("tokenizer", "nowhere"), ("revision", "main")):
        with pytest.raises(Problem, match=rf"(model\.{field}|nowhere): "):
            planned(tree, file, vocabulary, model={field: value})
