"""Which modules a plan lays out: by kind, block list, pattern and rate; what it refuses; what the table shows."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import validate
from tehon.training.assemble import assemble
from tehon.training.attach import file_tensors

Tree = dict[str, Any]
ONES = [1] * 25


def planned(tree: Tree, **network: Any) -> Plan:
    return make_plan(validate(tree | {"network": tree["network"] | network}))


def refused(tree: Tree, **network: Any) -> str:
    with pytest.raises(Problem) as caught:
        planned(tree, **network)
    return str(caught.value)


def by_block(plan: Plan, kernel: bool = False) -> dict[str, set[Any]]:
    """{block: ranks and alphas of its modules}, of the 3x3 convolutions or of all others; TE for the text encoder."""
    found: dict[str, set[Any]] = {}
    for module in plan.modules:
        if (module.shape[2:] == (3, 3)) == kernel:
            block = "TE" if module.block is None else plan.family.blocks.name(module.block)
            found.setdefault(block, set()).add((module.rank, module.alpha))
    return found


ATTENDING = {"IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{i:02d}" for i in range(3, 12))}


@pytest.mark.parametrize(
    ("network", "unet", "text"),
    [
        ({}, 192, 72),
        ({"kind": "locon"}, 279, 72),
        ({"conv_rank": 4}, 279, 72),
        ({"conv_block_dims": [4] * 25}, 279, 72),
        ({"conv_rank": 0}, 192, 72),
        ({"kind": "loha"}, 192, 72),
        ({"kind": "lokr", "conv_rank": 2}, 279, 72),
        ({"kind": "ia3"}, 80, 36),
    ],
)
def test_modules_are_counted_as_in_sd_scripts(tree: Tree, network: dict[str, Any], unet: int, text: int) -> None:
    """279 and not SD 1.5's 278, because the demo's third resolution is narrower than its fourth: one shortcut more."""
    base = {"network": {}} if network.get("kind") == "ia3" else {}
    counts = Counter(module.root for module in planned(tree | base, **network).modules)
    assert counts == {"lora_unet": unet, "lora_te": text}


def test_no_layer_can_be_split_by_zero(tree: Tree) -> None:
    text = "network.factor: a layer cannot be split by 0; give -1 for factors of about the same size"
    assert refused(tree, kind="lokr", factor=0).startswith(text)


def test_an_alpha_of_zero_matters_only_where_something_is_trained(tree: Tree) -> None:
    """IN03 changes the size and holds nothing but a convolution; IN04 is switched off."""
    alphas = [1.0] * 3 + [0.0, 0.0] + [1.0] * 20
    plan = planned(tree, block_alphas=alphas, down_lr_weight=[1.0] * 4 + [0.0] + [1.0] * 7)
    assert "IN04" not in by_block(plan)


def test_a_unit_that_does_not_divide_is_blamed_on_what_was_written(tree: Tree) -> None:
    text = refused(tree, kind="dylora", rank=4, conv_rank=3, unit=2)
    assert text.startswith("network.conv_rank: DyLoRA draws ranks in steps of 2")


@pytest.mark.parametrize("name", ["rank", "alpha", "rs_lora", "decompose_both"])
def test_whole_factors_have_no_rank(tree: Tree, name: str) -> None:
    value = {"rank": 3, "alpha": 2.0}.get(name, True)
    network = {"kind": "lokr", "full_matrix": True, name: value}
    text = refused(tree | {"network": {}}, **network)
    assert text.startswith(f"network.{name}: with network.full_matrix both factors are whole")


def test_lists_for_a_part_that_is_not_trained_are_refused(tree: Tree) -> None:
    text = refused(tree | {"optimizer": {"unet_lr": 0.0}}, block_dims=ONES, loraplus_unet_lr_ratio=4.0)
    assert "network.block_dims: the learning rate of the U-Net is 0" in text
    assert "network.loraplus_unet_lr_ratio: the learning rate of the U-Net is 0" in text
    text = refused(tree | {"optimizer": {"text_encoder_lr": 0.0}}, loraplus_text_encoder_lr_ratio=4.0)
    assert "the learning rate of the text encoder is 0" in text


def test_without_lists_every_block_has_the_rank_and_alpha(tree: Tree) -> None:
    found = by_block(planned(tree))
    assert found == {block: {(2, 1.0)} for block in ATTENDING | {"TE"}}


def test_block_dims_and_alphas_are_each_alone_enough(tree: Tree) -> None:
    dims = list(range(4, 29))
    found = by_block(planned(tree, block_dims=dims))
    assert found["IN01"] == {(5, 1.0)}
    assert found["MID"] == {(16, 1.0)}
    assert found["OUT11"] == {(28, 1.0)}
    assert found["TE"] == {(2, 1.0)}, "text encoders have no blocks"
    alphas = by_block(planned(tree, block_alphas=[0.5 * n for n in range(25)]))
    assert alphas["IN01"] == {(2, 0.5)}
    assert alphas["OUT11"] == {(2, 12.0)}
    conv = planned(tree, conv_rank=3, block_dims=dims, conv_alpha=0.5)
    assert by_block(conv, kernel=True)["IN03"] == {(3, 0.5)}
    assert by_block(conv)["OUT00"] == {(17, 1.0)}, "a Res block's other layers take block_dims"


def test_conv_block_lists_are_each_alone_enough(tree: Tree) -> None:
    found = by_block(planned(tree, conv_block_dims=list(range(1, 26))), kernel=True)
    assert found["IN01"] == {(2, 1.0)}
    assert found["IN03"] == {(4, 1.0)}
    assert found["OUT11"] == {(25, 1.0)}
    every = {f"IN{i:02d}" for i in range(1, 12)} | {"MID"} | {f"OUT{i:02d}" for i in range(12)}
    assert set(found) == every, "every block but the first convolution has one"
    alphas = by_block(planned(tree, conv_rank=4, conv_block_alphas=[n + 1.0 for n in range(25)]), kernel=True)
    assert alphas["IN11"] == {(4, 12.0)}
    both = planned(tree, conv_rank=4, conv_block_dims=[0] * 12 + [3] + [0] * 12)
    assert by_block(both, kernel=True) == {"MID": {(3, 1.0)}}, "the list wins over the one rank"


def test_a_block_of_rank_zero_is_left_out(tree: Tree) -> None:
    dims = [8] * 25
    dims[1] = dims[12] = 0
    assert set(by_block(planned(tree, block_dims=dims))) == (ATTENDING | {"TE"}) - {"IN01", "MID"}


def factors(plan: Plan) -> dict[str, float]:
    return {plan.family.blocks.name(module.block): module.factor for module in plan.modules if module.block is not None}


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        # sd-scripts' get_list over 12 blocks: sin(π/2 i/11), its mirror, i/11, its mirror, 0; IN01, IN04, IN08 looked
        # at ("sine", (0.142315, 0.540641, 0.909632)),
        ("cosine", (0.989821, 0.841254, 0.415415)),
        ("linear", (1 / 11, 4 / 11, 8 / 11)),
        ("reverse_linear", (10 / 11, 7 / 11, 3 / 11)),
        ("zeros+0.3", (0.3, 0.3, 0.3)),
        ("sine+0.25", (0.392315, 0.790641, 1.159632)),
        ([0.1 * n for n in range(12)], (0.1, 0.4, 0.8)),
        ("0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1,1", (0.1, 0.4, 0.8)),
        ("0 .1 .2 .3 .4 .5 .6 .7 .8 .9 1 1", (0.1, 0.4, 0.8)),
        ("0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1, 1", (0.1, 0.4, 0.8)),
    ],
)
def test_rate_weights_of_the_way_down(tree: Tree, written: Any, numbers: tuple[float, ...]) -> None:
    found = factors(planned(tree, down_lr_weight=written))
    assert [found[block] for block in ("IN01", "IN04", "IN08")] == pytest.approx(numbers, abs=1e-5)
    assert found["MID"] == found["OUT03"] == found["OUT11"] == 1.0


def test_rate_weights_of_the_middle_and_the_way_up(tree: Tree) -> None:
    found = factors(planned(tree, mid_lr_weight=0.25, up_lr_weight="linear"))
    assert found["IN08"] == 1
    assert found["MID"] == 0.25
    assert found["OUT03"] == pytest.approx(3 / 11)
    assert found["OUT11"] == 1


def test_blocks_that_are_not_above_the_threshold_are_absent(tree: Tree) -> None:
    weights = [0.1 * n for n in range(12)]
    everything = set(factors(planned(tree)))
    assert everything == ATTENDING
    assert set(factors(planned(tree, down_lr_weight=weights, block_lr_zero_threshold=0.4))) == everything - {
        "IN01",
        "IN02",
        "IN04",
    }, "0.4 itself is not above 0.4"
    assert set(factors(planned(tree, up_lr_weight="zeros"))) == everything - {f"OUT{i:02d}" for i in range(12)}
    assert "MID" not in factors(planned(tree, mid_lr_weight=0))
    assert set(factors(planned(tree, up_lr_weight="cosine"))) == everything - {"OUT11"}, "0 after all, not 6e-17"


def test_a_weight_is_on_the_units_rate_and_on_no_other(tree: Tree) -> None:
    plan = planned(tree, mid_lr_weight=0.5)
    assert plan.group_rates == {"lora_te": 5e-5, "lora_unet": 1e-4, "lora_unet x0.5": 5e-5}
    assert plan.rate("lora_unet x0.5", 2) == pytest.approx(plan.rate("lora_unet", 2) / 2)


def test_loraplus_makes_up_matrices_learn_faster(tree: Tree) -> None:
    plan = planned(tree, loraplus_lr_ratio=16.0, loraplus_text_encoder_lr_ratio=4.0, mid_lr_weight=0.5)
    assert plan.group_rates == pytest.approx(
        {
            "lora_te": 5e-5,
            "lora_te x4": 2e-4,
            "lora_unet": 1e-4,
            "lora_unet x0.5": 5e-5,
            "lora_unet x16": 16e-4,
            "lora_unet x8": 8e-4,
        }
    )
    only = planned(tree, loraplus_unet_lr_ratio=2.0)
    assert set(only.group_rates) == {"lora_te", "lora_unet", "lora_unet x2"}


@pytest.mark.parametrize(
    ("network", "count"),
    [
        ({"include": r"attn2\.to_[kv]$"}, 32),
        ({"exclude": "^text_encoder"}, 192),
        ({"include": "^unet", "exclude": "attn1"}, 128),
        ({"include": r"mid_block.*conv1", "conv_rank": 2}, 2),
    ],
)
def test_layers_are_chosen_by_pattern(tree: Tree, network: dict[str, Any], count: int) -> None:
    assert len(planned(tree, **network).modules) == count


def test_strengths(tree: Tree) -> None:
    assert {m.alpha / m.rank for m in planned(tree, rank=16, alpha=4.0).modules} == {0.25}
    assert {m.alpha / m.rank for m in planned(tree, rank=16, alpha=4.0, rs_lora=True).modules} == {1.0}
    whole = planned(tree, kind="lokr", rank=9999).modules
    assert {(m.rank, m.alpha) for m in whole} == {(9999, 9999.0)}, "with both factors whole the strength is 1"


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"down_lr_weight": [1.0] * 11}, "network.down_lr_weight: it has 11 numbers where this model has 12 blocks"),
        ({"down_lr_weight": 0.5}, "network.down_lr_weight: it has 1 number where this model has 12 blocks"),
        ({"up_lr_weight": "1,2,3,4,5,6,7,8,9,10,11,12,13"}, "network.up_lr_weight: it has 13 numbers"),
        ({"up_lr_weight": "sin"}, "network.up_lr_weight: sin is not a list of numbers"),
        ({"up_lr_weight": "sine+x"}, "network.up_lr_weight: x is not a list of numbers"),
        ({"up_lr_weight": [-1.0] * 12}, "network.up_lr_weight: [-1.0"),
        ({"mid_lr_weight": "sine"}, "network.mid_lr_weight: sine is not a list of numbers"),
        ({"mid_lr_weight": [1.0, 2.0]}, "network.mid_lr_weight: it has 2 numbers where this model has 1 block"),
        ({"block_dims": "8,8"}, "network.block_dims: it has 2 numbers where this model has 25 blocks"),
        ({"block_dims": "1.5 " * 25}, "network.block_dims: 1.5 1.5"),
        ({"block_alphas": [1.0] * 23}, "network.block_alphas: it has 23 numbers"),
        ({"block_alphas": [1.0] * 4 + [0.0] + [1.0] * 20}, "block IN04 has a rank but the alpha 0"),
        ({"conv_block_dims": [1] * 24}, "network.conv_block_dims: it has 24 numbers"),
        ({"conv_rank": 1, "conv_block_alphas": [1.0] * 26}, "network.conv_block_alphas: it has 26 numbers"),
        ({"include": "nothing like this"}, "network.include: no layer is left to train"),
        ({"include": "("}, "network.include: ( is not a regular expression"),
        ({"block_lr_zero_threshold": 0.1}, "network.block_lr_zero_threshold: it compares the learning-rate factors"),
        ({"kind": "dylora", "unit": 3}, "network.unit: DyLoRA draws ranks in steps of 3"),
        ({"kind": "dylora", "unit": 2, "block_dims": [3] * 25}, "network.block_dims: DyLoRA draws ranks in steps of 2"),
        (
            {"unit": 2},
            "network.unit: this setting has no effect with network.kind lora; remove it, or choose one of",
        ),
        ({"kind": "loha", "dropout": 0.1}, "network.dropout: this setting has no effect with network.kind loha"),
        ({"kind": "loha", "dora": True}, "network.dora: this setting has no effect with network.kind loha"),
        ({"kind": "ia3"}, "network.rank: this setting has no effect with network.kind ia3"),
        ({"kind": "locon", "conv_rank": 0}, "network.conv_rank: locon is lora with convolutions"),
        ({"conv_alpha": 2.0}, "network.conv_alpha: without convolutions in the network this has no effect"),
        ({"tucker": True}, "network.tucker: without convolutions in the network this has no effect"),
        ({"dora": True, "scale_weight_norms": 1.0}, "network.scale_weight_norms: DoRA trains lengths of its own"),
        ({"dora": True, "tucker": True, "conv_rank": 1}, "network.tucker: no program reads DoRA with Tucker's"),
        ({"dora_side": "output"}, "network.dora_side: without network.dora this has no effect"),
        ({"kind": "lokr", "rank": 99, "dropout": 0.1}, "network.dropout: 264 layers keep their large factor whole"),
        ({"dim_from_weights": True}, "network.dim_from_weights: there is no file to take the ranks from"),
    ],
)
def test_what_contradicts_itself_or_has_no_effect_is_refused(tree: Tree, network: dict[str, Any], words: str) -> None:
    assert refused(tree, **network).startswith(words) or words in refused(tree, **network)


def test_all_wrong_lists_are_reported_at_once(tree: Tree) -> None:
    text = refused(tree, block_dims=[1], conv_block_dims=[1, 2], down_lr_weight=[1.0])
    fields = [line.partition(":")[0] for line in text.splitlines()]
    assert fields == ["network.down_lr_weight", "network.block_dims", "network.conv_block_dims"]


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "locon", "rank": 4, "conv_rank": 2},
        {"kind": "lokr", "rank": 2, "conv_rank": 2, "tucker": True},
        {"dora": True, "block_dims": [3] * 25},
        {"kind": "loha", "conv_block_dims": [4] * 25, "up_lr_weight": "sine"},
    ],
)
def test_the_trainer_has_the_planned_modules_and_no_others(tree: Tree, network: dict[str, Any]) -> None:
    plan = planned(tree, **network)
    trainer = assemble(plan)
    held = {key: tuple(tensor.shape) for key, tensor in file_tensors(trainer.adapters).items()}
    assert held == {f"{m.name}.{tensor}": shape for m in plan.modules for tensor, shape in m.tensors.items()}
    assert trainer.state.flat.weights.numel() == sum(module.parameters for module in plan.modules)
    assert set(trainer.state.flat.groups) == set(plan.group_rates)


def test_a_plain_network_after_one_with_convolutions_is_plain(tree: Tree) -> None:
    """sd-scripts lets the later one grow: 228 modules."""
    assemble(planned(tree, kind="locon"))
    trainer = assemble(planned(tree))
    assert len(trainer.adapters["lora_unet"]) == 192


def test_the_command_shows_every_module(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(tomli_w.dumps(tree | {"network": {"rank": 4, "mid_lr_weight": 0.5}}), "utf8")
    assert main(["plan", str(config), "--modules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Layer", "Block", "Size", "Rank", "Alpha", "Rate", "Parameters"]
    assert len(lines) == 265
    row = next(line for line in lines if "mid_block.attentions.0.proj_in" in line)
    assert row.split() == ["unet.mid_block.attentions.0.proj_in", "MID", "128x128x1x1", "4", "1", "5e-05", "1,024"]
    text = next(line for line in lines if "text_encoder" in line and line.split()[0].endswith("layers.0.mlp.fc1"))
    assert text.split()[1:] == ["384x96", "4", "1", "5e-05", "1,920"]
