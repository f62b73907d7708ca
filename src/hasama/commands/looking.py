"""hasama sample, interpolate, images, runs, stop, recipes: what there is, and pictures of it."""

from pathlib import Path
from typing import Any

from hasama.commands.flags import plain
from hasama.errors import HasamaError
from hasama.recipe import PRESETS, Recipe, flag
from hasama.style.recipe import STYLE_PRESETS


def sample(
    run: Path,
    /,
    *,
    count: int = 64,
    seed: int = 0,
    out: Path | None = None,
    label: str | None = None,
    columns: int | None = None,
    seeds: str | None = None,
    truncation: float = 1.0,
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
    seeds
        A picture of each of these seeds, such as 0-35 or 1,5,9, instead of --count pictures of one seed. Without
        --label each seed has a class of its own.
    truncation
        Less than 1: more typical pictures, but less various. 0 to 2.
    device
        auto, cpu, cuda, ...
    """
    from hasama.show import say

    if not 1 <= count <= 1_000_000 or (columns is not None and columns < 1) or seed < 0:
        raise HasamaError("--count takes 1 to 1000000, --columns at least 1, --seed at least 0.")
    check_truncation(truncation)
    numbers = None if seeds is None else numbers_of(seeds, "--seeds")
    called = f"{seed}" if seeds is None else _short(seeds)
    called += ("" if label is None else f"-{Path(label).name}") + ("" if truncation == 1 else f"-psi{truncation:g}")
    out = out or _beside(run, f"samples-{called}.png")
    if out.suffix:
        from hasama.images import picture_format

        picture_format(out)
    painter = painter_of(run, device)

    from itertools import chain

    from hasama.images import grid, save_picture, to_picture
    from hasama.latent import draw_latents, labels_for, labels_of_seeds, latents_of_seeds, paint, paint_all

    if numbers is None:
        latents, labels = draw_latents(seed, count, painter.latent_size), labels_for(painter, count, label)
        names = (f"seed{seed}-{number:06d}" for number in range(count))
    else:
        latents = latents_of_seeds(numbers, painter.latent_size)
        labels, names = labels_of_seeds(painter, numbers, label), (f"seed{number:04d}" for number in numbers)
    if out.suffix:
        save_picture(grid(paint_all(painter, latents, labels, truncation), columns), out)
        say(f"{len(latents)} pictures in {out}")
        return 0
    painted = chain.from_iterable(paint(painter, latents, labels, truncation))
    for name, one in zip(names, painted, strict=True):
        save_picture(to_picture(one), out / f"{name}.png")
    say(f"{len(latents)} pictures in the folder {out}")
    return 0


MOST_NUMBERS = 100_000


def numbers_of(text: str, flag_name: str, most: int = 2**63 - 1) -> list[int]:
    """'1,5-7' -> [1, 5, 6, 7], from 0 to `most`, none twice.

    Raises:
        HasamaError: that is no such list.
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and len(first + last) < 40):
            raise HasamaError(f"{flag_name} takes numbers such as 0-35 or 1,5,9; got {text!r}.")
        low, high = int(first), int(last)
        if not low <= high <= most or high - low + len(numbers) >= MOST_NUMBERS:
            raise HasamaError(
                f"{flag_name} takes at most {MOST_NUMBERS:,} numbers from 0 to {most}, the lower first; got {text!r}."
            )
        numbers |= dict.fromkeys(range(low, high + 1))
    return list(numbers)


def _short(numbers: str) -> str:
    """A list of numbers as a part of a file's name."""
    numbers = numbers.replace(" ", "")
    return numbers if len(numbers) <= 40 else f"{numbers[:40].rpartition(',')[0]}-and-more"


def check_truncation(truncation: float) -> None:
    """Refuse what is out of range.

    Raises:
        HasamaError: it is.
    """
    if not 0 <= truncation <= 2:
        raise HasamaError(f"--truncation takes 0 to 2; got {truncation:g}.")


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
    truncation: float = 1.0,
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
    truncation
        Less than 1: more typical pictures, but less various. 0 to 2.
    device
        auto, cpu, cuda, ...
    """
    from importlib.util import find_spec

    if not (1 <= count <= 400 and 1 <= stops <= 1000 and 0 < seconds <= 3600 and 1 <= fps <= 120 and seed >= 0):
        raise HasamaError(
            "--count takes 1 to 400, --stops 1 to 1000, --seconds up to 3600, --fps 1 to 120, --seed at least 0."
        )
    check_truncation(truncation)
    out = out or _beside(run, "walk.mp4" if find_spec("imageio_ffmpeg") else "walk.gif")

    from hasama.show import say
    from hasama.video import check_ending, save_film

    check_ending(out)
    painter = painter_of(run, device)

    import torch

    from hasama.images import grid
    from hasama.latent import labels_for, paint_all, walk

    frames = max(2, round(seconds * fps))
    walks = torch.stack([walk(seed + n, stops, frames, painter.latent_size) for n in range(count)], 1)
    labels = labels_for(painter, count, label)

    # walks: [frames, count, Z]
    film = (grid(paint_all(painter, latents, labels, truncation), smallest=128) for latents in walks)
    save_film(film, out, fps)
    say(f"{frames} frames in {out}")
    return 0


def painter_of(run: Path, device: str) -> Any:
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


def name_of(source: str) -> str:
    """What to call the things made from a source."""
    try:
        return Path(source).expanduser().resolve().stem or "pictures"
    except (OSError, RuntimeError):
        return "pictures"  # the source will be refused


def _preview_place(source: str) -> Path:
    """Here; or beside the source where here is inside of it, or the preview would be one of its pictures."""
    name, folder = f"{name_of(source)}-preview.png", Path(source).expanduser().resolve()
    inside = folder.is_dir() and Path.cwd().is_relative_to(folder)
    return folder.parent / name if inside else Path(name)


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


def recipes() -> int:
    """List the presets, and what each changes."""
    from hasama.show import say

    for command, presets in (("train SOURCE", PRESETS), ("style CONTENT STYLE --recipe", STYLE_PRESETS)):
        say(f"hasama {command} ...", "bold")
        for name, differences in presets.items():
            told = "  ".join(f"{flag(field)} {plain(value)}" for field, value in differences.items())
            say(f"  {name:10} {told or '(the defaults)'}")
    return 0
