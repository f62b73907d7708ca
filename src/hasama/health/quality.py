"""Is it still getting better? A cheap KID, again and again through a training, and the best generator so far.

The losses of a GAN do not say how good its pictures are. A look at the quality does: always the same latents and the
same real pictures, so that two looks of one training differ only because the generator has changed. It leaves no
trace in the training: a resumed run logs what the uninterrupted one would have.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hasama.generators.generator_file import TrainedGenerator, save_generator
from hasama.generators.sampling import draw_latents, generate, labels_like
from hasama.metrics.distances import kid
from hasama.metrics.intervals import SUBSET, SUBSETS, kid_interval, stream
from hasama.networks.enlarger import Enlarged
from hasama.networks.registry import build
from hasama.perception.efficientnet import EfficientNet, load_convolutions
from hasama.perception.extractors import Extractor, extract_features, large_enough
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.shares import own_random_numbers
from hasama.tensor_files import header_of

FAKES, REALS = 256, 512
SEED = 0x9E38  # away from the seeds that people type
SHARE = 0.025  # of a training's work that looking at its quality may take
PER_VALUE = 100  # operations in the time that it takes to write one value: about so many on a CPU
AID_SMALLEST = 64  # pixels of a side, to which a frozen network that helps has smaller pictures enlarged
LEAST_LOOKS, MOST_LOOKS, SHORT_KIMG = 2, 100, 10.0


class Quality(NamedTuple):
    """One look, after so many images seen: the KID in some extractor's features, with its interval of 95 %."""

    images_seen: int
    kid: float
    low: float
    high: float

    def figures(self) -> dict[str, float]:
        """As the log has them."""
        return {"kid": self.kid, "kid_low": self.low, "kid_high": self.high}

    @classmethod
    def of(cls, line: dict[str, Any]) -> "Quality | None":
        """What a line of the log, or a header, says; None if it says nothing of the kind."""
        values = [line.get(name) for name in ("images_seen", "kid", "kid_low", "kid_high")]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        return cls(int(numbers[0]), *map(float, numbers[1:])) if len(numbers) == len(values) else None

    def is_clearly_better_than(self, other: "Quality") -> bool:
        """Whether not even the intervals meet."""
        return self.high < other.low

    def __str__(self) -> str:
        return f"KID {self.kid:.4g} (95 %: {self.low:.4g} to {self.high:.4g}) at {self.images_seen / 1000:g} kimg"


class QualityProbe:
    """Looks at a generator's quality.

    Args:
        pictures: real ones, which it is compared with; 512 of them at most.
        extractor: the frozen network that sees them, which should not be one that the training uses.
    """

    def __init__(self, pictures: Pictures, extractor: Extractor) -> None:
        self.extractor = extractor
        self.pictures, self.order = pictures, stream(SEED).permutation(pictures.at_hand)[:REALS]
        self.reals = torch.cat(list(extract_features(extractor, pictures.take_in_parts(self.order))))

    def __call__(self, generator: TrainedGenerator, images_seen: int) -> Quality:
        """The KID of 256 fakes, of classes in the reals' proportions, as `hasama evaluate` computes it."""
        if not has_numbers(generator):
            return Quality(images_seen, *3 * (float("inf"),))
        latents = draw_latents(SEED, FAKES, generator.latent_size)
        with own_random_numbers(SEED):  # for noise inside the generator
            made = generate(generator, latents, labels_like(generator, self.pictures, self.order, FAKES))
            fakes = torch.cat(list(extract_features(self.extractor, made)))
        mean, deviation = kid(self.reals, fakes, SUBSETS, SUBSET)
        around = kid_interval(mean, deviation, SUBSETS, SUBSET, min(len(self.reals), FAKES))
        return Quality(images_seen, mean, *around)


def all_finite(network: nn.Module) -> bool:
    """Whether all weights and statistics of a network are numbers."""
    weights = [one.isfinite().all() for one in network.state_dict().values() if one.is_floating_point()]
    return not weights or bool(torch.stack(weights).all())


def has_numbers(generator: TrainedGenerator) -> bool:
    """Whether all weights are finite: pictures by others would only be black, which no look at them tells."""
    return all_finite(generator.network)


def is_looked_at(recipe: Recipe) -> bool:
    """Whether a run's quality may be looked at: unless the recipe says how often, not in short runs."""
    return recipe.quality_kimg > 0 if recipe.quality_kimg is not None else recipe.kimg >= SHORT_KIMG


