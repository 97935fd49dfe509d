"""The measurements as tables for a terminal."""

import math

from rich.console import Group
from rich.table import Table

from fwplab.benchmark.gpu import GpuRow, GpuSeeds
from fwplab.benchmark.operators import Row
from fwplab.benchmark.streaming import Stream
from fwplab.benchmark.suite import Result
from fwplab.benchmark.training import Seeds, Step


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
