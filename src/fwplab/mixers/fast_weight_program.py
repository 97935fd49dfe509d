"""Fast weights with every part of the paper's rules as a switch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, normalize

from fwplab.errors import UserError
from fwplab.mixers.fast_weight import FastWeightMixer
from fwplab.mixers.mixer import Mixer, MixerSpec, State, flat, head_width
from fwplab.mixers.view import Writes, rewrites
from fwplab.ops import Scan, delta, linear, recurrent_delta, srwm

PARTS = ("value", "query", "key", "rate")
CHOICES = {
    "update": ("delta", "additive"),
    "feedback": ("none", "raw", "tanh"),
    "normalisation": ("softmax", "sum", "l2", "none"),
    "rate": ("sigmoid", "double", "fixed"),
}


def _named(parts: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in parts.split(",") if part.strip())


@dataclass(frozen=True)
class FastWeightProgram(MixerSpec):
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
    Source: arXiv 2310.16076, section 2; `PRESETS` has the paper's four.
    """

    update: Literal["delta", "additive"] = "delta"
    feedback: Literal["none", "raw", "tanh"] = "tanh"
    feedback_into: str = "value,query,key,rate"
    normalisation: Literal["softmax", "sum", "l2", "none"] = "softmax"
    rate: Literal["sigmoid", "double", "fixed"] = "sigmoid"
    self_reference: str = ""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")
        for name in ("feedback_into", "self_reference"):
            for part in _named(getattr(self, name)):
                if part not in PARTS:
                    raise UserError(f"{name}: unknown part {part!r}; choose from: {', '.join(PARTS)}")

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """The layer of the published code for the family that the switches name."""
        return _SelfReferential(self, width, heads) if self.self_reference else _Fast(self, width, heads)

    @property
    def fed(self) -> tuple[str, ...]:
        """The parts that see the last output."""
        return () if self.feedback == "none" else _named(self.feedback_into)

    def phi(self, features: Tensor) -> Tensor:
        """The normalisation of query and key, over the last dimension."""
        if self.normalisation == "softmax":
            return features.softmax(-1)
        if self.normalisation == "l2":
            return normalize(features, dim=-1)
        positive = elu(features) + 1
        return positive / positive.sum(-1, keepdim=True) if self.normalisation == "sum" else positive

    def rho(self, logits: Tensor) -> Tensor:
        """The write strength."""
        if self.rate == "fixed":
            return torch.ones_like(logits)
        return torch.sigmoid(logits) * (2 if self.rate == "double" else 1)

    def squash(self, last: Tensor) -> Tensor:
        """What is fed back of the last output."""
        return torch.tanh(last) if self.feedback == "tanh" else last


PRESETS: dict[str, FastWeightProgram] = {
    "linear-transformer": FastWeightProgram(update="additive", feedback="none", normalisation="none", rate="fixed"),
    "delta-net": FastWeightProgram(feedback="none", normalisation="sum"),
    "recurrent-delta": FastWeightProgram(),
    "srwm": FastWeightProgram(feedback="none", self_reference="value,query,key,rate"),
}
"""The switches of the paper's models, by the names of their mixers."""


def _feedback(spec: FastWeightProgram, heads: int, d: int, rates: int) -> nn.ParameterDict:
    """The recurrent weights of the parts that are fed, `N(0, 1/d)`."""
    widths = {"value": d, "query": d, "key": d, "rate": rates}
    return nn.ParameterDict({part: torch.randn(heads, d, widths[part]) * d**-0.5 for part in spec.fed})


def _fed(x: Tensor, part: str, feedback: Tensor, recurrent: nn.ParameterDict) -> Tensor:
    """`x + h R`, `[batch, heads, n]`."""
    return x + torch.einsum("bhi,hij->bhj", feedback, recurrent[part]) if part in recurrent else x


