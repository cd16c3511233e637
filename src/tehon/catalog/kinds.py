"""The kinds of networks: what a file of each holds for one layer, and which settings it heeds.

Tensor names and shapes are those of sd-scripts' networks.lora and of LyCORIS, which A1111, Forge and ComfyUI read.

>>> tensor_shapes("lora", (320, 768), 8)
{'alpha': (), 'lora_down.weight': (8, 768), 'lora_up.weight': (320, 8)}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tehon.catalog.layers import Shape, Shapes
from tehon.messages.problem import Problem

LORA_LIKE = frozenset(("lora", "locon", "dylora", "lora_fa"))


@dataclass(frozen=True)
class NetworkKind:
    """`heeds` are the settings of [network] that mean something for this kind, beyond those that every kind heeds.

    `module` and `algorithm` are the names that kohya's and LyCORIS' own files carry in their metadata.
    """

    heeds: frozenset[str]
    module: str = "lycoris.kohya"
    algorithm: str = ""


_RANKED = frozenset(("rank", "alpha", "rs_lora", "block_dims", "block_alphas", "weights", "dim_from_weights"))
_CONV = frozenset(("conv_rank", "conv_alpha", "conv_block_dims", "conv_block_alphas"))
_NARROW = frozenset(("dropout",))
_LORA_PLUS = frozenset(("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"))
_FULL = _RANKED | _CONV | frozenset(("scale_weight_norms",))
_PLAIN = _FULL | _NARROW | _LORA_PLUS | frozenset(("init", "rank_dropout", "dora", "dora_side", "tucker", "use_scalar"))

KINDS = {
    "lora": NetworkKind(_PLAIN, "networks.lora", "lora"),
    "locon": NetworkKind(_PLAIN, "networks.lora", "locon"),
    "loha": NetworkKind(_FULL | {"rank_dropout", "tucker", "use_scalar"}, algorithm="loha"),
    "lokr": NetworkKind(
        _FULL | _NARROW | {"rank_dropout", "tucker", "use_scalar", "factor", "decompose_both", "full_matrix"},
        algorithm="lokr",
    ),
    "dylora": NetworkKind(_FULL | _NARROW | _LORA_PLUS | {"init", "unit"}, "networks.dylora"),
    "lora_fa": NetworkKind(_FULL | _NARROW | {"init", "rank_dropout"}, "networks.lora_fa"),
    "ia3": NetworkKind(frozenset(("scale_weight_norms", "weights")), algorithm="ia3"),
}
FAST = frozenset(("lora_up.weight",))
"""The tensors that LoRA+ lets learn faster: those that start at zero (arXiv 2402.12354)."""
_OWN = frozenset(
    (
        *("lora_down.weight", "lora_mid.weight", "lora_up.weight", "on_input"),
        *(f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
        *(f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    )
)
"""The tensors by which a layer's kind and shape are told."""
LENGTHS = frozenset(("dora_scale",))
"""The tensors that weight decay spares: zero is not the model as it was, but a model without its weights."""
TAKES_STRENGTH = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""The tensors that are scaled when a file's alpha / rank is turned into another; a layer has one of them."""
HEEDED_BY_SOME = frozenset[str]().union(*(kind.heeds for kind in KINDS.values()))
LOCON_IN_LYCORIS = frozenset(("dora", "tucker", "rs_lora", "use_scalar"))
"""Options of LoRA that sd-scripts' own module lacks, so that a file with them names LyCORIS as its module."""

# (IA)³ scales keys, values and the inner features of the feed-forward (arXiv 2205.05638, section 3.3). The last are the
# input of the layer behind them.
_IA3_OUTPUTS = ("to_k", "to_v", "k_proj", "v_proj")
_IA3_INPUTS = ("ff.net.2", "mlp.fc2")


def ia3_on_input(path: str) -> bool | None:
    """Whether (IA)³ scales what goes into a layer or what comes out of it; None for layers that it leaves alone."""
    if path.endswith(_IA3_INPUTS):
        return True
    return False if path.endswith(_IA3_OUTPUTS) else None


def factor_pair(size: int, factor: int = -1) -> tuple[int, int]:
    """LoKr's split of a size into (small, large) factors, as LyCORIS makes it.

    A factor that divides the size is taken, whichever of the two it is; otherwise the most even pair whose small factor
    is not above `factor`. -1: the most even pair of all.

    >>> factor_pair(320), factor_pair(320, 8), factor_pair(360, 16)
    ((16, 20), (8, 40), (15, 24))
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = size if factor < 0 else factor
    small = max(n for n in range(1, int(size**0.5) + 1) if size % n == 0 and n <= limit)
    return small, size // small


@dataclass(frozen=True)
class Form:
    """The options of a network that decide which tensors a layer has."""

    dora: str = ""
    """The side whose lengths are trained, "output" or "input"; empty without DoRA."""

    tucker: bool = False
    scalar: bool = False
    """A factor is trained beside the tensors; files don't show it."""

    factor: int = -1
    decompose_both: bool = False
    full_matrix: bool = False
    on_input: bool = False


