"""Drawings that are written as Mermaid flowcharts, made into SVG when the documentation is built.

Only what `docs/architecture.md` uses is understood: `flowchart TD`, sub-graphs that are the floors from the top
down, one name a line, and arrows `one --> other` between rooms. So the drawing in the page is the text that the tests
compare with the imports, and no script is loaded from anywhere.
"""

import itertools
import re
from html import escape
from statistics import mean
from typing import NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

WIDTH, ROW, HEIGHT, LETTER, GAP = 760, 92, 30, 8.5, 26
LABELS = 210
"""Pixels on the left for what each floor is for."""
CENTRE = (LABELS + WIDTH) / 2
SWEEPS = 30


class Flowchart(NamedTuple):
    """What is drawn.

    Attributes:
        floors: (what it is for, its rooms), from the top.
        arrows: (room, room below it).
    """

    floors: list[tuple[str, list[str]]]
    arrows: list[tuple[str, str]]

    def floor_of(self, room: str) -> int:
        return next(number for number, (_, rooms) in enumerate(self.floors) if room in rooms)


def read(text: str) -> Flowchart:
    """The flowchart that a text describes.

    Raises:
        ValueError: it uses something that is not understood here.
    """
    floors: list[tuple[str, list[str]]] = []
    arrows: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if opened := re.fullmatch(r"subgraph \w+ \[(.+)\]", line):
            floors.append((opened[1], []))
        elif arrow := re.fullmatch(r"(\w+) --> (\w+)", line):
            arrows.append((arrow[1], arrow[2]))
        elif re.fullmatch(r"\w+", line) and line != "end" and floors:
            floors[-1][1].append(line)
        elif line not in ("end", "flowchart TD"):
            raise ValueError(f"A line of the drawing is not understood: {line}")
    return Flowchart(floors, arrows)


def _rows(chart: Flowchart) -> tuple[list[list[str]], list[list[str]]]:
    """The rows, with a bend wherever an arrow passes one; and each arrow as the places that it goes through."""
    rows = [list(rooms) for _, rooms in chart.floors]
    ways = []
    for one, other in chart.arrows:
        bends = []
        for floor in range(chart.floor_of(one) + 1, chart.floor_of(other)):
            bends.append(f"{one}>{other}@{floor}")
            rows[floor].append(bends[-1])
        ways.append([one, *bends, other])
    return rows, ways


def size_of(name: str) -> float:
    """How wide a room's box is; a bend needs little."""
    return 14.0 if "@" in name else LETTER * len(name) + 24


def _spread(row: list[str], wanted: dict[str, float]) -> dict[str, float]:
    """Places in a row, as near as may be to those that are wanted, so that nothing overlaps."""
    order = sorted(row, key=wanted.__getitem__)
    places: dict[str, float] = {}
    edge = float(LABELS)
    for name in order:
        places[name] = max(wanted[name], edge + size_of(name) / 2)
        edge = places[name] + size_of(name) / 2 + GAP
    edge = float(WIDTH - GAP / 2)
    for name in reversed(order):
        places[name] = min(places[name], edge - size_of(name) / 2)
        edge = places[name] - size_of(name) / 2 - GAP
    return places


def places_of(chart: Flowchart) -> tuple[dict[str, tuple[float, float]], list[list[str]]]:
    """(x, y) of each room and bend, and each arrow as the places it goes through: layers, ordered by their means."""
    rows, ways = _rows(chart)
    beside: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for way in ways:
        for one, other in itertools.pairwise(way):
            beside[one].append(other)
            beside[other].append(one)
    across: dict[str, float] = {}
    for row in rows:
        step = (WIDTH - LABELS) / (len(row) + 1)
        across |= {name: LABELS + step * (number + 1) for number, name in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            means = {name: mean([across[other] for other in beside[name]] or [across[name]]) for name in row}
            across |= _spread(row, {name: 0.3 * across[name] + 0.6 * means[name] + 0.1 * CENTRE for name in row})
    down = {name: 46 + ROW * number for number, row in enumerate(rows) for name in row}
    return {name: (across[name], down[name]) for name in across}, ways


def svg_of(text: str) -> str:
    """The drawing, in the colours of the page around it."""
    chart = read(text)
    places, ways = places_of(chart)
    total = ROW * len(chart.floors)
    parts = [
        f'<svg class="hasama-drawing" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="inherit" font-size="14">',
        f"<title>{escape(_told(chart))}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="currentColor"/></marker></defs>',
    ]
    for number, (purpose, rooms) in enumerate(chart.floors):
        y = ROW * number
        shade = 0.05 if number % 2 else 0.02
        parts.append(f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}" fill="currentColor" opacity="{shade}"/>')
        parts += _lines(purpose, y + ROW / 2)
        parts += [_box(room, *places[room]) for room in rooms]
    parts += [_arrow([places[name] for name in way], " ".join(way[:: len(way) - 1])) for way in ways]
    return "\n".join([*parts, "</svg>"])


def _told(chart: Flowchart) -> str:
    """The drawing in words, for those who do not see it."""
    return "; ".join(f"{one} imports {other}" for one, other in chart.arrows)


def _lines(purpose: str, middle: float) -> list[str]:
    """What a floor is for, in lines of a few words."""
    lines, words = [""], purpose.split()
    for word in words:
        if len(lines[-1]) + len(word) > 26:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    first = middle - 9 * (len(lines) - 1) + 5
    return [
        f'<text x="12" y="{first + 18 * number}" fill="currentColor" opacity="0.75" font-style="italic">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    ]


def _box(room: str, x: float, y: float) -> str:
    wide = size_of(room)
    return (
        f'<g data-room="{room}"><rect x="{x - wide / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{wide:.1f}" '
        f'height="{HEIGHT}" rx="6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle" fill="currentColor">{room}</text></g>'
    )


def _arrow(points: list[tuple[float, float]], named: str) -> str:
    """A smooth line from the lower edge of a box through the bends to the upper edge of another."""
    (x, y), *bends, (last_x, last_y) = points
    stops = [(x, y + HEIGHT / 2), *bends, (last_x, last_y - HEIGHT / 2 - 2)]
    drawn = f"M{stops[0][0]:.1f},{stops[0][1]:.1f}"
    for (a, b), (c, d) in itertools.pairwise(stops):
        middle = (b + d) / 2
        drawn += f" C{a:.1f},{middle:.1f} {c:.1f},{middle:.1f} {c:.1f},{d:.1f}"
    return (
        f'<path data-arrow="{named}" d="{drawn}" fill="none" stroke="currentColor" opacity="0.6" '
        'marker-end="url(#head)"/>'
    )


class Mermaid(Directive):
    """A fence with the word mermaid."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The SVG; where it is not understood, Sphinx says so and where it stands."""
        try:
            return [nodes.raw("", svg_of("\n".join(self.content)), format="html")]
        except ValueError as error:
            raise self.error(str(error)) from error


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
