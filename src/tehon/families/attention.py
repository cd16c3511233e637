"""Ways to compute attention, softmax(Q Kᵀ / √d) V, in a U-Net of diffusers: the same numbers, with more or less memory.

>>> use_attention(unet, "mem_eff_attn")
"""

import time
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tehon.loops.threads import share

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""From queries (n, heads, places, d), keys and values (n, heads, other places, d) and a bias that is added to the
products, broadcast to (n, heads, places, other places), to what is attended to, (n, heads, places, d)."""
AttendRows = Callable[[Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
"""The same for queries (n, places, heads d), keys, values and what is attended to, and the number of heads."""
Joined = Callable[[Tensor], tuple[Tensor, ...] | None]
"""Several layers as one function of their common input; None when they have to be asked one by one."""
_ALONE = 2**18  # multiplications of Q Kᵀ that one thread does sooner than it calls a second
_PRODUCTS = 2**24  # numbers of Q Kᵀ at a time: 64 MB in float32


def choose_attention(wanted: str, device: torch.device, dtype: torch.dtype) -> str:
    """The way that is wanted; for "auto" the fastest that runs here: on the processor in 32 bits our own "loops",
    elsewhere "sdpa", PyTorch's own, which has a choice between kernels inside, unless xformers is there and faster."""
    if wanted != "auto":
        return wanted
    if device.type == "cpu" and dtype == torch.float32:
        return "loops"
    if device.type != "cuda" or find_spec("xformers") is None:
        return "sdpa"
    ways: dict[str, Attend] = {"sdpa": F.scaled_dot_product_attention, "xformers": by_xformers}
    return min(ways, key=lambda name: _seconds(ways[name], device, dtype))


def _seconds(attend: Attend, device: torch.device, dtype: torch.dtype) -> float:
    """Infinite where it does not run."""
    query = torch.ones(1, 8, 1024, 64, device=device, dtype=dtype, requires_grad=True)
    start = 0.0
    try:
        for round in range(9):
            if round == 4:  # those before have warmed up
                torch.cuda.synchronize(device)
                start = time.perf_counter()
            attend(query, query, query, None).sum().backward()
        torch.cuda.synchronize(device)
    except (RuntimeError, NotImplementedError, ValueError, ImportError):
        return inf
    return time.perf_counter() - start


def use_attention(unet: Any, name: str) -> None:
    """Lets a U-Net's attention be computed in the way called `name`."""
    ways: dict[str, Attend] = {
        "sdpa": F.scaled_dot_product_attention,
        "mem_eff_attn": by_pieces,
        "xformers": by_xformers,
    }
    processor = Processor(by_loops if name == "loops" else partial(by_heads, ways[name]))
    for module in unet.modules():
        if type(module) in (Attention, _Attention):
            module.__class__ = _Attention
            module.processor = processor


def join_projections(network: nn.Module, joined: Callable[[list[nn.Module]], Joined | None]) -> None:
    """Lets layers of an attention that read the same input compute together: query, key and value where they all read
    the picture, else key and value. `joined` gives the function for some layers, None where they stay apart."""
    for module in network.modules():
        if hasattr(module, "to_q") and hasattr(module, "is_cross_attention"):
            attention: Any = module
            names = ("to_k", "to_v") if attention.is_cross_attention else ("to_q", "to_k", "to_v")
            together = joined([getattr(attention, name) for name in names])
            if together is not None:
                attention.__dict__["together"] = together


