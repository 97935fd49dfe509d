"""Self-modifying finite automata: a move may make states, remove moves and add moves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fwplab.errors import UserError

FRESH = "'"
"""`v'` is the state that the register v holds after a change, `v` the one that it held before."""


@dataclass(frozen=True)
class Move:
    """From `source` by `symbol` to `target`; `then` names the change that follows.

    Source and target are places: a fixed state, a register, or a register with `'` for its fresh state. A register
    means the state that it holds when the move is added.
    """

    source: str
    symbol: str
    target: str
    then: str | None = None


@dataclass(frozen=True)
class Change:
    """What a move does to the machine: states are made, then moves removed, then moves added.

    `fresh`: the registers that get a new state, and its output. `remove`: source and symbol of moves; one that is not
    there is no error.
    """

    fresh: Mapping[str, str] = field(default_factory=dict)
    add: tuple[Move, ...] = ()
    remove: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class SelfModifying:
    """A deterministic self-modifying automaton with an output in every state.

    `states` maps the fixed states to their outputs, `registers` each register to the fixed state that it holds at
    first. A register only ever changes to a fresh state, so that the created states within reach of a change are those
    that a fixed set of registers holds. A word is accepted when the state after it has an output of `accepting`; where
    there is no move the word is rejected, and everything that it begins. Without changes this is an ordinary
    deterministic automaton. Raises `UserError` for a description that does not fit.

    Rubinstein and Shutt, Self-modifying finite automata: an introduction, Information Processing Letters 56 (1995);
    Self-modifying finite automata: power and limitations, technical report, Worcester Polytechnic Institute (1995).
    There a move carries its actions itself; here they have a name, so that an added move can carry them again.

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
        """The machine before the first symbol."""
        return Configuration(self)

    def run(self, word: Iterable[str]) -> list[str | None]:
        """The output after each symbol of `word`, None from the first symbol on for which there is no move."""
        return [step.output for step in self.trace(word)]

    def accepts(self, word: Iterable[str]) -> bool:
        """Whether `word` is in the language."""
        configuration = self.begin()
        for symbol in word:
            configuration.step(symbol)
        return configuration.output in self.accepting

    def trace(self, word: Iterable[str]) -> "list[Step]":
        """What happens at each symbol of `word`."""
        configuration = self.begin()
        return [configuration.step(symbol) for symbol in word]


Key = tuple[str, str]
"""A state and a symbol."""
Aim = tuple[str, str | None]
"""The state that a move leads to, and the change that follows."""


@dataclass(frozen=True)
class Step:
    """One symbol: the state after it and its output, None where there was no move, and what the change did.

    `made` are the states that it made, `removed` and `added` its moves as they were carried out, `moves` their number
    after it.
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
    """A self-modifying automaton on its way: state, registers, moves and the states that there are.

    `state` is None once there was no move. A created state is called by its register and a number: `v.1`, `v.2`, ...
    """

    def __init__(self, machine: SelfModifying) -> None:
        self.machine = machine
        self.state: str | None = machine.start
        self.outputs = dict(machine.states)
        self.registers = dict(machine.registers)
        self.moves: dict[Key, Aim] = {}
        self._made = 0
        for move in machine.moves:
            self._add(self._placed(move, {}), "the machine")

    @property
    def output(self) -> str | None:
        """The output of the state."""
        return None if self.state is None else self.outputs[self.state]

    def step(self, symbol: str) -> Step:
        """Reads one symbol: goes where its move leads, then carries out its change.

        Raises `UserError` for a symbol outside the alphabet, and where a change adds a second move for a state and a
        symbol.
        """
        if symbol not in self.machine.symbols:
            choices = " ".join(self.machine.symbols)
            raise UserError(f"symbol {symbol!r} is outside the alphabet, choose from: {choices}")
        aim = None if self.state is None else self.moves.get((self.state, symbol))
        self.state, then = aim or (None, None)
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
            key = self._place(source, fresh), symbol
            if key in self.moves:
                removed.append(Move(*key, *self.moves.pop(key)))
        added = tuple(self._placed(move, fresh) for move in change.add)
        for move in added:
            self._add(move, f"the change {name!r}")
        self.registers |= fresh
        return tuple(fresh.values()), tuple(removed), added

    def _place(self, place: str, fresh: Mapping[str, str]) -> str:
        if place.endswith(FRESH):
            return fresh[place.removesuffix(FRESH)]
        return self.registers.get(place, place)

    def _placed(self, move: Move, fresh: Mapping[str, str]) -> Move:
        return Move(self._place(move.source, fresh), move.symbol, self._place(move.target, fresh), move.then)

    def _add(self, move: Move, who: str) -> None:
        key = move.source, move.symbol
        if key in self.moves:
            raise UserError(f"{who} adds a second move from {move.source} by {move.symbol!r}; remove the first before")
        self.moves[key] = move.target, move.then


def _check(machine: SelfModifying) -> None:
    """A `UserError` for names that are not there, or that mean two things."""
    for name in (*machine.states, *machine.registers):
        if FRESH in name or "." in name or not name:
            raise UserError(f"{name!r} names no state and no register: a name has a letter, and no ' and no dot")
    both = sorted(set(machine.states) & set(machine.registers))
    if both:
        raise UserError(f"{both[0]!r} is a state and a register; choose two names")
    _known("start", machine.start, machine.states)
    for held in machine.registers.values():
        _known("state of a register", held, machine.states)
    places = (*machine.states, *machine.registers)
    _check_moves(machine, machine.moves, places)
    for change in machine.changes.values():
        for register in change.fresh:
            _known("register", register, machine.registers)
        here = (*places, *(register + FRESH for register in change.fresh))
        _check_moves(machine, change.add, here)
        for source, symbol in change.remove:
            _known("place", source, here)
            _known("symbol", symbol, machine.symbols)
    machine.begin()  # two first moves for one state and symbol


def _check_moves(machine: SelfModifying, moves: Iterable[Move], places: tuple[str, ...]) -> None:
    for move in moves:
        _known("place", move.source, places)
        _known("place", move.target, places)
        _known("symbol", move.symbol, machine.symbols)
        if move.then is not None:
            _known("change", move.then, machine.changes)


def _known(what: str, name: str, choices: Iterable[str]) -> None:
    names = list(choices)
    if name not in names:
        raise UserError(f"unknown {what} {name!r}; choose from: {', '.join(names) or 'none'}")
