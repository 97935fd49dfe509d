"""Self-modifying automata as text, as JSON values and in the DOT language."""

from dataclasses import asdict
from typing import Any

from fwplab.extraction.mealy import escape_dot
from fwplab.smfa.machine import Change, Configuration, Move, SelfModifying


def format_move(move: Move) -> str:
    """Formats a move in a few characters.

    >>> format_move(Move("v'", "b", "v", "grow"))
    "v' -b-> v, grow"
    """
    text = f"{move.source} -{move.symbol}-> {move.target}"
    return text if move.then is None else f"{text}, {move.then}"


def describe_change(change: Change) -> list[str]:
    """Describes a change, one line for each action."""
    made = [f"fresh {register}, output {output}" for register, output in change.fresh.items()]
    removed = [f"remove {source} -{symbol}->" for source, symbol in change.remove]
    return [*made, *removed, *(f"add {format_move(move)}" for move in change.add)]


def current_moves(configuration: Configuration) -> list[Move]:
    """The moves of a configuration, in the order in which they were added."""
    return [Move(*key, *aim) for key, aim in configuration.moves.items()]


def machine_facts(machine: SelfModifying) -> dict[str, Any]:
    """A machine as JSON values."""
    return {**asdict(machine), "accepting": sorted(machine.accepting)}


def to_dot(configuration: Configuration) -> str:
    """Draws a configuration in the DOT language.

    Created states are dashed, accepting states have a double border, and the current state is filled. A register is a
    box that points to its state.
    """
    machine = configuration.machine
    lines = ["digraph {", "  rankdir=LR;"]
    for state, output in configuration.outputs.items():
        shape = "doublecircle" if output in machine.accepting else "circle"
        styles = [] if state in machine.states else ["dashed"]
        styles += ["filled"] if state == configuration.state else []
        lines.append(
            f'  {_quoted(state)} [shape={shape}, style="{",".join(styles)}", label={_quoted(f"{state} / {output}")}];'
        )
    for register, state in configuration.registers.items():
        lines += [f"  {_quoted(register)} [shape=box];", f"  {_quoted(register)} -> {_quoted(state)} [style=dotted];"]
    for move in current_moves(configuration):
        text = move.symbol if move.then is None else f"{move.symbol}, {move.then}"
        lines.append(f"  {_quoted(move.source)} -> {_quoted(move.target)} [label={_quoted(text)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return f'"{escape_dot(text)}"'
