"""hasama style: pictures, folders of pictures, films and a GAN's samples painted in the style of others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hasama.cli.flags import INTERRUPTED, asked_to_stop, default_of, flags_of, given, use_threads
from hasama.errors import HasamaError
from hasama.style.recipe import STYLE_GROUPS, STYLE_RECIPES, style_recipe_named

if TYPE_CHECKING:
    from hasama.style.painting_file import Job

    AnyChanges = Any  # the flags of `StyleRecipe`, each of them optional


def style_flags(preset: str = "best") -> Any:
    """The flags of `StyleRecipe`, each of them optional; the help shows a preset's values as defaults."""
    told = f"What differs from the recipe. The defaults, here and below, are those of {preset}."
    return flags_of(STYLE_RECIPES[preset], "StyleFlags", STYLE_GROUPS, default_of, told)


StyleFlags = style_flags()
if not TYPE_CHECKING:
    AnyChanges = Annotated[StyleFlags, Parameter(name="*")]

NONE = "none"
LARGEST_SHARE = 1e6


def style(
    content: Path,
    /,
    *styles: Path,
    out: Path | None = None,
    recipe: str = "best",
    mix: str | None = None,
    where: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    style_mask: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    preview: bool = False,
    depth: Literal["auto", "8", "16"] = "auto",
    samples: int = 16,
    memory: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    changes: AnyChanges = StyleFlags(),  # noqa: B008 (frozen)
) -> int:
    """Repaint a picture in the style of others; or, with the same command again, go on where it stands.

    Ctrl-C saves and stops.

    Parameters
    ----------
    content
        A picture, a folder of pictures, a film (.mp4, ...), or a run's folder, whose samples are painted.
    styles
        Pictures to take the style from. Several are mixed; of a folder, each makes a painting of its own.
    out
        The painted picture, or a name without ending for a folder of them; of a film: .mp4, .gif or .webp.
        Default: CONTENT--STYLE.png here.
    recipe
        best, lesson (Gatys et al.: noise, Gram matrices, L-BFGS) or sketch (small and quick).
    mix
        How much each style counts, such as 2,1.
    where
        For each style a grey picture: where on the canvas it is painted (white) and where not; or none.
    style_mask
        For each style a grey picture: which part of it is learnt from; or none.
    preview
        Keep OUT-preview.png up to date.
    depth
        Bits a channel of the painted picture; auto: as the content has it. 16 needs .png or .tiff.
    samples
        Of a run: how many of its pictures to paint, as one grid, or into a folder one by one.
    memory
        What the whole process may take, such as 2GB; larger pictures then go through the network tile by tile,
        to the same result. Default: most of what is free.
    weights
        The network's weights: a file of torchvision's VGG19 or VGG16. Default: the packaged VGG19.
    device
        auto, cpu, cuda, cuda:1, mps, ...
    threads
        CPU threads.
    changes
        What differs from the recipe.
    """
    chosen = style_recipe_named(recipe).but(**given(changes))
    if not styles:
        raise HasamaError(f"Name a picture to take the style from:  hasama style {content} STYLE")
    use_threads(threads)

    from hasama.style.film import ENDINGS
    from hasama.style.memory import parse_memory
    from hasama.style.painting import Machine
    from hasama.style.painting_file import Job, StyleSource

    sources = tuple(
        StyleSource(path, weight, part, place)
        for path, weight, part, place in zip(
            styles,
            _shares(mix, len(styles)),
            _masks("--style-mask", style_mask, len(styles)),
            _masks("--where", where, len(styles)),
            strict=True,
        )
    )
    machine = Machine(device, None if memory is None else parse_memory(memory), weights)
    bits = {"auto": None, "8": False, "16": True}[depth]
    job = Job(content, sources, out or _place(content, styles), chosen, machine, preview, bits)
    _check_kinds(job)
    _check_output(job)
    if content.suffix.lower() in ENDINGS:
        return _film(job)
    if _is_run(content):
        return _paint_all(_sample_jobs(job, samples))
    if content.is_dir() or any(path.is_dir() for path in styles) or not job.out.suffix:
        from hasama.style.batch import batch_jobs

        return _paint_all(batch_jobs(job))
    return _paint_all([job])


def _shares(mix: str | None, count: int) -> list[float]:
    if mix is None:
        return [1.0] * count
    try:
        shares = [float(part) for part in mix.split(",")]
    except ValueError:
        shares = []
    if len(shares) != count or not all(0 < share <= LARGEST_SHARE for share in shares):
        raise HasamaError(f"--mix takes a positive number for each of the {count} styles, such as 2,1; got {mix!r}.")
    return shares


def _masks(flag: str, masks: list[str] | None, count: int) -> Sequence[Path | None]:
    if not masks:
        return [None] * count
    if len(masks) != count:
        raise HasamaError(f"{flag} is given once for each of the {count} styles (or is `none`); got {len(masks)}.")
    return [None if mask == NONE else Path(mask) for mask in masks]


def _is_run(content: Path) -> bool:
    return (content / "recipe.json").is_file() or content.suffix == ".safetensors"


def _place(content: Path, styles: Sequence[Path]) -> Path:
    """Where the painting goes if nobody says."""
    from hasama.style.film import ENDINGS

    name = f"{_called(content)}--{'+'.join(map(_called, styles))}"
    if content.suffix.lower() in ENDINGS:
        return Path(f"{name}.mp4")
    many = any(path.is_dir() for path in (content, *styles)) and not _is_run(content)
    return Path(name.replace(".", "-")) if many else Path(f"{name}.png")


