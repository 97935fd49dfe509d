"""The checks of languages: own languages pass, broken ones get a clear message, the documented example passes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.languages import END, LANGUAGES, Language, load_language
from fwplab.languages.dyck_1 import Dyck1
from fwplab.languages.parity import Parity
from fwplab.mixers import MIXERS
from fwplab.plugins.check_language import check
from fwplab.training.run import Protocol, Run
from fwplab.training.trainer import Training

PAGE = Path(__file__).parents[2] / "docs" / "own-layer.md"


class TwoLetters(Parity):
    symbols = ("0", "one")


class NoSuchClass(Parity):
    def label(self, state: int) -> str:
        return "odd" if state else "1"


class NoLabel(Parity):
    def label(self, state: int) -> str:
        return None if state else "1"  # type: ignore[return-value]


class Miscounts(Parity):
    def count(self, length: int) -> int:
        return 2**length


class DrawsNoWords(Parity):
    def draw(self, length: int, number: int, generator: np.random.Generator) -> Any:
        return generator.integers(0, 2, (number, length))


class IgnoresTheSeed(Parity):
    def draw(self, length: int, number: int, generator: np.random.Generator) -> Any:
        return super().draw(length, number, np.random.default_rng())


class DrawsTooFew(Parity):
    def draw(self, length: int, number: int, generator: np.random.Generator) -> Any:
        return super().draw(length, 1, generator)


class DrawsForeignTokens(Parity):
    def draw(self, length: int, number: int, generator: np.random.Generator) -> Any:
        return 3 * super().draw(length, number, generator)


class ForbidsAWord(Parity):
    def following(self, state: int) -> frozenset[str]:
        return frozenset(("0",)) if state else frozenset(("0", "1", END))


class AllowsDeadEnds(Dyck1):
    def following(self, state: Any) -> frozenset[str]:
        allowed = super().following(state)
        return allowed | {")"} if allowed else allowed


class UnhashableState(Parity):
    start: Any = [0]  # noqa: RUF012

    def step(self, state: Any, symbol: str) -> Any:
        return [state[0] ^ (symbol == "1")]

    def label(self, state: Any) -> str:
        return super().label(state[0])

    def following(self, state: Any) -> frozenset[str]:
        return super().following(state[0])


class DependsOnCalls(Parity):
    read = 0

    def step(self, state: int, symbol: str) -> int:
        self.read += 1
        return self.read


class ForeignNext(Parity):
    def following(self, state: int) -> frozenset[str]:
        return super().following(state) | {"2"}


class AnotherRule(Parity):
    def word_rule(self, string: str) -> bool:
        return "1" not in string


class AnotherLabel(Parity):
    def label_rule(self, prefix: str) -> str:
        return prefix[-1]


@pytest.mark.parametrize("name", LANGUAGES.own_names())
def test_the_languages_of_fwplab_pass(name: str) -> None:
    check(load_language(name))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (TwoLetters, "needs different single characters as symbols"),
        (NoSuchClass, "labels '1' 'odd', which is not one of its classes"),
        (NoLabel, "has no label at the end of '1', but some word begins with it"),
        (Miscounts, "counts 2 words of length 1, but 1 strings are words"),
        (DrawsNoWords, "which is not a word"),
        (IgnoresTheSeed, "draws different words with the same seed"),
        (DrawsTooFew, r"draws int8 \[1, 1\], not integers \[20, 1\]"),
        (DrawsForeignTokens, "draws a token that is not an index into its symbols"),
        (ForbidsAWord, "says that '1' may not follow '1', but some word begins with '11'"),
        (AllowsDeadEnds, r"says that '\)' may follow '', but no word begins with '\)'"),
        (UnhashableState, "fails: TypeError: unhashable"),
        (DependsOnCalls, "step must not depend on earlier calls"),
        (AnotherRule, "says by its states that '11' is a word, but by its word_rule that it is no word"),
        (AnotherLabel, "labels '0' '1', but its label_rule says '0'"),
        (ForeignNext, r"lets \['2'\] follow '0', which are not in its alphabet"),
    ],
)
def test_a_broken_requirement_is_named(broken: type[Language], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Language, "name", "mine")
    with pytest.raises(UserError, match=f"language 'mine' .*{message}.*; docs/own-layer.md says") as found:
        check(broken())
    assert "\n" not in str(found.value)


def test_nothing_is_trained_on_a_broken_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwplab.training.run_splits.load_language", lambda _: Miscounts())
    monkeypatch.setattr(Language, "name", "mine")
    not_cached = Protocol(splits=SplitSpec(train_strings=77))
    with pytest.raises(UserError, match="counts 2 words of length 1"):
        Training(Run("parity", protocol=not_cached, mixer=MIXERS.load("srwm")()), "cpu")


def test_the_example_languages_of_the_documentation_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1:3]
    defined: dict[str, Any] = {}
    exec(long, defined)
    exec(short, defined)
    full, short_form = defined["ThreeAs"](), defined["ThreeAsAgain"]()
    monkeypatch.setattr(Language, "name", "mine")
    check(full)
    check(short_form)
    assert [full.count(length) for length in range(20)] == [short_form.count(length) for length in range(20)]
