"""Several members of one model as one program: seeds are an axis, not a loop."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from fwplab.errors import UserError
from fwplab.languages.dataset import IGNORE
from fwplab.model import Model

Weights = dict[str, Tensor]
Lift = Literal["single", "stack", "loop"]
ALIGNED = 16
"""Numbers to which a parameter's place in its member's vector is rounded up: whole cache lines."""


class Population:
    """P models of one shape that run, learn and leave separately.

    `vectors` `[member, n]` hold all parameters of a member one after the other, and `gradients` theirs: an optimiser
    has one tensor a member, which it may change in place. `weights` are the same numbers by name. Lifted by "stack",
    one vectorised program (`torch.func.vmap`) runs all members; by "loop" the members run one after the other, which
    is also what happens, and is reported in `lift` and `why`, where a module cannot be vectorised. A single member is
    never lifted.
    """

    def __init__(
        self, models: Sequence[Model], lift: Literal["stack", "loop"] = "stack", why: str = "asked for"
    ) -> None:
        self.models = list(models)
        self.lift: Lift = "single" if len(self.models) == 1 else lift
        self.why = "one member" if self.lift == "single" else why
        self._places, size = _places(self.models[0])
        vectors = next(self.models[0].parameters()).detach().new_zeros(len(self.models), size)
        for model, vector in zip(self.models, vectors, strict=True):
            for name, view in self.named(vector).items():
                view.copy_(model.get_parameter(name).detach())
        self._hold(vectors)

    def __len__(self) -> int:
        return len(self.models)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits `[member, batch, time, classes]` of `[member, batch, time]`, or of `[batch, time]` shared by all."""
        shared = tokens.dim() == 2
        if self.lift == "stack":
            in_dims = (0, 0, None if shared else 0)
            return vmap(self._functional, in_dims=in_dims)(self._stacked, self._buffers, tokens)
        each = [tokens] * len(self) if shared else tokens.unbind(0)
        return torch.stack([model(mine) for model, mine in zip(self.models, each, strict=True)])

    def losses(self, tokens: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Each member's mean cross-entropy over the positions where something is asked, `[member]`.

        `tokens` and `labels` are `[member, batch, time]`; `lengths` `[member, batch]` tell members that are not stacked
        where each string ends, as `Model.loss` takes them.
        """
        if self.lift != "stack":
            ends = [None] * len(self) if lengths is None else lengths.unbind(0)
            each = zip(self.models, tokens.unbind(0), labels.unbind(0), ends, strict=True)
            return torch.stack([model.loss(mine, wanted, end) for model, mine, wanted, end in each])
        logits = self(tokens).flatten(0, -2)
        loss = functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="none")
        return loss.view(len(self), -1).sum(1) / (labels != IGNORE).flatten(1).sum(1)

    def backward(self, losses: Tensor) -> None:
        """Gradients of each member's own loss, `losses` `[member]`, into `gradients`, in place of the last ones."""
        self.gradients.zero_()
        if self.lift != "stack":
            torch.autograd.backward(losses.sum())
            return
        learning = {name: stacked for name, stacked in self._stacked.items() if stacked.requires_grad}
        gradients = torch.autograd.grad(losses.sum(), list(learning.values()), allow_unused=True)
        places = self.named(self.gradients)
        for name, gradient in zip(learning, gradients, strict=True):
            if gradient is not None:
                places[name].copy_(gradient)

    def keep(self, members: Sequence[int]) -> None:
        """The others leave; those named stay, with their weights as they are."""
        self.models = [self.models[member] for member in members]
        self._hold(self.vectors[list(members)])

    def named(self, vector: Tensor) -> Weights:
        """A member's vector, or what belongs to it number by number, in parts by the parameters' names."""
        return {
            name: vector[..., place].view(*vector.shape[:-1], *shape) for name, (place, shape) in self._places.items()
        }

    def _hold(self, vectors: Tensor) -> None:
        """Makes `vectors` the members' parameters, and `gradients` what autograd adds to."""
        self.vectors, self.gradients = vectors, torch.zeros_like(vectors)
        self.weights = [self.named(vector) for vector in vectors]
        if self.lift == "stack" and self.models:
            self._stack()
        if self.lift != "stack":
            for model, weights, gradient in zip(self.models, self.weights, self.gradients, strict=True):
                gradients = self.named(gradient)
                for name, parameter in model.named_parameters():
                    parameter.data, parameter.grad = weights[name], gradients[name]

    def _stack(self) -> None:
        self._base = copy.deepcopy(self.models[0])
        self._buffers = stack_module_state(self.models)[1]
        self._stacked = {
            name: stacked.requires_grad_(self._base.get_parameter(name).requires_grad)
            for name, stacked in self.named(self.vectors).items()
        }
        try:
            with torch.no_grad():
                self(torch.zeros(1, 1, dtype=torch.long, device=self.vectors.device))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self.lift, self.why = "loop", f"cannot be vectorised: {str(error).splitlines()[0]}"

    def _functional(self, weights: Weights, buffers: Weights, tokens: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._base, (weights, buffers), (tokens,))
        return logits


def load(model: Model, weights: Weights) -> Model:
    """Copies weights by name into the model's own parameters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def _places(model: Model) -> tuple[dict[str, tuple[slice, torch.Size]], int]:
    """Where each parameter lies in a member's vector and its shape, and the vector's length."""
    places, end = {}, 0
    for name, parameter in model.named_parameters():
        places[name] = slice(end, end + parameter.numel()), parameter.shape
        end += -(-parameter.numel() // ALIGNED) * ALIGNED
    kinds = sorted({str(parameter.dtype) for parameter in model.parameters()})
    if len(kinds) > 1:
        raise UserError(f"a model's parameters must be of one type, these are of {', '.join(kinds)}; choose one")
    return places, end
