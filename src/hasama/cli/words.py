"""The words of a command line before they are parsed: old flags, ~, values with a minus sign, the recipe meant."""

import dataclasses
import itertools
import os
import re
import shlex
import typing
from collections.abc import Iterator, Sequence

from hasama.fields import RENAMED
from hasama.names import LONGEST_NAME
from hasama.options import flag
from hasama.presets import DEFAULT, RECIPES
from hasama.recipe import Recipe

OLD_FLAGS = {flag(old): flag(new) for old, new in RENAMED.items()}
STREAM = "(a standard stream)"
"""What `-` is called between here and `hasama.cli.streams`."""
FIELDS = {flag(field.name): field.type for field in dataclasses.fields(Recipe)}
"""The flags of a recipe's fields, and what they take."""
OF_RESUME = {"--kimg", "--accumulate"}
"""The fields of a recipe that `hasama resume` takes."""
SWITCHES = ("--help", "-h", "--tensorboard", "--json")
FLAG = re.compile(r"--[a-z][a-z0-9-]*")


def unquoted(words: Sequence[str]) -> str | None:
    """What to say where words that stand side by side are one name with spaces that is there: `train my photos`."""
    for first, count in itertools.product(range(1, len(words)), (2, 3, 4)):
        apart = words[first : first + count]
        name = " ".join(apart)
        if len(apart) < count or any(word.startswith("-") for word in apart) or len(name) > LONGEST_NAME:
            continue
        if os.path.exists(name) and not os.path.exists(apart[0]):  # noqa: PTH110 (words as they were typed)
            return f"A name with spaces needs quotes: {shlex.quote(name)}"
    return None


def of_a_new_run(words: Sequence[str]) -> str | None:
    """What to say where `resume` is given a field of the recipe, which a run keeps."""
    if words[:1] != ["resume"]:
        return None
    from hasama.runs.standing import FREE

    names = (word.partition("=")[0] for word in words)
    asked = next((name for name in names if name in FIELDS and name not in OF_RESUME), None)
    if asked and asked in map(flag, FREE):
        return (
            f"hasama resume does not take {asked}: give the command that began the run once more, with it; the run "
            "goes on where it stands."
        )
    return asked and (
        f"A run keeps its recipe, and so {asked}: for another begin a new run by  hasama train SOURCE RECIPE "
        f"{asked} ... --init-from RUN  (or without --init-from, from nothing)."
    )


def of_several(words: Sequence[str]) -> str | None:
    """What to say where `evaluate` is given several runs."""
    if words[:1] != ["evaluate"] or len(given := list(_positional(words[1:]))) < 2:
        return None
    return f"hasama evaluate takes one run or generator: call it for each of {', '.join(given)}."


def understood(words: Sequence[str]) -> list[str]:
    """The words as the parser takes them."""
    return _apart([_as_place(word) for word in _joined([_understood(word) for word in words])])


def misplaced_stream(words: Sequence[str]) -> str | None:
    """What to say where `-` stands for a stream and the command has none."""
    streams = any(word.partition("=")[2] == STREAM or word == STREAM for word in words)
    if not streams or words[0] in ("style", "job"):
        return None
    if words[0] == STREAM:
        return "- is a stream, and no command:  hasama --help"
    return f"hasama {words[0]} reads and writes files: - as a name, for a stream, is for hasama style."


def empty_name(words: Sequence[str]) -> str | None:
    """What to say where a name is empty, as of a variable that is not set: a path would be the folder one is in."""
    for before, word in zip(("", *words[1:]), words[1:], strict=False):
        if word in ("--out=", "--source=") or (word == "" and before in ("--out", "--source")):
            return f"{word.rstrip('=') or before} is empty: name a picture or a folder (. is this one)."
    if "" in _positional(words[1:]):
        return f"hasama {words[0]} was given an empty name: is a variable not set?"
    return None


def _as_place(word: str) -> str:
    """A file called -a.png, which a pattern such as *.png can give, as ./-a.png: else it would be a flag."""
    there = _is_value(word) and len(word) <= LONGEST_NAME and os.path.lexists(word)
    return f"./{word}" if there else word


def _understood(word: str) -> str:
    """An old flag as it is called now; ~ as the shell would have put it, had it not stood in --out=~/run; and -."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if value == "-":  # which the parser would take for a flag
        value = STREAM
    return OLD_FLAGS.get(name, name) + equals + os.path.expanduser(value)  # noqa: PTH111 (Path would tidy it)


def _joined(words: list[str]) -> list[str]:
    """`--mix -1,2` as `--mix=-1,2`: what begins with one minus sign is a value, for no flag does but -h.

    Numbers are left alone: they are known as such, and some flags take two of them.
    """
    joined: list[str] = []
    for word in words:
        if joined and "--" not in joined and FLAG.fullmatch(joined[-1]) and _is_value(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _apart(words: list[str]) -> list[str]:
    """`job slurm --nodes 2 train photos/` with `--` before `train`: what follows are the words of another command."""
    if words[:1] != ["job"]:
        return words
    place = seen = 0
    while seen < 3 and place < len(words):  # job, the engine, the command
        word = words[place]
        if word in ("--help", "-h", "--"):
            return words
        seen += not word.startswith("-")
        place += 2 if word.startswith("--") and "=" not in word else 1
    return [*words[: place - 1], "--", *words[place - 1 :]] if seen == 3 else words


def _is_value(word: str) -> bool:
    if not word.startswith("-") or word.startswith("--") or word in ("-", "-h"):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


# --- which recipe the help is about ---------------------------------------------------------------


def asked_recipe(words: Sequence[str]) -> str | None:
    """The recipe that a command line asks for help with: the second word of `train` and `sweep`, `style --recipe`."""
    if not {"--help", "-h"} & {*words} or not words:
        return None
    if words[0] == "style":
        named = [word for before, word in itertools.pairwise(words) if before == "--recipe"]
        named += [word.partition("=")[2] for word in words if word.startswith("--recipe=")]
        return named[-1] if named else None
    if words[0] not in ("train", "sweep"):
        return None
    given = list(_positional(words[1:]))[:2]
    if given and given[-1] in RECIPES:  # alone, it is hardly meant as a source
        return given[-1]
    return DEFAULT if words[0] == "sweep" else None  # whose trials have a length of their own


def _positional(words: Sequence[str]) -> Iterator[str]:
    """The words that are neither a flag nor a flag's value."""
    values = 0
    for word in words:
        if word.startswith("-"):
            kind = FIELDS.get(word, bool if word in SWITCHES or word.startswith("--no-") else str)
            values = 0 if "=" in word or kind is bool else 2 if typing.get_origin(kind) is tuple else 1
        elif values:
            values -= 1
        else:
            yield word
