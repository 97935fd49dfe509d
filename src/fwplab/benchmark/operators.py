"""Forward and backward of every rule against what it replaces, through autograd."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fwplab.benchmark import clock, published
from fwplab.ops import RULES, Scan
from fwplab.ops.scan import chosen

Inputs = list[Tensor | None]


@dataclass(frozen=True)
class Case:
    """A case of a rule (`gated_delta` is the delta rule with `log_decay`) at one shape."""

    operator: str
    heads: int
    width: int

    @property
    def name(self) -> str:
        """As a person reads it."""
        return f"{self.operator} {self.heads}x{self.width}"

    @property
    def rule(self) -> str:
        """The rule whose case this is."""
        return next(name for name, rule in RULES.items() if self.operator in rule.cases)

    @property
    def own_forms(self) -> dict[str, Callable[..., Scan]]:
        """The rule's forms by backend."""
        return RULES[self.rule].forms

    @property
    def forms(self) -> Mapping[str, Callable[..., Scan]]:
        """The same, and the published-style loop of the rules that have one."""
        loop = getattr(published, self.rule, None)
        return self.own_forms | ({} if loop is None else {"published": loop})

    def backend(self, asked: str, device: str = "cpu") -> str:
        """The backend that is asked for, or what "auto" takes on the device; a `UserError` names the choices."""
        return chosen(self.rule, self.own_forms, asked, torch.empty(0, device=device))

    @property
    def multiply_adds(self) -> float:
        """Of one step of one head, forward and backward, as the rule's equations need them; nan if it does not say."""
        count = RULES[self.rule].multiply_adds.get(self.operator)
        return math.nan if count is None else float(count(self.width))


ALL_SHAPES = ((16, 4), (8, 8), (4, 16), (2, 32), (1, 64))
SHAPES: dict[str, tuple[tuple[int, int], ...]] = {
    "linear": ALL_SHAPES,
    "delta": ALL_SHAPES,
    "gated_delta": ((16, 4), (4, 16), (1, 64)),
    "signed_delta": ((4, 16),),
    "recurrent_delta": ALL_SHAPES,
    "srwm": ALL_SHAPES,
    "elementwise": ((1, 64),),
}
"""Heads and their width by operator. An operator that is not named here is measured with 4 heads of width 16."""
OPERATORS = tuple(
    dict.fromkeys([*SHAPES, *(case for rule in RULES.values() if rule.by is None for case in rule.cases)])
)
"""The cases of all rules, but for a rule that is computed by the forms of another one."""
CASES = tuple(
    Case(operator, heads, width) for operator in OPERATORS for heads, width in SHAPES.get(operator, ((4, 16),))
)
QUICK = (
    Case("linear", 4, 16),
    Case("delta", 4, 16),
    Case("recurrent_delta", 8, 8),
    Case("recurrent_delta", 4, 16),
    Case("srwm", 4, 16),
    Case("elementwise", 1, 64),
)


@dataclass(frozen=True)
class Row:
    """One case, measured. Ratios are times of the other over the time of `backend`; nan where there is no such form.

    `seconds`: median of forward and backward. `peak_fraction`: multiply-adds that the rule needs over those the core
    could have done. `saved_bytes`: what is kept between forward and backward pass, inputs and results aside;
    `saved_fraction`: of what the published loop keeps. `traffic_bytes`: the least that moves through memory (inputs
    read twice, output and gradients written, what is kept written and read); `roof_fraction`: the time that the
    larger of arithmetic at peak and this traffic at the speed of a copy would take, over the time it took (the
    roofline). `error`: why no speed is given.
    """

    operator: str
    heads: int
    width: int
    batch: int
    length: int
    threads: int
    backend: str
    seconds: float = math.nan
    ratio_published_loop: float = math.nan
    ratio_tuned_loop: float = math.nan
    ratio_chunk: float = math.nan
    ratio_lstm: float = math.nan
    peak_fraction: float = math.nan
    speedup_all_threads: float = math.nan
    saved_bytes: int = 0
    saved_fraction: float = math.nan
    traffic_bytes: int = 0
    roof_fraction: float = math.nan
    error: str | None = None


