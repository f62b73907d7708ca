"""A trained generator in forms that others can use: an ONNX file, and a folder to share with its model card.

The ONNX file is made by torch's exporter, and is then run by onnxruntime against the network that it was made from:
it gets its name only if both paint the same pictures.
"""

import contextlib
import copy
import io
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.utils import parametrize

from hasama.errors import HasamaError, missing_extra
from hasama.files import cannot_write, check_place, read_json, replacing
from hasama.images import grid, save_picture
from hasama.latent import draw_latents, labels_for, paint_all
from hasama.run import Run
from hasama.weights import Painter

if TYPE_CHECKING:
    from PIL import Image

GENERATOR, CARD, SAMPLES, ONNX = "generator.safetensors", "README.md", "samples.png", "generator.onnx"

OPSET = 18  # the least that torch's exporter writes, and so the one that most runtimes read
INPUTS = ("latents", "labels")
TRACED = 2  # pictures in the batch that the exporter sees; the check is made with others
CHECKED = (1, 3)
TOLERANCE = 1e-3  # between onnxruntime's pictures and torch's, of a range of 2
LARGEST_FILE = 2_000_000_000  # bytes of weights; protobuf, of which ONNX is made, ends at 2 GiB

SHEET = 2048  # pixels of the samples' wider side, about
OURS = "library_name: hasama"  # by which a card of an earlier export is known


class Trained(NamedTuple):
    """A generator, and what is known of how it came to be.

    Attributes:
        file: the `generator.safetensors`.
        painter: what was read from it.
        run: the run that it is from; None for a file alone.
    """

    file: Path
    painter: Painter
    run: Run | None = None


# --- ONNX -----------------------------------------------------------------------------------------


