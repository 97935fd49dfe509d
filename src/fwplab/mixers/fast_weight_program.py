"""Fast weights with every part of the paper's rules as a switch."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from fwplab.errors import UserError
from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers._start import Start
from fwplab.mixers._view import Writes, rewrites
from fwplab.mixers.mixer import Mixer, State, head_width, saturated_share
from fwplab.ops import Scan, delta, linear, recurrent_delta, srwm
from fwplab.ops.recurrent_delta import with_feedback
from fwplab.ops.variation import CHOICES, PARTS, Variation


def _named(parts: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in parts.split(",") if part.strip())


@dataclass(frozen=True)
class FastWeightProgram(Start):
    """One frame for the paper's four models and all between them; as it stands it is Recurrent Delta.

    Row vectors, a head; `h` is the last output (`feedback` "raw"), its tanh, or nothing:

        q = phi(q_x + h R_q);  k = phi(k_x + h R_k);  v = v_x + h R_v;  b = rho(b_x + h r_b)
        W += b k^T (v - k W)  ("delta"), or  W += b k^T v  ("additive");  o = q W

    `feedback_into` names the parts (value, query, key, rate, with commas) that `h` is fed to. `normalisation` is phi:
    softmax; `elu + 1` divided by its sum; the vector divided by its length ("l2", signed); or `elu + 1` as it is
    ("none"). `rate` is rho: a sigmoid, twice a sigmoid, or 1. With parts in `self_reference` the projections are
    themselves fast weights, `y, q, k, b = x [W_y, W_q, W_k, w_b]`, the output is `y`, and each block j that is named
    ("value" is W_y) rewrites itself: `W_j += b_j k^T (q W_j - k W_j)`, without `k W_j` where the update is additive;
    the other blocks stay as they are. Without "value" among them no memory reaches the output.
    `feedback_scale` multiplies the starting R and r_b. In self-reference the mean of the starting `w_b` is the
    published -1 plus `rate_bias`: a bias where `input_softmax` replaces a head's input by its softmax
    (arXiv 2202.05780).
    All settings run in the compiled kernels of the paper's rules, but for self-reference with feedback, which is a
    loop in PyTorch. Source: arXiv 2310.16076, section 2; `PRESETS` has the paper's four.
    """

    packs: ClassVar[bool] = True

    update: Literal["delta", "additive"] = "delta"
    feedback: Literal["none", "raw", "tanh"] = "tanh"
    feedback_into: str = "value,query,key,rate"
    normalisation: Literal["softmax", "sum", "l2", "none"] = "softmax"
    rate: Literal["sigmoid", "double", "fixed"] = "sigmoid"
    self_reference: str = ""
    feedback_scale: float = 1.0
    input_softmax: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (CHOICES | {"feedback": ("none", "raw", "tanh")}).items():
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")
        for name in ("feedback_into", "self_reference"):
            for part in _named(getattr(self, name)):
                if part not in PARTS:
                    raise UserError(f"{name}: unknown part {part!r}; choose from: {', '.join(PARTS)}")

        if self.rate == "fixed" and not self.self_reference and (self.has_bias or self.rate_scale != 1):
            raise UserError("a fixed rate has no logit: choose rate sigmoid or double, or leave its bias and scale out")
        if self.input_softmax and not self.self_reference:
            raise UserError("input_softmax is the input of self-reference: choose parts for self_reference with it")
        if self.time_scales and self.self_reference and not self.input_softmax:
            raise UserError("time_scales needs rates with a bias: choose input_softmax=true with self_reference")

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """The layer of the published code for the family that the switches name."""
        return _SelfReferential(self, width, heads) if self.self_reference else _Fast(self, width, heads)

    @property
    def fed(self) -> tuple[str, ...]:
        """The parts that see the last output."""
        return () if self.feedback == "none" else _named(self.feedback_into)

    @property
    def variation(self) -> Variation:
        """The switches as the operators take them."""
        return Variation(
            self.update,
            "raw" if self.feedback == "raw" and not self.self_reference else "tanh",
            self.normalisation,
            self.rate,
            tuple(part for part in PARTS if part in _named(self.self_reference)) if self.self_reference else PARTS,
        )


PRESETS: dict[str, FastWeightProgram] = {
    "linear-transformer": FastWeightProgram(update="additive", feedback="none", normalisation="none", rate="fixed"),
    "delta-net": FastWeightProgram(feedback="none", normalisation="sum"),
    "recurrent-delta": FastWeightProgram(),
    "srwm": FastWeightProgram(feedback="none", self_reference="value,query,key,rate"),
}
"""The switches of the paper's models, by the names of their mixers."""


