"""hasama style: pictures, folders of pictures, films and a GAN's samples painted in the style of others."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hasama.cli.arguments import is_folders_name
from hasama.cli.flags import INTERRUPTED, asked_to_stop, default_of, flags_of, given, told_of_notices, use_threads
from hasama.cli.streams import STREAM, only_results, streamed
from hasama.cli.style_arguments import (
    check_job,
    is_run,
    only_first_of,
    painter_among,
    paints_film,
    style_sources,
    usual_place,
)
from hasama.errors import HasamaError
from hasama.names import SPARE, counted, fitting_name
from hasama.style.recipe import STYLE_GROUPS, STYLE_RECIPES, style_recipe_named

if TYPE_CHECKING:
    from hasama.claims import Claim
    from hasama.style.jobs.job import Job

    AnyChanges = Any  # the flags of `StyleRecipe`, each of them optional


def style_flags(preset: str = "best") -> Any:
    """The flags of `StyleRecipe`, each of them optional; the help shows a preset's values as defaults."""
    told = f"What differs from the recipe. The defaults, here and below, are those of {preset}."
    return flags_of(STYLE_RECIPES[preset], "StyleFlags", STYLE_GROUPS, default_of, told)


SAMPLES = 16
"""Of a run, that are painted where no number is given."""

StyleFlags = style_flags()
if not TYPE_CHECKING:
    AnyChanges = Annotated[StyleFlags, Parameter(name="*")]


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
    samples: int | None = None,
    sheet: bool = False,
    json: bool = False,
    memory: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    changes: AnyChanges = StyleFlags(),  # noqa: B008 (frozen)
) -> int:
    """Repaint a picture in the style of others; or, with the same command again, go on where it stands.

    Started several times, on one machine or on many that share the folder, the commands share the pictures, and what
    a killed one has left is painted by another. Ctrl-C saves and stops (of a film with a taught painter, which is
    quick, nothing is left). Exit code 1: some of several pictures, or a part of a film, could not be painted.

    Parameters
    ----------
    content
        A picture, a folder of pictures, a film (.mp4, ...), an animation (GIF, WebP, APNG), or a run's folder, whose
        samples are painted. - reads a picture from standard input.
    styles
        Pictures to take the style from. Several are mixed; of a folder, each makes a painting of its own. Or a
        painter that `hasama teach` made, which paints at once, at the content's own size.
    out
        The painted picture, or a name without ending for a folder of them; of a film or an animation: .mp4, .gif,
        .webp or .apng. With another ending, such as .png, only an animation's first picture is painted. - writes
        a PNG to standard output. Default: CONTENT--STYLE.png here.
    recipe
        best, neighbour (strokes where they belong), lesson (Gatys et al.: noise, Gram matrices, L-BFGS), sketch
        (small and quick) or instant (in seconds, without an optimizer).
    mix
        How much each style counts, such as 2,1.
    where
        Once for each style, in their order: a grey picture, where on the canvas it is painted (white) and where not;
        or none. Or, once in all, a coloured map with a colour for each style, in the order in which the colours first
        appear, row by row from the top; of one colour more, black stays as it is.
    style_mask
        Once for each style, in their order: a grey picture, which part of it is learnt from; or none.
    preview
        Keep OUT-preview.png up to date.
    depth
        Bits a channel of the painted picture; auto: as the content has it. 16 needs .png or .tiff.
    samples
        Of a run: how many of its pictures to paint, as one grid, or into a folder one by one. Default: 16.
    sheet
        Of several paintings: also sheet.png in their folder, with all of them side by side.
    json
        Print what was done as JSON; all else goes to standard error.
    memory
        What the whole process may take, such as 2GB; larger pictures then go through the network tile by tile,
        to the same picture but for single pixels. Default: most of what is free.
    weights
        The network's weights: a file of torchvision's VGG19 or VGG16. Default: the packaged VGG19.
    device
        auto, cpu, cuda, cuda:1, mps, ...
    threads
        CPU threads.
    changes
        What differs from the recipe.
    """
    began = time.time_ns()
    wanted, base = given(changes), style_recipe_named(recipe)
    to_output = STREAM in (out, content if out is None else None)
    if json and to_output:
        raise HasamaError("Standard output takes the picture or the JSON, not both: name a file by --out.")
    if not styles:
        raise HasamaError(f"Name a picture to take the style from:  hasama style {content} STYLE")
    if STREAM in styles:
        raise HasamaError("Standard input (-) can be the content; a style is a file or a folder.")
    use_threads(threads)

    from hasama.style.jobs.job import Job
    from hasama.style.memory import parse_memory
    from hasama.style.painting import Machine

    with only_results(json or STREAM in (content, out)), streamed(content, out) as (content, out):
        others = {"recipe": recipe != "best", "preview": preview, "weights": weights is not None}
        asked = wanted | {name: True for name in others if others[name]}
        if is_run(content):
            asked.pop("seed", None)  # which is that of the run's samples
        taught = painter_among(styles, where, style_mask, asked)
        chosen = (style_recipe_named("instant") if taught else base).but(**wanted)
        sources = style_sources(styles, None if taught else mix, where, style_mask)
        machine = Machine(device, None if memory is None else parse_memory(memory), weights, threads)
        bits = {"auto": None, "8": False, "16": True}[depth]
        job = Job(
            content, sources, out or usual_place(content, styles), chosen, machine, preview, bits, keeps=out is None
        )
        if to_output and paints_film(job):
            raise HasamaError("Standard output takes a picture; of a film, name the file by --out.")
        check_job(job)
        if sheet and (not is_folders_name(job.out) or paints_film(job)):
            raise HasamaError("--sheet is of several paintings: with a folder of pictures or of styles.")
        jobs = _jobs(job, samples)
        if taught:
            code = _paint_at_once(taught, job, jobs, mix, wanted.get("size", 0))
        else:
            code = _film(job) if paints_film(job) else paint_all(jobs)
        if sheet:
            save_sheet(jobs, job.out / "sheet.png", taught is not None)
    if json:
        _print_reports([job] if paints_film(job) else jobs, began, code)
    return code


