"""hasama export, push, studio: out of the terminal, to others and into the browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from hasama.cli.arguments import beside, open_generator
from hasama.errors import HasamaError

if TYPE_CHECKING:
    from hasama.sharing.model_card import Trained


def export(
    run: Path,
    /,
    *,
    onnx: bool = False,
    safetensors: bool = False,
    out: Path | None = None,
    license: str = "other",
) -> int:
    """Write a trained generator in formats that others can use. Without --onnx and --safetensors: both.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a painter that `hasama teach` made, for which there is but ONNX.
    onnx
        generator.onnx, for any batch size, checked against torch (needs the extra `onnx`).
    safetensors
        A folder to share: generator.safetensors, samples.png, and README.md, a model card.
    out
        The folder to write to. Default: export in the run's folder.
    license
        The licence's short name for the model card: mit, cc-by-4.0, ...
    """
    both = not (onnx or safetensors)

    from hasama.cli.terminal import say
    from hasama.generators.generator_file import header_of
    from hasama.sharing.folder import check_folder, write_folder
    from hasama.sharing.model_card import ONNX, check_license
    from hasama.sharing.onnx_export import check_onnx, save_onnx

    check_license(license)
    if onnx or both:
        try:
            check_onnx()
        except HasamaError as error:
            raise HasamaError(f"{error}  (without it:  --safetensors)") if both else error from None
    if run.suffix == ".safetensors" and run.is_file():
        from hasama.style.painters.painter_header import is_painter

        if is_painter(run):
            return _export_painter(run, out, safetensors and not onnx)
    trained = _trained(run)
    out = out or beside(run, "export")
    check_folder(out)
    if onnx or both:
        difference = save_onnx(trained.generator, out / ONNX, header_of(trained.file))
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
    target = (out or file.parent) / f"{file.stem}.onnx" if out is None or not out.suffix else out
    if target.suffix != ".onnx":
        raise HasamaError(f"--out takes a folder, or a name that ends in .onnx; got {out}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    difference = save_painter_onnx(load_painter(file), target)
    say(f"{target}: photos whose sides are multiples of 8; it differs from torch by at most {difference:.1e}")
    return 0


def push(
    run: Path,
    repository: str,
    /,
    *,
    private: bool = False,
    license: str = "other",
    token: str | None = None,
) -> int:
    """Upload a trained generator, with a model card and samples, to the Hugging Face Hub (needs the extra `hub`).

    Parameters
    ----------
    run
        A run's folder, or a generator.safetensors.
    repository
        Where to: user/name. It is made if there is none.
    private
        If it is made now, only its owner may see it.
    license
        The licence's short name for the model card: mit, cc-by-4.0, ...
    token
        A token that may write. Default: HF_TOKEN, or what `hf auth login` saved.
    """
    from hasama.sharing.hub import check_repository, open_hub, push_folder

    check_repository(repository)
    hub = open_hub(token)

    from tempfile import TemporaryDirectory

    from hasama.cli.terminal import say
    from hasama.sharing.folder import write_folder
    from hasama.sharing.model_card import about, check_license

    check_license(license)
    trained = _trained(run)
    with TemporaryDirectory(prefix="hasama-") as place:
        write_folder(trained, Path(place), license, repository)
        say(f"Uploading to {repository} ...")
        address = push_folder(Path(place), repository, hub, private, about(trained))
    say(f"It is at {address}")
    return 0


def _trained(run: Path) -> "Trained":
    from hasama.runs.bases import place_named
    from hasama.runs.folder import Run
    from hasama.sharing.model_card import Trained

    generator = open_generator(run, "cpu")
    run = place_named(run)
    return Trained(Run(run).generator, generator, Run(run)) if run.is_dir() else Trained(run, generator)


def studio(
    folder: Path = Path("runs"),
    /,
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
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
    browser
        Open it.
    """
    import os

    from hasama.cli.terminal import say
    from hasama.studio.serve import serve

    if not 0 <= port <= 65535:
        raise HasamaError(f"--port takes 0 to 65535; got {port}.")
    password = os.environ.get("HASAMA_STUDIO_PASSWORD") or None
    serve(folder, host, port, password, browser, lambda address: say(f"The studio is at {address}  Ctrl-C ends it."))
    return 0
