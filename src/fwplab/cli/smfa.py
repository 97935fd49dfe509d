"""`fwplab smfa`: self-modifying finite automata (SMFA): examples, and extraction from trained models."""

import importlib.util
import inspect
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.checkpoints import find_checkpoint
from fwplab.cli.console import emit, listed
from fwplab.cli.machines import check_suffixes, write_text
from fwplab.constructions import CONSTRUCTIONS
from fwplab.errors import UserError
from fwplab.extraction.agreement import LENGTHS
from fwplab.languages import Language
from fwplab.smfa.drawing import describe_change, format_move, machine_facts, to_dot
from fwplab.smfa.examples import EXAMPLES, Example
from fwplab.smfa.machine import SelfModifying, Step
from fwplab.smfa.nerode import residuals
from fwplab.source import first_paragraph
from fwplab.tables.numbers import percent
from fwplab.training.protocol import Rule

if TYPE_CHECKING:
    from fwplab.model.model import Model
    from fwplab.smfa.propose import Proposal
    from fwplab.smfa.weights import StateChange

COMPARED = 100_000
"""The most pairs of a word and a continuation to try when the states of a finite automaton are counted."""


def _sizes(name: str) -> dict[str, Any]:
    kind = EXAMPLES.load(name)
    machine = kind().machine()
    sizes = {part: len(getattr(machine, part)) for part in ("states", "registers", "moves", "changes")}
    return {"name": name, **sizes, "description": first_paragraph(inspect.getdoc(kind))}


def _states_needed(example: Example, symbols: tuple[str, ...]) -> list[int]:
    """The least number of states of a finite automaton for words up to length 0, 1, 2, ..."""
    most = 1
    while sum(len(symbols) ** size for size in range(most + 3)) ** 2 / len(symbols) <= COMPARED:
        most += 1
    return [residuals(example.contains, symbols, length) for length in range(most + 1)]


