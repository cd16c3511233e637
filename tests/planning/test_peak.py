"""The memory that a plan foretells: against what autograd keeps and what a process has resident, and what moves it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tehon.catalog import activations
from tehon.catalog.detect import find_model
from tehon.catalog.weight_files import Held, weights_of
from tehon.cli.main import main
from tehon.frozen import convolution
from tehon.frozen.convolution import FrozenConv2d
from tehon.planning import memory, peak
from tehon.planning.memory import bytes_transformed, kept_numbers
from tehon.planning.peak import MemoryEstimate, estimate
from tehon.planning.plan import Plan, make_plan
from tehon.planning.trained import numbers_trained
from tehon.settings.files import to_toml, validate
from tehon.training.assemble import assemble

Tree = dict[str, Any]


def planned(tree: Tree, **changes: Tree) -> Plan:
    return make_plan(validate(tree | {name: tree.get(name, {}) | values for name, values in changes.items()}))


def foretold(tree: Tree, **changes: Tree) -> MemoryEstimate:
    found = estimate(planned(tree, **changes))
    assert found is not None
    return found


def part(found: MemoryEstimate, name: str, phase: str = "training") -> int:
    return next(one for one in found.phases if one.name == phase).parts[name]


@pytest.fixture
def demo(tree: Tree) -> Tree:
    return tree | {
        "model": {"path": "demo"},
        "network": {"rank": 16, "alpha": 16.0},
        "optimizer": {"name": "AdamW"},
    }


SCALES = {"network": {"kind": "ia3"}, "optimizer": {"name": "AdamW"}}
KINDS: dict[str, Tree] = {
    "lora": {},
    "text not trained": {"optimizer": {"name": "AdamW", "text_encoder_lr": 0.0}},
    "u-net not trained": {"optimizer": {"name": "AdamW", "unet_lr": 0.0, "text_encoder_lr": 1e-4}},
    "the way up alone": {"network": {"include": r"up_blocks\.3"}, "optimizer": {"text_encoder_lr": 0.0}},
    "locon": {"network": {"kind": "locon", "conv_rank": 8}},
    "lora_fa": {"network": {"kind": "lora_fa"}},
    "dora": {"network": {"dora": True}},
    "loha": {"network": {"kind": "loha"}},
    "lokr": {"network": {"kind": "lokr"}},
    "long captions": {"text": {"max_token_length": 150}},
    "large": {"memory": {"gradient_checkpointing": "large"}},
    "whole": {"memory": {"gradient_checkpointing": "whole"}},
}


@pytest.mark.parametrize("name", [*KINDS, "ia3"])
def test_what_is_kept_is_what_autograd_saves(demo: Tree, name: str) -> None:
    """The numbers in all tensors that one forward saves, without the weights, within 6 %."""
    plan = planned(demo, **KINDS[name]) if name != "ia3" else make_plan(validate(demo | SCALES))
    trainer = assemble(plan)
    weights = [tensor for root in ("unet", "text_encoder") for tensor in getattr(trainer.parts, root).parameters()]
    weights += [
        tensor for layers in trainer.adapters.values() for one in layers.values() for tensor in one.tensors.values()
    ]
    known = {tensor.untyped_storage().data_ptr() for tensor in weights}
    held: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    epoch, batches = max((plan.group(step) for step in range(plan.steps)), key=lambda one: area(one[1][0]))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trainer.step.losses_of(epoch, batches[0])
    seen = sum(t.untyped_storage().nbytes() // t.element_size() for place, t in held.items() if place not in known)
    assert kept_numbers(plan).numbers == pytest.approx(seen, rel=0.06)


def test_the_copies_of_kernels_are_those_that_steps_make(demo: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor for which the demo's kernels are large enough, and on one for which they are not."""
    assert copies(demo, False, monkeypatch) > 0
    assert copies(demo, True, monkeypatch) == 0
    assert bytes_transformed(planned(demo, precision={"mixed_precision": "bf16"})) == 0


