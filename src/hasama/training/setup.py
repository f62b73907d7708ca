"""Set up a game: networks on their device, optimizers, the EMA generator, augmentation; and which loop plays it."""

import copy
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from hasama.device import kind_of, lay_out, pick_arithmetic, pick_device, pick_precision
from hasama.distributed import team
from hasama.errors import HasamaError
from hasama.fields import ada_rises
from hasama.networks.layers import MinibatchStd, MinibatchStds, WholeBatchNorm, normalise_over_all
from hasama.networks.pair import Pair, as_torch
from hasama.optimizers import Adam, Muon
from hasama.pictures.dataset import Batch
from hasama.recipe import Recipe
from hasama.training.augmentation.augment import augmented
from hasama.training.autoencoder import autoencode
from hasama.training.game import Game, Optimizers, Record, Rules
from hasama.training.turns import play
from hasama.training.vision_aid import VisionAid, frozen_network, new_heads

NARROWEST = 16
"""Channels from which on a layer's weights are a matrix to Muon."""
WEIGHTS = "weight", "parametrizations.weight.original"
"""What a layer's weights are called; the second, where they are equalised or spectrally normalised."""


def new_game(pair: Pair, recipe: Recipe, device: torch.device | str = "cpu") -> Game:
    """Set up a game: networks on the device in their fastest layout, optimizers, the EMA generator.

    Args:
        pair: from `build`, or any two modules (see `Pair`).
        recipe: its rules, learning rates, augmentation, EMA, seed and precision count here.
        device: where to train.

    Raises:
        HasamaError: the recipe has a penalty, and the discriminator has batch normalisation; or a penalty by finite
            differences, and what makes two looks differ; or `freeze_d` would leave it no layer that learns; or the
            weights of a frozen network are missing; or there is no such device.
    """
    device = pick_device(device)
    pair = pair._replace(generator=as_torch(pair.generator), discriminator=as_torch(pair.discriminator))
    if team().world > 1:
        see_all_processes(pair)
    mixes = mixes_images(pair.discriminator)
    if has_batch_norm(pair.discriminator) and recipe.penalty != "none":
        raise HasamaError(
            f"The penalty {recipe.penalty} is computed for each picture alone, but this discriminator's BatchNorm "
            "mixes the pictures of a batch: build it without (--discriminator-norm none)."
        )
    check_looks(recipe)
    freeze_first(pair.discriminator, recipe.freeze_d)
    target = None if ada_rises(vars(recipe)) else recipe.ada_target
    watched = augmented(pair.discriminator, recipe.augment, target, recipe.ada_kimg * 1000)
    pair = pair._replace(discriminator=watched)
    ema = copy.deepcopy(pair.generator).eval().requires_grad_(False) if recipe.ema_kimg else None
    for network in (pair.generator, pair.discriminator, ema):
        if network is not None:
            lay_out(network, device)
    pair.generator.train()
    pair.discriminator.train()
    optimizers = Optimizers(
        _optimizer(pair.generator, recipe, "generator", device),
        _optimizer(pair.discriminator, recipe, "discriminator", device),
    )
    arithmetic = pick_arithmetic(recipe.precision, device)
    return Game(pair, optimizers, ema, Rules.of(recipe), arithmetic, mixes, _vision_aid(recipe, pair, device))


def _vision_aid(recipe: Recipe, pair: Pair, device: torch.device) -> VisionAid | None:
    """The second discriminator, if the recipe has one: its heads learn at the rates of the ordinary one."""
    if recipe.vision_aid == "none":
        return None
    heads = new_heads(recipe.seed, pair.classes)
    lay_out(heads, device)
    adam = _optimizer(heads, recipe, "discriminator", device)
    return VisionAid(frozen_network(device, pick_precision(recipe.precision, device)), heads, adam)


