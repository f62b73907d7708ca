"""The EMA generator as a file: what people share. Loading it executes nothing.

`generator.safetensors` holds the weights, and in its header, under the key `hasama`, a JSON of what is needed
to build the network: architecture, width, latent_size, size, channels, classes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from hasama.device import pick_device
from hasama.errors import HasamaError
from hasama.names import as_path, near_name
from hasama.networks.calling import evaluating
from hasama.networks.old_names import with_new_names
from hasama.networks.outline import outline
from hasama.networks.registry import build
from hasama.pictures.images import MODES
from hasama.pictures.tensors import to_pixels
from hasama.recipe import Recipe
from hasama.shapes import Labels, Latents, Pixels
from hasama.tensor_files import KEY, load_tensors, save_tensors
from hasama.version import __version__

if TYPE_CHECKING:
    from hasama.shapes import Pixels

FIELDS = ("architecture", "width", "latent_size", "size", "discriminator_norm", "vision_aid", "enlarge")
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "stylegan": ("mapping_layers",),
    "progressive": ("grow_kimg",),
    "r3gan": (
        *("resampling", "group_width", "pixel_noise", "generator_width", "generator_blocks"),
        *("generator_attention", "self_modulation", "clip_output"),
    ),
    "dense": ("generator_norm",),
}
"""More fields that are needed to build an architecture's generator."""
LATER = (*OWN_FIELDS["r3gan"], "generator_norm", "vision_aid", "enlarge")
"""Those of them that files of older versions lack; they have the default."""
MOST_CLASSES = 100_000  # that a header may claim


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator that is ready to generate pictures.

    Attributes:
        network: the generator, put into evaluation mode while it generates.
        recipe: what it was built from; None for networks that Hasama did not build.
        latent_size: length Z of its latents.
        channels: of the pictures.
        classes: the classes' names; empty if it has none.
    """

    network: nn.Module
    recipe: Recipe | None
    latent_size: int
    channels: int
    classes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def generate(self, latents: Latents, labels: Any = None) -> Pixels:
        """Pictures for these latents, all at once.

        Args:
            latents: [n, Z], as `draw_latents` makes them.
            labels: the class of each picture [n], by number or by name; needed if there are classes.

        Returns:
            uint8 [n, H, W, C].

        Raises:
            HasamaError: the latents have another shape, or see `as_labels`.
        """
        latents = self.as_latents(latents).to(self.device)
        known = self.as_labels(labels, len(latents))
        with self.at_rest():
            return to_pixels(self.network(latents) if known is None else self.network(latents, known.to(self.device)))

    def as_labels(self, given: Any, count: int) -> Labels | None:
        """Classes that somebody gives, by their numbers or their names, as whole numbers [count].

        Args:
            given: one for each of `count` pictures: a tensor, an array or a list; or None.
            count: of pictures.

        Raises:
            HasamaError: the generator has no classes, or not these, or there are more or fewer than pictures.
        """
        if given is None:
            return None
        if not self.classes:
            raise HasamaError("This generator knows no classes: leave the labels out.")
        try:
            named = [self.classes.index(one) if isinstance(one, str) else one for one in given]
            labels = given if isinstance(given, torch.Tensor) else torch.as_tensor(np.asarray(named))
        except (TypeError, ValueError, RuntimeError) as error:
            raise HasamaError(
                f"Labels are numbers or names of classes ({', '.join(self.classes[:5])}"
                f"{', ...' if len(self.classes) > 5 else ''}), one for each of {count}."
            ) from error
        whole = (not labels.is_floating_point() and labels.dtype != torch.bool) or not labels.numel()
        labels = labels.long()  # in which every class has room
        if labels.shape != (count,) or not whole or not (labels >= 0).all() or not (labels < len(self.classes)).all():
            raise HasamaError(
                f"Labels are whole numbers from 0 to {len(self.classes) - 1}, or names, one for each of {count}."
            )
        return labels

    def as_latents(self, given: Any) -> Latents:
        """Latents that somebody gives, in float32.

        Raises:
            HasamaError: they are no numbers [n, Z] for this generator, or some are none.
        """
        try:
            latents = torch.as_tensor(given).float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise HasamaError(f"Latents are numbers [n, {self.latent_size}]; got {type(given).__name__}.") from error
        if latents.ndim != 2 or latents.shape[1] != self.latent_size:
            raise HasamaError(f"Latents are [n, {self.latent_size}] here; got {list(latents.shape)}.")
        if not latents.isfinite().all():
            raise HasamaError("Some of these latents are not finite numbers.")
        return latents

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """With the network in evaluation mode; afterwards it is in the mode in which it was."""
        with evaluating(self.network):
            yield


def as_generator(given: Any) -> TrainedGenerator:
    """What somebody gives for a generator, in Python.

    Raises:
        HasamaError: it is something else, such as a run's folder.
    """
    if not isinstance(given, TrainedGenerator):
        raise HasamaError(
            f"A TrainedGenerator is needed here, such as hasama.load_generator gives; got {type(given).__name__}."
        )
    return given


def save_generator(generator: TrainedGenerator, path: str | Path, more: dict[str, Any] | None = None) -> None:
    """Write the weights and the header, atomically.

    Args:
        generator: what to write.
        path: usually a `generator.safetensors`.
        more: for the header, beside what is needed to build the network.

    Raises:
        HasamaError: it is no generator or no path, or it cannot be written; a file that was there is untouched.
    """
    generator, path = as_generator(generator), as_path(path)
    about: dict[str, Any] = {
        "version": __version__,
        "latent_size": generator.latent_size,
        "channels": generator.channels,
        "classes": list(generator.classes),
    }
    if generator.recipe is not None:
        about |= {name: getattr(generator.recipe, name) for name in _fields(generator.recipe.architecture)}
    about |= more or {}
    moved = (torch.float64, torch.bfloat16)  # to what nobody trains by; read back they would fit no network
    state = {name: t.float() if t.dtype in moved else t for name, t in generator.network.state_dict().items()}
    save_tensors(path, state, about)


def _fields(architecture: str) -> tuple[str, ...]:
    """The recipe's fields that the header holds."""
    return FIELDS + OWN_FIELDS.get(architecture, ())