def measure(case: Case, *, batch: int = 64, length: int = 100, rounds: int = 7, backend: str = "auto") -> list[Row]:
    """A row, on one thread and then on all."""
    inputs, name = draw(case, batch, length), case.backend(backend)
    shape: dict[str, Any] = {"batch": batch, "length": length, "threads": 1, "backend": name}
    wrong = check(case, name)
    if wrong:
        return [Row(case.operator, case.heads, case.width, **shape, error=wrong)]
    timed = {"own": name, "tuned": "loop" if "loop" in case.forms else "reference"}
    timed |= {form: form for form in ("published", "chunk") if form in case.forms}
    calls = {label: passes(case.forms[form], inputs) for label, form in timed.items()}
    calls["lstm"] = lstm_passes(case.heads * case.width, batch, length)
    with clock.on_threads(1):
        times = clock.medians(calls, rounds=rounds)
        bandwidth = clock.bandwidth()
    cores = clock.cores()
    speedup = clock.speedup(calls["own"], cores, rounds=rounds) if cores > 1 else math.nan
    arithmetic = case.multiply_adds * batch * length * case.heads / times[clock.PEAK]
    saved = {
        label: saved_bytes(case.forms[form], inputs) for label, form in timed.items() if label in ("own", "published")
    }
    own, traffic = times["own"], least_traffic(inputs) + 2 * saved["own"]
    row = Row(
        case.operator,
        case.heads,
        case.width,
        **shape,
        seconds=own,
        ratio_published_loop=times.get("published", math.nan) / own,
        ratio_tuned_loop=times["tuned"] / own,
        ratio_chunk=times.get("chunk", math.nan) / own,
        ratio_lstm=times["lstm"] / own,
        peak_fraction=arithmetic / own,
        speedup_all_threads=speedup,
        saved_bytes=saved["own"],
        saved_fraction=saved["own"] / saved.get("published", math.nan),
        traffic_bytes=traffic,
        roof_fraction=max(0.0 if math.isnan(arithmetic) else arithmetic, traffic / bandwidth) / own,
    )
    return [row]


def draw(
    case: Case, batch: int, length: int, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Inputs:
    """Inputs as the rule's tests draw them, state last; the same numbers on every device."""
    shape, generator = (batch, length, case.heads, case.width), torch.Generator().manual_seed(seed)
    drawn = RULES[case.rule].draw(case.operator, shape, generator).flat()
    return [None if tensor is None else tensor.to(device, dtype) for tensor in drawn]


def passes(form: Callable[..., Scan], inputs: Inputs) -> Callable[[], tuple[Tensor, ...]]:
    """One forward and backward pass: the gradients of all inputs for a fixed gradient of the output."""
    leaves = [tensor if tensor is None else tensor.clone().requires_grad_() for tensor in inputs]
    wanted = [leaf for leaf in leaves if leaf is not None]
    cotangent = torch.randn_like(form(*leaves).output)

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(form(*leaves).output, wanted, cotangent)

    return run


def lstm_passes(width: int, batch: int, length: int, device: str = "cpu") -> Callable[[], tuple[Tensor, ...]]:
    """The same of PyTorch's LSTM as wide as all heads together."""
    lstm = nn.LSTM(width, width, batch_first=True, device=device)
    x, cotangent = (torch.randn(batch, length, width, device=device) for _ in range(2))
    x.requires_grad_()

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(lstm(x)[0], [x, *lstm.parameters()], cotangent)

    return run


def least_traffic(inputs: Inputs) -> int:
    """Bytes of a forward and a backward pass that no kernel avoids: inputs read in both and their gradients written,
    the output written and its gradient read."""
    sizes = [tensor.numel() * tensor.element_size() for tensor in inputs if tensor is not None]
    return 3 * sum(sizes) + 2 * sizes[0]


def saved_bytes(form: Callable[..., Scan], inputs: Inputs) -> int:
    """Bytes that autograd keeps for the backward pass, the inputs and the output themselves aside."""
    leaves = [tensor if tensor is None else tensor.clone().requires_grad_() for tensor in inputs]
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scan = form(*leaves)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*leaves, scan.output) if tensor is not None}
    return sum(size for address, size in kept.items() if address not in own)


def check(case: Case, backend: str, device: str = "cpu") -> str | None:
    """Why the form's speed must not be told: what differs from the reference, in results or gradients; else None.

    In float64 to 1e-9 of the largest value; in float32 at most twice the reference loop's own rounding.
    """
    form, reference = case.forms[backend], case.forms["reference"]
    inputs = draw(case, batch=19, length=37, seed=1, dtype=torch.float64, device=device)
    exact = results(reference, inputs, torch.float64)
    for place, (found, truth) in enumerate(zip(results(form, inputs, torch.float64), exact, strict=True)):
        if not bool((found - truth).abs().max() <= 1e-9 * truth.abs().max().clamp(min=1e-30)):
            return f"{backend} differs from the reference in float64 (result {place})"
    rounded: Inputs = [tensor if tensor is None else tensor.float() for tensor in inputs]
    exact = results(reference, rounded, torch.float64)
    loop = results(reference, rounded, torch.float32)
    for place, (found, own, truth) in enumerate(zip(results(form, rounded, torch.float32), loop, exact, strict=True)):
        slack = 8 * torch.finfo(torch.float32).eps * truth.abs().max()
        if not bool((found - truth).abs().max() <= 2 * (own - truth).abs().max() + slack):
            return f"{backend} rounds more than twice as much as the reference in float32 (result {place})"
    return None


def results(form: Callable[..., Scan], inputs: Inputs, dtype: torch.dtype) -> list[Tensor]:
    """Output, states and all gradients, in float64 whatever `dtype` computes."""
    leaves = [tensor if tensor is None else tensor.to(dtype).requires_grad_() for tensor in inputs]
    scan = form(*leaves)
    found = [scan.output, *(scan.state if isinstance(scan.state, tuple) else (scan.state,))]
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.randn(t.shape, dtype=torch.float64, generator=generator).to(t) for t in found]
    wanted = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(found, wanted, cotangents)
    return [tensor.detach().double() for tensor in (*found, *gradients)]
