"""Adversarial training in two stages. It knows nothing of files, progress bars or devices."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.optim import Adam

from hasama.device import exact_kernels
from hasama.distributed import average_gradients, averaged, mean_of_all, sharing, whole
from hasama.errors import HasamaError
from hasama.networks.calling import call, frozen, snapshot, takes_labels
from hasama.networks.pair import Extra
from hasama.pictures.dataset import Batch
from hasama.shapes import Images, Labels, Logits, PerImage, Resized, Scalar, Views, each, largest
from hasama.shares import drawn, noise_like, own_random_numbers, part
from hasama.training.augmentation.resample import moved
from hasama.training.game import Game, Step, Turn, Turns
from hasama.training.graphs import as_graphs
from hasama.training.parts import Parts, mean_turn
from hasama.training.reals import as_batches, check_alike
from hasama.training.rules.balance import BalanceInput
from hasama.training.rules.checkerboard import checkerboard
from hasama.training.rules.objectives import accuracy
from hasama.training.rules.penalties import Penalty, between, squared_difference, squared_gradient
from hasama.training.rules.second_derivative import fast_second_derivatives
from hasama.training.stepping import begin, count, due, follow, kind_of_step, noise_left
from hasama.training.vision_aid import OBSERVED, Seen, VisionAid, see


def play(game: Game, batches: Iterable[Batch | Images | Sequence[Any]]) -> Iterator[Step]:
    """Generative adversarial training: Goodfellow et al. 2014, algorithm 1.

    The randomness of a step depends only on the seed and on the images seen; torch's global random generator on the
    processor is between steps as it was before (those of cards are not).

    Args:
        game: the networks, optimizers and rules, from `new_game`; the steps change it.
        batches: real images [N, C, H, W] in [-1, 1], or such images and labels: `Batch`es, or a DataLoader's lists.

    Yields:
        A `Step` after each batch.

    Raises:
        HasamaError: a batch is something else, or of another size than the networks make; or, with --exact, the
            device has no exact form of something.
    """
    turns = as_graphs(game, both_turns if game.rules.accumulate == 1 else turns_in_parts, kind_of_step)
    own = takes_labels(game.pair.generator) and takes_labels(game.bare_discriminator)
    for images, labels in as_batches(batches, game.pair.classes or (None if own else 0)):
        shown = whole(len(images))  # by all processes, of which this one has its share
        with own_random_numbers(), sharing(len(images)), exact_kernels(images.device, game.rules.exact):
            begin(game, shown)
            d, g = turns(images, labels)
        count(game, shown)
        yield Step(game.images_seen, shown, d, g)


def both_turns(game: Game, images: Images, labels: Labels | None = None) -> Turns:
    """All that a step does on the device. What of it changes from step to step, is in `game.now`."""
    real, fake = reals_and_fakes(game, images, labels)  # what both players look at: as many of each
    d = discriminator_turn(game, real, fake, labels)  # stage 1: learn to tell real (1) from fake (0)
    seen = heads_turn(game, real, fake, labels, d.figures, images)  # so do heads on a frozen network, if any
    g = generator_turn(game, real, fake, labels, seen)  # stage 2: learn to be taken for real, D frozen
    turns = averaged(Turns(d, g))
    follow(game, whole(len(images)), turns.d)
    return turns


def reals_and_fakes(game: Game, images: Images, labels: Labels | None) -> tuple[Views, Views]:
    """What both turns of a step look at: the reals as the discriminator is to see them, and as many fakes.

    Raises:
        HasamaError: see `check_alike`.
    """
    real = game.pair.view(images)
    fake = draw_fakes(game, len(images), images.device, labels)
    check_alike(real, fake)
    return real, fake


def draw_fakes(game: Game, count: int, device: torch.device, labels: Labels | None = None) -> Views:
    """The generator's pictures for both turns of a step, from fresh latents.

    One draw serves both: the paper draws anew for the generator's turn, but the generator has not moved in
    between, and a forward pass less is a step faster by a fifteenth. The generator's BatchNorm statistics move
    here, once a step, and in no turn of the discriminator.
    """
    latents = drawn(partial(torch.randn, device=device), count, game.pair.latent_size)
    with torch.set_grad_enabled(game.rules.balance.generator_learns(BalanceInput(game.steps))):
        return game.generate(latents, labels)


def discriminator_turn(game: Game, real: Views, fake: Views, labels: Labels | None = None) -> Turn:
    """Stage 1. The discriminator learns; the generator does not: no gradient flows into its pictures."""
    rules = game.rules
    costs = bool(rules.penalties) and due(game, rules.penalty_every)
    exact = costs and not rules.penalty_sigma
    real, fake = (each(lambda x: x.detach().requires_grad_(exact), displayed(game, x)) for x in (real, fake))
    put_back = snapshot(game.pair.discriminator)
    with fast_second_derivatives(exact):  # a penalty's gradient is one of a gradient
        outputs = real_and_fake_logits(game, real, fake, labels)
    real_logits, fake_logits = outputs["real"][1], outputs["fake"][1]
    loss = rules.objective.discriminator(real_logits, fake_logits)
    right = accuracy(rules.objective, real_logits.detach(), fake_logits.detach())
    figures = {"accuracy_real": right[0], "accuracy_fake": right[1]}

    told = averaged(right) if rules.balance.asks else right
    learns = rules.balance.discriminator_learns(BalanceInput(game.steps, (told[0] + told[1]) / 2))
    if not learns:
        put_back()
        return Turn(loss.mean().detach(), False, figures)
    if costs:
        penalty = penalties(game, outputs, labels)
        figures["penalty"] = penalty.mean().detach()
        loss = loss + rules.penalty_weight * game.now.gamma * rules.penalty_every * penalty
    total = loss.mean() + extra_cost(game, game.pair.discriminator_extra, figures, game.bare_discriminator, real)
    descend([game.optimizers.discriminator], total)
    return Turn(total.detach(), True, figures)


def heads_turn(
    game: Game,
    real: Views,
    fake: Views,
    labels: Labels | None,
    figures: dict[str, Scalar],
    images: Images | None = None,
) -> Seen | None:
    """Stage 1 for the heads of the second discriminator, if there is one (see `hasama.training.vision_aid`).

    They learn at the maps of a frozen network, with R1 and R2 there, whose weight falls as gamma does.

    Returns:
        What the frozen network saw, for the generator's turn.
    """
    seen = seen_by_aid(game, real, fake, images)
    if game.aid is None or seen is None:
        return None
    heads = game.aid.heads
    maps = tuple(torch.cat(two).detach().requires_grad_() for two in zip(*seen, strict=True))
    twice = None if labels is None else torch.cat([labels, labels])
    with game.arithmetic(), fast_second_derivatives():
        logits = call(heads, maps, twice).float()
    loss = game.rules.objective.discriminator(*logits.chunk(2)).mean()
    penalty = squared_gradient(maps, logits).mean() * 2  # of a real and a fake
    loss = loss + game.rules.vision_gamma * game.now.gamma * penalty
    descend([game.aid.optimizer], loss)
    figures |= {"loss_heads": loss.detach(), "penalty_heads": penalty.detach()}
    return seen


def seen_by_aid(
    game: Game, real: Views, fake: Views, images: Images | None = None, observes: bool = True
) -> Seen | None:
    """What the frozen network sees of reals and fakes, if there is one; the heads observe a run's first reals."""
    if game.aid is None:
        return None
    with game.arithmetic():
        shown, made = (moved(x, game.rules.jitter) for x in (real, fake))
        before = game.images_seen if observes else OBSERVED
        return see(game.aid, shown, made, game.pair.discriminator, before, whole_of(game, real, images))


