"""The enlarger's part in a run with --enlarge.

Before the game it is fine-tuned on the run's pictures, until pieces that are held out no longer improve. After it, it
could be finished: it also enlarges the generator's own pictures, and the discriminator of patches tells these from
reals. That does harm so far, and is off (`STEPS`).
Both are resumed exactly: the randomness of a step depends on the seed and the step only.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.networks.calling import call, evaluating
from hasama.networks.enlarger import WEIGHTS, Enlarged, load_enlarger, load_part, smaller, with_four_channels
from hasama.pictures.dataset import Pictures
from hasama.pictures.images import save_picture
from hasama.pictures.tensors import to_images
from hasama.recipe import Recipe
from hasama.runs.fitting import whole_step
from hasama.runs.folder import Run
from hasama.runs.reports.samples import sample_grid
from hasama.shapes import Images, Resized, largest
from hasama.shares import own_random_numbers
from hasama.tensor_files import header_of, load_state, save_state, save_tensors
from hasama.training.enlarging import PERCEIVED, Enlarging, EnlargingStep, Patches, Pieces, faithful, learn_to_enlarge
from hasama.training.game import Game

STEPS = {"fine-tuning": 400, "finish": 0}
"""At most, and at most an eighth of the game's steps. The finish is off: it draws lines (docs/experiments)."""
STEPS_LEAST = 10
LOOK_STEPS, PATIENCE = 50, 2
"""Fine-tuning ends when so many looks in a row at held-out pieces have not been better than the best one."""
RATE = 1e-4
SIDE, COUNT = {2: 96, 4: 128, 8: 192}, {2: 8, 4: 5, 8: 2}
"""{factor: side of a piece}, {factor: pieces in a step}"""
HELD = 16
TIMED = 2  # steps, to tell how long it takes


class Tuning(NamedTuple):
    """One step of the enlarger's.

    Attributes:
        images_seen: by the game: these steps are no part of it.
        shown: 0, likewise.
        stage: fine-tuning or finish.
        done: the share of the stage's longest length.
        step: its costs.
    """

    images_seen: int
    shown: int
    stage: str
    done: float
    step: EnlargingStep

    @property
    def aside(self) -> str:
        """Who learns what, beside the game, in words."""
        return f"enlarger: {self.stage}"

    def figures(self) -> dict[str, float]:
        """The costs, by name."""
        return {f"loss_{name}": cost.item() for name, cost in self.step._asdict().items()}


def fine_tune(
    run: Run, recipe: Recipe, training: Pictures, held: Pictures | None, game: Game, stop: Callable[[], bool]
) -> Iterator[Tuning]:
    """Before the game: teach the enlarger the run's pictures, unless that has been done, and put it into the game."""
    if not run.enlarger.exists():
        yield from _Stage(run, recipe, training, held or training, game, "fine-tuning").go(stop)
    if run.enlarger.exists():
        put_in(run, game)


def tuning_seconds(recipe: Recipe, pictures: Pictures, device: torch.device) -> float:
    """How long the fine-tuning takes at most, by a few timed steps; 0 without --enlarge.

    Args:
        recipe: of the run.
        pictures: what it is to be taught on.
        device: where.
    """
    if recipe.enlarge == 1:
        return 0.0
    teaching = _teaching(WEIGHTS, recipe, device)
    drawn = (
        Pieces(pieces_of(pictures, recipe, number, COUNT[recipe.enlarge], device), recipe.enlarge)
        for number in itertools.count()
    )
    steps = learn_to_enlarge(teaching, drawn, lambda: 0.0)
    next(steps).difference.item()
    began = time.perf_counter()
    for _ in range(TIMED):
        next(steps).difference.item()  # waits for the device
    return (time.perf_counter() - began) / TIMED * longest(recipe, "fine-tuning")


