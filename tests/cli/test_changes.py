"""Options made from specs: a given option replaces the value of the preset, and the help text is that of the spec."""

import pytest

from fwplab.cli import run as command
from fwplab.cli.console import parse
from fwplab.cli.search import SearchCommand
from fwplab.cli.training import Train
from fwplab.recipes.space import Space
from fwplab.training.run import PROTOCOLS, Run

CELL = ["--language", "parity", "--mixer", "srwm"]


def run_of(*words: str) -> Run:
    """The run that `fwplab train` makes of these options."""
    run: Run = parse(Train, [*CELL, *words], "").run()
    return run


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_preset_sets_all_options_that_are_not_given(name: str) -> None:
    assert run_of("--protocol", name).protocol == PROTOCOLS[name]


def test_a_given_option_replaces_the_preset_even_if_it_is_another_preset_s_default() -> None:
    protocol = run_of("--protocol", "strict", "--patience", "1", "--max-steps", "7", "--test-strings", "9").protocol
    assert (protocol.patience, protocol.max_steps, protocol.splits.test_strings) == (1, 7, 9)
    assert (protocol.selection, protocol.stop) == ("strict", "in_distribution")


def test_the_options_of_a_search_set_its_space() -> None:
    plain = parse(SearchCommand, CELL, "")
    assert plain.search().space == Space()
    narrow = parse(SearchCommand, [*CELL, "--hidden", "8", "--head-width", "4", "--switch", "rate_bias=-1,-4"], "")
    assert narrow.search().space == Space(hidden=(8,), head_width=(4,), switches={"rate_bias": (-1, -4)})


def test_the_help_has_the_descriptions_and_defaults_of_the_specs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert f"after which training ends in any case. (default: {PROTOCOLS['paper'].max_steps:,})" in text
    patience = ", ".join(f"{protocol.patience} of {name}" for name, protocol in PROTOCOLS.items())
    assert f"that `stop` requires. (default: {patience})" in text
