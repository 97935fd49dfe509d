"""A study in another package: found by its entry point, with its measurements and figures under its own name."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwplab import catalogue
from fwplab.cli import run as command
from fwplab.studies import STUDIES

SOURCE = '''
"""How many hidden units does each model have?"""

from dataclasses import replace

from rich.table import Table

from fwplab.training.record import Measurement
from fwplab.training.run import Run
from fwplab.studies import Study
from tests.training.test_trainer import small_run


class HiddenUnits(Study):
    """Counts the hidden units."""

    title = "Hidden units"
    question = "How many hidden units does each model have?"
    measures = True
    measured_rules = ("paper",)

    def runs(self, *, quick, seeds=None):
        return [small_run("lstm", "parity", seeds=(0, 1))]

    def measure(self, checkpoint):
        return [Measurement(self.name, checkpoint.rule, 0, "units", float(checkpoint.run.model.hidden))]

    def rows(self, records, rule="paper"):
        self.require_measured(rule)
        return [
            (member.seed, units)
            for record in records
            for member in record.members
            if (units := member.measurement(self.name, rule, 0, "units")) is not None
        ]

    def facts(self, rows):
        return [{"seed": seed, "units": units} for seed, units in rows]

    def render(self, rows):
        table = Table("seed", "units")
        for seed, units in rows:
            table.add_row(str(seed), str(units))
        return table

    def figures(self):
        return {"bars": self.draw_bars}

    def draw_bars(self, records, rule):
        from matplotlib.figure import Figure

        figure = Figure()
        seeds, units = zip(*self.rows(records, rule))
        figure.subplots().bar(seeds, units)
        return figure
'''
METADATA = "Metadata-Version: 2.1\nName: own-study\nVersion: 1\n"
ENTRY_POINTS = "[fwplab.studies]\nhidden-units = own_studies.hidden_units:HiddenUnits\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as an installer would write it."""
    for name, text in {
        "own_studies/__init__.py": "",
        "own_studies/hidden_units.py": SOURCE,
        "own_study-1.dist-info/METADATA": METADATA,
        "own_study-1.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    catalogue._installed.cache_clear()
    yield
    catalogue._installed.cache_clear()
    for module in [name for name in sys.modules if name.startswith("own_studies")]:
        del sys.modules[module]


@pytest.mark.parametrize("name", STUDIES.own_names())
def test_a_study_has_the_name_of_its_file_and_figures_by_name(name: str) -> None:
    study = STUDIES.load(name)()
    assert study.name == name
    assert all(callable(draw) for draw in study.figures().values())


@pytest.mark.usefixtures("installed")
def test_measurements_and_figures_of_a_plugin_study_have_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert STUDIES.load("hidden-units")().name == "hidden_units"
    for _ in range(2):  # the second call reads the measurements from the store
        assert command(["study", "run", "hidden-units", "--workers", "1", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["seed"] for row in rows] == [0, 1]
        assert len({row["units"] for row in rows}) == 1
        assert rows[0]["units"] > 0
    assert command(["study", "show", "hidden_units", "--rule", "strict"]) == 2
    assert "hidden_units measures no checkpoints of the strict rule" in capsys.readouterr().err
    assert command(["plot", "hidden-units", "--out", f"{tmp_path}/figures/"]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"hidden_units-bars.png", "hidden_units-bars.svg"}
