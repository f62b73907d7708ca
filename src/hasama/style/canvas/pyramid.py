"""A picture as its Laplacian pyramid (Burt & Adelson 1983), moved by Adam: all frequencies move at the same pace."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.optimizers import Adam
from hasama.shapes import Images, Resized

LEVELS = 8


def decomposed(images: Images, levels: int = LEVELS) -> list[Tensor]:
    """The bands [1, C, h, w] from fine to coarse: what each halving loses, and the smallest picture."""
    bands = []
    for _ in range(levels):
        height, width = images.shape[2:]
        if min(height, width) < 2:
            break
        small = F.interpolate(images, (height // 2, width // 2), mode="bilinear", antialias=True)
        bands.append(images - _grown(small, images))
        images = small
    return [*bands, images]


def composed(bands: list[Tensor]) -> Tensor:
    """The inverse of `decomposed`: [1, C, H, W]."""
    image = bands[-1]
    for band in reversed(bands[:-1]):
        image = band + _grown(image, band)
    return image


def _grown(small: Resized, like: Images) -> Tensor:
    return F.interpolate(small, like.shape[2:], mode="bilinear", align_corners=False)


class PyramidAdam:
    """Adam (Kingma & Ba 2015) on the bands of a picture's Laplacian pyramid (Kolkin et al. 2022, section 3.4).

    Args:
        image: [1, C, H, W]; it is moved in place, and may leave [-1, 1].
        learning_rate: size of a step of one number of one band.
    """

    def __init__(self, image: Tensor, learning_rate: float) -> None:
        self.image = image
        self.bands = [band.detach().clone().requires_grad_() for band in decomposed(image.detach())]
        self.adam = Adam(self.bands, learning_rate)

    def step(self, closure: Callable[[], float]) -> None:
        """Move the picture, whose gradient stands in `image.grad`."""
        closure()
        assert self.image.grad is not None
        self.adam.zero_grad(set_to_none=True)
        with torch.enable_grad():
            composed(self.bands).backward(self.image.grad)
        self.adam.step()
        with torch.no_grad():
            self.image.copy_(composed(self.bands))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        return {"bands": [band.detach() for band in self.bands], "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        with torch.no_grad():
            for band, saved in zip(self.bands, state["bands"], strict=True):
                band.copy_(saved)
        self.adam.load_state_dict(state["adam"])
