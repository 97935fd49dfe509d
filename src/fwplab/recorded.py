"""A step that is recorded once on a GPU and then replayed as one launch: a CUDA graph."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        self.stream: torch.cuda.Stream | None = None
        self.inputs: list[Tensor] = []
        self.results: tuple[Tensor, ...] = ()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.cuda.device(tensors[0].device):  # streams and recordings are those of the current device
            return self._call(*tensors)

    def _call(self, *tensors: Tensor) -> tuple[Tensor, ...]:
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
        stream = self.stream = self.stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self.work(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def _record(self, tensors: tuple[Tensor, ...]) -> None:
        self.inputs = [tensor.clone() for tensor in tensors]
        try:
            with recording() as graph:
                self.results = self.work(*self.inputs)
        except RuntimeError as error:
            warnings.warn(
                f"fwplab: the step cannot be recorded ({reason(error)}); it is slower", RuntimeWarning, stacklevel=4
            )
            return
        self.graph = graph


@contextmanager
def recording() -> Iterator[torch.cuda.CUDAGraph]:
    """What is done inside becomes a CUDA graph; after an error the device is as it was before.

    `torch.cuda.graph` leaves its own stream current when a recording fails, and before torch 2.10 or so the random
    generators believe that they are still recorded.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.Stream()):  # of this device; its own default is of one for ever
            yield graph
    except RuntimeError:
        torch.cuda.set_stream(before)
        for generator in torch.cuda.default_generators:
            generator.graphsafe_set_state(generator.clone_state())
        raise


def reason(error: BaseException) -> str:
    """The first line of what went wrong first: the end of a recording fails as well, and says less."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
