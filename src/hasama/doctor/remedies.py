"""What to do about a finding: remedies as exact flags, and the words in which findings are told."""

import shlex
from typing import Any, NamedTuple

from hasama.recipe import DEFAULTS, RECIPES, Recipe, flags_of


class Remedy(NamedTuple):
    """What may help: fields of the recipe to change, and why."""

    changes: dict[str, Any]
    why: str

    @property
    def flags(self) -> str:
        """The same as the command takes it: --generator-lr 0.0001."""
        return shlex.join(flags_of(self.changes))


def number(value: Any) -> str:
    """Three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- remedies, for a recipe -----------------------------------------------------------------------

STEADY: dict[str, Any] = {
    name: getattr(RECIPES["stable"], name)
    for name in (
        *("objective", "penalty", "generator_lr", "discriminator_lr", "generator_betas", "discriminator_betas"),
    )
} | {name: DEFAULTS[name] for name in ("referee", "strong", "critic_steps", "label_smoothing")}
"""The rules of the preset `stable` (Huang et al. 2024): they go with any networks without BatchNorm."""


def steady(recipe: Recipe) -> Remedy:
    """Relativistic, R1 and R2, no momentum, and rates that suit the networks."""
    changes = dict(STEADY)
    if recipe.gamma is not None:  # it may be too little, or the weight of another penalty
        own = RECIPES[recipe.architecture]
        rules = own if own.penalty == "r1+r2" else RECIPES["stable"]
        changes["gamma"] = rules.but(size=recipe.size).penalty_weight
    if recipe.architecture in ("dcgan", "dense"):
        changes["discriminator_norm"] = "none"
    else:
        changes |= rates_of(recipe)
    if recipe.latent_size < 16:
        changes["latent_size"] = 64
    return Remedy(changes, "the rules of the recipe `stable`, which cannot run away (Huang et al. 2024)")


def rates_of(recipe: Recipe) -> dict[str, float]:
    """The rates that the architecture's own preset has."""
    usual = RECIPES[recipe.architecture]
    return {"generator_lr": usual.generator_lr, "discriminator_lr": usual.discriminator_lr}


def usual_rates(recipe: Recipe) -> Remedy:
    """The architecture's own."""
    return Remedy(rates_of(recipe), f"the learning rates with which {recipe.architecture} works")


def slower(recipe: Recipe, times: float) -> Remedy:
    """Both rates lower."""
    changes = {"generator_lr": recipe.generator_lr / times, "discriminator_lr": recipe.discriminator_lr / times}
    return Remedy(changes, "smaller steps for both players")


def against_collapse(recipe: Recipe) -> list[Remedy]:
    """Mode collapse: a generator that paints one picture, whichever the discriminator dislikes least."""
    if recipe.architecture == "vae":
        return [usual_rates(recipe), Remedy({"latent_size": 100}, "room for what the pictures differ in")]
    slow = {"generator_lr": min(recipe.generator_lr, rates_of(recipe)["generator_lr"]) / 2}
    return [steady(recipe), Remedy(slow, "a slower generator, which cannot run after each whim of its judge")]


def against_discriminator(recipe: Recipe) -> list[Remedy]:
    """The discriminator is too strong."""
    usual = rates_of(recipe)
    lopsided = recipe.discriminator_lr > 2 * usual["discriminator_lr"] or recipe.generator_lr < (
        usual["generator_lr"] / 2
    )
    skip = {"referee": "skip-strong", "instance_noise": 0.1, "discriminator_lr": usual["discriminator_lr"] / 2}
    first = usual_rates(recipe) if lopsided else steady(recipe)
    saturates = {"objective": "non-saturating"} if recipe.objective == "minimax" else {}
    first = first._replace(changes=first.changes | saturates) if lopsided else first
    return [first, Remedy(skip | saturates, "it waits while it is too strong, and sees through noise")]


def against_generator(recipe: Recipe) -> list[Remedy]:
    """The discriminator is too weak."""
    more = {"discriminator_lr": 2 * recipe.discriminator_lr}
    return [usual_rates(recipe), Remedy(more, "a discriminator that learns twice as fast")]


def against_standstill(recipe: Recipe) -> list[Remedy]:
    """Nothing has moved since the beginning."""
    usual = usual_rates(recipe)
    again = Remedy({"seed": recipe.seed + 1}, "other first weights: these have led nowhere")
    return [usual, again] if recipe.architecture == "vae" else [usual, steady(recipe), again]


