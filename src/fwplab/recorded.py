"""A step that is recorded once on a GPU and then replayed as one launch: a CUDA graph."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[..., tuple[Tensor, ...]]
WARM_UP = 3
"""Calls before the recording: kernels are compiled and checked, libraries choose theirs, the allocator settles."""


class Recorded:
    """`work(*tensors)` for tensors on a GPU, always of the same shapes: as it is for the first calls, then recorded.

    A small model's step is hundreds of kernels of microseconds, and launching them one by one takes longer than they
    do. What `work` reads and changes besides its arguments must stay where it lies; its results are overwritten by
    the next call. Work that cannot be recorded, because it asks the GPU for a value on its way, goes on as it is.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.results: tuple[Tensor, ...] = ()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._beside(*tensors)
        if self.calls == WARM_UP + 1:
            self._record(tensors)
        if self.graph is None:
            return self.work(*tensors)
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.results

    def _beside(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """On another stream than the default one, on which nothing can be recorded afterwards."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self.work(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def _record(self, tensors: tuple[Tensor, ...]) -> None:
        self.inputs, graph = [tensor.clone() for tensor in tensors], torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.results = self.work(*self.inputs)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"fwplab: the step cannot be recorded ({reason}); it is slower", RuntimeWarning, stacklevel=2)
            return
        self.graph = graph
