"""Patches swapped for a style's own: against a search written out, and back to the style itself."""

import pytest
import torch
from torch import Tensor

from hasama.style.methods.swapping import APART, SIDE, Patches, swapped


def features(channels: int, height: int, width: int, seed: int) -> Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def patches_in(maps: Tensor) -> Tensor:
    """All that lie within, [N, 9, C]."""
    return torch.nn.functional.unfold(maps, SIDE)[0].T.unflatten(1, (maps.shape[1], -1)).transpose(1, 2)


def by_hand(maps: Tensor, values: Tensor) -> Tensor:
    """One patch after another, in float64."""
    channels, (height, width) = maps.shape[1], maps.shape[2:]
    even = [(-length) % APART for length in (height, width)]
    padded = torch.nn.functional.pad(maps, (1, 1 + even[1], 1, 1 + even[0]), mode="replicate").double()[0]
    style = values.double().view(-1, SIDE, SIDE, channels).permute(0, 3, 1, 2)
    mean = style.mean((0, 2, 3))[:, None, None]
    whole, count = torch.zeros_like(padded), torch.zeros(padded.shape[1:], dtype=torch.float64)
    for y in range(0, padded.shape[1] - SIDE + 1, APART):
        for x in range(0, padded.shape[2] - SIDE + 1, APART):
            asked = padded[:, y : y + SIDE, x : x + SIDE] - mean
            alike = [torch.cosine_similarity(asked.flatten(), (one - mean).flatten(), 0) for one in style]
            whole[:, y : y + SIDE, x : x + SIDE] += style[int(torch.stack(alike).argmax())]
            count[y : y + SIDE, x : x + SIDE] += 1
    return (whole / count.clamp_min(1))[None, :, 1 : 1 + height, 1 : 1 + width]


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 5), (3, 1), (1, 1)])
def test_each_patch_becomes_the_most_similar_one(height: int, width: int):
    maps, style = features(3, height, width, 1), features(3, 7, 9, 2) + 2
    values = patches_in(style)
    assert values.shape == (35, 9, 3)
    torch.testing.assert_close(swapped(maps, Patches.of(values)).double(), by_hand(maps, values), atol=1e-5, rtol=0)


def test_the_style_itself_stays_as_it_is():
    style = features(4, 10, 12, 3)
    found = swapped(style, Patches.of(patches_in(style)))
    torch.testing.assert_close(found[:, :, 2:-2, 2:-2], style[:, :, 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_a_window_is_swapped_like_the_whole():
    maps, patches = features(3, 24, 30, 4), Patches.of(patches_in(features(3, 9, 9, 5)))
    whole, part = swapped(maps, patches), swapped(maps[:, :, 8:20, 4:22], patches)
    torch.testing.assert_close(part[:, :, 2:-2, 2:-2], whole[:, :, 10:18, 6:20], atol=1e-5, rtol=0)
