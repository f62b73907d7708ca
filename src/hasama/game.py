"""The game: two players, two turns. It knows nothing of files, bars or devices' names."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from torch.optim import Adam

from hasama.augment import Augmented, augmented
from hasama.dataset import Batch
from hasama.device import Arithmetic, lay_out, pick_arithmetic
from hasama.errors import HasamaError
from hasama.losses import Objective, accuracy, objective_named
from hasama.models.layers import MinibatchStd
from hasama.models.pair import Extra, Pair, as_torch
from hasama.penalties import PENALTIES, Penalty, between
from hasama.recipe import Recipe
from hasama.referee import REFEREES, Moment, Referee
from hasama.shapes import Images, Labels, Latents, Logits, PerImage, Scalar, Views, each, largest

EMA_WARM_UP = 0.05  # the half-life is at most this share of the images seen, or early weights would linger


class Rules(NamedTuple):
    """What the turns go by; see the recipe's fields of the same names."""

    objective: Objective
    penalties: tuple[Penalty, ...]
    penalty_weight: float
    penalty_every: int
    referee: Referee
    instance_noise: float
    instance_noise_images: float
    ema_images: float
    rates: tuple[float, float]
    rates_final: float
    gamma_final: float
    schedule_images: float
    seed: int

    @classmethod
    def of(cls, recipe: Recipe) -> "Rules":
        """The rules that a recipe lays down."""
        return cls(
            objective_named(recipe.objective, recipe.label_smoothing),
            PENALTIES[recipe.penalty],
            recipe.penalty_weight,
            recipe.penalty_every,
            REFEREES[recipe.referee](recipe),
            recipe.instance_noise,
            recipe.instance_noise_kimg * 1000,
            recipe.ema_kimg * 1000,
            (recipe.generator_lr, recipe.discriminator_lr),
            recipe.lr_final,
            recipe.gamma_final,
            recipe.schedule_kimg * 1000,
            recipe.seed,
        )


class Players(NamedTuple):
    """One optimizer for each player."""

    generator: Adam
    discriminator: Adam


@dataclass
class Game:
    """Everything that is in play. Build one with `new_game`.

    Attributes:
        pair: the two networks.
        players: their optimizers.
        average: the moving average of the generator, which makes the pictures people see; or None.
        rules: what does not change while playing.
        arithmetic: the context in which the networks run.
        mixes: whether the discriminator's answer for one image depends on the others in its batch.
        rank: which process this is.
        images_seen: real images shown so far, by all processes.
        steps: steps taken so far.
    """

    pair: Pair
    players: Players
    average: nn.Module | None
    rules: Rules
    arithmetic: Arithmetic = nullcontext
    mixes: bool = True
    rank: int = 0
    images_seen: int = 0
    steps: int = 0

    def paint(self, latents: Latents, labels: Labels | None = None) -> Views:
        """The generator's fakes, in float32."""
        with self.arithmetic():
            return each(torch.Tensor.float, call(self.pair.generator, latents, labels))

    def judge(self, images: Views, labels: Labels | None = None) -> torch.Tensor:
        """What the discriminator says, in float32."""
        with self.arithmetic():
            return call(self.pair.discriminator, images, labels).float()

    def parts(self) -> dict[str, Any]:
        """Whatever has memory."""
        parts = {
            "generator": self.pair.generator,
            "discriminator": self.pair.discriminator,
            "generator_optimizer": self.players.generator,
            "discriminator_optimizer": self.players.discriminator,
        }
        return parts if self.average is None else {**parts, "average": self.average}

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
                part.load_state_dict(state[name])
            self.images_seen, self.steps = state["images_seen"], state["steps"]
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise HasamaError(f"This checkpoint does not fit the recipe's networks: {error}") from error

    @property
    def artist(self) -> nn.Module:
        """The network to show people: the averaged generator if there is one."""
        return self.pair.generator if self.average is None else self.average


class Turn(NamedTuple):
    """What came of one player's turn.

    Attributes:
        loss: mean over the batch, penalties included; None if the turn was skipped.
        learned: whether the player's weights moved.
        figures: more for the log, by name.
    """

    loss: Scalar | None
    learned: bool
    figures: dict[str, Scalar]


@runtime_checkable
class Record(Protocol):
    """What every loop yields: enough for a bar, a log and a checkpoint."""

    @property
    def images_seen(self) -> int: ...
    @property
    def shown(self) -> int: ...
    def figures(self) -> dict[str, float]: ...


