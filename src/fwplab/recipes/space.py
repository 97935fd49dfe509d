"""What a search may choose from."""

from dataclasses import dataclass, field
from typing import Any

from fwplab.errors import UserError
from fwplab.mixers.mixer import head_width
from fwplab.run import SCHEDULES, Schedule


@dataclass(frozen=True)
class Space:
    """What a search may choose from. Heads are chosen by their width, which must divide every `hidden`.

    `switches` names switches of the mixer, each with the values to choose from.
    """

    hidden: tuple[int, ...] = (32, 64)
    layers: tuple[int, ...] = (1, 2)
    head_width: tuple[int, ...] = (2, 4, 8, 16)
    learning_rate: tuple[float, float] = (1e-3, 1e-2)
    batch_size: tuple[int, ...] = (32, 64)
    schedule: tuple[Schedule, ...] = ("cosine",)
    switches: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "head_width", "batch_size"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise UserError(f"{name}: choose one or more positive whole numbers")
        for hidden in self.hidden:
            for width in self.head_width:
                head_width(hidden, max(1, hidden // width))
        if not self.schedule or not set(self.schedule) <= set(SCHEDULES):
            raise UserError(f"schedule: choose one or more of {', '.join(SCHEDULES)}")
        low, high = self.learning_rate
        if not 0 < low <= high:
            raise UserError(f"learning rates from {low} to {high}: choose 0 < lowest <= highest")

    def lines(self) -> list[str]:
        """A line for each thing that is chosen."""
        low, high = self.learning_rate
        chosen = {
            "hidden": self.hidden,
            "layers": self.layers,
            "head width": self.head_width,
            "batch size": self.batch_size,
            "schedule": self.schedule,
            **self.switches,
        }
        listed = [f"{name}: {', '.join(map(str, values))}" for name, values in chosen.items()]
        return [*listed, f"learning rate: {low:g} to {high:g}"]
