"""From step to step: seeds, rates and other numbers that change, the counters, and what follows the two turns."""

import math
from collections.abc import Hashable

import numpy as np
import torch
from torch import nn

from hasama.shapes import Scalar
from hasama.training.augmentation.augment import Augmented
from hasama.training.game import Game, Now, Turn, set_rate
from hasama.training.rules.balance import BalanceInput
from hasama.training.vision_aid import OBSERVED


def begin(game: Game, shown: int = 0) -> None:
    """Before each step: seed by (seed, images seen), set the numbers that change, and let the networks grow.

    All processes of a training have the same seeds: see `hasama.distributed`.

    Args:
        game: this.
        shown: real images that the step shows, in all processes.
    """
    entropy = np.random.SeedSequence((game.rules.seed, 0, game.images_seen))
    _seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)), game)
    rules = game.rules
    players = [*zip(game.optimizers, rules.rates, rules.betas, strict=True)]
    if game.aid is not None:
        players.append((game.aid.optimizer, rules.rates[1], rules.betas[1]))
    for optimizer, rate, betas in players:
        set_rate(optimizer, rate * scheduled(game, rules.rates_final))
        if rules.beta2_initial is not None:
            for group in optimizer.param_groups:
                group["betas"] = (betas[0], cosine(game, rules.beta2_initial, betas[1]))
    if rules.ada_final is not None and isinstance(game.pair.discriminator, Augmented):
        game.pair.discriminator.probability.fill_(cosine(game, 0.0, rules.ada_final))
    half_life = min(rules.ema_images, rules.ema_rampup * (game.images_seen + shown))
    ema = 1 - 0.5 ** (shown / half_life) if half_life else 1.0
    game.now = Now(scheduled(game, rules.gamma_final), noise_left(game), ema)
    game.pair.grow(game.images_seen)


def _seed(seed: int, game: Game) -> None:
    """Seed what the game draws from.

    `torch.manual_seed` also notes the seed, and who asked for it, for each kind of device that has not been used yet:
    0.4 ms, which is a tenth of a step on points.
    """
    device = next(game.pair.generator.parameters()).device
    seeded = torch.default_generator if device.type == "cpu" else torch
    seeded.manual_seed(seed)


def follow(game: Game, shown: int, d: Turn | None = None) -> None:
    """At the end of each step: move the adaptive augmentation and the EMA generator."""
    if d is not None and isinstance(game.pair.discriminator, Augmented):
        game.pair.discriminator.adapt(d.figures["accuracy_real"], shown)
    if game.ema is not None:
        update_ema(game.ema, game.pair.generator, game.now.ema)


def count(game: Game, shown: int) -> None:
    """After each step."""
    game.images_seen += shown
    game.steps += 1


def kind_of_step(game: Game) -> Hashable:
    """Steps of one kind consist of the same operations: all that `both_turns` decides without asking the device."""
    balance = game.rules.balance
    extras = ((game.pair.generator_extra, balance.generator_every), (game.pair.discriminator_extra, 1))
    return (
        balance.generator_learns(BalanceInput(game.steps)),
        due(game, game.rules.penalty_every),
        *(extra is not None and due(game, extra.every, of) for extra, of in extras),
        noise_left(game) > 0,
        game.aid is not None and game.images_seen < OBSERVED,
    )


def scheduled(game: Game, final: float) -> float:
    """The share of its value that a rate or weight has: 1 at first, `final` at the end of the schedule."""
    return cosine(game, 1.0, final)


def cosine(game: Game, first: float, last: float) -> float:
    """`first` at first, `last` at the end of the schedule, half a cosine between: Huang et al. 2024, appendix D."""
    if first == last:
        return last
    done = min(1.0, game.images_seen / game.rules.schedule_images)
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def due(game: Game, every: int, of: int = 1) -> bool:
    """Whether a lazy cost is computed at this step.

    Args:
        game: this.
        every: it is computed only at every so many-th of its network's steps.
        of: the game's steps for each of these.
    """
    return game.steps // of % every == 0


def noise_left(game: Game) -> float:
    """The share of the instance noise at this step: a line, down to nothing."""
    rules = game.rules
    if not rules.instance_noise or not rules.instance_noise_images:
        return 0.0
    return max(0.0, 1 - game.images_seen / rules.instance_noise_images)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, share: float | Scalar) -> None:
    """Move the exponential moving average this share of the way to the network.

    Parameters and floating-point buffers are averaged, counters copied.
    """
    ours = [*ema.parameters(), *ema.buffers()]
    theirs = [*network.parameters(), *network.buffers()]
    floats = [i for i, tensor in enumerate(ours) if tensor.is_floating_point()]
    kept, new = [ours[i].data for i in floats], [theirs[i].data for i in floats]
    if isinstance(share, torch.Tensor):  # torch has no such operator for many tensors and one of these
        torch._foreach_mul_(kept, 1 - share)
        torch._foreach_add_(kept, torch._foreach_mul(new, share))
    else:
        torch._foreach_lerp_(kept, new, share)
    for mine, other in zip(ours, theirs, strict=True):
        if not mine.is_floating_point():
            mine.copy_(other)
