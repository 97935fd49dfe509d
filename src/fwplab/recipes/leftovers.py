"""Cleans up after killed processes of a search: trials that are still marked as running, and training states."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fwplab.processes import has_ended, this_process
from fwplab.storage.store import folder_of
from fwplab.training.run import Run
from fwplab.training.trainer import RESUME

PROCESS = "process"
"""The attribute of a trial that contains the name of its process."""
RETRIES = 3
LONGEST_TRIAL = timedelta(days=1)
"""A running trial without `PROCESS`, whose process was killed right at the start, is ended after this time."""


def mark_trial(trial: optuna.Trial) -> None:
    """Stores the name of this process in a trial."""
    trial.set_user_attr(PROCESS, this_process())


def take_over(study: optuna.Study) -> None:
    """Ends the trials of dead processes on this machine, and queues their choices again.

    Trials of other machines are detected by Optuna's heartbeats, which call `retry`.
    """
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if _is_left(trial):
            with suppress(ValueError):  # another process has just done it
                study.tell(trial.number, state=TrialState.FAIL)
                retry(study, trial)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues the choices of a failed trial again, up to `RETRIES` times. It continues from the saved state."""
    before = [*trial.system_attrs.get("retry_history", []), trial.number]
    if len(before) <= RETRIES:
        marks = {**trial.system_attrs, "failed_trial": before[0], "retry_history": before}
        kept = {name: value for name, value in trial.user_attrs.items() if name != PROCESS}
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=kept,
                system_attrs=marks,
            )
        )


def _is_left(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(PROCESS)
    if process is not None:
        return has_ended(process)
    return trial.datetime_start is not None and datetime.now() - trial.datetime_start > LONGEST_TRIAL


def remove_states(study: optuna.Study, run_of: Callable[[dict[str, Any]], Run]) -> None:
    """Removes the training states of ended trials, unless an unfinished trial has the same choices.

    run_of: the run of a trial with these choices. It raises `ValueError` if some are missing.
    """
    unfinished, ended = set(), dict[str, Run]()
    for trial in study.get_trials(deepcopy=False):
        with suppress(ValueError):
            run = run_of(trial.params or trial.system_attrs.get("fixed_params", {}))
            if trial.state.is_finished():
                ended[run.key] = run
            else:
                unfinished.add(run.key)
    for key in ended.keys() - unfinished:
        (folder_of(ended[key]) / RESUME).unlink(missing_ok=True)
