"""What a projection found, as a file: the w of a real picture, from which one can move on.

It lies beside the picture that shows the projection (`hasama.names.tensors_beside`) and holds `w`: in the space z a
latent [1, Z], in w [1, W], in w+ [1, layers, W]. The header, a JSON under the key `hasama`, tells the space, the
class and how near it is.
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
from hasama.tensor_files import KEY, load_tensors, save_tensors


class Projected(NamedTuple):
    """Where a real picture lies.

    Attributes:
        w: [1, W], or for each layer [1, layers, W]; of a generator without styles the latent [1, Z].
        label: the class by its name; None without classes.
    """

    w: W
    label: str | None


def save_projection(generator: TrainedGenerator, found: ProjectionStep, space: Space, file: Path) -> str | None:
    """Write the w of a step, atomically.

    Returns:
        The class's name; None without classes.

    Raises:
        HasamaError: it cannot be written.
    """
    label = None if found.label is None else generator.classes[found.label]
    about = {"space": space, "step": found.step, "steps": found.steps, "label": label, "losses": found.losses}
    save_tensors(file, {"w": found.w}, about)
    return label


def load_projection(generator: TrainedGenerator, file: Path) -> Projected:
    """Read it again, for the generator that it was made with.

    Raises:
        HasamaError: it is not there, damaged, or was made with a generator of another form.
    """
    try:
        tensors, header = load_tensors(file)
        about: Any = json.loads(header[KEY])
        w, space, label = tensors["w"].float(), about["space"], about["label"]
    except FileNotFoundError:
        raise HasamaError("This projection is not there (any more): project the picture again.") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise HasamaError(f"{file.name} is no projection that can be read: project the picture again.") from error
    network, width = generator.network, len(mean_w(generator))
    shapes: dict[str, tuple[int, ...]] = {"z": (1, generator.latent_size)}
    if is_styled(network):
        shapes |= {"w": (1, width), "w+": (1, network.style_layers, width)}
    if shapes.get(space) != tuple(w.shape) or (label not in generator.classes if generator.classes else label):
        raise HasamaError("This projection was made with another generator: project the picture again.")
    return Projected(to_w(generator, w, labels_for(generator, 1, label)) if space == "z" else w, label)


def load_projections(generator: TrainedGenerator, files: Sequence[Path]) -> tuple[W, Labels | None]:
    """The w of several, [n, W] or, if one of them has a style for each layer, [n, layers, W]; and their labels [n].

    Args:
        generator: that they were made with.
        files: each a file of `save_projection`, or the picture that it lies beside.

    Raises:
        HasamaError: one is not there, damaged, or was made with a generator of another form.
    """
    found = []
    for file in files:
        tensors = file if file.suffix == ".safetensors" else tensors_beside(file)
        try:
            found.append(load_projection(generator, tensors))
        except HasamaError as error:
            raise HasamaError(f"{file}: {error}") from error
    each = [one.w for one in found]
    if any(w.ndim == 3 for w in each):
        each = [for_each_layer(w, generator.network.style_layers) for w in each]
    labels = [one.label for one in found]
    known = None if not generator.classes else torch.tensor([generator.classes.index(str(one)) for one in labels])
    return torch.cat(each), known
