"""What a painter's file says of itself in its header, read without torch."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

KEY = "hasama-painter"


def is_painter(path: Path) -> bool:
    """Whether a file says that it is a painter."""
    try:
        if path.suffix.lower() != ".safetensors" or not path.is_file():
            return False
        with safe_open(path, "np") as opened:
            return KEY in (opened.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False