def load_generator(path: str | Path, device: torch.device | str = "cpu") -> TrainedGenerator:
    """Read a `generator.safetensors`.

    The network is first built without memory and compared with the file, so that neither a wrong nor a hostile
    header can do more than cause a clear error.

    Args:
        path: the file.
        device: where to put the network, a torch.device or its name; 'auto' is the best there is.

    Raises:
        HasamaError: the file is missing, damaged, not a generator of ours, or of a network built in Python; or there
            is no such device.
    """
    path, device = as_path(path), pick_device(device)
    try:
        tensors, header = load_tensors(path)
    except FileNotFoundError:
        raise HasamaError(f"There is no generator at {path}.{near_name(path)}") from None
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        if path.is_dir():
            raise HasamaError(
                f"{path} is a folder, not a readable safetensors file: give its generator.safetensors."
            ) from None
        told = f" ({error})" if type(error) is ValueError else ""
        told = f" ({error.strerror.lower()})" if isinstance(error, OSError) and error.strerror else told
        raise HasamaError(
            f"{path} is not a readable safetensors file{told}: give a run's folder or a "
            "generator.safetensors. (That of a run is written anew by hasama resume RUN.)"
        ) from error
    about, recipe = _read_header(header, path)
    try:
        with outline():
            network = build(recipe, about["channels"], len(about["classes"])).generator
        tensors = with_new_names(tensors, network.state_dict())
        kinds = {name: tensor.dtype for name, tensor in network.state_dict().items()}
        tensors = {name: widened(tensor, kinds.get(name)) for name, tensor in tensors.items()}
        if odd := [name for name, tensor in tensors.items() if tensor.dtype != kinds.get(name, tensor.dtype)]:
            raise HasamaError(f"{odd[0]} is {tensors[odd[0]].dtype}, not {kinds[odd[0]]}.")
        network.load_state_dict(tensors, strict=True, assign=True)
    except (RuntimeError, HasamaError) as error:
        told = str(error) if isinstance(error, HasamaError) else "their names or shapes differ."
        raise HasamaError(f"The weights in {path} do not fit what its header says: {told}") from error
    network.requires_grad_(False).eval().to(device)
    return TrainedGenerator(network, recipe, recipe.latent_size, about["channels"], tuple(about["classes"]))


def widened(tensor: torch.Tensor, kind: torch.dtype | None) -> torch.Tensor:
    """A half precision tensor in the precision of the network; others as they are."""
    return tensor.to(kind) if kind == torch.float32 and tensor.dtype == torch.float16 else tensor


def _read_header(header: dict[str, str], path: Path) -> tuple[dict[str, Any], Recipe]:
    if KEY not in header:
        raise HasamaError(f"{path} is a safetensors file, but not a generator that Hasama saved.")
    try:
        about = json.loads(header[KEY])
    except (ValueError, RecursionError) as error:
        raise HasamaError(f"The header of {path} is damaged: not JSON.") from error
    if isinstance(about, dict) and "architecture" not in about:
        if "space" in about:
            raise HasamaError(f"{path} is what hasama project found among a generator's pictures, and no generator.")
        if "latent_size" not in about:
            raise HasamaError(
                f"{path} is something else of Hasama's, such as a run's enlarger or directions, and no generator: "
                "give the run's folder or its generator.safetensors."
            )
        raise HasamaError(
            f"The generator in {path} was built in Python, not by Hasama: load its weights into your own network "
            "with safetensors.torch.load_file."
        )
    try:
        needed = [name for name in _fields(about["architecture"]) if name in about or name not in LATER]
        recipe = Recipe(**{name: about[name] for name in needed})
        channels, classes = about["channels"], about["classes"]
    except (TypeError, KeyError, HasamaError) as error:
        raise HasamaError(f"The header of {path} is damaged: {error}") from error
    named = isinstance(classes, list) and len(classes) <= MOST_CLASSES and all(isinstance(c, str) for c in classes)
    if not named or type(channels) is not int or channels not in MODES:
        raise HasamaError(f"The header of {path} is damaged: impossible channels or classes.")
    return about, recipe
