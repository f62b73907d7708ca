"""Which recipe for these pictures on this machine, and why: each choice is one short function with its reason.

The numbers are rules of thumb. Where they come from a paper, it is named; the others are this package's own, and
`hasama sweep` is how to do better.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.networks.layers import SMALLEST
from hasama.options import parse_size, size_text
from hasama.pictures.dataset import Pictures
from hasama.pictures.report import Report
from hasama.presets import DEFAULT, RECIPES, varied
from hasama.recipe import Recipe
from hasama.runs.pace import Pace, two_digits_below
from hasama.runs.standing import check_buildable
from hasama.tuning.survey import Headers, Looks, Machine, nearly_full, warnings_about

FEW, MANY = 1000, 10_000
"""Distinct pictures: up to FEW, DiffAugment (Zhao et al. 2020 had a hundred); from MANY on, none. The fewer the
pictures, the sooner the discriminator knows them by heart (Karras et al. 2020, 'limited data', section 2)."""
SIDE_CPU, SIDE_GPU = 64, 128
PLAYED_MOST = 2
"""Asked for more than so many times `SIDE_CPU` or `SIDE_GPU`, the game is played on smaller pictures, and what it
makes is enlarged. Below, full size has been better (docs/experiments/enlarging.md)."""
CARD_BATCH = 32
"""Pictures up to which a step on a graphics card takes as long as one of eight (docs/experiments/on-a-card.md)."""
CARD_HEALTH = 50.0
"""Thousands of pictures between two looks of the doctor on a graphics card, where looks at every 5 took half of the
time (docs/experiments/on-a-card.md)."""
WIDEST = 32
"""The largest width that is proposed; 64 learnt less at first, by any rate (docs/experiments/rates-by-width.md)."""
STAGED = 128
"""The shorter side, in pixels, from which a game begins with a stage of half the size."""
FIRST_SHARE, HALF_QUICKER = 0.4, 2.0
"""How much of the time that stage has, and how many times as many pictures it sees in the same time."""
SIDE_LEAST = 16
ENLARGED, SYMMETRIC = 1.1, 1.05
CLASS_LEAST, CLASSES_MOST, LABELLED = 20, 1000, 0.95
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
ENOUGH = 5000
"""Steps from which pictures are worth looking at."""


class Reason(NamedTuple):
    """A choice, in one sentence."""

    choice: str
    why: str


class Suggestion(NamedTuple):
    """A preset, what differs from it, and why.

    Attributes:
        preset: its name.
        recipe: with the length that fits the hours.
        reasons: one for each choice.
        warnings: problems with the pictures or the hours.
    """

    preset: str
    recipe: Recipe
    reasons: list[Reason]
    warnings: list[str]


def choose_form(headers: Headers, machine: Machine, size: str | None) -> tuple[Recipe, list[Reason]]:
    """Size and classes, from the headers alone: what must be known before anything is decoded.

    Raises:
        HasamaError: the wanted size cannot be made.
    """
    chosen, why = (size, "as you asked.") if size else _size(headers, machine)
    labels, told = _labels(headers)
    enlarge = _enlarge(chosen, machine)
    recipe = RECIPES[DEFAULT].but(size=chosen, enlarge=enlarge, labels=labels)
    check_buildable(recipe)
    reasons = [Reason(f"size {chosen}", why)]
    if enlarge > 1:
        played = size_text(*recipe.game_resolution)
        reasons.append(
            Reason(
                f"enlarge {enlarge}",
                f"what makes a picture is learnt quicker at {played} pixels; edges and strokes are known already.",
            )
        )
    return recipe, [*reasons, Reason("labels" if labels else "no labels", told)]


def _enlarge(size: str, machine: Machine) -> int:
    """By how much pictures of this size are to be enlarged."""
    most, factor = _most(machine), 1
    while min(parse_size(size)) > PLAYED_MOST * most * factor and factor < 8 and _possible(size, 2 * factor):
        factor *= 2
    return factor


def _most(machine: Machine) -> int:
    """The shorter side, in pixels, of the pictures that the networks are trained on."""
    return SIDE_GPU if machine.on_card else SIDE_CPU


def _size(headers: Headers, machine: Machine) -> tuple[str, str]:
    """The size, and why."""
    most = _most(machine)
    real = size_text(headers.height, headers.width)
    if headers.same and max(headers.width, headers.height) <= most and _possible(real):
        return real, f"all pictures have this size ({headers.width}x{headers.height}), which can be made as it is."
    shorter = min(headers.width, headers.height)
    side = 2 * SMALLEST
    while 2 * side <= min(most, ENLARGED * shorter):
        side *= 2
    larger = 2 * side <= ENLARGED * shorter
    capped = f"larger ones take longer: --size {2 * side}" if larger else "larger ones would only be enlarged"
    if ENLARGED * shorter < side:
        capped = "they are enlarged even for the smallest size that there is"
    if headers.crops:
        return str(side), f"the picture has {real} pixels, of which crops are cut; {capped}."
    ratio = headers.aspect
    if 1 / 1.12 < ratio < 1.12 or headers.alike < 0.7 or not 1 / 4 < ratio < 4:
        shape = "of different shapes" if headers.alike < 0.7 else "long and narrow"
        told = "about square" if 1 / 1.12 < ratio < 1.12 else f"{shape}, so that their middle is cut out"
        return str(side), f"the pictures have {real} pixels (median) and are {told}; {capped}."
    unit = 2 ** ((side // SMALLEST).bit_length() - 1)
    longer = unit * round(side * max(ratio, 1 / ratio) / unit)
    size = f"{longer}x{side}" if ratio > 1 else f"{side}x{longer}"
    return size, f"most pictures have the shape of {real}, which this keeps; {capped}."


def _possible(size: str, enlarge: int = 1) -> bool:
    try:
        check_buildable(RECIPES[DEFAULT].but(size=size, enlarge=enlarge))
    except HasamaError:
        return False
    return True


def _labels(headers: Headers) -> tuple[bool, str]:
    """Whether to learn the classes, and why."""
    classes = {name: count for name, count in headers.labels.items() if name}
    labelled = sum(classes.values()) / headers.files
    if len(classes) < 2:
        return False, "there are no sub-folders or labels that could be classes."
    if {name.lower() for name in classes} <= SPLITS:
        return False, f"{' and '.join(classes)} are parts of a data set, not classes."
    if labelled < LABELLED:
        return (
            False,
            f"{1 - labelled:.0%} of the files are in no class, and would be left out.",
        )
    least = min(classes.values())
    if least < CLASS_LEAST or len(classes) > CLASSES_MOST:
        return False, f"{len(classes)} classes, the smallest with {least}, are too few pictures for each."
    told = "each can then be asked for, but a short training is better without."
    return True, f"{len(classes)} classes with {least} pictures or more: {told}"


def choose_rest(form: Recipe, pictures: Pictures, looks: Looks, machine: Machine) -> Suggestion:
    """Networks, augmentation, mirroring, colour and batch, from what the pictures look like.

    Args:
        form: from `choose_form`.
        pictures: in that form.
        looks: what they look like, from `look_at`.
        machine: on a graphics card larger batches cost nothing.
    """
    report = pictures.report
    count = report.crops or report.used - report.copies
    preset, augment, reasons = _networks(count, bool(report.crops))
    recipe = RECIPES[preset].but(
        size=form.size, enlarge=form.enlarge, labels=form.labels, only=form.only, augment=augment
    )
    mirror = _mirror(looks, bool(report.crops))
    colour = _colour(report, looks)
    batch, told = recipe.batch, "the preset's."
    if machine.on_card and batch < CARD_BATCH:
        batch, told = CARD_BATCH, f"on a graphics card a step takes about as long as one of {batch}."
    while batch > max(SMALLEST, count):
        batch = batch // 2
        told = "there are no more pictures." if batch <= count else "the smallest, though there are fewer pictures."
    recipe = recipe.but(mirror=mirror[0], batch=batch, **({"colour": colour[0]} if colour else {}))
    reasons.append(Reason("mirror" if mirror[0] else "no mirror", mirror[1]))
    if colour:
        reasons.append(Reason(f"colour {colour[0]}", colour[1]))
    reasons.append(Reason(f"batch {batch}", told))
    if machine.on_card:
        recipe = recipe.but(health_kimg=CARD_HEALTH)
        often = "a graphics card is soon through so many, and waits while the doctor looks."
        reasons.append(Reason(f"health-kimg {CARD_HEALTH:g}", often))
    return Suggestion(preset, recipe, reasons, warnings_about(report, looks, count))


def _networks(count: int, crops: bool) -> tuple[str, str, list[Reason]]:
    """Preset and augmentation, and why."""
    if crops:
        why = f"{count:,} crops of one picture are many, if of few things."
        return DEFAULT, "none", [Reason(DEFAULT, why), Reason("no augmentation", "crops are already that.")]
    if count < FEW:
        few = "one picture is little" if count == 1 else f"{count:,} different pictures are few"
        why = f"{few}: a network that knows a thousand things already helps."
        told = "with few pictures the discriminator would learn them by heart."
        return DEFAULT, "diffaugment", [Reason(DEFAULT, why), Reason("augment diffaugment", told)]
    why = f"{count:,} different pictures are enough for the recipe that learns the most in the same time."
    if count < MANY:
        told = "it sets in when the discriminator begins to learn the pictures by heart."
        return DEFAULT, "ada", [Reason(DEFAULT, why), Reason("augment ada", told)]
    return DEFAULT, "none", [Reason(DEFAULT, why), Reason("no augmentation", "so many pictures need none.")]


def _mirror(looks: Looks, crops: bool) -> tuple[bool, str]:
    """Whether to mirror, and why."""
    if crops:
        return False, "crops of one picture are enough as they are."
    if looks.mirrored <= SYMMETRIC:
        return True, "mirrored pictures look as if they were among these; but not if there is writing in them."
    if looks.mirrored == float("inf"):
        return False, "there are too few pictures to tell whether left and right matter."
    return False, "mirrored pictures look unlike these: left and right matter."


def _colour(report: Report, looks: Looks) -> tuple[str, str] | None:
    """Fewer channels where nothing is lost by it."""
    if report.channels == 4 and looks.opaque:
        return ("grey" if looks.grey else "rgb"), "no picture is transparent anywhere."
    if report.channels == 3 and looks.grey:
        return "grey", "the files could hold colour, but have none."
    return None


def with_batch(suggestion: Suggestion, batch: int) -> Suggestion:
    """The suggestion with another batch, where its own does not fit into the memory."""
    if batch == suggestion.recipe.batch:
        return suggestion
    why = f"{suggestion.recipe.batch} pictures at once do not fit into the memory."
    others = [reason for reason in suggestion.reasons if not reason.choice.startswith("batch ")]
    reasons = [*others, Reason(f"batch {batch}", why)]
    return suggestion._replace(recipe=suggestion.recipe.but(batch=batch), reasons=reasons)


def wider(suggestion: Suggestion, machine: Machine) -> Iterator[Recipe]:
    """The suggestion's recipe with twice the width, ...: what a graphics card may have room for.

    What begins with a base has that base's width.
    """
    recipe = suggestion.recipe
    if machine.on_card and not recipe.init_from:
        width = recipe.width
        while (width := 2 * width) <= WIDEST:
            yield varied(recipe, {"width": width})


def has_room(recipe: Recipe, pace: Pace, machine: Machine, hours: float) -> bool:
    """Whether a recipe of the full length takes half of the hours at most, and leaves some memory."""
    return pace.hours(recipe.kimg) <= hours / 2 * _share_at_full_size(recipe) and not nearly_full(pace, machine)


def with_width(suggestion: Suggestion, wide: Recipe) -> Suggestion:
    """The suggestion with wider networks, for which there is room."""
    if wide.width == suggestion.recipe.width:
        return suggestion
    why = "there is time and memory for wider networks than the preset's; they learn by smaller rates."
    return suggestion._replace(recipe=wide, reasons=[*suggestion.reasons, Reason(f"width {wide.width}", why)])


def with_stage(suggestion: Suggestion, report: Report) -> Suggestion:
    """The suggestion with a stage of half the size, where that is quicker; `with_length` says how long."""
    recipe = suggestion.recipe
    if report.crops or not gains_by_a_stage(recipe):
        return suggestion
    why = "what makes a picture is learnt quicker at half the size; strokes are learnt after that."
    reasons = [*suggestion.reasons, Reason("half the size first", why)]
    return suggestion._replace(recipe=recipe.but(small_kimg=recipe.kimg), reasons=reasons)


def gains_by_a_stage(recipe: Recipe) -> bool:
    """Whether half the size first is quicker."""
    return recipe.architecture == "r3gan" and min(recipe.game_resolution) >= STAGED and not recipe.init_from


# --- length ---------------------------------------------------------------------------------------


def enough(preset: str) -> float:
    """The kimg from which this preset's pictures are worth looking at."""
    recipe = RECIPES[preset]
    return min(recipe.kimg, ENOUGH * recipe.batch / 1000)


