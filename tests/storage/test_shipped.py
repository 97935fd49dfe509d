"""Records and checkpoints shipped with the package: run keys are unchanged, and all files can be read."""

import json
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet
import pytest

from fwplab.files import check_checksums
from fwplab.storage.archive import NAMES, open_archive, shipped_checkpoints
from fwplab.training.checkpoint import load_checkpoint
from fwplab.training.run import Run
from fwplab.training.spec import from_dict

BASELINES = sorted(path.parent for path in Path(str(files("fwplab") / "baselines")).glob("*/runs.parquet"))


def test_there_are_shipped_runs() -> None:
    assert {folder.name for folder in BASELINES} >= {"ablation", "irie2023", "robustness"}
    assert shipped_checkpoints()


@pytest.mark.parametrize("folder", BASELINES, ids=lambda folder: folder.name)
def test_the_key_of_every_shipped_run_is_that_of_its_spec(folder: Path) -> None:
    """The expected keys are in the file. They were written when the runs were trained."""
    written = pyarrow.parquet.read_table(folder / "runs.parquet").to_pylist()
    keys = {row["key"]: from_dict(Run, json.loads(row["spec"])).key for row in written}
    assert len(keys) == len(written) > 0
    assert {key: computed for key, computed in keys.items() if computed != key} == {}


@pytest.mark.parametrize("folder", BASELINES, ids=lambda folder: folder.name)
def test_every_shipped_record_is_read_completely(folder: Path) -> None:
    assert check_checksums(folder, NAMES)
    members = pyarrow.parquet.read_table(folder / "members.parquet").to_pylist()
    measured = pyarrow.parquet.read_table(folder / "measurements.parquet").to_pylist()
    splits = pyarrow.parquet.read_table(folder / "splits.parquet").to_pylist()
    with open_archive(folder) as store:
        records = store.records()
    assert sum(len(record.members) for record in records) == len(members)
    assert sum(len(member.measured) for record in records for member in record.members) == len(measured)
    assert sum(len(record.splits) for record in records) == len(splits)
    counts = sorted((row["split"], row["strings"], row["distinct"], row["in_train"]) for row in splits)
    read = [each for record in records for each in record.splits]
    # Files of former versions count repeated strings of the training set. Reading converts them to distinct strings.
    found = sorted((s.split, s.strings, s.distinct) for s in read)
    assert found == sorted((split, strings, distinct) for split, strings, distinct, _ in counts)
    assert all(in_train in (strings, distinct) for split, strings, distinct, in_train in counts if split == "train")
    others = sorted((s.split, s.strings, s.distinct, s.in_train) for s in read if s.split != "train")
    assert others == [count for count in counts if count[0] != "train"]
    assert all(each.in_train == each.distinct for each in read if each.split == "train")


@pytest.mark.parametrize("path", shipped_checkpoints(), ids=lambda path: path.stem)
def test_every_shipped_checkpoint_belongs_to_a_shipped_run(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    keys = pyarrow.parquet.read_table(path.parent.parent / "runs.parquet")["key"].to_pylist()
    assert checkpoint.checked
    assert checkpoint.run.key in keys
    assert path.name.startswith(checkpoint.run.key)
    model = checkpoint.model()
    assert set(model.state_dict()) == set(checkpoint.weights)
