"""Job files for the tests of `hasama job`: as the command prints them, and misspelt."""

import copy
import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hasama.cli.app import make_app
from hasama.cli.words import understood

NASTY = [
    "two words", "it's", 'say "cheese"', "$HOME", "$(touch x)", "`id`", "${{inputs.x}}", "back\\slash", "*", "#no",
    "猫 🐈 é", " edges ", "a;b&c|d", "yes", "1e3", "%j", "~", "$$", "-",
]  # fmt: skip
"""Values that people may type and that a shell, YAML or a cluster could take for something else."""

ENGINES = {
    "slurm": ["--cpus", "2"],
    "kubernetes": ["--image", "registry.example/hasama:1", "--storage", "photos"],
    "azureml": ["--install", "git+https://git.example/hasama", "--compute", "gpus"],
    "skypilot": ["--install", "git+https://git.example/hasama", "--storage", "s3://mine/cats"],
}
"""{engine: what it cannot do without}."""


def job_text(*words: object) -> str:
    """What `hasama job` prints for these words; it must not fail."""
    said = io.StringIO()
    code: object = 0
    with redirect_stdout(said):
        try:
            make_app()(understood(["job", *map(str, words)]))
        except SystemExit as end:
            code = end.code
    assert not code, said.getvalue()
    return said.getvalue()


def misspelt(value: Any, free: tuple[str, ...], at: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """For each key of a file, where it stands and the whole file with a letter too much in it.

    Args:
        value: the file.
        free: keys below which names are people's own.
        at: where `value` stands.
    """
    if {*at} & {*free}:
        return
    if isinstance(value, dict):
        for key in value:
            yield ".".join((*at, key)), {f"{name}x" if name == key else name: item for name, item in value.items()}
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        for where, changed in misspelt(item, free, (*at, str(key))):
            whole = copy.copy(value)
            whole[key] = changed
            yield where, whole


def program(folder: Path, name: str, text: str) -> None:
    """A program of that name, a script for bash or Python."""
    place = folder / name
    place.write_text(text)
    place.chmod(0o755)


SAYS_ITS_WORDS = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
"""A program that prints the words it was given."""
