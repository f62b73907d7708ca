"""What a projection found, as a file: the w of a real picture, from which one can move on.

It lies beside the picture that shows the projection (`hasama.names.tensors_beside`) and holds `w`: in the space z a
latent [1, Z], in w [1, W], in w+ [1, layers, W]. The header, a JSON under the key `hasama`, tells the space, the
class, how near it is, and of which generator and picture it is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.projection import ProjectionStep, Space
from hasama.generators.sampling import W, for_each_layer, is_styled, labels_for, mean_w, to_w
from hasama.names import tensors_beside
from hasama.shapes import Labels
from hasama.tensor_files import KEY, checksum, header_of, load_tensors, save_tensors


class Projected(NamedTuple):
    """Where a real picture lies.

    Attributes:
        w: [1, W], or for each layer [1, layers, W]; of a generator without styles the latent [1, Z].
        label: the class by its name; None without classes.
        same: whether it was made with this very generator, not with an earlier or later one of its form.
    """

    w: W
    label: str | None
    same: bool = True


def save_projection(
    generator: TrainedGenerator, found: ProjectionStep, space: Space, file: Path, notes: dict[str, Any] | None = None
) -> str | None:
    """Write the w of a step, atomically.

    Args:
        generator: that it was made with.
        found: the step.
        space: that was searched.
        file: where.
        notes: what else the header is to tell, such as the photo that was projected.

    Returns:
        The class's name; None without classes.

    Raises:
        HasamaError: it cannot be written.
    """
    label = None if found.label is None else generator.classes[found.label]
    about = {"space": space, "step": found.step, "steps": found.steps, "label": label, "losses": found.losses}
    save_tensors(file, {"w": found.w}, about | _told_of(generator) | (notes or {}))
    return label


def _told_of(generator: TrainedGenerator) -> dict[str, Any]:
    """The form of a generator's pictures, and the sum of its weights."""
    recipe = generator.recipe
    weights = {name: tensor.cpu().contiguous() for name, tensor in generator.network.state_dict().items()}
    size = None if recipe is None else list(recipe.resolution)
    return {"pictures": [generator.channels, size], "weights": checksum(weights)}


def about_projection(file: Path) -> dict[str, Any]:
    """What a projection's file tells of itself; empty if there is none, or none that can be read."""
    try:
        told = json.loads(header_of(file))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def load_projection(generator: TrainedGenerator, file: Path) -> Projected:
    """Read it again, for the generator that it was made with.

    Raises:
        HasamaError: it is not there, damaged, or was made with a generator of another form.
    """
    try:
        tensors, header = load_tensors(file)
        about: Any = json.loads(header[KEY])
        w, space, label = tensors["w"].float(), str(about["space"]), about["label"]
    except FileNotFoundError:
        raise HasamaError("This projection is not there (any more): project the picture again.") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HasamaError(f"{file.name} is no projection that can be read: project the picture again.") from error
    network, width = generator.network, len(mean_w(generator))
    shapes: dict[str, tuple[int, ...]] = {"z": (1, generator.latent_size)}
    if is_styled(network):
        shapes |= {"w": (1, width), "w+": (1, network.style_layers, width)}
    mine = _told_of(generator)
    other = about.get("pictures", mine["pictures"]) != mine["pictures"]
    unknown = label not in generator.classes if generator.classes else label
    if other or unknown or shapes.get(space) != tuple(w.shape):
        raise HasamaError("This projection was made with another generator: project the picture again.")
    same = about.get("weights", mine["weights"]) == mine["weights"]
    return Projected(to_w(generator, w, labels_for(generator, 1, label)) if space == "z" else w, label, same)


def load_projections(generator: TrainedGenerator, files: Sequence[Path]) -> tuple[W, Labels | None, bool]:
    """The w of several, [n, W] or, if one of them has a style for each layer, [n, layers, W]; their labels [n]; and
    whether all were made with this very generator.

    Args:
        generator: that they were made with.
        files: each a file of `save_projection`, or the picture that it lies beside.

    Raises:
        HasamaError: one is not there, damaged, or was made with a generator of another form.
    """
    found = []
    for file in files:
        try:
            found.append(load_projection(generator, projection_of(file)))
        except HasamaError as error:
            raise HasamaError(f"{file}: {error}") from error
    each = [one.w for one in found]
    layers = max((w.shape[1] for w in each if w.ndim == 3), default=None)
    if layers is not None:
        each = [for_each_layer(w, layers) for w in each]
    labels = [one.label for one in found]
    known = None if not generator.classes else torch.tensor([generator.classes.index(str(one)) for one in labels])
    return torch.cat(each), known, all(one.same for one in found)


def projection_of(file: Path) -> Path:
    """The file of tensors of a projection that is named by it, or by the picture that it lies beside.

    Raises:
        HasamaError: the picture has none.
    """
    if file.suffix == ".safetensors":
        return file
    beside = tensors_beside(file) if file.name else file
    if not beside.is_file():
        raise HasamaError(f"nothing was projected there. Find its latent first:  hasama project RUN {file}")
    shown = about_projection(beside).get("shown", file.name)
    if Path(str(shown)).suffix != file.suffix:
        raise HasamaError(f"what lies beside it is the projection of {shown}.")
    return beside
