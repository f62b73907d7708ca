"""hasama export, push, studio: out of the terminal, to others and into the browser."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hasama.cli.arguments import beside, generator_file, is_folders_name
from hasama.errors import HasamaError
from hasama.files import make_folder
from hasama.names import SPARE, fitting_name

if TYPE_CHECKING:
    from hasama.sharing.model_card import Trained


def export(
    run: Path,
    /,
    *paintings: Path,
    onnx: bool = False,
    safetensors: bool = False,
    out: Path | None = None,
    license: str | None = None,
    recipe: Literal["instant"] | None = None,
    mix: str | None = None,
    strength: float | None = None,
    size: int | None = None,
    patches: int | None = None,
) -> int:
    """Write a trained generator in formats that others can use. Without --onnx and --safetensors: both.

    Or, with --recipe instant, a network that paints photos in the style of PAINTING.jpg, as ONNX: photos [1, 3, H, W]
    in [-1, 1] of any size from 8 pixels to a side go in, paintings come out. It paints in one piece, and its
    strokes have as many pixels in a large photo as in a small one: 512x384 pixels take about a second and 0.4 GB,
    1024x768 4 seconds and 1.5 GB, 2048x1536 17 seconds and 6 GB, on one core. About 512 pixels are best: `hasama
    style` paints large photos small first, for broad strokes, which the network cannot.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a painter that `hasama teach` made, for which there is but ONNX;
        with --recipe instant a painting.
    paintings
        With --recipe instant: more paintings, to be mixed.
    onnx
        generator.onnx, for any batch size, checked against torch (needs the extra `onnx`).
    safetensors
        A folder to share: generator.safetensors, samples.png, and README.md, a model card.
    out
        The folder to write to. Default: export in the run's folder. Of painters and paintings it may be a name that
        ends in .onnx; default: NAME.onnx beside them.
    license
        The licence's short name for the model card: mit, cc-by-4.0, ... Default: a base's own, else other.
    recipe
        Of paintings: instant. What other recipes do is no network; for one of that kind see `hasama teach`.
    mix
        Of paintings: how much each counts, such as 2,1.
    strength
        Of paintings: 0 (the photo as it is) to 1, the default.
    size
        Of paintings: longer side, in pixels, of the photos of 4:3 for which it paints as `hasama style` does, but for
        single places where another patch is the nearest; others get strokes of the same size. 64 to 512, the default.
    patches
        Of paintings: how many of their patches it knows, 0 to 512, the default; most of the file and a third of the
        time are for these. 0: none, and so rather colours and textures than strokes.
    """
    from hasama.pictures.images import has_picture_ending
    from hasama.style.painters.painter_header import is_painter

    if recipe is None and (paintings or (has_picture_ending(run) and not run.is_dir())):
        raise HasamaError(f"To export a network that paints like {(run, *paintings)[-1]}:  --recipe instant")
    numbers = {"strength": strength, "size": size, "patches": patches}
    given = {name: value for name, value in numbers.items() if value is not None}
    painter = is_painter(run)
    if license and (recipe is not None or painter):
        raise HasamaError("--license is for a run's model card; what paints is exported without one.")
    if recipe is not None:
        return _export_instant([run, *paintings], mix, out, given, safetensors and not onnx)
    if given or mix:
        raise HasamaError(f"--{next(iter(given), 'mix')} is for paintings, with --recipe instant.")
    both = not (onnx or safetensors)

    from hasama.cli.terminal import say
    from hasama.sharing.folder import check_folder, write_folder
    from hasama.sharing.model_card import ONNX, check_license, usual_license
    from hasama.sharing.onnx_export import check_onnx, save_onnx
    from hasama.tensor_files import header_of

    check_license(license or "other")
    if onnx or both:
        try:
            check_onnx()
        except HasamaError as error:
            raise HasamaError(f"{error}  (without it:  --safetensors)") if both else error from None
    if painter:
        return _export_painter(run, out, safetensors and not onnx)
    with _trained(run) as trained:
        out, license = out or beside(run, "export"), license or usual_license(trained)
        check_folder(out, trained.file, onnx or both, safetensors or both)
        if onnx or both:
            difference = save_onnx(trained.generator, out / ONNX, header_of(trained.weights))
            say(f"{out / ONNX}: takes any batch; its pictures differ from torch's by at most {difference:.1e}")
        if safetensors or both:
            write_folder(trained, out, license, onnx=onnx or both)
            say(f"{out}: generator.safetensors, samples.png and the model card README.md (license: {license})")
    return 0


def _export_painter(file: Path, out: Path | None, as_it_is: bool) -> int:
    """A painter is one file already; what others need is ONNX."""
    from hasama.cli.terminal import say
    from hasama.sharing.painter_onnx import save_painter_onnx
    from hasama.style.painters.painter_file import load_painter

    if as_it_is:
        raise HasamaError(f"{file} is what to share: a painter is one safetensors file. For ONNX:  --onnx")
    target = _onnx_place(out, file.parent, file.stem)
    difference = save_painter_onnx(load_painter(file), target)
    say(f"{target}: photos whose sides are multiples of 8; it differs from torch by at most {difference:.1e}")
    return 0


def _export_instant(
    paintings: list[Path], mix: str | None, out: Path | None, given: dict[str, Any], as_it_is: bool
) -> int:
    """What `instant` knows of paintings, as a network."""
    from hasama.sharing.onnx_export import check_onnx

    check_onnx()
    if as_it_is:
        raise HasamaError("What paints like paintings is exported as ONNX alone: leave --safetensors away.")
    for path in paintings:
        if path.is_dir() or path.suffix == ".safetensors":
            raise HasamaError(f"--recipe instant is for pictures of paintings; {path} is none.")

    from hasama.cli.style_arguments import style_sources
    from hasama.cli.terminal import say
    from hasama.pictures.animation import only_first
    from hasama.sharing.instant_onnx import save_instant_onnx
    from hasama.style.jobs.job import open_styles

    styles = open_styles(style_sources(paintings, mix, None, None))
    target = _onnx_place(out, paintings[0].parent, "+".join(path.stem for path in paintings))
    for note in filter(None, map(only_first, paintings)):
        say(note, "yellow")
    difference = save_instant_onnx(styles, target, **given)
    say(
        f"{target}: photos of any size, {target.stat().st_size / 1e6:.0f} MB; its paintings differ from torch's by "
        f"{difference:.1e} in the mean"
    )
    return 0


def _onnx_place(out: Path | None, folder: Path, name: str) -> Path:
    """Where an ONNX file goes; its folder is made."""
    out = out or folder
    target = out / fitting_name(name, ".onnx", SPARE) if out is folder or is_folders_name(out) else out
    if target.suffix != ".onnx":
        raise HasamaError(f"--out takes a folder, or a name that ends in .onnx; got {out}.")
    make_folder(target.parent)
    return target


def push(
    run: Path,
    repository: str,
    /,
    *,
    private: bool = False,
    license: str | None = None,
    token: str | None = None,
) -> int:
    """Upload a trained generator, with a model card and samples, to the Hugging Face Hub (needs the extra `hub`).

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    repository
        Where to: user/name. It is made if there is none.
    private
        If it is made now, only its owner may see it.
    license
        The licence's short name for the model card: mit, cc-by-4.0, ... Default: a base's own, else other.
    token
        A token that may write. Default: HF_TOKEN, or what `hf auth login` saved.
    """
    from hasama.sharing.hub import check_repository, open_hub, push_folder

    check_repository(repository)
    hub = open_hub(token)

    from tempfile import TemporaryDirectory

    from hasama.cli.terminal import say
    from hasama.sharing.folder import write_folder
    from hasama.sharing.model_card import about, check_license, usual_license

    check_license(license or "other")
    with _trained(run) as trained, TemporaryDirectory(prefix="hasama-") as place:
        license = license or usual_license(trained)
        write_folder(trained, Path(place), license, repository)
        say(f"Uploading to {repository} ...")
        address = push_folder(Path(place), repository, hub, private, about(trained))
    say(f"It is at {address}")
    return 0


@contextmanager
def _trained(run: Path) -> Iterator["Trained"]:
    """The generator, and its file as it was when it was read: a training may write the next one at any time."""
    import shutil
    from tempfile import TemporaryDirectory

    from hasama.generators.generator_file import load_generator
    from hasama.runs.bases import place_named
    from hasama.runs.folder import Run
    from hasama.sharing.model_card import Trained

    file, place = generator_file(run), place_named(run)
    of = Run(place) if place.is_dir() else None
    with TemporaryDirectory(prefix="hasama-") as kept:
        copy = Path(kept) / file.name
        try:
            shutil.copyfile(file, copy)
            generator = load_generator(copy)
        except (OSError, HasamaError):
            load_generator(file)  # which says what is wrong with it, and not with the copy
            raise
        yield Trained(file, generator, of, copy)


def studio(
    folder: Path = Path("runs"),
    /,
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
    name: Sequence[str] = (),
    browser: bool = True,
) -> int:
    """Open a page over your trainings: train, watch, explore and paint in the browser, on this machine alone.

    What is begun there goes on when the page or the studio is closed; and trainings begun in a terminal appear there.

    Parameters
    ----------
    folder
        The folder of runs.
    port
        0: any that is free.
    host
        Another address than this machine's own needs a password, in the variable HASAMA_STUDIO_PASSWORD.
    name
        A further name that it goes by, such as studio.example.com of a proxy before it; may be given more than once.
    browser
        Open it.
    """
    import os

    from hasama.cli.terminal import say
    from hasama.studio.serve import serve

    if not 0 <= port <= 65535:
        raise HasamaError(f"--port takes 0 to 65535; got {port}.")
    password = os.environ.get("HASAMA_STUDIO_PASSWORD") or None
    if name and password is None:
        raise HasamaError("With --name others could use the studio: it needs a password, in HASAMA_STUDIO_PASSWORD.")

    def ready(address: str) -> None:
        say(f"The studio is at {address}  Ctrl-C ends it.")

    serve(folder, host, port, password, browser, ready, name)
    return 0
