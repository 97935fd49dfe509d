"""`fwplab search`: searches the hyperparameters of a mixer on a language."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from fwplab.cli.console import emit
from fwplab.cli.switches import parse_choices
from fwplab.errors import UserError
from fwplab.files import check_writable
from fwplab.languages import load_language
from fwplab.mixers import MIXERS
from fwplab.recipes.history import OverSeeds, Pruner
from fwplab.recipes.space import Space

if TYPE_CHECKING:
    from fwplab.recipes.search import Search


@dataclass(frozen=True)
class SearchCommand:
    """Searches the hyperparameters of a mixer on a language: sizes, learning rate, schedule, batch size and switches.

    The search uses its own strings and seeds, not those that a study reports. Run the same command again to continue an
    interrupted search. Several processes with the same command share one search, on several machines with --storage.
    """

    language: str
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    mixer: str
    """Name of a mixer: fwplab mixers."""
    trials: int = 20
    """The total number of finished trials, including those of earlier commands."""
    strings: int = 300_000
    """How many strings each seed of a trial is trained on."""
    members: int = 2
    """How many seeds a trial trains."""
    also: tuple[str, ...] = ()
    """Further languages to train each trial on. The value of a trial is then that of its worst language."""
    over_seeds: OverSeeds = "mean"
    """mean or median: how the values of a trial's seeds are combined."""
    pruner: Pruner = "median"
    """median: stop trials that are worse than the median of the others. hyperband: successive halving."""
    objective: Literal["paper", "strict"] = "paper"
    """paper: maximise the mean accuracy on Bin0 and Bin1. strict: minimise the in-distribution loss."""
    space: Space = Space()
    switch: tuple[str, ...] = ()
    """Switches of the mixer, each with the values to choose from: NAME=VALUE,VALUE (fwplab mixers)."""
    check_every: int | None = None
    """Steps between two evaluations of both bins, besides one after each epoch; by default 20 evaluations in all."""
    storage: str | None = None
    """URL of a database for the trials; by default FWPLAB_STORE, or a file in FWPLAB_HOME."""
    workers: int | None = None
    """Number of processes; by default the number of usable cores."""
    write_recipe: Path | None = None
    """File to write the best trial to, as a recipe."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.recipes.recipe import write_recipe
        from fwplab.recipes.search import open_search, trials_of  # needs an optional extra

        search, workers = self.search(), self._workers()
        if self.write_recipe is not None:
            check_writable(self.write_recipe)
        if workers == 1:
            _work(search, self.trials, self.storage, None)
        else:
            self._share(search, workers)
        with open_search(search, self.storage) as study:
            rows = trials_of(study)
            best = rows[0] if rows and rows[0]["value"] is not None else None
            if self.write_recipe is not None and best is not None:
                write_recipe(search.recipe(study), self.write_recipe)
        facts = {
            "search": search.name,
            "language": search.language,
            "also": list(search.also),
            "mixer": search.mixer,
            "objective": search.objective,
            "best": best,
            "trials": rows,
        }
        emit(facts, as_json=self.json, text=_table(search.name, rows))
        return 0

    def search(self) -> "Search":
        """The search that the options describe."""
        from fwplab.recipes.search import Search

        for name in ("trials", "strings", "members", "check_every"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise UserError(f"{name} must be a positive whole number, not {number}")
        return Search(
            language=load_language(self.language).name,
            mixer=MIXERS.name_of(MIXERS.load(self.mixer)),
            space=replace(self.space, switches=parse_choices(self.mixer, self.switch)),
            strings=self.strings,
            members=self.members,
            objective=self.objective,
            check_every=self.check_every,
            also=tuple(load_language(name).name for name in self.also),
            over_seeds=self.over_seeds,
            pruner=self.pruner,
        )

    def _workers(self) -> int:
        from fwplab.engines import usable_cores
        from fwplab.engines.local import check_workers

        workers = len(usable_cores()) if self.workers is None else self.workers
        check_workers(workers)
        return workers

    def _share(self, search: "Search", workers: int) -> None:
        from fwplab.engines import end_with_the_driver, signals_wait, usable_cores
        from fwplab.recipes.search import open_search

        with open_search(search, self.storage):
            pass  # creates the tables once, before the workers need them
        shares = [usable_cores()[place::workers] or usable_cores() for place in range(workers)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=end_with_the_driver) as pool:
            with signals_wait():
                parts = [pool.submit(_work_in_pool, search, self.trials, self.storage, share) for share in shares]
            try:
                for part in parts:
                    part.result()
            except KeyboardInterrupt:
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
            except BrokenProcessPool as error:
                raise UserError("a worker died; the same command goes on where this one stopped") from error


def _work_in_pool(search: "Search", trials: int, storage: str | None, cores: list[int]) -> None:
    """`_work` in a worker process. SIGTERM from the driver interrupts the current trial, which is queued again."""
    import fwplab.recipes.search  # noqa: F401  # takes a second, and an interrupted import may raise any error

    def interrupt_once(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the process group and the driver may both send it
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt_once)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _work(search, trials, storage, cores)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _work(search: "Search", trials: int, storage: str | None, cores: list[int] | None) -> None:
    import torch

    from fwplab.recipes.search import work

    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)
    work(search, trials, url=storage)


def _table(name: str, rows: list[dict[str, object]]) -> Table:
    table = Table("trial", "state", "value", "parameters", title=name, box=None, title_justify="left")
    for row in rows:
        value, parameters = row["value"], row["parameters"]
        text = " ".join(map(_format, sorted(parameters.items()))) if isinstance(parameters, dict) else ""
        table.add_row(str(row["number"]), str(row["state"]), f"{value:.4f}" if isinstance(value, float) else "-", text)
    return table


def _format(parameter: tuple[str, object]) -> str:
    name, value = parameter
    return f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
