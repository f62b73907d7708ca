"""Upload a folder to the Hugging Face Hub, or to another server that speaks its protocol (HF_ENDPOINT).

The library is used as it is, with two changes: a missing network is noticed within seconds, and every error becomes
one sentence.
"""

import os
import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from hasama.errors import HasamaError, missing_extra
from hasama.version import __version__

TIMEOUTS = (5.0, 120.0, 120.0, 120.0)  # seconds: to connect, to read, to write, to wait for a free connection
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


class Hub(NamedTuple):
    """A server, and who we are there."""

    endpoint: str
    token: str


def check_repository(name: str) -> None:
    """Before any work: can a repository have this name?

    Raises:
        HasamaError: it is not user/name, or has signs that no repository may have.
    """
    user, slash, own = name.partition("/")
    if not slash or "/" in own:
        raise HasamaError(f"Say where to push to as user/name, such as maria/cats; got {name!r}.")
    for part in (user, own):
        if not NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise HasamaError(
                f"{name!r} cannot be a repository: each of user and name takes up to 96 letters, digits and single "
                "signs . _ - between them."
            )


def open_hub(token: str | None = None) -> Hub:
    """The server to push to and the token for it; nothing is sent yet.

    Args:
        token: instead of HF_TOKEN or the one that `hf auth login` saved.

    Raises:
        HasamaError: the extra is missing, there is no token, or HF_ENDPOINT is no address.
    """
    if find_spec("huggingface_hub") is None:
        raise missing_extra("huggingface_hub", "hub", "Pushing")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain LFS: one commit, and other servers speak it, too
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it would ask the server one thing more
    from huggingface_hub import constants, get_token  # an extra

    constants.HF_HUB_DISABLE_XET = True  # whoever had imported it before had it read the environment before, too
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    _check_endpoint(endpoint)
    try:
        token = (token or get_token() or "").strip()
    except Exception as error:  # a keyring, a file or a server that should have given it
        raise HasamaError(f"The saved token cannot be read: {_line(error)}. {_get_token(endpoint)}") from error
    if not token:
        raise HasamaError(f"Pushing needs a token, and there is none. {_get_token(endpoint)}")
    if not re.fullmatch(r"[!-~]+", token):
        raise HasamaError(f"The token has signs that no token has. {_get_token(endpoint)}")
    return Hub(endpoint, token)


def _check_endpoint(endpoint: str) -> None:
    try:
        address = urlsplit(endpoint)
        good = address.scheme in ("http", "https") and address.hostname and (address.port or 1)
    except ValueError:
        good = False
    if not good:
        raise HasamaError(f"HF_ENDPOINT must be an address such as https://hub.example.org; it is {endpoint!r}.")


def _get_token(endpoint: str) -> str:
    return (
        f"Make one that may write at {endpoint}/settings/tokens, then run  hf auth login  (or set HF_TOKEN, or give "
        "--token)."
    )


def push_folder(folder: Path, repository: str, hub: Hub, private: bool = False, about: str = "a generator") -> str:
    """Make the repository if there is none, and upload the folder's files as one commit.

    Args:
        folder: whose files are sent; files of the same names are replaced, and stay in the history.
        repository: user/name.
        hub: where.
        private: of a repository that is made now.
        about: for the commit's message.

    Returns:
        The repository's address.

    Raises:
        HasamaError: no network, not allowed, or refused. The commit comes last: before it, nothing has changed.
    """
    import huggingface_hub as library  # an extra

    library.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        library.utils.disable_progress_bars()
    api = library.HfApi(endpoint=hub.endpoint, token=hub.token, library_name="hasama", library_version=__version__)
    library.get_session().timeout = TIMEOUTS
    files = [library.CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the card's front matter
            address = api.create_repo(repository, private=private or None, exist_ok=True)
            if private and not api.repo_info(repository).private:
                raise HasamaError(f"{repository} is there already, and public: nothing was sent.")
            api.create_commit(repository, files, commit_message=f"{about}, by Hasama {__version__}")
    except HasamaError:
        raise
    except Exception as error:  # of httpx, of the library, of what a server that is no hub has answered
        raise _refused(error, repository, hub) from error
    return str(address)


def _refused(error: Exception, repository: str, hub: Hub) -> HasamaError:
    """What went wrong, for the person at the keyboard."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # an extra

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # a thread's
    if isinstance(error, HfHubHTTPError):
        return _answered(error.response.status_code, error.server_message or _line(error), repository, hub)
    if isinstance(error, OfflineModeIsEnabled):
        return HasamaError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it.")
    if isinstance(error, (HTTPError, OSError)):
        return HasamaError(
            f"{hub.endpoint} cannot be reached ({_line(error)}): check the network, and HF_ENDPOINT if it is set. "
            f"{repository} is as it was."
        )
    if isinstance(error, ValueError) and "README.md" in str(error):
        return HasamaError(
            f"The hub does not accept the model card (is --license one that it knows?): {_line(error)}"
        )
    return HasamaError(f"{hub.endpoint} does not answer as a hub would: {_line(error)}")


def _answered(status: int, said: str, repository: str, hub: Hub) -> HasamaError:
    said = " ".join(said.split())[:300]
    if status == 401:
        return HasamaError(f"The hub does not know this token (401: {said}). {_get_token(hub.endpoint)}")
    if status in (403, 404):
        user = repository.split("/")[0]
        return HasamaError(
            f"This token may not write to {repository} ({status}: {said}). It needs the permission to write, and "
            f"{user} must be you or an organisation of yours. {_get_token(hub.endpoint)}"
        )
    return HasamaError(f"The hub has refused the upload to {repository} ({status}: {said}).")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