class Step(NamedTuple):
    """One step of `play`: the images seen after it, how many it showed, and both turns."""

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


def play(game: Game, batches: Iterable[Batch | Images]) -> Iterator[Step]:
    """Generative adversarial training: Goodfellow et al. 2014, algorithm 1.

    It seeds torch's global generator at every step, so that a step is a function of its number.

    Args:
        game: what `new_game` made.
        batches: real images [N, C, H, W] in [-1, 1], or `Batch`es of images and labels.

    Yields:
        A `Step` after each batch.
    """
    for images, labels in map(as_batch, batches):
        begin(game)
        real = game.pair.view(images)
        fake = draw_fakes(game, len(images), images.device, labels)
        d = discriminator_turn(game, real, fake, labels)  # stage 1: learn to tell real (1) from fake (0)
        g = generator_turn(game, real, fake, labels)  # stage 2: learn to be taken for real, D frozen
        finish(game, len(images), d)
        yield Step(game.images_seen, len(images), d, g)


def draw_fakes(game: Game, count: int, device: torch.device, labels: Labels | None = None) -> Views:
    """The generator's pictures for both turns of a step, from fresh latents.

    One draw serves both: the paper draws anew for the generator's turn, but the generator has not moved in
    between, and a forward pass less is a step faster by a fifteenth. The generator's BatchNorm statistics move
    here, once a step, and in no turn of the discriminator.
    """
    latents = torch.randn(count, game.pair.latent_size, device=device)
    with torch.set_grad_enabled(game.rules.referee.generator_learns(Moment(game.steps))):
        return game.paint(latents, labels)


def discriminator_turn(game: Game, real: Views, fake: Views, labels: Labels | None = None) -> Turn:
    """Stage 1. The discriminator learns; the generator, whose pictures are taken as they are, does not move."""
    rules = game.rules
    costs = bool(rules.penalties) and due(game, rules.penalty_every)
    real, fake = (each(lambda x: x.detach().requires_grad_(costs), noisy(game, x)) for x in (real, fake))
    put_back = memory(game.pair.discriminator)
    said = opinions(game, real, fake, labels)
    real_logits, fake_logits = said["real"][1], said["fake"][1]
    loss = rules.objective.discriminator(real_logits, fake_logits)
    right = accuracy(rules.objective, real_logits.detach(), fake_logits.detach())
    figures = {"accuracy_real": right[0], "accuracy_fake": right[1]}

    learns = rules.referee.discriminator_learns(Moment(game.steps, (right[0] + right[1]) / 2))
    if not learns:
        put_back()
        return Turn(loss.mean().detach(), False, figures)
    if costs:
        penalty = penalties(game, said, labels)
        figures["penalty"] = penalty.mean().detach()
        loss = loss + rules.penalty_weight * scheduled(game, rules.gamma_final) * rules.penalty_every * penalty
    total = loss.mean() + extra_cost(
        game, game.pair.discriminator_extra, figures, bare(game.pair.discriminator), real
    )
    descend([game.players.discriminator], total)
    return Turn(total.detach(), True, figures)


def generator_turn(game: Game, real: Views, fake: Views, labels: Labels | None = None) -> Turn:
    """Stage 2. The generator learns to be taken for real; the discriminator is frozen."""
    rules = game.rules
    if not rules.referee.generator_learns(Moment(game.steps)):
        return Turn(None, False, {})
    figures: dict[str, Scalar] = {}
    with frozen(game.pair.discriminator):
        fake_logits = verdict(game, noisy(game, fake), labels)
        real_logits = torch.zeros_like(fake_logits)
        if rules.objective.compares:
            with torch.no_grad():
                real_logits = verdict(game, noisy(game, real), labels)
        loss = rules.objective.generator(real_logits, fake_logits).mean()
        latents = torch.randn(len(fake_logits), game.pair.latent_size, device=fake_logits.device)
        loss = loss + extra_cost(game, game.pair.generator_extra, figures, game.pair.generator, latents, labels)
        descend([game.players.generator], loss)
    return Turn(loss.detach(), True, figures)


# --- what the turns are made of -------------------------------------------------------------------


def begin(game: Game) -> None:
    """Before each step: seed by (seed, rank, images seen), set the rates, and let the networks grow."""
    entropy = np.random.SeedSequence((game.rules.seed, game.rank, game.images_seen))
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    for player, rate in zip(game.players, game.rules.rates, strict=True):
        for group in player.param_groups:
            group["lr"] = rate * scheduled(game, game.rules.rates_final)
    game.pair.grow(game.images_seen)


