"""What to do about a finding: remedies as exact flags."""

import shlex
from typing import Any, NamedTuple

from hasama.options import flags_of
from hasama.presets import RECIPES, usual_rates_of
from hasama.recipe import DEFAULTS, Recipe


class Remedy(NamedTuple):
    """What may help: fields of the recipe to change, and why."""

    changes: dict[str, Any]
    why: str

    @property
    def flags(self) -> str:
        """The same as the command takes it: --generator-lr 0.0001."""
        return shlex.join(flags_of(self.changes))


# --- remedies, for a recipe -----------------------------------------------------------------------


STEADY: dict[str, Any] = {
    name: getattr(RECIPES["stable"], name)
    for name in (
        *("objective", "penalty", "generator_lr", "discriminator_lr", "generator_betas", "discriminator_betas"),
    )
} | {
    name: DEFAULTS[name]
    for name in ("balance", "skip_above", "critic_steps", "label_smoothing", "penalty_sigma", "beta2_initial")
}
"""The rules of the preset `stable` (Huang et al. 2024): they go with any networks without BatchNorm."""


def steady(recipe: Recipe) -> Remedy:
    """The relativistic objective, R1 and R2, no momentum, and learning rates that suit the networks."""
    changes = dict(STEADY)
    if recipe.gamma is not None:  # it may be too small, or meant for another penalty
        own = RECIPES[recipe.architecture]
        rules = own if own.penalty == "r1+r2" else RECIPES["stable"]
        changes["gamma"] = rules.but(size=recipe.size, enlarge=recipe.enlarge).penalty_weight
    if recipe.architecture in ("dcgan", "dense"):
        rates = usual_rates_of(RECIPES["stable"], recipe)
        bare = recipe.architecture == "dense" or recipe.discriminator_norm == "none"
        is_so = recipe.penalty == "r1+r2" and bare  # such networks have their rates
        changes |= {} if bare else {"discriminator_norm": "none"}
    else:
        rates, is_so = usual_rates_of(RECIPES[recipe.architecture], recipe), True
    changes |= {name: min(rate, getattr(recipe, name)) for name, rate in rates.items()} if is_so else rates
    if recipe.latent_size < 16:
        changes["latent_size"] = 64
    return Remedy(changes, "the rules of the recipe `stable`, which do not diverge (Huang et al. 2024)")


def rates_of(recipe: Recipe) -> dict[str, float]:
    """The learning rates of the preset with such networks and such a penalty, for networks of the recipe's width."""
    usual = next((name for name in ("stable", "wgan-gp") if _goes_by(name, recipe)), recipe.architecture)
    aided = RECIPES["vision-aided"]
    if recipe.vision_aid != "none" and recipe.architecture == aided.architecture:
        usual = "vision-aided"
    return usual_rates_of(RECIPES[usual], recipe)


def _goes_by(preset: str, recipe: Recipe) -> bool:
    """Whether a recipe has a preset's networks and rules, with which its rates belong."""
    rules = "architecture", "discriminator_norm", "objective", "penalty", "generator_betas", "discriminator_betas"
    return all(getattr(recipe, name) == getattr(RECIPES[preset], name) for name in rules)


def usual_rates(recipe: Recipe) -> Remedy:
    """The architecture's own learning rates."""
    return Remedy(rates_of(recipe), f"the learning rates with which {recipe.architecture} works")


def slower(recipe: Recipe, times: float) -> Remedy:
    """Both learning rates lower."""
    changes = {"generator_lr": recipe.generator_lr / times, "discriminator_lr": recipe.discriminator_lr / times}
    return Remedy(changes, "smaller steps for both networks")


def against_collapse(recipe: Recipe) -> list[Remedy]:
    """Mode collapse: the generator makes one picture, the one that the discriminator finds most real just now."""
    if recipe.architecture == "vae":
        return [
            usual_rates(recipe),
            Remedy({"latent_size": 100}, "a latent large enough for what the pictures differ in"),
        ]
    slow = {"generator_lr": min(recipe.generator_lr, rates_of(recipe)["generator_lr"]) / 2}
    return [
        steady(recipe),
        Remedy(slow, "a slower generator, which does not follow every small change of the discriminator"),
    ]


