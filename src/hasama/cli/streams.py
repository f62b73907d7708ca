"""Pictures from standard input and to standard output (`-`), and a clean standard output for what programs read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hasama.cli import words
from hasama.errors import HasamaError

STREAM = Path(words.STREAM)


@contextmanager
def only_results(wanted: bool = True) -> Iterator[None]:
    """Lines and bars go to standard error, so that standard output holds nothing but results."""
    from hasama.cli.terminal import console

    console.stderr = wanted
    try:
        yield
    finally:
        console.stderr = False


@contextmanager
def _named_for_people(place: Path) -> Iterator[None]:
    """Lines and errors name streams, not the files that stand for them."""
    from hasama.cli.terminal import as_meant, meant

    meant.update({str(place / "stdin"): "standard input", str(place / "stdout.png"): "standard output"})
    try:
        yield
    except HasamaError as error:
        error.args = (as_meant(str(error)),)  # whichever error it is
        raise
    finally:
        meant.clear()


def is_a_streams(place: Path) -> bool:
    """Whether it stands for a stream, and is gone when the command ends."""
    from hasama.cli.terminal import meant

    return str(place) in meant


@contextmanager
def streamed(content: Path, out: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Files in place of `-`: one that holds standard input, and one that is written to standard output afterwards.

    What is read from standard input goes to standard output unless another place is named.

    Raises:
        HasamaError: there is nothing on standard input.
    """
    if content != STREAM and out != STREAM:
        yield content, out
        return
    with TemporaryDirectory(prefix="hasama-") as place, _named_for_people(Path(place)):
        if content == STREAM:
            content = Path(place) / "stdin"
            content.write_bytes(sys.stdin.buffer.read())
            if not content.stat().st_size:
                raise HasamaError("There is no picture on standard input:  hasama style - STYLE < photo.jpg")
            out = out or STREAM
        if out != STREAM:
            yield content, out
            return
        made = Path(place) / "stdout.png"
        yield content, made
        if made.exists():
            sys.stdout.buffer.write(made.read_bytes())
            sys.stdout.buffer.flush()
