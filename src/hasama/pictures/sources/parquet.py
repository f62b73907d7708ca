"""Pictures in tables: Parquet files, and Hugging Face datasets as `save_to_disk` writes them (Arrow files).

A column holds the pictures' files as bytes, or as {bytes, path}; another may hold classes. Labels are read at once,
pictures only when they are opened, a group of rows at a time. Needs pyarrow.
"""

import io
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from hasama.errors import HasamaError, missing_extra
from hasama.pictures.formats import HEAD, recognise
from hasama.pictures.sources.arrays import class_name
from hasama.pictures.sources.entries import Entry, Source, printable, stamp_of

PARQUET, ARROW = ".parquet", ".arrow"
PICTURES = ("image", "images", "img", "picture", "photo", "jpg", "png", "pixels")
LABELS = ("label", "labels", "class", "cls", "category", "fine_label")
"""Columns that are looked for, in this order."""
GROUPS_KEPT = 2
"""Groups of rows that are in memory at once."""
NO_LABELS = "no column of classes: it would be called label or class, and hold numbers or words"


class Tables(NamedTuple):
    """Files of one table: for people, the files in order, the features that are told beside them, and a note."""

    name: str
    files: list[Path]
    features: dict[str, Any]
    note: str = ""


def table_source(tables: Tables) -> Source:
    """The pictures of tables.

    Raises:
        HasamaError: pyarrow is missing, a file is damaged, or no column holds pictures.
    """
    rows = [_opened(file) for file in tables.files]
    entries = [entry for file in rows for entry in _entries(file, tables.features)]
    return Source(tables.name, entries, note=tables.note)


class Rows(NamedTuple):
    """A file of a table.

    Attributes:
        file: where it is.
        schema: its columns.
        counts: the rows of each group.
        read: (group, column) -> that column of that group, as pyarrow has it.
        named: (group, column) -> of each row the file that it names, for rows may name one instead of holding it;
            empty if all rows of that group hold theirs, of which none is read for this.
    """

    file: Path
    schema: Any
    counts: Sequence[int]
    read: Callable[[int, str], Any]
    named: Callable[[int, str], list[Any]]


def _opened(file: Path) -> Rows:
    try:
        import pyarrow as arrow  # an extra
    except ImportError:
        raise missing_extra("pyarrow", "parquet", "Reading tables of pictures") from None
    try:
        with file.open("rb") as stream:
            known = recognise(stream.read(HEAD), "")
        if known is not None and known.kind == "other":
            raise HasamaError(f"{file} is {known}.")  # such as a pointer of Git LFS
        return _parquet(file) if file.suffix.lower() == PARQUET else _arrow(file)
    except (arrow.ArrowException, OSError) as error:
        raise HasamaError(f"The table {file} is damaged, or cannot be read ({_brief(error)}).") from error


def _parquet(file: Path) -> Rows:
    from pyarrow import parquet  # an extra

    table = parquet.ParquetFile(file, memory_map=True)
    counts = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]

    def read(group: int, name: str) -> Any:
        return table.read_row_group(group, [name]).column(0)

    def named(group: int, name: str) -> list[Any]:
        about = table.metadata.row_group(group)
        parts = {part.path_in_schema: part for part in map(about.column, range(about.num_columns))}
        known = parts[f"{name}.bytes"].statistics if f"{name}.bytes" in parts else None
        if f"{name}.path" not in parts or (known is not None and known.has_null_count and not known.null_count):
            return []
        return [row and row["path"] for row in read(group, f"{name}.path").to_pylist()]

    return Rows(file, table.schema_arrow, counts, read, named)


def _arrow(file: Path) -> Rows:
    """A memory map: what is not looked at is not read."""
    import pyarrow as arrow  # an extra

    mapped = arrow.memory_map(str(file))
    try:
        batches = list(arrow.ipc.open_stream(mapped))
        schema = batches[0].schema if batches else arrow.schema([])
    except arrow.ArrowInvalid:
        reader = arrow.ipc.open_file(mapped)
        batches, schema = [reader.get_batch(number) for number in range(reader.num_record_batches)], reader.schema

    def read(group: int, name: str) -> Any:
        return batches[group].column(name)

    def named(group: int, name: str) -> list[Any]:
        rows = read(group, name)
        parts = [part.name for part in rows.type] if arrow.types.is_struct(rows.type) else []
        return rows.field("path").to_pylist() if "path" in parts and rows.field("bytes").null_count else []

    return Rows(file, schema, [len(one) for one in batches], read, named)


def _entries(rows: Rows, told: dict[str, Any]) -> Iterator[Entry]:
    features = _features(rows.schema) or told
    images = _Pictures(rows, _picture_column(rows, features))
    label, names = _label_column(rows, features)
    first = 0
    why = f"{rows.file.name} has {NO_LABELS}" if label is None else f"its {label} says no class"
    for group, count in enumerate(rows.counts):
        values = [None] * count if label is None else _values(rows, group, label)
        reason = why if values else f"its {label} is damaged"
        stamps = images.stamps(group, count)
        for row in range(count):
            name = printable(f"{rows.file.name}/{first + row}")
            found = _class(values[row], names) if values else None
            yield Entry(name, found, stamps[row], partial(images.read, group, row), reason)
        first += count


