"""A run's whole story as the doctor sees it: what was found when, whether it still holds, with plots and pictures."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasama.doctor.autopilot import Intervention, interventions, judged_from
from hasama.doctor.findings import Finding, History
from hasama.doctor.health import EARLY, ENOUGH, examine, too_soon
from hasama.doctor.remedies import TITLES
from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.plot import health_plot
from hasama.recipe import train_command
from hasama.run import Run, free_name

VISITS = 200  # at most so many times on the way a long log is looked at
FULL = 20  # looks of which the lines between them are read, too; `History.recent` goes back seven


@dataclass(frozen=True)
class Seen:
    """A finding in time.

    Attributes:
        finding: as it was last found.
        first, last: images seen when it was found for the first and the last time.
        holds: whether it does at the end of the log.
    """

    finding: Finding
    first: int
    last: int
    holds: bool

    @property
    def begun(self) -> int:
        """Images seen since when it has been so; of what is over, when it was first found."""
        return self.finding.since if self.holds else self.first


@dataclass(frozen=True)
class Diagnosis:
    """Everything that a report tells.

    Attributes:
        run: the run.
        history: its log.
        seen: what was found, first what still holds, the most serious first.
        training: whether a process is training it now.
        interventions: what the autopilot did; the run is judged by what came after the last of them.
    """

    run: Run
    history: History
    seen: tuple[Seen, ...]
    training: bool
    interventions: tuple[Intervention, ...] = ()

    @property
    def verdict(self) -> str:
        """One sentence."""
        now = [one.finding for one in self.seen if one.holds]
        if not self.history.looks:
            few = "has logged too little to judge" if not self.history.log else "was not looked at yet (--probe-kimg)"
            return f"Nothing can be said of this run: it {few}."
        if serious := [finding.title for finding in now if finding.severity == "serious"]:
            return f"This training is ill: {', '.join(serious)}."
        if warnings := [finding.title for finding in now if finding.severity == "warning"]:
            return f"This training goes on, but watch it: {', '.join(warnings)}."
        if not self.judged:
            looks = len(self.history.looks)
            return (
                f"Nothing is wrong so far, but it is too early to call it healthy: step {self.history.steps} and "
                f"{looks} looks; {EARLY} steps and {ENOUGH} looks are wanted."
            )
        return "This training is healthy."

    @property
    def command(self) -> str | None:
        """The command that trains anew with the first remedy of the first finding that holds; None without one."""
        remedies = (one.finding.remedies[0] for one in self.seen if one.holds and one.finding.remedies)
        if (remedy := next(remedies, None)) is None:
            return None
        recipe = self.history.recipe.but(**remedy.changes)
        return train_command(self.history.images["name"], recipe, out=free_name(self.run.folder))

    @property
    def judged(self) -> bool:
        """Whether it has gone on for long enough that finding nothing means something."""
        return self.history.steps >= EARLY and not too_soon(self.history)

    @property
    def healthy(self) -> bool:
        """Whether nothing serious holds."""
        return not any(one.holds and one.finding.severity == "serious" for one in self.seen)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "run": str(self.run.folder),
            "images_seen": self.history.seen,
            "training": self.training,
            "healthy": self.healthy if self.history.looks else None,
            "judged": self.judged,
            "verdict": self.verdict,
            "findings": [
                {**one.finding.to_dict(), "title": one.finding.title, "first": one.first, "last": one.last,
                 "holds": one.holds}
                for one in self.seen
            ],
            "command": self.command,
            "autopilot": [one._asdict() for one in self.interventions],
            "signals": self.history.looks[-1] if self.history.looks else {},
        }  # fmt: skip


def diagnose(run: Run) -> Diagnosis:
    """Go through a run's log as if one had been there.

    Raises:
        HasamaError: there is no run there, or it is damaged.
    """
    recipe, images, start = run.recipe(), run.images(), judged_from(run)
    log = [line for line in run.log() if line["images_seen"] > start]
    places = [i for i, line in enumerate(log) if "diversity" in line or "not_finite" in line]
    step = max(1, len(places) // VISITS)
    visits: list[int] = sorted({*places[::step], *places[-1:], *range(max(0, len(log) - 1), len(log))})
    seen: dict[str, Seen] = {}
    for place in visits:
        now = log[place]["images_seen"]
        for finding in examine(_by_then(log, places, place), recipe, images):
            first = seen[finding.name].first if finding.name in seen else now
            seen[finding.name] = Seen(finding, first, now, place == visits[-1])
    order = {"serious": 0, "warning": 1, "note": 2}
    ordered = sorted(seen.values(), key=lambda one: (not one.holds, order[one.finding.severity], one.first))
    return Diagnosis(run, History(log, recipe, images), tuple(ordered), run.is_held(), tuple(interventions(run)))


def _by_then(log: list[dict[str, Any]], looks: list[int], place: int) -> list[dict[str, Any]]:
    """The log up to a line; of what lies far behind only the looks, for no check reads more."""
    before = [look for look in looks if look <= place]
    start = before[-FULL] if len(before) >= FULL else 0
    return [log[look] for look in before if look < start] + log[start : place + 1]


# --- for people -----------------------------------------------------------------------------------


def as_text(diagnosis: Diagnosis) -> str:
    """The report for a terminal."""
    history = diagnosis.history
    doing = "training now" if diagnosis.training else "not running"
    lines = [f"{diagnosis.run.folder}: {history.seen / 1000:g} of {history.recipe.kimg:g} kimg, {doing}"]
    lines += [diagnosis.verdict, *_done(diagnosis)]
    for one in diagnosis.seen:
        lines += ["", *_told(one)]
    if diagnosis.command:
        lines += ["", "A new training with the first remedy:", f"  {diagnosis.command}"]
    if history.looks:
        lines += ["", "Signals at the last look:", *_signals(history)]
    return "\n".join(lines)


def _done(diagnosis: Diagnosis) -> list[str]:
    """What the autopilot did."""
    return [
        f"At {one.found_at / 1000:g} kimg the autopilot found {TITLES.get(one.finding, one.finding)}, and went back "
        f"to {one.back_to / 1000:g} kimg with  {one.flags}"
        for one in diagnosis.interventions
    ]


def _told(one: Seen) -> list[str]:
    finding = one.finding
    since = f"since {finding.since / 1000:g} kimg" if finding.since else "since the beginning"
    when = f"{since}, found at {one.first / 1000:g} kimg" if finding.since < one.first else since
    if not one.holds:
        when = f"from {one.first / 1000:g} to {one.last / 1000:g} kimg"
    lines = [f"[{finding.severity}] {finding.title}, {when}" + ("" if one.holds else " (over)"), finding.explanation]
    if one.holds:
        lines += [f"  try  {remedy.flags}   ({remedy.why})" for remedy in finding.remedies]
    return lines


MEANINGS = {
    "images_per_second": "speed, with everything that is done beside training",
    "diversity": "how various the fakes are, in pixels (reals: 1)",
    "diversity_features": "how various they are to the discriminator (reals: 1)",
    "covered": "share of 128 reals with a fake near them (good: above 0.8)",
    "distance": "distance of fakes from reals, squared MMD (good: below 0.1)",
    "repeats": "share of 128 fakes that have a twin (good: 0)",
    "nearest": "distance to the nearest training picture (other reals: 1)",
    "overfit": "how far the discriminator knows its reals by heart (good: below 0.2)",
    "unrest": "how far the generator is from its own average (good: below 0.5)",
    "gradient_generator": "norm of the generator's gradient",
    "gradient_discriminator": "norm of the discriminator's gradient",
    "update_generator": "the generator's last step, as a share of its weights",
    "update_discriminator": "the discriminator's last step, as a share of its weights",
}
"""What the signals mean, in the order in which they are told."""


def _signals(history: History) -> list[str]:
    latest = history.looks[-1]
    told = [(name, latest[name], meaning) for name, meaning in MEANINGS.items() if latest.get(name) is not None]
    return [f"  {name:22} {value:9.3g}  {meaning}" for name, value, meaning in told]


# --- as a page ------------------------------------------------------------------------------------

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.4rem }} img {{ max-width: 100% }} code {{ background: #f2f2f2; padding: .1rem .3rem }}
section {{ border-left: .4rem solid #bbb; padding: .1rem 1rem; margin: 1rem 0 }}
.serious {{ border-color: #c0392b }} .warning {{ border-color: #e0a030 }} .over {{ opacity: .55 }}
td {{ padding: .1rem .8rem .1rem 0 }} td:nth-child(2) {{ text-align: right; font-variant-numeric: tabular-nums }}
</style><h1>{title}</h1><p><strong>{verdict}</strong></p>{done}{findings}{command}<h2>Signals</h2>{plot}
<table>{signals}</table><h2>Samples</h2>{samples}</html>
"""


