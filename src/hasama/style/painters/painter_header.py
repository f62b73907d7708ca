"""What a painter's file says of itself in its header, read without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hasama.files import plainly_named

KEY = "hasama-painter"


def is_painter(path: Path) -> bool:
    """Whether a file says that it is a painter."""
    return _header(path) is not None


def teaching_of(path: Path) -> str | None:
    """The mark of the teaching that a painter comes from; None where it says nothing, or is no painter."""
    mark = _about(path).get("teaching")
    return mark if isinstance(mark, str) else None


def styles_of(path: Path) -> list[str]:
    """The names of a painter's styles; none of what is no painter."""
    names = _about(path).get("styles")
    return names if isinstance(names, list) else []


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(_header(path) or "null")
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _header(path: Path) -> str | None:
    try:
        if path.suffix.lower() != ".safetensors" or not path.is_file():
            return None
        with plainly_named(path) as plain, safe_open(plain, "np") as opened:
            return (opened.metadata() or {}).get(KEY)
    except (SafetensorError, OSError, ValueError):
        return None