def quality_interval(recipe: Recipe, channels: int, classes: int, extractor: Extractor) -> float:
    """Images between two looks, so that these take about a fortieth of the time; 0: they are not worth it.

    Operations and written values are counted, not seconds, so that it is the same on every machine, and in a run that
    is resumed. (By operations alone, narrow networks seem four times as quick as they are beside VGG19.)

    Args:
        recipe: its `quality_kimg` counts if it has one.
        channels: of the pictures.
        classes: how many; 0 for none.
        extractor: the network that looks.
    """
    if recipe.quality_kimg is not None:
        return 1000 * recipe.quality_kimg
    one = np.zeros((1, *recipe.resolution, channels), np.uint8)
    seeing = _work(lambda: list(extract_features(extractor, one)))
    making, discriminating, enlarging = _work_of(recipe, channels, classes)
    every = max(FAKES * (making + enlarging + seeing) / (SHARE * _of_a_step(recipe, making, discriminating)), 1.0)
    return max(every, recipe.images / MOST_LOOKS) if LEAST_LOOKS * every <= recipe.images else 0.0


def _of_a_step(recipe: Recipe, making: float, discriminating: float) -> float:
    """The work for each image of a step; a way back through a network costs two ways there."""
    if recipe.architecture == "vae":
        return 3 * (making + discriminating)
    penalty = 0.0 if recipe.penalty == "none" else (3 if recipe.penalty_sigma else 6) / recipe.penalty_every
    own = 3 * making + (6 + penalty + 3) * discriminating  # reals and fakes; then the generator's turn
    return own if recipe.vision_aid == "none" else own + _of_an_aid(recipe)


def _of_an_aid(recipe: Recipe) -> float:
    """The work of the frozen network that helps: it sees reals, and fakes with a way back to the picture."""
    shown = large_enough(torch.zeros(1, 3, *recipe.game_resolution), AID_SMALLEST)
    network = EfficientNet(load_convolutions())
    return 3 * _work(lambda: network.maps(shown, (32,)))


def _work_of(recipe: Recipe, channels: int, classes: int) -> tuple[float, float, float]:
    """The work for one fake of the game, for one logit, and for enlarging one, by fresh networks that have grown to
    their end.
    """
    count, pair, fakes = 4, build(recipe, channels, classes), []
    pair.grow(2**62)
    given = [torch.zeros(count, pair.latent_size)] + ([torch.zeros(count, dtype=torch.long)] if classes else [])
    with own_random_numbers():  # for noise inside the generator
        making = _work(lambda: fakes.append(pair.generator(*given)))
    discriminating, enlarging = _work(lambda: pair.discriminator(fakes[0], *given[1:])), 0.0
    if isinstance(pair.generator, Enlarged):
        enlarged = pair.generator.eval()  # while it trains, it makes small pictures
        enlarging = _work(lambda: enlarged.shown(fakes[0]))
    return making / count, discriminating / count, enlarging / count


@torch.no_grad()
def _work(work: Callable[[], Any]) -> float:
    """Operations, and values written at the price of `PER_VALUE` of them."""
    with FlopCounterMode(display=False) as counter, _Written() as written:
        work()
    return counter.get_total_flops() + PER_VALUE * written.values


class _Written(TorchDispatchMode):
    """Counts the values that are written, into new tensors or in place."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        alias = func._schema.returns[0].alias_info if func._schema.returns else None
        if alias is None or alias.is_write:  # else it is a view
            self.values += sum(one.numel() for one in tree_leaves(found) if isinstance(one, torch.Tensor))
        return found


def keep_if_best(generator: TrainedGenerator, quality: Quality, file: Path) -> bool:
    """Write the generator with its quality into its header, unless the file holds one that is as good.

    Raises:
        HasamaError: it cannot be written; what was there before is untouched.
    """
    before = kept_quality(file)
    if before is not None and before.kid <= quality.kid:
        return False
    save_generator(generator, file, {"images_seen": quality.images_seen, **quality.figures()})
    return True


def kept_quality(file: Path) -> Quality | None:
    """The quality in the header of such a file; None if there is none, or it cannot be read."""
    try:
        about = json.loads(header_of(file))
    except (OSError, SafetensorError, ValueError):
        return None
    return Quality.of(about) if isinstance(about, dict) else None


def clearly_better(best: Path, log: list[dict[str, Any]]) -> str | None:
    """How much better the kept generator is than the last one that was looked at; None if it is not clearly better.

    Args:
        best: the file of `keep_if_best`.
        log: lines, the last of which with a look at the quality counts.
    """
    kept = kept_quality(best)
    last = next((look for line in reversed(log) if (look := Quality.of(line)) is not None), None)
    if kept is None or last is None or not kept.is_clearly_better_than(last):
        return None
    return f"{kept}; the last look: {last}"
