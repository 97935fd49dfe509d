"""The time of four members on one core: stacked with padded strings, or in a loop with padded or packed strings.

    python scripts/packing.py

It prints the milliseconds of a forward and backward pass: medians, measured in turn. The trainer's choice uses them.
"""

from collections.abc import Callable
from functools import partial

import torch

from fwplab.benchmark import clock, training
from fwplab.data.dataset import IGNORE
from fwplab.model.population import Population

MEMBERS, LENGTH, ROUNDS = 4, 50, 11


def steps(model: str, batch: int) -> dict[str, Callable[[], None]]:
    """One step of all members in each of the three ways, on strings of length 2 to 50 as in training."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, LENGTH + 1, (MEMBERS, batch), generator=generator)
    tokens = torch.randint(0, 2, (MEMBERS, batch, LENGTH), generator=generator)
    labels = torch.where(torch.arange(LENGTH) < lengths.unsqueeze(-1), tokens, IGNORE)
    run = training.run_of(model, MEMBERS)

    def step(population: Population, ends: torch.Tensor | None) -> None:
        population.backward(population.losses(tokens, labels, ends))

    stack, loop = (Population([run.build(seed) for seed in run.seeds], mode) for mode in ("stack", "loop"))
    return {
        "stack": partial(step, stack, None),
        "loop": partial(step, loop, None),
        "packed": partial(step, loop, lengths),
    }


if __name__ == "__main__":
    print("model                batch  stack   loop packed")
    with clock.on_threads(1):
        for name in ("recurrent-delta", "srwm", "linear-transformer"):
            for size in (8, 16, 32, 64):
                times = clock.medians(steps(name, size), rounds=ROUNDS, min_seconds=0.1)
                print(f"{name:20} {size:5}", *(f"{1000 * times[way]:6.1f}" for way in ("stack", "loop", "packed")))
