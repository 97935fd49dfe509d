"""Several models of one shape, trained at the same time: if possible as one vectorised program."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from fwplab.data.dataset import IGNORE
from fwplab.errors import UserError
from fwplab.model.model import Model

Weights = dict[str, Tensor]
Mode = Literal["single", "stack", "loop"]
ALIGNMENT = 16
"""Each parameter starts at a multiple of this many numbers in its member's vector, so at the start of a cache line."""


class Population:
    """Models of one shape with separate parameters, gradients and losses, the members.

    models: the members.
    mode: "stack" runs all members as one vectorised program (`torch.func.vmap`), "loop" one after the other. A
        module that cannot be vectorised is looped. A single member is run as it is, which is the mode "single".
    why: the reason for the mode, for the record.

    `vectors` `[member, n]` holds all parameters of each member, and `gradients` `[member, n]` their gradients, so that
    an optimiser has one tensor a member. It may change them in place. `weights` are views of `vectors` by name.
    """

    def __init__(
        self, models: Sequence[Model], mode: Literal["stack", "loop"] = "stack", why: str = "asked for"
    ) -> None:
        self.models = list(models)
        self.mode: Mode = "single" if len(self.models) == 1 else mode
        self.why = "one member" if self.mode == "single" else why
        self._layout, size = _layout(self.models[0])
        vectors = next(self.models[0].parameters()).detach().new_zeros(len(self.models), size)
        for model, vector in zip(self.models, vectors, strict=True):
            for name, view in self.by_name(vector).items():
                view.copy_(model.get_parameter(name).detach())
        self._set_vectors(vectors)

    def __len__(self) -> int:
        return len(self.models)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits `[member, batch, time, classes]`.

        tokens: token ids, `[member, batch, time]`, or `[batch, time]` for the same tokens in all members.
        """
        shared = tokens.dim() == 2
        if self.mode == "stack":
            in_dims = (0, 0, None if shared else 0)
            return vmap(self._functional, in_dims=in_dims)(self._stacked, self._buffers, tokens)
        each = [tokens] * len(self) if shared else tokens.unbind(0)
        return torch.stack([model(own) for model, own in zip(self.models, each, strict=True)])

    def losses(self, tokens: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Each member's mean cross-entropy over all positions whose label is not IGNORE, `[member]`.

        tokens: token ids, `[member, batch, time]`.
        labels: class ids or IGNORE, `[member, batch, time]`.
        lengths: the lengths of the strings, `[member, batch]`; a stacked population does not use them.
        """
        if self.mode != "stack":
            all_lengths = [None] * len(self) if lengths is None else lengths.unbind(0)
            each = zip(self.models, tokens.unbind(0), labels.unbind(0), all_lengths, strict=True)
            return torch.stack([model.loss(own, own_labels, ends) for model, own, own_labels, ends in each])
        logits = self(tokens).flatten(0, -2)
        loss = functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="none")
        return loss.view(len(self), -1).sum(1) / (labels != IGNORE).flatten(1).sum(1)

    def backward(self, losses: Tensor) -> None:
        """Sets `gradients` to the gradients of each member's own loss; `losses` is `[member]`."""
        self.gradients.zero_()
        if self.mode != "stack":
            torch.autograd.backward(losses.sum())
            return
        trained = {name: stacked for name, stacked in self._stacked.items() if stacked.requires_grad}
        gradients = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        targets = self.by_name(self.gradients)
        for name, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                targets[name].copy_(gradient)

    def keep(self, members: Sequence[int]) -> None:
        """Keeps the members with these indices, with their weights, and removes the others."""
        self.models = [self.models[member] for member in members]
        self._set_vectors(self.vectors[list(members)])

    def by_name(self, vector: Tensor) -> Weights:
        """Views of a vector `[..., n]` with the layout of `vectors`, by the names of the parameters."""
        return {
            name: vector[..., place].view(*vector.shape[:-1], *shape) for name, (place, shape) in self._layout.items()
        }

    def _set_vectors(self, vectors: Tensor) -> None:
        """Makes `vectors` the storage of the members' parameters, and `gradients` the storage of their gradients."""
        self.vectors, self.gradients = vectors, torch.zeros_like(vectors)
        self.weights = [self.by_name(vector) for vector in vectors]
        if self.mode == "stack" and self.models:
            self._stack()
        if self.mode != "stack":
            for model, weights, gradient in zip(self.models, self.weights, self.gradients, strict=True):
                gradients = self.by_name(gradient)
                for name, parameter in model.named_parameters():
                    parameter.data, parameter.grad = weights[name], gradients[name]

    def _stack(self) -> None:
        self._base = copy.deepcopy(self.models[0])
        self._buffers = stack_module_state(self.models)[1]
        self._stacked = {
            name: stacked.requires_grad_(self._base.get_parameter(name).requires_grad)
            for name, stacked in self.by_name(self.vectors).items()
        }
        try:
            with torch.no_grad():
                self(torch.zeros(1, 1, dtype=torch.long, device=self.vectors.device))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self.mode, self.why = "loop", f"cannot be vectorised: {str(error).splitlines()[0]}"

    def _functional(self, weights: Weights, buffers: Weights, tokens: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._base, (weights, buffers), (tokens,))
        return logits


def load(model: Model, weights: Weights) -> Model:
    """Copies the weights into the model's parameters, by name, and returns the model.

    Raises `UserError` for weights that are missing, have another shape, or are no real numbers.
    """
    _check_weights(model, weights)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def _check_weights(model: Model, weights: Weights) -> None:
    for name, parameter in model.named_parameters():
        found = f"{name} {tuple(weights[name].shape)}" if name in weights else f"no {name}"
        if name not in weights or weights[name].shape != parameter.shape:
            raise UserError(f"these weights have {found}, where the model has {name} {tuple(parameter.shape)}")
        if not weights[name].is_floating_point():
            raise UserError(f"these weights have {name} of {weights[name].dtype}, which has no real numbers")


def _layout(model: Model) -> tuple[dict[str, tuple[slice, torch.Size]], int]:
    """Each parameter's place in a member's vector and its shape, and the vector's length."""
    layout, end = {}, 0
    for name, parameter in model.named_parameters():
        layout[name] = slice(end, end + parameter.numel()), parameter.shape
        end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
    types = sorted({str(parameter.dtype) for parameter in model.parameters()})
    if len(types) > 1:
        raise UserError(f"a model's parameters must be of one type, these are of {', '.join(types)}; choose one")
    return layout, end