def copies(demo: Tree, amd: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of the copies, the same foretold and made."""
    monkeypatch.setattr(memory, "amd_with_avx512", lambda: amd)
    monkeypatch.setattr(convolution, "onednn_is_faster", lambda: amd)
    demo["data"] |= {"resolution": 512, "bucket_no_upscale": False}
    plan = planned(demo)
    trainer = assemble(plan)
    for batch in (min(plan.group(0)[1], key=area), max(plan.group(0)[1], key=area)):
        trainer.step.losses_of(0, batch)
    made = [one.transformed for one in trainer.parts.unet.modules() if isinstance(one, FrozenConv2d)]
    assert bytes_transformed(plan) == sum(one.numel() * 4 for one in made if one is not None)
    return bytes_transformed(plan)


def test_the_limits_of_winograds_way_are_those_that_layers_have() -> None:
    known = (activations.FEWEST_TILES, activations.FEWEST_WEIGHTS, activations.FEWEST_WEIGHTS_WITH_ONEDNN)
    assert known == (convolution._FEWEST_TILES, convolution._FEWEST_WEIGHTS, convolution._FEWEST_WITH_ONEDNN)  # pyright: ignore[reportPrivateUsage]


def test_what_was_read_of_a_file_is_given_back_on_linux(demo: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's files are in 16 bits, and it computes in 32."""
    for system, counted in (("linux", False), ("win32", True)):
        monkeypatch.setattr(peak, "sys", SimpleNamespace(platform=system))
        assert any(phase.name == "loading" for phase in foretold(demo).phases) is counted


def area(batch: Any) -> int:
    return batch.bucket[0] * batch.bucket[1] * len(batch.reads)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the largest resident memory from /proc")
def test_the_peak_of_the_demo_is_foretold_within_15_percent(demo: Tree, tmp_path: Path) -> None:
    demo["training"]["max_train_steps"] = 3
    file = tmp_path / "run.toml"
    file.write_bytes(to_toml(validate(demo)).encode())
    script = (
        "import sys; from tehon.cli.main import main; code = main(sys.argv[1:]);"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]); sys.exit(code)"
    )
    words = [sys.executable, "-c", script, "train", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    peak = 1024 * int(done.stdout.split()[-1])
    assert foretold(demo).peak.total == pytest.approx(peak, rel=0.15)


def test_more_pictures_and_larger_ones_take_more_and_checkpointing_less(demo: Tree) -> None:
    def of(**changes: Tree) -> int:
        return next(phase for phase in foretold(demo, **changes).phases if phase.name == "training").total

    batches = [of(data={"batch_size": size}) for size in (1, 2, 3)]
    assert batches == sorted(set(batches))
    sides = [of(data={"resolution": side, "bucket_no_upscale": False}) for side in (256, 384, 512)]
    assert sides == sorted(set(sides))
    ways = [of(memory={"gradient_checkpointing": how}) for how in ("whole", "large", "off")]
    assert ways == sorted(set(ways))


def test_what_lasts_is_counted_to_the_byte(demo: Tree) -> None:
    """Weights, gradients, two spare copies and the optimizer's two means; then what is added to them."""
    plan = planned(demo)
    count = numbers_trained(plan)
    assert count == sum(module.parameters for module in plan.modules)
    assert part(foretold(demo), "adapters") == 24 * count
    assert part(foretold(demo, training={"ema_decay": 0.9}), "adapters") == 28 * count
    assert part(foretold(demo, optimizer={"name": "Lion"}), "adapters") == 20 * count
    half = {"mixed_precision": "bf16", "full_bf16": True}
    assert part(foretold(demo, precision=half), "adapters") == 16 * count
    unet, text = (weights_of(plan.model, one).numbers for one in ("unet", "text_encoder"))
    assert part(foretold(demo), "networks") == 4 * (unet + text), "the demo's files are of 16 bits"
    assert part(foretold(demo, optimizer={"text_encoder_lr": 0.0}), "networks") == 4 * unet
    assert part(foretold(demo, precision={"base_storage": "fp8"}), "networks") == unet + text
    encoder = part(foretold(demo), "networks", "encoding")
    assert part(foretold(demo, feed={"cache_latents": False}), "networks") == 4 * (unet + text) + encoder


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("activations", {"precision": {"mixed_precision": "bf16"}}),
        ("activations", {"optimizer": {"text_encoder_lr": 0.0}}),
        ("networks", {"precision": {"mixed_precision": "bf16"}}),
    ],
)
def test_settings_that_save_memory_are_seen_to(demo: Tree, name: str, changes: Tree) -> None:
    assert part(foretold(demo, **changes), name) < part(foretold(demo), name)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("activations", {"network": {"rank": 64}}),
        ("activations", {"text": {"max_token_length": 225}}),
        ("networks", {"feed": {"cache_latents": False}}),
        ("data", {"data": {"flip_aug": True}}),
    ],
)
def test_settings_that_take_memory_are_seen_to(demo: Tree, name: str, changes: Tree) -> None:
    assert part(foretold(demo, **changes), name) > part(foretold(demo), name)


def test_pictures_drawn_on_the_way_may_need_the_most(demo: Tree) -> None:
    samples = {"prompts": "a cube --w 1024 --h 1024", "every_n_steps": 1}
    assert foretold(demo, samples=samples).peak.name == "samples"


def test_files_tell_how_much_is_in_them(models: Any, vocabulary: str) -> None:
    """The same from a folder and from a checkpoint."""
    folder = find_model(str(models("sd1", "folder")))
    single = find_model(str(models("sd1", "model.safetensors")), tokenizer=vocabulary)
    for name in ("unet", "text_encoder", "vae"):
        one, other = weights_of(folder, name), weights_of(single, name)
        assert one.numbers == pytest.approx(other.numbers, rel=1e-3), "a checkpoint may hold the positions too"
        assert one.bytes == 4 * one.numbers
    assert weights_of(folder, "text_encoder").words == 1024 * 64
    assert Held(1, 2, 0) + Held(3, 4, 5) == Held(4, 6, 5)


def test_the_command_says_it_in_words_and_in_json(
    demo: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(to_toml(validate(demo)).encode())
    assert main(["plan", str(file)]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("Memory"))
    found = foretold(demo)
    assert found.peak.name == "saving"
    start = f"Memory     about {found.peak.total / 1e9:.2f} GB at most on a processor, while saving a state: libraries "
    assert line.startswith(start)
    assert main(["plan", str(file), "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory["peak"] == sum(memory["phases"][memory["phase"]].values()) == found.peak.total
