"""Starting from a LoRA file: whether it fits the model and the settings, and which layers it brings. No torch.

The file's change to the model means the same after loading: the trainer turns its tensors to the run's own alpha, so
that the same picture comes out, and learning goes on at the strength that the settings say.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from tehon.catalog.header import read_header, read_scalars
from tehon.catalog.kinds import LORA_LIKE, as_expected, check_layer, kind_of, rank_of
from tehon.catalog.layers import OUTSIDE, Shapes
from tehon.catalog.lora_names import check_matched, layer_place, not_a_lora
from tehon.catalog.model import Model
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, raise_all
from tehon.planning.blocks import rate_weights
from tehon.planning.modules import PlannedModule, module_on, target_layers, wanted
from tehon.settings.network import NetworkSettings
from tehon.settings.settings import Settings

_FIELD = "network.weights"


@dataclass(frozen=True)
class StartFile:
    """A LoRA file to start from: {layer name: {tensor: shape}} and {layer name: alpha}, where it says one."""

    path: Path
    layers: dict[str, Shapes]
    alphas: dict[str, float]


def read_start(network: NetworkSettings) -> StartFile | None:
    """The file of `network.weights`; a Problem when it is none, or holds another kind of network than is trained."""
    if not network.weights:
        return None
    path = Path(network.weights)
    header = read_header(path)
    layers = header.layers()
    kinds = {kind_of(tensors) for tensors in layers.values()}
    own = "lora" if network.kind in LORA_LIKE else network.kind
    dora = any("dora_scale" in tensors for tensors in layers.values())
    if not layers or kinds == {None}:
        raise not_a_lora(path, header.shapes)
    if dora and kinds.isdisjoint(LORA_LIKE):  # no network.dora would help
        name = next(name for name, tensors in layers.items() if "dora_scale" in tensors)
        raise Problem("lora_dora_kind", path=path, name=name, kind=kind_of(layers[name]) or "?")
    if kinds != {own} or dora != network.dora:
        found = _named(", ".join(sorted(kind or "?" for kind in kinds)), dora)
        raise Problem(
            "weights_other_kind", field=_FIELD, path=path, found=found, kind=_named(network.kind, network.dora)
        )
    alphas = read_scalars(path, header, [f"{name}.alpha" for name, row in layers.items() if "alpha" in row])
    return StartFile(path, layers, {name.removesuffix(".alpha"): alpha for name, alpha in alphas.items()})


def _named(kind: str, dora: bool) -> str:
    return f"{kind} + DoRA" if dora else kind


def check_start(start: StartFile, settings: Settings, modules: tuple[PlannedModule, ...]) -> None:
    """Problems when the file would be overwritten, or its layers are not those that the settings ask for."""
    problems: list[Problem] = []
    output = Path(settings.output.folder) / f"{settings.output.name}.safetensors"
    if output.exists() and output.samefile(start.path):
        problems.append(Problem("weights_overwritten", field="output.name", path=output))
    for module in modules:
        tensors = start.layers.get(module.name)
        if tensors is not None and {**tensors, "alpha": ()} != {**_in_files(module), "alpha": ()}:
            rank = rank_of(tensors) or "?"
            row = {"name": module.name, "rank": rank, "wanted": module.rank}
            problems.append(Problem("weights_other_rank", field=_FIELD, path=start.path, **row))
            break
    raise_all(problems)


def _in_files(module: PlannedModule) -> Shapes:
    return {name: shape for name, shape in module.tensors.items() if name != "scalar"}


def modules_of_file(
    start: StartFile, settings: Settings, model: Model, rates: dict[str, float]
) -> tuple[PlannedModule, ...]:
    """The modules as the file has them, with its ranks and alphas; block factors are the settings' own."""
    network = settings.network
    factors = rate_weights(network, model.family.blocks)
    found: list[PlannedModule] = []
    for module in all_targets(model):
        tensors = start.layers.get(module.name)
        if module.root not in rates or tensors is None or not wanted(network, module.path):
            continue
        rank = rank_of(tensors) or network.rank
        factor = 1.0 if module.block is None else factors[module.block]
        alpha = start.alphas.get(module.name, float(rank))
        if network.kind == "dylora" and rank % network.unit:
            raise Problem("unit_not_divisor", field="network.unit", unit=network.unit, rank=rank)
        if factor:
            own: Shapes = {"alpha": (), **tensors} | ({"scalar": (1,)} if network.use_scalar else {})
            found.append(replace(module, rank=rank, alpha=alpha, tensors=own, factor=factor))
    if not found:
        raise Problem("no_modules", field=_FIELD)
    return tuple(found)


def fitted(start: StartFile, model: Model) -> StartFile:
    """The file with its shapes as the model has them; a Problem when a layer has another size there, or is not there.

    Layers outside the networks' targets, as LyCORIS trains them with the preset full, stay as they are.
    """
    targets = {module.name: module for module in all_targets(model)}
    strange = [name for name in start.layers if name not in targets and not _is_outside(name)]
    check_matched(start.path, start.layers, strange)
    layers = dict(start.layers)
    for name in start.layers.keys() & targets.keys():
        shape = targets[name].shape
        layers[name] = as_expected(layers[name], shape)
        check_layer(start.path, name, layers[name], shape)
    return replace(start, layers=layers)


def _is_outside(name: str) -> bool:
    place = layer_place(name)
    return place is not None and place.path in OUTSIDE


def all_targets(model: Model) -> list[PlannedModule]:
    """A module without rank on every layer that any network of the family can train."""
    rows = target_layers(model)
    return [module_on(model.family, root, row) for root, layers in rows.items() for row in layers]


def start_notices(start: StartFile, settings: Settings, modules: tuple[PlannedModule, ...]) -> list[str]:
    """What the file does not bring, and what of it is left out."""
    names = {module.name for module in modules}
    found: list[str] = []
    if settings.network.dim_from_weights:
        found.append(say("notice.rank_from_weights", path=start.path))
    fresh = len(names - start.layers.keys())
    if fresh:
        found.append(say("notice.weights_partial", path=start.path, count=fresh, total=len(names)))
    dropped = len(start.layers.keys() - names)
    if dropped:
        found.append(say("notice.weights_left_out", path=start.path, count=dropped, total=len(start.layers)))
    return found
