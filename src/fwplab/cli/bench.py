"""`fwplab bench`: measures the speed of the operators on this machine, and compares it with other implementations."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from fwplab.benchmark import suite as suites
from fwplab.benchmark.gpu import GpuRow, GpuSeeds
from fwplab.benchmark.operators import CASES, Row
from fwplab.benchmark.published_cuda import check_folder
from fwplab.benchmark.streaming import Stream
from fwplab.benchmark.suite import Result
from fwplab.benchmark.training import Seeds, Step
from fwplab.cli.console import emit
from fwplab.cli.training import check_device
from fwplab.errors import UserError
from fwplab.files import replaced

OPERATORS = tuple(dict.fromkeys(case.operator for case in CASES))


@dataclass(frozen=True)
class Bench:
    """Measures the speed of the operators, of streaming and of the training step on this machine.

    Operators and training step: forward and backward, on one thread. The numbers are medians. All forms of an operator
    are measured in turn in the same run, and the ratios come from that run. A form that fails its check against the
    float64 reference gets no speed, and the exit code is 1. With --device cuda the operators and populations of seeds
    are measured on a GPU, and compared with loops, CUDA graphs, torch.compile, cuDNN's LSTM and flash-linear-attention.
    """

    quick: bool = False
    """Fewer measurements, in about a minute."""
    json: Path | None = None
    """A file to write every number to."""
    only: tuple[str, ...] = ()
    """Names of the operators to measure."""
    show: tuple[Path, ...] = ()
    """Print files that --json wrote instead of measuring: one file, or the medians of several."""
    backend: str = "auto"
    """The form of the operators to measure: the fastest one on this machine unless another is named."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    published: Path | None = None
    """A clone of IDSIA/fwp-formal-lang, to measure its CUDA kernels too (with --device cuda)."""

    def __call__(self) -> int:
        if self.show:
            reports = [read(file) for file in self.show]
            report = suites.medians(reports) if len(reports) > 1 else reports[0]
            emit(report, as_json=False, text=tables(suites.results_of(report), report["machine"]))
            return 0
        for name in self.only:
            if name not in OPERATORS:
                raise UserError(f"no operator {name!r}; choose from: {', '.join(OPERATORS)}")
        if self.json is not None and not self.json.parent.is_dir():
            raise UserError(f"no folder {str(self.json.parent)!r} for --json")
        check_device(self.device)
        if self.published is not None:
            check_folder(self.published)
            if self.device == "cpu":
                raise UserError("--published: the published code has kernels for CUDA alone; choose --device cuda")
        if self.device == "cpu":
            parts = list(suites.work(suites.QUICK if self.quick else suites.FULL, self.only, self.backend))
        else:
            options: dict[str, Any] = {"quick": self.quick, "published": self.published}
            parts = list(suites.gpu_work(self.device, self.only, self.backend, **options))
        results: list[Result] = []
        with Console(file=sys.stderr).status("") as status:
            for place, (name, part) in enumerate(parts, start=1):
                status.update(f"{place} of {len(parts)}: {name}")
                results += part()
        report = suites.report(results, self.device)
        if self.json is not None:
            with replaced(self.json) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n")
        emit(report, as_json=False, text=tables(results, report["machine"]))
        return 1 if any(isinstance(result, Row | Stream | GpuRow) and result.error for result in results) else 0


def read(file: Path) -> dict[str, Any]:
    """Reads a file that `--json` wrote. Raises `UserError` for any other file."""
    try:
        report: dict[str, Any] = json.loads(file.read_text())
        suites.results_of(report)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--show: {file} is no file that fwplab bench --json wrote ({error})") from error
    return report


def tables(results: list[Result], machine: dict[str, object]) -> Group:
    """The measurements as tables for a terminal."""
    peak = float(str(machine["peak_multiply_adds_per_second"])) / 1e9
    memory = float(str(machine["copy_bytes_per_second"])) / 1e9
    cores = f"{machine['cores']} cores of {peak:.0f} G multiply-adds and {memory:.0f} GB copied a second"
    line = f"{machine['device']}, {cores}; torch {machine['torch']}; {machine['date']}"
    parts = (
        operator_table(results),
        stream_table(results),
        step_table(results),
        seed_table(results),
        gpu_table(results),
        population_table(results),
    )
    return Group(line, *(table for table in parts if table.row_count))