def tensor_shapes(kind: str, shape: Shape, rank: int, form: Form | None = None) -> Shapes:
    """{tensor name: shape} of a layer with a weight of the given shape: (out, in) or (out, in, kh, kw)."""
    form = form or Form()
    return _in_file(kind, shape, rank, form) | ({"scalar": (1,)} if form.scalar else {})


def _in_file(kind: str, shape: Shape, rank: int, form: Form) -> Shapes:
    tucker = form.tucker and prod(shape[2:]) > 1
    if kind in LORA_LIKE:
        return {"alpha": (), **_lora(shape, rank, tucker), **_dora(shape, form.dora)}
    if kind == "loha":
        return {"alpha": (), **_loha(shape, rank, tucker)}
    if kind == "lokr":
        return {"alpha": (), **_lokr(shape, rank, tucker, form)}
    assert kind == "ia3", kind
    scaled = shape[1] if form.on_input else shape[0]
    return {"weight": (scaled,) if len(shape) == 2 else (1, scaled, 1, 1), "on_input": ()}


def _lora(shape: Shape, rank: int, tucker: bool) -> Shapes:
    out, wide, *kernel = shape
    if tucker:
        return {
            "lora_down.weight": (rank, wide, 1, 1),
            "lora_mid.weight": (rank, rank, *kernel),
            "lora_up.weight": (out, rank, 1, 1),
        }
    return {"lora_down.weight": (rank, wide, *kernel), "lora_up.weight": (out, rank, *(1 for _ in kernel))}


def _dora(shape: Shape, side: str) -> Shapes:
    """One length for each output or input; see `tehon.adapters.dora`."""
    out, wide, *kernel = shape
    ones = [1 for _ in kernel]
    return {"output": {"dora_scale": (out, 1, *ones)}, "input": {"dora_scale": (1, wide, *ones)}}.get(side, {})


def dora_side(tensors: Mapping[str, Shape]) -> str:
    """Whose lengths a layer's tensors hold; readers go by the first number, so it is an output's if they are equal."""
    if "dora_scale" not in tensors:
        return ""
    return "output" if tensors["dora_scale"][:1] == tensors.get("lora_up.weight", ())[:1] else "input"


def _loha(shape: Shape, rank: int, tucker: bool) -> Shapes:
    out, wide, *kernel = shape
    found: Shapes = {}
    for n in (1, 2):
        if tucker:
            found |= {f"hada_t{n}": (rank, rank, *kernel)}
            found |= {f"hada_w{n}_a": (rank, out), f"hada_w{n}_b": (rank, wide)}
        else:
            found |= {f"hada_w{n}_a": (out, rank), f"hada_w{n}_b": (rank, wide * prod(kernel))}
    return found


def _lokr(shape: Shape, rank: int, tucker: bool, form: Form) -> Shapes:
    (o1, o2), (i1, i2) = factor_pair(shape[0], form.factor), factor_pair(shape[1], form.factor)
    thin_1 = form.decompose_both and rank < max(o1, i1) / 2 and not form.full_matrix
    thin_2 = rank < max(o2, i2) / 2 and not form.full_matrix
    return _lokr_tensors(((o1, o2), (i1, i2)), shape[2:], rank, thin_1, thin_2, tucker)


def _lokr_tensors(
    pairs: tuple[Shape, Shape], kernel: Shape, rank: int, thin_1: bool, thin_2: bool, tucker: bool
) -> Shapes:
    """LoKr's tensors for (small, large) factors of outputs and inputs; a thin factor is the product of two."""
    (o1, o2), (i1, i2) = pairs
    first: Shapes = {"lokr_w1_a": (o1, rank), "lokr_w1_b": (rank, i1)} if thin_1 else {"lokr_w1": (o1, i1)}
    if not thin_2:
        return first | {"lokr_w2": (o2, i2, *kernel)}
    if tucker:
        return first | {"lokr_t2": (rank, rank, *kernel), "lokr_w2_a": (rank, o2), "lokr_w2_b": (rank, i2)}
    return first | {"lokr_w2_a": (o2, rank), "lokr_w2_b": (rank, i2 * prod(kernel))}


def stored_alpha(tensors: Shapes, rank: int, alpha: float) -> float:
    """The alpha that a file says for a layer. Where LoKr keeps both factors whole there is no rank to divide by, and
    programs that read the file take the strength 1, whatever its alpha is."""
    return float(rank) if "lokr_w1" in tensors and "lokr_w2" in tensors else alpha


def kind_of(names: Iterable[str]) -> str | None:
    """The kind of adapter whose tensors have these names in a file; None for one that is not known here."""
    marks = {"lora_down.weight": "lora", "hada_w1_a": "loha", "lokr_w1": "lokr", "lokr_w1_a": "lokr", "on_input": "ia3"}
    return next((kind for name in names if (kind := marks.get(name))), None)


def rank_of(tensors: Mapping[str, Shape]) -> int | None:
    """The rank that the shapes of a layer's tensors tell; None where they hold no rank."""
    for name in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if tensors.get(name):
            return tensors[name][0]
    return None


