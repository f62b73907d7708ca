"""Which files are a table: one that is named, those of a folder, or a Hugging Face dataset."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hasama.errors import HasamaError
from hasama.pictures.images import has_picture_ending, is_picture_name
from hasama.pictures.sources.parquet import ARROW, PARQUET, Tables, holds_pictures

SPLITS = ("train", "test", "validation", "valid", "val", "dev")
"""Parts of a dataset, by the beginnings of their files' names, or by their names."""


def tables_at(place: Path) -> Tables | None:
    """The table that a file or a folder is; None if it is none.

    Raises:
        HasamaError: it is a dataset of several parts, none of which is for training, or is damaged; or pyarrow is
            missing.
    """
    if place.is_file():
        return Tables(f"table {place}", [place], {}) if place.suffix.lower() in (PARQUET, ARROW) else None
    if (place / "dataset_dict.json").is_file():
        return _split(place)
    if (place / "state.json").is_file() and (place / "dataset_info.json").is_file():
        return _dataset(place)
    files = sorted(place.glob(f"*{PARQUET}")) or sorted((place / "data").glob(f"*{PARQUET}"))
    if not files or any(map(has_picture_ending, place.iterdir())):
        return None
    if _has_pictures_below(place) and not any(map(holds_pictures, files)):
        return None  # lists of what lies in the sub-folders, as img2dataset writes them: addresses and captions
    return _of_training(place, files)


def _has_pictures_below(place: Path) -> bool:
    for _, folders, files in os.walk(place):
        folders[:] = (name for name in folders if not name.startswith("."))
        if any(is_picture_name(name) and not name.startswith(".") for name in files):
            return True
    return False


def _split(place: Path) -> Tables:
    """A `DatasetDict`: a folder for each split."""
    names = _json(place / "dataset_dict.json").get("splits")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    chosen = names[0] if len(names) == 1 else "train"
    if chosen not in names:
        raise HasamaError(
            f"{place} is a dataset of several parts ({', '.join(names)}): name one, such as its folder."
        )
    others = [name for name in names if name != chosen]
    return _dataset(place / chosen)._replace(note=_left_out(chosen, others))


def _left_out(chosen: str, others: Sequence[str]) -> str:
    return f"Only the part {chosen!r} is read, not {', '.join(others)}." if others else ""


def _dataset(place: Path) -> Tables:
    """A `Dataset`: the Arrow files that its state names."""
    named = _json(place / "state.json").get("_data_files")
    named = named if isinstance(named, list) else []
    files = (
        [place / str(one.get("filename")) for one in named if isinstance(one, dict)]
        if isinstance(named, list)
        else []
    )
    if not files or not all(file.is_file() and file.parent == place for file in files):
        raise HasamaError(f"The dataset {place} is damaged: its state.json names files that are not there.")
    features = _json(place / "dataset_info.json").get("features")
    return Tables(f"dataset {place}", files, features if isinstance(features, dict) else {})


def _of_training(place: Path, files: list[Path]) -> Tables:
    """Parquet files of a folder; where they are named by splits, those for training."""
    splits = {
        name: [file for file in files if file.stem == name or file.name.startswith(f"{name}-")] for name in SPLITS
    }
    others = [name for name, found in splits.items() if found and name != "train"]
    if not splits["train"] or not others:
        return Tables(f"tables {place}", files, {})
    return Tables(f"tables {place}", splits["train"], {}, _left_out("train", others))


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HasamaError(f"{file} is damaged ({error}).") from error
    return told if isinstance(told, dict) else {}
