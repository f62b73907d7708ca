"""A generator as an ONNX file.

The file is made by torch's exporter, and is then run by onnxruntime against the network that it was made from: it
gets its name only if both make the same pictures.
"""

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from hasama.errors import HasamaError, missing_extra
from hasama.files import cannot_write, check_place, replacing
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, labels_for

OPSET = 18  # the least that torch's exporter writes, and so the one that most runtimes read
INPUTS = ("latents", "labels")
TRACED = 2  # pictures in the batch that is exported; the check uses other numbers
CHECKED = (1, 3)
TOLERANCE = 1e-3  # between onnxruntime's pictures and torch's, of a range of 2
LARGEST_FILE = 2_000_000_000  # bytes of weights; protobuf, of which ONNX is made, ends at 2 GiB


# --- ONNX -----------------------------------------------------------------------------------------


def check_onnx() -> None:
    """Before any work: is what exporting needs installed?

    Raises:
        HasamaError: the extra `onnx` is missing.
    """
    for package in ("onnxscript", "onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise missing_extra(package, "onnx", "Exporting ONNX")


def save_onnx(generator: TrainedGenerator, path: str | Path, header: str = "") -> float:
    """Write a network that takes any batch: `latents` [n, Z] (and `labels` [n]) -> `images` [n, C, H, W] in [-1, 1].

    One file, atomically; the weights of a generator of over 2 GB stand in a second one, NAME.data.

    Args:
        generator: left as it is.
        path: of the `.onnx` file.
        header: for the file's metadata, under the key `hasama`: see `hasama.generators.generator_file`.

    Returns:
        The largest difference between onnxruntime's pictures and torch's, for batches other than the one traced.

    Raises:
        HasamaError: the exporter cannot do it, or the pictures differ by more than `TOLERANCE`; then no file is
            written.
    """
    check_onnx()
    path = Path(path)
    check_place(path)
    network = copy.deepcopy(generator.network).cpu().float().eval().requires_grad_(False)
    still = replace(generator, network=network)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
            difference = _write_checked(still, Path(place) / path.name, header)
            for made in sorted(Path(place).iterdir(), reverse=True):  # the weights before the file that names them
                with replacing(path.with_name(made.name)) as temporary:
                    made.replace(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error
    return difference


def _write_checked(generator: TrainedGenerator, path: Path, header: str) -> float:
    try:
        with quietly():
            program = _traced(generator)
            forget_this_machine(program.model)
            if header:
                program.model.metadata_props["hasama"] = header
            tensors = generator.network.state_dict().values()
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            program.save(path, external_data=size > LARGEST_FILE)
            difference = _difference(generator, path)
    except (HasamaError, OSError):
        raise
    except Exception as error:  # the exporter and the runtime raise many kinds of exceptions
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HasamaError(f"torch {torch.__version__} cannot export this generator to ONNX: {told}") from error
    if not difference <= TOLERANCE:  # true for NaN, too
        raise HasamaError(
            f"onnxruntime's pictures differ from torch's by {difference:.3g} (at most {TOLERANCE:g} is allowed), so "
            f"{path.name} was not written. The generator itself is as good as before."
        )
    return difference


def _traced(generator: TrainedGenerator) -> Any:
    """The generator as an ONNX program from torch's exporter; its batch may have any size."""
    given = _arguments(generator, TRACED)
    batch = torch.export.Dim("batch")
    program: Any = torch.onnx.export(
        settled(copy.deepcopy(generator.network)),
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


def forget_this_machine(model: Any) -> None:
    """Take out what torch's exporter notes beside each operator: the lines of code it came from, with their folders.

    Args:
        model: of the exporter's program, changed in place.
    """
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        values = [*graph.inputs, *getattr(graph, "initializers", {}).values()]
        for node in graph.all_nodes():
            node.metadata_props.clear()
            values += node.outputs
        for value in values:
            value.metadata_props.clear()


def settled(network: nn.Module) -> nn.Module:
    """The same network without what only training needs, changed in place.

    Parametrized weights become plain ones, and modules with a method `settle` have it called: progressive networks
    turn the level that they have reached into a Python number.
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


def _arguments(generator: TrainedGenerator, count: int) -> tuple[torch.Tensor, ...]:
    """The generator's arguments for so many pictures."""
    latents, labels = draw_latents(0, count, generator.latent_size), labels_for(generator, count)
    return (latents,) if labels is None else (latents, labels)


def _difference(generator: TrainedGenerator, path: Path) -> float:
    """How far the pictures of the file are from the network's at most."""
    given = [_arguments(generator, count) for count in CHECKED]
    return difference(generator.network, path, given, INPUTS, "images")


@torch.no_grad()
def difference(
    network: nn.Module,
    path: Path,
    given: Iterable[tuple[torch.Tensor, ...]],
    inputs: Sequence[str],
    output: str,
    measure: Callable[[np.ndarray], float] = np.max,
) -> float:
    """How far what a file gives is from what a network gives at most; infinite if it has another shape.

    Args:
        network: on the CPU, in evaluation mode.
        path: of the ONNX file.
        given: arguments to try, one call after another.
        inputs: the names of the file's inputs.
        output: the name of what it gives.
        measure: of one call's absolute differences; the largest of these counts.
    """
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    differences = []
    for arguments in given:
        wanted = network(*arguments).numpy()
        told = {name: tensor.numpy() for name, tensor in zip(inputs, arguments, strict=False)}
        made = np.asarray(session.run([output], told)[0])
        differences.append(measure(np.abs(made - wanted)) if made.shape == wanted.shape else np.inf)
    return float(np.max(differences))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporter's messages about its progress, and about operators that a generator does not use."""
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
