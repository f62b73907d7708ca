"""What is common to all clusters: a piece of work, what it asks for, and how its processes are started."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hasama.cluster.options import JobOptions
from hasama.errors import HasamaError

ONE_RUN = ("train", "resume")
"""The commands whose processes train one run together."""

SHARED = ("sweep",)
"""Those that may be started on several machines, each by itself: they share their trials."""

LONGEST_NAME = 40

UNFINISHED = 75
"""Exit code: saved, not done; start it again. EX_TEMPFAIL of sysexits.h."""


class Work(NamedTuple):
    """What is to be done.

    Attributes:
        words: after `hasama`, the first of them a command.
        reads: those of them, or of the values in them, that name files or folders to be read.
        makes: the word that names what is made or trained on.
        is_file: whether that is a file; else a folder.
    """

    words: tuple[str, ...]
    reads: tuple[str, ...]
    makes: str
    is_file: bool = False

    @property
    def command(self) -> str:
        """`train`, `sweep`, ..."""
        return self.words[0]

    @property
    def kept(self) -> Path:
        """The folder that has to outlive the machine."""
        return Path(self.makes).parent if self.is_file else Path(self.makes)


class Job(NamedTuple):
    """A piece of work, and what it asks of its cluster."""

    work: Work
    options: JobOptions

    @property
    def name(self) -> str:
        """As it was asked for, or after the place of what is made."""
        if self.options.name:
            return self.options.name
        made = Path(self.work.makes)
        plain = re.sub(r"[^a-z0-9]+", "-", (made.stem if self.work.is_file else made.name).lower()).strip("-")
        named = plain if plain[:1].isalpha() and plain.isascii() else f"hasama-{plain}"
        return named[:LONGEST_NAME].rstrip("-")

    @property
    def processes(self) -> int:
        """On each machine."""
        if self.work.command not in ONE_RUN:
            return 1
        return self.options.processes or self.options.gpus or 1

    @property
    def is_spread(self) -> bool:
        """Whether several processes do it together, which torchrun starts."""
        return self.work.command in ONE_RUN and self.options.nodes * self.processes > 1

    @property
    def environment(self) -> dict[str, str]:
        """Variables that each process gets: a team of threads as large as its share, asleep while it waits."""
        return {"OMP_NUM_THREADS": str(self.options.cpus), "OMP_WAIT_POLICY": "passive"}

    def program(self, *torchrun: str, words: Sequence[str] | None = None) -> list[str]:
        """What starts the work on one machine, as words.

        Args:
            torchrun: its flags, if several processes do the work.
            words: in place of the work's own.
        """
        words = self.work.words if words is None else words
        return ["torchrun", *torchrun, "-m", "hasama", *words] if self.is_spread else ["hasama", *words]


def job_of(work: Work, options: JobOptions) -> Job:
    """Put the two together.

    Raises:
        HasamaError: they do not fit.
    """
    command = work.command
    if command not in ONE_RUN and options.processes > 1:
        more = ": give --nodes, whose processes share the trials" if command in SHARED else ""
        raise HasamaError(f"hasama {command} is one process; --processes is for train and resume{more}.")
    if command not in ONE_RUN + SHARED and options.nodes > 1:
        raise HasamaError(f"hasama {command} runs on one machine; --nodes is for train, resume and sweep.")
    for word in work.words:
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in word):
            raise HasamaError(f"{word!r} holds a line break or the like, which a job file cannot hold: rename it.")
    return Job(work, options)


def replaced(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The words with other paths in them, whether a path stands alone or behind a flag (`--out=PATH`)."""
    return [_replaced(word, places) for word in words]


def _replaced(word: str, places: Mapping[str, str]) -> str:
    if word in places:
        return places[word]
    name, equals, value = word.partition("=")
    return f"{name}={places[value]}" if equals and name.startswith("--") and value in places else word
