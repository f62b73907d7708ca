"""Keep a run folder up to date during training: log, samples, checkpoints, stop. No mathematics here.

`fit` passes every record on, so that a progress bar, a notebook or a test can consume it in turn.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, NoReturn

from torch import nn

from hasama.distributed import agreed, is_first
from hasama.errors import HasamaError, LostProcessError, TakenOverError, short_of_memory
from hasama.generators.generator_file import TrainedGenerator, save_generator
from hasama.health.checks import examine
from hasama.health.findings import LOOK_STEPS, Finding, is_number, up_to_last_look
from hasama.health.quality import QualityProbe, all_finite, keep_if_best
from hasama.health.signals import Probe
from hasama.pictures.images import save_picture
from hasama.recipe import Recipe
from hasama.runs.autopilot import SHARES, judged_from, keep_healthy, to_answer
from hasama.runs.folder import Run
from hasama.runs.reports.plot import plot_losses
from hasama.runs.reports.samples import sample_grid
from hasama.runs.standing import Place
from hasama.training.game import Game, Record, Step

LOG_EVERY_STEPS = 10
GRIDS_IN_A_RUN = 25
PLOT_SECONDS = 20.0
HEALTH_KIMG, HEALTH_KIMG_SHORT, SHORT_KIMG = 5.0, 3.0, 100.0  # most checks need eight looks


def crossed(record: Record, every: float) -> bool:
    """Whether this record reached or passed a multiple of `every` images. True for the same records on every run."""
    return record.images_seen // every > (record.images_seen - record.shown) // every


def log_interval(recipe: Recipe) -> float:
    """Images between two lines of the log."""
    return LOG_EVERY_STEPS * recipe.batch


def sample_interval(recipe: Recipe) -> float:
    """Images between two sample grids."""
    return 1000 * (recipe.sample_kimg or recipe.kimg / GRIDS_IN_A_RUN)


def health_interval(recipe: Recipe) -> float:
    """Images between two looks at the health; 0: there are none."""
    if recipe.health_kimg is not None:
        return 1000 * recipe.health_kimg
    usual = HEALTH_KIMG if recipe.kimg >= SHORT_KIMG else HEALTH_KIMG_SHORT
    return max(1000 * usual, LOOK_STEPS * recipe.batch)


def _short(value: float) -> float | None:
    """Six digits; None for what is no number, which JSON cannot hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def never() -> bool:
    """The default for `stop`: go on."""
    return False


def fit(
    run: Run,
    game: Game,
    steps: Iterator[Record],
    recipe: Recipe,
    generator: TrainedGenerator,
    stop: Callable[[], bool] = never,
    probe: Probe | None = None,
    looks: "Looks | None" = None,
) -> Iterator[Record]:
    """Train until the recipe's length is reached, keeping the run folder up to date.

    Of several processes (see `hasama.distributed`) the first one writes, and all stop when any is asked to.
    Everything is saved at the end, every `checkpoint_minutes`, when `stop()` or the stop file says so, and
    when the consumer closes this generator (a `break` in its for loop).

    Args:
        run: the folder, already created.
        game: what `steps` trains; its checkpoint has been loaded, if there was one.
        steps: `play(game, batches)` or another loop.
        recipe: its lengths and intervals count here.
        generator: how to make the sample grids and what to share; `TrainedGenerator(game.sampling_generator, ...)`.
        stop: asked after every step.
        probe: looks at the health of the training every `health_kimg`; findings go into health.jsonl.
        looks: at the quality; figures go into the log, and the best generator into best.safetensors.

    Yields:
        Every record of `steps`, after it has been logged; where they end before the recipe's length, the run does.

    Raises:
        HasamaError: the folder cannot be written to, the run in it is further on than `game`, or the losses are no
            longer numbers. The last checkpoint is intact.
    """
    if is_first() and (stands := run.images_seen()) > game.images_seen:  # a cell of a notebook run once more
        raise HasamaError(
            f"{run.folder} holds a run of {stands / 1000:g} kimg, which this game, at {game.images_seen / 1000:g}, "
            "would overwrite. Go on with it, by run.load_game(game), or name another folder."
        )
    keeper = _Keeper(run, game, recipe, generator, probe, looks) if is_first() else _Bystander()
    if game.images_seen == 0:
        keeper.save_grid()
    try:
        while game.images_seen < recipe.images:
            with whole_step() as interrupted:
                step = _next(steps, keeper)
            if interrupted():
                keeper.save_all()
                raise KeyboardInterrupt
            if step is None:
                break
            yield step
            if agreed(stop() or run.stop_asked()):
                break
    except GeneratorExit:
        keeper.save_all()
        raise
    keeper.save_all()


