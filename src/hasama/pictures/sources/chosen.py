"""Some classes of a source (--only): which are meant, and the source that holds nothing else."""

import difflib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from hasama.errors import HasamaError
from hasama.pictures.sources.entries import Entry, Source

LISTED = 30  # classes that a message lists at most


class Called(NamedTuple):
    """The classes of a source that some names mean, in the order in which they were named; and names of none."""

    classes: tuple[str, ...]
    unknown: tuple[str, ...]


def tidy(names: str) -> str:
    """Names with commas between them, each once, sorted, without spaces around: 'dogs, cats' -> 'cats,dogs'."""
    return ",".join(sorted({name.strip() for name in names.split(",")} - {""}))


def classes_called(source: Source, names: str) -> Called:
    """The classes of a source that `names` means, with commas (or, where no class has one, spaces) between them.

    Args:
        source: whose entries have their classes as labels.
        names: as `--only` takes them. A class may have commas in its name.
    """
    known = {tidy(label): label for label in _counts(source)}
    known |= {tidy(name): label for name, label in source.aliases.items() if label in known.values()}
    words = [word for part in _parts(names, known) for word in (part.split() if _are_names(part, known) else [part])]
    classes = dict.fromkeys(known[word] for word in words if word in known)
    return Called(tuple(classes), tuple(word for word in words if word not in known))


def _parts(names: str, known: dict[str, str]) -> Iterator[str]:
    """What stands between the commas, each once; of a class that has commas in its name, all of that."""
    pieces = [tidy(names)] if tidy(names) in known else tidy(names).split(",") if tidy(names) else []
    taken: set[str] = set()
    for name in sorted((name for name in known if "," in name), key=len, reverse=True):
        parts = set(name.split(","))
        if parts <= set(pieces) and any(part not in known for part in parts - taken):
            taken |= parts
            yield name
    yield from (piece for piece in pieces if piece not in taken)


def _are_names(part: str, known: dict[str, str]) -> bool:
    """Whether these are several names with spaces between."""
    return part not in known and all(word in known for word in part.split())


def only_classes(source: Source, names: str) -> Source:
    """The source with the files of some classes alone; as it is if there are no `names`.

    Args:
        source: see `sources.open_source`.
        names: as `--only` takes them.

    Raises:
        HasamaError: the source has no classes, or none of such a name; with the nearest one, and a list of all.
    """
    if not names:
        return source
    if source.no_classes:
        raise HasamaError(f"--only needs classes. {source.no_classes}")
    if not _counts(source):
        first = source.entries[0]
        raise HasamaError(
            f"--only takes names of classes, and {source.description} has none ({first.name}: {first.unlabelled}). "
            "Give each class a sub-folder, or an array its labels; or leave out --only."
        )
    classes, unknown = classes_called(source, names)
    if unknown:
        raise HasamaError(_unknown(unknown[0], source))
    if not classes:
        raise HasamaError(f"--only names no class. {_listed(source)}")
    which = [number for number, entry in enumerate(source.entries) if entry.label in classes]
    only = tuple(sorted(classes))
    return source._replace(
        description=f"{source.description} (only {', '.join(only)})", entries=_Some(source.entries, which), only=only
    )


class _Some(Sequence[Entry]):
    """Some of the entries; of shards there may be millions, none of which is kept."""

    def __init__(self, entries: Sequence[Entry], which: Sequence[int]) -> None:
        self.entries, self.which = entries, array("q", which)

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return _Some(self.entries, self.which[index])
        return self.entries[self.which[index]]


def _counts(source: Source) -> dict[str, int]:
    """How many files each class has; files without one do not count."""
    return dict(Counter(entry.label for entry in source.entries if entry.label is not None))


def _unknown(name: str, source: Source) -> str:
    known = {other.lower(): other for other in [*_counts(source), *source.aliases]}
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    return f"There is no class called {name!r} in {source.description}.{hint} {_listed(source)}"


def _listed(source: Source) -> str:
    words = {label: f"{label} = {name}" for name, label in source.aliases.items()}
    counts = _counts(source)
    told = [f"{words.get(label, _quoted(label))} ({counts[label]})" for label in sorted(counts, key=by_number)]
    more = f" and {len(told) - LISTED} more" if len(told) > LISTED else ""
    return f"There are: {', '.join(told[:LISTED])}{more}."


def _quoted(label: str) -> str:
    """A name with a comma in it, so that one sees where it ends."""
    return repr(label) if "," in label else label


def by_number(name: str) -> tuple[bool, int, str]:
    """By what classes are sorted: 2 before 10, and numbers before words."""
    number = name.isascii() and name.isdigit()
    return not number, len(name) if number else 0, name
