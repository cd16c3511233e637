"""The optimizers that can be chosen by name, one row each: where the class is, and what is special about it.

>>> OPTIMIZERS[optimizer_name("adamw8BIT")].package
'bitsandbytes'
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

# Kinds of values of an optimizer's arguments: a number, a switch, or so many numbers in brackets.
NUMBER, SWITCH, TWO, THREE = "number", "switch", "two numbers", "three numbers"

_ADAM = {"betas": TWO, "eps": NUMBER, "weight_decay": NUMBER}
_BITS = {"min_8bit_size": NUMBER}
_GROWTH = {"growth_rate": NUMBER}


@dataclass(frozen=True)
class OptimizerRow:
    """`path` is the class's import path, `told` the one that LoRA files name where that is another; `package` has to be
    installed for it, None for what tehon needs anyway.

    `flat`: works on each weight by itself, so that all weights can be one vector. `rate_free`: finds its own rate, of
    which the learning rate is a factor, 1 as a rule, and the same for all weights. `schedule_free`: needs no schedule,
    and keeps two sets of weights, one to train and one to use.

    `memory`: the bytes that it remembers for each weight. `factored`: how often it keeps, beside that, the sums of the
    rows and of the columns in place of a whole tensor.
    """

    path: str
    package: str | None = None
    flat: bool = False
    rate_free: bool = False
    schedule_free: bool = False
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    fixed: dict[str, float | bool] = field(default_factory=dict[str, float | bool])
    told: str = ""
    memory: float = 8.0
    factored: int = 0

    def remembers(self, shapes: Iterable[Sequence[int]]) -> float:
        """The bytes that it remembers of weights in tensors of these shapes."""
        every = list(shapes)
        sums = sum(prod(shape[:-1]) + prod(shape[:-2]) * shape[-1] for shape in every if len(shape) > 1)
        return self.memory * sum(map(prod, every)) + self.factored * 4 * sums


def _bits(name: str, arguments: dict[str, str], **fixed: float | bool) -> OptimizerRow:
    means = {"adamw": 2, "ademamix": 3, "lion": 1, "sgd": 1}  # of each weight
    module = next(module for module in means if module in name.lower())
    path = f"bitsandbytes.optim.{module}.{name}"
    each = 1 + 4 / 256 if "8bit" in name else 4  # with a scale for each 256 numbers
    return OptimizerRow(path, "bitsandbytes", True, arguments=arguments, fixed=fixed, memory=means[module] * each)


def _d_adapt(name: str, arguments: dict[str, str], memory: float = 12.0) -> OptimizerRow:
    shared = {"d0": NUMBER, "weight_decay": NUMBER}
    path = f"dadaptation.{name}"
    return OptimizerRow(path, "dadaptation", rate_free=True, arguments=shared | arguments, memory=memory)


_PREPRINT = _d_adapt("experimental.DAdaptAdamPreprint", _ADAM | _GROWTH | {"decouple": SWITCH})
_SCHEDULE_FREE = {"r": NUMBER, "weight_lr_power": NUMBER, "weight_decay": NUMBER, "eps": NUMBER}

OPTIMIZERS = {
    "AdamW": OptimizerRow("tehon.training.adamw.AdamW", flat=True, arguments=_ADAM, told="torch.optim.adamw.AdamW"),
    "AdamW8bit": _bits("AdamW8bit", _ADAM | _BITS),
    "PagedAdamW": _bits("PagedAdamW", _ADAM),
    "PagedAdamW8bit": _bits("PagedAdamW8bit", _ADAM | _BITS),
    "PagedAdamW32bit": _bits("PagedAdamW32bit", _ADAM),
    "AdEMAMix8bit": _bits("AdEMAMix8bit", {**_ADAM, "betas": THREE, "alpha": NUMBER} | _BITS),
    "PagedAdEMAMix8bit": _bits("PagedAdEMAMix8bit", {**_ADAM, "betas": THREE, "alpha": NUMBER} | _BITS),
    "Lion": OptimizerRow(
        "pytorch_optimizer.Lion",
        "pytorch-optimizer",
        True,
        arguments={"betas": TWO, "weight_decay": NUMBER},
        memory=4.0,
    ),
    "Lion8bit": _bits("Lion8bit", {"betas": TWO, "weight_decay": NUMBER} | _BITS),
    "PagedLion8bit": _bits("PagedLion8bit", {"betas": TWO, "weight_decay": NUMBER} | _BITS),
    "SGDNesterov": OptimizerRow(
        "torch.optim.SGD",
        flat=True,
        arguments={"momentum": NUMBER, "weight_decay": NUMBER},
        fixed={"nesterov": True, "momentum": 0.9},
        memory=4.0,
    ),
    "SGDNesterov8bit": _bits(
        "SGD8bit", {"momentum": NUMBER, "weight_decay": NUMBER} | _BITS, nesterov=True, momentum=0.9
    ),
    "Adafactor": OptimizerRow(
        "transformers.optimization.Adafactor",
        arguments={
            "eps": TWO,
            "clip_threshold": NUMBER,
            "decay_rate": NUMBER,
            "beta1": NUMBER,
            "weight_decay": NUMBER,
            "scale_parameter": SWITCH,
            "relative_step": SWITCH,
            "warmup_init": SWITCH,
        },
        # Its own rates are planned as a schedule, so that the plan can show them.
        fixed={"relative_step": False, "warmup_init": False},
        memory=0.0,
        factored=1,
    ),
    "DAdaptation": _PREPRINT,
    "DAdaptAdamPreprint": _PREPRINT,
    "DAdaptAdam": _d_adapt("DAdaptAdam", _ADAM | _GROWTH | {"decouple": SWITCH, "use_bias_correction": SWITCH}),
    "DAdaptAdaGrad": _d_adapt("DAdaptAdaGrad", _GROWTH | {"momentum": NUMBER, "eps": NUMBER}),
    "DAdaptAdan": _d_adapt("DAdaptAdan", _GROWTH | {"betas": THREE, "eps": NUMBER, "no_prox": SWITCH}, 20.0),
    "DAdaptAdanIP": _d_adapt(
        "experimental.DAdaptAdanIP", _GROWTH | {"betas": THREE, "eps": NUMBER, "no_prox": SWITCH}, 20.0
    ),
    "DAdaptLion": _d_adapt("DAdaptLion", {"betas": TWO}, 8.0),
    "DAdaptSGD": _d_adapt("DAdaptSGD", _GROWTH | {"momentum": NUMBER}),
    "Prodigy": OptimizerRow(
        "pytorch_optimizer.Prodigy",
        "pytorch-optimizer",
        rate_free=True,
        arguments=_ADAM
        | {"beta3": NUMBER, "d0": NUMBER, "d_coef": NUMBER, "growth_rate": NUMBER}
        | {"weight_decouple": SWITCH, "bias_correction": SWITCH, "safeguard_warmup": SWITCH},
        memory=16.0,
    ),
    "ProdigyPlusScheduleFree": OptimizerRow(
        "prodigyplus.ProdigyPlusScheduleFree",
        "prodigy-plus-schedule-free",
        rate_free=True,
        schedule_free=True,
        arguments=_ADAM
        | {"beta3": NUMBER, "d0": NUMBER, "d_coef": NUMBER, "prodigy_steps": NUMBER, "schedulefree_c": NUMBER}
        | {"d_limiter": SWITCH, "factored": SWITCH, "use_bias_correction": SWITCH, "use_stableadamw": SWITCH}
        | {"use_schedulefree": SWITCH, "use_speed": SWITCH, "use_cautious": SWITCH, "use_grams": SWITCH}
        | {"use_adopt": SWITCH, "use_orthograd": SWITCH, "use_focus": SWITCH, "weight_decay_by_lr": SWITCH},
        # Its own rounding draws random numbers that no saved state holds; one rate estimate serves all parts.
        fixed={"stochastic_rounding": False, "split_groups": False},
        memory=4.6,  # it factors in a way of its own, and looks at every eleventh number for its rate
    ),
    "AdamWScheduleFree": OptimizerRow(
        "pytorch_optimizer.ScheduleFreeAdamW",
        "pytorch-optimizer",
        True,
        schedule_free=True,
        arguments=_SCHEDULE_FREE | {"betas": TWO},
    ),
    "RAdamScheduleFree": OptimizerRow(
        "pytorch_optimizer.ScheduleFreeRAdam",
        "pytorch-optimizer",
        True,
        schedule_free=True,
        arguments=_SCHEDULE_FREE | {"betas": TWO, "silent_sgd_phase": SWITCH},
    ),
    "SGDScheduleFree": OptimizerRow(
        "pytorch_optimizer.ScheduleFreeSGD",
        "pytorch-optimizer",
        True,
        schedule_free=True,
        arguments=_SCHEDULE_FREE | {"momentum": NUMBER},
        memory=4.0,
    ),
    "CAME": OptimizerRow(
        "pytorch_optimizer.CAME",
        "pytorch-optimizer",
        arguments={"betas": THREE, "eps1": NUMBER, "eps2": NUMBER, "clip_threshold": NUMBER, "weight_decay": NUMBER},
        memory=4.0,
        factored=2,
    ),
}


def optimizer_name(wanted: str) -> str | None:
    """The name as the table has it, whatever its case, or an import path as it is; None for neither."""
    known = {name.lower(): name for name in OPTIMIZERS}
    if wanted.lower() in known:
        return known[wanted.lower()]
    return wanted if "." in wanted and all(part.isidentifier() for part in wanted.split(".")) else None


def optimizer_row(name: str) -> OptimizerRow:
    """The row of a name that `optimizer_name` gave. A class of one's own gets the safe choices."""
    return OPTIMIZERS.get(name) or OptimizerRow(name, name.partition(".")[0])