def save_page(diagnosis: Diagnosis, path: Path) -> None:
    """One HTML file that holds everything: findings, plots, the latest sample grid.

    Raises:
        HasamaError: it cannot be written.
    """
    history, run, command = diagnosis.history, diagnosis.run, diagnosis.command
    plot = health_plot(history.log, [(s.finding.title, s.begun, s.last) for s in diagnosis.seen])
    grids = sorted(run.samples.glob("*.png"))
    latest = history.looks[-1] if history.looks else {}
    rows = "".join(
        f"<tr><td>{name}</td><td>{latest[name]:.3g}</td><td>{html.escape(meaning)}</td></tr>"
        for name, meaning in MEANINGS.items() if latest.get(name) is not None
    )  # fmt: skip
    page = PAGE.format(
        title=html.escape(f"{run.folder} at {history.seen / 1000:g} kimg"),
        verdict=html.escape(diagnosis.verdict),
        done="".join(f"<p>{html.escape(line)}</p>" for line in _done(diagnosis)),
        command=f"<h2>With the first remedy</h2><p><code>{html.escape(command)}</code></p>" if command else "",
        findings="".join(_section(one, _grid_at(run, one.last)) for one in diagnosis.seen),
        plot=_embedded(plot) if plot else "<p>Nothing has been logged yet.</p>",
        signals=rows,
        samples=_embedded(_read(grids[-1])) if grids else "<p>None yet.</p>",
    )
    with replacing(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def _grid_at(run: Run, images_seen: int) -> Path | None:
    """The last sample grid that was made by then."""
    made = [file for file in run.samples.glob("*.png") if file.stem.isdigit() and int(file.stem) <= images_seen]
    return max(made, key=lambda file: int(file.stem), default=None)


def _section(one: Seen, grid: Path | None) -> str:
    lines = [html.escape(line) for line in _told(one)]
    remedies = "".join(
        f"<li><code>{html.escape(remedy.flags)}</code> {html.escape(remedy.why)}</li>"
        for remedy in one.finding.remedies
    )  # fmt: skip
    over = "" if one.holds else " over"
    evidence = ", ".join(f"{name} {value:.3g}" for name, value in one.finding.evidence.items())
    shown = ""
    if grid is not None:
        seen = f"samples at {int(grid.stem) / 1000:g} kimg"
        shown = f"<details><summary>{seen}</summary>{_embedded(_read(grid))}</details>"
    return (
        f'<section class="{one.finding.severity}{over}"><h3>{lines[0]}</h3><p>{lines[1]}</p>'
        f"<p>Evidence: {html.escape(evidence)}</p>"
        + (f"<ul>{remedies}</ul>" if remedies else "")
        + shown
        + "</section>"
    )


def _embedded(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error