def check_onnx() -> None:
    """Before any work: is what exporting needs installed?

    Raises:
        HasamaError: the extra `onnx` is missing.
    """
    for package in ("onnxscript", "onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise missing_extra(package, "onnx", "Exporting ONNX")


def save_onnx(painter: Painter, path: str | Path, header: str = "") -> float:
    """Write a network that takes any batch: `latents` [n, Z] (and `labels` [n]) -> `images` [n, C, H, W] in [-1, 1].

    One file, atomically; the weights of a generator of over 2 GB stand in a second one, NAME.data.

    Args:
        painter: left as it is.
        path: of the `.onnx` file.
        header: for the file's metadata, under the key `hasama`: see `weights`.

    Returns:
        The largest difference between onnxruntime's pictures and torch's, for batches other than the one traced.

    Raises:
        HasamaError: the exporter cannot do it, or the pictures differ by more than `TOLERANCE`; no file is left.
    """
    check_onnx()
    path = Path(path)
    check_place(path)
    network = copy.deepcopy(painter.network).cpu().float().eval().requires_grad_(False)
    still = replace(painter, network=network)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
            difference = _write_checked(still, Path(place) / path.name, header)
            for made in sorted(Path(place).iterdir(), reverse=True):  # the weights before the file that names them
                with replacing(path.with_name(made.name)) as temporary:
                    made.replace(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error
    return difference


def _write_checked(painter: Painter, path: Path, header: str) -> float:
    try:
        with _quietly():
            program = _traced(painter)
            if header:
                program.model.metadata_props["hasama"] = header
            tensors = painter.network.state_dict().values()
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            program.save(path, external_data=size > LARGEST_FILE)
            difference = _difference(painter, path)
    except (HasamaError, OSError):
        raise
    except Exception as error:  # the exporter and the runtime raise nearly everything
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HasamaError(f"torch {torch.__version__} cannot export this generator to ONNX: {told}") from error
    if not difference <= TOLERANCE:  # true for NaN, too
        raise HasamaError(
            f"onnxruntime's pictures differ from torch's by {difference:.3g} (at most {TOLERANCE:g} is allowed), so "
            f"{path.name} was not written. The generator itself is as good as before."
        )
    return difference


def _traced(painter: Painter) -> Any:
    """The program that torch makes of it in ONNX; its batch may have any size."""
    given = _arguments(painter, TRACED)
    batch = torch.export.Dim("batch")
    program: Any = torch.onnx.export(
        settled(copy.deepcopy(painter.network)),
        given,
        dynamo=True,
        opset_version=OPSET,
        input_names=INPUTS[: len(given)],
        output_names=["images"],
        dynamic_shapes=tuple({0: batch} for _ in given),
        verbose=False,
    )
    if isinstance(program.model.graph.inputs[0].shape[0], int):  # len(x) is a number to torch, x.shape[0] is not
        raise HasamaError(
            "This generator's code fixes the size of the batch, so its ONNX file would be of little use."
        )
    return program


def settled(network: nn.Module) -> nn.Module:
    """The same network with what only training moves made fast, in place.

    Parametrized weights become plain ones, and whatever has a method `settle` is asked to: progressive networks turn
    the level that they have reached into a Python number.
    """
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            # Copies share the class that torch made, and removing would take the weight from all of them.
            own: Any = type(type(module).__name__, type(module).__bases__, dict(vars(type(module))))
            module.__class__ = own
            for name in list(module.parametrizations):  # pyright: ignore[reportArgumentType]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for module in list(network.modules()):
        settle = getattr(module, "settle", None)
        if callable(settle):
            settle()
    return network


def _arguments(painter: Painter, count: int) -> tuple[torch.Tensor, ...]:
    """What the generator is called with for so many pictures."""
    latents, labels = draw_latents(0, count, painter.latent_size), labels_for(painter, count)
    return (latents,) if labels is None else (latents, labels)


@torch.no_grad()
def _difference(painter: Painter, path: Path) -> float:
    """How far the pictures of the file are from the network's at most; infinite if they have another shape."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    differences = []
    for count in CHECKED:
        given = _arguments(painter, count)
        wanted = painter.network(*given).numpy()
        told = {name: tensor.numpy() for name, tensor in zip(INPUTS, given, strict=False)}
        made = np.asarray(session.run(["images"], told)[0])
        differences.append(np.abs(made - wanted).max() if made.shape == wanted.shape else np.inf)
    return float(np.max(differences))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of its own progress, and of operators that a generator does not use."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# --- the folder -----------------------------------------------------------------------------------


def check_folder(out: Path) -> None:
    """Before any work: can an export go here without harm to anything that is not one?

    Raises:
        HasamaError: it is a file, cannot be written to, or has a README.md that is not a card of ours.
    """
    if out.exists() and not out.is_dir():
        raise HasamaError(f"{out} is a file; --out takes a folder.")
    card = out / CARD
    if card.exists() and OURS not in card.read_text(encoding="utf-8", errors="replace"):
        raise HasamaError(f"{card} is not a model card of Hasama's, and would be replaced: choose another --out.")
    check_place(out / GENERATOR)


def check_license(name: str) -> None:
    """Before any work: can this stand in the card as the licence?

    Raises:
        HasamaError: it is not a licence's short name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9.+-]*", name):
        raise HasamaError(f"--license takes a licence's short name, such as mit, cc-by-4.0 or other; got {name!r}.")


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
    with replacing(out / GENERATOR) as temporary:
        shutil.copyfile(trained.file, temporary)
    save_picture(sheet(trained.painter), out / SAMPLES)
    with replacing(out / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")


def sheet(painter: Painter, seed: int = 0) -> "Image.Image":
    """A grid of samples, of 64 small or 4 large pictures; with classes, a column for each of the first ones."""
    side = max(painter.recipe.resolution) if painter.recipe else 64
    columns = rows = min(max(SHEET // side, 2), 8)
    if painter.classes:
        columns = min(len(painter.classes), 2 * rows)
    labels = labels_for(painter, columns * rows)
    if labels is not None:
        labels = torch.arange(columns * rows) % columns
    return grid(paint_all(painter, draw_latents(seed, columns * rows, painter.latent_size), labels), columns)


def about(trained: Trained) -> str:
    """What it is, in few words."""
    recipe = trained.painter.recipe
    return f"{recipe.architecture}, {recipe.resolution[1]}x{recipe.resolution[0]}" if recipe else "generator"


def header_of(file: Path) -> str:
    """The JSON in a generator's header, as it stands there."""
    with safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get("hasama", "")


# --- the card -------------------------------------------------------------------------------------


def model_card(trained: Trained, license: str = "other", repository: str | None = None, onnx: bool = False) -> str:
    """The README.md: what the generator is, how it is used, what is known of its quality, where its limits are.

    Of the training pictures it tells the number and the source's own name, never where that lies.
    """
    name = repository.split("/")[1] if repository else trained.file.stem
    if trained.run and not repository:
        name = trained.run.folder.resolve().name
    architecture = trained.painter.recipe.architecture if trained.painter.recipe else "generator"
    kind = [] if architecture == "vae" else ["gan"]  # a vae plays no game
    front = ["pipeline_tag: unconditional-image-generation", OURS, "tags:"]
    front += [f"- {tag}" for tag in (*kind, "hasama", architecture)]
    sections = (
        "\n".join(["---", *front, f"license: {license}", "---"]),
        f"# {_words(name)}",
        f"A generator of pictures ({architecture}), trained with Hasama.",
        f"![Samples from random latents, not chosen by hand]({SAMPLES})",
        _facts(trained),
        _use(trained.painter, repository),
        _use_onnx(trained.painter) if onnx else "",
        f"## Quality\n\n{_quality(trained.run)}",
        f"## Limits\n\n{LIMITS}",
    )
    return "\n\n".join(section for section in sections if section) + "\n"


LIMITS = """\
A generator shows what its training pictures show, with their gaps and their bias, and may repeat parts of them.
Whether those pictures may be used so, and whether pictures made from them may be shared, depends on the licence of
the training pictures and on the rights of the people in them: whoever shares or uses this generator is responsible
for that. The licence above is the one its uploader chose for the weights; it gives no rights to the pictures."""

COLOURS = {1: "1 (grey)", 3: "3 (RGB)", 4: "4 (RGBA)"}
NAMED_CLASSES = 100


def _facts(trained: Trained) -> str:
    """The table of what it is and how it came to be."""
    painter, recipe = trained.painter, trained.painter.recipe
    facts: list[tuple[str, Any]] = []
    if recipe:
        height, width = recipe.resolution
        facts.append(("architecture", f"{recipe.architecture}, width {recipe.width}"))
        facts.append(("resolution", f"{width} pixels wide, {height} high"))
    facts.append(("channels", COLOURS[painter.channels]))
    facts.append(("latent size", painter.latent_size))
    named = ", ".join(map(_words, painter.classes[:NAMED_CLASSES]))
    more = " and others" if len(painter.classes) > NAMED_CLASSES else ""
    facts.append(("classes", f"{len(painter.classes)}: {named}{more}" if painter.classes else "none"))
    facts += _history(trained.run) if trained.run else [("trained for", "not known: exported from the file alone")]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)])


def _history(run: Run) -> list[tuple[str, str]]:
    """How long it was trained, and on what."""
    images, log = run.images(), run.log()
    seen = run.images_seen() or (log[-1]["images_seen"] if log else 0)  # who has deleted game.pt still has the log
    count, crops = images["used"], images.get("crops")
    what = f"{crops} random crops of one picture" if crops else f"{count} picture{'s'[: count != 1]}"
    source = re.split(r"[\\/]", images["name"].rstrip("\\/"))[-1].strip("~.")
    length = f"{seen / 1000:g} kimg (thousands of training pictures shown)" if seen else "not known"
    return [("trained for", length), ("trained on", f"{what} ({_words(source)})" if source else what)]


def _use(painter: Painter, repository: str | None) -> str:
    """The command and the Python, to be pasted as they stand."""
    fetch = [f"hf download {repository} {GENERATOR} --local-dir ."] if repository else []
    command = ["pip install hasama", *fetch, f"hasama sample {GENERATOR} --count 64 --out pictures.png"]
    code = ["import hasama", "", f'painter = hasama.load_generator("{GENERATOR}")']
    code.append("latents = hasama.draw_latents(seed=0, count=16, size=painter.latent_size)")
    if painter.classes:
        code.insert(0, "import torch")
        code.append("labels = torch.arange(16) % len(painter.classes)")
    given = "latents, labels" if painter.classes else "latents"
    code.append(f"pixels = painter.paint({given})  # uint8 [16, height, width, channels]")
    code.append('hasama.save_picture(hasama.grid(pixels), "pictures.png")')
    return "\n".join(["## Use", "", "```sh", *command, "```", "", "```python", *code, "```"])


def _use_onnx(painter: Painter) -> str:
    """The same for the ONNX file, which needs no Hasama."""
    code = ["import numpy as np", "import onnxruntime", "", f'session = onnxruntime.InferenceSession("{ONNX}")']
    code.append(f"latents = np.random.default_rng(0).standard_normal((16, {painter.latent_size}), np.float32)")
    given = '"latents": latents'
    if painter.classes:
        code.append(f"labels = np.arange(16, dtype=np.int64) % {len(painter.classes)}")
        given += ', "labels": labels'
    code.append(f'(images,) = session.run(["images"], {{{given}}})  # [16, channels, height, width], -1 to 1')
    return "\n".join(["Without Hasama, in onnxruntime:", "", "```python", *code, "```"])


def _quality(run: Run | None) -> str:
    """The figures in `metrics.json`, which is one report or a list of them; or that there are none.

    A report is an object with `extractor`, `samples` and figures, which may stand in an object of their own.
    """
    file = run.folder / "metrics.json" if run else None
    if file is None or not file.exists():
        return "No metric was computed."
    reports = read_json(file, "metrics")
    lines = []
    for report in reports if isinstance(reports, list) else [reports]:
        if not isinstance(report, dict):
            raise HasamaError(f"The metrics {file} are damaged: delete them, or measure again.")
        inner = [value for value in report.values() if isinstance(value, dict)]
        figures = {k: v for part in (report, *inner) for k, v in part.items() if type(v) in (int, float)}
        samples = figures.pop("samples", "an unknown number of")
        how = f"{_words(str(report.get('extractor', 'an unknown extractor')))}, {samples} samples"
        lines += [f"- {_words(name)}: {value:g} ({how})" for name, value in figures.items()]
    return "\n".join(lines) or "No metric was computed."


def _words(name: str) -> str:
    """A name that somebody else chose, as plain words in Markdown: no markup, no line breaks, no HTML."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", plain)
