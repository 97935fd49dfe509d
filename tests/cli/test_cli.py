"""The command line: printed answers, JSON, and one line with exit code 2 for wrong input."""

import json
from pathlib import Path

import pytest
from rich.table import Column, Table

from fwplab.cli import run
from fwplab.cli.console import emit
from fwplab.constructions import CONSTRUCTIONS
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS

TINY = ["--max-steps", "6", "--check-every", "3", "--batch-size", "8", "--train-strings", "200"]
TINY += ["--validation-strings", "40", "--test-strings", "20", "--hidden", "8", "--heads", "2", "--workers", "1"]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """The standard output of a command that ends with the exit code `code`."""
    assert run(arguments) == code
    return capsys.readouterr().out


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error of a command that is refused."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fwplab: ")
    return lines[0]


def train(capsys: pytest.CaptureFixture[str], mixer: str = "recurrent-delta", *more: str) -> dict[str, object]:
    """The JSON that a tiny training prints."""
    text = answer(capsys, "train", "--language", "parity", "--mixer", mixer, "--seeds", "2", *TINY, "--json", *more)
    facts: dict[str, object] = json.loads(text)
    return facts


def test_languages_are_listed_labelled_and_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "languages", "label", "parity", "0110") == "1 0 1 1\n"
    assert json.loads(answer(capsys, "languages", "label", "shuffle-2", "([)", "--json"))["labels"] == [
        "10",
        "11",
        "01",
    ]
    assert {each["name"] for each in json.loads(answer(capsys, "languages", "--json"))} == set(LANGUAGES.names())
    assert "even number of" in answer(capsys, "languages", "show", "parity")
    words = json.loads(answer(capsys, "languages", "sample", "dyck_1", "--count", "5", "--longest", "8", "--json"))
    assert len(words) == 5
    assert all(len(word["labels"]) == len(word["string"]) <= 8 for word in words)


def test_constructions_are_listed_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert [each["name"] for each in json.loads(answer(capsys, "constructions", "--json"))] == CONSTRUCTIONS.names()
    assert "This is where the matrix refers to itself" in answer(capsys, "constructions", "show", "srwm-parity")
    checked = json.loads(answer(capsys, "constructions", "check", "srwm-parity", "--longest", "50", "--json"))
    assert [each["precision"] for each in checked] == ["float32", "float64", "bfloat16"]
    assert all(each["closed"] and each["wrong"] is each["predicted"] is each["measured"] is None for each in checked)
    assert "not to 50" in answer(capsys, "constructions", "check", "linear_transformer_dyck_1", "--longest", "50")
    bounds = json.loads(answer(capsys, "constructions", "bounds", "--lengths", "3", "--heads", "1", "--json"))
    assert [each["right"][0]["bound"] for each in bounds] == [2 / 3, 2 / 3, 1]
    assert run(["constructions", "check", "srwm-parity", "--longest", "0"]) == 2


def test_mixers_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert [each["name"] for each in json.loads(answer(capsys, "mixers", "--json"))] == MIXERS.names()
    assert "rate_bias=-1.0" in answer(capsys, "mixers", "show", "srwm")


def test_training_is_recorded_and_a_finished_run_returns_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    first = train(capsys)
    assert (first["mixer"], first["language"], first["seeds"], first["solved"]) == ("recurrent-delta", "parity", 2, 0)
    assert first == train(capsys)
    more = answer(
        capsys, "train", "--language", "parity", "--mixer", "recurrent-delta", "--seeds", "3", *TINY, "--json"
    )
    assert json.loads(more)["members"][:2] == first["members"]
    finished = json.loads(answer(capsys, "runs", "--json"))
    assert [run["seeds"] for run in finished] == [[0, 1], [2]]
    assert len(json.loads(answer(capsys, "runs", "--mixer", "srwm", "--json"))) == 0


def test_switches_change_the_mixer(capsys: pytest.CaptureFixture[str]) -> None:
    plain, switched = train(capsys, "srwm"), train(capsys, "srwm", "--switch", "normalised-residual=false")
    assert plain["members"] != switched["members"]


def test_evaluate_streams_strings_of_any_length(capsys: pytest.CaptureFixture[str]) -> None:
    path = train(capsys)["checkpoints"]["0"]  # type: ignore[index]
    facts = json.loads(answer(capsys, "evaluate", path, "--lengths", "3", "2500", "--strings", "4", "--json"))
    assert [row["length"] for row in facts["lengths"]] == [3, 2500]
    assert facts["constant_memory"] is True
    assert all(0 <= row["interval"][0] <= row["accuracy"] <= row["interval"][1] <= 1 for row in facts["lengths"])
    assert "right %" in answer(capsys, "evaluate", path, "--lengths", "10")


def test_a_corpus_is_exported_audited_imported_and_trained_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "corpus")
    sizes = ["--train-strings", "120", "--validation-strings", "30", "--test-strings", "10"]
    answer(capsys, "corpus", "export", folder, "--language", "parity", "--format", "irie", *sizes)
    assert "0 with label errors" in answer(capsys, "corpus", "audit", "--language", "parity", folder)
    imported = json.loads(
        answer(capsys, "corpus", "import", folder, "--language", "parity", "--name", "mine", "--json")
    )
    assert imported["corpus"].startswith("mine@")
    assert train(capsys, "delta-net", "--corpus", "mine")["seeds"] == 2
    targets = Path(folder) / "valid_50.tgt"
    lines = targets.read_text().splitlines()
    lines[3] = " ".join("1" if label == "0" else "0" for label in lines[3].split())
    targets.write_text("\n".join(lines))
    assert "valid_50.tgt line 4" in answer(capsys, "corpus", "audit", "--language", "parity", folder, code=1)