def finish(game: Game, count: int, d: Turn | None = None) -> None:
    """After each step: count it, and let the adaptive augmentation and the averaged generator follow."""
    game.images_seen += count
    game.steps += 1
    if d is not None and isinstance(game.pair.discriminator, Augmented):
        game.pair.discriminator.adapt(d.figures["accuracy_real"], count)
    if game.average is not None:
        half_life = min(game.rules.ema_images, EMA_WARM_UP * game.images_seen)
        follow(game.average, game.pair.generator, 0.5 ** (count / half_life))


def scheduled(game: Game, final: float) -> float:
    """1 at first, `final` at the end of the schedule, half a cosine between: Huang et al. 2024, appendix D."""
    if final == 1:
        return 1.0
    done = min(1.0, game.images_seen / game.rules.schedule_images)
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2


def due(game: Game, every: int) -> bool:
    """Whether what is done lazily is done at this step."""
    return game.steps % every == 0


def extra_cost(game: Game, extra: Extra | None, figures: dict[str, Scalar], *given: Any) -> Scalar:
    """What a player pays beside the objective at this step, noted among the figures."""
    if extra is None or not due(game, extra.every):
        return torch.zeros((), device=next(given[0].parameters()).device)
    with game.arithmetic():
        cost = extra.cost(*given).float().mean()
    figures[extra.name] = cost.detach()
    return cost * extra.every


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """While the other player learns through this network, nothing of it moves.

    Its parameters need no gradient, which also saves computing one. Its buffers (BatchNorm's running
    statistics, say) are put back afterwards: BatchNorm still normalises by the batch, as in training, but the
    other player's turn leaves no trace. (The usual code lets it move the statistics.)
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    put_back = memory(network)
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        put_back()


def memory(network: nn.Module) -> Callable[[], None]:
    """Note what a network remembers besides its learning weights; calling the answer puts it back."""
    tensors = [*network.buffers(), *(p for p in network.parameters() if not p.requires_grad)]
    kept = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def put_back() -> None:
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)

    return put_back


Said = dict[str, tuple[Views, Logits]]
"""What the discriminator saw and what it said of it, by name: real, fake, both (one after the other), between."""


def opinions(game: Game, real: Views, fake: Views, labels: Labels | None) -> Said:
    """The logits of reals and of fakes: one pass where images do not mix (faster), else a pass each."""
    if game.mixes:
        return {"real": (real, verdict(game, real, labels)), "fake": (fake, verdict(game, fake, labels))}
    both = each(lambda *two: torch.cat(two), real, fake)
    logits = verdict(game, both, None if labels is None else torch.cat([labels, labels]))
    real_logits, fake_logits = logits.chunk(2)
    return {"real": (real, real_logits), "fake": (fake, fake_logits), "both": (both, logits)}


def verdict(game: Game, images: Views, labels: Labels | None) -> Logits:
    """One logit per image.

    Raises:
        HasamaError: the discriminator gives something else.
    """
    logits, count = game.judge(images, labels), len(largest(images))
    if logits.numel() != count:
        raise HasamaError(f"A discriminator gives one logit per image [N] or [N, 1]; this one {list(logits.shape)}.")
    return logits.flatten()


def penalties(game: Game, said: Said, labels: Labels | None) -> PerImage:
    """The sum [N] of the rules' penalties on what the discriminator saw and said."""
    sights = [penalty.sees for penalty in game.rules.penalties]
    if sights == ["real", "fake"] and "both" in said:  # one way back through one pass, instead of two
        real, fake = game.rules.penalties[0].cost(*said["both"]).chunk(2)
        return real + fake
    total = torch.zeros(())
    for penalty in game.rules.penalties:
        if penalty.sees == "between":
            ends = (each(torch.Tensor.detach, said[name][0]) for name in ("real", "fake"))
            middle = each(lambda x: x.requires_grad_(), between(*ends))
            said["between"] = (middle, verdict(game, middle, labels))
        total = penalty.cost(*said[penalty.sees]) + total
    return total


def noisy(game: Game, images: Views) -> Views:
    """Instance noise that fades with images seen: Soenderby et al. 2017, section 3.2."""
    rules = game.rules
    left = max(0.0, 1 - game.images_seen / rules.instance_noise_images) if rules.instance_noise_images else 0.0
    if not rules.instance_noise or not left:
        return images
    return each(lambda level: level + rules.instance_noise * left * torch.randn_like(level), images)


