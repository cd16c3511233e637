"""Starting from a LoRA file: what must fit, what is taken from it, and that it means the same after loading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tehon.catalog.detect import find_model
from tehon.messages.problem import Problem
from tehon.planning.network_facts import network_facts
from tehon.planning.plan import Plan, make_plan
from tehon.planning.report import as_data
from tehon.planning.start import StartFile, fitted
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import adapters_from_file, file_tensors
from tehon.training.run import start_run
from tehon.weights.lora_file import read_lora, write_lora

Models = Callable[[str, str], Path]
Tree = dict[str, Any]


def planned(tree: Tree, **network: Any) -> Plan:
    return make_plan(validate(tree | {"network": network}))


def refused(tree: Tree, **network: Any) -> str:
    with pytest.raises(Problem) as caught:
        planned(tree, **network)
    return str(caught.value)


def file_of(tree: Tree, path: Path, precision: str = "float", **network: Any) -> Path:
    """A file of a network with drawn values in all tensors."""
    trainer = assemble(planned(tree, **network))
    generator = torch.Generator().manual_seed(3)
    tensors = file_tensors(trainer.adapters)
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.dim():
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    write_lora(path, tensors, {}, precision)
    return path


def deltas(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: a.delta().detach() for layers in trainer.adapters.values() for name, a in layers.items()}


def meant(trainer: Trainer, file: Path) -> dict[str, torch.Tensor]:
    """What the file changes when it is loaded for drawing."""
    names = read_lora(file).keys()
    adapters = adapters_from_file(trainer.behaviour, trainer.parts, file)
    return {name: adapter.delta().detach() for name, adapter in zip(names, adapters, strict=True)}


NETWORKS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "alpha": 4.0},
    "locon": {"kind": "locon", "rank": 4, "alpha": 2.0},
    "loha": {"kind": "loha", "rank": 4, "alpha": 2.0},
    "lokr": {"kind": "lokr", "rank": 2, "alpha": 2.0},
    "lokr whole": {"kind": "lokr", "rank": 999},
    "dylora": {"kind": "dylora", "rank": 4, "alpha": 2.0},
    "lora_fa": {"kind": "lora_fa", "rank": 4, "alpha": 2.0},
    "dora": {"dora": True, "rank": 4, "alpha": 4.0},
    "ia3": {"kind": "ia3"},
}


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        (name, alpha) for name in NETWORKS for alpha in (None, 1.0, 3.0) if name != "ia3" or alpha is None
    ],  # has no alpha
)
def test_the_file_means_the_same_after_loading(
    tree: Tree, nano: Path, tmp_path: Path, name: str, alpha: float | None
) -> None:
    if name != "lokr":  # which takes small layers as a whole
        tree["model"]["path"] = str(nano)
    network = NETWORKS[name]
    file = file_of(tree, tmp_path / "first.safetensors", **network)
    new = network | {"weights": str(file)} | ({} if alpha is None else {"alpha": alpha})
    trainer = assemble(planned(tree, **new))
    own, wanted = deltas(trainer), meant(trainer, file)
    assert own.keys() == wanted.keys()
    for key, change in own.items():
        assert torch.allclose(change, wanted[key], rtol=1e-4, atol=1e-6), key
    if alpha is not None and name != "lokr whole":
        alphas = {float(tensor) for key, tensor in file_tensors(trainer.adapters).items() if key.endswith(".alpha")}
        assert alphas == {alpha}, "the run's own strength holds, and the file says it"


def test_ranks_and_alphas_can_come_from_the_file(tree: Tree, tmp_path: Path) -> None:
    dims = [n % 5 + 1 for n in range(25)]
    made: dict[str, Any] = {"kind": "locon", "rank": 3, "alpha": 2.0, "conv_rank": 2, "block_dims": dims}
    file = file_of(tree, tmp_path / "first.safetensors", **made)
    plan = planned(tree, rank=99, weights=str(file), dim_from_weights=True, mid_lr_weight=0.5)
    first = planned(tree, **made)
    assert [(m.name, m.rank, m.alpha, m.tensors) for m in plan.modules] == [
        (m.name, m.rank, m.alpha, m.tensors) for m in first.modules
    ]
    assert {m.factor for m in plan.modules} == {1.0, 0.5}, "rates are the settings' own"
    assert any("lists of ranks and alphas are not used" in text for text in as_data(plan)["warnings"])
    one, two = deltas(assemble(plan)), deltas(assemble(plan))
    assert all(torch.equal(change, two[key]) for key, change in one.items())
    narrow = planned(tree, weights=str(file), dim_from_weights=True, include="mid_block", dropout=0.5)
    assert {m.path.split(".")[1] for m in narrow.modules} == {"mid_block"}


def test_a_file_without_alpha_has_the_strength_one(tree: Tree, tmp_path: Path) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", rank=4, alpha=4.0)
    tensors = {key: t for key, t in safetensors.torch.load_file(file).items() if not key.endswith(".alpha")}
    safetensors.torch.save_file(tensors, file)
    plan = planned(tree, weights=str(file), dim_from_weights=True)
    assert {(m.rank, m.alpha) for m in plan.modules} == {(4, 4.0)}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_alphas_are_read_in_every_type(tree: Tree, tmp_path: Path, precision: str) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", precision, rank=4, alpha=1.5)
    plan = planned(tree, weights=str(file), dim_from_weights=True)
    assert {(m.rank, m.alpha) for m in plan.modules} == {(4, 1.5)}


def test_what_does_not_fit_is_refused_in_one_sentence(tree: Tree, tmp_path: Path) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", rank=4)
    text = refused(tree, rank=8, weights=str(file))
    assert text.startswith("network.weights: in ")
    assert "has rank 4 or another form, where the settings say rank 8; set network.dim_from_weights to true" in text
    assert "holds lora, but loha is to be trained" in refused(tree, kind="loha", weights=str(file))
    assert "holds lora, but lora + DoRA is to be trained" in refused(tree, dora=True, weights=str(file))
    assert "there is no such file" in refused(tree, weights=str(tmp_path / "none.safetensors"))
    good = safetensors.torch.load_file(file)
    name = "lora_unet_mid_block_attentions_0_proj_in"
    strange = {key.replace(name, "lora_unet_nowhere"): tensor for key, tensor in good.items()}
    safetensors.torch.save_file(strange, file)
    assert "263 of 264 layers match the model, lora_unet_nowhere does not" in refused(tree, weights=str(file), rank=4)
    wide = good | {f"{name}.lora_down.weight": torch.zeros(4, 1280, 1, 1)}
    safetensors.torch.save_file(wide, file)
    assert f"the layer {name} has another size" in refused(tree, weights=str(file), rank=4)
    safetensors.torch.save_file({"weight": torch.zeros(2)}, file)
    assert "there is no LoRA in this file" in refused(tree, weights=str(file), rank=4)


def test_foreign_files_may_hold_more_and_leave_kernels_out(tree: Tree, tmp_path: Path) -> None:
    """As LyCORIS writes them with the preset full, and as some programs write 1x1 convolutions."""
    file = file_of(tree, tmp_path / "first.safetensors", rank=4, alpha=4.0)
    first = deltas(assemble(planned(tree, rank=4, alpha=4.0, weights=str(file))))
    tensors = {key: t[..., 0, 0].clone() if t.dim() == 4 else t for key, t in safetensors.torch.load_file(file).items()}
    for name in ("conv_in", "conv_out", "time_embedding_linear_1"):
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(4, 4, 3, 3)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(32, 4, 1, 1)
    safetensors.torch.save_file(tensors, file)
    for network in ({"rank": 4, "alpha": 4.0}, {"dim_from_weights": True}):
        plan = planned(tree, weights=str(file), **network)
        assert any("3 of the 267 layers" in text for text in as_data(plan)["warnings"])
        assert all(torch.equal(change, first[name]) for name, change in deltas(assemble(plan)).items())


@pytest.mark.parametrize("name", ["input_blocks_0_0", "out_2", "time_embed_0", "conv_in"])
def test_layers_outside_are_known_by_the_names_of_sdxl_too(models: Models, vocabulary: str, name: str) -> None:
    model = find_model(str(models("sdxl", "model.safetensors")), tokenizer=vocabulary)
    layers = {f"lora_unet_{name}": {"lora_down.weight": (4, 4), "lora_up.weight": (4, 4)}}
    assert fitted(StartFile(Path("full.safetensors"), layers, {}), model).layers == layers


def test_dora_is_refused_where_nothing_can_read_it(tree: Tree, tmp_path: Path) -> None:
    trainer = assemble(planned(tree, rank=4))
    name = "lora_unet_mid_block_resnets_0_conv1"
    wide = trainer.parts.unet.get_submodule("mid_block.resnets.0.conv1").weight.shape
    rows = {
        "lora_down.weight": (4, wide[1], 1, 1),
        "lora_mid.weight": (4, 4, 3, 3),
        "lora_up.weight": (wide[0], 4, 1, 1),
    }
    shapes = rows | {"dora_scale": (1, wide[1], 1, 1)}
    file, words = tmp_path / "first.safetensors", "DoRA with Tucker's middle tensor"
    safetensors.torch.save_file({f"{name}.{key}": torch.ones(shape) for key, shape in shapes.items()}, file)
    assert words in refused(tree, weights=str(file), dora=True, kind="locon", rank=4)
    with pytest.raises(Problem, match=words):
        adapters_from_file(trainer.behaviour, trainer.parts, file)
    file = file_of(tree, file, kind="loha", rank=4)
    key = next(iter(safetensors.torch.load_file(file))).partition(".")[0]
    safetensors.torch.save_file(safetensors.torch.load_file(file) | {f"{key}.dora_scale": torch.ones(1, 8)}, file)
    words = "holds loha with DoRA's lengths, which work with LoRA alone"
    assert words in refused(tree, weights=str(file), kind="loha", rank=4)
    with pytest.raises(Problem, match=words):
        adapters_from_file(trainer.behaviour, trainer.parts, file)


def test_an_ia3_file_of_the_other_side_is_refused(tree: Tree, tmp_path: Path) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", kind="ia3")
    tensors = safetensors.torch.load_file(file)
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k.on_input"
    safetensors.torch.save_file(tensors | {key: torch.tensor(1.0)}, file)
    with pytest.raises(Problem, match="scales the other side"):
        assemble(planned(tree, kind="ia3", weights=str(file)))


def test_a_files_own_form_cannot_be_set_beside_it(tree: Tree, tmp_path: Path) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", kind="locon", rank=4, alpha=2.0, conv_rank=3, conv_alpha=1.5)
    text = refused(tree, weights=str(file), dim_from_weights=True, rs_lora=True, conv_rank=2, conv_alpha=3.0)
    for name in ("rs_lora", "conv_rank", "conv_alpha"):
        assert f"network.{name}: with network.dim_from_weights the file" in text
    plan = planned(tree, rank=2, alpha=9.0, weights=str(file), dim_from_weights=True)
    facts = network_facts(plan)
    assert facts["network_args"] == {"conv_dim": "3", "conv_alpha": "1.5"}
    data = as_data(plan)
    assert data["scale"] == 0.5
    assert not any("is above network.rank" in text for text in data["warnings"])


def test_a_file_with_convolutions_block_by_block_says_their_alpha(tree: Tree) -> None:
    """sd-scripts' module would take 1 without it."""
    facts = network_facts(planned(tree, alpha=4.0, conv_block_dims=[2] * 25))
    assert facts["network_args"]["conv_alpha"] == "4.0"


