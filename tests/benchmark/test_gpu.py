"""The GPU benchmark on a CPU without CUDA graphs, and CUDA graphs with a fake `torch.cuda`."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from fwplab.benchmark import gpu, suite
from fwplab.benchmark.gpu import GpuRow
from fwplab.benchmark.operators import OPERATORS, Case
from fwplab.benchmark.tables import tables
from fwplab.cli import run
from fwplab.training.cuda_graph import WARM_UP, GraphedStep


def test_a_row_has_its_ratios_and_the_reasons_for_missing_ones() -> None:
    (row,) = gpu.measure(Case("delta", 2, 4), "cpu", batch=3, length=5, rounds=1, compiled=False)
    assert row.error is None
    assert min(row.seconds, row.ratio_published_loop, row.ratio_tuned_loop, row.ratio_lstm) > 0
    assert math.isnan(row.ratio_graphed_loop)
    assert "graphed_loop: UserError: CUDA graphs need a CUDA GPU" in row.failed
    assert "fla: ModuleNotFoundError" in row.failed


def test_populations_are_measured_and_shown() -> None:
    rows = gpu.measure_seeds("recurrent-delta", "cpu", batch=8, members=(1, 2))
    assert [row.members for row in rows] == [1, 2]
    assert rows[1].ratio == rows[1].seed_steps_per_second / rows[0].seed_steps_per_second
    results = [GpuRow("delta", 2, 4, 64, 100, "triton", error="no kernels"), *rows]
    report = suite.report(results)
    assert suite.results_of(report)[-2:] == rows
    assert tables(results, report["machine"]).renderables


def test_a_missing_gpu_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--device", "abacus"]) == 2
    assert "choose from: cpu" in capsys.readouterr().err


@dataclass
class FakeGraph:
    """A fake `torch.cuda.CUDAGraph`. A replay repeats the recorded work and overwrites its results."""

    recorded: GraphedStep | None = None
    replays: int = 0

    def replay(self) -> None:
        assert self.recorded is not None
        self.replays += 1
        for old, new in zip(self.recorded.results, self.recorded.work(*self.recorded.inputs), strict=True):
            old.copy_(new)


@dataclass
class Stream:
    """A fake CUDA stream."""

    name: str = "another"
    waited: list[object] = field(default_factory=list)

    def wait_stream(self, other: object) -> None:
        self.waited.append(other)


@dataclass
class Cuda:
    """A fake of the parts of `torch.cuda` that a recorded step uses."""

    devices: list[torch.device] = field(default_factory=list)
    current: Stream = field(default_factory=lambda: Stream("the caller's"))
    recording: bool = False

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.devices.append(device)
        yield

    @contextmanager
    def within(self, _: object) -> Iterator[None]:
        yield

    @contextmanager
    def record(self, _: object, stream: Stream) -> Iterator[None]:
        """Like `torch.cuda.graph`: after an error inside, it raises another error and its stream stays current."""
        before, self.current, self.recording = self.current, stream, True
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        finally:
            self.recording = False
        self.current = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    fake = Cuda()
    monkeypatch.setattr(torch.cuda, "device", fake.device)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: fake.current)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(fake, "current", stream))
    monkeypatch.setattr(torch.cuda, "stream", fake.within)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", fake.record)
    return fake


def doubled(x: Tensor) -> tuple[Tensor, ...]:
    return (2 * x,)


def test_a_step_is_recorded_after_warm_up_and_then_replayed_with_new_values(cuda: Cuda) -> None:
    step = GraphedStep(doubled)
    found = []
    for call in range(WARM_UP + 3):
        if call == WARM_UP + 1:
            assert isinstance(step.graph, FakeGraph)
            step.graph.recorded = step
        elif call == WARM_UP:
            step._record((torch.zeros(2),))
            assert isinstance(step.graph, FakeGraph)
            step.graph.recorded, step.calls = step, WARM_UP + 1
        found.append(step(torch.full((2,), float(call)))[0].clone())
    assert [float(value[0]) for value in found] == [2.0 * call for call in range(WARM_UP + 3)]
    assert isinstance(step.graph, FakeGraph)
    assert step.graph.replays == 3
    assert cuda.devices == [torch.device("cpu")] * (WARM_UP + 3)
    assert cuda.current.name == "the caller's"


def test_a_step_that_cannot_be_recorded_runs_directly_with_a_warning(cuda: Cuda) -> None:
    def reads_a_value(x: Tensor) -> tuple[Tensor, ...]:
        if cuda.recording:
            raise RuntimeError("it reads a value\nmore")
        return doubled(x)

    step = GraphedStep(reads_a_value)
    for _ in range(WARM_UP):
        step(torch.ones(2))
    with pytest.warns(RuntimeWarning, match="cannot be recorded \\(it reads a value\\); it is slower"):
        assert float(step(torch.ones(2))[0][0]) == 2
    assert cuda.current.name == "the caller's"
    assert float(step(torch.full((2,), 3.0))[0][0]) == 6


def test_a_given_backend_is_measured_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("signed_delta", 2, 4)
    (row,) = gpu.measure(case, "cpu", batch=3, length=5, rounds=1, backend="chunk", compiled=False)
    assert (row.backend, row.error) == ("chunk", None)
    assert row.seconds > 0
    monkeypatch.setattr(gpu, "check", lambda *_: "it is wrong")
    (row,) = gpu.measure(case, "cpu", batch=3, length=5, rounds=1, backend="chunk", compiled=False)
    assert row.error == "it is wrong"
    assert math.isnan(row.seconds)


def test_every_operator_has_its_row_on_a_gpu() -> None:
    for operator in OPERATORS:
        for quick in (False, True):
            assert list(suite.gpu_work("cpu", (operator,), "auto", quick=quick))