@dataclass(frozen=True)
class ListMachines:
    """Lists all example automata, with the number of their states, registers, moves and changes."""

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        table = Table("machine", "states", "registers", "moves", "changes", "its language", box=None)
        facts = listed(EXAMPLES, _sizes)
        for fact in facts:
            table.add_row(*map(str, fact.values()))
        emit(facts, as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowMachine:
    """Shows one example automaton: why it is correct, its moves and changes, and how many states a finite automaton
    would need at least."""

    name: Positional[str]
    """Name of an example: fwplab smfa."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        kind = EXAMPLES.load(self.name)
        machine = kind().machine()
        needed = _states_needed(kind(), machine.symbols)
        text = inspect.getdoc(kind) or ""
        lines = [EXAMPLES.name_of(kind), "", text, "", *_parts(machine), ""]
        lines.append(
            f"A finite automaton needs for words up to length 0, 1, ...: {', '.join(map(str, needed))} states."
        )
        facts = {"name": EXAMPLES.name_of(kind), "text": text, **machine_facts(machine), "finite_states": needed}
        emit(facts, as_json=self.json, text="\n".join(lines))
        return 0


@dataclass(frozen=True)
class RunMachine:
    """Runs an example automaton on a word, and prints each step."""

    name: Positional[str]
    """Name of an example: fwplab smfa."""
    word: Positional[str]
    """A word over its alphabet."""
    out: tuple[Path, ...] = ()
    """Files to write: .dot (the automaton after the word) or .json."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        check_suffixes(self.out)
        kind = EXAMPLES.load(self.name)
        machine = kind().machine()
        steps, accepted = machine.trace(self.word), machine.accepts(self.word)
        facts = {"name": EXAMPLES.name_of(kind), "word": self.word, "accepted": accepted}
        facts["steps"] = [asdict(step) for step in steps]
        for path in self.out:
            write_text(path, facts, lambda: _after(machine, self.word))
        emit(facts, as_json=self.json, text=Group(_trace(steps), "accepted" if accepted else "rejected"))
        return 0


@dataclass(frozen=True)
class ExtractMachine:
    """Extracts a self-modifying automaton, a control with one chain, from a model, and tests it on longer words."""

    model: Positional[str]
    """A checkpoint file; the key of a run; LANGUAGE/MIXER for one that comes with the package; or a construction."""
    rule: Rule = "paper"
    """For the key of a run: the selection rule whose checkpoint is read."""
    source: str = "answers"
    """answers: fit the model's answers. weights: fit the programs found by clustering its states."""
    longest: int = 16
    """The longest words to fit."""
    words: int = 3_000
    """The most words to fit; shorter words come first."""
    rows: int = 8
    """The most rows of the automaton's table. A control of n states has n rows, with a chain 2n."""
    steps: int = 1_000_000
    """The search gives up after it has read this many words."""
    lengths: tuple[int, ...] = LENGTHS
    """Lengths of the held-out words."""
    seed: int = 0
    """Seed of the sampled words."""
    out: tuple[Path, ...] = ()
    """Files to write: .dot (the automaton at its start) or .json."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        if importlib.util.find_spec("sklearn") is None:
            raise UserError("extraction needs scikit-learn: pip install 'fwplab[extract]'")
        from fwplab.smfa.propose import propose, verdict

        check_suffixes(self.out)
        title, model, language = _subject(self.model, self.rule)
        found = propose(
            model,
            language,
            source=self.source,  # type: ignore[arg-type]  # checked there, with the choices
            longest=self.longest,
            most_words=self.words,
            most_rows=self.rows,
            most_steps=self.steps,
            lengths=self.lengths,
            seed=self.seed,
        )
        facts = {"model": title, "language": language.name, **_facts(found)}
        if found.fit.chain is None and any(path.suffix.lower() == ".dot" for path in self.out):
            raise UserError(f"no .dot can be written: {verdict(found)}; choose from: .json")
        for path in self.out:
            write_text(path, facts, lambda: to_dot(_smfa(found).begin()))
        emit(facts, as_json=self.json, text=_text(found, title))
        return 0


def _subject(name: str, rule: Rule) -> tuple[str, "Model", Language]:
    """The model with this name: its title, the model itself, and its language."""
    if name in CONSTRUCTIONS:
        construction = CONSTRUCTIONS.load(name)()
        if not isinstance(construction.task, Language):
            raise UserError(f"{name} has no language to draw words from; choose a construction of a language")
        return f"the construction {name}", construction.build(), construction.task
    checkpoint = find_checkpoint(name, rule)
    run = checkpoint.run
    title = f"{run.mixer_name} on {run.language}, seed {checkpoint.seed}, {checkpoint.rule} rule"
    return title, checkpoint.model(), run.task_language


def _smfa(found: "Proposal") -> SelfModifying:
    assert found.fit.chain is not None
    return found.fit.chain.to_smfa()


def _facts(found: "Proposal") -> dict[str, Any]:
    """The result as plain JSON values."""
    from fwplab.smfa.propose import verdict

    chain, reading = found.fit.chain, found.reading
    facts: dict[str, Any] = {
        "source": found.source,
        "found": chain is not None,
        "verdict": verdict(found),
        "words": found.words,
        "longest": found.longest,
        "programs": found.programs,
        "faithful": found.faithful,
        "rows": found.fit.rows,
        "steps": found.fit.steps,
        "exhausted": found.fit.exhausted,
        "seconds": round(found.seconds, 3),
        "witness": found.witness,
        "agreement": [asdict(each) for each in found.agreement],
        "table": _rows(found),
        "machine": None if chain is None else machine_facts(_smfa(found)),
    }
    if reading is not None:
        facts |= {"depth": reading.depth, "control": reading.control, "majority": reading.majority}
    return facts


def _rows(found: "Proposal") -> list[dict[str, Any]]:
    """The rows of the automaton's table: a move each, with its changes of the automaton and of the model's state."""
    if found.fit.chain is None:
        return []
    chain, grown = found.fit.chain, _smfa(found).changes
    changed = found.reading.changed if found.reading else {}
    return [
        {
            "control": row[0],
            "chain": "above" if row[1] else "bottom",
            "symbol": symbol,
            "to": to,
            "effect": effect,
            "moves_added": len(grown["grow"].add) if effect == "push" else 0,
            **_state_change(changed.get((row, symbol))),
        }
        for (row, symbol), (to, effect) in sorted(chain.moves.items())
    ]


def _state_change(changed: "StateChange | None") -> dict[str, Any]:
    """How a move changes the model's state: the relative size of the change, the mean and deviation of the change of
    depth, and three shares of positions."""
    if changed is None:
        return dict.fromkeys(("state_changed", "depth_changed", "positions", "read", "written", "neither"))
    written = changed.written
    shares = dict.fromkeys(("read", "written", "neither")) if written is None else written.shares
    positions = 0 if written is None else written.positions
    return {"state_changed": changed.share, "depth_changed": changed.depth, "positions": positions, **shares}


def _text(found: "Proposal", title: str) -> Group:
    from fwplab.smfa.propose import verdict

    lines: list[Any] = [f"{title}, by {found.source}:", verdict(found)]
    if found.fit.chain is not None:
        columns = ("control", "chain", "symbol", "to", "effect", "adds moves", "changes %", "depth by")
        table = Table(*columns, "positions", "read %", "written %", "neither %", box=None)
        for row in _rows(found):
            names = ("control", "chain", "symbol", "to", "effect", "moves_added")
            entries = [str(row[name]) for name in names]
            depth, positions = row["depth_changed"], row["positions"]
            moved = "-" if depth is None else f"{depth[0]:+.2f} ± {depth[1]:.2f}"
            shares = [percent(row[name]) for name in ("read", "written", "neither")]
            table.add_row(*entries, percent(row["state_changed"]), moved, str(positions or "-"), *shares)
        lines += [table, *_parts(_smfa(found)), *_readout_lines(found), _length_table(found)]
    return Group(*lines, f"{found.fit.steps:,} words read by the search; {found.seconds:.1f} s in all")


def _readout_lines(found: "Proposal") -> list[str]:
    """What a linear readout of the model's state gives, as lines."""
    reading = found.reading
    if reading is None:
        return [
            "nothing is read off the state: it grows with the word, is not finite, or the machine rejects the words"
        ]
    lines = []
    if reading.depth is not None:
        lines.append(f"on other words a linear readout of the state gives the depth with R2 = {reading.depth:.3f}")
    if reading.control is not None and reading.majority is not None:
        lines.append(
            f"on other words a linear readout of the state gives the control in {percent(reading.control)} %, guess "
            f"{percent(reading.majority)}"
        )
    if reading.written.positions:
        read, written, neither = map(percent, reading.written.shares.values())
        lines.append(
            f"the next answers are the machine's at {read} % of positions after the symbol is read, at {written} % "
            f"when only the mean change of its move is written, at {neither} % with neither"
        )
    return lines


def _length_table(found: "Proposal") -> Table:
    table = Table("length", "words", "model right %", "as the model %", "as the language %", box=None)
    for each in found.agreement:
        counts = (each.model, each.with_model, each.with_language)
        table.add_row(str(each.length), str(each.words), *(percent(count / each.words) for count in counts))
    return table


def _parts(machine: SelfModifying) -> list[str]:
    """The states, registers, moves and changes of an automaton, as lines."""
    lines = ["states: " + ", ".join(f"{state} (output {output})" for state, output in machine.states.items())]
    if machine.registers:
        lines.append("registers: " + ", ".join(f"{name} = {held}" for name, held in machine.registers.items()))
    lines.append("moves: " + "; ".join(map(format_move, machine.moves)))
    return lines + [f"change {name}: {'; '.join(describe_change(change))}" for name, change in machine.changes.items()]


def _trace(steps: list[Step]) -> Table:
    table = Table("symbol", "state", "output", "registers", "moves", "change", "removed", "added", box=None)
    for step in steps:
        registers = ", ".join(f"{name} = {state}" for name, state in step.registers.items())
        removed, added = ("; ".join(map(format_move, moves)) for moves in (step.removed, step.added))
        state = (step.symbol, step.state or "none", step.output or "-", registers, str(step.moves))
        table.add_row(*state, step.change or "", removed, added)
    return table


def _after(machine: SelfModifying, word: str) -> str:
    configuration = machine.begin()
    for symbol in word:
        configuration.step(symbol)
    return to_dot(configuration)
