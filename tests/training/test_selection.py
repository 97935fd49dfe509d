"""The checkpoint that each selection rule chooses, and when the training of a member ends."""

from dataclasses import replace

import pytest
import torch

from fwplab.errors import UserError
from fwplab.training.record import Check
from fwplab.training.run import Protocol
from fwplab.training.selection import LearningMember

STUDY = Protocol(stop="every_rule", patience=2, oracle=True, max_steps=100)


def member_after(protocol: Protocol, *accuracies: tuple[float, float, float]) -> LearningMember:
    """A member after evaluations every ten steps, with these accuracies on Bin0, Bin1 and the reported strings."""
    member = LearningMember(seed=0, learning_rate=1e-3)
    for place, (bin0, bin1, oracle) in enumerate(accuracies, start=1):
        if member.status is None:
            check = Check(10 * place, 0.1, 1.0 / place, bin0, 0.5, bin1, oracle)
            member.apply_check(check, {"w": torch.full((1,), float(place))}, protocol)
    return member


def steps(member: LearningMember) -> dict[str, int]:
    return {rule: step for rule, (step, _) in member.chosen.items()}


def test_each_rule_selects_its_best_check() -> None:
    member = member_after(STUDY, (0.9, 0.2, 0.1), (0.8, 0.5, 0.3), (0.95, 0.1, 0.4))
    assert steps(member) == {"paper": 20, "strict": 30, "last": 30, "oracle": 30}
    assert [member.chosen[rule][1]["w"].item() for rule in ("paper", "strict")] == [2, 3]


def test_stop_every_rule_keeps_the_checkpoints_of_the_stop_in_distribution() -> None:
    checks = [(1.0, 0.2, 0.1), (1.0, 0.3, 0.2), (1.0, 0.9, 0.8), (1.0, 1.0, 0.9)]
    together = member_after(STUDY, *checks)
    alone = member_after(replace(STUDY, stop="in_distribution"), *checks)
    assert (alone.status, alone.checks[-1].step) == ("solved", 20)
    assert (together.status, together.checks[-1].step) == ("solved", 40)
    for rule in ("strict", "last"):
        assert together.chosen[rule] == alone.chosen[rule]
    assert steps(together)["paper"] == steps(together)["oracle"] == 40


def test_stop_every_rule_keeps_the_checkpoint_of_the_stop_of_the_paper() -> None:
    checks = [(1.0, 1.0, 0.7), (0.9, 1.0, 0.9), (1.0, 1.0, 1.0), (1.0, 0.9, 1.0)]
    together = member_after(STUDY, *checks)
    alone = member_after(replace(STUDY, stop="both_bins", patience=1), *checks)
    assert (alone.checks[-1].step, together.checks[-1].step) == (10, 40)
    assert together.chosen["paper"] == alone.chosen["paper"]


def test_patience_counts_consecutive_solved_evaluations() -> None:
    both = replace(STUDY, stop="both_bins", patience=2)
    assert member_after(both, (1.0, 1.0, 0.0), (1.0, 0.9, 0.0), (1.0, 1.0, 0.0)).status is None
    assert member_after(both, (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)).status == "solved"


def test_an_unsolved_member_ends_with_the_budget() -> None:
    member = member_after(replace(STUDY, max_steps=20), (1.0, 0.2, 0.0), (1.0, 0.2, 0.0))
    assert member.status == "budget"


@pytest.mark.parametrize(
    ("wrong", "choices"),
    [
        ({"selection": "best"}, "paper, strict, last"),
        ({"selection": "oracle"}, "paper, strict, last"),  # needs oracle=True
        ({"stop": "never"}, "every_rule"),
        ({"schedule": "linear"}, "constant, cosine"),
    ],
)
def test_an_unknown_choice_is_a_user_error(wrong: dict[str, str], choices: str) -> None:
    with pytest.raises(UserError, match=choices):
        Protocol(**wrong)  # type: ignore[arg-type]


def test_the_cosine_schedule_falls_to_zero() -> None:
    protocol = Protocol(schedule="cosine", max_steps=10)
    factors = [protocol.rate_factor(step) for step in range(11)]
    assert (factors[0], factors[5], factors[10]) == (1, pytest.approx(0.5), 0)
    assert factors == sorted(factors, reverse=True)
    assert Protocol().rate_factor(4_999) == 1
