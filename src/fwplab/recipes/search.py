"""Searches the hyperparameters of a cell with Optuna, on strings and seeds that no table uses.

Optuna keeps its trials in a database. So several workers can share a search, and an interrupted search can continue.
"""

import hashlib
import itertools
import json
import logging
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sql

from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.mixers.mixer import MixerSpec
from fwplab.model.model import ModelSpec
from fwplab.plugins.fingerprint import fingerprint
from fwplab.recipes.history import History, Objective, OverSeeds, Pruner, Searched
from fwplab.recipes.recipe import Recipe
from fwplab.recipes.space import Space
from fwplab.storage.database import (
    UNUSABLE,
    create_tables,
    database_message,
    database_url,
    invalid_url,
    shown,
    wait_for_server,
)
from fwplab.storage.store import folder_of
from fwplab.training.record import Progress, Record
from fwplab.training.run import Protocol, Run
from fwplab.training.spec import mixer_from_dict, to_dict
from fwplab.training.trainer import RESUME, train, train_until

try:
    import optuna

    from fwplab.recipes.leftovers import mark_trial, remove_states, retry, take_over
except ModuleNotFoundError as error:
    raise UserError("fwplab search needs Optuna; install it: pip install 'fwplab[search]'") from error

FIRST_SEED = 1_000
"""The first seed of searches. No table reports seeds from here on."""
SPLIT_SEED = 1_000
"""The seed of the strings of searches. A unary language has only one set of strings: searches and tables share it."""
HEARTBEAT_SECONDS = 60


