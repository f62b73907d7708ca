"""A folder to share: the generator, its model card, samples."""

import shutil
from pathlib import Path

from hasama.errors import HasamaError
from hasama.files import check_place, replacing
from hasama.pictures.images import save_picture
from hasama.runs.folder import Run
from hasama.sharing.model_card import CARD, GENERATOR, ONNX, OURS, SAMPLES, Trained, check_license, model_card, sheet

# --- the folder -----------------------------------------------------------------------------------


def check_folder(out: Path, exported: Path, onnx: bool = True, safetensors: bool = True) -> None:
    """Before any work: can an export go here without harm to anything that is not one?

    Args:
        out: the folder.
        exported: the generator's file, which may stand there itself.
        onnx: whether a `generator.onnx` will be written.
        safetensors: whether the generator, its samples and its card will be.

    Raises:
        HasamaError: it is a file or a run, cannot be written to, has a README.md that is not a card of ours, or has
            none and something of an export's names.
    """
    if out.exists() and not out.is_dir():
        raise HasamaError(f"{out} is a file; --out takes a folder.")
    if Run(out).exists():
        raise HasamaError(f"{out} is a run, whose generator would be replaced: choose another --out.")
    card = out / CARD
    for name in (CARD, GENERATOR, SAMPLES, ONNX):
        check_place(out / name)  # where a folder of that name would be found too late
    ours = card.exists() and OURS in card.read_text(encoding="utf-8", errors="replace")
    if safetensors and card.exists() and not ours:
        raise HasamaError(f"{card} is not a model card of Hasama's, and would be replaced: choose another --out.")
    written = (*((GENERATOR, SAMPLES) if safetensors else ()), *((ONNX,) if onnx else ()))
    for there in (out / name for name in written if (out / name).exists() and not ours):
        own = there.name == ONNX and b"hasama" in _end_of(there)
        if not (own or (exported.exists() and there.samefile(exported))):
            raise HasamaError(f"{there} would be replaced, and is of no export of Hasama's: choose another --out.")


def _end_of(file: Path) -> bytes:
    """Where an ONNX file says, behind the weights, what has made it."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 2**20))
        return opened.read()


def write_folder(
    trained: Trained, out: Path, license: str = "other", repository: str | None = None, onnx: bool = False
) -> None:
    """Write what can be shared: the generator, byte for byte, a card that explains it, and samples.

    Args:
        trained: the generator.
        out: a folder, made if need be.
        license: its short name, for the card.
        repository: user/name, if the folder will be on a hub.
        onnx: whether the folder also has a `generator.onnx`, which the card then explains.

    Raises:
        HasamaError: it cannot be written, or what the run says of itself is damaged.
    """
    check_license(license)
    card = model_card(trained, license, repository, onnx)
    with replacing(out / CARD) as temporary:  # first: it says that what comes is of an export
        temporary.write_text(card, encoding="utf-8")
    with replacing(out / GENERATOR) as temporary:
        shutil.copyfile(trained.weights, temporary)
    save_picture(sheet(trained.generator), out / SAMPLES)
