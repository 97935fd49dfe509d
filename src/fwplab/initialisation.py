"""Other starting weights than a mixer's own, to ask how much hangs on them."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Initialisation = Literal["own", "xavier", "orthogonal"]
INITIALISATIONS: tuple[Initialisation, ...] = ("own", "xavier", "orthogonal")


@torch.no_grad()
def initialise(modules: Iterable[nn.Module], scheme: Initialisation) -> None:
    """Draws every matrix of the modules anew; "own" leaves all as it is.

    "xavier": `N(0, 2 / (rows + columns))` (Glorot and Bengio 2010); "orthogonal": a random matrix with orthonormal
    rows or columns (Saxe et al. 2014). A stack of matrices, one a head, is drawn matrix by matrix; an offset that a
    mixer gives its weights (SRWM's `rate_bias`) and the scales of its start (`value_scale` and others) go with them.
    Vectors, biases and norms stay.
    """
    if scheme == "own":
        return
    draw = nn.init.xavier_normal_ if scheme == "xavier" else nn.init.orthogonal_
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                for matrix in parameter.view(-1, *parameter.shape[-2:]):
                    draw(matrix)