def operator_table(results: list[Result]) -> Table:
    """The table of the operators, forward and backward, on the CPU."""
    table = Table(
        "operator", "heads x d", title="forward + backward, float32, batch 64, length 100", title_justify="left"
    )
    for heading in (
        "ms",
        "published loop",
        "tuned loop",
        "chunked",
        "nn.LSTM",
        "FMA peak",
        "roof",
        "all threads",
        "saved MiB",
    ):
        table.add_column(heading, justify="right")
    for row in results:
        if isinstance(row, Row):
            shape = f"{row.heads} x {row.width}"
            if row.error:
                table.add_row(row.operator, shape, "-", f"check failed: {row.error}")
                continue
            ratios = (row.ratio_published_loop, row.ratio_tuned_loop, row.ratio_chunk, row.ratio_lstm)
            table.add_row(
                row.operator,
                shape,
                f"{1000 * row.seconds:.2f}",
                *map(times, ratios),
                "" if math.isnan(row.peak_fraction) else f"{100 * row.peak_fraction:.1f} %",
                f"{100 * row.roof_fraction:.0f} %",
                times(row.speedup_all_threads),
                f"{row.saved_bytes / 2**20:.1f}",
            )
    return table


def stream_table(results: list[Result]) -> Table:
    """The table of streaming: one long sequence."""
    table = Table("operator", "d", "length", "tokens a second", "tuned loop", title="streaming", title_justify="left")
    for row in results:
        if isinstance(row, Stream):
            speed = f"check failed: {row.error}" if row.error else f"{row.tokens_per_second:,.0f}"
            table.add_row(row.operator, str(row.width), f"{row.length:,}", speed, times(row.ratio_tuned_loop))
    return table


def step_table(results: list[Result]) -> Table:
    """The table of the training step."""
    table = Table("model", "hidden", "batch", "ms a step", "tuned loop", title="training step", title_justify="left")
    for row in results:
        if isinstance(row, Step):
            ratio = times(row.ratio_tuned_loop)
            table.add_row(row.model, str(row.hidden), str(row.batch), f"{row.milliseconds:.1f}", ratio)
    return table


def seed_table(results: list[Result]) -> Table:
    """The table of several seeds trained at once on the CPU."""
    table = Table("model", "batch", "processes", "members in each", title="seeds", title_justify="left")
    table.add_column("seed-steps a second", justify="right")
    table.add_column("of one alone", justify="right")
    for row in results:
        if isinstance(row, Seeds):
            cells = (row.model, str(row.batch), str(row.processes), str(row.members))
            table.add_row(*cells, f"{row.seed_steps_per_second:.1f}", times(row.ratio))
    return table


def gpu_table(results: list[Result]) -> Table:
    """The table of the operators on a GPU. Its caption says why a comparison is missing."""
    rows = [row for row in results if isinstance(row, GpuRow)]
    reasons = "\n".join(dict.fromkeys(row.failed for row in rows if row.failed))
    title = "forward + backward on the GPU, float32, batch 64, length 100"
    table = Table("operator", "heads x d", title=title, title_justify="left", caption=reasons, caption_justify="left")
    loops = "published loop", "tuned loop", "graphed", "compiled"
    for heading in ("ms", "as a graph", *loops, "nn.LSTM", "fla bf16", "published CUDA"):
        table.add_column(heading, justify="right")
    for row in rows:
        shape = f"{row.heads} x {row.width}"
        if row.error:
            table.add_row(row.operator, shape, "-", row.error)
            continue
        of_loops = row.ratio_published_loop, row.ratio_tuned_loop, row.ratio_graphed_loop, row.ratio_compiled_loop
        graphed = "" if math.isnan(row.ratio_graphed) else f"{1000 * row.seconds * row.ratio_graphed:.3f}"
        ratios = map(times, (*of_loops, row.ratio_lstm, row.ratio_fla, row.ratio_published_cuda))
        table.add_row(row.operator, shape, f"{1000 * row.seconds:.3f}", graphed, *ratios)
    return table


def population_table(results: list[Result]) -> Table:
    """The table of populations of seeds on a GPU."""
    table = Table("model", "batch", "members", title="populations on the GPU", title_justify="left")
    table.add_column("seed-steps a second", justify="right")
    table.add_column("of one alone", justify="right")
    for row in results:
        if isinstance(row, GpuSeeds):
            speed = f"{row.seed_steps_per_second:,.0f}"
            table.add_row(row.model, str(row.batch), str(row.members), speed, times(row.ratio))
    return table


def times(ratio: float) -> str:
    """A ratio, such as "2.5x"; an empty string for NaN."""
    return "" if math.isnan(ratio) else f"{ratio:.1f}x"
