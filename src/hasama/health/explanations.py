"""The titles and explanations of the findings."""

from typing import Any


def number(value: Any) -> str:
    """Three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def explained(name: str, evidence: dict[str, float]) -> str:
    """The explanation of that name with figures: three digits, or, of a share called NAME_percent, per cent."""
    percent = {f"{key}_percent": f"{100 * value:.3g} %" for key, value in evidence.items()}
    return EXPLANATIONS[name].format_map({key: number(value) for key, value in evidence.items()} | percent)


# --- words ----------------------------------------------------------------------------------------


TITLES = {
    "not-finite": "the numbers broke down",
    "divergence": "the training diverges",
    "too-few": "too few pictures",
    "all-alike": "the pictures are all alike",
    "one-colour": "the pictures are plain surfaces",
    "dead-start": "a dead start",
    "mode-collapse": "mode collapse",
    "partial-collapse": "partial mode collapse",
    "few-colours": "few colours: nearly one palette for all",
    "discriminator-wins": "the discriminator wins",
    "generator-wins": "the generator wins",
    "memorisation": "the generator learns pictures by heart",
    "overfitting": "the discriminator learns the pictures by heart",
    "oscillation": "oscillation: generator and discriminator chase each other",
    "plateau": "a plateau: a good time to stop",
}


EXPLANATIONS = {
    "not-finite": "A loss is no longer a number: the weights are too large. What was saved before is untouched.",
    "divergence": "Losses (about {loss}), the discriminator's logits (about {logit}) or the pictures' contrast "
    "({contrast}; between black and white it is 1 at most) grow without bound. The pictures will become noise.",
    "too-few": "There are {pictures} different pictures. A GAN learns so few by heart; hundreds are enough with "
    "augmentation, thousands are better.",
    "all-alike": "The real pictures differ from each other by only {spread} (black to white is 2): there is only "
    "one picture to learn. Look at the source with `hasama images`.",
    "one-colour": "The real pictures are plain surfaces (contrast {contrast}; black to white is 2): is this the "
    "right folder, the right colour mode? Look at the source with `hasama images`.",
    "dead-start": "Since the beginning the generator's pictures have hardly changed (by {change_percent}): it "
    "does not learn.",
    "mode-collapse": "The generator makes nearly the same picture for every latent: its pictures differ from each "
    "other by {diversity} of what the real ones differ by (at its best {best}).",
    "partial-collapse": "Of 128 generated pictures {repeats_percent} have a twin among the others; real pictures "
    "have none. Only {covered_percent} of the real pictures have a generated one near them.",
    "few-colours": "The mean colours of the generated pictures differ from each other by only {colours} of what "
    "those of the real ones do: nearly all have the same paper and the same few colours.",
    "discriminator-wins": "The discriminator is right about {accuracy_percent} of all pictures and its loss is "
    "{loss}: its gradient tells the generator little, and the generated pictures are far from the real ones "
    "(distance {distance}).",
    "generator-wins": "The discriminator recognises only {accuracy_percent} of the fakes and is right about "
    "{right_percent} of all pictures, though the fakes are far from the real ones (distance {distance}): the "
    "generator cannot learn from a discriminator that does not tell real from fake.",
    "memorisation": "The generator's pictures are nearer to the training pictures than other real pictures are: at "
    "{nearest} of their distance. They are copies.",
    "overfitting": "The discriminator tells its training pictures from real pictures that were held out: their "
    "logits lie {overfit} of the way to those of the fakes. It learns by heart; soon the generator will, too, or it "
    "will get worse.",
    "oscillation": "The pictures become better and worse in turn: {relapses} times lately their distance to the real "
    "ones grew again, by a factor of {swing} or more in all. Each network only answers the last change of the other, "
    "and neither settles.",
    "plateau": "For a third of the run the distance to the real pictures has not become smaller ({distance}, "
    "before {before}). A good time to stop, or to go on with larger networks or smaller steps.",
}
"""By name; what stands in braces is filled in from the evidence, see `explained`."""
