"""A sweep's memory: an Optuna study in a database that any number of processes share.

A trial belongs to the process that took it as long as that process sends
heartbeats; when they stop, another process takes the trial up in the same run folder. A process that takes a
trial holds the sweep's lock, so that no two processes get the same one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hasama.claims import Claim, waited_for
from hasama.errors import HasamaError
from hasama.fields import comparable
from hasama.recipe import DEFAULTS
from hasama.tuning.search_space import Choice, Space, Value
from hasama.tuning.storage import beat, load_optuna, open_storage, openable, quietly

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

JUDGED_BY = "count of --fakes"
"""The term that says by how many pictures trials are judged: the distance depends on it."""
DEATHS_MOST = 3  # a trial that has ended so many processes (by their memory, say) is not taken up again
TAKEN = "taken"
"""What a trial is marked by once its process has told that it lives."""
STARTUP_SHARE, STARTUP_LEAST = 5, 4  # random at first: a fifth of the trials, at least so many


class Outcome(NamedTuple):
    """A trial as it stands, for tables and plots.

    Attributes:
        number: of the run folder.
        state: 'complete', 'pruned', 'running' or 'waiting' (for a process to take it up).
        parameters: what it varies.
        figures: the figure by rung, 1 for the first.
        reason: why it was pruned.
    """

    number: int
    state: str
    parameters: dict[str, Value]
    figures: dict[int, float]
    reason: str = ""

    @property
    def figure(self) -> float | None:
        """The last one; None before the first."""
        return self.figures[max(self.figures)] if self.figures else None


class Memory(NamedTuple):
    """The study and how it is shared.

    Attributes:
        study: Optuna's.
        lock: claims the sweep, while a trial is taken, for instance.
        space: what is varied.
        trials: how many there are to be.
        patience: seconds without a heartbeat after which a process counts as dead.
        seed: together with a trial's number, decides what is drawn for it.
    """

    study: "Study"
    lock: Callable[[], AbstractContextManager[Claim]]
    space: Mapping[str, Space]
    trials: int
    patience: int
    seed: int


def open_memory(
    url: str, name: str, out: Path, space: Mapping[str, Space], trials: int, patience: int, seed: int
) -> Memory:
    """Open the study, or begin it.

    Args:
        url: of a journal, or of an SQLAlchemy database, such as sqlite:///sweep.db or postgresql://user@host/base.
        name: of the study; one database holds many.
        out: the sweep's folder, for the lock.
        space: see `Memory`, as for the rest.
        trials: how many.
        patience: in seconds.
        seed: of what is drawn.

    Raises:
        HasamaError: Optuna or the database's driver is missing, or the database cannot be opened.
    """
    optuna = load_optuna()
    lock = partial(waited_for, out / "sweep")
    with openable(url, out), lock(), quietly():  # two processes that make the same tables at once would fail
        storage = open_storage(url, patience, partial(take_up_again, died=True))
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    return Memory(study, lock, space, trials, patience, seed)


# --- agreeing on what is swept --------------------------------------------------------------------


def agree(memory: Memory, terms: dict[str, Any], first: Mapping[str, Value]) -> None:
    """Write down what the sweep is about, or compare it with what was written down.

    Args:
        memory: of the sweep.
        terms: what all processes must have in common, as JSON can hold it.
        first: the parameters of the first trial.

    Raises:
        HasamaError: the sweep was begun with other terms.
    """
    with memory.lock():
        written = memory.study.user_attrs.get("terms")
        if written is None:
            memory.study.set_user_attr("terms", terms)
            memory.study.enqueue_trial(dict(first))
            return
    written = {JUDGED_BY: terms.get(JUDGED_BY)} | written  # one of before does not tell
    alike = [told | {"recipe": comparable(told.get("recipe"), DEFAULTS)} for told in (written, terms)]
    different = [name for name in terms if alike[0].get(name) != alike[1][name]]
    if different:
        raise HasamaError(
            f"The sweep {memory.study.study_name} was begun with another {' and another '.join(different)}. Repeat "
            "the command that began it (only --trials, --device, --threads and --patience may differ), or begin "
            "a new sweep with another --out and --name."
        )


# --- trials ---------------------------------------------------------------------------------------


def take(memory: Memory) -> "Trial | None":
    """A trial for this process: one that a dead process left, or a new one; None if there is none to take now."""
    optuna = load_optuna()
    with memory.lock(), quietly():
        optuna.storages.fail_stale_trials(memory.study)
        _leave_what_was_never_begun(memory)
        states = count(memory)
        if not states["WAITING"] and sum(states.values()) >= memory.trials:
            return None
        trial = memory.study.ask()
        beat(memory.study, trial)
        trial.set_user_attr(TAKEN, True)
        if "folder" not in trial.user_attrs:
            trial.set_user_attr("folder", _next_folder(memory, trial))
        # By the folder's number: no two processes draw the same, and a sweep that was broken off draws what it would
        seed = int(np.random.SeedSequence((memory.seed, folder_number(trial))).generate_state(1)[0])
        startup = _startup(memory.trials)
        memory.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=seed)
        for name, space in memory.space.items():
            draw(trial, name, space)
        return trial


def _leave_what_was_never_begun(memory: Memory) -> None:
    """Of a process that was killed between asking for a trial and its first heartbeat: Optuna never counts as dead
    what has no heartbeat. Both are done under the lock, which this process has now.
    """
    states = load_optuna().trial.TrialState
    for trial in memory.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if TAKEN not in trial.user_attrs:
            memory.study.tell(trial.number, state=states.FAIL)
            take_up_again(memory.study, trial, died=False)


def _next_folder(memory: Memory, trial: "Trial") -> int:
    """The number of a new trial's folder: Optuna's own also count those that were taken up again."""
    others = (other for other in memory.study.get_trials(deepcopy=False) if other.number != trial.number)
    return 1 + max(map(folder_number, others), default=-1)


def _startup(trials: int) -> int:
    return max(STARTUP_LEAST, trials // STARTUP_SHARE)


def draw(trial: "Trial", name: str, space: Space) -> None:
    """Give the trial a value of a parameter; in a trial that was taken up again, the one that it had."""
    if isinstance(space, Choice):
        trial.suggest_categorical(name, space.values)
    else:
        trial.suggest_float(name, space.low, space.high, log=True)


def count(memory: Memory) -> Counter[str]:
    """How many trials of all processes are in which state; those that failed do not count."""
    states = Counter(trial.state.name for trial in memory.study.get_trials(deepcopy=False))
    del states["FAIL"]
    return states


def finished(memory: Memory) -> bool:
    """Whether the sweep has all its trials."""
    states = count(memory)
    return states["COMPLETE"] + states["PRUNED"] >= memory.trials


def folder_number(trial: "Trial | FrozenTrial") -> int:
    """The number of the trial's run folder: its place among those that were begun, or that of the one it takes up."""
    return trial.user_attrs.get("folder", trial.number)


