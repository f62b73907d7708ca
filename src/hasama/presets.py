"""The presets: named recipes, each told by what it changes. Commands that train by a recipe are written here, too."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hasama.errors import HasamaError
from hasama.fields import GANS_ONLY, counts, idle_fields, new_names
from hasama.options import flags_of, preset_named, size_text
from hasama.recipe import DEFAULTS, Recipe


def flags_of_difference(recipe: Recipe, preset: Recipe) -> list[str]:
    """What to type after `hasama train SOURCE PRESET` for this recipe: ['--size', '64', '--mirror', ...]."""
    begun = preset.lasting(recipe.kimg)
    begun = begun.but(**usual_rates_of(preset, recipe))
    changes = {name: value for name, (value, _) in recipe.differences(begun).items()}
    if recipe.kimg != preset.kimg:
        changes["kimg"] = recipe.kimg
        if recipe.architecture == "progressive" != preset.architecture:  # or it would go by the length
            changes["grow_kimg"] = recipe.grow_kimg
    guesses = {
        "gamma": recipe.penalty_weight,
        "vision_gamma": recipe.vision_penalty_weight,
        "generator_width": recipe.width_of_generator,
    }
    for name in guesses.keys() & changes.keys():
        if changes[name] is None and counts(name, recipe):  # a guess cannot be asked for
            changes[name] = guesses[name]
    return flags_of(changes)


# What each preset changes, and nothing else.
PRESETS: dict[str, dict[str, Any]] = {
    # Radford et al. 2016; the batch is the classic PyTorch example's.
    "dcgan": {},
    # After the lesson's first GAN: 100-256-512-1024-pixels against 1024-512-256-1, with dropout.
    "dense": {"architecture": "dense", "width": 256, "size": "28", "batch": 128},
    # The lesson's dense GAN (Microsoft's AI-For-Beginners, GANPyTorch.ipynb): BatchNorm in the generator, without
    # which it collapses to a few digits, 784-512-256-1 without dropout, batches of 256 and a trace of weight decay.
    # Its hundred epochs of MNIST are --kimg 6000, and it has no moving average (--ema-kimg 0).
    "lesson": {
        "architecture": "dense", "width": 256, "size": "28", "batch": 256, "generator_norm": "batch",
        "discriminator_layers": 2, "discriminator_dropout": 0.0, "weight_decay": 8e-9,
    },
    # Kingma & Welling 2014: the baseline that GANs beat, with the same convolutions.
    "vae": {"architecture": "vae", "latent_size": 64, "generator_lr": 1e-3, "discriminator_lr": 1e-3},
    # Mao et al. 2017.
    "lsgan": {"objective": "least-squares"},
    # Gulrajani et al. 2017, algorithm 1.
    "wgan-gp": {
        "objective": "wasserstein", "penalty": "wgan-gp", "discriminator_norm": "none",
        "balance": "critic-steps",
        "generator_lr": 1e-4, "discriminator_lr": 1e-4,
        "generator_betas": (0.0, 0.9), "discriminator_betas": (0.0, 0.9),
    },
    # Huang et al. 2024 without their architecture: relativistic, both penalties, no momentum. With this penalty the
    # players bear five times dcgan's rates, and without batch normalisation they need them.
    "stable": {
        "objective": "relativistic", "penalty": "r1+r2", "discriminator_norm": "none",
        "generator_lr": 1e-3, "discriminator_lr": 1e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # Huang et al. 2024, config E, with its schedules. Narrow, in small batches and with a larger rate and penalty
    # than theirs, for people who have hours, not weeks (benchmarks/ladder.py). A step costs as much as its pictures,
    # so that small batches are more steps in the same time (docs/experiments/small-batches.md).
    "r3gan": {
        "architecture": "r3gan", "width": 16, "latent_size": 64, "batch": 8,
        "objective": "relativistic", "penalty": "r1+r2", "gamma_final": 0.1, "lr_final": 0.25,
        "generator_lr": 1e-3, "discriminator_lr": 1e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # The same with a second discriminator on frozen features (Kumari et al. 2022), with depthwise convolutions, which
    # are half as quick again, with larger rates, and with maps that the latent scales (Chen et al. 2019): else all
    # pictures have one palette; stripes of two pixels cost (docs/experiments/stripes.md); and with a deep generator,
    # which learns twice as much by as many pictures (docs/experiments/depth.md), whose small maps attend to all of
    # themselves, and which is moved by Muon (docs/experiments/muon.md). On a processor by far the best pictures for
    # the time (docs/experiments/ten-minutes.md).
    "vision-aided": {
        "architecture": "r3gan", "width": 16, "generator_blocks": 6, "generator_attention": True, "group_width": 1,
        "latent_size": 64, "batch": 8,
        "vision_aid": "efficientnet", "jitter": 1, "pixel_noise": True, "self_modulation": True, "clip_output": True,
        "checkerboard_weight": 1.0,
        "objective": "relativistic", "penalty": "r1+r2", "gamma_final": 0.1, "lr_final": 0.1,
        "generator_optimizer": "muon", "generator_lr": 2e-3, "discriminator_lr": 2e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # Progressive, stylegan and fast take small batches and falling rates for the same reason as r3gan. In ten
    # core-minutes of faces they are then ahead of dcgan (docs/experiments/ten-minutes.md).
    # The next three have equalised weights, N(0, 1), which the papers' rates of 1e-3 to 2e-3 move in millions of
    # images; with 6e-3 they move as fast as dcgan's do. (A rate is relative to the size of what it moves.)
    # Karras et al. 2018; their objective is WGAN-GP, but R1 is steadier and cheaper (Mescheder et al. 2018).
    "progressive": {
        "architecture": "progressive", "width": 16, "latent_size": 128, "batch": 8, "kimg": 200.0,
        "lr_final": 0.25, "gamma_final": 0.1,
        "penalty": "r1", "penalty_every": 4, "gamma": 2.0, "generator_lr": 6e-3, "discriminator_lr": 6e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # Karnewar & Wang 2020, with the objective and the penalties of Huang et al. 2024.
    "msg": {
        "architecture": "msg", "width": 16, "latent_size": 128, "batch": 32,
        "objective": "relativistic", "penalty": "r1+r2",
        "generator_lr": 6e-3, "discriminator_lr": 6e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # Karras et al. 2020: lazy R1 and path length; narrower than the paper's 512 channels.
    "stylegan": {
        "architecture": "stylegan", "width": 16, "latent_size": 128, "mapping_layers": 4, "path_length": 2.0,
        "penalty": "r1", "penalty_every": 16, "gamma": 4.0, "generator_lr": 6e-3, "discriminator_lr": 6e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99), "batch": 8,
        "lr_final": 0.25, "gamma_final": 0.1,
    },
    # Liu et al. 2021: 50 to 500 pictures in an hour; with the objective and the penalties of Huang et al. 2024.
    "fast": {
        "architecture": "fast", "width": 16, "latent_size": 128, "batch": 8, "kimg": 300.0,
        "lr_final": 0.25, "gamma_final": 0.1,
        "objective": "relativistic", "penalty": "r1+r2", "gamma": 1.0, "augment": "diffaugment",
        "generator_lr": 1e-3, "discriminator_lr": 1e-3,
        "generator_betas": (0.0, 0.99), "discriminator_betas": (0.0, 0.99),
    },
    # Salimans et al. 2016 and Soenderby et al. 2017: what helps when the discriminator wins.
    "gentle": {
        "label_smoothing": 0.1, "instance_noise": 0.1, "discriminator_lr": 1e-4,
        "balance": "skip-strong",
    },
    # `make demo`: about two minutes on two cores without bfloat16. Many small steps at twice the rate learn more in
    # that time than half as many of batch 64 with wider networks, all ten digits above all.
    "demo": {
        "size": "32", "width": 24, "latent_size": 64, "batch": 32, "kimg": 70.0, "ema_kimg": 2.0,
        "generator_lr": 4e-4, "discriminator_lr": 4e-4,
    },
}  # fmt: skip


RATES = ("generator_lr", "discriminator_lr")
GENTLE = 7e-4
"""The largest learning rate for what begins with the weights of another run or of a base: with a fresh game's it is
forgotten (docs/experiments/bases.md)."""


DEFAULT = "vision-aided"
"""The preset of `train`, `sweep` and `suggest` where none is given."""

RECIPES: dict[str, Recipe] = {name: Recipe(**differences) for name, differences in PRESETS.items()}
"""The presets by name; `RECIPES["dcgan"].but(size="32")` varies one."""


# Rules for points: `hasama coverage` knows these beside the presets. A hundred modes, each a thirtieth as wide as
# their distance, need a discriminator that may be steep from the start, hence the small gamma; and rates that fall to
# nothing.
POINT_RECIPES: dict[str, Recipe] = {
    "hundred": Recipe(
        architecture="dense", objective="relativistic", penalty="r1+r2", gamma=1e-3, gamma_final=0.03,
        generator_lr=1e-3, discriminator_lr=2e-3, lr_final=0.0, ema_kimg=20.0,
        generator_betas=(0.0, 0.99), discriminator_betas=(0.0, 0.99),
    ),
}  # fmt: skip
"""Recipes for points in the plane by name."""

# Stacked digits: `hasama coverage stacked-mnist`. Wider than r3gan for pictures, in larger batches and with a larger
# gamma: with 1.25 the discriminator lives on what single pixels betray, with 50 it sees too little; it compares
# pictures, so that rare kinds are missed; and black may be even, by clip_output (docs/experiments/stacked-mnist.md).
STACK_RECIPES: dict[str, Recipe] = {
    "stacked-mnist": RECIPES["r3gan"].but(
        width=32, group_width=1, batch=32, gamma=10.0, ema_kimg=20.0, minibatch_std=True, clip_output=True,
        generator_lr=5e-4, discriminator_lr=5e-4, lr_final=0.1,
    ),
}  # fmt: skip
"""Recipes for stacked digits by name."""


def recipe_named(name: str, beside: Mapping[str, Recipe] | None = None) -> Recipe:
    """One of `RECIPES`, or of those beside them, such as `POINT_RECIPES`.

    Raises:
        HasamaError: there is none of that name; the message offers the nearest.
    """
    if beside is None and name in {**POINT_RECIPES, **STACK_RECIPES}:
        raise HasamaError(f"The recipe {name} is for data whose modes are known:  hasama coverage {name}")
    return preset_named(name, {**(beside or {}), **RECIPES}, "recipe")


def as_recipe(recipe: Recipe | str) -> Recipe:
    """A recipe as it is, or the preset of that name.

    Raises:
        HasamaError: there is no preset of that name, or it is neither.
    """
    if isinstance(recipe, str):
        return recipe_named(recipe)
    if not isinstance(recipe, Recipe):
        raise HasamaError(f'A recipe is a Recipe or the name of a preset, such as "dcgan"; got {recipe!r}.')
    return recipe


def asked_recipe(name: str, asked: dict[str, Any]) -> Recipe:
    """A preset with what somebody asks for.

    What only the preset says, and does nothing beside what is asked for, goes back to its default: another
    architecture has no use for r3gan's fields. `progressive` grows in the same share of any length. Learning rates
    are the `usual_rates_of`.

    Raises:
        HasamaError: there is no such preset or field, or a value is refused.
    """
    preset, asked = recipe_named(name), new_names(asked)
    fields = vars(preset) | asked
    if fields["architecture"] == "vae":
        fields |= {one: DEFAULTS[one] for one in GANS_ONLY if one not in asked}
    fields |= {one: DEFAULTS[one] for one in idle_fields(fields) if one not in asked}
    recipe = preset.but(**fields | {"kimg": preset.kimg})
    recipe = recipe.but(**{name: rate for name, rate in usual_rates_of(preset, recipe).items() if name not in asked})
    lasting = recipe.lasting(asked.get("kimg", recipe.kimg))
    return lasting.but(grow_kimg=asked["grow_kimg"]) if "grow_kimg" in asked else lasting


def half_size(recipe: Recipe) -> Recipe:
    """The recipe of the stage of half the size: of what the game is played on, for nothing is enlarged there."""
    height, width = recipe.game_resolution
    size = size_text(height // 2, width // 2)
    return recipe.but(size=size, enlarge=1, kimg=recipe.small_kimg, small_kimg=0.0, schedule_kimg=None)


def usual_rates_of(preset: Recipe, recipe: Recipe) -> dict[str, float]:
    """The learning rates of what differs from a preset, where nobody asks for others.

    Wider networks learn by smaller ones, or they dissolve: as one over the root of the width. With Adam a layer's
    outputs move by the rate times its width (Yang et al. 2022, table 3), but one over the width was too little
    (docs/experiments/rates-by-width.md). What begins with the weights of another run learns gently.
    """
    rates = {name: getattr(preset, name) for name in RATES}
    if recipe.architecture == preset.architecture and recipe.width > preset.width:
        narrower = math.sqrt(preset.width / recipe.width)
        rates = {name: float(f"{rate * narrower:.3g}") for name, rate in rates.items()}
    return {name: min(rate, GENTLE) if recipe.init_from else rate for name, rate in rates.items()}


def varied(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with changes; what becomes wider gets smaller learning rates, unless they are among the changes.

    Raises:
        HasamaError: they contradict the recipe.
    """
    changed = Recipe.from_dict(recipe.to_dict() | changes)
    if changed.width <= recipe.width:
        return changed
    return changed.but(
        **{name: rate for name, rate in usual_rates_of(recipe, changed).items() if name not in changes}
    )


def can_be(recipe: Recipe, **changes: Any) -> bool:
    """Whether nothing else in a recipe contradicts these changes."""
    try:
        recipe.but(**changes)
    except HasamaError:
        return False
    return True


def gentle_rates(recipe: Recipe) -> dict[str, float]:
    """The recipe's learning rates, or smaller ones by which the weights that a run begins with are not forgotten."""
    return {name: min(getattr(recipe, name), GENTLE) for name in RATES}


def train_command(source: str, recipe: Recipe, preset: str | None = None, out: Path | None = None) -> str:
    """The command that trains by this recipe, fit for pasting.

    Args:
        source: the pictures, as `hasama train` takes them.
        recipe: what is wanted.
        preset: from which the flags differ. Default: the one that needs the fewest.
        out: the run's folder. Default: that which the command itself chooses.
    """
    if preset is None:
        preset = min(RECIPES, key=lambda name: len(flags_of_difference(recipe, RECIPES[name])))
    place = [] if out is None else ["--out", str(out)]
    return shlex.join(["hasama", "train", source, preset, *flags_of_difference(recipe, RECIPES[preset]), *place])
