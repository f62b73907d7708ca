"""The game: two networks, their optimizers, the rules. A checkpoint holds its state and nothing else."""

import textwrap
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Adam

from hasama.device import Arithmetic
from hasama.errors import HasamaError
from hasama.fields import ada_rises
from hasama.networks.calling import call
from hasama.networks.old_names import with_new_names
from hasama.networks.pair import Pair
from hasama.recipe import Recipe
from hasama.shapes import Labels, Latents, Scalar, Views, each
from hasama.training.augmentation.augment import Augmented
from hasama.training.rules.balance import BALANCES, Balance
from hasama.training.rules.objectives import Objective, objective_named
from hasama.training.rules.penalties import PENALTIES, Penalty
from hasama.training.vision_aid import VisionAid


class Rules(NamedTuple):
    """What the two turns need from the recipe; see its fields of the same names."""

    objective: Objective
    penalties: tuple[Penalty, ...]
    penalty_weight: float
    penalty_every: int
    penalty_sigma: float
    balance: Balance
    instance_noise: float
    instance_noise_images: float
    ema_images: float
    ema_rampup: float
    rates: tuple[float, float]
    rates_final: float
    betas: tuple[tuple[float, float], tuple[float, float]]
    beta2_initial: float | None
    gamma_final: float
    ada_final: float | None
    schedule_images: float
    vision_weight: float
    vision_gamma: float
    checkerboard_weight: float
    jitter: int
    accumulate: int
    exact: bool
    seed: int

    @classmethod
    def of(cls, recipe: Recipe) -> "Rules":
        """The rules that a recipe lays down."""
        return cls(
            objective_named(recipe.objective, recipe.label_smoothing),
            PENALTIES[recipe.penalty],
            recipe.penalty_weight,
            recipe.penalty_every,
            recipe.penalty_sigma,
            BALANCES[recipe.balance](recipe),
            recipe.instance_noise,
            recipe.instance_noise_kimg * 1000,
            recipe.ema_kimg * 1000,
            recipe.ema_rampup,
            (recipe.generator_lr, recipe.discriminator_lr),
            recipe.lr_final,
            (recipe.generator_betas, recipe.discriminator_betas),
            recipe.beta2_initial,
            recipe.gamma_final,
            recipe.ada_final if ada_rises(vars(recipe)) else None,
            recipe.schedule_images,
            recipe.vision_weight,
            recipe.vision_penalty_weight,
            recipe.checkerboard_weight,
            recipe.jitter,
            recipe.accumulate,
            recipe.exact,
            recipe.seed,
        )


class Now(NamedTuple):
    """What the mathematics reads and what changes from step to step: numbers, or tensors [] that a graph reads anew.

    Attributes:
        gamma: the share of a penalty's weight.
        noise: the share of instance noise that is left.
        ema: how far the EMA generator moves towards the generator.
    """

    gamma: float | Scalar = 1.0
    noise: float | Scalar = 0.0
    ema: float | Scalar = 0.0


class Optimizers(NamedTuple):
    """One optimizer for each network."""

    generator: Adam
    discriminator: Adam


