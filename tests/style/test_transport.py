"""Optimal transport between Gaussians: moved features have the style's moments, and move no further than needed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hasama.style.methods.moments import moments
from hasama.style.methods.transport import Move, together, transport


def features(channels: int, seed: int, mixed: float = 0.3, height: int = 20, width: int = 30) -> Tensor:
    """[1, C, h, w], correlated, with means."""
    drawn = torch.Generator().manual_seed(seed)
    mixing = mixed * torch.randn(channels, channels, generator=drawn) / channels**0.5 + torch.eye(channels)
    rows = torch.randn(height * width, channels, generator=drawn) @ mixing + torch.randn(channels, generator=drawn)
    return rows.T.reshape(1, channels, height, width).contiguous()


def root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


@given(st.integers(1, 12), st.integers(0, 99))
def test_moved_features_have_the_styles_mean_and_covariance(channels: int, seed: int):
    content, style = features(channels, seed), features(channels, seed + 100)
    found = moments(transport(moments(content), moments(style))(content))
    wanted = moments(style)
    scale = float(wanted.covariance.diagonal().mean())
    torch.testing.assert_close(found.mean, wanted.mean, atol=0.01 * scale**0.5, rtol=1e-3)
    torch.testing.assert_close(found.covariance, wanted.covariance, atol=0.03 * scale, rtol=0.03)


def test_the_map_is_that_of_the_formula():
    content, style = features(5, 1), features(5, 2)
    c, s = (moments(each).covariance.double().numpy() for each in (content, style))
    half = root(c)
    back = np.linalg.inv(half)
    wanted = back @ root(half @ s @ half) @ back  # the other way of writing it, through the content's root
    found = transport(moments(content), moments(style)).matrix.numpy()
    np.testing.assert_allclose(found, wanted, atol=0.005)
    np.testing.assert_allclose(found, found.T, atol=1e-5)
    assert np.linalg.eigvalsh(found).min() > 0  # the gradient of a convex function: nothing is turned round


def test_one_channel_by_hand():
    content, style = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[10.0, 16.0]]]])
    move = transport(moments(content), moments(style))  # spread 1 to spread 3, mean 1 to mean 13
    torch.testing.assert_close(move(content), style, atol=0.01, rtol=0)


def test_features_move_less_than_by_whitening_and_colouring():
    content, style = features(6, 3, 1.0), features(6, 4, 1.0)
    c, s = (moments(each) for each in (content, style))
    turned = root(s.covariance.double().numpy()) @ np.linalg.inv(root(c.covariance.double().numpy()))
    matrix = torch.tensor(turned, dtype=torch.float32)
    other = Move(matrix, s.mean - matrix @ c.mean)
    found = transport(c, s)
    torch.testing.assert_close(moments(other(content)).covariance, s.covariance, atol=0.1, rtol=0.01)
    centred, apart = content - content.mean((2, 3), keepdim=True), (s.mean - c.mean).view(1, -1, 1, 1)
    far = [float((move(content) - content - apart).square().mean()) for move in (found, other)]
    assert far[0] < 0.97 * far[1]
    assert far[0] < centred.square().mean() + s.covariance.diagonal().mean()


def test_a_strength_is_a_part_of_the_way():
    content, style = features(4, 5), features(4, 6)
    way = [transport(moments(content), moments(style), strength)(content) for strength in (0, 0.25, 1)]
    torch.testing.assert_close(way[0], content)
    torch.testing.assert_close(way[1], content.lerp(way[2], 0.25), atol=1e-4, rtol=1e-4)


def test_features_like_the_styles_stay_where_they_are():
    content = features(7, 7)
    torch.testing.assert_close(transport(moments(content), moments(content))(content), content, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("flat", ["content", "style"])
def test_what_does_not_vary_is_not_blown_up(flat: str):
    content, style = features(8, 8), features(8, 9)
    if flat == "content":
        content = content.mean((2, 3), keepdim=True).expand_as(content).contiguous()
    else:
        style = style.mean((2, 3), keepdim=True).expand_as(style).contiguous()
    found = transport(moments(content), moments(style))(content)
    assert found.isfinite().all()
    torch.testing.assert_close(found.mean((2, 3)), style.mean((2, 3)), atol=0.05, rtol=0.05)
    assert found.std((2, 3)).max() < 0.2


def test_several_styles_are_a_mean_by_their_weights():
    content = features(3, 10)
    one, other = (transport(moments(content), moments(features(3, seed))) for seed in (11, 12))
    both = together([one, other], [3, 1])(content)
    torch.testing.assert_close(both, one(content).lerp(other(content), 0.25), atol=1e-4, rtol=1e-4)
