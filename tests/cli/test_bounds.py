"""Oversized or malformed input is refused at once, with one line and exit code 2."""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from fwplab.cli import run as command
from fwplab.compat.irie2023 import load_checkpoint
from fwplab.data.corpus import read
from fwplab.data.dataset import encode
from fwplab.errors import LONGEST_LINE, UserError
from fwplab.languages import load_language

TRAIN = ["train", "--language", "parity", "--mixer", "lstm"]
OVERSIZED = {
    "a length": ["languages", "sample", "dyck_1", "--longest", "2147483648"],
    "a length past 64 bits": ["languages", "sample", "aa_star", "--longest", str(10**30)],
    "a count": ["languages", "sample", "dyck_1", "--count", str(10**12)],
    "seeds": [*TRAIN, "--seeds", "9223372036854775808"],
    "many seeds": [*TRAIN, "--seeds", str(10**9)],
    "a first seed": [*TRAIN, "--seeds", "1", "--first-seed", "9223372036854775808"],
    "steps": [*TRAIN, "--seeds", "1", "--max-steps", str(10**40)],
    "a rate": [*TRAIN, "--seeds", "1", "--learning-rate", "1e999"],
    "strings": ["evaluate", "parity/lstm", "--strings", str(10**15)],
    "an evaluated length": ["evaluate", "parity/lstm", "--lengths", "2147483648"],
    "seeds of a study": ["study", "show", "irie2023", "--seeds", str(10**15)],
    "training strings": [*TRAIN, "--seeds", "1", "--train-strings", str(10**12)],
    "exported strings": ["corpus", "export", "/nowhere", "--language", "parity", "--train-strings", str(10**12)],
    "symbols to evaluate": ["evaluate", "parity/lstm", "--lengths", "1000000", "--strings", "1000000"],
    "workers": [*TRAIN, "--seeds", "1", "--workers", str(10**9)],
    "workers of a search": ["search", *TRAIN[1:], "--workers", str(10**9)],
    "a width": [*TRAIN, "--seeds", "1", "--hidden", str(10**12)],
    "layers": [*TRAIN, "--seeds", "1", "--layers", str(10**12)],
    "a bounded length": ["constructions", "bounds", "--lengths", str(10**12)],
    "a host": ["explore", "--host", "h" * 300],
    "an empty part of a host": ["explore", "--host", "a..b"],
    "a word of a machine": ["smfa", "run", "dyck_1", "x" * 100_000],
    "a language": ["languages", "show", "x" * 100_000],
    "a mixer": ["mixers", "show", "y " * 50_000],
    "a command": ["z" * 100_000],
    "a checkpoint": ["evaluate", "c" * 100_000],
    "a folder": ["corpus", "import", "d" * 5_000, "--language", "parity"],
    "a report": ["report", "--out", "/tmp/" + "r" * 5_000],
    "half a character": ["languages", "show", "\udc80"],
    "half a character of a path": ["corpus", "audit", "\udcff", "--language", "parity"],
    "a zero in a path": ["corpus", "audit", "a\0b", "--language", "parity"],
}


@pytest.mark.parametrize("words", OVERSIZED.values(), ids=OVERSIZED)
def test_oversized_arguments_are_one_readable_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert command(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fwplab: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) <= LONGEST_LINE + 10
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("home", ["~nobody-of-this-name/lab", "/dev/null/lab", "/tmp/" + "h" * 5_000])
def test_an_impossible_home_is_one_line(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FWPLAB_HOME", home)
    assert command(["runs"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fwplab: FWPLAB_HOME is no")
    assert error.count("\n") == 1


def test_a_home_in_another_encoding_is_one_line() -> None:
    environment = {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()} | {b"FWPLAB_HOME": b"/tmp/\xff\xfe"}
    environment |= {b"PYTHONPATH": os.fsencode(os.pathsep.join(sys.path))}
    ended = subprocess.run([sys.executable, "-m", "fwplab", "runs"], check=False, env=environment, capture_output=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"fwplab: FWPLAB_HOME is no folder: ")
    assert ended.stderr.count(b"\n") == 1


def test_a_very_long_line_of_a_corpus_is_refused(tmp_path: Path) -> None:
    for side, symbol in (("src", "0"), ("tgt", "1")):
        (tmp_path / f"train_{side}.txt").write_text(symbol * 10_000_000 + "\n")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"train_src\.txt line 1 has 10,000,000 characters; a string has at most"):
        read(tmp_path, load_language("parity"))
    assert time.monotonic() - began < 5


def test_strings_that_need_too_much_memory_are_refused() -> None:
    with pytest.raises(UserError, match=r"1,001 strings of up to 100,000 symbols need too much memory"):
        encode(load_language("parity"), ["0"] * 1_000 + ["0" * 100_000])


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb/data.pkl", "w") as entry:
        for _ in range(200):
            entry.write(bytes(1_000_000))
    began = time.monotonic()
    with pytest.raises(UserError, match="cannot be read safely"):
        load_checkpoint(bomb, 0)
    assert time.monotonic() - began < 1


UNUSUAL_TENSORS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(3, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "expanded": lambda: torch.ones(1).expand(10**6, 10**6),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", UNUSUAL_TENSORS)
def test_published_weights_that_are_not_plain_tensors_are_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"embedding.weight": UNUSUAL_TENSORS[kind]()}, file)
    with pytest.raises(UserError, match=r"is no plain tensor|has fewer numbers|is no tensor of|cannot be read safely"):
        load_checkpoint(file, 0)


FULL_DISK_SCRIPT = """
import resource, sys
from fwplab.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""
SEARCH = ["search", "--language", "aa_star", "--mixer", "srwm", "--hidden", "8", "--layers", "1", "--head-width", "4"]
SEARCH += ["--batch-size", "32", "--strings", "640", "--trials", "1", "--members", "1"]


@pytest.mark.parametrize("bytes_allowed", [2_000, 30_000, 150_000])
@pytest.mark.parametrize("name", ["export", "import", "search", "search of two"])
def test_a_full_disk_is_one_line_in_every_command(name: str, bytes_allowed: int, home: Path, tmp_path: Path) -> None:
    """A file may have at most `bytes_allowed` bytes. The largest limit is enough for some commands."""
    source = tmp_path / "source"
    words = {
        "export": ["corpus", "export", str(tmp_path / "new"), "--language", "parity", "--train-strings", "5000"],
        "import": ["corpus", "import", str(source), "--language", "parity"],
        "search": [*SEARCH, "--workers", "1"],
        "search of two": [*SEARCH, "--workers", "2"],
    }[name]
    if name == "import":
        assert command(["corpus", "export", str(source), "--language", "parity", "--train-strings", "5000"]) == 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK_SCRIPT, str(bytes_allowed), *words],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stderr.startswith("fwplab: ")
    assert bytes_allowed > 100_000 or ended.returncode
    assert not [path for path in tmp_path.rglob(".*") if path.name.startswith(".")]