def against_few_colours(recipe: Recipe) -> list[Remedy]:
    """Nearly all pictures have one palette."""
    ways = []
    if recipe.architecture == "r3gan":
        ways.append(Remedy({"self_modulation": True}, "the latent has a say at every stage, and so in the colours"))
    return [*ways, slower(recipe, 2)]


def against_discriminator(recipe: Recipe) -> list[Remedy]:
    """The discriminator is too strong."""
    usual = rates_of(recipe)
    lopsided = recipe.discriminator_lr > 2 * usual["discriminator_lr"] or recipe.generator_lr < (
        usual["generator_lr"] / 2
    )
    rate = min(recipe.discriminator_lr, usual["discriminator_lr"]) / 2
    skip = {"balance": "skip-strong", "instance_noise": 0.1, "discriminator_lr": rate}
    first = usual_rates(recipe) if lopsided else steady(recipe)
    saturates = {"objective": "non-saturating"} if recipe.objective == "minimax" else {}
    first = first._replace(changes=first.changes | saturates) if lopsided else first
    return [
        first,
        Remedy(
            skip | saturates, "the discriminator waits while it is too strong, and noise is added to what it is shown"
        ),
    ]


def against_generator(recipe: Recipe) -> list[Remedy]:
    """The discriminator is too weak."""
    more = {"discriminator_lr": 2 * recipe.discriminator_lr}
    return [usual_rates(recipe), Remedy(more, "a discriminator that learns twice as fast")]


def against_standstill(recipe: Recipe) -> list[Remedy]:
    """Nothing has moved since the beginning."""
    usual = usual_rates(recipe)
    again = Remedy({"seed": recipe.seed + 1}, "other first weights: with these it does not learn")
    return [usual, again] if recipe.architecture == "vae" else [usual, steady(recipe), again]


def against_swings(recipe: Recipe) -> list[Remedy]:
    """Generator and discriminator chase each other."""
    return [steady(recipe), slower(recipe, 2)]


def few_pictures(recipe: Recipe) -> list[Remedy]:
    """There are too few pictures to learn from."""
    augment = "ada" if recipe.augment == "diffaugment" else "diffaugment"
    changes: dict[str, Any] = {"augment": augment}
    if recipe.penalty_sigma:  # of a penalty that compares two looks at one picture, which augmentation makes differ
        changes["penalty_sigma"] = 0.0
    ways = [Remedy(changes, "the discriminator is shown everything shifted, recoloured and cut")]
    if not recipe.mirror:
        ways.append(Remedy({"mirror": True}, "twice as many pictures, if left and right do not matter"))
    if recipe.penalty in ("r1", "r1+r2"):
        ways.append(Remedy({"gamma": 4 * recipe.penalty_weight}, "a smoother discriminator"))
    return ways


def finer(recipe: Recipe) -> list[Remedy]:
    """The training makes no more progress as it is.

    Larger networks only where they can begin with the weights that these began with: r3gan alone widens them. Its
    generator is made deeper first, for that brings more than width, and costs less (docs/experiments/depth.md).
    """
    slower_now = {"generator_lr": recipe.generator_lr / 4, "discriminator_lr": recipe.discriminator_lr / 4}
    last = Remedy(slower_now, "smaller steps at the end")
    if recipe.init_from and recipe.architecture != "r3gan":
        return [last]
    if recipe.architecture == "r3gan" and (deeper := _deeper(recipe)):
        return [Remedy(deeper, "a deeper generator, in which far places see each other"), last]
    wider = {"width": 2 * recipe.width}
    if recipe.generator_width is not None:
        wider["generator_width"] = 2 * recipe.generator_width
    return [Remedy(wider, "larger networks"), last]


def _deeper(recipe: Recipe) -> dict[str, Any]:
    """What a generator lacks to be as deep as that of `vision-aided`: more was measured to cost what it brings."""
    deep = {name: getattr(RECIPES["vision-aided"], name) for name in ("generator_blocks", "generator_attention")}
    return {name: enough for name, enough in deep.items() if getattr(recipe, name) < enough}
