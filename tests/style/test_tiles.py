"""Tiles: each pixel is one tile's own, and through its window a network sees what it sees in the whole picture."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hasama.perception.vgg import VGG, layer_names, reach_of, stride_of
from hasama.style.canvas.tiles import Box, Tile, cut_up, halo_of
from hasama.style.methods.targets import layer_size
from narrow_vgg import narrow_weights, soft_picture

few = settings(max_examples=25)
lengths = st.integers(1, 330)
windows = st.integers(1, 400)
layer_sets = st.sampled_from(
    [
        ("relu1_1",),
        ("conv1_2", "relu1_2"),
        ("relu2_1", "relu1_1"),
        ("relu1_1", "relu3_1"),
        ("relu4_1", "conv2_2"),
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        ("conv5_3",),
    ]
)
networks = st.sampled_from(["vgg16", "vgg19"])


@given(height=lengths, width=lengths, side=windows, layers=layer_sets, network=networks)
@few
def test_each_pixel_is_one_tiles_own(height: int, width: int, side: int, layers: tuple[str, ...], network: str):
    owners = np.zeros((height, width), int)
    for tile in cut_up(height, width, side, layers, network):
        own = tile.own
        assert own.top < own.bottom
        assert own.left < own.right
        owners[own.top : own.bottom, own.left : own.right] += 1
    assert (owners == 1).all()


@given(height=lengths, width=lengths, side=windows, layers=layer_sets, network=networks)
@few
def test_windows_hold_all_that_a_tile_depends_on(
    height: int, width: int, side: int, layers: tuple[str, ...], network: str
):
    reach = max(reach_of(layer, network) for layer in layers)
    deepest = max(stride_of(layer) for layer in layers)
    for own, window in cut_up(height, width, side, layers, network):
        assert 0 <= window.top <= max(0, own.top - reach)
        assert min(height, own.bottom + reach) <= window.bottom <= height
        assert 0 <= window.left <= max(0, own.left - reach)
        assert min(width, own.right + reach) <= window.right <= width
        for begin in (own.top, own.left, window.top, window.left):
            assert begin % deepest == 0  # or poolings would pair other pixels


@given(height=lengths, width=lengths, side=windows, layers=layer_sets)
@few
def test_windows_are_hardly_larger_than_asked(height: int, width: int, side: int, layers: tuple[str, ...]):
    stride, halo = halo_of(layers, "vgg19")
    most = max(side, 2 * halo + stride) + stride  # the least is one stride with its halo
    for _, window in cut_up(height, width, side, layers, "vgg19"):
        assert window.bottom - window.top <= most
        assert window.right - window.left <= most


@given(height=lengths, width=lengths, more=st.integers(0, 50), layers=layer_sets)
@few
def test_a_picture_within_the_side_stays_in_one_piece(height: int, width: int, more: int, layers: tuple[str, ...]):
    box = Box(0, height, 0, width)
    assert cut_up(height, width, max(height, width) + more, layers, "vgg19") == [Tile(box, box)]


def test_tiles_are_as_few_and_as_equal_as_can_be():
    """relu3_1 has a halo of 12: windows of 64 have 40 pixels of their own, and 100 pixels are 3 times 32 or 36."""
    assert halo_of(("relu1_1", "relu3_1"), "vgg19") == (4, 12)
    tiles = cut_up(100, 30, 64, ("relu1_1", "relu3_1"), "vgg19")
    assert [(own.top, own.bottom) for own, _ in tiles] == [(0, 32), (32, 68), (68, 100)]
    assert [(window.top, window.bottom) for _, window in tiles] == [(0, 44), (20, 80), (56, 100)]
    assert {(own.left, own.right, window.left, window.right) for own, window in tiles} == {(0, 30, 0, 30)}


def pooled(images: Tensor, layer: str) -> Tensor:
    """Only the poolings on the way to a layer, a side of one pixel staying one."""
    for _ in range(int(layer[4]) - 1):
        images = F.max_pool2d(images, (min(2, images.shape[2]), min(2, images.shape[3])))
    return images


@given(height=lengths, width=lengths, side=windows, layers=layer_sets)
@example(height=1, width=200, side=60, layers=("relu1_1", "relu3_1"))  # a side of one pixel is never pooled away
@few
def test_part_and_place_agree_and_fill_each_layer_once(height: int, width: int, side: int, layers: tuple[str, ...]):
    """Each pixel holds its number, so that a part that lies elsewhere is seen."""
    numbered = torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width)
    tiles = cut_up(height, width, side, layers, "vgg19")
    for layer in layers:
        whole = pooled(numbered, layer)
        assert tuple(whole.shape[2:]) == layer_size(layer, height, width)
        filled = torch.zeros_like(whole)
        for tile in tiles:
            down, across = tile.place(layer, *whole.shape[2:])
            part = tile.part(pooled(tile.cut(numbered), layer), layer)
            assert torch.equal(part, whole[:, :, down, across])  # `assert_close` takes longer than all the rest
            filled[:, :, down, across] += 1
        assert (filled == 1).all()


@pytest.mark.parametrize("border", ["replicate", "zeros"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
def test_windows_see_what_the_whole_picture_sees(network: str, pooling: Any, border: Any):
    last = {"vgg19": "relu4_1", "vgg16": "relu4_2"}[network]
    layers = tuple(layer_names(network)[: layer_names(network).index(last) + 1])
    see, image = VGG(narrow_weights(network), layers, pooling, border), soft_picture(139, 93)
    whole = see(image)
    tiles = cut_up(139, 93, 112, layers, network)
    assert len(tiles) > 1
    for tile in tiles:
        seen = see(tile.cut(image))
        for layer in layers:
            down, across = tile.place(layer, *whole[layer].shape[2:])
            wanted = whole[layer][:, :, down, across]
            torch.testing.assert_close(tile.part(seen[layer], layer), wanted, rtol=1e-4, atol=1e-5)


def test_less_than_the_halo_would_not_do():
    """The halo is no larger than it must be: without its last pixels deep activations differ."""
    layers = ("relu4_1",)
    see, image = VGG(narrow_weights(), layers), soft_picture(192, 64)
    stride, halo = halo_of(layers, "vgg19")
    whole = see(image)["relu4_1"]
    for lack, same in ((0, True), (stride, False)):
        tile = Tile(Box(64, 128, 0, 64), Box(64 - halo + lack, 128 + halo - lack, 0, 64))
        part = tile.part(see(tile.cut(image))["relu4_1"], "relu4_1")
        assert torch.allclose(part, whole[:, :, 8:16], rtol=1e-4, atol=1e-5) == same


def test_cut_is_a_view_and_inner_is_where_the_own_pixels_lie_in_it():
    image = soft_picture(100, 100)
    tile = cut_up(100, 100, 64, ("relu3_1",), "vgg19")[4]
    window, inner = tile.cut(image), tile.inner()
    assert window.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()
    own = image[:, :, tile.own.top : tile.own.bottom, tile.own.left : tile.own.right]
    assert torch.equal(window[:, :, inner.top : inner.bottom, inner.left : inner.right], own)


def test_a_whole_pictures_part_is_not_copied():
    tile = Tile(Box(0, 9, 0, 7), Box(0, 9, 0, 7))
    activations = torch.zeros(1, 2, 9, 7)
    assert tile.part(activations, "relu1_1") is activations