def whole_of(game: Game, real: Views, images: Images | None) -> Resized | None:
    """While reals are observed: at the size that the pictures will have, if those shown are smaller; else None."""
    whole = None if images is None or game.images_seen >= OBSERVED else game.pair.whole(images)
    return None if whole is None or whole.shape[2:] == largest(real).shape[2:] else whole


def generator_turn(
    game: Game, real: Views, fake: Views, labels: Labels | None = None, seen: Seen | None = None
) -> Turn:
    """Stage 2. The generator learns to be taken for real; the discriminator is frozen.

    A relativistic objective compares with the reals of the discriminator's turn; Huang et al. 2024 draw fresh ones.
    They only weigh each fake's gradient, and one more draw would let every picture count half as often in an epoch.
    """
    rules = game.rules
    if not rules.balance.generator_learns(BalanceInput(game.steps)):
        return Turn(None, False, {})
    figures: dict[str, Scalar] = {}
    with frozen(game.pair.discriminator):
        fake_logits = logits_of(game, displayed(game, fake), labels)
        real_logits = torch.zeros_like(fake_logits)
        if rules.objective.compares:
            with torch.no_grad():
                real_logits = logits_of(game, displayed(game, real), labels)
        loss = rules.objective.generator(real_logits, fake_logits).mean()
        normal = partial(torch.randn, device=fake_logits.device)
        latents = drawn(normal, len(fake_logits), game.pair.latent_size)
        given = (game.pair.generator, latents, labels)
        loss = loss + extra_cost(game, game.pair.generator_extra, figures, *given, of=rules.balance.generator_every)
        total = loss
        if rules.checkerboard_weight:
            beyond = checkerboard(largest(fake)) - checkerboard(largest(real))
            cost = beyond * (mean_of_all(beyond) > 0)
            figures["checkerboard"] = cost.detach()
            total = total + rules.checkerboard_weight * cost
        if game.aid is not None and seen is not None:
            cost = heads_cost(game, game.aid, seen, labels)
            figures["loss_vision"] = cost.detach()
            total = total + rules.vision_weight * cost
        descend([game.optimizers.generator], total)
    return Turn(loss.detach(), True, figures)


