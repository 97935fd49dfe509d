"""The tables of the store: one for the runs, and one for each kind of object in a record."""

from dataclasses import fields
from typing import Any

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

from fwplab.data.splits import SplitSummary
from fwplab.training.record import Chance, Check, Measurement, Member, Score

NESTED = {"checks", "selected", "scores", "measured"}
"""The fields of a member that are stored in their own tables, or as JSON."""

metadata = MetaData()

versions = Table("versions", metadata, Column("schema", Integer, primary_key=True))
runs = Table(
    "runs",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("language", String, nullable=False, index=True),
    Column("mixer", String, nullable=False, index=True),
    Column("spec", Text, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("state_size", Integer, nullable=False),
    Column("environment", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finished", String, nullable=False),
)


def _table(name: str, kind: type, *more: Column[Any]) -> Table:
    """A table with a column for each plain field of a dataclass; `place` is an object's index in its record."""
    types: dict[Any, type] = {int: Integer, float: Float, float | None: Float}
    columns: list[Column[Any]] = [
        Column(f.name, types.get(f.type, String)) for f in fields(kind) if f.name not in NESTED
    ]
    place = Column("place", Integer, primary_key=True)
    return Table(
        name,
        metadata,
        Column("run", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
        *more,
        place,
        *columns,
    )


members = _table("members", Member, Column("selected", Text, nullable=False))
checks = _table("checks", Check, Column("member", Integer, primary_key=True))
scores = _table("scores", Score, Column("member", Integer, primary_key=True))
measurements = _table("measurements", Measurement, Column("member", Integer, primary_key=True))
splits = _table("splits", SplitSummary)
chance = _table("chance", Chance)
PARTS = (members, checks, scores, measurements, splits, chance)
checksums = Table(
    "checksums",
    metadata,
    Column("run", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
    Column("listed", String(16), nullable=False),
    Column("fixed", String(16), nullable=False),
    Column("measured", String(16), nullable=False),
)
"""What `fwplab.storage.rows.checksums_of` gives for a record. Records of former versions have no row here."""
