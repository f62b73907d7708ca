"""The signals of a training's health, beside its losses: measured on the game, without leaving a trace in it.

A probe has pictures and latents of its own, the same each time, so that its figures differ only because the game has
moved. What it measures are functions of the game alone: a resumed run logs what the uninterrupted one would have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Adam

from hasama.device import Arithmetic, kind_of
from hasama.generators.sampling import draw_latents
from hasama.metrics.distances import squared_mmd
from hasama.metrics.neighbours import coverage
from hasama.networks.calling import call, evaluating, frozen
from hasama.networks.layers import MinibatchStds
from hasama.networks.pair import Pair
from hasama.optimizers import Muon
from hasama.pictures.dataset import HELD_LEAST, Pictures
from hasama.pictures.tensors import to_images
from hasama.shapes import Images, Labels, Latents, Views, largest
from hasama.shares import own_random_numbers

COUNT = 128  # pictures of either kind at each look
EMA_COUNT = 32  # of them for comparing the generator with its moving average
HELD = 64
BANK = 8192  # pictures that fakes are compared with,
BANK_VALUES = 2**27  # and how many values of pixels are read for them
SIDE, PROJECTED = 16, 128
NEIGHBOURS = 3
COPY = 0.25  # pictures nearer to each other than this share of a real one's way to the nearest other are "the same"
SAME = 0.01  # of the mean distance between two reals: what is nearer is a copy of the same picture
SAME_TINT = 0.02  # reals whose mean colours differ by less, of the range -1 to 1, have but one palette
NOTHING = 1e-3  # reals nearer to each other than this, of the range -1 to 1, are the same but for rounding
LATENT_SEED = 0x9E37  # away from the seeds that people type

Rows = Float[Tensor, "n f"]
Others = Float[Tensor, "m f"]
Figures = dict[str, float]
Shares = dict[str, float | None]


@runtime_checkable
class Game(Protocol):
    """What is probed: a training, as far as this room knows of it (see `hasama.training.game.Game`)."""

    @property
    def pair(self) -> Pair: ...
    @property
    def ema(self) -> nn.Module | None: ...
    @property
    def optimizers(self) -> tuple[Adam, Adam]: ...
    @property
    def arithmetic(self) -> Arithmetic: ...
    @property
    def bare_discriminator(self) -> nn.Module: ...
    def generate(self, latents: Latents, labels: Labels | None = None) -> Views: ...


class Probe:
    """Looks at a game and gives figures; costs about as much as training on sixty pictures.

    Args:
        pictures: those that are trained on.
        held: those that are kept back; copies of what is trained on do not count, and what is then fewer than 20
            tells nothing.
        device: where the game is played.
        mirror: whether they are trained on mirrored, too: then a mirrored copy of one is a copy.
    """

    def __init__(
        self, pictures: Pictures, held: Pictures | None, device: torch.device | str = "cpu", mirror: bool = False
    ) -> None:
        self.device, self.mirror = torch.device(device), mirror
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(LATENT_SEED)))
        order = rng.permutation(pictures.at_hand)
        shown = np.resize(order, COUNT) if len(order) < COUNT else order[:COUNT]
        self.distinct = min(len(order), COUNT)  # what comes again is its own nearest neighbour, and covers nothing
        self.real = self._images(pictures, shown)
        self.labels = self._labels(pictures, shown)
        values = int(np.prod(pictures.take(order[:1]).shape))
        self.bank = torch.cat(list(self._rows(pictures, order[: max(2, min(BANK, BANK_VALUES // values))])))
        self.rows = project(self.real)
        self.apart = _apart(self.rows)
        held, unseen = self._unseen(held)
        self.held = None if held is None else self._images(held, unseen)
        self.held_labels = None if held is None else self._labels(held, unseen)
        self.latents: Tensor | None = None
        others = self.bank[: min(COUNT, len(self.bank))] if self.held is None else project(self.held)
        turned = self._turned(self.real[: len(others)] if self.held is None else self.held)
        near = self._to_bank(others, turned, skip_itself=self.held is None, copies=SAME * self.apart)
        near = near[near.isfinite()]
        self.usual = float(near.median()) if len(near) and self.apart > NOTHING else 0.0

    def _images(self, pictures: Pictures, numbers: np.ndarray) -> Images:
        return to_images(pictures.take(numbers), self.device)

    def _labels(self, pictures: Pictures, numbers: np.ndarray) -> Labels | None:
        if pictures.labels is None:
            return None
        return torch.from_numpy(pictures.labels[numbers]).to(self.device)

    def _unseen(self, held: Pictures | None) -> tuple[Pictures | None, np.ndarray]:
        """Some held-back pictures, by number, of which no copy is trained on: a copy would hide an overfitting."""
        if held is None or not len(held) or self.apart <= NOTHING:
            return None, np.arange(0)
        numbers = np.arange(len(held))
        rows = torch.cat(list(self._rows(held, numbers)))
        near = self._to_bank(rows, torch.cat(list(self._rows(held, numbers, True))) if self.mirror else None)
        unseen = np.flatnonzero((near > SAME * self.apart).numpy())[:HELD]
        return (held, unseen) if len(unseen) >= HELD_LEAST else (None, unseen)

    def _rows(self, pictures: Pictures, numbers: np.ndarray, turned: bool = False) -> Iterator[Rows]:
        for first in range(0, len(numbers), 512):
            images = self._images(pictures, numbers[first : first + 512])
            yield project(images.flip(3) if turned else images)

    def _turned(self, images: Images) -> Rows | None:
        """The pictures mirrored, as rows, where that makes a difference."""
        return project(images.flip(3)) if self.mirror else None

    def _to_bank(self, rows: Rows, turned: Rows | None, skip_itself: bool = False, copies: float = -1.0) -> Tensor:
        """As `_nearest`, to what is trained on: mirrored, too, if it is; then `turned` are the same pictures so.

        They are mirrored instead of the bank, which is larger: the distance is the same but for the projection's
        error.
        """
        near = _nearest(rows, self.bank, skip_itself, copies)
        return near if turned is None else near.minimum(_nearest(turned, self.bank, skip_itself, copies))

    def __call__(self, game: Game, plays: bool = True) -> Figures:
        """The figures, by the names that the log has.

        Args:
            game: as it stands after a step, whose gradients are still there.
            plays: whether it has a discriminator (a VAE has none).
        """
        if self.latents is None:
            self.latents = draw_latents(LATENT_SEED, COUNT, game.pair.latent_size).to(self.device)
        latents = self.latents
        with own_random_numbers(LATENT_SEED), torch.no_grad(), frozen(game.pair.generator):  # for noise inside it
            fake = game.generate(latents, self.labels)
        figures = self.of_pictures(fake, game) | sizes(game) | self.unrest(game, latents[:EMA_COUNT])
        return figures | (self.of_logits(game, fake) if plays else {})

    def of_pictures(self, fake: Views, game: Game) -> Figures:
        """What the fakes look like, beside the reals as the discriminator is shown them."""
        real = largest(game.pair.view(self.real))
        rows, reals = project(largest(fake)), self.rows if real is self.real else project(real)
        apart, nearest = _apart(reals), min(NEIGHBOURS, self.distinct - 1)
        figures: Shares = {
            "spread_real": self.apart / PROJECTED**0.5,
            "contrast_real": _contrast(self.real),
            "contrast": _share(_contrast(largest(fake)), _contrast(real)),
            "diversity": _share(_apart(rows), apart),
            "colours": _share(_tints(largest(fake)), _tints(real), SAME_TINT),
            "covered": coverage(reals[: self.distinct], rows, nearest) if nearest else None,
            "distance": squared_mmd(*_alike(reals, rows)) if apart > NOTHING else None,
        }
        grown = game.pair.whole(self.real[:1]).shape[2:]
        if largest(fake).shape[2:] == grown:  # while it grows, it paints smaller ones
            near = _nearest(rows, rows, skip_itself=True)
            figures["repeats"] = float((near < COPY * self.usual).float().mean()) if self.usual else None
            near = self._to_bank(rows, self._turned(largest(fake)))
            figures["nearest"] = _share(float(near.median()), self.usual)
        return _known(figures)

    @torch.no_grad()
    def of_logits(self, game: Game, fake: Views) -> Figures:
        """The discriminator's logits for the probe's pictures, and how various its features of them are."""
        network = game.bare_discriminator
        with evaluating(network), noting(network) as noted, game.arithmetic():
            real_logits = call(network, game.pair.view(self.real), self.labels).float()
            real_features = noted[-1]
            fake_logits = call(network, fake, self.labels).float()
            fake_features = noted[-1]
            held = None if self.held is None else call(network, game.pair.view(self.held), self.held_labels).float()
        on_real, on_fake = float(real_logits.mean()), float(fake_logits.mean())
        figures: Shares = {"logit_real": on_real, "logit_fake": on_fake}
        length = float(real_features.norm(dim=1).mean())
        figures["diversity_features"] = _share(_apart(fake_features), _apart(real_features), NOTHING * length)
        if held is not None:
            figures["logit_held"], gap = float(held.mean()), on_real - on_fake
            figures["overfit"] = _share(on_real - float(held.mean()), gap, 1e-9) if gap > 0 else 0.0
        return _known(figures)

    @torch.no_grad()
    def unrest(self, game: Game, latents: Tensor) -> Figures:
        """How far the generator is from its moving average, in distances between reals: it grows with every swing."""
        if game.ema is None:
            return {}
        labels = None if self.labels is None else self.labels[: len(latents)]
        with (
            own_random_numbers(LATENT_SEED),
            evaluating(game.pair.generator),
            evaluating(game.ema),
            game.arithmetic(),
        ):
            now, mean = (largest(call(one, latents, labels)) for one in (game.pair.generator, game.ema))
        moved = (project(now.float()) - project(mean.float())).norm(dim=1).mean()
        return _known({"unrest": _share(float(moved), self.apart)})


# --- what the figures are made of -----------------------------------------------------------------


def project(images: Images) -> Rows:
    """A fixed random projection [N, 128] of the pictures, averaged to 16x16: it keeps distances to within a tenth.

    Johnson & Lindenstrauss 1984. A row's length is that of the averaged picture, on the average.
    """
    small = F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)
    return small.cpu() @ _matrix(small.shape[1])


@lru_cache
def _matrix(values: int) -> Tensor:
    generator = torch.Generator().manual_seed(LATENT_SEED)
    return torch.randn(values, PROJECTED, generator=generator, dtype=torch.float32) / values**0.5


def sizes(game: Game) -> Figures:
    """Norms of the last step's gradients, of the weights, and of that step as a share of the weights."""
    figures: Shares = {}
    for name, optimizer in zip(("generator", "discriminator"), game.optimizers, strict=True):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in weights if p.grad is not None]
        if gradients:
            figures[f"gradient_{name}"] = _norm(gradients)
        figures[f"weights_{name}"] = norm = _norm(weights)
        figures[f"update_{name}"] = _share(_step_size(optimizer), norm, 1e-9)
    return _known(figures)


