"""`fwplab runs`: it lists the records, as JSON and as a table, without importing PyTorch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.storage.test_store import RUN, record_of

from fwplab.cli import run as command
from fwplab.storage.store import Store, folder_of


def test_the_list_shows_every_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["runs", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    records = [record_of(RUN), record_of(replace(RUN, seeds=(7,)), seconds=99.4)]
    with Store() as store:
        for record in records:
            store.save(record)
    assert command(["runs", "--json", "--language", "parity", "--mixer", "SRWM"]) == 0
    printed = capsys.readouterr().out
    facts = json.loads(printed)
    assert printed == json.dumps(facts, indent=2) + "\n"
    for fact, record in zip(facts, records, strict=True):
        assert (fact["key"], fact["seeds"]) == (record.run.key, list(record.run.seeds))
        assert fact["status"] == [member.status for member in record.members]
        assert (fact["seconds"], fact["folder"]) == (record.seconds, str(folder_of(record.run)))
    assert command(["runs", "--json", "--language", "dyck-1"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert command(["runs"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "mixer", "language", "seeds", "status", "seconds"]
    assert [line.split()[0] for line in lines] == [record.run.key for record in records]
    assert command(["runs", "--mixer", "nonsense"]) == 2


def test_the_list_does_not_import_pytorch(home: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import sys; from fwplab.cli import run; run(['runs']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