def _paint_at_once(painter: Path, job: "Job", jobs: list["Job"], mix: str | None, size: int) -> int:
    """With a taught painter."""
    from hasama.cli.painters import film_with, paint_with

    if not paints_film(job):
        return paint_with(painter, jobs, mix, size)
    if size:
        raise HasamaError("A painter paints films at their own size: leave --size away.")
    with asked_to_stop() as asked:
        return film_with(painter, job, mix, asked)


def _jobs(job: "Job", samples: int | None) -> list["Job"]:
    """One for each painting."""
    from hasama.style.jobs.batch import batch_jobs

    if is_run(job.content):
        return _sample_jobs(job, SAMPLES if samples is None else samples)
    if samples is not None:
        raise HasamaError(f"--samples are a run's; {job.content} is no run's folder.")
    if paints_film(job):
        return []
    folders = job.content.is_dir() or any(source.picture.is_dir() for source in job.styles)
    return batch_jobs(job) if folders or is_folders_name(job.out) else [job]


def save_sheet(jobs: list["Job"], place: Path, at_once: bool = False) -> None:
    """All that is painted, side by side: a row for each content if there are several."""
    from hasama.claims import waited_for
    from hasama.cli.terminal import complain, say
    from hasama.pictures.images import save_picture
    from hasama.style.jobs.job import is_done
    from hasama.style.jobs.sheet import Tile, sheet

    with waited_for(place):  # of several processes the last one sees all
        tiles = [Tile(job.out.stem, job.out) for job in jobs if job.out.exists() and (at_once or is_done(job))]
        contents = len({job.content for job in jobs})
        if tiles:
            columns = len(jobs) // contents if 1 < contents < len(jobs) == len(tiles) else None
            try:
                whole = sheet(tiles, columns)
            except HasamaError as error:  # such as a painting that is too large to be opened for it
                complain(f"{place} is not made, though all is painted: {error}")
                return
            save_picture(whole, place)
            say(f"{place}: {counted(len(tiles), 'painting')}")