class _Attention(Attention):
    """One that asks its processor at once. Diffusers' looks up at each call what its processor takes, which costs more
    than a small product."""

    def forward(self, *states: Tensor, **more: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.processor(self, *states, **more)


class Processor:
    """What diffusers calls in place of its own for each attention of a transformer block."""

    def __init__(self, attend: AttendRows) -> None:
        self.attend = attend

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        other = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = _projected(attention, hidden_states, other)
        bias = None if attention_mask is None else attention_mask.unsqueeze(1)
        seen = self.attend(query, key, value, attention.heads, bias)
        to_out, dropout = attention.to_out
        return dropout(to_out(seen))


def _projected(attention: Any, picture: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    """Queries of the picture, keys and values of what is looked at."""
    together: Joined | None = attention.__dict__.get("together")
    found = None if together is None else together(other)
    if found is None:
        return attention.to_q(picture), attention.to_k(other), attention.to_v(other)
    return (attention.to_q(picture), *found) if attention.is_cross_attention else found


def by_heads(attend: Attend, query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    """Rows split into heads, for ways that take these."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return attend(query, key, value, bias).transpose(1, 2).flatten(2)


def by_loops(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """`tehon.loops.attention` on the processor in 32 bits. PyTorch's elsewhere, and with a bias, which no loop has a
    place for, and for heads that are too wide for the loops' tiles."""
    ours = bias is None and query.device.type == "cpu" and query.dtype == torch.float32
    if not ours or query.shape[-1] > heads * loops().WIDEST:
        return by_heads(F.scaled_dot_product_attention, query, key, value, heads, bias)
    return _Loops.apply(query, key, value, heads)  # pyright: ignore[reportReturnType]


@cache
def loops() -> Any:
    """Compiled when first asked for, so that only who needs them waits."""
    return import_module("tehon.loops.attention")


class _Loops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        assert len(query) == len(key) == len(value), "a loop would read another picture's keys"
        ctx.heads = heads
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        total = query.new_empty(len(query), heads, query.shape[1])
        _over_heads(loops().attend, *_split_heads(heads, query, key, value, out), total)
        ctx.save_for_backward(query, key, value, out, total)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, out, total = ctx.saved_tensors
        read = _split_heads(ctx.heads, query, key, value, out, grad_outputs[0])
        written = [torch.empty_like(x) for x in read[:3]]
        _over_heads(loops().attend_backward, *read, total, *written)
        return *(x.flatten(2) for x in written), None


def _split_heads(heads: int, *rows: Tensor) -> list[Tensor]:
    """(n, places, heads d) to (n, places, heads, d), one number behind the other in memory."""
    return [x.contiguous().view(*x.shape[:2], heads, -1) for x in rows]


def _over_heads(loop: Any, query: Tensor, key: Tensor, *given: Tensor) -> None:
    """On as many threads as PyTorch uses, where there is work for more than one."""
    threads = torch.get_num_threads() if query.numel() * key.shape[1] > _ALONE else 1
    share(loop, len(query) * query.shape[2], threads, query, key, *given)


def by_pieces(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Some queries at a time, computed again in the backward, so that Q Kᵀ is never there as a whole (arXiv
    2112.05682)."""
    return _Pieces.apply(query, key, value, bias)  # pyright: ignore[reportReturnType]


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        return torch.cat([_weights(some, key, bias) @ value for some in _split(query, key)], -2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """With P the weights: dV = Pᵀ dO, dS = P (dP - Σ dP P) for dP = dO Vᵀ, dQ = dS K / √d, dK = dSᵀ Q / √d."""
        query, key, value, bias = ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        rows: list[Tensor] = []
        to_key, to_value = torch.zeros_like(key), torch.zeros_like(value)
        pieces = _split(query, key)
        for some, out in zip(pieces, grad_outputs[0].split([piece.shape[-2] for piece in pieces], -2), strict=True):
            weights = _weights(some, key, bias)
            to_value += weights.transpose(-1, -2) @ out
            by_weight = out @ value.transpose(-1, -2)
            by_product = weights * (by_weight - (by_weight * weights).sum(-1, keepdim=True))
            rows.append(by_product @ key * scale)
            to_key += by_product.transpose(-1, -2) @ some * scale
        return torch.cat(rows, -2), to_key, to_value, None


def _split(query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    each = query.shape[0] * query.shape[1] * key.shape[-2]
    return query.split(max(1, _PRODUCTS // each), -2)


def _weights(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / √d + bias), summed up in float32."""
    products = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    if bias is not None:
        products = products + bias
    return products.softmax(-1, dtype=torch.float32).to(query.dtype)


def by_xformers(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """xformers' memory_efficient_attention, which takes (n, places, heads, d)."""
    attend: Any = import_module("xformers.ops").memory_efficient_attention
    if bias is not None:
        bias = bias.expand(*query.shape[:3], key.shape[-2]).contiguous()
    rows = (x.transpose(1, 2).contiguous() for x in (query, key, value))
    return attend(*rows, attn_bias=bias).transpose(1, 2)