def turns_in_parts(game: Game, images: Images, labels: Labels | None = None) -> Turns:
    """`both_turns` for a batch that is taken in parts (`--accumulate`), to the same result.

    What mixes pictures, BatchNorm or the like, sees those of a part, and whether stripes cost is decided for each.
    """
    parts = Parts(game, images, labels, reals_and_fakes)
    d = parts.through(lambda real, fake, labels, _: discriminator_turn(game, real, fake, labels))
    after_d, seen = parts.random_state(), iter(d)
    if game.aid is not None:

        def heads(real: Views, fake: Views, labels: Labels | None, images: Images) -> None:
            heads_turn(game, real, fake, labels, next(seen).figures, images)

        parts.through(heads, after_d)
    after_heads = parts.random_state()

    def last(real: Views, fake: Views, labels: Labels | None, images: Images) -> Turn:
        parts.set_random_state(after_d)
        again = seen_by_aid(game, real, fake, images, observes=False)
        parts.set_random_state(after_heads)
        return generator_turn(game, real, fake, labels, again)

    turns = averaged(Turns(mean_turn(d), mean_turn(parts.through(last, keeps=True))))
    follow(game, whole(len(images)), turns.d)
    return turns


# --- the parts of the turns -----------------------------------------------------------------------


def extra_cost(game: Game, extra: Extra | None, figures: dict[str, Scalar], *given: Any, of: int = 1) -> Scalar:
    """What a network, which learns at one of so many steps, pays beside the objective; noted among the figures."""
    if extra is None or not due(game, extra.every, of):
        return torch.zeros((), device=next(given[0].parameters()).device)
    with game.arithmetic(), fast_second_derivatives():
        cost = extra.cost(*given).float().mean()
    figures[extra.name] = cost.detach()
    return cost * extra.every


