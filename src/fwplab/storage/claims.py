"""Claims on runs in the store, so that of several drivers with the same runs only one trains each run."""

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sql
from sqlalchemy import Column, Integer, MetaData, String, Table

from fwplab.processes import has_ended, this_process
from fwplab.storage.database import create_tables, sqlite_file
from fwplab.storage.store import Store
from fwplab.training.run import Run

BEAT_SECONDS = 10.0
"""The time between two heartbeats of a driver."""
STALE_SECONDS = 60.0
"""The time without a heartbeat after which the claims of a driver on another machine are taken over."""
WAIT_SECONDS = 1.0

metadata = MetaData()
claims = Table(
    "claims",
    metadata,
    Column("run", String(16), primary_key=True),
    Column("owner", String, nullable=False),
    Column("beat", Integer, nullable=False),
)
_numbers = itertools.count()


class Claims:
    """The claims of one driver. Use it as a context manager, which releases them at its end.

    The claim of a dead driver is taken over: at once if it was a process on this machine, otherwise when its heartbeat
    has not changed for `STALE_SECONDS` in which the database has answered. Clocks of different machines are not
    compared.

    store: the store. A store in memory has only one driver and needs no claims.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = f"{this_process()}/{next(_numbers)}"
        self.shared = store.engine.dialect.name != "sqlite" or sqlite_file(store.url) is not None
        self._seen: dict[str, tuple[str, int, float]] = {}
        self._silent = float("-inf")  # when the database has last left a heartbeat of this driver unanswered
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Claims":
        if self.shared:
            self.store.with_retries(lambda: create_tables(lambda: metadata.create_all(self.store.engine)))
            self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.shared:
            self._ended.set()
            self._heart.join()
            with suppress(sql.exc.SQLAlchemyError):  # if the server is down, the claims become stale
                self._execute(claims.delete().where(claims.c.owner == self.owner))

    def take(self, run: Run) -> bool:
        """Claims a run. Returns whether this driver should train it: it is neither claimed by another nor finished."""
        if not self.shared:
            return True
        if not self.store.with_retries(lambda: self._take(run.key)):
            return False
        if self.store.load(run.key) is None:
            return True
        self.release(run)  # another driver has finished it in the meantime
        return False

    def release(self, run: Run) -> None:
        """Releases a claim, after the record is saved."""
        if self.shared:
            owned = claims.c.run == run.key, claims.c.owner == self.owner
            self.store.with_retries(lambda: self._execute(claims.delete().where(*owned)))

    def wait(self, runs: Sequence[Run]) -> list[Run]:
        """Waits until one of these runs can be claimed. Returns the unfinished ones.

        The list is empty if other drivers have finished all runs.
        """
        left = list(runs)
        while left := [run for run in left if self.store.load(run.key) is None]:
            if any(self._is_free(run) for run in left):
                break
            time.sleep(WAIT_SECONDS)
        return left

    def _take(self, key: str) -> bool:
        with self.store.engine.begin() as connection:
            claim = connection.execute(sql.select(claims).where(claims.c.run == key)).first()
            if claim is not None and claim.owner == self.owner:
                return True
            if claim is None:
                try:
                    connection.execute(claims.insert().values(run=key, owner=self.owner, beat=0))
                except sql.exc.IntegrityError:  # another driver was faster
                    return False
                return True
            if not self._is_left(key, claim.owner, claim.beat):
                return False
            same = claims.c.run == key, claims.c.owner == claim.owner, claims.c.beat == claim.beat
            taken = connection.execute(claims.update().where(*same).values(owner=self.owner, beat=0))
            return taken.rowcount == 1

    def _is_free(self, run: Run) -> bool:
        rows = self.store.rows(sql.select(claims).where(claims.c.run == run.key))
        return not rows or self._is_left(run.key, rows[0]["owner"], rows[0]["beat"])

    def _is_left(self, key: str, owner: str, beat: int) -> bool:
        """Whether the driver of a claim has ended, or has sent no heartbeat for too long.

        While the database is away, no driver can send one.
        """
        known = self._seen.get(key)
        if known is None or known[:2] != (owner, beat):
            self._seen[key] = owner, beat, time.monotonic()
            known = self._seen[key]
        since = max(known[2], self._silent)
        return has_ended(owner.partition("/")[0]) or time.monotonic() - since > STALE_SECONDS

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            began = time.monotonic()
            with suppress(sql.exc.SQLAlchemyError):  # the server restarts, or others write: try the next time
                self._execute(claims.update().where(claims.c.owner == self.owner).values(beat=claims.c.beat + 1))
                if time.monotonic() < began + BEAT_SECONDS:
                    continue
            self._silent = time.monotonic()

    def _execute(self, statement: sql.Delete | sql.Update) -> None:
        with self.store.engine.begin() as connection:
            connection.execute(statement)