def with_length(suggestion: Suggestion, pace: Pace, hours: float, beside: float = 0.0) -> Suggestion:
    """The length that fits the hours but for those `beside`, half at most: from `enough` to the preset's."""
    most, least = RECIPES[suggestion.preset].kimg, enough(suggestion.preset)
    left = max(hours - beside, hours / 2) * _share_at_full_size(suggestion.recipe)
    fits = left * pace.kimg_per_hour
    kimg = most if fits >= most else least if fits <= least else pace.kimg_within(left)
    recipe = suggestion.recipe.lasting(kimg)
    if recipe.small_kimg:
        recipe = recipe.but(small_kimg=two_digits_below(kimg * HALF_QUICKER * FIRST_SHARE / (1 - FIRST_SHARE)))
    takes = hours_of(recipe, pace)
    if fits >= most:
        why = f"the preset's full length takes {takes:.1f} h of the {hours:g} h."
    elif fits > least:
        why = f"what fits into {hours:g} h; the preset has {most:g}, and longer is better."
    else:
        why = f"with less there is little to see; it takes {takes:.1f} h."
    return suggestion._replace(recipe=recipe, reasons=[*suggestion.reasons, Reason(length_of(recipe), why)])


def _share_at_full_size(recipe: Recipe) -> float:
    """How much of the time is left for the game itself, beside a stage of half the size."""
    return 1 - FIRST_SHARE if recipe.small_kimg else 1.0


def length_of(recipe: Recipe) -> str:
    """The length in words: of both stages, where there are two."""
    return f"{recipe.small_kimg:g} + {recipe.kimg:g} kimg" if recipe.small_kimg else f"{recipe.kimg:g} kimg"


def hours_of(recipe: Recipe, pace: Pace) -> float:
    """How long a training takes, with the stage of half the size that it may begin with."""
    return pace.hours(recipe.kimg + recipe.small_kimg / HALF_QUICKER)


def smaller(recipe: Recipe) -> Recipe | None:
    """The same at half the size, enlarged by half as much; None if that would be too small, or cannot be made.

    What it would begin with may be too large for it.
    """
    height, width = recipe.resolution
    halved, enlarge = size_text(height // 2, width // 2), max(1, recipe.enlarge // 2)
    if min(height, width) // 2 // enlarge < SIDE_LEAST or not _possible(halved, enlarge):
        return None
    first = recipe.small_kimg if min(height, width) // 2 // enlarge >= STAGED else 0.0
    return recipe.but(size=halved, enlarge=enlarge, small_kimg=first)
