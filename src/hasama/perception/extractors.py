"""Frozen networks that extract the features of pictures. Each has a name, which is shown beside every figure.

vgg19-relu5_1-mean         VGG19's packaged weights; offline.
efficientnet-lite0-pooled  EfficientNet-Lite0's packaged weights; offline, a second opinion.
inception-v3-pool3         InceptionV3 with the weights that published FIDs were measured with; downloaded, or a file.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.device import pick_precision, whole_products
from hasama.errors import HasamaError
from hasama.files import sha256_of
from hasama.metrics.distances import Features
from hasama.names import at_home
from hasama.options import unknown_name
from hasama.perception import efficientnet
from hasama.perception.inception import SIDE, WIDTH, inception_of
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights, read_state
from hasama.pictures.sources.download import DownloadProgress, cache_folder, download_file
from hasama.pictures.tensors import to_images
from hasama.shapes import Images, Pixels

Photographs = Float[Tensor, "n 3 height width"]
"""What the networks were trained on: colour, opaque."""

# Why this one of relu3_1, relu4_1, relu5_1 and all three together: of 1,500 portraits against 1,500 others, its KID
# told apart shuffled quarters, blur, noise and missing pictures by the most standard deviations (quarters: 18 against
# 4, 8 and 8), and its x.y/F is about 1.6, so that the kernel's 1 counts and no few large channels decide (it is 7 in
# relu3_1 and 126 in relu4_1, which would also dominate any mixture).
LAYER = "relu5_1"
EXTRACTOR = "vgg19-relu5_1-mean"
"""The name of the extractor of `vgg_features`, for every place where a figure is shown."""

EFFICIENTNET_EXTRACTOR = "efficientnet-lite0-pooled"
INCEPTION_EXTRACTOR = "inception-v3-pool3"
INCEPTION_ADDRESS = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""The file's name holds its beginning."""

SMALLEST = 64
"""Pixels of the shorter side below which pictures are enlarged for VGG: 4x4 places are left of 64x64 in `LAYER`."""
# Why 128, by `benchmarks/judges.py`: of 500 portraits of 64x64 against 500 others, its KID told apart shuffled
# quarters, blur and noise by 19.6, 13.4 and 16.3 standard deviations; at 96 by 19.4, 13.4 and 14.9; at 64 by 17.8,
# 12.5 and 14.8 (VGG19: 15.3, 15.5 and 8.8, at a third of the speed). At 192 it is keener still (21.6, 25.6 and
# 21.6), for twice the time. That a class is missing none of them tells from so few.
SMALLEST_EFFICIENTNET = 128
"""The same for EfficientNet: 4x4 places are left of 128x128 in its head."""
PIXELS_AT_ONCE = 64 * 64 * 64
LARGE_AT_ONCE = 16 * SIDE * SIDE


class Extractor(NamedTuple):
    """A frozen network that extracts features from pictures.

    Attributes:
        name: for every place where a figure is shown.
        key: changes whenever the same pictures would give other features.
        width: of the features.
        extract: images in [-1, 1], on `device`, of any form -> float32 features on the CPU.
        device: where the network is.
        smallest: a picture counts as at least so many pixels high and wide, for it is enlarged to that.
        at_once: how many pixels go through it at once.
    """

    name: str
    key: str
    width: int
    extract: Callable[[Images], Features]
    device: torch.device
    smallest: int
    at_once: int


def extract_features(extractor: Extractor, pixels: Pixels | Iterable[Pixels]) -> Iterator[Features]:
    """The features of pictures, some pictures at a time.

    Args:
        extractor: the network.
        pixels: uint8 [N, H, W, C], or batches of such; grey, RGB, or RGBA, which is laid on white.
    """
    for some in _few_at_once(extractor, pixels):
        yield extractor.extract(to_images(some, extractor.device))


