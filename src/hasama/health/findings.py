"""What a run has logged, as the doctor reads it, and what he finds in it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hasama.errors import HasamaError
from hasama.health.explanations import EXPLANATIONS, TITLES, number
from hasama.health.remedies import Remedy
from hasama.recipe import Recipe

Severity = Literal["serious", "warning", "note"]
"""serious: the run will come to nothing unless something is changed; note: good to know."""

LOOK_STEPS = 36
"""Looks that follow each other faster than this are skipped, so that every window below means so much training."""

RECENT = 3
"""Looks over which a state must hold before it is called one: a single one may be chance."""


@dataclass(frozen=True)
class Finding:
    """Something that the doctor sees.

    Attributes:
        name: a name for programs: mode-collapse, discriminator-wins, ...
        severity: how bad it is.
        images_seen: when it was found.
        since: since when it has been so, in images seen; what was before may be trusted.
        evidence: the figures it rests on.
        explanation: for people.
        remedies: one or two; the autopilot tries them in this order.
    """

    name: str
    severity: Severity
    images_seen: int
    since: int
    evidence: dict[str, float]
    explanation: str
    remedies: tuple[Remedy, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        remedies = [{"changes": r.changes, "flags": r.flags, "why": r.why} for r in self.remedies]
        return {**vars(self), "remedies": remedies}

    @property
    def title(self) -> str:
        """The name for people."""
        return TITLES.get(self.name, self.name)


def is_number(value: Any) -> bool:
    """Whether a value of a log can be reckoned with."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def is_look(line: dict[str, Any]) -> bool:
    """Whether a line of a log has signals of health. Where all reals are the same one it has no `diversity`."""
    return any(is_number(line.get(name)) for name in ("diversity", "spread_real"))


def up_to_last_look(log: list[dict[str, Any]], start: int = 0) -> list[dict[str, Any]]:
    """The log after `start` images as it stood when the health was last looked at, or when the numbers broke down."""
    kept = [line for line in log if line["images_seen"] > start]
    while kept and not is_look(kept[-1]) and "not_finite" not in kept[-1]:
        kept.pop()
    return kept


class History:
    """A run's log in the order in which it was written.

    Args:
        log: lines as in log.jsonl; those with `diversity` or `spread_real` are looks (see `hasama.health.signals`).
        recipe: what was asked for.
        images: images.json; its `used` and `duplicates` count here.
    """

    def __init__(self, log: list[dict[str, Any]], recipe: Recipe, images: dict[str, Any] | None = None) -> None:
        self.log, self.recipe, self.images = log, recipe, images or {}

    @cached_property
    def looks(self) -> list[dict[str, Any]]:
        """The lines with signals of health, at least `LOOK_STEPS` apart."""
        kept: list[dict[str, Any]] = []
        apart = LOOK_STEPS * self.recipe.batch
        for line in self.log:
            if is_look(line) and (not kept or line["images_seen"] - kept[-1]["images_seen"] >= apart):
                kept.append(line)
        return kept

    @property
    def seen(self) -> int:
        """Images seen at the last line."""
        return self.log[-1]["images_seen"] if self.log else 0

    @property
    def steps(self) -> int:
        """Steps taken at the last line."""
        return self.seen // self.recipe.batch

    def at_look(self, name: str, last: int | None = None) -> np.ndarray:
        """A signal at the last few looks (default: all): [k], without those that lack it."""
        lines = self.looks if last is None else self.looks[-last:]
        return np.array([line[name] for line in lines if is_number(line.get(name))], dtype=float)

    def recent(self, name: str, looks: int = RECENT) -> np.ndarray:
        """A figure at all lines since the look before the last few."""
        start = self.looks[-looks - 1]["images_seen"] if len(self.looks) > looks else -1
        lines = (line for line in self.log if line["images_seen"] > start)
        return np.array([line[name] for line in lines if is_number(line.get(name))], dtype=float)

    def since(self, name: str, holds: Callable[[float], bool]) -> int:
        """Images seen at the first of the unbroken row of looks, up to the last, of which something holds."""
        first = self.seen
        for line in reversed(self.looks):
            if not (is_number(line.get(name)) and holds(line[name])):
                break
            first = line["images_seen"]
        return first

    def finding(
        self,
        name: str,
        severity: Severity,
        since: int,
        evidence: dict[str, float],
        remedies: Iterable[Remedy] = (),
    ) -> Finding:
        """With the explanation of that name, its figures filled in, and such remedies as change something."""
        useful = [kept for remedy in remedies if (kept := _changing(remedy, self.recipe)) is not None]
        rounded = {key: float(f"{value:.4g}") for key, value in evidence.items() if math.isfinite(value)}
        text = EXPLANATIONS[name].format_map({key: number(value) for key, value in evidence.items()})
        return Finding(name, severity, self.seen, since, rounded, text, tuple(useful[:2]))


def _changing(remedy: Remedy, recipe: Recipe) -> Remedy | None:
    """What of a remedy is new to the recipe; None if nothing is, or the recipe cannot be so."""
    changes = {name: value for name, value in remedy.changes.items() if getattr(recipe, name) != value}
    try:
        recipe.but(**changes)
    except HasamaError:  # contradictions between fields: another remedy must do
        return None
    return Remedy(changes, remedy.why) if changes else None
