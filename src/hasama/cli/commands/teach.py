"""hasama teach, invert: a network that learns to paint at once, and what a network knows of a picture."""

import os
import re
import shlex
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hasama.cli.arguments import check_apart, check_out_folder, is_folders_name
from hasama.cli.commands.style import paint_all, save_sheet
from hasama.cli.flags import asked_to_stop, default_of, flags_of, given, use_threads
from hasama.errors import HasamaError
from hasama.names import SPARE, check_name, fitting_name
from hasama.style.painters.recipe import TEACH_GROUPS, TeachRecipe
from hasama.style.painters.teach_folder import FILE_ENDING
from hasama.style.recipe import LARGEST_SIDE, StyleRecipe, parse_layers

if TYPE_CHECKING:
    AnyChanges = Any  # the flags of `TeachRecipe`, each of them optional

TeachFlags = flags_of(TeachRecipe(), "TeachFlags", TEACH_GROUPS, default_of, "How it is taught.")
if not TYPE_CHECKING:
    AnyChanges = Annotated[TeachFlags, Parameter(name="*")]


def teach(
    painting: Path,
    /,
    *more: Path,
    out: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    requeue: bool = False,
    changes: AnyChanges = TeachFlags(),  # noqa: B008 (frozen)
) -> int:
    """Teach a network to paint like one or several paintings; or, with the same command again, go on.

    What it has learnt paints any picture in a blink:  hasama style photo.jpg OUT. Ctrl-C saves and stops; so does a
    file `stop` in the folder beside OUT.

    Parameters
    ----------
    painting
        A picture to take the style from.
    more
        More of them, each a style of its own; and a folder or zip of photos to practise on. Without photos it
        practises on made-up scenes.
    out
        The painter's file. Default: PAINTING.safetensors here. Beside it stands the folder PAINTING.teaching, with
        the log, a preview and what going on needs.
    weights
        The network's weights: a file of torchvision's VGG19 or VGG16. Default: the packaged VGG19.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    requeue
        For schedulers: what SIGTERM ends before it is done has exit code 75, so that it is given another turn;
        without, 0, but in a SLURM job. (SIGUSR1 always gives 75.)
    changes
        What differs from the defaults.
    """
    recipe = TeachRecipe(**given(changes))
    paintings, photos = what_to_teach((painting, *more))
    out = out or usual_painter_place(paintings)
    check_painter_place(out)
    use_threads(threads)

    from hasama.cli.progress import watch_teaching
    from hasama.cli.terminal import say
    from hasama.distributed import is_first
    from hasama.files import replacing
    from hasama.style.painters.teach_folder import teach_folder_of
    from hasama.style.painters.teach_into import teach_into
    from hasama.style.painting import Machine

    folder = teach_folder_of(out)
    folder.check_place(out)
    if recipe.kimg < (longer := folder.recipe().kimg if folder.exists() else 0) and "kimg" in given(changes):
        say(f"It goes on to {longer:g} kimg, as was asked for before.", "yellow")
    tell_only_first(paintings)
    with asked_to_stop() as asked:
        lessons = teach_into(folder, paintings, photos, recipe, Machine(device, None, weights, threads), asked)
        last = deque(watch_teaching(lessons), maxlen=1)
        stopped = asked()
    if not is_first():
        return 0
    with replacing(out) as temporary:
        temporary.write_bytes(folder.painter.read_bytes())
    say(f"{out}: paints at once, such as  hasama style photo.jpg {shlex.quote(str(out))}")
    say(f"Its preview is {folder.preview}.")
    if last and last[0].images_seen < last[0].total:
        say(f"Saved at {last[0].images_seen} of {last[0].total} crops. To go on, give the same command again.")
        return asked.exit_code(requeue or "SLURM_JOB_ID" in os.environ) if stopped else 0  # whose script sends it
    return 0


def what_to_teach(named: Sequence[Path]) -> tuple[list[Path], Path | None]:
    """The paintings, and the photos to practise on.

    Args:
        named: both, in any order.

    Raises:
        HasamaError: no painting is among them, or several folders are.
    """
    folders = [path for path in named if path.is_dir() or path.suffix.lower() == ".zip"]
    paintings = [path for path in named if path not in folders]
    if len(folders) > 1 or not paintings:
        raise HasamaError(
            "Name one or several paintings, and at most one folder or zip of photos:  hasama teach PAINTING PHOTOS"
        )
    return paintings, folders[0] if folders else None


