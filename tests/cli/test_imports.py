"""A command's process imports networks without what it has no use for, and whatever is imported later is whole."""

import json
import os
import subprocess
import sys
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import tehon
from tehon.cli.imports import OF_DIFFUSERS, OF_TRANSFORMERS, PACKAGES, READERS

UNUSED = {"torch._dynamo", "torch.distributed.tensor", "sympy", "scipy", "peft", "bitsandbytes", "accelerate"}
SLIM = """
import json, sys
from argparse import Namespace
from tehon.cli import imports
imports.import_networks(Namespace(alone=True))
"""


def numbers() -> Any:
    """What small networks compute, and a gradient."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=99, **sizes)).eval()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    noise = unet(torch.randn(1, 4, 8, 8), 500, text(torch.arange(77)[None]).last_hidden_state).sample
    noise.sum().backward()
    return [noise.flatten().tolist(), unet.conv_in.weight.grad.flatten().tolist()]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1])}


def ask(code: str) -> Any:
    """What a fresh process prints last, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def slim() -> dict[str, Any]:
    """Of one such process: what was imported, how many lists of files of packages were read, what networks compute."""
    watched = "from importlib.metadata import Distribution\nopened = []\nDistribution.files = property(opened.append)\n"
    before = '\nfound = {"modules": sorted(sys.modules), "lists": len(opened)}\nfrom typing import Any\n'
    return ask(f'{watched}{SLIM}{before}{getsource(numbers)}\nprint(json.dumps(found | {{"numbers": numbers()}}))')


def test_networks_come_without_what_training_never_uses(slim: dict[str, Any]) -> None:
    there = set(slim["modules"])
    assert {*OF_DIFFUSERS, *OF_TRANSFORMERS} <= there
    assert sorted(there & UNUSED) == []
    assert there.isdisjoint((*PACKAGES, *READERS))  # nor do the packages' stand-ins stay behind in their place


def test_nobody_reads_the_lists_of_files_of_all_packages(slim: dict[str, Any]) -> None:
    """Which takes a third as long as importing the networks does."""
    assert slim["lists"] == 0


def imported_by(*words: str) -> set[str]:
    """The modules that are there after a command."""
    return set(
        ask(f"""
import json, sys
from tehon.cli.main import main
sys.argv[1:] = {list(words)}
assert main() == 0
print(json.dumps(sorted(sys.modules)))""")
    )


def test_a_whole_training_comes_without_it_and_what_is_drawn_of_it(
    tree: dict[str, Any], nano: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree | {"model": {"path": str(nano)}, "optimizer": {"name": "AdamW"}}), "utf8")
    imported = imported_by("train", str(file), "--training.max_train_steps", "1", "--quiet")
    assert {"torch", "numba", *OF_DIFFUSERS, *OF_TRANSFORMERS} <= imported
    assert sorted(imported & UNUSED) == []
    assert "tehon.loops.attention" in imported
    drawn = imported_by("grid", "mine", "--prompt", "a --w 64 --h 64 --s 1", "--strengths", "1", "--quiet")
    assert {"torch", *OF_DIFFUSERS, *OF_TRANSFORMERS} <= drawn
    assert sorted(drawn & UNUSED) == []


def test_no_library_speaks_in_a_quiet_training(tree: dict[str, Any], nano: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree | {"model": {"path": str(nano)}, "optimizer": {"name": "AdamW8bit"}}), "utf8")
    code = "import sys; from tehon.cli.main import main; sys.exit(main())"
    words = ["train", str(file), "--training.max_train_steps", "1", "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_networks_compute_the_same(slim: dict[str, Any]) -> None:
    import torch

    threads = torch.get_num_threads()
    try:
        assert slim["numbers"] == numbers()
    finally:
        torch.set_num_threads(threads)


def test_what_was_left_out_is_whole_for_whoever_imports_it_later() -> None:
    answer = ask(f"""{SLIM}
import importlib.metadata
import diffusers, peft, scipy.stats, torch, transformers
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
lms = LMSDiscreteScheduler()
lms.set_timesteps(4)
print(json.dumps([
    abs(float(lms.get_lms_coefficient(1, 0, 0)) / float(lms.sigmas[1] - lms.sigmas[0]) - 1) < 1e-6,
    torch.compiler.disable(lambda: 5)(),
    torch.distributed.is_available(),
    torch._dynamo.__file__ is not None,
    torch.compile(lambda x: x * 2 + 1, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [3, 3],
    "torch" in importlib.metadata.packages_distributions(),
    diffusers.UNet2DConditionModel is sys.modules["{OF_DIFFUSERS[0]}"].UNet2DConditionModel,
    transformers.CLIPTextModel is sys.modules["{OF_TRANSFORMERS[0]}"].CLIPTextModel,
]))""")
    assert answer == [True, 5, True, True, True, True, True, True]


@pytest.mark.parametrize("missing", ["diffusers.of_another_version", "transformers.of_another_version"])
def test_nothing_is_kept_of_another_version_that_can_not_be_imported_so(missing: str) -> None:
    kind = "OF_DIFFUSERS" if missing.startswith("diffusers") else "OF_TRANSFORMERS"
    broken = SLIM.replace("imports.import_networks", f'imports.{kind} += ("{missing}",)\nimports.import_networks')
    left = ask(broken + "print(json.dumps([name for name in sys.modules if name.startswith(('diffusers', 'transf'))]))")
    assert left == []


def test_a_program_that_calls_a_command_keeps_its_own_imports(tree: dict[str, Any], nano: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree | {"model": {"path": str(nano)}}), "utf8")
    code = f"""
import json, sys
from tehon.cli.main import main
main(["train", {str(file)!r}, "--training.max_train_steps", "1", "--quiet"])
from diffusers.utils import is_peft_available, is_scipy_available
print(json.dumps([is_peft_available(), is_scipy_available()]))"""
    assert ask(code) == [True, True]
