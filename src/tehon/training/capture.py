"""Updates as CUDA graphs: a few thousand kernels that the graphics card is told of once, and then in one word.

On a fast card the processor is what a small batch waits for, since telling the card of each kernel takes longer than
the kernel. In a graph the addresses of all tensors are fixed, so what differs from batch to batch is copied to where
the first one lay.

>>> graphs = Graphs(torch.device("cuda"), notice)
>>> loss = graphs.run(learn, given)
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem, reason_of

Function = Callable[[Mapping[str, Tensor]], Tensor]
"""Of tensors on the device alone, without asking what is in one, and without random numbers of a generator."""
_Shapes = tuple[tuple[str, torch.Size, torch.dtype], ...]


class Runner(Protocol):
    """Who calls such functions."""

    def run(self, function: Function, given: Mapping[str, Tensor]) -> Tensor: ...

    def forget(self) -> None:
        """Functions do something else from now on for the same shapes."""
        ...


class Plainly:
    """Calls them as they are."""

    def run(self, function: Function, given: Mapping[str, Tensor]) -> Tensor:
        return function(given)

    def forget(self) -> None:
        """Nothing to do."""


class Graphs:
    """A graph for each set of shapes. One that is met for the first time is computed plainly, which lets libraries make
    their choices; when it comes again, it is captured. All graphs share their memory, as one runs at a time.

    What can't be captured is computed plainly for the rest of the run, with a notice."""

    def __init__(self, device: torch.device, notice: Notice, *, must: bool = False) -> None:
        """With `must` it is a Problem instead."""
        self.device = device
        self.notice = notice
        self.must = must
        self.stream = torch.cuda.Stream(device)
        self.pool: Any = torch.cuda.graph_pool_handle()
        self.failed = False
        self._met: dict[_Shapes, _Graph | None] = {}

    def run(self, function: Function, given: Mapping[str, Tensor]) -> Tensor:
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        if shapes in self._met and not self.failed:
            graph = self._met[shapes] or self._captured(function, given)
            self._met[shapes] = graph
            if graph is not None:
                return graph.replay(given)
        self._met.setdefault(shapes, None)
        return self._aside(function, given)

    def forget(self) -> None:
        self._met.clear()

    def _aside(self, function: Function, given: Mapping[str, Tensor]) -> Tensor:
        """On the stream of the captures, to which what autograd and libraries remember then belongs."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            found = function(given)
        current.wait_stream(self.stream)
        return found

    def _captured(self, function: Function, given: Mapping[str, Tensor]) -> "_Graph | None":
        random = torch.cuda.get_rng_state(self.device)
        try:
            return _Graph(function, given, self.pool, self.stream)
        except RuntimeError as error:
            self.failed = True
            torch.cuda.synchronize(self.device)
            _own_generator(self.device, random)
            if self.must:
                raise Problem("graphs_failed", field="training.cuda_graphs", reason=reason_of(error)) from error
            self.notice(say("notice.not_captured", reason=reason_of(error)))
            return None


class _Graph:
    def __init__(self, function: Function, given: Mapping[str, Tensor], pool: Any, stream: Any) -> None:
        self.given = {name: tensor.clone() for name, tensor in given.items()}
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool, stream, capture_error_mode="thread_local"):
            self.found = function(self.given)

    def replay(self, given: Mapping[str, Tensor]) -> Tensor:
        for name, tensor in self.given.items():
            tensor.copy_(given[name])
        self.graph.replay()
        return self.found.clone()


def _own_generator(device: torch.device, state: Tensor) -> None:
    """A capture that fails leaves the device's generator as within a capture: it gets a new state, with the numbers
    that it had."""
    fresh = torch.Generator(device)
    fresh.set_state(state)
    number = device.index
    if number is None:  # pyright: ignore[reportUnnecessaryComparison]  torch's stubs forget it
        number = torch.cuda.current_device()
    torch.cuda.default_generators[number].graphsafe_set_state(fresh.graphsafe_get_state())
