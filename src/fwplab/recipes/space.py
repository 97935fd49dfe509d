"""The space of a search."""

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from fwplab.errors import UserError
from fwplab.mixers._spec import head_width
from fwplab.training.protocol import SCHEDULES, Schedule


@dataclass(frozen=True)
class Space:
    """The values that a search may choose from."""

    hidden: tuple[int, ...] = (32, 64)
    """Widths of the model."""
    layers: tuple[int, ...] = (1, 2)
    """Numbers of layers."""
    head_width: tuple[int, ...] = (2, 4, 8, 16)
    """Widths of a head; each must divide every width of the model."""
    learning_rate: tuple[float, float] = (1e-3, 1e-2)
    """The lowest and the highest learning rate."""
    batch_size: tuple[int, ...] = (32, 64)
    """Numbers of strings in a batch."""
    schedule: tuple[Schedule, ...] = ("cosine",)
    """cosine, constant, or both."""
    switches: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Switches of the mixer, each with the values to choose from."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if kind == tuple[int, ...] and min(getattr(self, name), default=0) < 1:
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
        """A line with the values of each hyperparameter."""
        low, high = self.learning_rate
        listed = [f"{name}: {', '.join(map(str, values))}" for name, values in (self.choices() | self.switches).items()]
        return [*listed, f"learning_rate: {low:g} to {high:g}"]

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The values of each hyperparameter that is chosen from a list, without the mixer's switches."""
        names = [each.name for each in fields(self) if each.name not in ("learning_rate", "switches")]
        return {name: getattr(self, name) for name in names}