@dataclass(frozen=True)
class Search:
    """The specification of a search.

    More evaluations make it more likely that one of them has a high accuracy by chance. So a recipe keeps the
    `check_every` with which it was found.
    """

    language: str
    """The name of the language."""
    mixer: str
    """The name of the mixer."""
    space: Space = field(default_factory=Space)
    """The values to choose from."""
    strings: int = 300_000
    """The number of strings that each seed of a trial is trained on."""
    members: int = 2
    """The number of seeds of a trial."""
    objective: Objective = "paper"
    """The value of a seed. "paper": its best mean accuracy on both bins. "strict": minus its lowest loss on Bin0."""
    checks: int = 20
    """How often a trial may be pruned (see `pruner`)."""
    check_every: int | None = None
    """The number of steps between two evaluations of both bins, besides one at the end of each epoch; None for `checks`
    evaluations in all."""
    also: tuple[str, ...] = ()
    """Further languages that a trial is trained on. Its value is that of its worst language."""
    over_seeds: OverSeeds = "mean"
    """How the values of a trial's seeds are combined."""
    pruner: Pruner = "median"
    """Which trials are stopped early, by their loss on Bin0. "median": those that are worse than the median of the
    other trials. "hyperband": all but the best third, at a third and a ninth of the training and so on
    (Li et al. 2018, arXiv 1603.06560)."""

    def __post_init__(self) -> None:
        for values in itertools.product(*self.space.switches.values()):
            self._mixer(dict(zip(self.space.switches, values, strict=True)))

    @property
    def name(self) -> str:
        """The name of the search in the database, which is the same for the same specification.

        Fields with their default value are left out, so that adding a field changes no name.
        """
        code = fingerprint(MIXERS.load(self.mixer), LANGUAGES.load(self.language))
        text = json.dumps(to_dict(self, defaults=False) | ({"code": code} if code else {}), sort_keys=True)
        return f"{self.language}/{self.mixer}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def run(self, trial: optuna.trial.BaseTrial) -> Run:
        """The run of a trial, with the values that the sampler chooses."""
        space = self.space
        chosen = {name: trial.suggest_categorical(name, values) for name, values in space.choices().items()}
        rate = trial.suggest_float("learning_rate", *space.learning_rate, log=True)
        switches = {name: trial.suggest_categorical(name, values) for name, values in space.switches.items()}
        hidden, batch = chosen["hidden"], chosen["batch_size"]
        model = ModelSpec(hidden, chosen["layers"], max(1, hidden // chosen["head_width"]))
        steps = max(1, self.strings // batch)
        protocol = Protocol(
            selection=self.objective,
            stop="both_bins" if self.objective == "paper" else "in_distribution",
            patience=1 if self.objective == "paper" else 10,
            max_steps=steps,
            schedule=chosen["schedule"],
            batch_size=batch,
            check_every=self.check_every or max(1, steps // self.checks),
            splits=SplitSpec(validation_strings=500, test_lengths=(), seed=SPLIT_SEED),
        )
        seeds = tuple(range(FIRST_SEED, FIRST_SEED + self.members))
        return Run(self.language, self._mixer(switches), seeds, (rate,), model, protocol)

    def runs(self, trial: optuna.trial.BaseTrial) -> list[Run]:
        """The runs of a trial, one for each language."""
        run = self.run(trial)
        return [run, *(replace(run, language=language, code=None) for language in self.also)]

    def centre(self, values: Sequence[float]) -> float:
        """The mean or the median of the values of a trial's seeds."""
        return statistics.fmean(values) if self.over_seeds == "mean" else statistics.median(values)

    def _mixer(self, switches: dict[str, Any]) -> MixerSpec:
        return mixer_from_dict({"name": self.mixer, **switches})

    def recipe(self, study: optuna.Study) -> Recipe:
        """The recipe of the best trial, with the history of the search."""
        best = study.best_trial
        run = self.run(optuna.trial.FixedTrial(best.params))
        states = [trial.state for trial in study.trials]
        complete, pruned = (states.count(getattr(optuna.trial.TrialState, name)) for name in ("COMPLETE", "PRUNED"))
        return Recipe.of(
            run if self.check_every else replace(run, protocol=replace(run.protocol, check_every=Recipe.check_every)),
            History(
                Searched(
                    name=self.name,
                    ended=complete,
                    pruned=pruned,
                    seeds=self.members,
                    strings=self.strings,
                    value=study.best_value,
                    objective=self.objective,
                    space=self.space,
                    check_every=self.check_every,
                    first_seed=FIRST_SEED,
                    split_seed=SPLIT_SEED,
                    sampler=f"optuna {optuna.__version__}, TPE",
                    also=self.also,
                    over_seeds=self.over_seeds,
                    pruner=self.pruner,
                )
            ),
        )


@contextmanager
def open_search(search: Search, url: str | None = None) -> Iterator[optuna.Study]:
    """Opens a search with all its trials so far.

    url: the database; None for the server of `FWPLAB_STORE`, or else a file in `FWPLAB_HOME`.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    address = database_url(url, "searches.sqlite")
    try:
        with _unwrapped():
            storage, study = wait_for_server(lambda: create_tables(lambda: _study(search, address)), address)
            try:
                yield study
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except sql.exc.DBAPIError as error:
        raise UserError(
            f"{shown(address)} cannot be used for a search ({database_message(error, address)}); "
            "choose another --storage, or mend this one: the same command goes on where this one stopped"
        ) from error


def _study(search: Search, url: sql.URL) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
    with warnings.catch_warnings(), _unwrapped():
        # Optuna warns that heartbeats and two options of the sampler may change. Its version is pinned.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = optuna.storages.RDBStorage(
                url.render_as_string(hide_password=False),
                heartbeat_interval=HEARTBEAT_SECONDS,
                heartbeat_stale_trial_callback=retry,
            )
        except sql.exc.DBAPIError:
            raise
        except UNUSABLE as error:
            raise invalid_url(shown(url), database_message(error.__cause__ or error, url)) from error
        study = optuna.create_study(
            storage=storage,
            study_name=search.name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
            pruner=_pruner(search),
        )
    return storage, study


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    if search.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=search.checks, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=search.checks // 4)


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raises the errors of the database itself in place of Optuna's, which wrap them."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        raise error.__cause__ or error from None


def work(
    search: Search, trials: int, *, url: str | None = None, observe: Callable[[Progress], None] | None = None
) -> None:
    """Adds trials until `trials` of them have ended. Several processes may do so at the same time."""
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    with open_search(search, url) as study:

        def objective(trial: optuna.Trial) -> float:
            mark_trial(trial)
            try:
                return _value(search, trial, observe)
            except KeyboardInterrupt:  # the trial has failed; the next trial has the same choices and continues it
                study.enqueue_trial(trial.params)
                optuna.logging.set_verbosity(optuna.logging.ERROR)  # the command prints one line itself
                raise

        take_over(study)
        if len(study.get_trials(deepcopy=False, states=ended)) < trials:
            stop = optuna.study.MaxTrialsCallback(trials, states=ended)
            study.optimize(objective, callbacks=[stop])
        remove_states(study, lambda parameters: search.run(optuna.trial.FixedTrial(parameters)))


def _value(search: Search, trial: optuna.Trial, observe: Callable[[Progress], None] | None) -> float:
    """Trains all languages of a trial, a part of the training at a time, and returns the value of the worst.

    Each run has its usual folder, so that an interrupted trial continues from there.
    """
    runs = search.runs(trial)
    for place in range(1, search.checks + 1):
        step = place * runs[0].protocol.max_steps // search.checks
        parts = [train_until(step, run, folder=folder_of(run), observe=observe) for run in runs]
        losses = [[m.bin0_loss for m in part.members if m.bin0_loss is not None] for part in parts]
        if all(losses):
            trial.report(-max(map(search.centre, losses)), place)
            if trial.should_prune():
                raise optuna.TrialPruned
    values = [value(search, train(run, folder=folder_of(run))) for run in runs]
    for run in runs:
        (folder_of(run) / RESUME).unlink(missing_ok=True)
    return min(values)


def value(search: Search, record: Record) -> float:
    """The value of one language. A member that diverged before its first check counts as 0, or as -10 for "strict"."""
    if search.objective == "strict":
        return search.centre([max((-c.bin0_loss for c in m.checks), default=-10.0) for m in record.members])
    return search.centre(
        [max(((c.bin0_accuracy + c.bin1_accuracy) / 2 for c in m.checks), default=0.0) for m in record.members]
    )


def trials_of(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials as plain values, sorted from the best to the worst. Trials that did not end come last."""
    rows = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value if t.state.name == "COMPLETE" else None}
        | {"parameters": dict(t.params)}
        for t in study.trials
    ]
    return sorted(rows, key=lambda row: -1e9 if row["value"] is None else row["value"], reverse=True)