def _called(path: Path) -> str:
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def _check_kinds(job: "Job") -> None:
    """Before any work: does what is asked go together?"""
    from hasama.style.film import ENDINGS

    if job.content.suffix.lower() in ENDINGS:
        if job.preview or job.sixteen_bits:
            raise HasamaError("A film takes neither --preview nor --depth 16.")
        if any(source.picture.is_dir() for source in job.styles):
            raise HasamaError("A film takes single style pictures, not a folder of them.")
    if _is_run(job.content) and any(source.picture.is_dir() for source in job.styles):
        raise HasamaError("A run's samples take single style pictures, not a folder of them.")


def _check_output(job: "Job") -> None:
    """Before any work: may the painting go where it is asked to?"""
    from hasama.style.film import ENDINGS
    from hasama.style.recipe import STARTS

    sources = [job.content, *(path for style in job.styles for path in (style.picture, style.mask, style.where))]
    sources += [] if job.recipe.start in STARTS else [Path(job.recipe.start)]
    taken = {path.resolve() for path in sources if path}
    for place in (job.out, job.preview_file) if job.preview else (job.out,):
        if place.resolve() in taken:
            raise HasamaError(f"{place} is one of the pictures to paint from: choose another --out.")
    if not job.out.suffix and job.out.exists() and not job.out.is_dir():
        raise HasamaError(f"Cannot write into {job.out}: it is no folder. Choose another --out.")
    folders = job.content.is_dir() and not _is_run(job.content)
    if (folders or any(source.picture.is_dir() for source in job.styles)) and job.out.suffix:
        raise HasamaError(f"A folder of pictures is painted into a folder: --out without an ending, not {job.out}.")
    if job.out.suffix and job.content.suffix.lower() not in ENDINGS:
        from hasama.pictures.images import picture_format
        from hasama.style.canvas.pictures import DEEP_FORMATS

        if job.sixteen_bits and picture_format(job.out) not in DEEP_FORMATS:
            raise HasamaError(f"{job.out.suffix} holds 8 bits a channel: use .png or .tiff for --depth 16.")
        picture_format(job.out)


def _sample_jobs(job: "Job", count: int) -> list["Job"]:
    """A GAN's samples: one grid, or a folder of single ones."""
    if not 1 <= count <= 10_000:
        raise HasamaError("--samples takes 1 to 10000.")

    import numpy as np

    from hasama.cli.arguments import open_generator
    from hasama.generators.sampling import draw_latents, generate_all, labels_for
    from hasama.pictures.images import grid
    from hasama.style.canvas.pictures import from_pixels

    generator = open_generator(job.content, "cpu")
    pixels = generate_all(
        generator, draw_latents(job.recipe.seed, count, generator.latent_size), labels_for(generator, count)
    )
    if job.out.suffix:
        together = np.asarray(grid(pixels, smallest=1, gap=0))
        return [job._replace(ready=from_pixels(together[..., None] if together.ndim == 2 else together))]
    name = "+".join(source.picture.stem for source in job.styles)
    return [
        job._replace(ready=from_pixels(one), out=job.out / f"seed{job.recipe.seed}-{number:06d}--{name}.png")
        for number, one in enumerate(pixels)
    ]


def _paint_all(jobs: list["Job"]) -> int:
    """One after another. What cannot be painted is told and passed over, unless it is the only one."""
    from hasama.cli.terminal import complain, say
    from hasama.style.painting_file import is_done

    failed = []
    with asked_to_stop() as asked:
        for number, job in enumerate(jobs, 1):
            if asked():
                break
            try:
                if is_done(job):
                    say(f"{job.out} is already painted.")
                    continue
                if len(jobs) > 1:
                    say(f"[{number}/{len(jobs)}] {job.content}")
                _paint(job, asked)
            except HasamaError as error:
                if len(jobs) == 1:
                    raise
                complain(str(error))
                failed.append(job)
        if asked() and not is_done(jobs[-1]):
            say("\nSaved. To go on, give the same command again.")
            return INTERRUPTED
    if failed:
        say(f"{len(jobs) - len(failed)} of {len(jobs)} painted; {len(failed)} could not be.")
    return 2 if len(failed) == len(jobs) else 0


def _paint(job: "Job", asked: Callable[[], bool]) -> None:
    from hasama.cli.progress import watch_painting
    from hasama.cli.terminal import duration, say
    from hasama.files import read_json
    from hasama.style.painting_file import is_done, paint_file

    for _ in watch_painting(paint_file(job, asked)):
        pass
    if asked() and not is_done(job):
        return
    told = read_json(job.report, "report")
    width, height = told["size"]
    say(
        f"{job.out}  {width}x{height}, {told['iterations']} steps in {duration(told['seconds'])}, "
        f"at most {told['peak_memory_mib']:.0f} MiB"
    )


def _film(job: "Job") -> int:
    from hasama.cli.progress import watch_film
    from hasama.cli.terminal import say
    from hasama.style.film import film_is_done, paint_film

    if film_is_done(job):
        say(f"{job.out} is already painted.")
        return 0
    with asked_to_stop() as asked:
        for _ in watch_film(paint_film(job, asked)):
            pass
        if asked() and not film_is_done(job):
            say("\nThe pictures painted so far are kept. To go on, give the same command again.")
            return INTERRUPTED
    say(f"{job.out}")
    return 0