def weight_shape(tensors: Mapping[str, Shape]) -> Shape:
    """The shape of the weight that a whole layer's tensors change. A kernel that they don't tell is laid flat; what
    (IA)³ does not scale is taken to be as many as what it does. KeyError or IndexError for what is no whole layer."""
    if "lora_down.weight" in tensors:
        up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
        return up[0], down[1], *tensors.get("lora_mid.weight", down)[2:]
    if "hada_t1" in tensors:
        return tensors["hada_w1_a"][1], tensors["hada_w1_b"][1], *tensors["hada_t1"][2:]
    if "hada_w1_a" in tensors:
        return tensors["hada_w1_a"][0], tensors["hada_w1_b"][1]
    if "on_input" in tensors:
        weight = tensors["weight"]
        return (weight[0], weight[0]) if len(weight) == 1 else (weight[1], weight[1], 1, 1)
    one = tensors.get("lokr_w1") or (tensors["lokr_w1_a"][0], tensors["lokr_w1_b"][1])
    if "lokr_w2" in tensors:
        two = tensors["lokr_w2"]
    elif "lokr_t2" in tensors:
        two = tensors["lokr_w2_a"][1], tensors["lokr_w2_b"][1], *tensors["lokr_t2"][2:]
    else:
        two = tensors["lokr_w2_a"][0], tensors["lokr_w2_b"][1]
    return one[0] * two[0], one[1] * two[1], *two[2:]


def fits(kind: str, tensors: Mapping[str, Shape], shape: Shape) -> bool:
    """Whether tensors of these shapes are a whole adapter for a weight of that shape."""
    try:
        return _fits(kind, {name: size for name, size in tensors.items() if name != "alpha"}, shape)
    except (KeyError, IndexError, ZeroDivisionError):  # a tensor that belongs to the others is missing or misshapen
        return False


def check_layer(file: Path, name: str, tensors: Mapping[str, Shape], shape: Shape) -> None:
    """A Problem when a file's layer is no adapter that works here, or none for a weight of that shape."""
    kind = kind_of(tensors)
    if kind is None:
        raise Problem("lora_kind_unknown", path=file, name=name)
    if "dora_scale" in tensors and kind not in LORA_LIKE:
        raise Problem("lora_dora_kind", path=file, name=name, kind=kind)
    if "dora_scale" in tensors and "lora_mid.weight" in tensors:
        raise Problem("dora_tucker_file", path=file, name=name)
    if not fits(kind, tensors, shape):
        raise Problem("lora_shape", path=file, name=name)


def check_whole_layer(file: Path, name: str, tensors: Mapping[str, Shape]) -> None:
    """A Problem when a layer's tensors are no whole adapter of any weight: one is missing, they don't fit each other,
    or an alpha is not one number. Layers of kinds that are not known here pass, and tensors that are none of these."""
    own = {key: size for key, size in tensors.items() if key in _OWN or ("on_input" in tensors and key == "weight")}
    if not own:
        return
    kind = kind_of(own)
    if kind == "lora" and "dora_scale" in tensors and "lora_mid.weight" not in own:
        own["dora_scale"] = tensors["dora_scale"]
    try:
        shape = weight_shape(own)
        good = len(shape) in (2, 4) and all(map(prod, own.values())) and prod(tensors.get("alpha", ())) == 1
        good = good and kind is not None and fits(kind, as_expected(own, shape), shape)
    except (KeyError, IndexError, ValueError):
        good = False
    if not good:
        raise Problem("lora_layer_broken", path=file, name=name)


def as_expected(tensors: Mapping[str, Shape], shape: Shape) -> Shapes:
    """Shapes of a LoRA's tensors with the ones that their layer's weight has: some programs leave the kernel of 1x1
    out, or keep it for a Linear."""
    if "lora_down.weight" not in tensors:
        return dict(tensors)
    form = Form(dora_side(tensors), "lora_mid.weight" in tensors)
    wanted = tensor_shapes("lora", shape, tensors["lora_down.weight"][0], form)
    return {
        name: wanted[name] if name in wanted and prod(wanted[name]) == prod(size) else size
        for name, size in tensors.items()
    }


def _fits(kind: str, own: Shapes, shape: Shape) -> bool:
    if kind == "lokr":
        thin_1, thin_2 = "lokr_w1_a" in own, "lokr_w2_a" in own
        small = (own["lokr_w1_a"][0], own["lokr_w1_b"][1]) if thin_1 else own["lokr_w1"]
        pairs = (small[0], shape[0] // small[0]), (small[1], shape[1] // small[1])
        if (pairs[0][0] * pairs[0][1], pairs[1][0] * pairs[1][1]) != shape[:2]:
            return False
        return own == _lokr_tensors(pairs, shape[2:], rank_of(own) or 1, thin_1, thin_2, "lokr_t2" in own)
    if kind == "ia3":
        return any(own == tensor_shapes(kind, shape, 1, Form(on_input=way)) for way in (True, False))
    if "lora_mid.weight" in own and "dora_scale" in own:  # no program trains both, and readers differ on what it means
        return False
    form = Form(dora_side(own), "lora_mid.weight" in own or "hada_t1" in own)
    return {**own, "alpha": ()} == tensor_shapes(kind, shape, rank_of(own) or 0, form)