def heads_cost(game: Game, aid: VisionAid, seen: Seen, labels: Labels | None) -> Scalar:
    """What the generator pays for being told from reals by the heads, which are frozen."""
    with frozen(aid.heads), game.arithmetic():
        fake_logits = call(aid.heads, seen.fake, labels).float()
        with torch.no_grad():
            real_logits = call(aid.heads, seen.real, labels).float()
    return game.rules.objective.generator(real_logits, fake_logits).mean()


ImagesAndLogits = dict[str, tuple[Views, Logits]]
"""Images that went into the discriminator, and their logits, by name: real, fake, both (reals first), between."""


def real_and_fake_logits(game: Game, real: Views, fake: Views, labels: Labels | None) -> ImagesAndLogits:
    """The logits of reals and of fakes: one pass for both if images of a batch do not mix (faster), else one each."""
    if game.mixes:
        return {"real": (real, logits_of(game, real, labels)), "fake": (fake, logits_of(game, fake, labels))}
    both = each(lambda *two: torch.cat(two), real, fake)
    logits = logits_of(game, both, None if labels is None else torch.cat([labels, labels]))
    real_logits, fake_logits = logits.chunk(2)
    return {"real": (real, real_logits), "fake": (fake, fake_logits), "both": (both, logits)}


def logits_of(game: Game, images: Views, labels: Labels | None) -> Logits:
    """One logit per image.

    Raises:
        HasamaError: the discriminator gives something else.
    """
    logits, count = game.discriminate(images, labels), len(largest(images))
    if logits.numel() != count:
        raise HasamaError(f"A discriminator gives one logit per image [N] or [N, 1]; this one {list(logits.shape)}.")
    return logits.flatten()


def penalties(game: Game, outputs: ImagesAndLogits, labels: Labels | None) -> PerImage:
    """The sum [N] of the rules' penalties on the images that went into the discriminator."""
    kinds = [penalty.on for penalty in game.rules.penalties]
    if kinds == ["real", "fake"] and "both" in outputs:  # one backward pass through one forward pass, instead of two
        twice = None if labels is None else torch.cat([labels, labels])
        real, fake = penalty_on(game, game.rules.penalties[0], *outputs["both"], twice).chunk(2)
        return real + fake
    total = torch.zeros(())
    for penalty in game.rules.penalties:
        if penalty.on == "between":
            ends = (each(torch.Tensor.detach, outputs[name][0]) for name in ("real", "fake"))
            middle = each(lambda x: x.requires_grad_(), between(*ends))
            with fast_second_derivatives():
                outputs["between"] = (middle, logits_of(game, middle, labels))
        total = penalty_on(game, penalty, *outputs[penalty.on], labels) + total
    return total


def penalty_on(game: Game, penalty: Penalty, images: Views, logits: Logits, labels: Labels | None) -> PerImage:
    """One penalty on images whose logits are known: by the exact gradient, or by finite differences."""
    sigma = game.rules.penalty_sigma
    if not sigma:
        return penalty.cost(images, logits)
    moved = each(lambda level: level + sigma * noise_like(level), images)
    return squared_difference(logits, logits_of(game, moved, labels), sigma)


def displayed(game: Game, images: Views) -> Views:
    """Pictures as the discriminator is to see them: moved by `jitter`, with instance noise."""
    return noisy(game, moved(images, game.rules.jitter))


def noisy(game: Game, images: Views) -> Views:
    """Instance noise that fades with images seen: Soenderby et al. 2017, section 3.2."""
    if not noise_left(game):
        return images
    strength = game.rules.instance_noise * game.now.noise
    return each(lambda level: level + strength * noise_like(level), images)


def descend(optimizers: Sequence[Adam], loss: Scalar) -> None:
    """One step of each optimizer down the gradient of the loss, once all parts of a batch have been here."""
    here = part()
    if here.number == 0:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
    learning = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    mean = loss if here.parts == 1 else loss / here.parts
    mean.backward(inputs=learning)  # not towards the images, which a penalty made require one
    if here.number == here.parts - 1:
        average_gradients(learning)
        for optimizer in optimizers:
            optimizer.step()
