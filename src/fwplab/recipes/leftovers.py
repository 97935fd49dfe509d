"""What killed processes have left in a search: trials that seem to be running, and training states."""

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
"""The attribute of a trial with the name of the process that works on it."""
RETRIES = 3
LONGEST_TRIAL = timedelta(days=1)
"""A running trial without `PROCESS`, which was killed in its first moments, is given up after this time."""


def sign(trial: optuna.Trial) -> None:
    """Notes on a trial that this process works on it."""
    trial.set_user_attr(PROCESS, this_process())


def take_over(study: optuna.Study) -> None:
    """Ends the trials of this machine's dead processes and queues their choices again.

    Those of other machines are taken over by Optuna's heartbeats, which call `retry`.
    """
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if _is_left(trial):
            with suppress(ValueError):  # another process has just done it
                study.tell(trial.number, state=TrialState.FAIL)
                retry(study, trial)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues the choices of a trial that has failed, up to `RETRIES` times. It goes on from its saved state."""
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
    """Removes the training states of trials that have ended, and of which none with the same choices is to go on.

    run_of: the run of a trial with these choices. It raises `ValueError` if some are missing.
    """
    going_on, ended = set(), dict[str, Run]()
    for trial in study.get_trials(deepcopy=False):
        with suppress(ValueError):
            run = run_of(trial.params or trial.system_attrs.get("fixed_params", {}))
            if trial.state.is_finished():
                ended[run.key] = run
            else:
                going_on.add(run.key)
    for key in ended.keys() - going_on:
        (folder_of(ended[key]) / RESUME).unlink(missing_ok=True)