def tell_only_first(pictures: Sequence[Path]) -> None:
    """Say of which files only the first picture is taken."""
    from hasama.cli.terminal import say
    from hasama.pictures.animation import only_first

    for note in filter(None, map(only_first, pictures)):
        say(note, "yellow")


def usual_painter_place(paintings: Sequence[Path]) -> Path:
    """Where a painter is put that is given no other place."""
    return Path(fitting_name("+".join(path.stem for path in paintings), FILE_ENDING, SPARE))


def check_painter_place(out: Path) -> None:
    """Refuse what cannot be a painter's file.

    Raises:
        HasamaError: it has another ending, or is too long.
    """
    check_name(out)
    if out.suffix.lower() != FILE_ENDING:
        raise HasamaError(f"--out takes a name that ends in {FILE_ENDING}; got {out}.")


def invert(
    photo: Path,
    /,
    *,
    layers: str = "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1",
    out: Path | None = None,
    size: int = 256,
    iterations: int = 300,
    seed: int = 0,
    memory: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> int:
    """Show what a network still knows of a picture in each of its layers: the picture is found again from noise.

    Nothing but a layer's activations says what is wanted (Gatys et al. 2016, figure 1: content reconstructions). The
    same command again goes on where it stands.

    Parameters
    ----------
    photo
        A picture.
    layers
        The layers, with commas between: relu1_1 to relu5_4, or conv1_1 and so on.
    out
        A folder for a picture of each layer, and sheet.png with all of them. Default: PHOTO-inverted here.
    size
        Longer side in pixels.
    iterations
        Steps of L-BFGS for each layer.
    seed
        Of the noise.
    memory
        What the whole process may take, such as 2GB.
    weights
        The network's weights: a file of torchvision's VGG19 or VGG16. Default: the packaged VGG19.
    device
        auto, cpu, cuda, cuda:1, mps, xpu, ...
    threads
        CPU threads.
    """
    if not 1 <= iterations <= 1_000_000:
        raise HasamaError(f"--iterations must lie between 1 and 1000000; got {iterations}.")
    if ":" in layers:
        raise HasamaError(f"--layers takes names alone, for each layer has a picture of its own; got {layers!r}.")
    if wrong := [one for one in re.split(r"[,\s]+", layers.strip()) if not re.fullmatch(r"(conv|relu)\d_\d", one)]:
        raise HasamaError(
            f"--layers takes layers by their names, relu1_1 to relu5_4 or conv1_1 and so on; got {wrong[0]!r}."
        )
    recipe = StyleRecipe(
        size=size, start="noise", style_weight=0.0, content_weight=1.0, tv_weight=0.01, optimizer="lbfgs",
        smallest=LARGEST_SIDE, first_iterations=iterations, plateau=0.0, seed=seed,
    )  # fmt: skip
    keeps, out = out is None, out or Path(fitting_name(photo.stem, "-inverted", SPARE))
    names = list(parse_layers(layers, "--layers"))
    recipes = {name: recipe.but(content_layers=name) for name in names}
    if not is_folders_name(out):
        raise HasamaError(f"--out takes a folder for the layers' pictures, a name without ending; got {out}.")
    check_out_folder(out)
    check_apart([photo], [out / f"{name}.png" for name in (*names, "sheet")], "invert")
    use_threads(threads)

    from hasama.style.canvas.pictures import read_picture
    from hasama.style.jobs.job import Job
    from hasama.style.memory import parse_memory
    from hasama.style.painting import Machine

    machine = Machine(device, None if memory is None else parse_memory(memory), weights, threads)
    content = read_picture(photo)  # once for all layers
    tell_only_first([photo])
    jobs = [Job(photo, (), out / f"{name}.png", recipes[name], machine, ready=content, keeps=keeps) for name in names]
    code = paint_all(jobs)
    if code == 0:
        save_sheet(jobs, out / "sheet.png")
    return code
