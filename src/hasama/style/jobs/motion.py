"""The motion between two pictures of a film (optical flow), and the last painting carried along by it."""

import numpy as np
import torch

from hasama.shapes import Images, Weighting
from hasama.style.canvas.pictures import Picture, opacity

SMALLEST_FLOW = 32
"""Pixels of the shorter side that the motion's pyramid needs."""

ALIKE = 0.1
"""Difference of brightness, of the 2 between black and white, from which two places do not show the same thing."""

STEADY = 0.5
"""Of a picture that was painted at once: so much comes from the last painting, where there is confidence."""


def steadied(painting: np.ndarray, last: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """A painting of a film's picture held to the last one, where that can be carried along: small things stay put.

    Args:
        painting: uint8 [H, W, 3 or 4]; an alpha stays as it is.
        last: the last painting, uint8 [H, W, 3].
        before: the last film picture, uint8 [h, w, 3].
        now: this film picture.

    Returns:
        uint8, shaped like the painting.
    """
    carried, confidence = carried_along(before, now, last, *painting.shape[:2])
    there = ((carried[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    share = STEADY * confidence.numpy()[..., None]
    made = painting.copy()
    made[..., :3] = (share * there + (1 - share) * painting[..., :3]).round()
    return made


def laid_again(painting: Images, content: Picture) -> Images:
    """A painting's colours on the content's mean colour where that is transparent: what a canvas holds there.

    A painted picture has lost its ground (`to_output`); painted from its colours as if they were opaque, each picture
    of a film would be further from the mean than the last.

    Args:
        painting: [1, 3, H, W] in [-1, 1].
        content: of any size.
    """
    there = opacity(content, *painting.shape[2:])
    if content.alpha is None or there is None or not content.alpha.any():
        return painting
    ground = np.average(content.pixels.reshape(-1, 3), axis=0, weights=content.alpha.ravel())
    below = torch.from_numpy(ground * (2 / np.iinfo(content.pixels.dtype).max) - 1).to(painting).view(1, 3, 1, 1)
    return below.lerp(painting, there.to(painting))


def carried_along(
    before: np.ndarray, now: np.ndarray, painted: np.ndarray, height: int, width: int
) -> tuple[Images, Weighting]:
    """The last painting moved as the film moved, and the confidence in that motion.

    Args:
        before: the last film picture, uint8 [H, W, 3].
        now: this film picture.
        painted: the last painting, uint8 [height, width, 3].
        height: of the paintings.
        width: likewise.

    Returns:
        [1, 3, height, width] in [-1, 1], and [height, width]: 1 where a place comes from where its motion says,
        there and back (Sundaram et al. 2010, equation 5), and has the same brightness; 0 elsewhere.
    """
    import cv2  # an extra

    old, new = (
        cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
        for one in (before, now)
    )
    if min(height, width) < SMALLEST_FLOW:
        back = forth = np.zeros((height, width, 2), np.float32)
    else:
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        back, forth = flow.calc(new, old, None), flow.calc(old, new, None)  # type: ignore[call-overload]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    there_x, there_y = x + back[..., 0], y + back[..., 1]

    def fetch(image: np.ndarray) -> np.ndarray:
        return cv2.remap(image, there_x, there_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    around = back + fetch(forth)
    length = (back**2).sum(-1) + (fetch(forth) ** 2).sum(-1)
    inside = (there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1)
    alike = np.abs(fetch(old).astype(np.float32) - new) < ALIKE * 127.5
    confidence = inside & alike & ((around**2).sum(-1) <= 0.01 * length + 0.5)
    carried = torch.from_numpy(fetch(painted)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return carried, torch.from_numpy(confidence.astype(np.float32))
