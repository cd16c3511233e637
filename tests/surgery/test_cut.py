import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tehon.adapters.adapter import in_file
from tehon.adapters.chance import Chance, Moment
from tehon.adapters.kinds import Training, build
from tehon.adapters.restraint import Restraint
from tehon.catalog.header import read_header
from tehon.cli.main import main
from tehon.surgery.cut import cut_ranks
from tehon.weights.lora_file import read_lora, write_lora


def test_every_cut_is_what_was_trained_at_that_rank() -> None:
    """As other programs read it, with the cut file's own alpha / rank, and on what DyLoRA computed when it drew it."""
    torch.manual_seed(0)
    layer, moment = nn.Linear(12, 10).requires_grad_(False), Moment()
    shapes = {"lora_down.weight": (8, 12), "lora_up.weight": (10, 8)}
    adapter = build(layer, shapes, 4.0, Restraint(Chance(moment, "x")), Training(unit=1))
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
    adapter.sort()  # type: ignore[attr-defined]
    rows = {"x": in_file(adapter)}
    x = torch.randn(5, 12)
    for rank in range(1, 9):
        moment.begin(1, torch.tensor([1]), share=rank / 8)
        cut = cut_ranks(rows, rank)["x"]
        assert cut["lora_down.weight"].shape == (rank, 12)
        scale = float(cut["alpha"]) / rank
        read = layer(x) + scale * (x @ cut["lora_down.weight"].T @ cut["lora_up.weight"].T)
        assert torch.allclose(adapter.forward(x), read, atol=1e-5)


def test_layers_of_a_smaller_rank_stay_whole() -> None:
    row = {"lora_down.weight": torch.randn(2, 3), "lora_up.weight": torch.randn(3, 2), "alpha": torch.tensor(1.0)}
    cut = cut_ranks({"x": row}, 4)["x"]
    assert all(torch.equal(cut[name], tensor) for name, tensor in row.items())


def lora(file: Path, **more: torch.Tensor) -> Path:
    rows = {"lora_down.weight": torch.randn(8, 3), "lora_up.weight": torch.randn(3, 8), "alpha": torch.tensor(4.0)}
    tensors = {f"lora_unet_x.{name}": tensor for name, tensor in (rows | more).items()}
    write_lora(file, tensors, {"ss_network_dim": "8", "ss_network_alpha": "4.0", "ss_seed": "7"}, "fp16")
    return file


def test_the_command_writes_a_smaller_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lora(tmp_path / "mofu.safetensors")
    assert main(["cut", str(file), "2"]) == 0
    out = Path(capsys.readouterr().out.strip())
    assert out == tmp_path / "mofu-rank2.safetensors"
    rows, before = read_lora(out)["lora_unet_x"], read_lora(file)["lora_unet_x"]
    assert torch.equal(rows["lora_down.weight"], before["lora_down.weight"][:2])
    assert float(rows["alpha"]) == 1.0
    header = read_header(out)
    assert set(header.dtypes.values()) == {"F16"}
    kept = {key: header.metadata[key] for key in ("ss_network_dim", "ss_network_alpha", "ss_seed")}
    assert kept == {"ss_network_dim": "2", "ss_network_alpha": "1.0", "ss_seed": "7"}
    assert header.metadata["sshs_model_hash"] != read_header(file).metadata["sshs_model_hash"]
    assert main(["cut", str(file), "2"]) == 2
    assert "is already there" in capsys.readouterr().err
    assert main(["cut", str(file), "3", "-o", str(out), "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "layers": 1, "ranks": [3]}
    assert main(["cut", str(file), "3", "-o", str(tmp_path / "x.ckpt")]) == 2
    assert "does not end in .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("rank", ["0", "8", "99"])
def test_ranks_that_are_not_smaller_are_refused(tmp_path: Path, rank: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cut", str(lora(tmp_path / "x.safetensors")), rank]) == 2
    assert (
        f"the rank {rank} cannot be cut out of a file of rank 8; give a number from 1 to 7" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("name", "shape"), [("lora_mid.weight", (8, 8, 3, 3)), ("dora_scale", (3, 1))])
def test_other_kinds_are_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    file = lora(tmp_path / "x.safetensors", **{name: torch.ones(shape)})
    assert main(["cut", str(file), "2"]) == 2
    assert "is no plain LoRA" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "args", "cut"),
    [
        ("networks.lora", "{}", False),
        ("lycoris.kohya", '{"algo": "locon"}', False),
        ("networks.dylora", '{"unit": "1"}', True),
        ("lycoris.kohya", '{"algo": "dylora"}', True),
    ],
)
def test_ranks_that_are_in_no_order_are_not_cut(
    module: str, args: str, cut: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lora(tmp_path / "x.safetensors")
    told = read_header(file).metadata | {"ss_network_module": module, "ss_network_args": args}
    write_lora(file, load_file(file), told, "fp16")
    assert main(["cut", str(file), "2"]) == (0 if cut else 2)
    assert ("make it smaller with tehon resize FILE --rank 2." in capsys.readouterr().err) is not cut
    assert (tmp_path / "x-rank2.safetensors").exists() is cut


@pytest.mark.parametrize(("command", "comment"), [("cut", None), ("resize --rank", "resized to 2")])
def test_what_the_metadata_say_of_the_layers_is_true(command: str, comment: str | None, tmp_path: Path) -> None:
    """kohya's conv_dim is the rank of kernels above 1x1, network_dim that of all others."""
    file, out = tmp_path / "x.safetensors", tmp_path / "out.safetensors"
    tensors: dict[str, torch.Tensor] = {}
    for name, rank, kernel in (("proj_in", 8, (1, 1)), ("proj_out", 4, (3, 3))):
        start = f"lora_unet_mid_block_attentions_0_{name}"
        tensors[f"{start}.lora_down.weight"] = torch.randn(rank, 6, *kernel)
        tensors[f"{start}.lora_up.weight"] = torch.randn(6, rank, 1, 1)
        tensors[f"{start}.alpha"] = torch.tensor(rank / 2)
    args = {"conv_dim": "4", "conv_alpha": "2.0", "block_dims": "8,8", "dropout": "0.1"}
    write_lora(file, tensors, {"ss_network_dim": "8", "ss_network_args": json.dumps(args)}, "float")
    assert (
        main([*command.replace("cut", f"cut {file}").replace("resize", f"resize {file}").split(), "2", "-o", str(out)])
        == 0
    )
    told = read_header(out).metadata
    assert (told["ss_network_dim"], told["ss_network_alpha"]) == ("2", "1.0")
    assert json.loads(told["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.0", "dropout": "0.1"}
    assert told.get("ss_training_comment") == comment
