"""The report: verdicts, rows, figures and the self-contained page, all from records alone."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from fwplab.cli import run as command
from fwplab.mixers import MIXERS
from fwplab.plots import accuracy_by_length, learning_curves, save, solve_rate_heatmap, steps_to_solve, to_svg
from fwplab.recipes.history import Attempt, History
from fwplab.report.report import headline, write_report
from fwplab.storage.store import Store
from fwplab.studies import STUDIES
from fwplab.studies.irie2023 import CLAIMS, Irie2023
from fwplab.tables.columns import to_json
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row, best_by_claim, missed, row, verdict
from fwplab.tables.terminal import render_terminal
from fwplab.training.record import Chance, Check, Member, Record, Score, SplitSummary
from fwplab.training.run import PROTOCOLS, Run

WINDOWS = ((2, 50), (51, 100), (101, 200))


def record_of(mixer: str, language: str, solved: tuple[bool, ...]) -> Record:
    """A record with realistic values, whose members solve the language or not."""
    members = []
    for seed, is_solved in enumerate(solved):
        steps = range(50, 251, 50)
        best = 60 if is_solved else 11 + seed
        splits = [("bin0", 2, 50), ("bin1", 51, 100), *(("test", *window) for window in WINDOWS)]
        members.append(
            Member(
                seed=seed,
                learning_rate=3e-3,
                status="solved" if is_solved else "budget",
                steps=250,
                checks=tuple(Check(n, 1 / n, 0.5 / n, best * n / 15_000, 0.5, best * n / 15_000) for n in steps),
                selected={"paper": 250, "strict": 200, "last": 250},
                scores=tuple(Score("paper", *split, 60, best) for split in splits),
            )
        )
    run = Run(language, MIXERS.load(mixer)(), tuple(range(len(solved))), (3e-3,), protocol=PROTOCOLS["paper"])
    guesses = (Chance("bin0", 2, 50, 0.01, 0.02), Chance("bin1", 51, 100, 0.0, 0.03))
    guesses += tuple(Chance("test", *window, 0.0, 0.0) for window in WINDOWS)
    strings = (SplitSummary("bin0", 2, 50, 60, 57, 3), *(SplitSummary("test", *w, 60, 60, 0) for w in WINDOWS))
    return Record(run, tuple(members), 17_250, 512, strings, guesses, {"torch": "2.13.0", "device": "a <CPU>"}, 9.0)


RECORDS = [
    record_of("linear-transformer", "parity", (False, False, False)),
    record_of("recurrent-delta", "parity", (True, True, True)),
    record_of("delta-net", "reset_dyck_1", (True, False, True)),
]
ROWS = list(Irie2023().rows(RECORDS))


def page(tmp_path: Path, **changes: str) -> str:
    """A report as text."""
    words = {"title": "A title", "command": "fwplab reproduce irie2023 --quick", "question": "Which?", **changes}
    write_report(RECORDS, ROWS, tmp_path / "report.html", **words)
    return (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("claim", "solved", "expected"),
    [
        ("solves", 3, "reproduced"),
        ("solves", 2, "partly: 2 of 3 seeds"),
        ("solves", 0, "not reproduced"),
        ("fails", 0, "reproduced"),
        ("fails", 1, "contradicted: 1 of 3 seeds solve it"),
        ("", 3, ""),
    ],
)
def test_verdicts_of_claims(claim: str, solved: int, expected: str) -> None:
    assert verdict(claim, solved, 3) == expected
    assert verdict(claim, 1, 2) == ("open: 2 of 3 seeds" if claim else "")


def test_a_row_summarises_its_records() -> None:
    cell = row([RECORDS[2]], "paper", "solves")
    assert (cell.solved, cell.seeds, cell.diverged) == (2, 3, 0)
    assert cell.bin0 == (1.0, 12 / 60, 1.0)
    assert cell.chance_bin0 == 0.02
    assert (cell.steps, cell.evaluations) == ((250, 250, 250), (5, 5, 5))
    low, high = cell.interval
    assert 0 < low < 2 / 3 < high < 1
    halves = [replace(RECORDS[2], members=RECORDS[2].members[:1]), replace(RECORDS[2], members=RECORDS[2].members[1:])]
    assert row(halves, "paper", "solves") == cell


def test_the_study_has_the_order_and_claims_of_the_paper() -> None:
    assert [(r.mixer, r.language) for r in ROWS] == [
        ("linear-transformer", "parity"),
        ("recurrent-delta", "parity"),
        ("delta-net", "reset_dyck_1"),
    ]
    assert [r.claim for r in ROWS] == ["fails", "solves", "solves"]
    assert {mixer for mixer, _ in CLAIMS} <= set(MIXERS.names())
    study = STUDIES.load("irie2023")()
    quick, full = study.runs(quick=True), study.runs(quick=False)
    assert len(quick) == 14  # reset Dyck-1 has a second row for DeltaNet and Recurrent Delta
    assert len(study.published()) == 56
    assert set(study.published()) < set(full)
    assert all(len(run.seeds) >= 5 for run in full)
    assert len({run.key for run in quick + full}) == len(quick) + len(full)


def test_json_and_terminal_show_the_same_cells() -> None:
    facts = json.loads(json.dumps(to_json(ROWS)))
    assert [fact["solved"] for fact in facts] == [0, 3, 2]
    assert all(len(fact["interval"]) == 2 and fact["rule"] == "paper" for fact in facts)
    assert [fact["looks"] for fact in facts] == [[5, 5, 5]] * 3
    table = render_terminal(ROWS)
    assert table.row_count == 3 + 2
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table)
    assert shown.get().count("250, 5,000; 5") == 3


def test_the_page_is_one_file_with_the_numbers_of_the_rows(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(\s*["']?https?:""", text)
    assert len(text) < 1_000_000
    assert "prefers-color-scheme: dark" in text
    assert headline(ROWS) in text
    for each in ROWS:
        assert f"{each.solved} of {each.seeds}" in text
        assert f"{percent(each.interval[0])}–{percent(each.interval[1])}" in text  # noqa: RUF001
    for heading in ("the paper says", "Solved seeds", "Accuracy by length", "Learning curves", "Steps to solve"):
        assert heading in text
    assert "fwplab reproduce irie2023 --quick" in text
    assert page(tmp_path) == text


