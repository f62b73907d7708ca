"""The command: one small function for each thing people do. torch is imported only where it is needed."""

import dataclasses
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from hasama import __version__
from hasama.errors import HasamaError
from hasama.recipe import PRESETS, Recipe, flag, recipe_named

INTERRUPTED = 130

app = App(
    name="hasama",
    help="Train generative adversarial networks on your own pictures, on one ordinary computer.",
    help_epilogue="Begin with:  hasama train digits demo   or   hasama train FOLDER --size 64",
    version=__version__,
)


def _changes() -> Any:
    """A dataclass of the recipe's fields in which None means: as the preset has it."""
    group = Group("Recipe", help="What differs from the preset.", sort_key=9)
    fields = []
    for field in dataclasses.fields(Recipe):
        default = "" if field.default is None else f" [default: {_plain(field.default)}]"
        parameter = Parameter(
            help=field.metadata["help"] + default,
            group=group,
            show_default=False,
            negative_iterable=(),
            negative_none=(),
        )
        kind: Any = field.type
        fields.append((field.name, Annotated[kind | None, parameter], dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("Changes", fields, frozen=True)
    made.__module__ = __name__  # cyclopts looks into classes only if they are not from the standard library
    return made


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


Changes = _changes()
if TYPE_CHECKING:
    AnyChanges = Any  # the flags of `Recipe`, each of them optional
else:
    AnyChanges = Annotated[Changes, Parameter(name="*")]


def _given(changes: Any) -> dict[str, Any]:
    """The fields that the user gave."""
    return {name: value for name, value in vars(changes).items() if value is not None}


# --- train ----------------------------------------------------------------------------------------


@app.command
def train(
    source: str,
    recipe: str = "dcgan",
    /,
    *,
    out: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    tensorboard: bool = False,
    steps: int | None = None,
    changes: AnyChanges = Changes(),  # noqa: B008 (frozen)
) -> int:
    """Train on pictures; or, with the same command again, go on where the run stands.

    Ctrl-C saves and stops.

    Parameters
    ----------
    source
        A folder, a zip, an .npz of uint8 images, one picture (random crops of it), or a built-in name: digits,
        mnist, fashion-mnist, cifar10.
    recipe
        A preset: see `hasama recipes`.
    out
        The run's folder. Default: runs/SOURCE-RECIPE.
    device
        auto, cpu, cuda, cuda:1, mps, ...
    threads
        CPU threads; a resumed run repeats bit for bit only with the same number.
    tensorboard
        Also write TensorBoard logs into the run's folder.
    steps
        The length in steps instead of kimg.
    changes
        What differs from the preset.
    """
    given = _given(changes)
    chosen = recipe_named(recipe).but(**given)
    if steps is not None:
        if "kimg" in given:
            raise HasamaError("Give the length as --kimg or as --steps, not both.")
        if steps < 1:
            raise HasamaError(f"--steps must be at least 1; got {steps}.")
        given["kimg"] = steps * chosen.batch / 1000
        chosen = chosen.but(kimg=given["kimg"])

    from hasama.run import Run
    from hasama.session import Opening

    run = Run(out or Path("runs") / f"{_name(source)}-{recipe}")
    _check_machine(device, threads, tensorboard)
    return _train(Opening.of(source, chosen, run, given)._replace(threads=threads), device, tensorboard)


@app.command
def resume(
    run: Path,
    /,
    *,
    kimg: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    tensorboard: bool = False,
) -> int:
    """Go on with a run where it stands.

    Parameters
    ----------
    run
        The run's folder.
    kimg
        A new length in thousands of images.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    tensorboard
        Also write TensorBoard logs.
    """
    from hasama.run import Run
    from hasama.session import Opening

    place = Run(run)
    recipe = place.recipe() if kimg is None else place.recipe().but(kimg=kimg)
    if kimg is not None and recipe.images < place.images_seen():
        raise HasamaError(f"{run} already has {place.images_seen() / 1000:g} kimg: --kimg takes a larger length.")
    _check_machine(device, threads, tensorboard)
    return _train(Opening.resumed(place, recipe)._replace(threads=threads), device, tensorboard)


def _check_machine(device: str, threads: int | None, tensorboard: bool) -> None:
    """Before any work: can this machine do what is asked?"""
    from hasama.device import pick_device

    pick_device(device)
    if tensorboard:
        from hasama.board import check_installed

        check_installed()
    if threads is not None:
        import torch

        if not 1 <= threads <= 1024:
            raise HasamaError(f"--threads must be between 1 and 1024; got {threads}.")
        torch.set_num_threads(threads)


def _train(opening: Any, device: str, tensorboard: bool) -> int:
    from hasama.board import to_tensorboard
    from hasama.show import say, watch_scan, watch_training

    run, recipe = opening.run, opening.recipe
    if opening.notice:
        say(opening.notice, "yellow")
    watch_scan(opening.scan())
    start = run.images_seen()
    say(_told(opening, start))
    with _asked_to_stop() as asked:
        records = opening.session(device, asked)
        if tensorboard:
            records = to_tensorboard(records, run, recipe)
        for _ in watch_training(records, recipe, start):
            pass
        interrupted = asked()
    return _farewell(run, recipe, interrupted)


def _told(opening: Any, start: int) -> str:
    """What is about to happen."""
    run, recipe = opening.run, opening.recipe
    if start >= recipe.images:
        return f"{run.folder} already has its {recipe.kimg:g} kimg."
    logged = run.log()[-1]["images_seen"] if run.log() else 0
    lost = (
        f" What came after, up to {logged / 1000:g} kimg, was not saved, and is done again." if logged > start else ""
    )
    if start or lost:
        return f"Going on with {run.folder} at {start / 1000:g} of {recipe.kimg:g} kimg.{lost}"
    report, steps = opening.pictures().report.text(), math.ceil(recipe.images / recipe.batch)
    told = f"Training {recipe.architecture} into {run.folder}: {steps:,} steps of {recipe.batch}."
    return f"{report}\n{told} Ctrl-C saves and stops."


def _farewell(run: Any, recipe: Recipe, interrupted: bool) -> int:
    from hasama.show import say

    seen = run.images_seen()
    if seen < recipe.images:
        say(f"\nSaved at {seen / 1000:g} of {recipe.kimg:g} kimg. To go on:\n  {run.how_to_go_on()}")
        return INTERRUPTED if interrupted else 0
    say(
        f"\nDone: {seen / 1000:g} kimg.\n"
        f"  sample grid  {run.sample_file(seen)}\n"
        f"  loss plot    {run.loss_plot}\n"
        f"  model        {run.generator}\n"
        f"More pictures:  hasama sample {shlex.quote(str(run.folder))}\n"
        f"Train longer:   {run.how_to_go_on()} --kimg {2 * recipe.kimg:g}"
    )
    return 0


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C (or SIGTERM) asks to stop after this step; the second stops at once, unsaved."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        os.write(2, b"\nSaving after this step; once more to stop at once, without saving.\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- look -----------------------------------------------------------------------------------------


@app.command
def sample(
    run: Path,
    /,
    *,
    count: int = 64,
    seed: int = 0,
    out: Path | None = None,
    label: str | None = None,
    columns: int | None = None,
    device: str = "auto",
) -> int:
    """Make pictures with a trained generator.

    Parameters
    ----------
    run
        A run's folder, or a generator.safetensors.
    count
        How many.
    seed
        The same seed gives the same pictures; a larger count only adds to them.
    out
        A picture such as cats.png for a grid; a name without ending, such as cats/, for a folder of single files.
        Default: samples-SEED.png in the run's folder.
    label
        Only this class.
    columns
        Columns of the grid.
    device
        auto, cpu, cuda, ...
    """
    from hasama.show import say

    if not 1 <= count <= 1_000_000 or (columns is not None and columns < 1) or seed < 0:
        raise HasamaError("--count takes 1 to 1000000, --columns at least 1, --seed at least 0.")
    out = out or _beside(run, f"samples-{seed}.png" if label is None else f"samples-{seed}-{Path(label).name}.png")
    if out.suffix:
        from hasama.images import picture_format

        picture_format(out)
    painter = _painter(run, device)

    from itertools import chain

    from hasama.images import grid, save_picture, to_picture
    from hasama.latent import draw_latents, labels_for, paint, paint_all

    latents = draw_latents(seed, count, painter.latent_size)
    labels = labels_for(painter, count, label)
    if out.suffix:
        save_picture(grid(paint_all(painter, latents, labels), columns), out)
        say(f"{count} pictures in {out}")
        return 0
    for number, one in enumerate(chain.from_iterable(paint(painter, latents, labels))):
        save_picture(to_picture(one), out / f"seed{seed}-{number:06d}.png")
    say(f"{count} pictures in the folder {out}")
    return 0


@app.command
def interpolate(
    run: Path,
    /,
    *,
    out: Path | None = None,
    seed: int = 0,
    count: int = 9,
    stops: int = 6,
    seconds: float = 8.0,
    fps: int = 24,
    label: str | None = None,
    device: str = "auto",
) -> int:
    """A film of a walk through the space of pictures.

    Parameters
    ----------
    run
        A run's folder, or a generator.safetensors.
    out
        A film: .mp4 (needs the extra `video`), .gif or .webp. Default: walk.mp4 (or .gif) in the run's folder.
    seed
        The first of the walks' seeds.
    count
        Walks side by side.
    stops
        Random pictures that each walk passes through before it comes back to its beginning.
    seconds
        Length of the film.
    fps
        Frames per second.
    label
        Only this class.
    device
        auto, cpu, cuda, ...
    """
    from importlib.util import find_spec

    if not (1 <= count <= 400 and 1 <= stops <= 1000 and 0 < seconds <= 3600 and 1 <= fps <= 120 and seed >= 0):
        raise HasamaError(
            "--count takes 1 to 400, --stops 1 to 1000, --seconds up to 3600, --fps 1 to 120, --seed at least 0."
        )
    out = out or _beside(run, "walk.mp4" if find_spec("imageio_ffmpeg") else "walk.gif")

    from hasama.show import say
    from hasama.video import check_ending, save_film

    check_ending(out)
    painter = _painter(run, device)

    import torch

    from hasama.images import grid
    from hasama.latent import labels_for, paint_all, walk

    frames = max(2, round(seconds * fps))
    walks = torch.stack([walk(seed + n, stops, frames, painter.latent_size) for n in range(count)], 1)
    labels = labels_for(painter, count, label)

    film = (grid(paint_all(painter, latents, labels), smallest=128) for latents in walks)  # [frames, count, Z]
    save_film(film, out, fps)
    say(f"{frames} frames in {out}")
    return 0


def _painter(run: Path, device: str) -> Any:
    """The generator of a run folder or of a file."""
    from hasama.device import pick_device
    from hasama.run import Run
    from hasama.weights import load_generator

    if run.is_dir():
        folder = Run(run)
        recipe = folder.recipe()
        if not folder.generator.exists():
            raise HasamaError(
                f"{run} has no generator yet: it is saved every {recipe.checkpoint_minutes:g} minutes and at the end."
            )
        run = folder.generator
    return load_generator(run, pick_device(device))


def _beside(run: Path, name: str) -> Path:
    return (run if run.is_dir() else run.parent) / name


@app.command
def images(
    source: str,
    /,
    *,
    size: str = "64",
    fit: str = "crop",
    colour: str = "auto",
    labels: bool = False,
    out: Path | None = None,
) -> int:
    """Read pictures as training would: report what is there, and save a preview grid.

    Parameters
    ----------
    source
        A folder, a zip, an .npz, one picture, or a built-in name.
    size
        64, or WIDTHxHEIGHT such as 64x96.
    fit
        crop, pad or stretch.
    colour
        auto, grey, rgb or rgba.
    labels
        Also read the classes.
    out
        The preview grid. Default: SOURCE-preview.png here.
    """
    from hasama.show import say, watch_scan

    form = Recipe(size=size, fit=fit, colour=colour, labels=labels)  # pyright: ignore[reportArgumentType]
    out = out or _preview_place(source)

    import numpy as np

    from hasama.dataset import Form, Reading
    from hasama.images import grid, picture_format, save_picture

    picture_format(out)
    reading = Reading(source, Form.of(form))
    watch_scan(reading.scan())
    pictures = reading.pictures()
    shown = np.random.default_rng(0).permutation(len(pictures))[:64]
    save_picture(grid(pictures.take(np.sort(shown))), out)
    say(f"{pictures.report.text()}\n  preview     {out}")
    return 0


def _name(source: str) -> str:
    """What to call the things made from a source."""
    try:
        return Path(source).expanduser().resolve().stem or "pictures"
    except (OSError, RuntimeError):
        return "pictures"  # the source will be refused


def _preview_place(source: str) -> Path:
    """Here; or beside the source where here is inside of it, or the preview would be one of its pictures."""
    name, folder = f"{_name(source)}-preview.png", Path(source).expanduser().resolve()
    inside = folder.is_dir() and Path.cwd().is_relative_to(folder)
    return folder.parent / name if inside else Path(name)


@app.command
def runs(folder: Path = Path("runs"), /) -> int:
    """List the runs in a folder, and how far they are.

    Parameters
    ----------
    folder
        Where to look, sub-folders included.
    """
    from hasama.run import find_runs
    from hasama.show import run_table, say

    found = find_runs(folder)
    if not found:
        say(f"There are no runs in {folder}.")
    else:
        run_table(found)
    return 0


@app.command
def stop(run: Path, /) -> int:
    """Ask the process that trains a run, wherever it was started, to save and stop.

    Parameters
    ----------
    run
        The run's folder.
    """
    from hasama.run import Run
    from hasama.show import say

    place = Run(run)
    place.recipe()
    if not place.is_held():
        raise HasamaError(f"Nobody is training {run}.")
    place.stop()
    say(f"Asked {run} to stop. To go on later:  {place.how_to_go_on()}")
    return 0


@app.command
def recipes() -> int:
    """List the presets, and what each changes."""
    from hasama.show import say

    for name, differences in PRESETS.items():
        told = "  ".join(f"{flag(field)} {_plain(value)}" for field, value in differences.items())
        say(f"{name:10} {told or '(the defaults)'}")
    return 0


def main() -> None:
    """The entry point. Exit code 2 for what the user can put right, without a traceback; 130 after Ctrl-C."""
    try:
        code = app()
    except HasamaError as error:
        from hasama.show import complain

        complain(str(error))
        code = 2
    except KeyboardInterrupt:
        from hasama.show import complain

        complain("stopped at once. A run stands where it was last saved; hasama resume goes on from there.")
        code = INTERRUPTED
    sys.exit(code)
