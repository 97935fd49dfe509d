"""Reads a deterministic automaton from a file: DOT, as AALpy, automata-lib and Graphviz write it, or JSON."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from fwplab.errors import UserError, shown
from fwplab.languages._definition import MOST_STATES, Machine, smallest_automaton

MOST_BYTES = 500_000
"""The largest file."""
FORMATS = (
    "DOT (a double circle accepts, an edge without a label leads to the start), or JSON with symbols, moves, "
    "accepting, or with states, input_symbols, transitions, initial_state, final_states, or with AALpy's state setup"
)


class _Edge(NamedTuple):
    origin: str
    symbol: str
    target: str


def machine(path: Path) -> Machine:
    """The smallest automaton of a file.

    - DOT: a node with the shape `doublecircle` accepts. An edge without a label leads to the start. A label with
      commas is several symbols.
    - JSON with `symbols`, `moves` (for each state the next states, null if no word begins like this) and `accepting`
      (the states in which a word may end); state 0 is the start.
    - JSON with the arguments of automata-lib's `DFA`: `states`, `input_symbols`, `transitions`, `initial_state` and
      `final_states`.
    - JSON with AALpy's state setup: for each state whether it accepts, and its next states; the first is the start.

    A missing move leads to no word. Raises `UserError` if the file cannot be read, is too large, or holds no
    deterministic automaton over single characters.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; choose a file with an automaton") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES:,} bytes; choose a smaller automaton")
    try:
        text = data.decode("utf-8")
        if text.lstrip()[:1] in ("{", "["):
            return _of_json(json.loads(text))
        return _of_dot(text)
    except (UserError, KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: {why}; the formats are {FORMATS}") from error


def _of_json(values: Any) -> Machine:
    if not isinstance(values, dict) or not values:
        raise UserError("an automaton is a JSON object")
    if "moves" in values:
        moves = tuple(tuple(None if to is None else int(to) for to in row) for row in values["moves"])
        edges = [
            _Edge(str(state), symbol, str(to))
            for state, row in enumerate(moves)
            for symbol, to in zip(values["symbols"], row, strict=True)
            if to is not None
        ]
        return _of_edges(map(str, range(len(moves))), edges, "0", map(str, values["accepting"]), values["symbols"])
    if "transitions" in values:
        rows = values["transitions"]
        edges = [_Edge(str(state), symbol, str(to)) for state, row in rows.items() for symbol, to in row.items()]
        ends, start = map(str, values["final_states"]), str(values["initial_state"])
        return _of_edges(map(str, values["states"]), edges, start, ends, values["input_symbols"])
    edges = [_Edge(state, symbol, str(to)) for state, (_, row) in values.items() for symbol, to in row.items()]
    return _of_edges(values, edges, next(iter(values)), (state for state in values if values[state][0] is True))


def _of_dot(text: str) -> Machine:
    """The library pydot reads the language DOT. Defaults for nodes hold from the place where they are written."""
    import pydot

    try:
        with warnings.catch_warnings(action="ignore"):  # of pydot about the parser that it uses
            graphs = pydot.graph_from_dot_data(text)
    except Exception as error:  # the parser raises errors of its own library
        raise UserError(f"is no DOT text ({type(error).__name__})") from error
    if not graphs:
        raise UserError("is no DOT text")
    default: dict[str, str] = {}
    states: dict[str, bool] = {}
    for node in sorted(graphs[0].get_node_list(), key=lambda each: each.get_sequence() or 0):
        name, attributes = _plain(node.get_name()), node.get_attributes()
        if name == "node":
            default |= attributes
        elif name not in ("graph", "edge"):
            states[name] = _plain((default | attributes).get("shape", "")) == "doublecircle"
    edges, starts = [], []
    for edge in graphs[0].get_edge_list():
        origin, target = _plain(str(edge.get_source())), _plain(str(edge.get_destination()))
        label = _plain(str(edge.get_attributes().get("label", "")))
        if not label:
            starts.append((origin, target))
        symbols = [label] if len(label) == 1 else [part.strip() for part in label.split(",")] if label else []
        edges += [_Edge(origin, symbol, target) for symbol in symbols]
    if len(starts) != 1:
        raise UserError(f"has {len(starts)} edges without a label; exactly one leads to the start")
    (marker, start), moving = starts[0], {state for edge in edges for state in (edge.origin, edge.target)}
    names = dict.fromkeys((*(set(states) - {marker}), *moving, start))
    return _of_edges(names, edges, start, (state for state, ends in states.items() if ends))


def _plain(text: str) -> str:
    """A name or a value of DOT without its quotation marks."""
    text = text.strip()
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _of_edges(states: Any, edges: list[_Edge], start: str, accepting: Any, symbols: Any = None) -> Machine:
    """The smallest automaton with these states and edges. `symbols`: the default is those of the edges."""
    names, ends = list(dict.fromkeys((start, *states))), set(accepting)
    alphabet = list(dict.fromkeys([edge.symbol for edge in edges] if symbols is None else symbols))
    if long := [symbol for symbol in alphabet if not isinstance(symbol, str) or len(symbol) != 1]:
        raise UserError(f"has the symbol {shown(long[0])}, but a symbol is a single character")
    if len(names) > MOST_STATES:
        raise UserError(f"has {len(names):,} states, but at most {MOST_STATES:,} can be read")
    place = {name: number for number, name in enumerate(names)}
    table: list[list[int | None]] = [[None] * len(alphabet) for _ in names]
    if strange := ends - set(names):
        raise UserError(f"accepts in {shown(min(strange))}, which is no state")
    for origin, symbol, target in edges:
        if origin not in place or target not in place or symbol not in alphabet:
            raise UserError(f"has a move from {origin!r} by {symbol!r} to {target!r}, of which one is not declared")
        column = alphabet.index(symbol)
        if table[place[origin]][column] not in (None, place[target]):
            raise UserError(f"is not deterministic: two moves from {origin!r} by {symbol!r}")
        table[place[origin]][column] = place[target]
    return smallest_automaton("".join(alphabet), tuple(map(tuple, table)), frozenset(place[end] for end in ends))
