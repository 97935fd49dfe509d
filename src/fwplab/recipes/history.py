"""Where a recipe's numbers come from: the search that chose them, and what else was tried."""

from dataclasses import dataclass
from typing import Literal

from fwplab.recipes.space import Space

Objective = Literal["paper", "strict"]


@dataclass(frozen=True)
class Searched:
    """A finished search. `value` is that of its best trial under `objective`.

    `ended` trials were trained to their end, `pruned` trials were given up before. A trial trains `seeds` members,
    from `first_seed` on, for `strings` strings each, and looks at both bins every `check_every` steps (None: at a fixed
    number of points). The strings are those of `split_seed`.
    """

    name: str
    ended: int
    pruned: int
    seeds: int
    strings: int
    value: float
    objective: Objective
    space: Space
    check_every: int | None
    first_seed: int
    split_seed: int
    sampler: str

    @property
    def summary(self) -> str:
        """One line."""
        return f"search {self.name}: {_trials(self.ended)}, value {self.value:.4f} ({self.objective})"

    def lines(self) -> list[str]:
        """All of it, a fact a line."""
        looks = f"every {self.check_every:,} steps" if self.check_every else "at a fixed number of points"
        return [
            f"search {self.name}",
            f"{_trials(self.ended)} to the end, {self.pruned} pruned, by {self.sampler}",
            f"value of the best: {self.value:.4f} ({self.objective})",
            f"a trial: {_counted(self.seeds, 'seed')} from {self.first_seed} on, {self.strings:,} strings each",
            f"evaluated {looks}, on strings of split seed {self.split_seed}",
            *self.space.lines(),
        ]


@dataclass(frozen=True)
class Attempt:
    """Something else that was tried for the cell, by a search or by hand, and how it ended.

    The numbers are those of its search, None where they are not known.
    """

    tried: str
    outcome: str
    search: str = ""
    trials: int | None = None
    seeds: int | None = None
    strings: int | None = None
    value: float | None = None

    def line(self) -> str:
        """One sentence."""
        known = [
            f"search {self.search}" if self.search else "",
            "" if self.trials is None else _trials(self.trials),
            "" if self.seeds is None else f"{_counted(self.seeds, 'seed')} a trial",
            "" if self.strings is None else f"{self.strings:,} strings a seed",
            "" if self.value is None else f"value {self.value:.4f}",
        ]
        facts = ", ".join(fact for fact in known if fact)
        return f"{self.tried}{f' ({facts})' if facts else ''}: {self.outcome}"


@dataclass(frozen=True)
class History:
    """Where the numbers of a recipe come from; without a `search` they are common ones, and `notes` says for whom."""

    search: Searched | None = None
    notes: tuple[str, ...] = ()
    tried: tuple[Attempt, ...] = ()

    def summary(self, language: str) -> str:
        """One line, for a cell of this language."""
        if self.search is None:
            return "common: not searched"
        owner = self.search.name.split("/")[0]
        borrowed = f"from {owner}: " if owner != language else ""
        more = f"; {len(self.tried)} more tried" if self.tried else ""
        return f"{borrowed}{self.search.summary}{more}"

    def lines(self) -> list[str]:
        """All that is known, a fact a line."""
        searched = ["not searched"] if self.search is None else self.search.lines()
        return [*searched, *self.notes, *(f"tried: {each.line()}" for each in self.tried)]


def _trials(number: int) -> str:
    return _counted(number, "trial")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
