"""Alternative initialisations of the mixers, to measure how much the results depend on the initialisation."""

from collections.abc import Iterable

import torch
from torch import nn

from fwplab.model.spec import INITIALISATIONS, Initialisation

__all__ = ["INITIALISATIONS", "Initialisation", "initialise"]


@torch.no_grad()
def initialise(modules: Iterable[nn.Module], scheme: Initialisation) -> None:
    """Initialises every matrix of the modules by a scheme.

    - "own": the weights stay as each module initialised them.
    - "xavier": entries from `N(0, 2 / (rows + columns))` (Glorot and Bengio 2010).
    - "orthogonal": a random matrix with orthonormal rows or columns (Saxe et al. 2014).

    A parameter that stacks one matrix a head is initialised matrix by matrix. This also removes an offset that the
    mixer has added to its weights, such as the `rate_bias` of SRWM, and their scales, such as `value_scale`. Vectors
    (biases and normalisations) do not change.
    """
    if scheme == "own":
        return
    draw = nn.init.xavier_normal_ if scheme == "xavier" else nn.init.orthogonal_
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                for matrix in parameter.view(-1, *parameter.shape[-2:]):
                    draw(matrix)
