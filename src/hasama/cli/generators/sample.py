"""hasama sample: pictures of a trained generator."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import (
    beside,
    check_out_folder,
    check_truncation,
    generator_place,
    is_folders_name,
    numbers_of,
    open_generator,
)
from hasama.errors import HasamaError
from hasama.names import check_name, counted

if TYPE_CHECKING:
    from hasama.generators.choosing import Choice

COUNT = 64
"""Pictures, where nobody says how many."""
BEST_OF_MOST, NEAREST_MOST = 100, 16


def sample(
    run: Path,
    /,
    *,
    count: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
    label: str | None = None,
    columns: int | None = None,
    seeds: str | None = None,
    truncation: float = 1.0,
    best_of: int = 1,
    nearest: int = 0,
    source: str | None = None,
    device: str = "auto",
) -> int:
    """Make pictures with a trained generator.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    count
        How many. Default: 64.
    seed
        The same seed gives the same pictures; a larger count only adds to them. Default: 0.
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
    best_of
        Of each so many pictures keep the one that looks most like real ones to a frozen network: 1 to 100.
    nearest
        Beside each picture so many of the real ones, those that are most like it to a frozen network: does the
        generator copy? Up to 16. Default: none.
    source
        Real pictures for --best-of and --nearest: a folder, a zip, an .npz, or a built-in name. Default: those of the
        run.
    device
        auto, cpu, cuda, ...
    """
    if seeds is not None and (count is not None or seed is not None):
        raise HasamaError("--seeds names a seed for each picture: leave out --count and --seed.")
    count, seed = COUNT if count is None else count, seed or 0
    if not 1 <= count <= 1_000_000:
        raise HasamaError(f"--count takes 1 to 1000000; got {count}.")
    if columns is not None and columns < 1:
        raise HasamaError(f"--columns takes at least 1; got {columns}.")
    if seed < 0:
        raise HasamaError(f"--seed takes at least 0; got {seed}.")
    check_truncation(truncation)
    check_choice(best_of, nearest, source, seeds)
    numbers = None if seeds is None else numbers_of(seeds, "--seeds")
    called = f"{seed}" if seeds is None else _short(seeds)
    called += ("" if label is None else f"-{Path(label).name}") + ("" if truncation == 1 else f"-psi{truncation:g}")
    called += ("" if best_of == 1 else f"-best-of-{best_of}") + ("-nearest" if nearest else "")
    out = out or beside(run, f"samples-{called}.png")
    _check_target(out, run, nearest, columns)
    generator = open_generator(run, device)
    if nearest:
        _check_reals(run, source)

    from itertools import chain

    from hasama.generators.sampling import draw_latents, generate, labels_for, labels_of_seeds, latents_of_seeds

    if numbers is not None:
        latents, labels = latents_of_seeds(numbers, generator.latent_size), labels_of_seeds(generator, numbers, label)
        names = [f"seed{number:04d}" for number in numbers]
    else:
        latents = draw_latents(seed, count * best_of, generator.latent_size)
        labels = labels_for(generator, count, label)
        labels = labels if labels is None else labels.repeat_interleave(best_of)
        names = [f"seed{seed}-{number:06d}" for number in range(count * best_of)]
    if best_of == 1:
        made = zip(names, chain.from_iterable(generate(generator, latents, labels, truncation)), strict=True)
    else:
        chosen = choices(run, source, generator, latents, labels, best_of, truncation)
        made = ((names[one.number], one.picture) for one in chosen)
    if nearest:
        _save_table(made, run, nearest, source, device, out)
    else:
        _save_samples(made, columns, out)
    return 0


def _check_target(out: Path, run: Path, nearest: int, columns: int | None) -> None:
    """Before any work: a picture for a grid or a table, or a folder."""
    check_name(out)
    if nearest and (columns is not None or is_folders_name(out)):
        raise HasamaError("--nearest makes a table with a row for each picture: leave out --columns, name a picture.")
    if is_folders_name(out):
        if columns is not None:
            raise HasamaError(
                f"--columns is for a grid: leave it out, or name a picture by --out, such as {out}.png."
            )
        check_out_folder(out)
        return

    from hasama.files import check_place
    from hasama.pictures.images import picture_format

    picture_format(out)
    generator_place(run)  # a place that is none is told first, or a folder would be made for it
    check_place(out)


def check_choice(best_of: int, nearest: int, source: str | None, seeds: str | None) -> None:
    if not 1 <= best_of <= BEST_OF_MOST:
        raise HasamaError(f"--best-of takes 1 to {BEST_OF_MOST}, not {best_of}.")
    if not 0 <= nearest <= NEAREST_MOST:
        raise HasamaError(f"--nearest takes 0 to {NEAREST_MOST}, not {nearest}.")
    if best_of > 1 and seeds is not None:
        raise HasamaError("--seeds names the pictures, so that there is nothing to choose: leave out --best-of.")
    if best_of == 1 and not nearest and source is not None:
        raise HasamaError("--source is for --best-of and --nearest: it says what the real pictures are.")


def _check_reals(run: Path, source: str | None) -> None:
    """Before any picture is made: are there real ones?"""
    import torch

    from hasama.cli.progress import watch_stages
    from hasama.evaluation.subject import Subject
    from hasama.runs.bases import place_named

    deque(watch_stages(Subject.of(place_named(run), torch.device("cpu")).pictures(source)), maxlen=0)


def choices(
    run: Path, source: str | None, generator: Any, latents: Any, labels: Any, best_of: int, truncation: float
) -> Iterator["Choice"]:
    """What is chosen, with a bar."""
    from hasama.cli.progress import watch_stages
    from hasama.evaluation.looks import choose_like
    from hasama.generators.choosing import Choice

    records = watch_stages(choose_like(run, generator, latents, labels, best_of, source, truncation))
    return (record for record in records if isinstance(record, Choice))


def _save_table(
    made: Iterable[tuple[str, Any]], run: Path, nearest: int, source: str | None, device: str, out: Path
) -> None:
    """Each of the named pictures [H, W, C] beside real ones."""
    import numpy as np

    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.device import pick_device
    from hasama.evaluation.nearest import Nearest, nearest_to
    from hasama.pictures.images import grid, save_picture

    pictures = np.stack([one for _, one in made])
    records = watch_stages(nearest_to(pictures, run, nearest, source, pick_device(device)))
    (found,) = (record for record in records if isinstance(record, Nearest))
    table = np.concatenate([pictures[:, None], found.pictures], 1)
    save_picture(grid(table.reshape(-1, *table.shape[2:]), table.shape[1]), out)
    say(
        f"{counted(len(pictures), 'picture')} in {out}, at the left; beside each the real ones that are most like it."
    )
    if found.near is not None:
        say(
            f"The nearest real picture is {found.near:.2f} times as far as a real one's nearest other (median): "
            "about 1 or more is new, far below 1 is copied."
        )


def _save_samples(made: Iterable[tuple[str, Any]], columns: int | None, out: Path) -> None:
    """A grid of named pictures [H, W, C], or a folder with a file for each."""
    import numpy as np

    from hasama.cli.terminal import say
    from hasama.pictures.images import grid, save_picture, to_picture

    if not is_folders_name(out):
        pictures = np.stack([one for _, one in made])
        save_picture(grid(pictures, columns), out)
        say(f"{counted(len(pictures), 'picture')} in {out}")
        return
    names = []
    for name, one in made:
        save_picture(to_picture(one), out / f"{name}.png")
        names.append(name)
    say(f"{counted(len(names), 'picture')} in the folder {out}")


def _short(numbers: str) -> str:
    """A list of numbers as a part of a file's name."""
    numbers = numbers.replace(" ", "")
    return numbers if len(numbers) <= 40 else f"{numbers[:40].rpartition(',')[0]}-and-more"
