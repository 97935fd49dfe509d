"""How a command starts and ends: its imports, closed streams, a full disk, and broken plug-ins."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import fwplab
from fwplab.catalogue import Catalogue
from fwplab.cli import run
from fwplab.cli.commands import COMMANDS, Group, load_class
from fwplab.constructions import CONSTRUCTIONS
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.smfa.examples import EXAMPLES
from fwplab.studies import STUDIES

FWPLAB = [sys.executable, "-m", "fwplab"]
HEAVY = (
    *(
        "torch",
        "triton",
        "streamlit",
        "ray",
        "pandas",
        "matplotlib",
        "pyarrow",
        "sqlalchemy",
        "optuna",
        "sklearn",
        "scipy",
    ),
    *("aalpy", "jinja2", "automata", "networkx", "pydot"),
)

IMPORTS_SCRIPT = """
import sys
{code}
print(*({{name.partition(".")[0] for name in sys.modules}} & set({names!r})), file=sys.stderr)
"""


def imported_by(code: str, names: tuple[str, ...]) -> set[str]:
    """Which of these packages a process imports when it runs `code`."""
    script = IMPORTS_SCRIPT.format(code=code, names=names)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split("\n")[-2].split())


def command_classes() -> dict[str, str]:
    """The class of every command and action, by its words on the command line."""
    found = {}
    for name, entry in COMMANDS.items():
        if isinstance(entry, Group):
            found |= {f"{name} {action}": place for action, place in entry.actions.items()}
        else:
            found[name] = entry
    return found


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("", ("numpy",)),
        ("--help", ("numpy",)),
        ("--version", ("numpy",)),
        ("study --help", ("numpy",)),
        ("study list", ("numpy",)),
        ("study list --json", ("numpy",)),
        ("mixers list", ("numpy",)),
        ("languages list", ()),
        ("languages --json", ()),
        ("languages label parity 01", ()),
        ("explore --help", ("numpy",)),
        ("corpus import --help", ()),
        ("fly", ("numpy",)),
    ],
)
def test_a_list_or_help_imports_nothing_heavy(words: str, more: tuple[str, ...]) -> None:
    assert imported_by(f"from fwplab.cli import run\nrun({words.split()!r})", (*HEAVY, *more)) == set()


@pytest.mark.parametrize("words", command_classes())
def test_the_help_of_every_command_imports_nothing_heavy(words: str) -> None:
    assert imported_by(f"from fwplab.cli import run\nrun({[*words.split(), '--help']!r})", HEAVY) == set()


SPECS = {
    "ModelSpec": "fwplab.model.spec",
    "Protocol": "fwplab.training.protocol",
    "Run": "fwplab.training.run",
    "Record": "fwplab.training.record",
    "SplitSpec": "fwplab.data.splits",
    "MixerSpec": "fwplab.mixers",
    "Space": "fwplab.recipes.space",
}


@pytest.mark.parametrize(("name", "module"), SPECS.items())
def test_a_spec_is_imported_without_pytorch(name: str, module: str) -> None:
    assert imported_by(f"from {module} import {name}", HEAVY) == set()


def test_the_names_of_the_package_are_imported_when_first_used() -> None:
    assert imported_by("import fwplab\nassert set(fwplab.__all__) <= set(dir(fwplab))", (*HEAVY, "numpy")) == set()
    assert imported_by("import fwplab\nfwplab.language('parity')", HEAVY) == set()
    assert imported_by("import fwplab\nfwplab.Run, fwplab.Protocol, fwplab.ModelSpec, fwplab.MIXERS", HEAVY) == set()
    assert imported_by("import fwplab\nfwplab.train", ("torch",)) == {"torch"}
    for name in fwplab.__all__:
        assert getattr(fwplab, name) is not None
    with pytest.raises(AttributeError, match="module 'fwplab' has no attribute 'nothing'"):
        fwplab.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_fwplab_mixer_takes_a_name_and_switches() -> None:
    assert fwplab.mixer("delta_net") == MIXERS.load("delta-net")()
    assert fwplab.mixer("srwm", rate_bias=-2.0, same_start=True).rate_bias == -2.0  # type: ignore[attr-defined]
    for name, switches, message in [
        ("mamba", {}, "unknown mixer 'mamba'"),
        ("srwm", {"magic": 1}, "SRWM has no field 'magic'"),
        ("srwm", {"same_start": "no"}, "same_start of SRWM is true or false"),
    ]:
        with pytest.raises(ValueError, match=message):
            fwplab.mixer(name, **switches)


@pytest.mark.parametrize("catalogue", [MIXERS, STUDIES, LANGUAGES, CONSTRUCTIONS, EXAMPLES], ids=lambda c: c.kind)
def test_attributes_read_without_import_equal_those_of_the_class(catalogue: Catalogue[Any]) -> None:
    attributes = {"study": ("title", "question"), "language": ("symbols", "hierarchy")}.get(
        catalogue.kind, ("__doc__",)
    )
    for name in catalogue.own_names():
        kind = catalogue.load(name)
        read = catalogue.read(name, *attributes)
        assert [" ".join(str(read[each]).split()) for each in attributes] == [
            " ".join(str(getattr(kind, each)).split()) for each in attributes
        ]


def test_help_lists_every_command_with_the_summary_of_its_class(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert run(words) == 0
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for name, entry in COMMANDS.items():
            doc = entry.summary if isinstance(entry, Group) else (load_class(entry).__doc__ or "").partition("\n\n")[0]
            assert f"• {name} {' '.join(doc.split())}" in text
    for words, place in command_classes().items():
        assert run([*words.split(), "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: fwplab {words} [-h]")
        assert load_class(place).__doc__


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"fwplab {fwplab.__version__}\n"


# Streams


def shell(line: str) -> tuple[int, list[str]]:
    """The exit code and the lines on standard error of a shell command, where `fwplab` is this package."""
    line = f'fwplab() {{ "{sys.executable}" -m fwplab "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("words", ["languages list", "study show irie2023", "--help", "mixers show lstm --json"])
def test_a_closed_pipe_is_no_error(words: str) -> None:
    assert shell(f"fwplab {words} | true; exit ${{PIPESTATUS[0]}}") == (0, [])


@pytest.mark.parametrize("words", ["languages list", "study list --json", "--help"])
def test_an_answer_that_cannot_be_written_is_one_line(words: str) -> None:
    assert shell(f"fwplab {words} >&-") == (1, ["fwplab: standard output is closed, so that no answer can be written"])
    if Path("/dev/full").exists():
        full = (1, ["fwplab: cannot write to standard output: No space left on device"])
        assert shell(f"fwplab {words} >/dev/full") == full
        assert shell(f"PYTHONUNBUFFERED=1 fwplab {words} >/dev/full") == full


def test_a_closed_standard_error_changes_no_exit_code() -> None:
    assert shell("fwplab fly 2>&-") == (2, [])
    assert shell("fwplab --version 2>&-") == (0, [])


# Plug-ins of other packages

BROKEN = {
    "missing": ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    "wrong": ("def\n", "SyntaxError: invalid syntax"),
    "leaves": ("import sys\nsys.exit(7)\n", "SystemExit: 7"),
    "raises": ("raise ValueError('two\\nlines')\n", "ValueError: two"),
    "empty": ("", "AttributeError: module 'bad_empty' has no attribute 'Thing'"),
    "other": ("class Thing:\n    pass\n", ""),
}


@pytest.fixture(params=BROKEN)
def broken_plugin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """An installed plug-in that is broken in one of several ways, and the reason."""
    text, why = BROKEN[request.param]
    (tmp_path / f"bad_{request.param}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    point = f"bad_{request.param}:Thing"
    monkeypatch.setattr("fwplab.catalogue._installed", lambda group: [EntryPoint(f"bad-{request.param}", point, group)])
    return f"bad-{request.param}", why


LISTS = ["languages list", "mixers list", "study list", "constructions list", "smfa list"]


@pytest.mark.parametrize("words", LISTS)
def test_a_broken_plugin_is_named_and_left_out_of_a_list(
    words: str, broken_plugin: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, why = broken_plugin
    assert run([*words.split(), "--json"]) == 0
    answer, error = capsys.readouterr()
    listed = [fact["name"] for fact in json.loads(answer)]
    assert len(listed) > 5
    assert not any("bad" in each for each in listed)
    (line,) = error.splitlines()
    assert name.replace("-", "_") in line.replace("-", "_")
    assert " is left out: " in line
    assert why in line
    assert run(words.split()) == 0
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize(
    "words", ["languages show", "mixers show", "study show", "constructions show", "smfa show", "train --mixer"]
)
def test_a_requested_broken_plugin_is_one_line(
    words: str, broken_plugin: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, why = broken_plugin
    more = ["--language", "parity"] if "train" in words else []
    assert run([*words.split(), name, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert f"bad_{name.removeprefix('bad-')}:Thing" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report nothing", f"the studies: {', '.join(name for name, kind in STUDIES.classes() if kind.reports)};"),
        (
            "study run irie2023 --measure-only",
            f"choose from: {', '.join(name for name, kind in STUDIES.classes() if kind.measures)}\n",
        ),
    ],
)
def test_a_broken_plugin_is_not_among_the_choices(
    words: str, message: str, broken_plugin: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == 2
    assert message in capsys.readouterr().err


def test_a_working_plugin_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good_layer.py").write_text(
        "from fwplab.mixers.lstm import LSTM\n\nclass Mine(LSTM):\n    'A layer of mine.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(
        "fwplab.catalogue._installed", lambda group: [EntryPoint("mine", "good_layer:Mine", "fwplab.mixers")]
    )
    assert MIXERS.read("mine", "__doc__") == {"__doc__": "A layer of mine."}
    assert "mine" in set(MIXERS.names()) - set(MIXERS.own_names())
