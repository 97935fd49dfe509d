"""The description of a rule: its arguments with their shapes, its definition, its fast forms and its test inputs.

Dispatch, the CPU and Triton bindings, vmap, the self-check, the benchmark and the tests over all rules use it. Every
file in this folder that creates a `Rule` is found automatically, and so are its kernels in `cpu/` and
`triton/kernels/`, in files of the same name.
"""

import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import triton
from fwplab.ops.packing import check_bounds, count_sequences
from fwplab.ops.scan import PACKED, Forms, Scan, chosen, compiled_first, means_reference

FOLDER = Path(__file__).parent
HALF = frozenset({torch.bfloat16, torch.float16})
RULES: dict[str, "Rule"] = {}
"""Every rule by its name."""

Inputs = dict[str, Any]
"""The arguments of a rule by name: tensors, or None for an optional one."""


class Arguments(NamedTuple):
    """The arguments of a form, in their order."""

    sequences: list[Tensor | None]
    slow: list[Tensor]
    state: list[Tensor]

    def flat(self) -> list[Tensor | None]:
        """All arguments in one list."""
        return [*self.sequences, *self.slow, *self.state]


class Rule:
    """A rule that updates fast weights. Its name is the name of its file and of the public function in it.

    - `definition`: the reference form.
    - `sequences`, `slow`, `state`: the names of the arguments of every form, in this order. `sequences` have a time
      axis, `slow` are weights shared by all positions, and `state` is the initial state of each sequence. Each name has
      its shape in words, such as "batch time heads key". Axes with the same word have the same size. A number is a
      fixed size. "sequences" is the number of sequences.
    - `optional`: the names of sequences that may be None.
    - `state_as_weights`: whether the public function also takes the initial state as weights that the batch shares.
    - `forms`: the forms besides the definition and the kernels, by backend.
    - `square`: whether the CPU kernels need a square state.
    - `derived_from`: another rule, and a function that makes a form of this rule from a fast form of the other.
    - `multiply_adds`: for the benchmark, the multiply-adds that one step of one head of width d needs, forward and
      backward, by the name of the case. Without them the benchmark reports no share of the peak.
    - `cases`: functions that make test inputs, by name. A function gets standard normal numbers for every argument (for
      slow weights divided by the square root of d) and returns the inputs. By default there is one case, the numbers
      themselves.
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
        state_as_weights: bool = False,
        forms: Mapping[str, Callable[..., Scan]] | None = None,
        square: bool = False,
        derived_from: tuple["Rule", Callable[[Callable[..., Scan]], Callable[..., Scan]]] | None = None,
        cases: Mapping[str, Callable[[Inputs], Inputs]] | None = None,
        multiply_adds: Mapping[str, Callable[[int], int]] | None = None,
    ) -> None:
        self.name, self.definition, self.state_as_weights = name, definition, state_as_weights
        self.sequences, self.slow, self.state, self.optional = sequences, slow or {}, state, tuple(optional)
        self.cases, self.multiply_adds = cases or {name: dict}, multiply_adds or {}
        self.words = {name: shape.split() for name, shape in {**sequences, **self.slow, **state}.items()}
        self.optional_places = [(place, argument) for place, argument in enumerate(sequences) if argument in optional]
        self.axes = tuple(shape.index("heads") for shape in self.words.values())
        """The axis of the heads in each argument."""

        words, self.size_places = ["sequences"], list[tuple[int, int]]()
        for index, argument in enumerate((*sequences, *self.slow)):
            for axis, word in enumerate(self.words[argument]):
                if word not in words and not word.isdigit():
                    words.append(word)
                    self.size_places.append((index, axis))
        numbers = [word for shape in self.words.values() for word in shape if word.isdigit()]
        self.numbers = tuple(map(int, numbers))
        words += numbers
        self.shapes = tuple((argument, tuple(map(words.index, shape))) for argument, shape in self.words.items())
        known = dict(zip(words, [None, *self.size_places], strict=False)) | {word: int(word) for word in numbers}
        self.starts = tuple(tuple(known[word] for word in self.words[argument]) for argument in state)
        """The sizes of each state: a number, the argument and the axis that have it, None for the sequences."""
        self.square, self.derived_from = square, derived_from
        self.kernels: str = name if derived_from is None else derived_from[0].kernels
        """The name of the rule whose Triton kernels this rule uses."""
        self.forms: dict[str, Callable[..., Scan]] = {"reference": definition, **(forms or {})}
        self.withdrawn: dict[str, Callable[..., Scan]] = {}
        """The forms that gave wrong results on this machine (see `fwplab.ops.doctor`)."""
        RULES[name] = self

    @property
    def every_form(self) -> Forms:
        """All forms, also those that are withdrawn."""
        return {**self.forms, **self.withdrawn}

    def withdraw(self, backend: str) -> None:
        """Removes a form, so that neither "auto" nor its name selects it."""
        if backend in self.forms and backend != "reference":
            self.withdrawn[backend] = self.forms.pop(backend)

    def bind(self) -> None:
        """Adds the forms of the kernels that have a file, and those that are derived from another rule."""
        if self.derived_from is not None:
            other, make = self.derived_from
            other.bind()
            self.forms |= {name: make(form) for name, form in other.forms.items() if name != "reference"}
        if (FOLDER / "cpu" / f"{self.name}.py").exists():
            function = getattr(importlib.import_module(f"fwplab.ops.cpu.{self.name}"), self.name)

            if len(self.state) == 1:
                self.forms["cpu"] = lambda *arguments, **options: Scan(*function(*arguments, **options))
            else:
                self.forms["cpu"] = lambda *arguments, **options: scanned(function(*arguments, **options))
        if (FOLDER / "triton" / "kernels" / f"{self.name}.py").exists():
            self.forms["triton"] = lambda *arguments, **options: scanned(triton.run(self.name, *arguments, **options))

    def run(
        self,
        backend: str,
        sequences: Sequence[Tensor | None],
        slow: Sequence[Tensor] = (),
        *,
        state: Sequence[Tensor] | None,
        cu_seqlens: Tensor | None,
        forms: Forms | None = None,
    ) -> Scan:
        """Runs the form that `backend` names; for "auto" the fastest form.

        On a CPU the fast forms convert half precision to float32, and under autocast all forms do so. Then the output
        has the data type of the first sequence, and the state is float32. Without autocast the reference computes in
        half precision and rounds the state at every step.

        state: the initial state; None for zeros.
        forms: the forms to choose from; by default those of the rule.
        """
        first = sequences[0]
        assert first is not None
        half = first.dtype in HALF and not means_reference(backend)
        if first.is_cpu and (half or torch.is_autocast_enabled("cpu")):
            return self.in_float32(backend, sequences, slow, state=state, cu_seqlens=cu_seqlens, forms=forms)
        count, packed = count_sequences(self.name, first, cu_seqlens), cu_seqlens is not None
        if state is None:
            state = self.zeros(sequences, slow, count)
        if forms is None:
            forms = self.forms_for(state)
        if backend == "auto" and compiled_first(forms, first):
            name = "cpu"
        else:
            given = self.given(sequences)
            name = chosen(self.name, forms, backend, first, given=given, packed=packed, kernels=self.kernels)
        if name not in PACKED or self.derived_from is not None:
            self.check(sequences, slow, state, count)
        if cu_seqlens is not None and name != "cpu" and not torch.compiler.is_compiling():
            check_bounds(self.name, cu_seqlens, *first.shape[:2])  # the CPU kernels check them
        if cu_seqlens is not None and name not in PACKED:
            return in_turn(forms[name], cu_seqlens, sequences, slow, state)
        try:  # the kernels check the shapes; for a small batch a second check takes longer than the kernel
            if packed:
                return forms[name](*sequences, *slow, *state, cu_seqlens=cu_seqlens)
            return forms[name](*sequences, *slow, *state)
        except Exception:
            self.check(sequences, slow, state, count)
            if cu_seqlens is not None:
                check_bounds(self.name, cu_seqlens, *first.shape[:2])
            raise

    def given(self, sequences: Sequence[Tensor | None]) -> tuple[str, ...]:
        """The names of the optional arguments that are not None."""
        return tuple([name for place, name in self.optional_places if sequences[place] is not None])

    def forms_for(self, state: Sequence[Tensor]) -> Forms:
        """The forms that accept a state of this size."""
        if not self.square or state[0].size(-2) == state[0].size(-1):
            return self.forms
        return {name: form for name, form in self.forms.items() if name != "cpu"}

    def sizes(self, arguments: Sequence[Tensor | None], count: int) -> list[int]:
        """The size of every word of the shapes, from the first argument that has it; -1 if that has too few axes."""
        shapes = [() if tensor is None else tensor.shape for tensor in arguments]
        own = (shapes[index][axis] if axis < len(shapes[index]) else -1 for index, axis in self.size_places)
        return [count, *own, *self.numbers]

    def zeros(self, sequences: Sequence[Tensor | None], slow: Sequence[Tensor], count: int) -> list[Tensor]:
        """The initial state of `count` sequences: zeros."""
        first, arguments, states = sequences[0], (*sequences, *slow), []
        assert first is not None
        try:
            for sizes in self.starts:
                own = [
                    count if place is None else place if isinstance(place, int) else arguments[place[0]].size(place[1])  # type: ignore[union-attr]
                    for place in sizes
                ]
                states.append(first.new_zeros(own))
        except IndexError:
            self.check(sequences, slow, (), count)
            raise
        return states

    def check(
        self, sequences: Sequence[Tensor | None], slow: Sequence[Tensor], state: Sequence[Tensor], count: int
    ) -> None:
        """Raises `UserError` for the first argument whose shape does not fit those before it."""
        if state and len(state) != len(self.state):
            raise UserError(f"{self.name}: the initial state is {', '.join(self.state)}: not {len(state)} tensors")
        arguments = (*sequences, *slow, *state)
        sizes = self.sizes(arguments, count)
        for tensor, (name, places) in zip(arguments, self.shapes, strict=False):
            expected = [sizes[place] for place in places]
            if tensor is not None and list(tensor.shape) != expected:
                words = ", ".join(self.words[name])
                raise UserError(f"{self.name}: {name} is {list(tensor.shape)}, not {expected} ({words})")

    def in_float32(
        self,
        backend: str,
        sequences: Sequence[Tensor | None],
        slow: Sequence[Tensor],
        *,
        state: Sequence[Tensor] | None,
        cu_seqlens: Tensor | None,
        forms: Forms | None,
    ) -> Scan:
        """Runs the rule in float32, because PyTorch lacks some operations in half precision on a CPU."""

        def single(tensor: Tensor) -> Tensor:
            return tensor.float() if tensor.dtype in HALF else tensor

        own = [None if tensor is None else single(tensor) for tensor in sequences]
        before = None if state is None else [single(tensor) for tensor in state]
        with torch.autocast("cpu", enabled=False):
            scan = self.run(backend, own, [*map(single, slow)], state=before, cu_seqlens=cu_seqlens, forms=forms)
        assert sequences[0] is not None
        return Scan(scan.output.to(sequences[0].dtype), scan.state)

    def draw(
        self,
        case: str,
        shape: tuple[int, int, int, int],
        generator: torch.Generator,
        *,
        sequences: int | None = None,
        **sizes: int,
    ) -> Arguments:
        """Draws random float64 arguments.

        case: a name from `cases`.
        shape: batch, time, heads, d.
        sequences: the number of sequences; by default the batch.
        sizes: sizes by their words, such as `value=3`, if they are not d.
        """
        batch, time, heads, d = shape
        known = {"batch": batch, "time": time, "heads": heads, "sequences": batch if sequences is None else sequences}
        drawn: Inputs = {}
        order = [*self.slow, *(self.state if self.state_as_weights else ()), *self.sequences, *self.state]
        for name in dict.fromkeys(order):
            words = self.words[name]
            size = [int(word) if word.isdigit() else known.get(word, sizes.get(word, d)) for word in words]
            numbers = torch.randn(size, dtype=torch.float64, generator=generator)
            drawn[name] = numbers * d**-0.5 if name in self.slow else numbers
        made = self.cases[case](drawn)
        slow, state = ([made[name] for name in part] for part in (self.slow, self.state))
        return Arguments([made[name] for name in self.sequences], slow, state)

    def results(self, *arguments: Any, cu_seqlens: Tensor | None = None, **options: Any) -> tuple[Tensor, ...]:
        """The output and the states that the definition computes from the arguments of a form.

        options: further arguments of the definition.
        """

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


def scanned(results: Sequence[Tensor]) -> Scan:
    """A `Scan` from the output and the states."""
    output, *state = results
    return Scan(output, state[0] if len(state) == 1 else tuple(state))


def names() -> Iterator[str]:
    """The names of the modules in this folder."""
    return (file.stem for file in sorted(FOLDER.glob("*.py")) if not file.stem.startswith("_"))


def find() -> dict[str, Callable[..., Scan]]:
    """Imports every rule of this folder into `RULES`, with its kernels. Returns the public functions by name."""
    modules = {name: importlib.import_module(f"fwplab.ops.{name}") for name in names()}
    for rule in RULES.values():
        rule.bind()
    return {name: getattr(modules[name], name) for name in RULES}


def in_turn(
    form: Callable[..., Scan],
    cu_seqlens: Tensor,
    sequences: Sequence[Tensor | None],
    slow: Sequence[Tensor],
    state: Sequence[Tensor],
) -> Scan:
    """Runs packed sequences one at a time, with a form that takes one sequence."""
    bounds = cu_seqlens.tolist()
    scans = []
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        own = (None if tensor is None else tensor[:, start:end] for tensor in sequences)
        scans.append(form(*own, *slow, *(tensor[index : index + 1] for tensor in state)))
    if not scans:
        return form(*sequences, *slow, *state)
    return Scan(torch.cat([scan.output for scan in scans], dim=1), joined([scan.state for scan in scans]))


def joined(states: list[Any]) -> Any:
    """Joins the states of several sequences to those of one batch."""
    if isinstance(states[0], Tensor):
        return torch.cat(states)
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
