"""What a scan of a source found, for people and for `images.json`."""

import collections
import shlex
from dataclasses import dataclass, field
from typing import TypedDict

from hasama.names import counted
from hasama.options import size_text


class DeepFiles(TypedDict):
    """The files of one depth: how many, the values in them, and those that become black and white."""

    files: int
    lowest: float
    highest: float
    black: float
    white: float


@dataclass
class Report:
    """What a scan found, in the words of `images.json`.

    Attributes:
        source: for people, such as 'folder cats'.
        found, used: files in the source, and pictures that are used.
        resolution: (height, width) in pixels.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        fit: how they were brought to that resolution.
        key: of the cache.
        digest: of all decoded pixels in order.
        skipped: the reason for each file that is not used.
        duplicates: groups of names whose pixels are the same.
        classes: how many pictures each has, in the order of the labels.
        crops: how many can be cut, if the source is one picture; else 0.
        ranges: for the files of more than 8 bits, by their depth, what is black and white: see `DeepFiles`.
        dark: pictures in which no value is above `DARK`.
        brightest: the highest value of all pictures, 0 to 255.
        only: if all pictures are the same one, its file, or its name in an archive.
        note: what the user should know of how the source is read.
        streamed: from how many shards, if pictures are decoded only as they are needed; else 0.
    """

    source: str
    found: int
    used: int
    resolution: tuple[int, int]
    channels: int
    fit: str
    key: str
    digest: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    crops: int = 0
    ranges: dict[str, DeepFiles] = field(default_factory=dict)
    dark: int = 0
    brightest: int = 255
    only: str = ""
    note: str = ""
    streamed: int = 0

    @property
    def copies(self) -> int:
        """How many pictures are there a second time, or more often."""
        return sum(len(group) - 1 for group in self.duplicates)

    def text(self) -> str:
        """The report for a person."""
        height, width = self.resolution
        colour = {1: "grey", 3: "RGB", 4: "RGBA"}.get(self.channels, "no colour")
        there = f"{counted(self.found, 'file')}, {counted(self.used, 'picture')}"
        lines = [f"{self.source}: {there}, {len(self.skipped)} skipped"]
        how = f"cut from it as {self.crops} random crops" if self.crops else f"fit by {self.fit}"
        lines.append(f"  form        {width} wide, {height} high, {colour}, {how}")
        for depth, one in self.ranges.items():
            found = f"{one['files']} files of {depth} values, from {one['lowest']:g} to {one['highest']:g}"
            chosen = f"{one['black']:g} is black and {one['white']:g} is white, in all of them"
            lines.append(f"  range       {found}: {chosen}")
        by_reason = collections.defaultdict(list)
        for name, reason in self.skipped.items():
            by_reason[reason].append(name)
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            lines.append(f"  skipped     {len(names)} {reason}: {_few(names)}")
        if self.duplicates:
            lines.append(f"  duplicates  {self.copies} (kept), such as {_few(self.duplicates[0], 3, ' = ')}")
        if self.classes:
            lines.append("  classes     " + ", ".join(f"{name} ({count})" for name, count in self.classes.items()))
        if self.streamed:
            lines.append(f"  streamed    from {self.streamed} shards: pictures are decoded as they are needed")
        if self.note:
            lines.append(f"  note        {self.note}")
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What makes these pictures hard or impossible to learn from, as sentences that say what to do."""
        different = self.used - self.copies
        found = []
        if self.crops and self.crops < self._enough_crops():
            found.append(self._hardly_a_choice())
        if not self.crops and different == 1:
            found.append(self._only_one())
        elif not self.crops and different < HOPELESS:
            found.append(
                f"{different} different pictures are far too few: the networks will learn them by heart. "
                "Gather some hundreds; or let one picture be repainted by another: hasama style."
            )
        if 2 * self.dark > self.used:
            found.append(self._too_dark())
        return found

    def _enough_crops(self) -> int:
        """So many fit into a picture that is longer than they are by a quarter, both ways."""
        height, width = self.resolution
        return min(CROPS_MOST, (height // 4 + 1) * (width // 4 + 1))

    def _hardly_a_choice(self) -> str:
        height, width = self.resolution
        told = "only one crop" if self.crops == 1 else f"only {self.crops} crops, which are nearly the same"
        smaller = size_text(max(1, height // 2), max(1, width // 2))
        return (
            f"At {width}x{height} pixels the picture has {told}: the networks will learn it by heart. Take a smaller "
            f"size, such as --size {smaller}; or a larger picture, or some hundreds of them."
        )

    def _only_one(self) -> str:
        many = f"The {self.used} pictures are all the same one" if self.used > 1 else "There is only one picture"
        told = f"{many}: the networks will learn it by heart, and nothing else."
        if not self.only:
            return f"{told} Gather some hundreds; or save it as a PNG and name that file, to learn from crops of it."
        return (
            f"{told} Gather some hundreds; or learn from random crops of it:  hasama train {shlex.quote(self.only)}"
        )

    def _too_dark(self) -> str:
        told = (
            f"{self.dark} of {self.used} pictures are nearly black: no value in them is above {DARK} of 255, and "
            f"{self.brightest} is the highest of all."
        )
        if self.ranges:
            return (
                f"{told} The range goes by the highest value in all files: if a few files have far higher values "
                "than the others, take them out."
            )
        return f"{told} If the files hold class numbers or values of few bits, multiply them up to 255 first."


CROPS_MOST = 20_000
"""Of one picture."""

HOPELESS = 10
"""So few different pictures, and the networks only learn them by heart."""


DARK = 31
"""Of 255: a picture in which no value is higher looks black."""


def _few(names: list[str], most: int = 5, between: str = ", ") -> str:
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