def take_up_again(study: "Study", trial: "FrozenTrial", died: bool) -> None:
    """Leave a trial that ended early to whoever comes next: same parameters, same figures, same folder.

    One that has ended `DEATHS_MOST` processes is pruned.
    (Optuna's own callback for this counts a Ctrl-C as a death.)
    """
    optuna = load_optuna()
    state, told = optuna.trial.TrialState.WAITING, {}
    known = {name: value for name, value in trial.user_attrs.items() if name != TAKEN}
    deaths = trial.user_attrs.get("deaths", 0) + died
    if deaths >= DEATHS_MOST:
        state = optuna.trial.TrialState.PRUNED
        told = {"reason": f"{deaths} processes ended in the middle of it: perhaps the memory was not enough"}
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**known, "folder": folder_number(trial), "deaths": deaths, **told},
            system_attrs=trial.system_attrs,
            intermediate_values=trial.intermediate_values,
        )
    )


def give_back(memory: Memory, trial: "Trial") -> None:
    """For a process that stops: another, or the same command again, takes the trial up."""
    optuna = load_optuna()
    with memory.lock(), quietly():
        if mine(memory, trial):
            told = memory.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            take_up_again(memory.study, told, died=False)


def conclude(memory: Memory, trial: "Trial", figure: float | None, reason: str = "") -> bool:
    """Write down how a trial ended: complete with a figure, or pruned for a reason. False: it was taken over."""
    optuna = load_optuna()
    with memory.lock(), quietly():
        if not mine(memory, trial):
            return False
        trial.set_user_attr("reason", reason)
        state = optuna.trial.TrialState.PRUNED if reason else optuna.trial.TrialState.COMPLETE
        memory.study.tell(trial, None if reason else figure, state)
        return True


def worse_than_the_median(memory: Memory, rung: int, figure: float) -> bool:
    """Whether a trial's figure at a rung is worse than the median of those of the complete trials there.

    The median stopping rule of Golovin et al. 2017, section 3.2.2, with another comparison: theirs is of the trial's
    best figure so far with the others' running averages, and Optuna's MedianPruner takes the best one, too. That
    keeps what was good early and has become worse. As there, nothing is pruned before some trials are complete: here
    as many as are drawn at random.
    """
    complete = memory.study.get_trials(deepcopy=False, states=(load_optuna().trial.TrialState.COMPLETE,))
    others = [one.intermediate_values[rung] for one in complete if rung in one.intermediate_values]
    return len(complete) >= _startup(memory.trials) and bool(others) and figure > float(np.median(others))


def mine(memory: Memory, trial: "Trial") -> bool:
    """Whether nobody has taken this trial over, as happens to one that was silent too long (a sleeping laptop)."""
    states = {t.number: t.state.name for t in memory.study.get_trials(deepcopy=False)}
    return states[trial.number] == "RUNNING"


def outcomes(memory: Memory) -> list[Outcome]:
    """All trials, in the order of their folders."""
    found = [
        Outcome(
            folder_number(trial),
            trial.state.name.lower(),
            dict(trial.params),
            dict(sorted(trial.intermediate_values.items())),
            trial.user_attrs.get("reason", ""),
        )
        for trial in memory.study.get_trials(deepcopy=False)
        if trial.state.name != "FAIL"
    ]
    return sorted(found, key=lambda outcome: outcome.number)
