"""hasama project, enlarge: what is done with one real picture: find its latent, make it larger."""

from collections import deque
from itertools import chain, count
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from hasama.cli.arguments import beside, check_apart, is_folders_name, open_generator, picture_place, tensors_place
from hasama.cli.flags import INTERRUPTED, asked_to_stop, told_of_failures, use_threads
from hasama.errors import HasamaError
from hasama.names import SPARE, at_home, fitting_name, tensors_beside

if TYPE_CHECKING:
    from hasama.generators.generator_file import TrainedGenerator
    from hasama.generators.projection import ProjectionStep, Space
    from hasama.shapes import Images

# --- projection -----------------------------------------------------------------------------------


def project(
    run: Path,
    photo: Path,
    /,
    *,
    steps: int = 300,
    space: str | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    label: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> int:
    """Find the latent from which the generator makes a given real picture.

    Ctrl-C keeps the best so far.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    photo
        The picture.
    steps
        Steps of the search.
    space
        Where to search: w (one style for all layers) or w+ (a style for each layer: nearer to the picture, but
        further from what the generator has learnt), both for style-based generators only; or z, the latents. Default:
        w, or z where there is no w.
    fit
        How the picture is brought to the generator's size: crop, pad or stretch.
    label
        The class. Without it the nearest is taken.
    seed
        Of the random pictures that the search starts from.
    out
        The picture, its projection and the difference side by side; w is written beside it.
        Default: PHOTO-projected.png in the run's folder.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    """
    if not 0 <= steps <= 1_000_000 or seed < 0:
        raise HasamaError("--steps takes 0 to 1000000, --seed at least 0.")
    out = picture_place(out or _usual_place(run, photo), run, "")
    if out.resolve() == photo.resolve():
        raise HasamaError(f"{out} is the picture itself: choose another --out.")
    tensors = tensors_place(out, "w")
    use_threads(threads)
    generator = open_generator(run, device)

    from hasama.cli.progress import watch_projecting
    from hasama.generators.projection import best_of, space_of
    from hasama.generators.projection import project as projecting
    from hasama.generators.sampling import labels_for

    labels_for(generator, 1, label)
    chosen = space_of(generator, space)
    wanted = _wanted(photo, generator, fit)
    first: list[ProjectionStep] = []
    with asked_to_stop() as asked:
        records = watch_projecting(projecting(generator, wanted, steps, chosen, label, seed))
        best = best_of(_noting_first(records, first), asked)
        interrupted = asked()
    notes = {"photo": str(photo.resolve()), "shown": out.name}
    _keep(generator, wanted, first[0], best, chosen, out, tensors, notes)
    return INTERRUPTED if interrupted else 0


def _usual_place(run: Path, photo: Path) -> Path:
    """Where a projection goes that is given no other place: beside another photo's of the same name."""
    from hasama.generators.projection_file import about_projection

    first, mine = beside(run, fitting_name(photo.stem, "-projected.png", SPARE)), str(photo.resolve())
    others = (first.with_name(fitting_name(first.stem, f"-{number}.png", SPARE)) for number in count(2))
    photos = ((place, about_projection(tensors_beside(place)).get("photo")) for place in chain([first], others))
    return next(place for place, other in photos if other in (None, mine))


def tell_another_state(same: bool) -> None:
    """Of projections that were made with the run's generator as it was at another time."""
    from hasama.cli.terminal import say

    if not same:
        say(
            "The generator is another than when these were projected: their pictures are not quite the same.",
            "yellow",
        )


def _noting_first(steps: Any, first: list["ProjectionStep"]) -> Any:
    for step in steps:
        if not first:
            first.append(step)
        yield step


def _wanted(photo: Path, generator: "TrainedGenerator", fit: str) -> "Images":
    """The photo in the form of the generator's pictures."""
    import numpy as np

    from hasama.cli.terminal import say
    from hasama.pictures.animation import only_first
    from hasama.pictures.images import as_channels, fit_picture
    from hasama.pictures.opening import open_picture
    from hasama.pictures.tensors import to_images

    assert generator.recipe is not None, "what a file holds has a recipe"
    try:
        picture = open_picture(photo)
    except HasamaError as error:
        raise HasamaError(f"Cannot read {photo}: {error}.") from error
    if note := only_first(photo):
        say(note, "yellow")
    picture = fit_picture(as_channels(picture, generator.channels), generator.recipe.resolution, fit)
    return to_images(np.array(picture).reshape(1, *generator.recipe.resolution, generator.channels))


def _keep(
    generator: "TrainedGenerator",
    wanted: "Images",
    first: "ProjectionStep",
    best: "ProjectionStep",
    space: "Space",
    out: Path,
    file: Path,
    notes: dict[str, str],
) -> None:
    """Write the three pictures and w; say how near they are."""
    import math

    import numpy as np

    from hasama.cli.terminal import say
    from hasama.generators.projection_file import save_projection
    from hasama.pictures.images import grid, save_picture
    from hasama.pictures.tensors import to_pixels

    photo, projected = to_pixels(wanted)[0], to_pixels(best.image)[0]
    difference = np.abs(photo.astype(np.int16) - projected).astype(np.uint8)
    if generator.channels == 4:
        difference[..., 3] = 255
    save_picture(grid(np.stack([photo, projected, difference]), 3, smallest=128), out)
    label = save_projection(generator, best, space, file, notes)
    psnr = 10 * math.log10(4 / max(best.losses["pixels"], 1e-10))
    told = ", ".join(f"{name} {value:.4g} (at first {first.losses[name]:.4g})" for name, value in best.losses.items())
    say(f"{out}: the picture, its projection{f' as {label}' if label else ''}, and their difference")
    say(f"  step {best.step} of {best.steps}: {told}; {psnr:.1f} dB")
    say(f"  {'the latent z' if space == 'z' else f'the w in {space}'}: {file}")


# --- enlarging ------------------------------------------------------------------------------------


def enlarge(
    picture: Path,
    /,
    *,
    times: Literal["2", "4", "8"] = "4",
    out: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> int:
    """Enlarge a picture, or every picture of a folder: samples, small photographs, paintings.

    Transparency, 16 bits and the colour profile are kept, where the format can hold them. The network ships with the
    package.

    Parameters
    ----------
    picture
        A picture or a folder.
    times
        How many times larger each side becomes.
    out
        The enlarged picture; of a folder, a folder for them. Default: PICTURE-xTIMES.png or FOLDER-xTIMES, beside it.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    """
    use_threads(threads)

    from hasama.cli.style_arguments import is_run
    from hasama.cli.terminal import complain
    from hasama.device import pick_device
    from hasama.networks.enlarger import shipped
    from hasama.pictures.images import has_picture_ending
    from hasama.style.jobs.batch import names_for, pictures_in

    picture = at_home(picture)
    if is_run(picture):
        raise HasamaError(
            f"{picture} is a generator, not a picture. Let it make some first:  hasama sample {quote(str(picture))} "
            "--out samples.png  and then:  hasama enlarge samples.png"
        )
    place = pick_device(device)
    if not picture.is_dir():
        target = out or picture.with_name(f"{picture.stem}-x{times}.png")
        if is_folders_name(target):
            target = target / f"{picture.stem}.png"
        check_apart([picture], [target], "enlarge")
        _enlarge_file(shipped().to(place), picture, int(times), target)
        return 0
    folder = out or _beside(picture, f"-x{times}")
    if not folder.is_dir() and (folder.exists() or (out and has_picture_ending(folder))):
        raise HasamaError(f"{picture} is a folder: --out takes a folder, too, such as {folder.with_suffix('')}.")
    files = pictures_in(picture, folder)
    names = names_for([file.relative_to(picture) for file in files])
    targets = [folder / f"{name}.png" for name in names]
    check_apart(files, targets, "enlarge")
    enlarger = shipped().to(place)
    failed = 0
    for file, target in zip(files, targets, strict=True):
        try:
            _enlarge_file(enlarger, file, int(times), target)
        except HasamaError as error:
            complain(str(error))
            failed += 1
    return told_of_failures(len(files), failed, "enlarged")


def _beside(folder: Path, ending: str) -> Path:
    """A folder beside another, of its name and this ending.

    Raises:
        HasamaError: it has nothing beside it.
    """
    named = folder.resolve() if folder.name in ("", "..") else folder  # . and .. have names elsewhere
    if not named.name:
        raise HasamaError(f"{folder} has nothing beside it to write into: choose a folder by --out.")
    return named.with_name(named.name + ending)


LARGEST = 2**30
"""Pixels that are written at most."""

LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "JPEG2000": 2**31}
"""Pixels that formats hold at most."""


def _has_room(small: "Images", times: int, deep: bool) -> bool:
    """Whether a picture can be enlarged in the memory that is free: by all but the last doubling it is in float32."""
    from hasama.device import free_memory

    pixels, channels = small.shape[2] * small.shape[3] * times**2, small.shape[1]
    taken, free = pixels * channels * (1 + 4 * (1 + deep)), free_memory()
    return pixels <= LARGEST and (free is None or taken < free)


def _enlarge_file(enlarger: Any, file: Path, times: int, out: Path) -> None:
    """Read, enlarge, write."""
    import numpy as np

    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.files import check_place
    from hasama.generators.enlarging import enlarge_in_tiles
    from hasama.pictures.animation import only_first
    from hasama.pictures.images import picture_format
    from hasama.style.canvas.formats import lost_in
    from hasama.style.canvas.pictures import DEEP_FORMATS, from_pixels, read_picture, to_values, write_picture

    format = picture_format(out)
    read = read_picture(file)
    height, width = (side * times for side in read.size)
    small, deep = to_values(read), read.is_deep and format in DEEP_FORMATS
    if not _has_room(small, times, deep):
        fits = next(
            (f": --times {less} is possible" for less in (4, 2) if less < times and _has_room(small, less, deep)), ""
        )
        raise HasamaError(f"{file} would become gigantic ({width}x{height} pixels), and has no room here{fits}.")
    if max(width, height) > LONGEST_SIDE.get(format, width + height):
        raise HasamaError(f"{out.suffix} holds {LONGEST_SIDE[format]} pixels a side, not {width}x{height}: use .png.")
    check_place(out)
    lost = lost_in(out, read)
    replaced = ", in place of what was there" if out.exists() else ""
    large = np.empty((height, width, small.shape[1]), np.uint16 if deep else np.uint8)
    deque(watch_stages(enlarge_in_tiles(enlarger, small, times, into=large)), maxlen=0)
    if read.alpha is not None and (read.pixels[..., :1] == read.pixels).all():  # as what is grey without alpha does
        for row in large:
            row[:, :3] = row[:, :3].mean(-1, keepdims=True).round()
    write_picture(from_pixels(large)._replace(profile=read.profile), out)
    say(f"{out}  {width}x{height}{replaced}")
    if note := only_first(file):
        say(note, "yellow")
    for note in lost:
        say(note, "yellow")