def _print_reports(jobs: list["Job"], began: int, code: int) -> None:
    """What was done, as JSON: the report of each painting that is there, with its place.

    Args:
        jobs: all of them.
        began: when the command did, in nanoseconds.
        code: its exit code. If it is not 0, some may stand there from before, and say nothing of this command.
    """
    from json import dumps

    from hasama.cli.terminal import say
    from hasama.files import read_json
    from hasama.style.jobs.job import is_done

    def told(job: "Job") -> bool:
        if code == 0 or job.report.stat().st_mtime_ns >= began:
            return True
        with suppress(HasamaError):
            return is_done(job)
        return False

    there = [job for job in jobs if job.report.exists() and told(job)]
    say(dumps([{"out": str(job.out), **read_json(job.report, "report")} for job in there], indent=2))


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
    if not is_folders_name(job.out):
        together = np.asarray(grid(pixels, smallest=1, gap=0))
        return [job._replace(ready=from_pixels(together[..., None] if together.ndim == 2 else together))]
    name, seed = "+".join(source.picture.stem for source in job.styles), f"seed{job.recipe.seed}"
    names = [fitting_name(f"{seed}-{number:06d}--{name}", ".png", SPARE) for number in range(len(pixels))]
    return [
        job._replace(ready=from_pixels(one), out=job.out / called) for one, called in zip(pixels, names, strict=True)
    ]


def paint_all(jobs: list["Job"]) -> int:
    """One after another, except what other processes paint. What cannot be painted is told and passed over.

    Returns:
        The exit code: 0, `PARTLY` if some could not be painted, 2 if none could, `INTERRUPTED`.

    Raises:
        HasamaError: the only one cannot be painted.
    """
    from hasama.cli.painters import told_of_turns
    from hasama.cli.terminal import say
    from hasama.style.jobs.job import is_done
    from hasama.style.jobs.shared import share

    told: set[str] = set()
    with asked_to_stop() as asked:

        def paint(number: int, job: "Job", claim: "Claim") -> None:
            if len(jobs) > 1:
                say(f"[{number}/{len(jobs)}] {job.content}")
            _tell_first(job, told)
            _paint(job, asked, lambda: claim.lost)

        return told_of_turns(share(jobs, is_done, paint), jobs, asked)


def _tell_first(job: "Job", told: set[str]) -> None:
    """Of which files only the first picture is taken, each told once."""
    from hasama.cli.terminal import say

    for note in only_first_of(job):
        if note not in told:
            say(note, "yellow")
            told.add(note)


def _paint(job: "Job", asked: Callable[[], bool], lost: Callable[[], bool]) -> None:
    from hasama.cli.progress import watch_painting
    from hasama.cli.terminal import duration, say
    from hasama.files import read_json
    from hasama.style.jobs.job import is_done
    from hasama.style.jobs.painting_file import paint_file

    for _ in watch_painting(paint_file(job, asked, lost)):
        pass
    if lost() or (asked() and not is_done(job)):
        return
    told = read_json(job.report, "report")
    width, height = told["size"]
    say(
        f"{job.out}  {width}x{height}, {told['iterations']} steps in {duration(told['seconds'])}, "
        f"at most {told['peak_memory_mib']:.0f} MiB"
    )


def _film(job: "Job") -> int:
    from hasama.cli.painters import held_alone
    from hasama.cli.progress import watch_film
    from hasama.cli.terminal import say
    from hasama.files import read_json
    from hasama.style.jobs.film import film_is_done, paint_film

    if film_is_done(job):
        say(f"{job.out} is already painted.")
        return 0
    _tell_first(job, set())
    with held_alone(job) as claim, asked_to_stop() as asked:
        for _ in watch_film(paint_film(job, lambda: asked() or claim.lost)):
            pass
        if asked() and not film_is_done(job):
            say("\nThe pictures painted so far are kept. To go on, give the same command again.")
            return INTERRUPTED
    say(f"{job.out}")
    return told_of_notices(read_json(job.report, "report").get("notices", []))
