"""LoRAs of every kind with drawn numbers, for the tiny models of every family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tehon.catalog.detect import find_networks
from tehon.catalog.kinds import Form, ia3_on_input, tensor_shapes
from tehon.catalog.model import Model
from tehon.planning.modules import module_on, target_layers
from tehon.surgery.fitting import change
from tehon.weights.lora_file import write_lora

FORMS: dict[str, tuple[str, Form]] = {
    "lora": ("lora", Form()),
    "tucker": ("locon", Form(tucker=True)),
    "loha": ("loha", Form()),
    "lokr": ("lokr", Form(factor=4)),
    "dora": ("lora", Form(dora="output")),
    "dora_input": ("lora", Form(dora="input")),
    "ia3": ("ia3", Form()),
}
Draw = Callable[..., Path]


def drawn(kind: str, form: Form, shape: tuple[int, ...], path: str, rank: int) -> dict[str, Tensor]:
    """The tensors of a layer; none where the kind leaves it alone."""
    on_input = ia3_on_input(path)
    if kind == "ia3" and on_input is None:
        return {}
    own = Form(form.dora, form.tucker, False, form.factor, on_input=bool(on_input))
    sizes = tensor_shapes(kind, shape, rank, own)
    found = {name: 0.3 * torch.randn(size) for name, size in sizes.items() if size}
    if "dora_scale" in found:
        found["dora_scale"] = 0.5 + found["dora_scale"].abs()
    if kind == "ia3":
        return {"weight": 0.3 * found["weight"], "on_input": torch.tensor(float(bool(on_input)))}
    found["alpha"] = torch.tensor(rank / 2)
    # So that each layer's change is a tenth of a usual weight, whatever its size and kind.
    plain = {key: tensor for key, tensor in found.items() if key != "dora_scale"}
    size = float(change(torch.zeros(shape), plain, path, Path()).norm())
    first = next(key for key in ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a") if key in found)
    found[first] *= 0.1 * (shape[0] / 3) ** 0.5 / size
    return found


@pytest.fixture(scope="session")
def drawn_loras() -> dict[tuple[Any, ...], tuple[dict[str, Tensor], dict[str, str]]]:
    """What was drawn once, for all tests that ask for the same."""
    return {}


@pytest.fixture
def draw(tmp_path: Path, drawn_loras: dict[tuple[Any, ...], Any]) -> Draw:
    """draw(model, "lora", rank=4, conv=True, seed=0): a LoRA file on the layers of a model."""

    def make(
        model: Model, kind: str = "lora", *, rank: int = 4, conv: bool = True, seed: int = 0, precision: str = "float"
    ) -> Path:
        key = (model.family.name, kind, rank, conv, seed)
        if key not in drawn_loras:
            drawn_loras[key] = layers_of(*key, model)
        tensors, metadata = drawn_loras[key]
        file = tmp_path / f"{model.family.name}-{kind}-{rank}-{seed}.safetensors"
        write_lora(file, tensors, metadata, precision)
        return file

    return make


def layers_of(
    family: str, kind: str, rank: int, conv: bool, seed: int, model: Model
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a LoRA on all layers of a model, or on those of its transformers."""
    torch.manual_seed(seed)
    name, form = FORMS[kind]
    tensors: dict[str, Tensor] = {}
    for root, rows in target_layers(model).items():
        for row in rows:
            if conv or row.place == "attention":
                module = module_on(model.family, root, row)
                own = drawn(name, form, row.shape, row.path, rank)
                tensors |= {f"{module.name}.{key}": tensor for key, tensor in own.items()}
    version = model.family.labels["epsilon"].base_version
    return tensors, {"ss_base_model_version": version, "ss_network_dim": str(rank), "ss_output_name": "猫"}


@pytest.fixture
def networks_of(models: Callable[[str, str], Path]) -> Callable[[str, str], Model]:
    """networks_of("sd1", "folder"): a tiny model, found."""
    return lambda family, kind: find_networks(str(models(family, kind)))


@pytest.fixture
def outputs() -> Callable[[Any, Model], list[Tensor]]:
    """What the networks of a loaded model say to the same drawn inputs: U-Net, then text encoders."""

    @torch.no_grad()
    def compute(parts: Any, model: Model) -> list[Tensor]:
        draw = torch.Generator().manual_seed(3)
        unet = model.configs["unet"]
        told: dict[str, Any] = {}
        if unet.get("addition_embed_type"):
            wide = model.configs["text_encoder_2"]["projection_dim"]
            told = {
                "text_embeds": torch.randn(2, wide, generator=draw).double(),
                "time_ids": torch.full((2, 6), 64.0),
            }
        noisy = torch.randn(2, 4, 8, 8, generator=draw).double()
        states = torch.randn(2, 5, unet["cross_attention_dim"], generator=draw).double()
        found = [parts.unet(noisy, torch.tensor([10, 700]), states, added_cond_kwargs=told or None).sample]
        words = torch.randint(0, 1000, (2, 12), generator=draw)
        for part in model.family.text_encoders:
            found.append(getattr(parts, part)(words, output_hidden_states=True).hidden_states[-1])
        return found

    return compute
