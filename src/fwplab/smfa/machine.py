"""Self-modifying finite automata: a move may create states, remove moves and add moves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fwplab.errors import UserError

FRESH = "'"
"""In a change, `v'` is the new state of the register v, and `v` is the state that it held before the change."""


@dataclass(frozen=True)
class Move:
    """A move from `source` to `target` when `symbol` is read. `then` names the change that follows, if any.

    `source` and `target` are places. A place is a fixed state, a register, or a register with `'` for its new state. A
    register stands for the state that it holds when the move is added.
    """

    source: str
    symbol: str
    target: str
    then: str | None = None


@dataclass(frozen=True)
class Change:
    """The modification that a move makes: states are created, then moves are removed, then moves are added.

    - `fresh`: the registers that get a new state, and the output of that state.
    - `add`: the moves to add.
    - `remove`: source and symbol of the moves to remove. It is no error if there is no such move.
    """

    fresh: Mapping[str, str] = field(default_factory=dict)
    add: tuple[Move, ...] = ()
    remove: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class SelfModifying:
    """A deterministic self-modifying finite automaton with an output in every state.

    - `symbols`: the alphabet.
    - `states`: the fixed states and their outputs.
    - `start`: the fixed state before the first symbol.
    - `moves`: the moves before the first symbol.
    - `registers`: the registers, and the fixed state that each holds at first.
    - `changes`: the changes by name.
    - `accepting`: the outputs of accepting states.

    A register only ever changes to a new state. Of the created states, a change can therefore refer only to those that
    the registers hold. A word is accepted if the state after it has an accepting output. Where there is no move, the
    word and all its continuations are rejected. Without changes this is an ordinary deterministic automaton. Raises
    `UserError` for an inconsistent description.

    Source: Rubinstein and Shutt, Self-modifying finite automata: an introduction, Information Processing Letters 56
    (1995); Self-modifying finite automata: power and limitations, technical report, Worcester Polytechnic Institute
    (1995). There, a move contains its actions. Here, changes have names, so that an added move can carry the same
    change again.

    >>> grow = Change({"v": "0"}, (Move("read", "b", "v"), Move("v'", "b", "v")), (("read", "b"),))
    >>> loop = Move("read", "a", "read", "grow")
    >>> states = {"read": "0", "end": "1"}
    >>> machine = SelfModifying(("a", "b"), states, "read", (loop,), {"v": "end"}, {"grow": grow})
    >>> [word for word in ("ab", "aabb", "aab", "ba", "aaabbb") if machine.accepts(word)]
    ['ab', 'aabb', 'aaabbb']
    """

    symbols: tuple[str, ...]
    states: Mapping[str, str]
    start: str
    moves: tuple[Move, ...]
    registers: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    accepting: frozenset[str] = frozenset({"1"})

    def __post_init__(self) -> None:
        _check(self)

    def begin(self) -> "Configuration":
        """The configuration before the first symbol."""
        return Configuration(self)

    def run(self, word: Iterable[str]) -> list[str | None]:
        """The output after each symbol of `word`; None from the first symbol on for which there is no move."""
        return [step.output for step in self.trace(word)]

    def accepts(self, word: Iterable[str]) -> bool:
        """Whether `word` is in the language."""
        configuration = self.begin()
        for symbol in word:
            configuration.step(symbol)
        return configuration.output in self.accepting

    def trace(self, word: Iterable[str]) -> "list[Step]":
        """Each step that the machine makes on `word`."""
        configuration = self.begin()
        return [configuration.step(symbol) for symbol in word]


Key = tuple[str, str]
"""A state and a symbol."""
Destination = tuple[str, str | None]
"""The state that a move leads to, and the name of the change that follows."""


@dataclass(frozen=True)
class Step:
    """The result of reading one symbol.

    - `symbol`: the symbol.
    - `state`, `output`: the new state and its output; None if there was no move.
    - `change`: the name of the change that was made, if any.
    - `registers`: the state that each register holds now.
    - `moves`: the number of moves that the machine has now.
    - `made`: the states that were created.
    - `removed`, `added`: the moves that were removed and added, between actual states.
    """

    symbol: str
    state: str | None
    output: str | None
    change: str | None
    registers: Mapping[str, str]
    moves: int
    made: tuple[str, ...] = ()
    removed: tuple[Move, ...] = ()
    added: tuple[Move, ...] = ()


class Configuration:
    """A self-modifying automaton at one point of a word: its state, registers, moves and all states created so far.

    `state` is None after a symbol without a move. A created state is named after its register and numbered: `v.1`,
    `v.2`.
    """

    def __init__(self, machine: SelfModifying) -> None:
        self.machine = machine
        self.state: str | None = machine.start
        self.outputs = dict(machine.states)
        self.registers = dict(machine.registers)
        self.moves: dict[Key, Destination] = {}
        self._made = 0
        for move in machine.moves:
            self._add(self._resolve_move(move, {}), "the machine")

    @property
    def output(self) -> str | None:
        """The output of the current state; None if there is none."""
        return None if self.state is None else self.outputs[self.state]

    def step(self, symbol: str) -> Step:
        """Reads one symbol: takes the move, then makes its change.

        Raises `UserError` for a symbol outside the alphabet, and if a change adds a second move for a state and a
        symbol.
        """
        if symbol not in self.machine.symbols:
            choices = " ".join(self.machine.symbols)
            raise UserError(f"symbol {symbol!r} is outside the alphabet, choose from: {choices}")
        destination = None if self.state is None else self.moves.get((self.state, symbol))
        self.state, then = destination or (None, None)
        made, removed, added = self._change(then) if then else ((), (), ())
        return Step(symbol, self.state, self.output, then, dict(self.registers), len(self.moves), made, removed, added)

    def _change(self, name: str) -> tuple[tuple[str, ...], tuple[Move, ...], tuple[Move, ...]]:
        change = self.machine.changes[name]
        fresh = {}
        for register, output in change.fresh.items():
            self._made += 1
            fresh[register] = f"{register}.{self._made}"
            self.outputs[fresh[register]] = output
        removed = []
        for source, symbol in change.remove:
            key = self._resolve(source, fresh), symbol
            if key in self.moves:
                removed.append(Move(*key, *self.moves.pop(key)))
        added = tuple(self._resolve_move(move, fresh) for move in change.add)
        for move in added:
            self._add(move, f"the change {name!r}")
        self.registers |= fresh
        return tuple(fresh.values()), tuple(removed), added

    def _resolve(self, place: str, fresh: Mapping[str, str]) -> str:
        if place.endswith(FRESH):
            return fresh[place.removesuffix(FRESH)]
        return self.registers.get(place, place)

    def _resolve_move(self, move: Move, fresh: Mapping[str, str]) -> Move:
        return Move(self._resolve(move.source, fresh), move.symbol, self._resolve(move.target, fresh), move.then)

    def _add(self, move: Move, origin: str) -> None:
        key = move.source, move.symbol
        if key in self.moves:
            raise UserError(
                f"{origin} adds a second move from {move.source} by {move.symbol!r}; remove the first before"
            )
        self.moves[key] = move.target, move.then


def _check(machine: SelfModifying) -> None:
    """Raises `UserError` for names that are unknown or ambiguous."""
    for name in (*machine.states, *machine.registers):
        if FRESH in name or "." in name or not name:
            raise UserError(f"{name!r} names no state and no register: a name has a letter, and no ' and no dot")
    both = sorted(set(machine.states) & set(machine.registers))
    if both:
        raise UserError(f"{both[0]!r} is a state and a register; choose two names")
    _require_known("start", machine.start, machine.states)
    for held in machine.registers.values():
        _require_known("state of a register", held, machine.states)
    places = (*machine.states, *machine.registers)
    _check_moves(machine, machine.moves, places)
    for change in machine.changes.values():
        for register in change.fresh:
            _require_known("register", register, machine.registers)
        here = (*places, *(register + FRESH for register in change.fresh))
        _check_moves(machine, change.add, here)
        for source, symbol in change.remove:
            _require_known("place", source, here)
            _require_known("symbol", symbol, machine.symbols)
    machine.begin()  # raises for two moves with the same state and symbol


def _check_moves(machine: SelfModifying, moves: Iterable[Move], places: tuple[str, ...]) -> None:
    for move in moves:
        _require_known("place", move.source, places)
        _require_known("place", move.target, places)
        _require_known("symbol", move.symbol, machine.symbols)
        if move.then is not None:
            _require_known("change", move.then, machine.changes)


def _require_known(what: str, name: str, choices: Iterable[str]) -> None:
    names = list(choices)
    if name not in names:
        raise UserError(f"unknown {what} {name!r}; choose from: {', '.join(names) or 'none'}")
