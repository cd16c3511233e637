"""LoRAs that become part of the model before the training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tehon.messages.problem import Problem
from tehon.planning.identity import identity
from tehon.planning.plan import Plan, make_plan
from tehon.planning.report import as_data
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import file_tensors
from tehon.weights.lora_file import write_lora

Tree = dict[str, Any]
NAME = "lora_unet_mid_block_attentions_0_proj_in"


def planned(tree: Tree, **network: Any) -> Plan:
    return make_plan(validate(tree | {"network": network}))


def weight(trainer: Trainer) -> torch.Tensor:
    return trainer.adapters["lora_unet"][NAME].layer.weight.detach()


def test_the_files_are_merged_with_their_strengths(tree: Tree, tmp_path: Path) -> None:
    plain = assemble(planned(tree, rank=2, include="mid_block"))
    change, files = torch.zeros_like(weight(plain)), []
    for number, strength in enumerate((0.5, -2.0)):
        with torch.no_grad():
            for adapter in plain.adapters["lora_unet"].values():
                for tensor in adapter.tensors.values():
                    tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)))
        files.append(str(tmp_path / f"{number}.safetensors"))
        write_lora(Path(files[-1]), file_tensors(plain.adapters), {}, "float")
        change += strength * plain.adapters["lora_unet"][NAME].delta().detach()

    plan = planned(tree, rank=2, base_weights=files, base_weights_multiplier=[0.5, -2.0])
    changed = weight(assemble(plan))
    assert torch.allclose(changed - weight(plain), change, atol=1e-5)
    assert change.abs().max() > 0.1
    assert any("only where these are loaded too" in text for text in as_data(plan)["warnings"])

    one = planned(tree, rank=2, base_weights=files[0])
    assert one.base_weights[0].strength == 1.0
    assert identity(one).start not in ("", identity(plan).start)


def test_what_cannot_be_merged_is_refused_at_once(tree: Tree, tmp_path: Path) -> None:
    none, odd = tmp_path / "none.safetensors", tmp_path / "odd.safetensors"
    write_lora(odd, {"weight": torch.zeros(2)}, {}, "float")
    with pytest.raises(Problem) as caught:
        planned(tree, base_weights=[str(none), str(odd)])
    assert [problem.key for problem in caught.value.all] == ["file_missing", "not_a_lora"]
    with pytest.raises(Problem, match="there are 3 strengths for 2 files"):
        planned(tree, base_weights=[str(none), str(odd)], base_weights_multiplier=[1, 2, 3])
    with pytest.raises(Problem, match="there are no files to merge"):
        planned(tree, base_weights_multiplier=0.5)
