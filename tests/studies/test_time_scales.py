"""The study `time_scales`: its grid, its measurements on checkpoints, its table and its figures."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.plots import save
from fwplab.probes.leak import count_leak
from fwplab.studies.time_scales import RATE_BIASES, VALUE_SCALES, TimeScales
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint
from fwplab.training.record import Record
from fwplab.training.run import Run
from fwplab.training.trainer import train

STUDY = TimeScales()


def shortened(run: Run) -> Run:
    splits = replace(run.protocol.splits, train_strings=60, validation_strings=20, test_strings=10)
    protocol = replace(run.protocol, max_steps=2, batch_size=16, splits=splits)
    return replace(run, seeds=(0, 1), model=replace(run.model, hidden=16), protocol=protocol)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Records of two grid points for each mixer on `counter_2`, trained for two steps and measured."""
    found = []
    runs = [run for run in STUDY.runs(quick=False) if run.language == "counter_2"]
    for run in map(shortened, runs[::5]):
        folder = tmp_path_factory.mktemp(run.key)
        record = train(run, folder=folder)
        measured = [tuple(STUDY.measure(_checkpoint(folder, seed))) for seed in run.seeds]
        members = zip(record.members, measured, strict=True)
        found.append(replace(record, members=tuple(replace(member, measured=values) for member, values in members)))
    return found


def _checkpoint(folder: Path, seed: int):  # type: ignore[no-untyped-def]
    return load_checkpoint(checkpoint_path(folder, seed, "paper"))


def test_the_grid_has_every_combination_of_language_mixer_and_starting_weights() -> None:
    runs = STUDY.runs(quick=False)
    assert len({run.key for run in runs}) == len(runs) == 3 * 4 * len(RATE_BIASES) * len(VALUE_SCALES)
    quick = STUDY.runs(quick=True)
    assert {(run.language, run.mixer_name) for run in quick} == {("dyck_1", "delta-net")}
    assert len(quick) == len(RATE_BIASES) * len(VALUE_SCALES)


def test_a_row_has_the_leak_before_and_after_training(records: list[Record]) -> None:
    rows = STUDY.rows(records)
    assert [(row.mixer, row.seeds) for row in rows] == [(record.run.mixer_name, 2) for record in records]
    language = load_language("counter_2")
    for row, record in zip(rows, records, strict=True):
        starts = sorted(count_leak(record.run.build(seed), language) for seed in record.run.seeds)
        assert row.leak_before is not None
        assert row.leak is not None
        assert [row.leak_before.lowest, row.leak_before.best] == pytest.approx(starts)
        assert row.predicted == pytest.approx(abs(2 * row.leak.median) ** -0.5)
    with pytest.raises(UserError, match="time_scales measures no checkpoints of the strict rule"):
        STUDY.rows(records, "strict")


def test_the_table_and_the_figures_show_every_grid_point(records: list[Record], tmp_path: Path) -> None:
    rows = STUDY.rows(records)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(STUDY.render(rows))
    assert all(f"{row.leak.median:.1e}" in shown.get() for row in rows if row.leak)
    assert len(STUDY.facts(rows)) == len(rows)
    for name, draw in STUDY.figures().items():
        save(draw(records, "paper"), tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").stat().st_size > 5_000
    unmeasured = [replace(record, members=tuple(replace(m, measured=()) for m in record.members)) for record in records]
    assert [row.leak for row in STUDY.rows(unmeasured)] == [None] * len(rows)
