"""What `hasama style` is asked for: styles with shares, masks and regions, a place; and what does not go together."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import check_apart, check_out_folder, is_folders_name
from hasama.errors import HasamaError
from hasama.names import LONGEST_NAME, SPARE, bytes_of, check_name, fitting_name
from hasama.style.recipe import parse_mix

if TYPE_CHECKING:
    from hasama.style.canvas.regions import RegionMap
    from hasama.style.jobs.job import Job, StyleSource

NONE = "none"


def style_sources(
    styles: Sequence[Path], mix: str | None, where: list[str] | None, style_mask: list[str] | None
) -> tuple["StyleSource", ...]:
    """Each style with its share and its masks.

    Raises:
        HasamaError: there are not as many of them as styles, or a map has other colours.
    """
    from hasama.style.jobs.job import StyleSource

    shares = [1.0] * len(styles) if mix is None else parse_mix(mix, len(styles))
    parts = _masks("--style-mask", style_mask, len(styles))
    return tuple(
        StyleSource(path, share, part, *place)
        for path, share, part, place in zip(styles, shares, parts, _places(where, styles), strict=True)
    )


def _masks(flag: str, masks: list[str] | None, count: int) -> Sequence[Path | None]:
    if not masks:
        return [None] * count
    if len(masks) != count:
        raise HasamaError(f"{flag} is given once for each of the {count} styles (or is `none`); got {len(masks)}.")
    return [None if mask == NONE else Path(mask) for mask in masks]


def _places(where: list[str] | None, styles: Sequence[Path]) -> Sequence[tuple[Path | None, int | None]]:
    """For each style its mask, or the map and the number of its colour there."""
    one = bool(where) and len(set(where)) == 1 and len(where) in (1, len(styles))
    if where and one and where[0] != NONE and not any(path.is_dir() for path in styles):
        from hasama.style.canvas.regions import read_regions
        from hasama.style.masks import regions_of_styles

        path = Path(where[0])
        regions = read_regions(path)
        if regions is not None:
            numbers = regions_of_styles(regions, path, len(styles))
            _tell_regions(regions, path, dict(zip(numbers, styles, strict=True)))
            return [(path, number) for number in numbers]
    return [(mask, None) for mask in _masks("--where", where, len(styles))]


def _tell_regions(regions: "RegionMap", path: Path, styles: dict[int, Path]) -> None:
    from hasama.cli.terminal import say
    from hasama.style.canvas.regions import colour_name

    say(f"{path}: a style for each colour, in the order in which the colours first appear")
    for number, colour in enumerate(regions.colours):
        what = styles.get(number, "stays as it is")
        say(f"  {colour_name(colour)}, {100 * regions.share(number):.2g} % of the picture: {what}")


def is_run(content: Path) -> bool:
    """Whether the content is a generator, whose samples are painted: a run, a file, or a base by its name."""
    from hasama.runs.bases import is_base

    return (
        (content / "recipe.json").is_file()
        or content.suffix == ".safetensors"
        or (is_base(content) and not content.exists())
    )


def painter_among(
    styles: Sequence[Path], where: list[str] | None, style_mask: list[str] | None, changes: dict[str, Any]
) -> Path | None:
    """The taught painter among the styles, if there is one.

    Raises:
        HasamaError: it does not stand alone, or is given what it cannot do.
    """
    from hasama.style.painters.painter_header import is_painter
    from hasama.style.painters.recipe import check_painting_fields

    found = [path for path in styles if path.suffix.lower() == ".safetensors"]
    if not found:
        return None
    if len(styles) > 1:
        raise HasamaError("A painter stands alone: it holds its styles, which --mix mixes.")
    if found[0].exists() and not is_painter(found[0]):
        raise HasamaError(f"{found[0]} is not a painter that hasama teach made.")
    if not found[0].exists():
        raise HasamaError(f"There is no painter at {found[0]}.")
    masks = {name: given for name, given in (("where", where), ("style_mask", style_mask)) if given}
    check_painting_fields(changes | masks)
    return found[0]


def usual_place(content: Path, styles: Sequence[Path]) -> Path:
    """Where the painting goes if nobody says, here, under a name that is cut where it would be too long."""
    from hasama.style.jobs.film import ENDINGS, is_film

    name, mixed = _called(content), f"--{'+'.join(map(_called, styles))}"
    if bytes_of(mixed) > LONGEST_NAME // 2:  # or the content's name alone is cut
        name, mixed = name + mixed, ""
    many = any(path.is_dir() for path in (content, *styles)) and not is_run(content)
    if many:
        return Path(fitting_name(name.replace(".", "-"), mixed.replace(".", "-"), SPARE))
    ending = ".png"
    if is_film(content):
        ending = ".gif" if content.suffix.lower() == ".gif" else ".webp"
        ending = ".mp4" if content.suffix.lower() in ENDINGS else ending
    return Path(fitting_name(name, mixed + ending, SPARE))


def _called(path: Path) -> str:
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def paints_film(job: "Job") -> bool:
    """Whether a whole film is painted; of an animation, if the painting's ending can hold one."""
    from hasama.pictures.animation import is_animation
    from hasama.pictures.video import ENDINGS as WRITTEN
    from hasama.style.jobs.film import ENDINGS

    animated = job.out.suffix.lower() in WRITTEN and is_animation(job.content)
    return animated or job.content.suffix.lower() in ENDINGS


