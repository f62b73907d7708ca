"""The words in which findings are told."""

from typing import Any


def number(value: Any) -> str:
    """Three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