def against_swings(recipe: Recipe) -> list[Remedy]:
    """The players chase each other."""
    return [steady(recipe), slower(recipe, 2)]


def few_pictures(recipe: Recipe) -> list[Remedy]:
    """Too little to learn from."""
    augment = "ada" if recipe.augment == "diffaugment" else "diffaugment"
    ways = [Remedy({"augment": augment}, "the discriminator sees everything shifted, recoloured and cut")]
    if not recipe.mirror:
        ways.append(Remedy({"mirror": True}, "twice as many pictures, if left and right do not matter"))
    if recipe.penalty in ("r1", "r1+r2"):
        ways.append(Remedy({"gamma": 4 * recipe.penalty_weight}, "a smoother discriminator"))
    return ways


def finer(recipe: Recipe) -> list[Remedy]:
    """Nothing more comes of it as it is."""
    slower_now = {"generator_lr": recipe.generator_lr / 4, "discriminator_lr": recipe.discriminator_lr / 4}
    return [Remedy({"width": 2 * recipe.width}, "larger networks"), Remedy(slower_now, "smaller steps at the end")]


# --- words ----------------------------------------------------------------------------------------

TITLES = {
    "not-finite": "the numbers broke down",
    "divergence": "the training runs away",
    "too-few": "too few pictures",
    "all-alike": "the pictures are all alike",
    "one-colour": "the pictures are plain surfaces",
    "dead-start": "a dead start",
    "mode-collapse": "mode collapse",
    "partial-collapse": "partial mode collapse",
    "discriminator-wins": "the discriminator wins",
    "generator-wins": "the generator wins",
    "memorisation": "the generator learns pictures by heart",
    "overfitting": "the discriminator learns the pictures by heart",
    "oscillation": "the players chase each other",
    "plateau": "a plateau: a good time to stop",
}

EXPLANATIONS = {
    "not-finite": "A loss is no longer a number: the weights have run out of range. What was saved is untouched.",
    "divergence": "Losses (about {loss}), the discriminator's logits (about {logit}) or the pictures' contrast "
    "({contrast}; between black and white it is 1 at most) grow without bound. The pictures will dissolve.",
    "too-few": "There are {pictures} different pictures. A GAN that sees so few learns them by heart; hundreds are "
    "workable with augmentation, thousands are better.",
    "all-alike": "The real pictures differ from each other by only {spread} (black to white is 2): there is nothing "
    "to learn but one picture. Look at the source with `hasama images`.",
    "one-colour": "The real pictures are plain surfaces (contrast {contrast}; black to white is 2): is this the "
    "right folder, the right colour mode? Look at the source with `hasama images`.",
    "dead-start": "Since the beginning the generator's pictures have changed by only {change} of what they are: it "
    "does not learn.",
    "mode-collapse": "The generator paints nearly one picture for every latent: its pictures differ by {diversity} "
    "of what the real ones differ by (at its best {best}).",
    "partial-collapse": "A share of {repeats} of the generator's pictures has a twin among 128, where real ones "
    "have none; {covered} of the real ones have anything like them among the generated ones.",
    "discriminator-wins": "The discriminator is right about {accuracy} of all pictures and its loss is {loss}; what "
    "it says tells the generator little of where to go, and its pictures are far from the real ones (distance "
    "{distance}).",
    "generator-wins": "The discriminator recognises only {accuracy} of the fakes and is right about {right} of all "
    "pictures, though they are nothing like the real ones (distance {distance}): the generator learns from a judge "
    "who does not see.",
    "memorisation": "The generator's pictures are nearer to pictures that it was trained on than other real pictures "
    "are: {nearest} of their distance. It paints copies.",
    "overfitting": "The discriminator tells pictures that it was trained on from real ones that it has never seen: "
    "{overfit} of the way to the fakes. It learns by heart; soon the generator will, too, or get worse.",
    "oscillation": "The pictures become better and worse in turn: {relapses} times of late their distance from the "
    "real ones grew again, by a factor of {swing} or more in all. The players answer each other's last move, and "
    "neither settles.",
    "plateau": "For a third of the run the pictures have come no nearer to the real ones (distance {distance}, "
    "before {before}). A good time to stop, or to go on with larger networks or smaller steps.",
}
"""By name; what stands in braces is evidence."""