class _Fast(FastWeightMixer):
    def __init__(self, spec: FastWeightProgram, width: int, heads: int) -> None:
        super().__init__(width, heads, extra=0 if spec.rate == "fixed" else 1)
        self.spec = spec
        self.recurrent = _feedback(spec, heads, self.head_width, 1)
        self.erases = spec.update == "delta"

    def rule(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *beta: Tensor,
        state: State | None,
        cu_seqlens: Tensor | None,
    ) -> Scan:
        spec, start = self.spec, state[0] if state else None
        logits = beta[0] if beta else value.new_zeros(value.shape[:-1])
        if not spec.fed:
            q, k, v, rate = self.features(query, key, value, logits, last=None)
            if self.erases:
                return delta(q, k, v, rate, initial_state=start)
            return linear(q, k, v * rate.unsqueeze(-1), initial_state=start)
        if (spec.update, spec.feedback, spec.normalisation, spec.rate) == ("delta", "tanh", "softmax", "sigmoid"):
            return recurrent_delta(query, key, value, logits, *self._recurrent_weights(), initial_state=state)
        return self._loop((query, key, value, logits), state or self.initial_state(query.shape[0]))

    def features(
        self, query: Tensor, key: Tensor, value: Tensor, *beta: Tensor, last: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spec, recurrent = self.spec, self.recurrent
        logits = (beta[0] if beta else value.new_zeros(value.shape[:-1])).unsqueeze(-1)
        if spec.fed and last is not None:
            h = spec.squash(last)
            query, key = _fed(query, "query", h, recurrent), _fed(key, "key", h, recurrent)
            value, logits = _fed(value, "value", h, recurrent), _fed(logits, "rate", h, recurrent)
        return spec.phi(query), spec.phi(key), value, spec.rho(logits).squeeze(-1)

    def _recurrent_weights(self) -> tuple[Tensor, ...]:
        """Recurrent Delta's four; a part that is not fed has zeros."""
        d = self.head_width
        zeros = self.slow_net.weight.new_zeros(self.heads, d, d)
        matrices = [self.recurrent.get(part, zeros) for part in ("query", "key", "value")]
        rate = self.recurrent["rate"] if "rate" in self.recurrent else zeros[..., :1]
        return (*matrices, rate.squeeze(-1))

    def _loop(self, inputs: Sequence[Tensor], state: State) -> Scan:
        (weight, last), outputs = state, []
        for at_time in zip(*(each.unbind(1) for each in inputs), strict=True):
            query, key, value, rate = self.features(*at_time, last=last)
            row = key.unsqueeze(-2)
            if self.erases:
                value = value - (row @ weight).squeeze(-2)
            weight = weight + row.transpose(-1, -2) * (rate.unsqueeze(-1) * value).unsqueeze(-2)
            last = (query.unsqueeze(-2) @ weight).squeeze(-2)
            outputs.append(last)
        return Scan(torch.stack(outputs, 1) if outputs else torch.zeros_like(inputs[2]), (weight, last))

    def saturation(self, state: State) -> Tensor | None:
        return flat(state[1].tanh()) if self.spec.feedback == "tanh" and self.spec.fed else None

    def initial_state(self, batch: int) -> State:
        state = super().initial_state(batch)
        return (*state, state[0].new_zeros(batch, self.heads, self.head_width)) if self.spec.fed else state


class _SelfReferential(Mixer):
    """The published SRWM layer, `LayerNorm(x) + OutLinear(y)`, each block rewritten or not."""

    def __init__(self, spec: FastWeightProgram, width: int, heads: int) -> None:
        super().__init__()
        self.spec, self.heads, self.rewritten = spec, heads, _named(spec.self_reference)
        d = self.head_width = head_width(width, heads)
        scale = d**-0.5
        self.blocks = nn.ParameterDict(
            {
                "value": torch.randn(heads, d, d) * scale,
                "query": torch.randn(heads, d, d) * scale * 0.01,
                "key": torch.randn(heads, d, d) * scale,
                "rate": torch.randn(heads, d, 4) * scale - 1,
            }
        )
        self.recurrent = _feedback(spec, heads, d, 4)
        self.layer_norm = nn.LayerNorm(width)
        self.out_linear = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        spec, heads = self.spec, x.unflatten(-1, (self.heads, -1))
        whole = set(self.rewritten) == set(PARTS) and not spec.fed
        if whole and (spec.update, spec.normalisation, spec.rate) == ("delta", "softmax", "sigmoid"):
            scan = srwm(heads, *(self.blocks[part] for part in PARTS), initial_state=state)
        else:
            scan = self._loop(heads, state or self.initial_state(x.shape[0]))
        return self.layer_norm(x) + self.out_linear(scan.output.flatten(-2)), scan.state

    def _loop(self, x: Tensor, state: State) -> Scan:
        spec, blocks = self.spec, dict(zip(PARTS, state, strict=False))
        last, outputs = state[-1], []
        for at_time in x.unbind(1):
            output, query, key, rates, h = self._read(at_time, blocks, last)
            for place, part in enumerate(PARTS):
                if part in self.rewritten:
                    address = query - key if spec.update == "delta" else query
                    wanted = (address.unsqueeze(-2) @ blocks[part]).squeeze(-2)
                    if part == "value":
                        wanted = _fed(wanted, part, h, self.recurrent)
                    change = key.unsqueeze(-1) * (rates[..., place : place + 1] * wanted).unsqueeze(-2)
                    blocks[part] = blocks[part] + change
            last = output
            outputs.append(last)
        after = tuple(blocks.values())
        return Scan(torch.stack(outputs, 1) if outputs else torch.zeros_like(x), (*after, last) if spec.fed else after)

    def _read(self, x: Tensor, blocks: dict[str, Tensor], last: Tensor) -> tuple[Tensor, ...]:
        """Output, query, key and rates of one position `[batch, heads, d]`, and what is fed back to them."""
        spec, row = self.spec, x.unsqueeze(-2)
        read = {part: (row @ block).squeeze(-2) for part, block in blocks.items()}
        h = spec.squash(last) if spec.fed else last
        query, key = (spec.phi(_fed(read[part], part, h, self.recurrent)) for part in ("query", "key"))
        return read["value"], query, key, spec.rho(_fed(read["rate"], "rate", h, self.recurrent)), h

    def view(self, x: Tensor, before: State) -> Writes:
        """The updates of the blocks that rewrite themselves."""
        blocks = dict(zip(PARTS, before, strict=False))
        _, query, key, rates, h = self._read(x.unflatten(-1, (self.heads, -1)), blocks, before[-1])
        fed = {"value": _fed(torch.zeros_like(h), "value", h, self.recurrent)} if "value" in self.recurrent else {}
        erases = self.spec.update == "delta"
        return rewrites(blocks, query, key, rates, rewritten=self.rewritten, erases=erases, fed=fed)

    def initial_state(self, batch: int) -> State:
        blocks = tuple(self.blocks[part].expand(batch, *self.blocks[part].shape) for part in PARTS)
        return (*blocks, blocks[0].new_zeros(batch, self.heads, self.head_width)) if self.spec.fed else blocks