@dataclass(repr=False)
class Game:
    """Everything that training changes or needs. Build one with `new_game`.

    Attributes:
        pair: the two networks.
        optimizers: theirs.
        ema: the EMA generator (exponential moving average of the weights), which makes the pictures that people see;
            or None.
        rules: what stays the same during training.
        arithmetic: the context in which the networks run.
        aid: a second discriminator, on what a frozen network sees; or None.
        mixes: whether the discriminator's logit for one image depends on the others in its batch.
        images_seen: real images shown to the discriminator so far, by all processes.
        steps: steps taken so far.
        now: the numbers of this step.
    """

    pair: Pair
    optimizers: Optimizers
    ema: nn.Module | None
    rules: Rules
    arithmetic: Arithmetic = nullcontext
    mixes: bool = True
    aid: VisionAid | None = None
    images_seen: int = 0
    steps: int = 0
    now: Now = Now()

    def __repr__(self) -> str:
        """Short: the networks' weights would flood a notebook."""
        names = " against ".join(type(network).__name__ for network in (self.pair.generator, self.pair.discriminator))
        return f"<Game: {names}, {self.images_seen:,} images seen, {self.steps:,} steps>"

    def generate(self, latents: Latents, labels: Labels | None = None) -> Views:
        """The generator's fakes for latents [N, Z] (and labels [N]): images [N, C, H, W] or a pyramid, in float32."""
        with self.arithmetic():
            return each(torch.Tensor.float, call(self.pair.generator, latents, labels))

    def discriminate(self, images: Views, labels: Labels | None = None) -> torch.Tensor:
        """The discriminator's output for images (and labels), in float32: logits [N] or [N, 1]."""
        with self.arithmetic():
            return call(self.pair.discriminator, images, labels).float()

    def parts(self) -> dict[str, Any]:
        """Everything that has a state."""
        parts = {
            "generator": self.pair.generator,
            "discriminator": self.pair.discriminator,
            "generator_optimizer": self.optimizers.generator,
            "discriminator_optimizer": self.optimizers.discriminator,
        }
        if self.ema is not None:
            parts["ema"] = self.ema
        if self.aid is not None:
            parts |= {"heads": self.aid.heads, "heads_optimizer": self.aid.optimizer}
        return parts

    def state_dict(self) -> dict[str, Any]:
        """The parts' states and the two counters: all that resuming needs."""
        counters = {"images_seen": self.images_seen, "steps": self.steps}
        return {name: part.state_dict() for name, part in self.parts().items()} | counters

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            HasamaError: the state is of other networks, or incomplete.
        """
        try:
            for name, part in self.parts().items():
                saved = state["average"] if name == "ema" and name not in state else state[name]  # version 0.1.0
                if isinstance(part, Adam):
                    load_moments(part, saved)
                else:
                    part.load_state_dict(with_new_names(saved, part.state_dict()))
            self.images_seen, self.steps = state["images_seen"], state["steps"]
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            told = textwrap.shorten(str(error), 120, placeholder=" ...")
            raise HasamaError(
                f"This checkpoint does not fit the recipe's networks ({told}): if recipe.json was changed, "
                "put it back."
            ) from error

    @property
    def bare_discriminator(self) -> nn.Module:
        """The discriminator without the augmentation in front of it."""
        discriminator = self.pair.discriminator
        return discriminator.discriminator if isinstance(discriminator, Augmented) else discriminator

    @property
    def sampling_generator(self) -> nn.Module:
        """The generator that people are shown: the EMA generator if there is one."""
        return self.pair.generator if self.ema is None else self.ema


class Turn(NamedTuple):
    """The result of one network's turn.

    Attributes:
        loss: mean over the batch, penalties included; None if the turn was skipped.
        learned: whether the network's weights moved.
        figures: more for the log, by name.
    """

    loss: Scalar | None
    learned: bool
    figures: dict[str, Scalar]


@runtime_checkable
class Record(Protocol):
    """What every training loop yields: enough for a progress bar, a log and a checkpoint."""

    @property
    def images_seen(self) -> int: ...
    @property
    def shown(self) -> int: ...
    def figures(self) -> dict[str, float]: ...


class Turns(NamedTuple):
    """What the two networks did in a step."""

    d: Turn
    g: Turn


class Step(NamedTuple):
    """One step of `play`.

    Attributes:
        images_seen: real images shown up to now, this step included.
        shown: real images shown in this step.
        d: the discriminator's turn.
        g: the generator's turn.
    """

    images_seen: int
    shown: int
    d: Turn
    g: Turn

    def figures(self) -> dict[str, float]:
        """What goes into the log; asking for it waits for the device."""
        told: dict[str, float] = {}
        for name, turn in (("discriminator", self.d), ("generator", self.g)):
            if turn.loss is not None:
                told[f"loss_{name}"] = turn.loss.item()
            told[f"{name}_learned"] = float(turn.learned)
            told.update({key: value.item() for key, value in turn.figures.items()})
        return told


def set_rate(optimizer: Adam, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)  # in its place, where a graph reads it
        else:
            group["lr"] = rate


def load_moments(optimizer: Adam, state: dict[str, Any]) -> None:
    """An optimizer's memory, from this kind of machine or another: its settings stay as they are here, which the
    recipe says, and the autopilot may have changed since.
    """
    here = [{name: group[name] for name in group if name != "params"} for group in optimizer.param_groups]
    theirs = [group | own for group, own in zip(state["param_groups"], here, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": theirs})
    for group, own in zip(optimizer.param_groups, here, strict=True):
        group["lr"] = own["lr"]  # of which torch made a copy
