"""The studio as a server of this machine."""

import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from hasama.errors import HasamaError, missing_extra
from hasama.files import make_folder
from hasama.names import at_home
from hasama.runs.folder import Run

OPEN_FILES = (65_536, 24_576, 10_240, 4096)
"""As many as the system lets us have."""

log = logging.getLogger(__name__)

USUAL_PORT = 80
"""Browsers do not tell it."""
LOCAL = ("127.0.0.1", "localhost", "[::1]")
PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "jinja2": "jinja2", "multipart": "python-multipart"}


def check_installed() -> None:
    """Raises HasamaError if the extra `studio` is not there."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None and find_spec(f"python_{module}") is None:
            raise missing_extra(package, "studio", "The studio")


def serve(
    root: Path,
    host: str,
    port: int,
    password: str | None,
    browser: bool,
    ready: Callable[[str], None],
    names: Collection[str] = (),
) -> None:
    """Serve until somebody presses Ctrl-C. What was begun goes on.

    Args:
        root: the folder of runs; it is made if it is not there.
        host: 127.0.0.1, or an address that others can reach.
        port: 0: any that is free.
        password: needed for every other host than this machine.
        browser: open one.
        ready: told the address once it can be visited.
        names: further ones that it goes by, such as that of a proxy before it.

    Raises:
        HasamaError: there is no password where one is needed, the port is taken, or the folder is a run itself or
            cannot be written to.
    """
    check_installed()
    if not host.strip():
        raise HasamaError("--host takes an address, such as 0.0.0.0 for all that this machine has.")
    local = host in ("127.0.0.1", "localhost", "::1")
    if not local and not password:
        raise HasamaError(
            f"On {host} others could use the studio: it needs a password, in the variable HASAMA_STUDIO_PASSWORD."
        )
    place = at_home(root).resolve()
    if Run(place).exists():
        raise HasamaError(f"{root} is a run itself; the studio takes the folder that it lies in: {place.parent}.")
    make_folder(at_home(root) / ".studio", root)
    _allow_many_files()

    import uvicorn  # an extra

    from hasama.studio.app import make_studio  # an extra

    listening = _listening(host, port)
    port = listening.getsockname()[1]
    own = LOCAL if local else (*LOCAL, host, socket.gethostname())
    hosts = [f"{name}:{port}" for name in own] + (list(own) if port == USUAL_PORT else []) + list(names)
    app = make_studio(root, hosts, secrets.token_urlsafe(24), password)
    address = f"http://{_shown(host)}:{port}/"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    threading.Thread(target=_say_when_ready, args=(server, address, browser, ready), daemon=True).start()
    threading.Thread(target=_keep_turning, args=(app.state.studio.jobs.turn,), daemon=True).start()
    server.run(sockets=[listening])


def _allow_many_files() -> None:
    """Each photo that is sent is a file while the rest comes, and systems allow 256 or 1024 unless asked for more."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        for wanted in OPEN_FILES:
            if wanted > now and (most == resource.RLIM_INFINITY or wanted <= most):
                with suppress(OSError, ValueError):  # macOS has a limit of its own
                    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
                    return


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise HasamaError(f"Cannot listen at {host}:{port}: {error}. Choose another --port.") from error
    return found


def _shown(host: str) -> str:
    """What to visit: of all addresses of this machine, its name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else "127.0.0.1" if host == "localhost" else host


def _say_when_ready(server: object, address: str, browser: bool, ready: Callable[[str], None]) -> None:
    pause = threading.Event()
    while not getattr(server, "started", False):
        pause.wait(0.02)
    ready(address)
    if browser:
        webbrowser.open(address)


def _keep_turning(turn: Callable[[], None]) -> None:
    """What waits begins even while nobody looks."""
    pause = threading.Event()
    while True:
        pause.wait(2)
        try:
            turn()
        except Exception:  # whatever it is: without this, nothing would ever begin again
            log.exception("The queue of jobs met a fault, and goes on.")