@torch.no_grad()
def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack(torch._foreach_norm([t.detach() for t in tensors])).float().norm())


@torch.no_grad()
def _step_size(optimizer: Adam) -> float:
    """The norm of an optimizer's last step, from its moments: Kingma & Ba 2015, algorithm 1, or `Muon`.

    Weight decay stands in the moments, for it is part of the gradient (`hasama.training.setup`); AdamW's would not.
    """
    parts = []  # a card is asked once, at the end
    for group in optimizer.param_groups:
        # .get, for to ask a defaultdict for what has not moved yet would leave a trace
        moved = [weight for weight in group["params"] if optimizer.state.get(weight)]
        if isinstance(optimizer, Muon) and group["matrices"]:
            steps = optimizer.steps_along(moved)
        else:
            steps = [_adams_step(optimizer.state[weight], group) for weight in moved]
        parts += [step.square().sum() * group["lr"] ** 2 for step in steps]
    return float(torch.stack(parts).sum().sqrt()) if parts else 0.0


def _adams_step(state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    """Adam's last step along a weight, in units of the rate."""
    first, second = group["betas"]
    steps = state["step"].to(torch.float64 if kind_of(state["step"].device).float64 else torch.float32)
    mean = state["exp_avg"] / (1 - first**steps)
    return mean / (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])


