"""The history of a recipe: the search that chose its hyperparameters, and other attempts."""

from dataclasses import dataclass
from typing import Literal

from fwplab.recipes.space import Space

Objective = Literal["paper", "strict"]
OverSeeds = Literal["mean", "median"]
Pruner = Literal["median", "hyperband"]


@dataclass(frozen=True)
class Searched:
    """A finished search."""

    name: str
    """The name of the search."""
    ended: int
    """The number of trials that were trained to their end."""
    pruned: int
    """The number of trials that were stopped early."""
    seeds: int
    """The number of seeds of a trial."""
    strings: int
    """The number of strings that each seed was trained on."""
    value: float
    """The value of the best trial."""
    objective: Objective
    """The objective of the search (see `Search.objective`)."""
    space: Space
    """The values to choose from."""
    check_every: int | None
    """The number of steps between two evaluations of both bins; None for a fixed number of evaluations."""
    first_seed: int
    """The first seed of a trial."""
    split_seed: int
    """The seed of the strings."""
    sampler: str
    """The sampler and its version."""
    also: tuple[str, ...] = ()
    """Further languages; the value of a trial is that of its worst language."""
    over_seeds: OverSeeds = "mean"
    """How the values of a trial's seeds are combined."""
    pruner: Pruner = "median"
    """Which trials were stopped early (see `Search.pruner`)."""

    @property
    def summary(self) -> str:
        """A summary in one line."""
        return f"search {self.name}: {_trials(self.ended)}, value {self.value:.4f} ({self.objective})"

    def lines(self) -> list[str]:
        """All details, one fact in each line."""
        evaluations = f"every {self.check_every:,} steps" if self.check_every else "at a fixed number of points"
        return [
            f"search {self.name}",
            f"{_trials(self.ended)} to the end, {self.pruned} pruned ({self.pruner}), by {self.sampler}",
            f"value of the best: {self.value:.4f} ({self.objective}, {self.over_seeds} over seeds)",
            *([f"the worst language counts: {', '.join((self.name.split('/')[0], *self.also))}"] if self.also else []),
            f"a trial: {_plural(self.seeds, 'seed')} from {self.first_seed} on, {self.strings:,} strings each",
            f"evaluated {evaluations}, on strings of split seed {self.split_seed}",
            *self.space.lines(),
        ]


@dataclass(frozen=True)
class Attempt:
    """Another attempt for the same cell, by a search or by hand. Numbers that are not known are None."""

    tried: str
    """What was tried."""
    outcome: str
    """The result."""
    search: str = ""
    """The name of the search; empty if there was none."""
    trials: int | None = None
    """The number of trials."""
    seeds: int | None = None
    """The number of seeds of a trial."""
    strings: int | None = None
    """The number of strings that each seed was trained on."""
    value: float | None = None
    """The value of the best trial."""

    def line(self) -> str:
        """One sentence."""
        known = [
            f"search {self.search}" if self.search else "",
            "" if self.trials is None else _trials(self.trials),
            "" if self.seeds is None else f"{_plural(self.seeds, 'seed')} a trial",
            "" if self.strings is None else f"{self.strings:,} strings a seed",
            "" if self.value is None else f"value {self.value:.4f}",
        ]
        facts = ", ".join(fact for fact in known if fact)
        return f"{self.tried}{f' ({facts})' if facts else ''}: {self.outcome}"


@dataclass(frozen=True)
class History:
    """Where the hyperparameters of a recipe come from."""

    search: Searched | None = None
    """The search that found them; None for common hyperparameters, and for those that were chosen by hand."""
    notes: tuple[str, ...] = ()
    """Further remarks, one sentence each."""
    tried: tuple[Attempt, ...] = ()
    """Other attempts."""
    by_hand: bool = False
    """Whether the hyperparameters were chosen by hand."""

    def summary(self, language: str) -> str:
        """A summary in one line, for a cell of this language."""
        more = f"; {len(self.tried)} more tried" if self.tried else ""
        if self.search is None:
            return f"chosen by hand{more}" if self.by_hand else "common: not searched"
        owner = self.search.name.split("/")[0]
        borrowed = f"from {owner}: " if owner != language else ""
        return f"{borrowed}{self.search.summary}{more}"

    def lines(self) -> list[str]:
        """All details, one fact in each line."""
        none = "chosen by hand" if self.by_hand else "not searched"
        searched = [none] if self.search is None else self.search.lines()
        return [*searched, *self.notes, *(f"tried: {each.line()}" for each in self.tried)]


def _trials(number: int) -> str:
    return _plural(number, "trial")


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