def longest(recipe: Recipe, stage: str) -> int:
    """The steps that a stage has at most."""
    return min(STEPS[stage], max(STEPS_LEAST, recipe.images // recipe.batch // 8))


def finish(run: Run, recipe: Recipe, training: Pictures, game: Game, stop: Callable[[], bool]) -> Iterator[Tuning]:
    """After the game: teach the enlarger the generator's pictures, unless that has been done at this length."""
    if STEPS["finish"] and game.images_seen >= recipe.images and not is_finished(run, game):
        yield from _Stage(run, recipe, training, training, game, "finish").go(stop)


def put_in(run: Run, game: Game) -> None:
    """The run's enlarger into the game's generators.

    Raises:
        HasamaError: it is damaged.
    """
    for network in (game.pair.generator, game.ema):
        if isinstance(network, Enlarged):
            try:
                load_part(network.enlarger, run.enlarger, "enlarger")
            except HasamaError as error:
                raise HasamaError(
                    f"{error} Delete it, and the fine-tuning of the enlarger begins anew; the game is not touched."
                ) from error


def put_in_best(run: Run) -> None:
    """The same for the best generator, which was kept while the game was played."""
    if run.best.exists():
        best = load_generator(run.best)
        if isinstance(best.network, Enlarged):
            load_part(best.network.enlarger, run.enlarger, "enlarger")
            save_generator(best, run.best, json.loads(header_of(run.best)))


def is_finished(run: Run, game: Game) -> bool:
    """Whether the enlarger has been taught the pictures of the generator as it is now."""
    if not run.enlarger.exists():
        return False
    about = json.loads(header_of(run.enlarger) or "{}")
    return (about.get("stage"), about.get("images_seen")) == ("finish", game.images_seen)


def settle(run: Run, game: Game, generator: TrainedGenerator) -> None:
    """Once the enlarger is finished: everything that holds one gets it, and the last sample grid shows it."""
    if is_finished(run, game):
        put_in(run, game)
        run.save_game(game)
        save_generator(generator, run.generator)
        save_picture(sample_grid(generator, game.rules.seed), run.sample_file(game.images_seen))
        put_in_best(run)


def pieces_of(pictures: Pictures, recipe: Recipe, number: int, count: int, device: torch.device) -> Images:
    """Pieces of real pictures, at random: the same for the same number."""
    rng = np.random.default_rng(np.random.SeedSequence((recipe.seed, number + 1), spawn_key=(7,)))
    factor = recipe.enlarge
    taken = pictures.take(np.sort(rng.choice(pictures.at_hand, count, replace=pictures.at_hand < count)))
    high, wide = (min(SIDE[factor], side) // factor * factor for side in taken.shape[1:3])
    y, x = (
        int(rng.integers((side - length) // factor + 1)) * factor
        for side, length in zip(taken.shape[1:3], (high, wide), strict=True)
    )
    pieces = taken[:, y : y + high, x : x + wide]
    mirrored = recipe.mirror and rng.random() < 0.5
    return to_images(pieces[:, :, ::-1] if mirrored else pieces, device)


def _teaching(weights: Path, recipe: Recipe, device: torch.device) -> Enlarging:
    """An enlarger and its discriminator of patches, to be taught further."""
    patches = Patches()
    load_part(patches, weights, "patches")
    return Enlarging.of(load_enlarger(weights), patches, RATE, device=device, precision=recipe.precision)


class _Stage:
    """Fine-tuning, or the finish."""

    def __init__(self, run: Run, recipe: Recipe, training: Pictures, held: Pictures, game: Game, stage: str) -> None:
        self.run, self.recipe, self.training, self.game, self.stage = run, recipe, training, game, stage
        self.device = next(game.pair.generator.parameters()).device
        start = run.enlarger if stage == "finish" else WEIGHTS
        self.teaching = _teaching(start, recipe, self.device)
        self.steps, self.stale, self.least = 0, 0, float("inf")
        self.best: dict[str, Tensor] | None = None
        self.held = pieces_of(held, recipe, -1, HELD, self.device) if stage == "fine-tuning" else None
        self.saved = time.monotonic()
        self.load()

    def go(self, stop: Callable[[], bool]) -> Iterator[Tuning]:
        """To the end, or until someone asks to stop; in either case what is needed is written."""
        length = longest(self.recipe, self.stage)
        drawn = (self.draw(number) for number in itertools.count(self.steps))
        steps = learn_to_enlarge(self.teaching, drawn, lambda: self.steps / length, self.steps)
        if self.steps == 0:
            self.look()  # at what ships, which may be better than what comes
        try:
            while self.stale < PATIENCE:
                with whole_step() as interrupted, own_random_numbers():
                    step = self.step(steps)
                if interrupted():
                    self.save()
                    raise KeyboardInterrupt
                if step is None:
                    break
                yield Tuning(self.game.images_seen, 0, self.stage, self.steps / length, step)
                if stop() or self.run.stop_asked():
                    self.save()
                    return
        except GeneratorExit:
            self.save()
            raise
        if self.steps % LOOK_STEPS:
            self.look()
        about = {"stage": self.stage, "steps": self.steps, "images_seen": self.game.images_seen}
        save_tensors(self.run.enlarger, self.best or self.teaching.weights(), about)
        self.run.enlarging.unlink(missing_ok=True)

    def step(self, steps: Iterator[EnlargingStep]) -> EnlargingStep | None:
        """The next one, with its look, before anybody can break off: they belong together. None at the end."""
        if (step := next(steps, None)) is None:
            return None
        self.steps += 1
        if self.steps % LOOK_STEPS == 0:
            self.look()
            self.save()
        elif time.monotonic() - self.saved > 60 * self.recipe.checkpoint_minutes:
            self.save()
        return step

    def draw(self, number: int) -> Pieces:
        """What a step is taught on; its randomness is set."""
        entropy = np.random.SeedSequence((self.recipe.seed, *self.stage.encode(), number))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        factor = self.recipe.enlarge
        images = pieces_of(self.training, self.recipe, number, COUNT[factor], self.device)
        return Pieces(images, factor, self.fakes(images) if self.stage == "finish" else None)

    @torch.no_grad()
    def fakes(self, images: Images) -> Resized:
        """As many small pieces of fakes as there are pieces of reals, and as large as those are when made smaller."""
        network, count = self.game.sampling_generator, len(images)
        latents = torch.randn(count, self.game.pair.latent_size, device=self.device)
        classes = self.game.pair.classes
        labels = torch.randint(classes, (count,), device=self.device) if classes else None
        assert isinstance(network, Enlarged)
        with evaluating(network):
            small = largest(call(network.generator, latents, labels)).float()
        high, wide = (side // self.recipe.enlarge for side in images.shape[2:])
        y, x = (int(torch.randint(s - n + 1, ())) for s, n in zip(small.shape[2:], (high, wide), strict=True))
        return small[:, :, y : y + high, x : x + wide].clamp(-1, 1)

    @torch.no_grad()
    def look(self) -> None:
        """Keep the best weights, by held-out pieces."""
        if self.held is None:
            return
        images, factor = with_four_channels(self.held), self.recipe.enlarge
        grey = torch.zeros(len(images), 3, 1, 1, device=self.device)
        with own_random_numbers(0):  # by how much `perceptual` moves them
            large = self.teaching.enlarge(smaller(images, factor), factor)
            difference, perceived = faithful(self.teaching.sees, large, images, grey)
        cost = float(difference + PERCEIVED * perceived)
        self.stale = 0 if cost < self.least else self.stale + 1
        if cost < self.least:
            self.least, self.best = cost, {name: t.clone() for name, t in self.teaching.weights().items()}

    def save(self) -> None:
        """What going on needs."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.teaching.parts().items()}
        state |= {
            "stage": self.stage,
            "steps": self.steps,
            "stale": self.stale,
            "least": self.least,
            "best": self.best,
        }
        state["images_seen"] = self.game.images_seen
        save_state(self.run.enlarging, state)
        self.saved = time.monotonic()

    def load(self) -> None:
        """Go on where this stage stands, if it has begun."""
        if not self.run.enlarging.exists():
            return
        try:
            state = load_state(self.run.enlarging)
            if (state["stage"], state["images_seen"]) != (self.stage, self.game.images_seen):
                return
            for name, part in self.teaching.parts().items():
                part.load_state_dict(state[name])
            self.steps, self.stale = state["steps"], state["stale"]
            self.least, self.best = state["least"], state["best"]
        except Exception as error:  # a damaged zip or pickle raises nearly everything
            raise HasamaError(
                f"{self.run.enlarging} is damaged and cannot be read: delete it, and the {self.stage} of the "
                "enlarger begins anew; the game is not touched."
            ) from error
