"""Files of one JSON object a line, as the log and the findings are: added to line by line, read after any kill."""

import json
from pathlib import Path
from typing import Any

from hasama.files import cannot_write, replacing, size_of


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
        return _whole(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []


class NewLines:
    """Asked again and again, gives the whole lines by which a file has grown; all of them the first time.

    A file that has become shorter was cut, and is read from its beginning.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.read = file, 0

    def __call__(self) -> list[dict[str, Any]]:
        """What is new; nothing if there is no such file."""
        size = size_of(self.file)
        if size == self.read:
            return []
        if size < self.read:
            self.read = 0
        try:
            with self.file.open("rb") as opened:
                opened.seek(self.read)
                grown = opened.read()
        except OSError:
            return []
        whole = grown[: grown.rfind(b"\n") + 1]
        self.read += len(whole)
        return _whole(whole.decode("utf-8", errors="replace"))


def cut_lines(file: Path, images_seen: int) -> None:
    """Keep only the lines up to a count of images seen. Raises HasamaError if the file cannot be written."""
    kept = [line for line in read_lines(file) if line["images_seen"] <= images_seen]
    with replacing(file) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _whole(text: str) -> list[dict[str, Any]]:
    """What its lines say, but for those that were cut off."""
    return [figures for line in text.splitlines() if (figures := parsed(line)) is not None]


def parsed(line: str | bytes) -> dict[str, Any] | None:
    """What a line says; None if it was cut off by a kill."""
    try:
        figures = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(figures, dict) or type(seen := figures.get("images_seen")) is not int:
        return None
    return figures if 0 <= seen < 2**63 else None
