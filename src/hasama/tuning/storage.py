"""The database that the processes of a sweep share, and the heartbeats by which they know of each other.

SQLite needs locks that NFS may not have (https://www.sqlite.org/faq.html#q5); for folders that machines share there
is Optuna's journal, a file that is only added to, under a lock that NFS knows.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.claims import age_of
from hasama.errors import HasamaError, missing_extra
from hasama.files import cannot_write, make_folder
from hasama.names import at_home, fitting_name

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

JOURNAL, JOURNAL_ENDING = "journal://", ".journal"

SQLITE_SECONDS = 60
"""That a process waits while another one writes."""

DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""What to install for a module that SQLAlchemy asks for."""


def load_optuna() -> Any:
    """Optuna, imported when a sweep begins.

    Raises:
        HasamaError: it is not installed.
    """
    try:
        import optuna  # an extra
    except ImportError:
        raise missing_extra("optuna", "sweep", "hasama sweep") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def url_of(storage: str) -> str:
    """A file's name as the URL of a SQLite database, or of a journal by its ending; a URL as it is.

    Raises:
        HasamaError: no URL can tell it.
    """
    from sqlalchemy.engine import URL  # an extra

    if "://" in storage:
        return storage
    if storage.endswith(JOURNAL_ENDING):
        return f"{JOURNAL}{at_home(storage).absolute()}"
    try:
        url = URL.create("sqlite", database=str(at_home(storage).absolute())).render_as_string()
    except UnicodeEncodeError:
        raise HasamaError(
            f"{storage} cannot be a SQLite database: its name is not in UTF-8. Name another file by --storage, or "
            f"one that ends in {JOURNAL_ENDING}."
        ) from None
    return url.replace("{", "{{").replace("}", "}}")  # Optuna formats it


def open_storage(url: str, patience: int, died: Callable[["Study", "FrozenTrial"], None]) -> Any:
    """The storage of a URL, with heartbeats.

    Args:
        url: see `url_of`.
        patience: seconds without a heartbeat after which a process counts as dead.
        died: called with a study and what such a process has left.
    """
    beat_seconds = max(1, patience // 4)
    if url.startswith(JOURNAL):
        return _open_journal(Path(url.removeprefix(JOURNAL)), patience, beat_seconds, died)
    return load_optuna().storages.RDBStorage(
        url,
        {"connect_args": {"timeout": SQLITE_SECONDS}} if url.startswith("sqlite") else {},
        heartbeat_interval=beat_seconds,
        grace_period=patience,
        heartbeat_stale_trial_callback=died,
    )


def _open_journal(
    file: Path, patience: int, beat_seconds: int, died: Callable[["Study", "FrozenTrial"], None]
) -> Any:
    """Optuna's journal, which has no heartbeats, with them: files that are touched, in a folder beside it."""
    from optuna.storages import JournalStorage  # an extra
    from optuna.storages._heartbeat import BaseHeartbeat  # an extra
    from optuna.storages.journal import JournalFileBackend  # an extra
    from optuna.trial import TrialState  # an extra

    beats = file.with_name(fitting_name(f".{file.name}", ".beats"))
    make_folder(beats, file)

    class Journal(JournalStorage, BaseHeartbeat):
        def record_heartbeat(self, trial_id: int) -> None:
            (beats / str(trial_id)).touch()

        def _get_stale_trial_ids(self, study_id: int) -> list[int]:
            running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
            return [one._trial_id for one in running if age_of(beats / str(one._trial_id)) > patience]

        def get_heartbeat_interval(self) -> int:
            return beat_seconds

        def get_heartbeat_stale_trial_callback(self) -> Callable[["Study", "FrozenTrial"], None]:
            return died

        def get_failed_trial_callback(self) -> Callable[["Study", "FrozenTrial"], None]:  # as it was called before
            return died

    return Journal(JournalFileBackend(str(file)))


@contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's notices that heartbeats and parts of its sampler are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def openable(url: str, out: Path) -> Iterator[None]:
    """Make the sweep's folder; what goes wrong with it or with the database gets a sentence.

    Raises:
        HasamaError: the folder cannot be written to, the database's driver is missing, or it cannot be opened.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise cannot_write(out, error) from error
    except HasamaError:
        raise
    except Exception as error:  # drivers raise whatever they like
        raise HasamaError(_unopened(url, error)) from error


def _unopened(url: str, error: BaseException) -> str:
    """Why the database cannot be used, without the password that its URL may hold."""
    kind = url.partition(":")[0]
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            package = DRIVERS.get(cause.name, cause.name)
            return (
                f"The storage {kind}://... needs the package {cause.name}: install it with  pip install '{package}'"
            )
        error, cause = cause, cause.__cause__
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"The storage {kind}://... cannot be opened: {first}. --storage takes a file (for SQLite or, "
        f"if it ends in {JOURNAL_ENDING}, for a journal), or a URL such as postgresql://user@host/database."
    )


# --- heartbeats -----------------------------------------------------------------------------------


def beat(study: "Study", trial: "Trial") -> None:
    """Tell the others that this process lives."""
    study._storage.record_heartbeat(trial._trial_id)  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def beating(study: "Study", trial: "Trial", patience: float) -> Iterator[None]:
    """Heartbeats while the block runs. Optuna sends them only from within its own loop, which calls back."""
    over = threading.Event()

    def keep_on() -> None:
        while not over.wait(max(0.5, patience / 4)):
            with suppress(Exception):  # a database that is busy, or away for a moment: the next beat will do
                beat(study, trial)

    thread = threading.Thread(target=keep_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
