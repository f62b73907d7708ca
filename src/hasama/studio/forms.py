"""Forms made from a recipe's dataclass, and recipes made from what was filled in."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from hasama.errors import HasamaError
from hasama.names import shortened
from hasama.options import flag, typed


class Field(NamedTuple):
    """One field of a form.

    Attributes:
        name: of the recipe's field.
        kind: choice, truth, number or text.
        value: as it stands in the form.
        help: what it means.
        choices: of a choice.
        least: of a number; None: any.
        most: likewise.
        whole: whether a number is whole.
        empty: whether nothing may be filled in.
    """

    name: str
    kind: str
    value: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    whole: bool = False
    empty: bool = False


def fields_of(recipe: Any, groups: Mapping[str, Iterable[str]]) -> dict[str, list[Field]]:
    """{group: its fields}, with the recipe's values."""
    known = {field.name: field for field in dataclasses.fields(recipe)}
    return {
        group: [_field(known[name], getattr(recipe, name)) for name in names if name in known]
        for group, names in groups.items()
    }


def _field(field: dataclasses.Field, value: Any) -> Field:
    hint, empty = _without_none(field.type)
    text = str(field.metadata.get("help", ""))
    if typing.get_origin(hint) is Literal:
        choices = ("", *typing.get_args(hint)) if empty else typing.get_args(hint)
        return Field(field.name, "choice", value or "", text, choices, empty=empty)
    if hint is bool:
        return Field(field.name, "truth", bool(value), text)
    if hint in (int, float):
        least, most = (
            bound if math.isfinite(bound := field.metadata[end]) and abs(bound) < 2**53 else None
            for end in ("least", "most")
        )
        shown = "" if value is None else typed(value)
        return Field(field.name, "number", shown, text, (), least, most, hint is int, empty)
    shown = ",".join(map(typed, value)) if isinstance(value, (tuple, list)) else "" if value is None else str(value)
    return Field(field.name, "text", shown, text, empty=empty)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        return rest[0], len(rest) < len(typing.get_args(hint))
    return hint, False


def filled_in(form: Mapping[str, Any], base: Any) -> dict[str, Any]:
    """What a form says otherwise than a recipe: {field: value}.

    A truth that is not ticked is not sent at all, so the form names in `shown` what it has shown.

    Raises:
        HasamaError: a number does not read as one.
    """
    shown = set(str(form.get("shown", "")).split(","))
    changes = {}
    for field in dataclasses.fields(base):
        if field.name not in shown:
            continue
        hint, empty = _without_none(field.type)
        value = _read(field.name, hint, empty, form.get(field.name))
        if value != getattr(base, field.name):
            changes[field.name] = value
    return changes


def _read(name: str, hint: Any, empty: bool, given: Any) -> Any:
    if hint is bool:
        return given is not None
    text = "" if given is None else str(given).strip()
    if empty and not text:
        return None
    try:
        if hint in (int, float):
            return hint(text)
        if typing.get_origin(hint) is tuple:
            return tuple(one(part) for one, part in zip(typing.get_args(hint), text.split(","), strict=True))
    except ValueError as error:
        several = typing.get_origin(hint) is tuple
        number = f"{len(typing.get_args(hint))} numbers with commas between" if several else "a number"
        raise HasamaError(f"{flag(name)} takes {number}; got {shortened(text)!r}.") from error
    return text