def _alike(real: Rows, fake: Rows) -> tuple[Rows, Rows]:
    """Both in units in which the reals have mean 0 and the length that the kernel of the MMD expects."""
    centre, scale = real.mean(0), real.std().clamp_min(1e-6)
    return (real - centre) / scale, (fake - centre) / scale


def _apart(rows: Tensor) -> float:
    """The mean distance between two different rows."""
    return float(torch.pdist(rows.float()).mean())


def _nearest(rows: Rows, others: Others, skip_itself: bool = False, copies: float = -1.0) -> Tensor:
    """Of each row the distance to the nearest other that is farther than a copy; infinite where there is none.

    Args:
        rows: see `project`.
        others: likewise.
        skip_itself: the rows are the first of the others.
        copies: others that are not farther than this do not count.
    """
    distances = torch.cdist(rows, others)
    distances.masked_fill_(distances <= copies, torch.inf)
    if skip_itself:
        distances.diagonal().fill_(torch.inf)
    return distances.min(1).values


def _contrast(images: Images) -> float:
    """The mean over pictures and channels of the standard deviation from place to place."""
    return float(images.float().flatten(2).std(2).mean())


def _tints(images: Images) -> float:
    """How far the pictures' mean colours lie from their mean: the root of the sum of the channels' variances."""
    return float(images.float().mean((2, 3)).var(0).sum().sqrt())


def _known(figures: Shares) -> Figures:
    return {name: value for name, value in figures.items() if value is not None}


def _share(one: float, of: float, nothing: float = NOTHING) -> float | None:
    """One figure as a share of another; None, and so not in the log, where the other is next to nothing."""
    return one / of if of > nothing else None


@contextmanager
def noting(network: nn.Module) -> Iterator[list[Tensor]]:
    """Notes what the layers are given; the last note after a call is what the logit was made from, [N, F]."""
    noted: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        noted[:] = [given[0].detach().flatten(1).float()]

    beside = {m for one in network.modules() if isinstance(one, MinibatchStds) for m in one.modules()}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in beside]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()