def check_job(job: "Job") -> None:
    """Before any work: does what is asked go together, and may the painting go where it is asked to?

    Raises:
        HasamaError: it does not.
    """
    _check_kinds(job)
    _check_output(job)


def _check_kinds(job: "Job") -> None:
    """Before any work: does what is asked go together?"""
    if paints_film(job):
        if job.preview or job.sixteen_bits:
            raise HasamaError("A film takes neither --preview nor --depth 16.")
        if any(source.picture.is_dir() for source in job.styles):
            raise HasamaError("A film takes single style pictures, not a folder of them.")
    if is_run(job.content) and any(source.picture.is_dir() for source in job.styles):
        raise HasamaError("A run's samples take single style pictures, not a folder of them.")


def _check_output(job: "Job") -> None:
    """Before any work: may the painting go where it is asked to?"""
    from hasama.style.recipe import STARTS

    check_name(job.out)
    sources = [job.content, *(path for style in job.styles for path in (style.picture, style.mask, style.where))]
    sources += [] if job.recipe.start in STARTS else [Path(job.recipe.start)]
    check_apart(filter(None, sources), (job.out, job.preview_file) if job.preview else (job.out,), "paint from")
    if is_folders_name(job.out):
        check_out_folder(job.out)
    folders = job.content.is_dir() and not is_run(job.content)
    if (folders or any(source.picture.is_dir() for source in job.styles)) and not is_folders_name(job.out):
        raise HasamaError(f"A folder of pictures is painted into a folder: --out without an ending, not {job.out}.")
    if not is_folders_name(job.out) and not paints_film(job):
        check_format(job)


def check_format(job: "Job") -> None:
    """Before any work: can what is painted be written as the ending says?

    Raises:
        HasamaError: it cannot.
    """
    from hasama.pictures.animation import is_animation
    from hasama.pictures.images import has_picture_ending, picture_format
    from hasama.pictures.video import check_ending
    from hasama.style.canvas.pictures import DEEP_FORMATS

    if is_animation(job.content) and not has_picture_ending(job.out):
        check_ending(job.out)
    if job.sixteen_bits and picture_format(job.out) not in DEEP_FORMATS:
        raise HasamaError(f"{job.out.suffix} holds 8 bits a channel: use .png or .tiff for --depth 16.")
    picture_format(job.out)


def only_first_of(job: "Job") -> list[str]:
    """What to tell of files that hold several pictures, of which but the first is taken."""
    from hasama.pictures.animation import is_animation, only_first
    from hasama.style.recipe import STARTS

    told = []
    if job.ready is None and not paints_film(job):
        note = only_first(job.content)
        told.append(note)
        if is_animation(job.content):
            told[-1] = f"{note} To paint all:  --out NAME.gif, .webp, .apng or .mp4"
    paths = [path for style in job.styles for path in (style.picture, style.mask, style.where)]
    paths = [path for path in paths if path and path.suffix.lower() != ".safetensors"]
    paths += [] if job.recipe.start in STARTS else [Path(job.recipe.start)]
    return [note for note in told + [only_first(path) for path in dict.fromkeys(paths) if path] if note]