def _next(steps: Iterator[Record], keeper: "_Keeper | _Bystander") -> Record | None:
    """One step, with all that is due after it; None after the last. Whatever breaks it off, what can be is saved."""
    step = None
    try:
        step = next(steps, None)
        if step is not None:
            keeper.note(step)
        return step
    except (LostProcessError, TakenOverError):  # in the middle of a step, or in another's place: nothing may be saved
        raise
    except HasamaError as error:  # such as pictures that a server no longer gives
        raise HasamaError(f"{error} {keeper.rescue()}".rstrip()) from error
    except Exception as error:
        if step is not None and short_of_memory(error):  # what looks at the networks had no room: they are sound
            keeper.rescue()
        raise


@contextmanager
def whole_step() -> Iterator[Callable[[], bool]]:
    """Let a step come to its end before Ctrl-C breaks it off where nobody else listens for it, as in a notebook.

    Yields:
        Whether it was pressed meanwhile. Pressed twice, it waits for nothing.
    """
    pressed: list[bool] = []
    usual = signal.default_int_handler
    alone = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is usual

    def note(*_: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, usual)

    if alone:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        if alone:
            signal.signal(signal.SIGINT, usual)


class Looks(NamedTuple):
    """How to look at the generator's quality, and how many images apart."""

    probe: QualityProbe
    every: float


class _Bystander:
    """One of several processes, but not the first: it writes nothing."""

    def note(self, step: Record) -> None:
        """Nothing is due."""

    def save_grid(self) -> None:
        """The first process does it."""

    def save_all(self) -> None:
        """The first process does it."""

    def rescue(self) -> str:
        """There is nothing to save here."""
        return ""


