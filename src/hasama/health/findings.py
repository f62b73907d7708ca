"""A run's log as the checks read it (`History`), and what they find in it (`Finding`)."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hasama.errors import HasamaError
from hasama.health.explanations import TITLES, explained
from hasama.health.remedies import Remedy
from hasama.recipe import Recipe

Severity = Literal["serious", "warning", "note"]
"""serious: the run will fail unless something is changed; warning: it may; note: good to know."""

LOOK_STEPS = 36
"""Fewest steps between two looks at the health. Looks that come sooner are skipped, so that a number of looks always
means a certain length of training."""

RECENT = 3
"""Looks over which a state must hold before it is a finding: a single look may be chance."""


@dataclass(frozen=True)
class Finding:
    """Something that a check has found.

    Attributes:
        name: a name for programs: mode-collapse, discriminator-wins, ...
        severity: how bad it is.
        images_seen: when it was found.
        since: since when it has been so, in images seen; before that the training was healthy.
        evidence: the figures that it is based on.
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
    """Whether a value of a log is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def is_look(line: dict[str, Any]) -> bool:
    """Whether a line of a log has signals of health. Where all reals are the same one it has no `diversity`."""
    return any(is_number(line.get(name)) for name in ("diversity", "spread_real"))


def up_to_last_look(log: list[dict[str, Any]], start: int = 0) -> list[dict[str, Any]]:
    """The log after `start` images, up to the last look at the health or the line where the numbers broke down."""
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
        """A signal at the last few looks (default: at all): [k], without the looks that lack it."""
        lines = self.looks if last is None else self.looks[-last:]
        return np.array([line[name] for line in lines if is_number(line.get(name))], dtype=float)

    def recent(self, name: str, looks: int = RECENT) -> np.ndarray:
        """A figure at all lines after the look that comes before the last few."""
        start = self.looks[-looks - 1]["images_seen"] if len(self.looks) > looks else -1
        lines = (line for line in self.log if line["images_seen"] > start)
        return np.array([line[name] for line in lines if is_number(line.get(name))], dtype=float)

    def since(self, name: str, holds: Callable[[float], bool]) -> int:
        """Images seen at the first of the last looks without a gap for which a condition holds."""
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
        """A finding with the explanation of that name, figures filled in, and the remedies that change something."""
        useful = [kept for remedy in remedies if (kept := _changing(remedy, self.recipe)) is not None]
        rounded = {key: float(f"{value:.4g}") for key, value in evidence.items() if math.isfinite(value)}
        text = explained(name, evidence)
        return Finding(name, severity, self.seen, since, rounded, text, tuple(useful[:2]))


def _changing(remedy: Remedy, recipe: Recipe) -> Remedy | None:
    """The part of a remedy that changes the recipe; None if nothing does, or the recipe would contradict itself."""
    changes = {name: value for name, value in remedy.changes.items() if getattr(recipe, name) != value}
    try:
        recipe.but(**changes)
    except HasamaError:  # contradictions between fields: another remedy must do
        return None
    return Remedy(changes, remedy.why) if changes else None
