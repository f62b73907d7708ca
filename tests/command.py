"""The real command in a real process, and small real pictures to give it."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, TextIO

import numpy as np
from PIL import Image

HASAMA = [sys.executable, "-m", "hasama"]
"""The command as it is really started: seconds of reading torch. For what cannot be seen in a forked process."""

# A game that is over in seconds. A sample grid costs as much as five steps: TINY has but the first and the last.
FORM = ["--size", "16", "--width", "4", "--latent-size", "8", "--batch", "16", "--precision", "fp32"]
TINY = [*FORM, "--sample-kimg", "100"]


# Processes of their own, forked from one that has already read what is not ours: torch alone takes seconds to load,
# and the suite runs the command hundreds of times.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("torch", "torch._dynamo", "torch._meta_registrations", "torch.fx.experimental.symbolic_shapes"),
        *("torch.profiler._cupti_monitor", "torch.utils.checkpoint", "torch.utils.serialization.config"),
        *("safetensors.torch", "safetensors.numpy", "jaxtyping", "filelock", "concurrent.futures.thread"),
        *("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.Image", "PIL.ImageOps", "PIL.ImageCms"),
        *("PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.GifImagePlugin", "PIL.TiffImagePlugin"),
        *("cyclopts", "cyclopts.help", "rich.progress", "rich.console", "rich.markdown", "rich.table"),
    ]
)
SECONDS = 120


class Started:
    """A process that runs a function that reads `sys.argv`, with as much of `subprocess.Popen` as is used here."""

    def __init__(
        self,
        main: Callable[[], None],
        words: list[str],
        variables: dict[str, str],
        cwd: str | Path,
        stdout: "int | str",
        stderr: "int | str",
        stdin: str | None,
    ) -> None:
        """Each stream: one of subprocess's PIPE and STDOUT, or the name of a file or terminal; stdin: a file's."""
        ours, theirs = zip(*(self._ends(stream) for stream in (stdout, stderr)), strict=True)
        self._process = SERVER.Process(target=_child, args=(main, words, variables, str(cwd), theirs, stdin))
        self._process.start()
        for end in theirs:
            if hasattr(end, "close"):
                end.close()
        self.stdout, self.stderr = ours
        assert self._process.pid
        self.pid, self.words = self._process.pid, words
        self.returncode: int | None = None

    @staticmethod
    def _ends(stream: "int | str") -> tuple[TextIO | None, object]:
        if stream != subprocess.PIPE:
            return None, stream
        reader, writer = SERVER.Pipe(duplex=False)
        with reader:
            return os.fdopen(os.dup(reader.fileno()), encoding="utf-8"), writer

    def poll(self) -> int | None:
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.words, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """All that it has yet to say; it is over then."""
        said = ["", ""]

        def read(number: int, stream: TextIO) -> None:
            with stream:
                said[number] = stream.read()

        streams = enumerate((self.stdout, self.stderr))
        threads = [Thread(target=read, args=each) for each in streams if each[1] and not each[1].closed]
        for thread in threads:
            thread.start()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            for thread in threads:
                thread.join()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _child(
    main: Callable[[], None],
    words: list[str],
    variables: dict[str, str],
    cwd: str,
    streams: tuple,
    stdin: str | None,
) -> None:
    """As if it had been started by its name, with these words and variables."""
    if stdin is not None:
        os.dup2(os.open(stdin, os.O_RDONLY), 0)
        sys.stdin = os.fdopen(0, closefd=False)
    for number, stream in enumerate(streams, 1):
        if stream == subprocess.STDOUT:
            os.dup2(1, number)
        elif isinstance(stream, str):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
        else:
            os.dup2(stream.fileno(), number)
            stream.close()
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = ["hasama", *words]
    main()


def run_hasama() -> None:
    from hasama.cli.app import main

    main()


def run_code() -> None:
    """As `python -c`: the first word is a program, the others are its words."""
    code = sys.argv.pop(1)
    exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})


def start(
    *arguments: object,
    main: Callable[[], None] = run_hasama,
    cwd: str | Path | None = None,
    stdout: "int | str" = subprocess.PIPE,
    stderr: "int | str" = subprocess.STDOUT,
    stdin: str | None = None,
    **environment: str,
) -> Started:
    """Start the command, or another function that reads `sys.argv`; the caller ends it."""
    words = list(map(str, arguments))
    return Started(main, words, dict(os.environ | environment), cwd or Path.cwd(), stdout, stderr, stdin)


def forked(
    main: Callable[[], None], *arguments: object, cwd: str | Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a function that reads `sys.argv` to its end, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        process = start(*arguments, main=main, cwd=cwd, stdout=str(said[0]), stderr=str(said[1]), **environment)
        try:
            code = process.wait(SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.words, code, *(file.read_text() for file in said))


REAL_POPEN = subprocess.Popen


def fork_instead(words: list[str], **more: Any) -> Any:
    """As `subprocess.Popen` with the streams' files given, but the command is forked: no reading of torch."""
    if list(words[:3]) != HASAMA or subprocess.Popen is not REAL_POPEN:  # a test has a substitute of its own
        return subprocess.Popen(words, **more)
    return start(*words[3:], main=run_job, stdout=more["stdout"].name, stderr=more["stderr"].name)


