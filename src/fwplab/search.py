"""Which sizes, rate, schedule, batch and switches does a cell need? Optuna's search, on strings and seeds of its own.

Optuna because its trials live in a database: many workers share a search, and one that was killed goes on.
"""

import hashlib
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sql

from fwplab.database import NO_DRIVER, create_tables, database_message, database_url, invalid_url, without_password
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES
from fwplab.languages.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.mixers.mixer import MixerSpec
from fwplab.model import ModelSpec
from fwplab.outside import fingerprint
from fwplab.recipes import Recipe
from fwplab.recipes.history import History, Objective, Searched
from fwplab.recipes.space import Space
from fwplab.record import Progress, Record
from fwplab.run import Protocol, Run, mixer_from_dict, to_dict
from fwplab.store import folder_of
from fwplab.trainer import RESUME, train

try:
    import optuna
except ModuleNotFoundError as error:
    raise UserError("fwplab search needs Optuna; install it: pip install 'fwplab[search]'") from error

FIRST_SEED = 1_000
"""Seeds from here on belong to searches: no table reports them."""
SPLIT_SEED = 1_000
"""The strings of searches; a unary language has but one set of strings, which every search and table must share."""
HEARTBEAT_SECONDS = 60
RETRIES = 3


@dataclass(frozen=True)
class Search:
    """One search: of which cell, over what, for how long.

    A trial trains `members` seeds for `strings` strings each, as long for every choice, and counts by their mean:
    "paper", the best mean of Bin0 and Bin1 of each; "strict", the lowest in-distribution loss of each, negative.
    Both bins are looked at every `check_every` steps; where that is None `checks` times, and at each epoch's end. The
    more looks, the likelier one of them finds a rare good moment: a recipe keeps the number that it was found with.
    At `checks` points a trial whose in-distribution loss is worse than the median of others ends.
    """

    language: str
    mixer: str
    space: Space = field(default_factory=Space)
    strings: int = 300_000
    members: int = 2
    objective: Objective = "paper"
    checks: int = 20
    check_every: int | None = None

    def __post_init__(self) -> None:
        for values in itertools.product(*self.space.switches.values()):
            self._mixer(dict(zip(self.space.switches, values, strict=True)))

    @property
    def name(self) -> str:
        """The same for the same search, so that every worker and every sitting finds it again.

        Fields that have their default value are left out, so that a field that is added later changes no name.
        """
        code = fingerprint(MIXERS.load(self.mixer), LANGUAGES.load(self.language))
        text = json.dumps(to_dict(self, defaults=False) | ({"code": code} if code else {}), sort_keys=True)
        return f"{self.language}/{self.mixer}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def run(self, trial: optuna.trial.BaseTrial) -> Run:
        """The run that a trial asks for."""
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

    def _mixer(self, switches: dict[str, Any]) -> MixerSpec:
        return mixer_from_dict({"name": self.mixer, **switches})

    def recipe(self, study: optuna.Study) -> Recipe:
        """The winner, with what it was compared to."""
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
                )
            ),
        )


@contextmanager
def open_search(search: Search, url: str | None = None) -> Iterator[optuna.Study]:
    """The search with all its trials so far; by default on the server of `FWPLAB_STORE`, or in `FWPLAB_HOME`."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    url = database_url(url, "searches.sqlite")
    try:
        with _unwrapped():
            storage, study = create_tables(lambda: _study(search, url))
            try:
                yield study
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except sql.exc.DBAPIError as error:
        raise UserError(
            f"{without_password(url)} cannot be used for a search ({database_message(error)}); "
            "choose another --storage, or mend this one: the same command goes on where this one stopped"
        ) from error


def _study(search: Search, url: str) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
    with warnings.catch_warnings(), _unwrapped():
        # heartbeats and two switches of the sampler: "may change", which a pin answers
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = optuna.storages.RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT_SECONDS,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
        except NO_DRIVER as error:
            raise invalid_url(without_password(url), error.__cause__ or error) from error
        study = optuna.create_study(
            storage=storage,
            study_name=search.name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=search.checks // 4),
        )
    return storage, study


@contextmanager
def _unwrapped() -> Iterator[None]:
    """The errors of the database without what Optuna says around them."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        raise error.__cause__ or error from None


def work(
    search: Search, trials: int, *, url: str | None = None, observe: Callable[[Progress], None] | None = None
) -> None:
    """Adds trials until the search has so many that ended; any number of processes may do so at a time."""
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    with open_search(search, url) as study:

        def objective(trial: optuna.Trial) -> float:
            try:
                return _value(search, trial, observe)
            except KeyboardInterrupt:  # the trial has failed, and its choice is the next one's, which goes on with it
                study.enqueue_trial(trial.params)
                optuna.logging.set_verbosity(optuna.logging.ERROR)  # the command says it, in one line
                raise

        if len(study.get_trials(deepcopy=False, states=ended)) < trials:
            stop = optuna.study.MaxTrialsCallback(trials, states=ended)
            study.optimize(objective, callbacks=[stop])


def _value(search: Search, trial: optuna.Trial, observe: Callable[[Progress], None] | None) -> float:
    run = search.run(trial)
    folder = folder_of(run)  # of the run, not of the trial: one that was killed goes on from its checkpoint
    told: set[int] = set()

    def report(progress: Progress) -> None:
        if observe:
            observe(progress)
        losses = [member.bin0_loss for member in progress.members if member.bin0_loss is not None]
        place = progress.step * search.checks // run.protocol.max_steps
        if losses and place and place not in told:
            told.add(place)
            trial.report(-sum(losses) / len(losses), place)
            if trial.should_prune():
                raise optuna.TrialPruned

    record = train(run, folder=folder, observe=report)
    (folder / RESUME).unlink(missing_ok=True)
    return value(search, record)


def value(search: Search, record: Record) -> float:
    """What a trial counts; a member that diverged before its first look at the bins counts nothing (or minus 10)."""
    if search.objective == "strict":
        return _mean([max((-c.bin0_loss for c in m.checks), default=-10.0) for m in record.members])
    means = [max(((c.bin0_accuracy + c.bin1_accuracy) / 2 for c in m.checks), default=0.0) for m in record.members]
    return _mean(means)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def trials_of(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials as plain values, the best first, those that did not reach their end last."""
    rows = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value if t.state.name == "COMPLETE" else None}
        | {"parameters": dict(t.params)}
        for t in study.trials
    ]
    return sorted(rows, key=lambda row: -1e9 if row["value"] is None else row["value"], reverse=True)
