"""Which class each file of a folder or an archive has: by a list that lies among the files, or by its sub-folder.

Lists that are read: `dataset.json` as NVIDIA's dataset tool writes it for StyleGAN, and `metadata.jsonl` or
`metadata.csv` as Hugging Face's image folders have them. A list counts for the files in its folder and below.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hasama.errors import HasamaError
from hasama.pictures.sources.arrays import class_name
from hasama.pictures.sources.entries import Entry, folder_labels, printable

Listed = dict[str, Any]
"""What a list says of each file: its label, in whatever way it is written."""

NAME, LABELS = "file_name", ("label", "labels", "class")
"""Columns of a `metadata` file."""

WITHOUT = "To learn without classes, leave out --labels and --only."


def with_classes(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """The files without the lists among them, each with its class; and why the classes cannot be read, if so.

    Args:
        entries: all files, without classes.
    """
    lists = {entry.name: entry for entry in entries if _base(entry.name) in READERS}
    files = [entry for entry in entries if entry.name not in lists]
    labels = folder_labels([entry.name for entry in files])
    files = [entry._replace(label=label) for entry, label in zip(files, labels, strict=True)]
    trouble = ""
    for name in sorted(lists, key=lambda name: (name.count("/"), name)):  # the nearest list has the last word
        try:
            files = _applied(lists[name], files)
        except HasamaError as error:
            files = [_unlabelled(file, name) if _below(file.name, name) is not None else file for file in files]
            trouble = f"{error} {WITHOUT}"
    return files, trouble


def _applied(listing: Entry, files: list[Entry]) -> list[Entry]:
    """The files with the classes of one list.

    Raises:
        HasamaError: it is a list of classes, but not one that can be used.
    """
    listed = READERS[_base(listing.name)](_text(listing), listing.name)
    if listed is None:
        return files  # it tells of other things than classes
    names = {name: _class(label, name, listing.name) for name, label in listed.items()}
    below = {file.name: rest for file in files if (rest := _below(file.name, listing.name)) is not None}
    if below and not (set(below.values()) | set(below)) & set(names):
        raise HasamaError(
            f"{listing.name} names none of the files beside it: its first is {next(iter(names), '')!r}."
        )
    return [
        _unlabelled(file, listing.name, names.get(below[file.name], names.get(file.name)))
        if file.name in below
        else file
        for file in files
    ]


def _unlabelled(file: Entry, listing: str, label: str | None = None) -> Entry:
    return file._replace(label=label, unlabelled=f"{listing} has none for it")


def _below(name: str, listing: str) -> str | None:
    """The name as seen from the list's folder; None if it is not below it."""
    folder = listing[: -len(PurePosixPath(listing).name)]
    return name.removeprefix(folder) if name.startswith(folder) else None


def _base(name: str) -> str:
    return PurePosixPath(name).name.lower()


def _class(label: Any, name: str, listing: str) -> str | None:
    """The class that a label means; None for none.

    Raises:
        HasamaError: it is no class.
    """
    if isinstance(label, (list, dict)):
        raise HasamaError(
            f"{listing} gives {name} the label {_short(label)}, where Hasama takes one class, a number or a word. If "
            "the labels are one-hot vectors, replace each by the place of its 1: in Python  label.index(max(label))."
        )
    if isinstance(label, float) and np.isfinite(label) and label != round(label):
        raise HasamaError(f"{listing} gives {name} the label {label:g}, a measured number and not a class.")
    return class_name(label)


def _short(label: Any) -> str:
    told = json.dumps(label)
    return told if len(told) <= 40 else f"{told[:36]} ..."


# --- the lists ------------------------------------------------------------------------------------


def _text(listing: Entry) -> str:
    try:
        found = listing.contents()
        if isinstance(found, np.ndarray):
            return ""
        data = found.read_bytes() if isinstance(found, Path) else found.read()
        return data.decode("utf-8-sig")
    except (OSError, ValueError, HasamaError) as error:
        raise HasamaError(f"{listing.name} cannot be read ({error}).") from error


def _dataset_json(text: str, where: str) -> Listed | None:
    """{"labels": [["00000/img00000000.png", 0], ...]}; other things may be called dataset.json, too."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HasamaError(f"{where} is damaged (not JSON: {error}).") from error
    if not isinstance(told, dict) or "labels" not in told:
        return None
    labels = told["labels"]
    if labels is None:
        raise HasamaError(
            f'{where} says "labels": null: this dataset has no classes. To give it some, write  "labels": [[NAME, '
            "NUMBER], ...]  into it."
        )
    if isinstance(labels, dict):
        labels = list(labels.items())
    pairs = isinstance(labels, list) and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in labels)
    if not pairs:
        raise HasamaError(f'The "labels" in {where} are no list of [NAME, NUMBER].')
    return {_tidy(name): label for name, label in labels}


def _metadata_jsonl(text: str, where: str) -> Listed | None:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: words may hold \u2028
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise HasamaError(f"Line {number} of {where} is not JSON ({error}).") from error
            rows.append(row if isinstance(row, dict) else {})
    return _from_rows(rows)


def _metadata_csv(text: str, where: str) -> Listed | None:
    try:
        rows = [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise HasamaError(f"{where} is damaged (not CSV: {error}).") from error
    return _from_rows([{key: _number(value) for key, value in row.items()} for row in rows])


def _number(value: Any) -> Any:
    """All is text in a CSV. What a number would be written otherwise, such as 007, is no number."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        if "." in value:
            return float(value) if value.strip().lstrip("-").replace(".", "", 1).isdigit() else value
        return int(value) if str(int(value)) == value.strip() else value
    except ValueError:
        return value


def _from_rows(rows: list[dict[str, Any]]) -> Listed | None:
    column = next((name for name in LABELS if any(name in row for row in rows)), None)
    if column is None or not any(row.get(NAME) is not None for row in rows):
        return None  # of something else
    return {_tidy(row[NAME]): row.get(column) for row in rows if row.get(NAME) is not None}


def _tidy(name: Any) -> str:
    return printable(str(name).replace("\\", "/").removeprefix("./"))


READERS: dict[str, Callable[[str, str], Listed | None]] = {
    "dataset.json": _dataset_json,
    "metadata.jsonl": _metadata_jsonl,
    "metadata.csv": _metadata_csv,
}
"""By the list's name: what each says of the files; None if it says nothing of classes."""
