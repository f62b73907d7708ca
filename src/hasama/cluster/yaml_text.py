"""YAML out of dictionaries, lists and scalars: as much of it as job files need, so that no library is.

A text that could be taken for anything else stands in double quotes, and what cannot be printed is escaped; a text of
several lines is a literal block. The tests read all of it back by PyYAML.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z/$~][\w./~$+-]*", re.ASCII)
"""What needs no quotes unless it is one of `WORDS`."""

WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "~")
"""What YAML 1.1 takes for a truth value or nothing."""


def to_yaml(value: Mapping[str, Any]) -> str:
    """A document; the same value comes back when it is read.

    Args:
        value: keys, and texts, numbers, truth values, lists or further such mappings.
    """
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        yield from _under(f"{_text(key)}:", item)


def _list(value: Sequence[Any]) -> Iterator[str]:
    for item in value:
        lines = list(_mapping(item) if isinstance(item, Mapping) and item else _under("", item))
        yield f"- {lines[0].lstrip()}"
        yield from (f"  {line}" if line else "" for line in lines[1:])


def _under(head: str, item: Any) -> Iterator[str]:
    """What stands under a key: on the same line, or indented on those that follow."""
    if isinstance(item, str) and _is_block(item):
        yield f"{head} |"
        yield from (f"  {line}" if line else "" for line in item[:-1].split("\n"))
    elif isinstance(item, Mapping) and item:
        yield head
        yield from (f"  {line}" for line in _mapping(item))
    elif isinstance(item, list | tuple) and item:
        yield head
        yield from (f"  {line}" for line in _list(item))
    else:
        yield f"{head} {_scalar(item)}"


def _is_block(text: str) -> bool:
    """Whether a text can be a literal block: printable lines, the first begins with a word, the last ends."""
    lines = text.split("\n")
    return (
        len(lines) > 2 and lines[-1] == "" and lines[-2].strip() != "" and lines[0][:1].strip() != ""
        and all(line.isprintable() for line in lines)
    )  # fmt: skip


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))  # YAML 1.1 takes 1e-09 for a text
    return "[]" if isinstance(value, list | tuple) else json.dumps(value)


def _text(text: str) -> str:
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return '"' + "".join(map(_sign, text)) + '"'


def _sign(sign: str) -> str:
    """A sign between double quotes. JSON's escapes are YAML's, too, but for those above U+FFFF."""
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"