def run_job() -> None:
    """A studio's job; `suggest` times steps for a moment only."""
    import hasama.runs.pace

    hasama.runs.pace.SECONDS = 0.2
    run_hasama()


def run_studio() -> None:
    """The command `studio`, whose jobs are forked."""
    import hasama.studio.jobs

    hasama.studio.jobs.subprocess = SimpleNamespace(Popen=fork_instead, DEVNULL=subprocess.DEVNULL)  # pyright: ignore
    run_hasama()


def hasama(*arguments: object, cwd: str | Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    threads = os.environ.get("OMP_NUM_THREADS")
    if environment.get("OMP_NUM_THREADS", threads) != threads:  # torch has read it when it was loaded
        words, variables = [*HASAMA, *map(str, arguments)], os.environ | environment
        return subprocess.run(
            words, capture_output=True, text=True, env=variables, cwd=cwd, timeout=SECONDS, check=False
        )
    return forked(run_hasama, *arguments, cwd=cwd, **environment)


def in_a_terminal(*arguments: object, columns: int = 80) -> tuple[int, str]:
    """Run the command to its end in a terminal: its exit code, and all that it wrote there."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    written: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # nobody is left who could write
            while some := os.read(ours, 65536):
                written.append(some)

    process = start(*arguments, stdout=os.ttyname(theirs), TERM="xterm")
    reader = Thread(target=read)
    reader.start()
    try:
        code = process.wait(SECONDS)
    finally:
        process.kill()
        os.close(theirs)
        reader.join()
        os.close(ours)
    return code, b"".join(written).decode()


def hide(*packages: str) -> None:
    """From here on this process, which the caller gives to it alone, has none of these packages."""
    import importlib.util

    real = importlib.util.find_spec

    class Hidden:
        def find_spec(self, name: str, *rest: object) -> None:
            if name.partition(".")[0] in packages:
                raise ModuleNotFoundError(name)

    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]
    sys.meta_path.insert(0, Hidden())  # pyright: ignore[reportArgumentType]
    importlib.util.find_spec = lambda name, *rest: None if name in packages else real(name, *rest)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, one message on standard error that holds these words, and no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said, (word, said)


def make_pictures(folder: Path, count: int = 40, side: int = 20) -> Path:
    """A folder of coloured squares in two sub-folders."""
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / ("dark" if index % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side, 3), 40 if index % 2 else 200, np.uint8)
        pixels[4:12, 4:12] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(place / f"{index:03}.png")
    return folder
