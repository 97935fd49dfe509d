"""Several members of one model as one program: seeds are an axis, not a loop."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from fwplab.model import Model

Weights = dict[str, Tensor]
Lift = Literal["single", "stack", "loop"]


class Population:
    """P models of one shape that run, learn and leave separately.

    `weights` holds each member's parameters by name, leaf tensors that an optimiser may change in place. Lifted by
    "stack", they are slices of tensors with the members in front, and one vectorised program (`torch.func.vmap`)
    runs all members; by "loop" the members run one after the other, which is also what happens, and is reported in
    `lift` and `why`, where a module cannot be vectorised. A single member is never lifted.
    """

    def __init__(
        self, models: Sequence[Model], lift: Literal["stack", "loop"] = "stack", why: str = "asked for"
    ) -> None:
        self.models = list(models)
        self.lift: Lift = "single" if len(self.models) == 1 else lift
        self.why = "one member" if self.lift == "single" else why
        self.weights: list[Weights] = [dict(model.named_parameters()) for model in self.models]
        if self.lift == "stack":
            self._stack()

    def __len__(self) -> int:
        return len(self.weights)

    def __call__(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits `[member, batch, time, classes]` of `[member, batch, time]`, or of `[batch, time]` shared by all.

        `lengths` `[member, batch]` tell members that are not stacked where each string ends, as `Model.forward` does.
        """
        shared = tokens.dim() == 2
        if self.lift == "stack":
            in_dims = (0, 0, None if shared else 0)
            return vmap(self._functional, in_dims=in_dims)(self._stacked, self._buffers, tokens)
        each = [tokens] * len(self) if shared else tokens.unbind(0)
        ends = [()] * len(self) if lengths is None else [(mine,) for mine in lengths.unbind(0)]
        return torch.stack([model(mine, *end) for model, mine, end in zip(self.models, each, ends, strict=True)])

    def backward(self, losses: Tensor) -> None:
        """Gradients of each member's own loss, `losses` `[member]`, into the `.grad` of its weights."""
        torch.autograd.backward(losses.sum())
        if self.lift == "stack":
            for name, stacked in self._stacked.items():
                for member, weights in enumerate(self.weights):
                    weights[name].grad = None if stacked.grad is None else stacked.grad[member]
                stacked.grad = None

    def keep(self, members: Sequence[int]) -> None:
        """The others leave; those named stay, with their weights as they are."""
        kept = [{name: w.detach() for name, w in self.weights[member].items()} for member in members]
        self.models = [self.models[member] for member in members]
        for model, weights in zip(self.models, kept, strict=True):
            load(model, weights)
        self.weights = [dict(model.named_parameters()) for model in self.models]
        if self.lift == "stack" and self.models:
            self._stack()

    def _stack(self) -> None:
        self._base = copy.deepcopy(self.models[0])
        self._stacked, self._buffers = stack_module_state(self.models)
        self.weights = [
            {name: stacked.detach()[member].requires_grad_() for name, stacked in self._stacked.items()}
            for member in range(len(self.models))
        ]
        try:
            with torch.no_grad():
                self(torch.zeros(1, 1, dtype=torch.long, device=next(self._base.parameters()).device))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self.lift, self.why = "loop", f"cannot be vectorised: {str(error).splitlines()[0]}"
            self.weights = [dict(model.named_parameters()) for model in self.models]

    def _functional(self, weights: Weights, buffers: Weights, tokens: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._base, (weights, buffers), (tokens,))
        return logits


def load(model: Model, weights: Weights) -> Model:
    """Copies weights by name into the model's own parameters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model
