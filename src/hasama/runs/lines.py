"""Files of one JSON object a line, as the log and the findings are: added to line by line, read after any kill."""

import json
import os
from pathlib import Path
from typing import Any

from hasama.files import cannot_write, replacing

TAIL = 2**17  # bytes: some hundred lines


def append_line(file: Path, line: dict[str, Any]) -> None:
    """Add one line to a file. Raises HasamaError if that is impossible."""
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
    except OSError as error:
        raise cannot_write(file, error) from error


def read_lines(file: Path) -> list[dict[str, Any]]:
    """All whole lines that say after how many images seen they were written; none if there is no such file."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [figures for line in lines if (figures := _parsed(line)) is not None]


def last_line_with(file: Path, name: str) -> dict[str, Any] | None:
    """The last line that has this figure, among those at the end of the file; None if there is none."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - TAIL))
            end = opened.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line for text in reversed(end) if (line := _parsed(text)) is not None and name in line), None)


def cut_lines(file: Path, images_seen: int) -> None:
    """Keep only the lines up to a count of images seen. Raises HasamaError if the file cannot be written."""
    kept = [line for line in read_lines(file) if line["images_seen"] <= images_seen]
    with replacing(file) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _parsed(line: str) -> dict[str, Any] | None:
    """What a line says; None if it was cut off by a kill."""
    try:
        figures = json.loads(line)
    except ValueError:
        return None
    return figures if isinstance(figures, dict) and isinstance(figures.get("images_seen"), int) else None
