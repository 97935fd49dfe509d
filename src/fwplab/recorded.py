"""CUDA graphs: the kernels of a step are recorded once and then launched together."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Work = Callable[..., tuple[Tensor, ...]]
WARM_UP = 3
"""The number of calls before the recording. They compile and check kernels, and let libraries choose theirs."""


class GraphedStep:
    """Calls `work(*tensors)` as a CUDA graph, for tensors on a GPU that always have the same shapes.

    The step of a small model is hundreds of short kernels, and launching them one by one takes longer than running
    them. The first `WARM_UP` calls run `work` directly, the next one records it, and from then on it is replayed.

    The other tensors that `work` reads or changes must keep their addresses. Each call overwrites the results of the
    one before. Work that cannot be recorded, because it reads a value from the GPU, is always run directly; a warning
    says so.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream: torch.cuda.Stream | None = None
        self.inputs: list[Tensor] = []
        self.results: tuple[Tensor, ...] = ()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.cuda.device(tensors[0].device):  # streams and graphs belong to the current device
            return self._call(*tensors)

    def _call(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._on_side_stream(*tensors)
        if self.calls == WARM_UP + 1:
            self._record(tensors)
        if self.graph is None:
            return self.work(*tensors)
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.results

    def _on_side_stream(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Runs `work` on a stream of its own: work that has run on the default stream cannot be recorded later."""
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
    """Records the work inside the context as a CUDA graph.

    If the recording fails, `torch.cuda.graph` leaves its own stream current, and PyTorch before about 2.10 leaves the
    random generators in recording mode. Both are restored here.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        # The default stream of `torch.cuda.graph` belongs to the first device that it was used on.
        with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
            yield graph
    except RuntimeError:
        torch.cuda.set_stream(before)
        for generator in torch.cuda.default_generators:
            generator.graphsafe_set_state(generator.clone_state())
        raise


def reason(error: BaseException) -> str:
    """The first line of the original error: ending a failed recording raises another one, which explains less."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
