"""Pictures turned into tensors and back.

`images [N, C, H, W]` are floats in [-1, 1]; `pixels [N, H, W, C]` are uint8. C is 1 (grey), 3 (RGB) or
4 (RGBA, alpha not premultiplied).
"""

import numpy as np
import torch
from torch import Tensor

from hasama.device import kind_of
from hasama.shapes import Images, Pixels


def to_device(values: np.ndarray, device: torch.device | str) -> Tensor:
    """An array [...] as a tensor there, without waiting for what the device does where that is safe."""
    here = torch.from_numpy(np.ascontiguousarray(values))
    if not kind_of(torch.device(device)).copies_beside:
        return here.to(device)
    return here.pin_memory().to(device, non_blocking=True)


def to_images(pixels: Pixels, device: torch.device | str = "cpu") -> Images:
    """uint8 [N, H, W, C] -> float [N, C, H, W] in [-1, 1], in the channels-last memory format."""
    return to_device(pixels, device).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(images: Images) -> Pixels:
    """Float [N, C, H, W] -> uint8 [N, H, W, C], values outside [-1, 1] clipped."""
    scaled = images.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