class _Pictures:
    """Reads the column of the pictures, for any thread; the last groups of rows stay in memory."""

    def __init__(self, rows: Rows, column: str) -> None:
        self.rows, self.column, self.lock = rows, column, Lock()
        self.groups: OrderedDict[int, Any] = OrderedDict()
        self.folder, self.stamp = rows.file.parent.resolve(), stamp_of(rows.file)

    def stamps(self, group: int, count: int) -> list[str]:
        """Of each row: the table's, and where a row may name a file beside it, that file's, too."""
        from pyarrow import ArrowException  # an extra

        try:
            names = self.rows.named(group, self.column)
        except (ArrowException, OSError):  # damaged: told when its pictures are read
            names = []
        return [self._with_file(name) for name in names] or [self.stamp] * count

    def _with_file(self, name: object) -> str:
        try:
            path = self._beside(name)
        except (HasamaError, OSError, ValueError, RuntimeError):  # no such file, or no name of any
            return f"{self.stamp} nowhere"
        return f"{self.stamp} {stamp_of(path)}" if path else self.stamp

    def read(self, group: int, row: int) -> io.BytesIO | Path:
        """A picture's file."""
        with self.lock:
            if group not in self.groups:
                while len(self.groups) >= GROUPS_KEPT:
                    self.groups.popitem(last=False)
                self.groups[group] = self.rows.read(group, self.column)
            value = self.groups[group][row].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or self._beside(value.get("path"))
        if value is None:
            raise HasamaError("no picture in this row")
        return value if isinstance(value, Path) else io.BytesIO(value)

    def _beside(self, name: object) -> Path | None:
        """A file that a row names instead of holding it: only below the table's folder."""
        if not isinstance(name, str) or not name:
            return None
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            raise HasamaError("a name of a file that is not beside the table")
        return path


def holds_pictures(file: Path) -> bool:
    """Whether a column of a table holds pictures; others tell of pictures that lie elsewhere.

    Raises:
        HasamaError: pyarrow is missing, or the file is damaged.
    """
    rows = _opened(file)
    return bool(_picture_columns(rows, _features(rows.schema)))


def _picture_columns(rows: Rows, features: dict[str, Any]) -> list[str]:
    told = [name for name in rows.schema.names if _kind(features, name) == "Image"]
    return told or [field.name for field in rows.schema if _holds_files(field.type)]


def _picture_column(rows: Rows, features: dict[str, Any]) -> str:
    found = _picture_columns(rows, features)
    if not found:
        columns = ", ".join(f"{field.name} ({field.type})" for field in rows.schema) or "none"
        raise HasamaError(
            f"No column of {rows.file} holds pictures as bytes, or as {{bytes, path}}. Its columns: {columns}."
        )
    return next((name for name in PICTURES if name in found), found[0])


def _holds_files(kind: Any) -> bool:
    from pyarrow import types  # an extra

    if types.is_struct(kind):
        return any(
            kind.field(at).name == "bytes" and _holds_files(kind.field(at).type) for at in range(kind.num_fields)
        )
    return types.is_binary(kind) or types.is_large_binary(kind)


def _label_column(rows: Rows, features: dict[str, Any]) -> tuple[str | None, list[str]]:
    """The column of the classes, None if there is none; and their names, if numbers stand for them."""
    from pyarrow import types  # an extra

    def is_class(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return (
            types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
        )

    told = [name for name in rows.schema.names if _kind(features, name) == "ClassLabel"]
    named = [field for field in rows.schema if field.name in LABELS]
    found = told or [field.name for field in named if is_class(field.type)]
    found = found or [field.name for field in named if types.is_floating(field.type)]  # pandas', of numbers with gaps
    chosen = next((name for name in LABELS if name in found), found[0] if found else None)
    names = features[chosen].get("names") if chosen is not None and chosen in told else None
    return chosen, list(map(str, names)) if isinstance(names, list) else []


def _values(rows: Rows, group: int, column: str) -> list[Any]:
    """A group's values of a column; none if it is damaged, which need not concern the pictures."""
    from pyarrow import ArrowException  # an extra

    try:
        return rows.read(group, column).to_pylist()
    except (ArrowException, OSError):
        return []


def _class(value: Any, names: list[str]) -> str | None:
    if isinstance(value, float) and value != value // 1:
        return None  # NaN; or measured, and no class
    if isinstance(value, float) and names:
        value = int(value)  # of whole numbers with gaps among them pandas makes these
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return class_name(value)


def _features(schema: Any) -> dict[str, Any]:
    """What Hugging Face's metadata say of the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(features: dict[str, Any], name: str) -> str | None:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