class _Keeper:
    """Writes the run folder."""

    def __init__(
        self,
        run: Run,
        game: Game,
        recipe: Recipe,
        generator: TrainedGenerator,
        probe: Probe | None,
        looks: Looks | None = None,
    ) -> None:
        self.run, self.game, self.recipe, self.generator, self.probe = run, game, recipe, generator, probe
        self.looks, self.place = looks, Place(run)
        self.log, self.images, self.start = run.log(), run.images(), judged_from(run)
        seconds: Any = self.log[-1].get("seconds") if self.log else 0.0
        self.started = time.monotonic() - (seconds if is_number(seconds) else 0.0)
        self.saved = self.plotted = time.monotonic()
        self.last: Record | None = None
        self.logged, self.logged_at = game.images_seen, time.monotonic()
        self.known = {(finding["name"], finding.get("severity")) for finding in run.findings()}
        if recipe.autopilot:  # it must be told when a finding comes again
            self.known = _kinds(self.found())

    def note(self, step: Record) -> None:
        """Whatever is due after this step."""
        self.place.check()
        self.last = step
        health = self.probe is not None and crossed(step, health_interval(self.recipe))
        ends = step.images_seen >= self.recipe.images  # the log, too, reaches the end, and so does the quality
        quality = self.looks is not None and (ends or crossed(step, self.looks.every))
        if health or quality or ends or crossed(step, log_interval(self.recipe)):
            self.finite(step)  # before a generator without numbers could be looked at
            signals = self.probe(self.game, isinstance(step, Step)) if health and self.probe else {}
            self.write_log(step, signals | (self.quality() if quality else {}))
        if health:
            self.examine()
        if crossed(step, sample_interval(self.recipe)):
            self.save_grid()
        now = time.monotonic()
        if now - self.plotted > PLOT_SECONDS:
            plot_losses(self.log, self.run.loss_plot)
            self.plotted = time.monotonic()
        if now - self.saved > 60 * self.recipe.checkpoint_minutes:
            self.save()

    def write_log(self, step: Record, health: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        figures = self.finite(step) | {name: _short(value) for name, value in (health or {}).items()}
        rate = _short((step.images_seen - self.logged) / max(1e-9, now - self.logged_at))  # everything included
        line = {"images_seen": step.images_seen, "seconds": round(now - self.started, 3), "images_per_second": rate}
        self.append(line | figures)
        self.logged, self.logged_at = step.images_seen, now

    def quality(self) -> dict[str, float]:
        """What is logged of a look at the quality; the best generator is kept."""
        if self.looks is None:
            return {}
        quality = self.looks.probe(self.generator, self.game.images_seen)
        keep_if_best(self.generator, quality, self.run.best)
        return quality.figures()

    def append(self, line: dict[str, Any]) -> None:
        self.run.append_log(line)
        self.log.append(line)

    def found(self) -> list[Finding]:
        """At the last look."""
        return examine(up_to_last_look(self.log, self.start), self.recipe, self.images)

    def examine(self) -> None:
        """Write down new findings; with the autopilot, also old ones that were not there at the last look."""
        found = self.found()
        for finding in found:
            if (finding.name, finding.severity) not in self.known:
                self.run.append_finding(finding.to_dict())
        self.known = _kinds(found) if self.recipe.autopilot else self.known | _kinds(found)
        step, apart = self.last, health_interval(self.recipe)
        due = apart * math.ceil(self.recipe.images / SHARES / apart)  # of the looks: only there it is checked
        if self.recipe.autopilot and not to_answer(found) and step is not None and crossed(step, due):
            self.save()
            keep_healthy(self.run, step.images_seen)

    def finite(self, step: Record) -> dict[str, float]:
        """The step's figures. A loss that is not a number ends the run before it can get into the checkpoint."""
        figures = step.figures()
        bad = [name for name, value in figures.items() if name.startswith("loss") and not math.isfinite(value)]
        if bad:
            self.broke_down(step, bad[0], f"{bad[0]} became {figures[bad[0]]}")
        return figures

    def broke_down(self, step: Record, name: str, told: str) -> NoReturn:
        """Write the finding down, so that the doctor shows it later, and end the run."""
        if not (self.log and "not_finite" in self.log[-1]):
            self.append({"images_seen": step.images_seen, "not_finite": name})
            for finding in examine(self.log, self.recipe, self.images):
                if finding.name == "not-finite":
                    self.run.append_finding(finding.to_dict())
        safe = self.run.checkpoint.exists()
        kept = f"The last good checkpoint in {self.run.folder} is untouched. " if safe else ""
        other = "" if self.recipe.architecture == "vae" else ", or with the recipe `stable`"
        raise HasamaError(
            f"Training broke down at {step.images_seen / 1000:g} kimg: {told}. {kept}"
            "Start a new run with lower learning rates (--generator-lr, --discriminator-lr) or --precision fp32"
            f"{other}."
        )

    def save_grid(self) -> None:
        """A grid from latents that stay the same through the whole run."""
        save_picture(sample_grid(self.generator, self.recipe.seed), self.run.sample_file(self.game.images_seen))

    def save(self) -> None:
        """The checkpoint, then the generator."""
        if self.last is not None:
            self.finite(self.last)
            networks = {name: part for name, part in self.game.parts().items() if isinstance(part, nn.Module)}
            for name, network in networks.items():  # its losses are of before the step
                if not all_finite(network):
                    self.broke_down(self.last, name, f"the {name}'s weights are no numbers any more")
        self.place.restore()
        self.run.save_game(self.game)
        save_generator(self.generator, self.run.generator)
        self.saved = time.monotonic()

    def rescue(self) -> str:
        """When the run must end: save it if that is still possible, and say where it stands."""
        with suppress(HasamaError):
            self.save()
        stands = self.run.images_seen() / 1000
        return (
            f"The run stands at {stands:g} kimg:  {self.run.how_to_go_on()}" if stands else "Nothing was saved yet."
        )

    def save_all(self) -> None:
        """At the end of a session."""
        self.save()
        if not self.run.sample_file(self.game.images_seen).exists():
            self.save_grid()
        plot_losses(self.log, self.run.loss_plot)


def _kinds(found: list[Finding]) -> set[tuple[str, str | None]]:
    return {(finding.name, finding.severity) for finding in found}