def _optimizer(network: nn.Module, recipe: Recipe, player: str, device: torch.device) -> Adam:
    """Kingma and Ba 2015, algorithm 1, or `Muon`. Weight decay as torch's Adam and the lesson have it: so many times
    the weight joins the gradient before the moments, the L2 regularisation of Loshchilov and Hutter 2019, algorithm
    2, and not their decoupled one (AdamW). All weights and biases are decayed alike.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    kind, rate = kind_of(device), getattr(recipe, f"{player}_lr")
    options = {
        "lr": torch.tensor(rate, device=device) if kind.graphs else rate,  # which a graph reads anew at each step
        "betas": getattr(recipe, f"{player}_betas"),
        "weight_decay": recipe.weight_decay,
        "fused": kind.fused_adam,
        "capturable": kind.graphs,
    }
    if player == "discriminator" or recipe.generator_optimizer == "adam":
        return Adam(learning, **options)
    inner = {id(weight) for weight in matrices(network)}
    return Muon([p for p in learning if id(p) in inner], [p for p in learning if id(p) not in inner], **options)


def matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of layers in a network's midst, which Muon moves: at its ends, where a picture or one number is
    made or taken, and in convolutions in groups, there is no matrix of many rows and columns.
    """
    found = []
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and getattr(layer, "groups", 1) == 1:
            weights = (p for name, p in layer.named_parameters() if name in WEIGHTS)
            found += [weight for weight in weights if min(weight.shape[:2]) >= NARROWEST]
    return found


def see_all_processes(pair: Pair) -> None:
    """Let what mixes the images of a batch see those of all processes.

    Raises:
        HasamaError: a network has batch normalisation of another kind than torch's.
    """
    for network in (pair.generator, pair.discriminator):
        normalise_over_all(network)
        own = any(isinstance(module, WholeBatchNorm) for module in network.modules())
        if has_batch_norm(network) and not own:
            raise HasamaError(
                "This network's batch normalisation sees the images of its own process only (torch's BatchNorm would "
                "see all): train it in one process."
            )


def mixes_images(network: nn.Module) -> bool:
    """Whether a network's output for one image depends on the others in its batch."""
    mixing = MinibatchStd, MinibatchStds
    return has_batch_norm(network) or any(isinstance(module, mixing) for module in network.modules())


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a batch normalisation (torch's, or Keras's by its statistics) ties the images of a batch together."""
    return any("BatchNorm" in type(module).__name__ for module in network.modules()) or any(
        name.endswith("moving_variance") for name, _ in network.named_parameters()
    )


def check_looks(recipe: Recipe) -> None:
    """Whether the discriminator sees the same picture twice, where a penalty compares two looks.

    Raises:
        HasamaError: something would make them differ, which divided by a small number would be the penalty.
    """
    differs = recipe.augment != "none" or recipe.dropout
    if recipe.penalty != "none" and recipe.penalty_sigma and differs:
        raise HasamaError(
            "--penalty-sigma compares what the discriminator says of a picture and of nearly the same; --augment and "
            "--discriminator-dropout would make them two different ones: leave either out. (`dense` has dropout by "
            "itself: --discriminator-dropout 0.)"
        )


def freeze_first(discriminator: nn.Module, count: int) -> None:
    """Do not train the first layers of the discriminator, counted from the picture: FreezeD, Mo et al. 2020.

    Raises:
        HasamaError: no layer would be left to learn.
    """
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if count and count >= len(layers):
        raise HasamaError(f"--freeze-d {count}: this discriminator has {len(layers)} layers, and one must learn.")
    for layer in layers[:count]:
        layer.requires_grad_(False)


Loop = Callable[[Game, Iterable[Batch]], Iterator[Record]]

LOOPS: dict[str, Loop] = {"vae": autoencode}
"""Architectures that are not trained adversarially."""


def loop_for(architecture: str) -> Loop:
    """The loop that trains an architecture: `play`, but for those in `LOOPS`."""
    return LOOPS.get(architecture, play)