def together(extractor: Extractor, height: int, width: int) -> int:
    """How many pictures of that size go through the network at once."""
    return max(1, extractor.at_once // max(extractor.smallest**2, height * width))


def _few_at_once(extractor: Extractor, pixels: Pixels | Iterable[Pixels]) -> Iterator[Pixels]:
    """The same pictures, as many at once as may go through the network."""
    for batch in [pixels] if isinstance(pixels, np.ndarray) else pixels:
        count = together(extractor, *batch.shape[1:3])
        for first in range(0, len(batch), count):
            yield batch[first : first + count]


def extractor_named(features: str, device: torch.device | str = "cpu") -> Extractor:
    """'vgg19', 'efficientnet', 'inception', or a local file of InceptionV3's weights (.pth, .pt, .safetensors).

    Raises:
        HasamaError: there is no such name or file; the weights are damaged, another network's or cannot be had.
    """
    check_features(features)
    device = torch.device(device)
    return EXTRACTORS[features](device) if features in EXTRACTORS else inception(device, at_home(features))


def check_features(features: str) -> None:
    """Before any work: is there such a name, or such a file?

    Raises:
        HasamaError: there is neither, or a package with weights is missing.
    """
    if features == "efficientnet":
        efficientnet.weights_file()
    if features in EXTRACTORS:
        return
    if at_home(features).is_file():
        return
    if Path(features).suffix in (".pth", ".pt", ".safetensors") or len(Path(features).parts) > 1:
        raise HasamaError(f"There are no network weights at {features}.")
    raise HasamaError(
        f"{unknown_name(features, EXTRACTORS, 'network for features')} A local file of InceptionV3's weights will "
        "do, too."
    )


# --- VGG19 ----------------------------------------------------------------------------------------


def vgg19(device: torch.device) -> Extractor:
    """VGG19 (Simonyan & Zisserman 2015): the means of relu5_1's 512 channels; bfloat16 where that is faster."""
    precision = pick_precision("auto", device)
    weights = load_weights()
    network = VGG(weights, [LAYER], border="zeros", precision=precision).to(device)
    key, width = f"{EXTRACTOR} {precision}", len(weights.convolutions[LAYER[4:]][1])
    return Extractor(EXTRACTOR, key, width, lambda images: _means(network, images), device, SMALLEST, PIXELS_AT_ONCE)


def vgg_features(pixels: Pixels | Iterable[Pixels], device: torch.device | str = "cpu") -> Features:
    """VGG19's features [N, 512] of pictures [N, H, W, C], or of batches of such."""
    extractor = vgg19(torch.device(device))
    return torch.cat([torch.zeros(0, extractor.width), *extract_features(extractor, pixels)])


@torch.no_grad()
def _means(network: VGG, images: Images) -> Features:
    return network(large_enough(as_photographs(images), SMALLEST))[LAYER].float().mean((2, 3)).cpu()


def as_photographs(images: Images) -> Photographs:
    """In colour, opaque."""
    if images.shape[1] == 4:
        alpha = (images[:, 3:] + 1) / 2
        images = images[:, :3] * alpha + (1 - alpha)  # white is 1
    return images.expand(-1, 3, -1, -1)


def large_enough(images: Photographs, least: int) -> Float[Tensor, "n 3 _ _"]:
    """Enlarged, if they are smaller, until the shorter side has `least` pixels."""
    height, width = images.shape[2:]
    factor = least / min(height, width)
    if factor <= 1:
        return images
    size = (max(least, round(height * factor)), max(least, round(width * factor)))
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


# --- EfficientNet ---------------------------------------------------------------------------------


def efficientnet_lite0(device: torch.device) -> Extractor:
    """EfficientNet-Lite0 (Tan & Le 2019): the means of its head's 1280 channels, brought to one length.

    The length of the means tells how much the network finds in a picture. That of plain and of noisy pictures is so
    small that they lie near everything: left as it was, pictures of one colour had a precision of 1. In bfloat16 if
    that is faster. With other weights than the package's first ones it has another name, for its figures are others.

    Raises:
        HasamaError: the package with the weights is missing, or they are damaged.
    """
    precision = pick_precision("auto", device)
    weights = efficientnet.weights_file()
    network = efficientnet.EfficientNet(efficientnet.load_convolutions(weights), precision).to(device)
    digest = sha256_of(weights)
    name = f"{EFFICIENTNET_EXTRACTOR}{'' if digest == efficientnet.SHA256 else f'-{digest[:8]}'}"
    key = f"{EFFICIENTNET_EXTRACTOR} {digest} {SMALLEST_EFFICIENTNET} {precision}"

    @torch.no_grad()
    def extract(images: Images) -> Features:
        means = network(large_enough(as_photographs(images), SMALLEST_EFFICIENTNET))
        return F.normalize(means).mul(efficientnet.HEAD**0.5).cpu()  # so that a kernel's x.x/F is 1

    return Extractor(name, key, efficientnet.HEAD, extract, device, SMALLEST_EFFICIENTNET, PIXELS_AT_ONCE)


# --- InceptionV3 ----------------------------------------------------------------------------------


def inception(device: torch.device, file: Path | None = None) -> Extractor:
    """InceptionV3 up to its last pooling, in float32: with FID's own weights, downloaded the first time, or a file's.

    With other weights the extractor has another name, for its figures are not comparable with published ones.

    Raises:
        HasamaError: the weights are damaged, another network's, or cannot be had.
    """
    if file is None:
        deque(download_weights("inception"), maxlen=0)
    weights = file or _inception_file()
    digest = sha256_of(weights)
    if file is None and digest != INCEPTION_SHA256:
        raise HasamaError(f"{weights} is not the file it should be: delete it, and it is downloaded again.")
    network = inception_of(read_state(weights), weights).to(device)
    name = INCEPTION_EXTRACTOR if digest == INCEPTION_SHA256 else f"{INCEPTION_EXTRACTOR}-{digest[:8]}"
    key = f"{INCEPTION_EXTRACTOR} {digest}"
    return Extractor(name, key, WIDTH, lambda images: _pooled(network, images), device, SIDE, LARGE_AT_ONCE)


@torch.no_grad()
def _pooled(network: nn.Module, images: Images) -> Features:
    with whole_products():
        return network(as_photographs(images)).cpu()


def download_weights(features: str) -> Iterator[DownloadProgress]:
    """Download the weights that these features need, if they are not in the cache yet.

    `HASAMA_MIRROR` names another server that has them.

    Raises:
        HasamaError: no connection, another file, or no room.
    """
    path = _inception_file()
    if features != "inception" or path.exists():
        return
    address = os.environ.get("HASAMA_MIRROR") or INCEPTION_ADDRESS
    instead = "evaluate with --features vgg19 or efficientnet, give the file as --features PATH, or"
    yield from download_file(f"{address.rstrip('/')}/{INCEPTION_FILE}", path, f"sha256:{INCEPTION_SHA256}", instead)


def _inception_file() -> Path:
    return cache_folder() / "downloads" / "inception" / INCEPTION_FILE


EXTRACTORS: dict[str, Callable[[torch.device], Extractor]] = {
    "vgg19": vgg19,
    "efficientnet": efficientnet_lite0,
    "inception": inception,
}
