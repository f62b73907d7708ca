"""hasama mix, directions: explore the latent space."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import (
    check_truncation,
    is_folders_name,
    numbers_of,
    open_generator,
    picture_place,
    tensors_place,
)
from hasama.cli.generators.project import tell_another_state
from hasama.errors import HasamaError
from hasama.names import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from hasama.generators.generator_file import TrainedGenerator
    from hasama.shapes import Pixels

SAMPLES = 4
"""Pictures that are moved, where nobody says how many."""
STEPS_ASIDE = 7
"""Pictures along a direction, the middle one being the sample itself."""


def mix(
    run: Path,
    /,
    *,
    rows: str = "1-4",
    columns: str = "5-10",
    layers: str | None = None,
    truncation: float = 1.0,
    label: str | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> int:
    """Style mixing: a table of pictures, each with the styles of its row, but some from its column.

    A generator without styles makes the picture midway between the two latents.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    rows
        Seeds of the pictures in the first column, such as 1-4 or 1,5,9.
    columns
        Seeds of the pictures in the first row.
    layers
        Which styles come from the column: coarse (shape), middle, fine (colours), or numbers such as 0-3.
        Default: coarse.
    truncation
        Less than 1: more typical pictures, but less various. 0 to 2.
    label
        Only this class. Without it each seed has a class of its own.
    out
        The table. Default: mix.png in the run's folder.
    device
        auto, cpu, cuda, ...
    """
    check_truncation(truncation)
    seeds = numbers_of(rows, "--rows"), numbers_of(columns, "--columns")
    if max(map(len, seeds)) > 100:
        raise HasamaError("--rows and --columns take at most 100 seeds each.")
    out = picture_place(out, run, "mix.png")
    generator = open_generator(run, device)

    from hasama.cli.terminal import say
    from hasama.generators.sampling import is_styled
    from hasama.pictures.images import grid, save_picture

    if layers is not None and not is_styled(generator.network):
        raise HasamaError("This generator has no styles to mix layer by layer: leave out --layers.")
    pixels, told = _table(generator, seeds, layers, truncation, label)
    save_picture(grid(pixels, 1 + len(seeds[1])), out)
    rows, columns = counted(len(seeds[0]), "row"), counted(len(seeds[1]), "column")
    say(f"{rows} and {columns} in {out}: {told}")
    return 0


def _table(
    generator: "TrainedGenerator",
    seeds: tuple[list[int], list[int]],
    layers: str | None,
    truncation: float,
    label: str | None,
) -> tuple["Pixels", str]:
    """The pictures of the table, row by row, beginning with the empty corner; and a sentence that explains them."""
    import numpy as np

    from hasama.generators.sampling import (
        crossed,
        generate_from_w,
        is_styled,
        labels_of_seeds,
        latents_of_seeds,
        mean_w,
        midway,
        to_w,
        truncate,
    )

    def w(seeds: list[int]) -> Any:
        found = to_w(
            generator, latents_of_seeds(seeds, generator.latent_size), labels_of_seeds(generator, seeds, label)
        )
        return truncate(found, mean_w(generator), truncation)

    def generated(w: Any, seeds: list[int]) -> Any:
        return np.concatenate(list(generate_from_w(generator, w, labels_of_seeds(generator, seeds, label))))

    (row_seeds, column_seeds), (rows, columns) = seeds, map(w, seeds)
    if is_styled(generator.network):
        chosen = _layers(layers or "coarse", generator.network.style_layers)
        cells = crossed(rows, columns, chosen, generator.network.style_layers)
        told = f"each cell is its row's picture, with the styles of {_listed(chosen)} from its column's."
    else:
        cells = midway(rows, columns)
        told = "this generator has no styles, so each cell lies midway between its row's latent and its column's."
    inside = generated(cells, [seed for seed in row_seeds for _ in column_seeds])
    inside = inside.reshape(len(row_seeds), len(column_seeds), *inside.shape[1:])
    body = np.concatenate([generated(rows, row_seeds)[:, None], inside], 1)
    head = generated(columns, column_seeds)
    head = np.concatenate([np.zeros_like(head[:1]), head])
    return np.concatenate([head[None], body]).reshape(-1, *head.shape[1:]), told


def _layers(layers: str, count: int) -> list[int]:
    from hasama.generators.sampling import named_layers

    named = named_layers(layers, count)
    if named is not None:
        return list(named)
    try:
        return numbers_of(layers, "--layers", count - 1)
    except HasamaError:
        raise HasamaError(
            f"--layers takes coarse, middle, fine, or layers from 0 to {count - 1} such as 0-{min(3, count - 1)}; "
            f"got {layers!r}."
        ) from None


def _listed(layers: list[int]) -> str:
    whole = len(layers) > 1 and layers == list(range(layers[0], layers[-1] + 1))
    listed = f"{layers[0]}-{layers[-1]}" if whole else ",".join(map(str, layers))
    return f"{'layer' if len(layers) == 1 else 'layers'} {listed}"


# --- directions -----------------------------------------------------------------------------------


def directions(
    run: Path,
    /,
    *,
    count: int = 5,
    samples: int | None = None,
    of: Path | None = None,
    reach: float = 2.0,
    seed: int = 0,
    label: str | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> int:
    """Find the directions in the latent space along which pictures differ most, and show them.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    count
        How many directions.
    samples
        How many pictures are moved along each direction. Default: 4.
    of
        What `hasama project` found for a picture of one's own, or the picture that it wrote: moved in their place.
    reach
        How far to either side, in standard deviations.
    seed
        Of the pictures and of the search.
    label
        Only this class.
    out
        A picture such as cats.png for all directions; a name without ending for a folder with a strip of each.
        The directions themselves are written beside it. Default: directions.png in the run's folder.
    device
        auto, cpu, cuda, ...
    """
    moved = SAMPLES if samples is None else samples
    if not (1 <= count <= 100 and 1 <= moved <= 100 and 0 < reach <= 100 and seed >= 0):
        raise HasamaError("--count and --samples take 1 to 100, --reach up to 100, --seed at least 0.")
    if of is not None and (samples is not None or label is not None):
        raise HasamaError("--of says which picture is moved, of its own class: leave out --samples and --label.")
    out = picture_place(out, run, "directions.png", folder=True)
    file = tensors_place(out / "directions.png" if is_folders_name(out) else out, "directions")
    generator = open_generator(run, device)

    from hasama.cli.terminal import say
    from hasama.generators.directions import find_directions
    from hasama.generators.projection_file import load_projections
    from hasama.generators.sampling import draw_latents, is_styled, labels_for, to_w
    from hasama.pictures.images import save_picture

    if of is None:
        labels = labels_for(generator, moved, label)
        w = to_w(generator, draw_latents(seed, moved, generator.latent_size), labels)
    else:
        w, labels, same = load_projections(generator, [of])
        tell_another_state(same)
        label = None if labels is None else generator.classes[int(labels)]
    found = find_directions(generator, count, label, seed)
    if len(found.steps) < count:
        say(f"There are {len(found.steps)} directions, not {count}: no more than the latent has numbers.")
    strips = _strips(generator, found.steps, w, labels, reach)
    if not is_folders_name(out):
        save_picture(_stacked(strips), out)
    else:
        for number, strip in enumerate(strips):
            save_picture(strip, out / f"direction-{number}.png")
    from hasama.tensor_files import save_tensors

    save_tensors(file, {"directions": found.steps, "shares": found.shares}, {})
    what = "of w" if is_styled(generator.network) else "of what the first layer makes of the latents"
    say(f"Shares of the variance {what}:")
    for number, share in enumerate(found.shares.tolist()):
        say(f"  direction {number}  {100 * share:5.1f} %")
    say(f"From -{reach:g} to +{reach:g} standard deviations in {out}; the directions in {file}")
    return 0


def _strips(generator: "TrainedGenerator", steps: Any, w: Any, labels: Any, reach: float) -> list["Image"]:
    """For each direction a grid: a row for each w ([N, W], or for each layer [N, layers, W])."""
    import numpy as np
    import torch

    from hasama.generators.sampling import generate_from_w
    from hasama.pictures.images import grid

    ways = torch.linspace(-reach, reach, STEPS_ASIDE).view(-1, *(1,) * (w.ndim - 1))
    labels = None if labels is None else labels.repeat_interleave(STEPS_ASIDE)
    strips = []
    for step in steps:
        moved = (w[:, None] + ways * step).flatten(0, 1)  # [samples, 7, ...] -> [samples * 7, ...]
        strips.append(grid(np.concatenate(list(generate_from_w(generator, moved, labels))), STEPS_ASIDE))
    return strips


def _stacked(pictures: list["Image"], gap: int = 12) -> "Image":
    """One below the other."""
    from PIL import Image

    height, width = pictures[0].height + gap, pictures[0].width
    canvas = Image.new(pictures[0].mode, (width, height * len(pictures) - gap))
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (0, number * height))
    return canvas