def test_a_part_of_a_file_is_announced(tree: Tree, tmp_path: Path) -> None:
    file = file_of(tree, tmp_path / "first.safetensors", rank=4, exclude="^unet")
    warnings = as_data(planned(tree, rank=4, weights=str(file)))["warnings"]
    assert any("does not hold 192 of the 264 layers" in text for text in warnings)
    file = file_of(tree, tmp_path / "whole.safetensors", rank=4)
    warnings = as_data(planned(tree, rank=4, weights=str(file), exclude="^unet"))["warnings"]
    left = f"192 of the 264 layers in {file} are not trained and will not be in the new file."
    assert left in warnings


def test_the_file_is_never_overwritten(tree: Tree, tmp_path: Path) -> None:
    out = Path(tree["output"]["folder"])
    out.mkdir()
    file = file_of(tree, out / "mine.safetensors", rank=4)
    before = file.read_bytes()
    tree["output"]["overwrite"] = True
    assert "is the file to start from and would be overwritten" in refused(tree, rank=4, weights=str(file))
    tree["output"]["name"] = "next"
    outcome = start_run(planned(tree, rank=4, weights=str(file)), lambda name, facts: None)
    assert file.read_bytes() == before
    assert outcome.lora is not None
    assert outcome.lora.name == "next.safetensors"


def test_training_goes_on_from_the_file(tree: Tree, tmp_path: Path) -> None:
    """With a rate of nearly zero the result is the file; from scratch it would be nothing."""
    file = file_of(tree, tmp_path / "first.safetensors", rank=4, alpha=2.0)
    tree |= {"optimizer": {"unet_lr": 1e-12, "text_encoder_lr": 1e-12, "name": "AdamW", "arguments": "weight_decay=0"}}
    tree["output"]["save_precision"] = "float"
    outcome = start_run(planned(tree, rank=4, alpha=1.0, weights=str(file)), lambda name, facts: None)
    assert outcome.lora is not None
    trainer = assemble(planned(tree, rank=4))
    first, then = meant(trainer, file), meant(trainer, outcome.lora)
    assert all(torch.allclose(first[key], then[key], rtol=1e-4, atol=1e-6) for key in first)
    assert max(change.abs().max() for change in then.values()) > 0.1