WRONG = {
    "no action": (["corpus"], "fwplab corpus needs an action; choose from: export, import, audit"),
    "unknown action": (["corpus", "fly"], "fwplab corpus has no action 'fly'; choose from: export, import, audit"),
    "unknown option of all": (["--fly"], "unknown command '--fly'; choose from: train"),
    "unknown command": (["fly"], "unknown command 'fly'; choose from: train"),
    "unknown language": (["languages", "label", "party", "01"], "did you mean 'parity'"),
    "foreign symbol": (["languages", "label", "parity", "01x"], "'x' at position 3"),
    "unknown mixer": (
        ["train", "--language", "parity", "--mixer", "mamba"],
        f"choose from: {', '.join(MIXERS.names())}",
    ),
    "unknown option": (["train", "--language", "parity", "--mixer", "srwm", "--hiden", "3"], "--hiden"),
    "no number": (["train", "--language", "parity", "--mixer", "srwm", "--seeds", "three"], "'three'"),
    "no seeds": (["train", "--language", "parity", "--mixer", "srwm", "--seeds", "0"], "seeds"),
    "heads": (["train", "--language", "parity", "--mixer", "srwm", "--heads", "5"], "choose from: 1, 2, 4, 8"),
    "protocol": (
        ["train", "--language", "parity", "--mixer", "srwm", "--protocol", "lax"],
        "choose from: paper, strict",
    ),
    "device": (["train", "--language", "parity", "--mixer", "srwm", "--device", "tpu"], "choose from: cpu"),
    "switch": (["train", "--language", "parity", "--mixer", "srwm", "--switch", "magic=1"], "no field 'magic'"),
    "switch value": (["train", "--language", "parity", "--mixer", "srwm", "--switch", "rate_bias"], "NAME=VALUE"),
    "corpus": (["train", "--language", "parity", "--mixer", "srwm", "--corpus", "none"], "none is imported yet"),
    "workers": (["train", "--language", "parity", "--mixer", "srwm", "--workers", "0"], "workers"),
    "seed": (["train", "--language", "parity", "--mixer", "srwm", "--first-seed", "-1"], "must not be negative"),
    "seed of strings": (["evaluate", "parity/srwm", "--seed", "-1"], "must not be negative"),
    "seed of words": (["languages", "sample", "parity", "--seed", "-1"], "must not be negative"),
    "kind of a switch": (
        ["train", "--language", "parity", "--mixer", "srwm", "--switch", "same_start=no"],
        "true or false",
    ),
    "steps": (["train", "--language", "parity", "--mixer", "srwm", "--max-steps", "0"], "max_steps must be a positive"),
    "embedding": (
        ["train", "--language", "parity", "--mixer", "lstm", "--embedding", "0"],
        "embedding must be a positive",
    ),
    "no evaluated lengths": (["evaluate", "parity/srwm", "--lengths"], "at least one"),
    "rate": (["train", "--language", "parity", "--mixer", "srwm", "--learning-rate", "-1"], "must be positive"),
    "checkpoint": (["evaluate", "nowhere.safetensors"], "no checkpoint 'nowhere.safetensors': give a checkpoint file"),
    "study": (["reproduce", "irie2024"], "irie2023"),
    "no records": (["report", "--quick"], "fwplab study run irie2023 --quick"),
    "no corpus": (["corpus", "audit", "nowhere", "--language", "parity"], "nowhere"),
    "no lengths": (["languages", "sample", "dyck_1", "--shortest", "3", "--longest", "3"], "no word of length 3"),
}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "-"))
def test_wrong_input_is_one_line_and_exit_code_2(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*.html"))
    arguments, expected = WRONG[case]
    assert expected in error_line(capsys, *arguments)
    assert set(tmp_path.rglob("*.html")) == before


def test_a_broken_checkpoint_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = Path(train(capsys)["checkpoints"]["0"])  # type: ignore[index]
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(path.read_bytes()[:-100])
    assert "no fwplab checkpoint" in error_line(capsys, "evaluate", str(broken))
    assert "no word of length 7" in error_line(
        capsys, "evaluate", str(path), "--language", "abab_star", "--lengths", "7"
    )
    assert "another alphabet" in error_line(capsys, "evaluate", str(path), "--language", "shuffle_2")


def test_a_narrow_terminal_shows_every_column_of_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("name", Column("verdict", no_wrap=True))
    table.add_row("a text that may go on in the next line", "contradicted: 2 of 3 seeds")
    monkeypatch.setattr("fwplab.cli.console.PLAIN_WIDTH", 20)
    emit(None, as_json=False, text=table)
    printed = capsys.readouterr().out
    assert "contradicted: 2 of 3 seeds" in printed
    assert max(map(len, printed.splitlines())) < 50