def _feedback(spec: FastWeightProgram, heads: int, d: int, rates: int) -> nn.ParameterDict:
    """The recurrent weights of the parts that are fed, `N(0, feedback_scale^2 / d)`."""
    widths = {"value": d, "query": d, "key": d, "rate": rates}
    scale = d**-0.5 * spec.feedback_scale
    return nn.ParameterDict({part: torch.randn(heads, d, widths[part]) * scale for part in spec.fed})


def _fed(x: Tensor, part: str, feedback: Tensor, recurrent: nn.ParameterDict) -> Tensor:
    """`x + h R`, `[batch, heads, n]`."""
    return x + torch.einsum("bhi,hij->bhj", feedback, recurrent[part]) if part in recurrent else x


def _four(projected: Projected) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value and the rates' logits: zeros where the rate is fixed."""
    query, key, value, rates = projected
    return query, key, value, rates[0] if rates else value.new_zeros(value.shape[:-1])


class _Fast(FastWeightMixer):
    def __init__(self, spec: FastWeightProgram, width: int, heads: int) -> None:
        super().__init__(width, heads, extra=0 if spec.rate == "fixed" else 1, start=spec)
        self.spec = spec
        self.recurrent = _feedback(spec, heads, self.head_width, 1)
        self.erases = spec.update == "delta"
        self.state_names = ("W", "fed back") if spec.fed else ("W",)

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        spec, start = self.spec, state[0] if state else None
        if spec.fed:
            inputs = *_four(projected), *self._recurrent_weights()
            return recurrent_delta(*inputs, initial_state=state, cu_seqlens=cu_seqlens, variation=spec.variation)
        q, k, v, rate = self.features(projected)
        if self.erases:
            return delta(q, k, v, rate, initial_state=start, cu_seqlens=cu_seqlens)
        return linear(q, k, v * rate.unsqueeze(-1), initial_state=start, cu_seqlens=cu_seqlens)

    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rule = self.spec.variation
        query, key, value, logits = _four(projected)
        if self.spec.fed and last is not None:
            return with_feedback(last, (query, key, value, logits), self._recurrent_weights(), rule)
        return rule.phi(query), rule.phi(key), value, rule.rho(logits)

    def _recurrent_weights(self) -> tuple[Tensor, ...]:
        """Recurrent Delta's four; a part that is not fed has zeros."""
        d = self.head_width
        zeros = self.slow_net.weight.new_zeros(self.heads, d, d)
        matrices = [self.recurrent.get(part, zeros) for part in ("query", "key", "value")]
        rate = self.recurrent["rate"] if "rate" in self.recurrent else zeros[..., :1]
        return (*matrices, rate.squeeze(-1))

    def saturation(self, state: State) -> Tensor | None:
        return saturated_share(state[1].tanh()) if self.spec.feedback == "tanh" and self.spec.fed else None

    def initial_state(self, batch: int) -> State:
        state = super().initial_state(batch)
        return (*state, state[0].new_zeros(batch, self.heads, self.head_width)) if self.spec.fed else state


