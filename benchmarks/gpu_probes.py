"""What decides defaults on a graphics card: its limits, kernels of attention, layouts, encoding."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from gpu_models import DEVICE
from sizes import twins
from torch.nn.attention import SDPBackend, sdpa_kernel

ATTENTIONS = (  # (n, heads, places, width), other places
    ((1, 8, 4096, 40), 4096),
    ((1, 8, 1024, 80), 1024),
    ((1, 10, 4096, 64), 4096),
    ((1, 20, 1024, 64), 1024),
    ((1, 20, 1024, 64), 77),
)
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)


def replayed(function: Callable[[], Any], inner: int = 5, repeats: int = 9) -> float:
    """Seconds of a function as part of a graph, without the processor's share: the median of repeats."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(inner):
            function()
    graph.replay()
    found: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / 1e3 / inner)
    return sorted(found)[repeats // 2]


def limits() -> dict[str, float]:
    """FLOP/s of a large bf16 product of drawn numbers, and bytes/s of a large copy, read and written."""
    left, right = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(2**30, device=DEVICE, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    product = replayed(lambda: left @ right)
    return {"flops": 2 * 8192**3 / product, "bytes": 4 * 2**30 / replayed(lambda: target.copy_(source))}


def attention() -> list[dict[str, Any]]:
    """Seconds of forward and backward by each of PyTorch's kernels, and by the one that it takes itself."""
    rows: list[dict[str, Any]] = []
    for (n, heads, places, width), others in ATTENTIONS:
        tensors = [
            torch.randn(n, many, heads * width, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
            for many in (places, others, others)
        ]
        gradient = torch.randn(n, places, heads * width, device=DEVICE, dtype=torch.bfloat16)

        def both(tensors: Any = tensors, gradient: Any = gradient, heads: int = heads) -> None:
            query, key, value = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in tensors)
            out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            torch.autograd.grad(out, tensors, gradient)

        row: dict[str, Any] = {"shape": [n, heads, places, width], "others": others, "own choice": replayed(both)}
        for backend in BACKENDS:
            with sdpa_kernel(backend):
                row[backend.name.partition("_")[0].lower()] = replayed(both)
        rows.append(row)
    return rows


def encoding() -> list[dict[str, Any]]:
    """Pictures a second of the real VAE's encoder in fp32, as tehon encodes."""
    vae: Any = AutoencoderKL(**twins().REAL_VAE).to(DEVICE).eval().requires_grad_(False)
    rows: list[dict[str, Any]] = []
    for side, batches in ((512, (1, 4, 16)), (1024, (1, 4))):
        for batch in batches:
            pictures = torch.rand(batch, 3, side, side, device=DEVICE) * 2 - 1
            with torch.no_grad():
                taken = replayed(lambda pictures=pictures: vae.encode(pictures), inner=1, repeats=5)
            rows.append({"side": side, "batch": batch, "pictures_per_second": batch / taken})
    return rows
