"""Shipped checkpoints by name: language, mixer and starting weights."""

import pytest

from fwplab.cli.checkpoints import find_checkpoint
from fwplab.errors import UserError
from fwplab.tables.rows import start_of


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("dyck_1/delta-net", ""),
        ("dyck_1/delta-net:weak-writes", "weak writes"),
        ("reset_dyck_1/recurrent-delta:parted-gates", "parted gates"),
        ("reset_dyck_1/split-delta-net", ""),
        ("counter_3/srwm:uniform-keys", "uniform keys"),
    ],
)
def test_a_checkpoint_is_named_by_language_mixer_and_start(name: str, start: str) -> None:
    run = find_checkpoint(name, "paper").run
    assert f"{run.language}/{run.mixer_name}" == name.partition(":")[0]
    assert start_of(run) == start


def test_unknown_starting_weights_are_an_error_that_names_the_choices() -> None:
    with pytest.raises(UserError, match=r"dyck_1/delta-net:weak-writes"):
        find_checkpoint("dyck_1/delta-net:no-start", "paper")