def test_the_page_shows_the_recipes_of_claims_that_were_not_reproduced(tmp_path: Path) -> None:
    assert "Recipes of claims that were not reproduced" not in page(tmp_path)
    tried = (Attempt("wider ones", "2 < 3 seeds"),)
    rows = [replace(each, found_by=History(notes=(f"common to {each.mixer} &c",), tried=tried)) for each in ROWS]
    write_report(RECORDS, rows, tmp_path / "report.html", title="A title", command="x", question="Which?")
    text = (tmp_path / "report.html").read_text()
    assert [each.verdict for each in rows] == ["reproduced", "reproduced", "partly: 2 of 3 seeds"]
    assert "Recipes of claims that were not reproduced" in text
    (line,) = re.findall(r"<summary>(delta-net on .*?)</summary>", text.split("Specs")[0])
    assert line == 'delta-net on reset_dyck_1: <span class="soft">common: not searched</span>'
    printed = re.findall(r'<li class="soft">(.*?)</li>', text)
    assert printed == ["not searched", "common to delta-net &amp;c", "tried: wider ones: 2 &lt; 3 seeds"]


def test_the_page_is_well_formed(tmp_path: Path) -> None:
    class Balance(HTMLParser):
        open_tags: list[str] = []  # noqa: RUF012
        ids: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.ids += [value for name, value in attrs if name == "id" and value]
            if tag not in ("meta", "br", "!doctype"):
                self.open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.ids += [value for name, value in attrs if name == "id" and value]

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page(tmp_path))
    assert parser.open_tags == []
    assert len(parser.ids) == len(set(parser.ids))


def test_html_in_texts_is_escaped(tmp_path: Path) -> None:
    text = page(tmp_path, title="<script>alert(1)</script>", command="fwplab '<img src=x>'")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "a &lt;CPU&gt;" in text


@pytest.mark.parametrize(
    "draw",
    [learning_curves, steps_to_solve, lambda r: accuracy_by_length(r, "paper"), lambda _: solve_rate_heatmap(ROWS)],
    ids=["learning curves", "steps to solve", "accuracy by length", "solved seeds"],
)
def test_figures_are_svg_with_a_label(draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    svg = to_svg(draw(RECORDS))
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"]
    assert "currentColor" in svg
    assert to_svg(draw(RECORDS)) == svg
    save(draw(RECORDS), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_headline_counts_verdicts() -> None:
    assert headline(ROWS) == "2 of 3 claims came out as stated; 1 partly."
    started = replace(ROWS[2], start="weak writes", solved=3, verdict="reproduced (weak writes)")
    assert headline([*ROWS, started]) == "3 of 3 claims came out as stated (1 by weak writes)."
    assert missed([*ROWS[:2], replace(ROWS[2], found_by=History()), started]) == []
    assert missed([*ROWS[:2], replace(ROWS[2], found_by=History())]) == [replace(ROWS[2], found_by=History())]
    failed = replace(started, solved=0, verdict="not reproduced (weak writes)")
    assert best_by_claim([failed, ROWS[2]]) == [ROWS[2]]
    plain: list[Row] = [replace(each, claim="", verdict="") for each in ROWS]
    assert headline(plain) == "1 of 3 cells are solved by every seed."


def test_a_report_of_single_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store() as store:
        for record in RECORDS:
            store.save(record)
    first, _, third = (record.run.key for record in RECORDS)
    out = tmp_path / "runs.html"
    assert command(["report", first, third, first, "--out", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["mixer"], row["solved"], row["seeds"]) for row in rows] == [
        ("linear-transformer", 0, 3),
        ("delta-net", 2, 3),
    ]
    text = out.read_text()
    assert "<h1>linear-transformer and delta-net on parity and reset_dyck_1</h1>" in text
    assert "0 of 2 cells are solved by every seed." in text
    assert "the paper says" not in text
    assert text.count("<figure>") == 4
    assert all(key in text for key in (first, third))
    assert "recurrent-delta" not in text.split("<h2>Specs</h2>")[1]


KNOWN = RECORDS[0].run.key
REPORTING = ", ".join(name for name, kind in STUDIES.classes() if kind.reports)
WRONG = {
    "unknown": (
        ["0123456789abcdef"],
        f"unknown study or run '0123456789abcdef'; the studies: {REPORTING}; the runs: fwplab",
    ),
    "one of two": ([KNOWN, "fedc"], "unknown study or run 'fedc'"),
    "study and run": (["irie2023", KNOWN], "'irie2023' is a study"),
    "part of a run": ([KNOWN, "--quick"], "a run is shown whole"),
    "two specs": ([KNOWN, "OTHER"], "differ in model"),
    "study": (["scaling"], "scaling has no report; choose from: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_report_request_is_one_line_and_writes_no_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(RECORDS[0], run=replace(RECORDS[0].run, model=replace(RECORDS[0].run.model, hidden=64)))
    with Store() as store:
        store.save(RECORDS[0])
        store.save(other)
    words, message = WRONG[case]
    out = tmp_path / "report.html"
    names = [other.run.key if word == "OTHER" else word for word in words]
    assert command(["report", *names, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert not out.exists()
