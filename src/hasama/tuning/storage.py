"""The database that the processes of a sweep share, and the heartbeats by which they know of each other."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.errors import HasamaError, missing_extra
from hasama.files import cannot_write

if TYPE_CHECKING:
    from optuna import Study, Trial

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
    """A file's name as the URL of a SQLite database; a URL as it is."""
    from sqlalchemy.engine import URL  # an extra

    if "://" in storage:
        return storage
    url = URL.create("sqlite", database=str(Path(storage).expanduser().absolute()))
    return url.render_as_string().replace("{", "{{").replace("}", "}}")  # Optuna formats it


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
        f"The storage {kind}://... cannot be opened: {first}. --storage takes a file for SQLite, or a URL such as "
        "postgresql://user@host/database."
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