def descend(players: Sequence[Adam], loss: Scalar) -> None:
    """One step of each optimizer down the gradient of the loss."""
    for player in players:
        player.zero_grad(set_to_none=True)
    loss.backward()
    for player in players:
        player.step()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the average towards the network: average = keep * average + (1 - keep) * network.

    Parameters and floating-point buffers are averaged, counters copied.
    """
    ours = [*average.parameters(), *average.buffers()]
    theirs = [*network.parameters(), *network.buffers()]
    floats = [i for i, tensor in enumerate(ours) if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[i].data for i in floats], [theirs[i].data for i in floats], 1 - keep)
    for mine, other in zip(ours, theirs, strict=True):
        if not mine.is_floating_point():
            mine.copy_(other)


def call(network: nn.Module, given: Any, labels: Labels | None) -> Any:
    """Networks without classes take one argument, so that any `nn.Module` will do."""
    return network(given) if labels is None else network(given, labels)


def as_batch(batch: Batch | Images) -> Batch:
    """A bare tensor of images is a batch without labels."""
    return batch if isinstance(batch, Batch) else Batch(batch)


# --- before the first step ------------------------------------------------------------------------


def new_game(pair: Pair, recipe: Recipe, device: torch.device | str = "cpu") -> Game:
    """Set up a game: networks on the device in their fastest layout, optimizers, the average.

    Args:
        pair: from `build`, or any two modules (see `Pair`).
        recipe: its rules, learning rates, seed and precision count here.
        device: where to play.

    Raises:
        HasamaError: the recipe has a penalty, and the discriminator mixes the images of a batch.
    """
    device = torch.device(device)
    pair = pair._replace(generator=as_torch(pair.generator), discriminator=as_torch(pair.discriminator))
    mixes = mixes_images(pair.discriminator)
    if has_batch_norm(pair.discriminator) and recipe.penalty != "none":
        raise HasamaError(
            f"The penalty {recipe.penalty} looks at one picture at a time, but this discriminator's BatchNorm mixes "
            "the pictures of a batch: build it without (--discriminator-norm none)."
        )
    freeze_first(pair.discriminator, recipe.freeze_d)
    watched = augmented(pair.discriminator, recipe.augment, recipe.ada_target, recipe.ada_kimg * 1000)
    pair = pair._replace(discriminator=watched)
    average = copy.deepcopy(pair.generator).eval().requires_grad_(False) if recipe.ema_kimg else None
    for network in (pair.generator, pair.discriminator, average):
        if network is not None:
            lay_out(network, device)
    pair.generator.train()
    pair.discriminator.train()
    players = Players(
        _adam(pair.generator, recipe.generator_lr, recipe.generator_betas, device),
        _adam(pair.discriminator, recipe.discriminator_lr, recipe.discriminator_betas, device),
    )
    arithmetic = pick_arithmetic(recipe.precision, device)
    return Game(pair, players, average, Rules.of(recipe), arithmetic, mixes)


def _adam(network: nn.Module, lr: float, betas: tuple[float, float], device: torch.device) -> Adam:
    learning = [p for p in network.parameters() if p.requires_grad]
    return Adam(learning, lr=lr, betas=betas, fused=device.type in ("cpu", "cuda"))


def mixes_images(network: nn.Module) -> bool:
    """Whether what a network says of one image depends on the others in its batch."""
    return has_batch_norm(network) or any(isinstance(module, MinibatchStd) for module in network.modules())


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a batch normalisation (torch's, or Keras's by its statistics) ties the images of a batch together."""
    return any("BatchNorm" in type(module).__name__ for module in network.modules()) or any(
        name.endswith("moving_variance") for name, _ in network.named_parameters()
    )


def bare(discriminator: nn.Module) -> nn.Module:
    """The discriminator without what it looks through."""
    return discriminator.discriminator if isinstance(discriminator, Augmented) else discriminator


def freeze_first(discriminator: nn.Module, count: int) -> None:
    """Keep the first layers, counted from the picture, as they are: FreezeD, Mo et al. 2020.

    Raises:
        HasamaError: it has not so many that another is left to learn.
    """
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if count and count >= len(layers):
        raise HasamaError(f"--freeze-d {count}: this discriminator has {len(layers)} layers, and one must learn.")
    for layer in layers[:count]:
        layer.requires_grad_(False)
