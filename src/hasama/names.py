"""Names of files and folders: not too long for the disk, and nearly right."""

from itertools import islice
from pathlib import Path
from typing import Any

from hasama.errors import HasamaError

LONGEST_NAME = 255
"""Bytes of a file's or a folder's name: what the usual file systems take."""

MOST_BESIDE = 5000
"""Names of a folder that are looked through for one that is nearly right."""

SPARE = 32
"""Bytes left free in a name that was chosen here, so that `.part`, `.json` and the like still fit behind it."""


def fitting_name(name: str, ending: str = "", spare: int = 0) -> str:
    """`name` and `ending` as the name of one file, cut where it would be too long.

    A name that was cut holds a checksum of the whole, so that two long names stay two.

    Args:
        name: of a file or a folder, without separators. It alone is cut, between two letters.
        ending: kept as it is.
        spare: bytes to leave free, for what others will append.

    Returns:
        At most `LONGEST_NAME - spare` bytes in UTF-8.
    """
    room = LONGEST_NAME - spare - bytes_of(ending)
    if bytes_of(name) <= room:
        return name + ending
    import hashlib  # start-up time: names are seldom cut

    code = "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = name[: max(0, room - len(code))]
    while kept and bytes_of(kept) > room - len(code):
        kept = kept[:-1]
    return kept + code + ending


def shortened(text: str, most: int = 80) -> str:
    """What somebody gave, for a message: its beginning, if it is long."""
    return text if len(text) <= most else text[: most - 3] + "..."


def in_utf8(text: str) -> str:
    """With escapes for bytes of names of files that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def counted(number: float, thing: str) -> str:
    """'1 picture', '2 pictures', '1.5 seconds'; `thing` is what one of them is called."""
    shown = f"{number:.3g}" if isinstance(number, float) else str(number)
    return f"{shown} {thing}{'' if shown == '1' else 's'}"


def near_name(path: str | Path) -> str:
    """' Did you mean photos?' where something of nearly the name of what is missing stands beside it, else ''.

    Of a link that leads nowhere: where it leads.
    """
    missing = Path(path)
    if missing.is_symlink():
        return f" It is a link to {missing.readlink()}, which is not there."
    import difflib  # start-up time: seldom is anything missing

    try:
        beside = {one.name.casefold(): one for one in islice(missing.parent.iterdir(), MOST_BESIDE)}
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name.casefold(), beside, n=1, cutoff=0.7)
    return f" Did you mean {beside[near[0]]}?" if near else ""


def bytes_of(name: str) -> int:
    """How long a name is on the disk."""
    return len(name.encode("utf-8", "surrogatepass"))


def check_name(path: Path) -> None:
    """Before any work: may a file or folder be called so?

    Raises:
        HasamaError: a part of the path is longer than `LONGEST_NAME`.
    """
    for part in path.parts:
        if bytes_of(part) > LONGEST_NAME:
            raise name_too_long(path, part)


def name_too_long(path: str | Path, part: str = "") -> HasamaError:
    """The message for a name that no file system takes."""
    length = f" ({bytes_of(part)} bytes; {LONGEST_NAME} is the most)" if part else ""
    return HasamaError(f"Cannot write {path}: the name is too long{length}. Choose a shorter one.")


def as_path(path: Any) -> Path:
    """What somebody gave for a path, in Python.

    Raises:
        HasamaError: it is neither a text nor a `Path`.
    """
    _check_names_a_place(path, "A path is a text or a Path")
    return Path(path)


def as_source(source: Any) -> str:
    """What somebody gave, in Python, for where pictures are.

    Raises:
        HasamaError: it is neither a text nor a `Path`.
    """
    _check_names_a_place(
        source,
        "Pictures are given by the path of a folder, a zip, a tar, an .npz or a picture, or by a built-in name",
        " What is in memory already, hasama.play takes as batches of tensors [N, C, H, W] in [-1, 1].",
    )
    return str(source)


def _check_names_a_place(given: Any, taken: str, instead: str = "") -> None:
    if not isinstance(given, str | Path):
        raise HasamaError(f"{taken}; got {type(given).__name__}.{instead}")


def at_home(path: str | Path) -> Path:
    """With ~ as the user's home; a home that nobody has will not be found.

    Raises:
        HasamaError: it is no path.
    """
    path = as_path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def tensors_beside(picture: Path) -> Path:
    """The file of tensors that goes with a picture, as a projection's or the directions'."""
    return picture.with_name(fitting_name(picture.stem, ".safetensors"))


def preview_beside(painting: Path) -> Path:
    """Where what there is of a painting is shown while it is painted (`hasama style --preview`)."""
    return painting.with_name(fitting_name(painting.stem, "-preview.png"))
