"""Benchmarks of the forward and backward pass of every rule, through autograd, compared with PyTorch loops."""

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
        """The name for the table."""
        return f"{self.operator} {self.heads}x{self.width}"

    @property
    def rule(self) -> str:
        """The name of the rule."""
        return next(name for name, rule in RULES.items() if self.operator in rule.cases)

    @property
    def own_forms(self) -> dict[str, Callable[..., Scan]]:
        """The forms of the rule, by backend."""
        return RULES[self.rule].forms

    @property
    def forms(self) -> Mapping[str, Callable[..., Scan]]:
        """The same, and the loop in the style of the published code if the rule has one."""
        loop = getattr(published, self.rule, None)
        return self.own_forms | ({} if loop is None else {"published": loop})

    def backend(self, asked: str, device: str = "cpu") -> str:
        """The requested backend, or what "auto" means on the device. Raises `UserError` for an unknown one."""
        return chosen(self.rule, self.own_forms, asked, torch.empty(0, device=device))

    @property
    def multiply_adds(self) -> float:
        """The multiply-adds that the equations need for one step of one head, forward and backward; nan if unknown."""
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
"""The numbers of heads and their widths, by operator. Other operators are measured with 4 heads of width 16."""
OPERATORS = tuple(
    dict.fromkeys([*SHAPES, *(case for rule in RULES.values() if rule.derived_from is None for case in rule.cases)])
)
"""The cases of all rules, except rules that are derived from another one."""
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
    """The measurements of one case. A ratio is the time of another form over `seconds`; nan if there is no such form.

    - `seconds`: the time of a forward and backward pass, median.
    - `peak_fraction`: the multiply-adds that the rule needs, as a share of those that the core can do in that time.
    - `saved_bytes`: the memory saved for the backward pass, without inputs and results.
    - `saved_fraction`: the same as a share of what the published loop saves.
    - `traffic_bytes`: the smallest possible memory traffic. Inputs are read twice, the output and the gradients are
      written, the saved tensors are written and read.
    - `roof_fraction`: the share of the roofline. The roofline is the larger of two times: the arithmetic at peak, and
      this traffic at the speed of a copy.
    - `error`: the reason if there is no speed.
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
    """Measures one case, on one thread and then on all threads."""
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
    """The random inputs of the rule's tests, with the state last. They are the same on every device."""
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
    """One forward and backward pass of PyTorch's LSTM.

    width: its input and hidden width, that of all heads together.
    batch, length: the number of sequences and their length.
    """
    lstm = nn.LSTM(width, width, batch_first=True, device=device)
    x, cotangent = (torch.randn(batch, length, width, device=device) for _ in range(2))
    x.requires_grad_()

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(lstm(x)[0], [x, *lstm.parameters()], cotangent)

    return run


def least_traffic(inputs: Inputs) -> int:
    """The bytes that every kernel must move in a forward and backward pass.

    It reads the inputs twice and writes their gradients. It writes the output and reads its gradient.
    """
    sizes = [tensor.numel() * tensor.element_size() for tensor in inputs if tensor is not None]
    return 3 * sum(sizes) + 2 * sizes[0]


def saved_bytes(form: Callable[..., Scan], inputs: Inputs) -> int:
    """The bytes that autograd saves for the backward pass, without the inputs and the output."""
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
    """Compares a form with the reference, results and gradients. Returns the first difference; None if there is none.

    The tolerance is 1e-9 of the largest value in float64, and twice the reference's own rounding error in float32.

    case: the rule and its heads.
    backend: the name of the form.
    device: the device to run on.
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
    """Output, states and all gradients, computed in `dtype` and converted to float64."""
    leaves = [tensor if tensor is None else tensor.to(dtype).requires_grad_() for tensor in inputs]
    scan = form(*leaves)
    found = [scan.output, *(scan.state if isinstance(scan.state, tuple) else (scan.state,))]
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.randn(t.shape, dtype=torch.float64, generator=generator).to(t) for t in found]
    wanted = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(found, wanted, cotangents)
    return [tensor.detach().double() for tensor in (*found, *gradients)]