class _SelfReferential(Mixer):
    """The published SRWM layer, `LayerNorm(x) + OutLinear(y)`, each block rewritten or not."""

    def __init__(self, spec: FastWeightProgram, width: int, heads: int) -> None:
        super().__init__()
        self.spec, self.heads, self.rewritten = spec, heads, _named(spec.self_reference)
        self.state_names = (*PARTS, "fed back") if spec.fed else PARTS
        d = self.head_width = head_width(width, heads)
        scale = d**-0.5
        self.blocks = nn.ParameterDict(
            {
                "value": torch.randn(heads, d, d) * scale * spec.value_factors(heads)[:, None, None],
                "query": torch.randn(heads, d, d) * scale * 0.01,
                "key": torch.randn(heads, d, d) * scale,
                "rate": torch.randn(heads, d, 4) * scale * spec.rate_scale + (spec.biases(heads) - 1)[:, None, None],
            }
        )
        self.recurrent = _feedback(spec, heads, d, 4)
        self.layer_norm = nn.LayerNorm(width)
        self.out_linear = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        spec, heads = self.spec, self._heads(x)
        if not spec.fed:
            blocks = (self.blocks[part] for part in PARTS)
            scan = srwm(heads, *blocks, initial_state=state, cu_seqlens=cu_seqlens, variation=spec.variation)
        elif cu_seqlens is None:
            scan = self._loop(heads, state)
        else:  # the sequences side by side, each until it ends
            lengths = cu_seqlens.diff()
            padded, after = self._loop(pad_sequence(heads[0].split(lengths.tolist()), batch_first=True), state, lengths)
            inside = torch.arange(padded.shape[1], device=x.device) < lengths.unsqueeze(1)
            scan = Scan(padded[inside].unsqueeze(0), after)
        return self.layer_norm(x) + self.out_linear(scan.output.flatten(-2)), scan.state

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.softmax(-1) if self.spec.input_softmax else heads

    def _loop(self, x: Tensor, state: State | None, lengths: Tensor | None = None) -> Scan:
        """Self-reference with feedback; the state of a sequence stays as it is from its length on."""
        state, outputs = state or self.initial_state(len(x)), []
        for position, at_time in enumerate(x.unbind(1)):
            output, after = self._move(at_time, state)
            if lengths is None:
                state = after
            else:
                state = tuple(
                    torch.where((position < lengths).view(-1, *[1] * (old.dim() - 1)), new, old)
                    for new, old in zip(after, state, strict=True)
                )
            outputs.append(output)
        return Scan(torch.stack(outputs, 1) if outputs else torch.zeros_like(x), state)

    def _move(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One position `[batch, heads, d]`: the output, and the blocks and the output to be fed back."""
        spec, blocks = self.spec, dict(zip(PARTS, state, strict=False))
        output, query, key, rates, h = self._read(x, blocks, state[-1])
        address = query - key if spec.update == "delta" else query
        found = {part: (address.unsqueeze(-2) @ blocks[part]).squeeze(-2) for part in self.rewritten}
        for place, part in enumerate(PARTS):
            if part in self.rewritten:
                wanted = _fed(found[part], part, h, self.recurrent) if part == "value" else found[part]
                change = key.unsqueeze(-1) * (rates[..., place : place + 1] * wanted).unsqueeze(-2)
                blocks[part] = blocks[part] + change
        return output, (*blocks.values(), output)

    def _read(self, x: Tensor, blocks: dict[str, Tensor], last: Tensor) -> tuple[Tensor, ...]:
        """Output, query, key and rates of one position `[batch, heads, d]`, and what is fed back to them."""
        spec, row = self.spec, x.unsqueeze(-2)
        read = {part: (row @ block).squeeze(-2) for part, block in blocks.items()}
        h = last.tanh() if spec.feedback == "tanh" else last
        rule = spec.variation
        query, key = (rule.phi(_fed(read[part], part, h, self.recurrent)) for part in ("query", "key"))
        return read["value"], query, key, rule.rho(_fed(read["rate"], "rate", h, self.recurrent)), h

    def view(self, x: Tensor, before: State) -> Writes:
        """The updates of the blocks that rewrite themselves."""
        blocks = dict(zip(PARTS, before, strict=False))
        _, query, key, rates, h = self._read(self._heads(x), blocks, before[-1])
        fed = {"value": _fed(torch.zeros_like(h), "value", h, self.recurrent)} if "value" in self.recurrent else {}
        erases = self.spec.update == "delta"
        return rewrites(blocks, query, key, rates, rewritten=self.rewritten, erases=erases, fed=fed)

    def initial_state(self, batch: int) -> State:
        blocks = tuple(self.blocks[part].expand(batch, *self.blocks[part].shape) for part in PARTS)
        return (*blocks, blocks[0].new_zeros(batch, self.heads, self.head_width)) if self.spec.fed else blocks
