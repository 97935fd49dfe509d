"""What a rule is: its arguments with their shapes, its definition and its fast forms; and how it is run."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops.packing import count_sequences
from fwplab.ops.scan import PACKED, Forms, Scan, chosen

HALF = frozenset({torch.bfloat16, torch.float16})
RULES: dict[str, "Rule"] = {}
"""Every rule by its name, entered where it is described."""


class Rule:
    """A rule that writes fast weights.

    `sequences`, `slow` and `state` name the arguments of every form, in this order, each with its shape in words:
    "batch time heads key", say, where equal words are equal sizes, a number is itself and `sequences` counts the
    sequences. The sequences run along the time, `slow` is shared by all positions, `state` is where each sequence
    starts. `optional`: sequences that may be None. `definition`: the reference form.
    """

    def __init__(
        self,
        name: str,
        definition: Callable[..., Scan],
        *,
        sequences: Mapping[str, str],
        state: Mapping[str, str],
        slow: Mapping[str, str] | None = None,
        optional: Sequence[str] = (),
    ) -> None:
        self.name, self.definition = name, definition
        self.sequences, self.slow, self.state, self.optional = sequences, slow or {}, state, tuple(optional)
        shapes = {argument: shape.split() for argument, shape in {**sequences, **self.slow, **state}.items()}
        words = ["sequences"]
        sources = []
        for index, shape in enumerate(list(shapes.values())[: len(sequences) + len(self.slow)]):
            for axis, word in enumerate(shape):
                if word not in words and not word.isdigit():
                    words.append(word)
                    sources.append((index, axis))
        self.numbers = tuple(int(word) for shape in shapes.values() for word in shape if word.isdigit())
        words += [word for shape in shapes.values() for word in shape if word.isdigit()]
        self.sources = tuple(sources)
        self.shapes = tuple((argument, tuple(map(words.index, shape))) for argument, shape in shapes.items())
        RULES[name] = self

    def run(
        self,
        forms: Forms,
        backend: str,
        sequences: Sequence[Tensor | None],
        slow: Sequence[Tensor] = (),
        *,
        state: Sequence[Tensor] | None,
        cu_seqlens: Tensor | None,
    ) -> Scan:
        """The rule by the form that `backend` names, or by the fastest one for "auto".

        `state` None is a state of zeros. On a CPU half precision, and whatever runs under autocast, is computed in
        float32: the output has the type of the first sequence, the state is float32.
        """
        first = sequences[0]
        assert first is not None
        if first.device.type == "cpu" and (first.dtype in HALF or torch.is_autocast_enabled("cpu")):
            return self.in_single(forms, backend, sequences, slow, state=state, cu_seqlens=cu_seqlens)
        state = self.start(sequences, slow, state, count_sequences(self.name, first, cu_seqlens))
        gated = any(sequences[list(self.sequences).index(name)] is not None for name in self.optional)
        name = chosen(self.name, forms, backend, first, gated=gated, packed=cu_seqlens is not None)
        if cu_seqlens is None:
            return forms[name](*sequences, *slow, *state)
        if name in PACKED:
            return forms[name](*sequences, *slow, *state, cu_seqlens=cu_seqlens)
        return in_turn(forms[name], cu_seqlens, sequences, slow, state)

    def start(
        self,
        sequences: Sequence[Tensor | None],
        slow: Sequence[Tensor],
        state: Sequence[Tensor] | None,
        count: int,
    ) -> Sequence[Tensor]:
        """The state of `count` sequences to start from, zeros if there is none.

        Raises `UserError` for the first argument whose shape is not what the ones before it ask for.
        """
        arguments = (*sequences, *slow, *(state or ()))
        if state is not None and len(state) != len(self.state):
            raise UserError(f"{self.name}: the initial state is {', '.join(self.state)}: not {len(state)} tensors")
        sizes = [count]
        for index, axis in self.sources:
            shape = arguments[index].shape  # type: ignore[union-attr]
            sizes.append(shape[axis] if axis < len(shape) else -1)
        sizes += self.numbers
        for tensor, (name, places) in zip(arguments, self.shapes, strict=False):
            if tensor is not None and tensor.shape != tuple([sizes[place] for place in places]):
                words = {**self.sequences, **self.slow, **self.state}[name]
                raise UserError(
                    f"{self.name}: {name} is {list(tensor.shape)}, not {[sizes[place] for place in places]} "
                    f"({words.replace(' ', ', ')})"
                )
        if state is not None:
            return state
        first, own = sequences[0], self.shapes[len(arguments) :]
        assert first is not None
        return [first.new_zeros([sizes[place] for place in places]) for _, places in own]

    def in_single(
        self,
        forms: Forms,
        backend: str,
        sequences: Sequence[Tensor | None],
        slow: Sequence[Tensor],
        *,
        state: Sequence[Tensor] | None,
        cu_seqlens: Tensor | None,
    ) -> Scan:
        """The rule in float32 on a CPU, whose operations are incomplete in half precision."""

        def single(tensor: Tensor) -> Tensor:
            return tensor.float() if tensor.dtype in HALF else tensor

        own = [None if tensor is None else single(tensor) for tensor in sequences]
        before = None if state is None else [single(tensor) for tensor in state]
        with torch.autocast("cpu", enabled=False):
            scan = self.run(forms, backend, own, [*map(single, slow)], state=before, cu_seqlens=cu_seqlens)
        assert sequences[0] is not None
        return Scan(scan.output.to(sequences[0].dtype), scan.state)

    def results(self, *arguments: Any, cu_seqlens: Tensor | None = None, **options: Any) -> tuple[Tensor, ...]:
        """Output and states by the definition, from the arguments of a form; `options` are the definition's own."""

        def form(*own: Tensor | None) -> Scan:
            return self.definition(*own, **options)

        if arguments[0].dtype in HALF:
            arguments = tuple(tensor if tensor is None else tensor.float() for tensor in arguments)
        if cu_seqlens is None:
            scan = form(*arguments)
        else:
            start, end = len(self.sequences), len(arguments) - len(self.state)
            scan = in_turn(form, cu_seqlens, arguments[:start], arguments[start:end], arguments[end:])
        return (scan.output, *(scan.state if isinstance(scan.state, tuple) else (scan.state,)))


def in_turn(
    form: Callable[..., Scan],
    cu_seqlens: Tensor,
    sequences: Sequence[Tensor | None],
    slow: Sequence[Tensor],
    state: Sequence[Tensor],
) -> Scan:
    """Packed sequences one after the other, by a form that takes one."""
    bounds = cu_seqlens.tolist()
    scans = []
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        own = (None if tensor is None else tensor[:, start:end] for tensor in sequences)
        scans.append(form(*own, *slow, *(tensor[index : index + 1] for tensor in state)))
    if not scans:
        return form(*sequences, *slow, *state)
    return Scan(torch.cat([scan.output for scan in scans], dim=1), joined([scan.state for scan in scans]))


def joined(states: list[Any]) -> Any:
    """The states of several sequences as those of one batch."""
    if isinstance(states[0], Tensor):
        return torch.cat(states)
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
