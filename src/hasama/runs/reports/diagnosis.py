"""The diagnosis of a whole run: what was found when, whether it still holds, and what to do."""

from dataclasses import dataclass, replace
from typing import Any

from hasama.health.check_generator import EARLY, ENOUGH, too_soon
from hasama.health.checks import examine
from hasama.health.explanations import TITLES
from hasama.health.findings import Finding, History, is_look
from hasama.names import counted
from hasama.presets import train_command, varied
from hasama.runs.autopilot import Intervention, in_force, interventions, judged_from
from hasama.runs.folder import Run, free_name

VISITS = 200  # the checks are run at most at so many places of a long log
FULL = 20  # looks between which all lines of the log are read, too; `History.recent` goes back seven


@dataclass(frozen=True)
class Seen:
    """When a finding was there.

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
        """Since when the state has held, in images seen; if it no longer holds, when it was first found."""
        return self.finding.since if self.holds else self.first


@dataclass(frozen=True)
class Diagnosis:
    """Everything that a report shows.

    Attributes:
        run: the run.
        history: its log, or that of its stage of half the size while that lasts.
        seen: the findings: first those that still hold, the most serious first.
        training: whether a process is training it now.
        interventions: what the autopilot did; only the log after the last of them counts.
    """

    run: Run
    history: History
    seen: tuple[Seen, ...]
    training: bool
    interventions: tuple[Intervention, ...] = ()

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        now = [one.finding for one in self.seen if one.holds]
        if not self.history.looks:
            few = "has logged too little" if not self.history.log else "was not looked at yet (--health-kimg)"
            said = f"Little can be said about this run, but watch it: {', '.join(one.title for one in now)}; it"
            return f"{said if now else 'Nothing can be said about this run: it'} {few}."
        if serious := [finding.title for finding in now if finding.severity == "serious"]:
            return f"This training is not healthy: {', '.join(serious)}."
        if warnings := [finding.title for finding in now if finding.severity == "warning"]:
            return f"This training goes on, but watch it: {', '.join(warnings)}."
        if not self.judged:
            looks = counted(len(self.history.looks), "look")
            return (
                f"Nothing is wrong so far, but it is too early to call it healthy: step {self.history.steps} and "
                f"{looks}; {EARLY} steps and {ENOUGH} looks are wanted."
            )
        return "This training is healthy."

    @property
    def command(self) -> str | None:
        """The command that trains anew with the first remedy of the first finding that holds; None without one."""
        remedies = (one.finding.remedies[0] for one in self.seen if one.holds and one.finding.remedies)
        if (remedy := next(remedies, None)) is None:
            return None
        recipe = varied(self.run.recipe(), remedy.changes)
        return train_command(self.history.images["name"], recipe, out=free_name(self.run.folder))

    @property
    def judged(self) -> bool:
        """Whether the run is long enough that no finding means that it is healthy."""
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
    """Run the checks at many places of a run's log, as if the run had been watched.

    Raises:
        HasamaError: there is no run there, or it is damaged.
    """
    stage = run.stage()
    recipe, images, start = in_force(stage, stage.recipe()), stage.images(), judged_from(stage)
    log = [line for line in stage.log() if line["images_seen"] > start]
    places = [i for i, line in enumerate(log) if is_look(line) or "not_finite" in line]
    step = max(1, len(places) // VISITS)
    visits: list[int] = sorted({*places[::step], *places[-1:], *range(max(0, len(log) - 1), len(log))})
    seen: dict[str, Seen] = {}
    before = -1  # images seen at the visit before
    for place in visits:
        now = log[place]["images_seen"]
        for finding in examine(_by_then(log, places, place), recipe, images):
            known = seen.get(finding.name)
            if known is not None and known.last == before:  # some checks look no further back than their window
                finding = replace(finding, since=min(finding.since, known.finding.since))
            seen[finding.name] = Seen(finding, known.first if known else now, now, place == visits[-1])
        before = now
    order = {"serious": 0, "warning": 1, "note": 2}
    ordered = sorted(seen.values(), key=lambda one: (not one.holds, order[one.finding.severity], one.first))
    return Diagnosis(run, History(log, recipe, images), tuple(ordered), run.is_held(), tuple(interventions(run)))


def _by_then(log: list[dict[str, Any]], looks: list[int], place: int) -> list[dict[str, Any]]:
    """The log up to a line; of its far beginning only the looks at the health, for no check reads more."""
    before = [look for look in looks if look <= place]
    start = before[-FULL] if len(before) >= FULL else 0
    return [log[look] for look in before if look < start] + log[start : place + 1]


# --- for people -----------------------------------------------------------------------------------


def as_text(diagnosis: Diagnosis) -> str:
    """The report for a terminal."""
    history = diagnosis.history
    doing = "training now" if diagnosis.training else "not running"
    first = "" if diagnosis.run.stage() is diagnosis.run else f" at {history.recipe.size} first"
    lines = [f"{diagnosis.run.folder}: {history.seen / 1000:g} of {history.recipe.kimg:g} kimg{first}, {doing}"]
    lines += [diagnosis.verdict, *what_autopilot_did(diagnosis)]
    for one in diagnosis.seen:
        lines += ["", *finding_lines(one)]
    if diagnosis.command:
        lines += ["", "A new training with the first remedy:", f"  {diagnosis.command}"]
    if history.looks:
        lines += ["", "Signals at the last look:", *_signals(history)]
    return "\n".join(lines)


def what_autopilot_did(diagnosis: Diagnosis) -> list[str]:
    """What the autopilot did, in the stage of half the size, too."""
    early = ((one, " of half the size") for one in interventions(diagnosis.run.small()))
    return [
        f"At {one.found_at / 1000:g} kimg{what} the autopilot found: {TITLES.get(one.finding, one.finding)}. It went "
        f"back to {one.back_to / 1000:g} kimg with  {one.flags}"
        for one, what in (*early, *((one, "") for one in diagnosis.interventions))
    ]


def finding_lines(one: Seen) -> list[str]:
    """A finding in lines of text: what and when, why, and the remedies."""
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
    "images_per_second": "speed, including samples, checkpoints and looks at the health",
    "diversity": "how various the fakes are, in pixels (reals: 1)",
    "diversity_features": "how various they are in the discriminator's features (reals: 1)",
    "colours": "how far their mean colours differ (reals: 1)",
    "covered": "share of 128 reals with a fake near them (good: above 0.8)",
    "distance": "distance of fakes from reals, squared MMD (good: below 0.1)",
    "repeats": "share of 128 fakes that have a twin (good: 0)",
    "nearest": "distance to the nearest training picture (other reals: 1)",
    "overfit": "how far the discriminator has learnt its reals by heart (good: below 0.2)",
    "unrest": "how far the generator is from the EMA generator (good: below 0.5)",
    "gradient_generator": "norm of the generator's gradient",
    "gradient_discriminator": "norm of the discriminator's gradient",
    "update_generator": "the generator's last step, as a share of its weights",
    "update_discriminator": "the discriminator's last step, as a share of its weights",
}
"""What the signals mean, in the order in which they are shown."""


def _signals(history: History) -> list[str]:
    latest = history.looks[-1]
    told = [(name, latest[name], meaning) for name, meaning in MEANINGS.items() if latest.get(name) is not None]
    return [f"  {name:22} {value:9.3g}  {meaning}" for name, value, meaning in told]
