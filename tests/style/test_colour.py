"""Keeping the content's colours, against float64 written out anew."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hasama.style.canvas.colour import (
    LEAST_VARIANCE,
    blended,
    colours_of,
    from_oklab,
    hues_matched,
    in_grey,
    luminance,
    mixed,
    palette_of,
    recoloured,
    relit,
    to_oklab,
    with_luminance,
)

YIQ = torch.tensor(  # Rec. BT.601 luma, and the two chroma axes of NTSC (FCC 1953)
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64
)

seeds = st.integers(0, 2**32 - 1)


def picture(seed: int, spread: float = 0.12, height: int = 24, width: int = 20) -> torch.Tensor:
    """Float64 [1, 3, H, W] with correlated colours, far enough from black and white that nothing is clamped."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, 3)) * spread / 2 + np.eye(3) * spread / 2
    values = rng.uniform(-0.25, 0.25, 3)[:, None] + mixing @ np.clip(rng.normal(size=(3, height * width)), -2, 2)
    return torch.from_numpy(values.clip(-0.95, 0.95)).view(1, 3, height, width)


def in_yiq(images: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,njhw->nihw", YIQ, images.double())


def moments(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance as NumPy knows them."""
    values = images[0].flatten(1).double().numpy()
    return values.mean(1), np.cov(values, bias=True)


def root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values.clip(min=0))) @ vectors.T


# --- measuring ------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=10)
def test_colours_are_the_mean_and_the_covariance(seed: int):
    images = picture(seed)
    own = colours_of(images.float())
    mean, covariance = moments(images.float())
    assert own.mean.dtype == own.covariance.dtype == torch.float64
    np.testing.assert_allclose(own.mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(own.covariance.numpy(), covariance, atol=1e-12)


def test_one_pixel_has_a_colour_and_no_spread():
    own = colours_of(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
    np.testing.assert_allclose(own.mean.numpy(), [0.1, 0.2, 0.3], atol=1e-7)
    assert (own.covariance == 0).all()


# --- luminance ------------------------------------------------------------------------------------


def test_luminance_of_the_primaries_is_the_standards():
    primaries = torch.eye(3).T.reshape(1, 3, 1, 3)
    np.testing.assert_allclose(luminance(primaries).flatten().numpy(), [0.299, 0.587, 0.114], atol=1e-7)
    white_and_black = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    np.testing.assert_allclose(luminance(white_and_black).flatten().numpy(), [1, -1], atol=1e-6)


@given(seeds)
@settings(max_examples=10)
def test_in_grey_all_channels_are_the_luminance(seed: int):
    images = picture(seed)
    grey = in_grey(images)
    assert grey.shape == images.shape
    for channel in range(3):
        torch.testing.assert_close(grey[:, channel], in_yiq(images)[:, 0])


@given(seeds)
@settings(max_examples=15)
def test_hue_of_one_and_luminance_of_another(seed: int):
    colours, bright = picture(seed), picture(seed + 1)
    merged = with_luminance(colours, bright)
    assume(merged.abs().max() < 1)  # once in hundreds of pairs something is clamped: another test's question
    both = in_yiq(merged)
    torch.testing.assert_close(both[:, 0], in_yiq(bright)[:, 0], rtol=0, atol=1e-9)
    # The rows of I and Q add up to nothing but for the digits that the standard prints.
    torch.testing.assert_close(both[:, 1:], in_yiq(colours)[:, 1:], rtol=0, atol=2e-4)


def test_a_picture_with_its_own_luminance_is_itself():
    images = picture(3)
    torch.testing.assert_close(with_luminance(images, images), images)
    torch.testing.assert_close(with_luminance(images, in_grey(images)), images)


def test_a_luminance_that_a_hue_cannot_have_stays_within_black_and_white():
    red, white = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    result = with_luminance(red, white).flatten()
    assert result.abs().max() <= 1
    np.testing.assert_allclose(result.numpy(), [1, 1 - 2 * 0.299, 1 - 2 * 0.299], atol=1e-6)


# --- the contents' colours for a style ------------------------------------------------------------


@given(seeds)
@settings(max_examples=20)
def test_recoloured_pictures_have_the_mean_and_the_covariance_that_are_wanted(seed: int):
    images, other = picture(seed), picture(seed + 1)
    own, wanted = colours_of(images), colours_of(other)
    result = recoloured(images, own, wanted)
    assert result.abs().max() < 1, "clamped: this test is about what lies inside"
    mean, covariance = moments(result)
    np.testing.assert_allclose(mean, wanted.mean.numpy(), atol=1e-9)
    # Both covariances get LEAST_VARIANCE on their diagonals: T (S + e) T = W + e, so that T S T = W + e (1 - T T).
    source, target = moments(images)[1] + LEAST_VARIANCE * np.eye(3), moments(other)[1] + LEAST_VARIANCE * np.eye(3)
    back = np.linalg.inv(root(source))
    turn = back @ root(root(source) @ target @ root(source)) @ back
    np.testing.assert_allclose(
        covariance, moments(other)[1] + LEAST_VARIANCE * (np.eye(3) - turn @ turn), rtol=1e-6, atol=1e-9
    )
    flat = images[0].flatten(1).numpy()
    np.testing.assert_allclose(
        result[0].flatten(1).numpy(), turn @ (flat - flat.mean(1, keepdims=True)) + mean[:, None], atol=1e-7
    )


def test_no_other_map_to_the_same_colours_moves_them_less():
    """What the paper promises: the transport between two Gaussians costs their Wasserstein distance."""
    images, other = picture(1, 0.15), picture(2, 0.15)
    own, wanted = colours_of(images), colours_of(other)
    moved = (recoloured(images, own, wanted) - images).square().sum(1).mean().item()
    (m, s), (n, t) = moments(images), moments(other)
    cross = root(root(s) @ t @ root(s))
    assert moved == pytest.approx(((m - n) ** 2).sum() + np.trace(s + t - 2 * cross), rel=0.03)


def test_a_picture_with_the_colours_that_are_wanted_stays_as_it_is():
    for images in (picture(5), torch.full((1, 3, 4, 4), 0.3, dtype=torch.float64), in_grey(picture(6))):
        own = colours_of(images)
        torch.testing.assert_close(recoloured(images, own, own), images, rtol=0, atol=1e-9)


@given(seeds)
@settings(max_examples=10)
def test_grey_pictures_take_colours_without_noise(seed: int):
    """A grey picture's colours lie on a line, and so must what becomes of it: nothing else can be told from it."""
    grey, other = in_grey(picture(seed)).float(), picture(seed + 1)
    result = recoloured(grey, colours_of(grey), colours_of(other))
    assert result.isfinite().all()
    assert result.abs().max() <= 1
    values = result[0].flatten(1).double()
    spread = torch.linalg.svdvals(values - values.mean(1, keepdim=True)) / values.shape[1] ** 0.5
    assert spread[1] < 1e-4
    np.testing.assert_allclose(values.mean(1).numpy(), colours_of(other).mean.numpy(), atol=1e-5)


def test_colours_of_a_grey_content_make_a_style_grey():
    """Nearly: LEAST_VARIANCE is a hundredth of what lies between black and white."""
    colourful, grey = picture(7), in_grey(picture(8))
    result = recoloured(colourful, colours_of(colourful), colours_of(grey))
    assert (result - in_grey(result)).square().mean().sqrt() < 1.5 * LEAST_VARIANCE**0.5


def test_a_plain_picture_becomes_the_mean_that_is_wanted():
    plain, other = torch.full((1, 3, 5, 5), 0.7), picture(9)
    result = recoloured(plain, colours_of(plain), colours_of(other))
    wanted = colours_of(other).mean.float().view(1, 3, 1, 1).expand_as(result)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)


@given(seeds)
@settings(max_examples=15)
def test_relit_pictures_have_the_luminance_that_is_wanted(seed: int):
    images, other = picture(seed), picture(seed + 1)
    result = relit(images, colours_of(images), colours_of(other))
    assert result.abs().max() < 1
    assert torch.equal(result[:, 0], result[:, 1])
    assert torch.equal(result[:, 0], result[:, 2])
    here, there, before = (in_yiq(one)[:, 0] for one in (result, other, images))
    assert float(here.mean()) == pytest.approx(float(there.mean()), abs=1e-9)
    variance = float(before.var(correction=0))
    wanted = float(there.var(correction=0)) * variance / (variance + LEAST_VARIANCE)
    assert float(here.var(correction=0)) == pytest.approx(wanted, rel=1e-6)


def test_a_plain_picture_relit_is_plain():
    plain, other = torch.full((1, 3, 5, 5), 0.7), picture(9)
    result = relit(plain, colours_of(plain), colours_of(other))
    torch.testing.assert_close(result, in_yiq(other)[0, 0].mean().float().expand_as(result), rtol=0, atol=1e-5)


# --- the style's colours --------------------------------------------------------------------------


def test_oklab_of_known_colours_and_back():
    known = {
        (255, 255, 255): (1.0, 0.0, 0.0),
        (255, 0, 0): (0.628, 0.2249, 0.1258),
        (0, 0, 255): (0.452, -0.0325, -0.3115),
    }
    for rgb, wanted in known.items():  # Ottosson 2020
        image = (torch.tensor(rgb) / 127.5 - 1).view(1, 3, 1, 1)
        torch.testing.assert_close(to_oklab(image).flatten(), torch.tensor(wanted), atol=1e-3, rtol=0)
    image = torch.rand(1, 3, 20, 20) * 2 - 1
    torch.testing.assert_close(from_oklab(to_oklab(image)), image, atol=1e-3, rtol=0)


def test_a_mask_weighs_colours_and_several_pictures_are_mixed_like_their_pixels():
    one, other = torch.rand(1, 3, 8, 6) * 2 - 1, torch.rand(1, 3, 8, 6) - 0.5
    both = torch.cat([one, other], 3)
    left = torch.zeros(8, 12)
    left[:, :6] = 1
    for found, wanted in (
        (colours_of(both, left), colours_of(one)),
        (mixed([colours_of(one), colours_of(other)], [2.0, 2.0]), colours_of(both)),
        (
            mixed([colours_of(one), colours_of(other)], [1.0, 3.0]),
            colours_of(torch.cat([one, other, other, other], 3)),
        ),
    ):
        torch.testing.assert_close(found.mean, wanted.mean)
        torch.testing.assert_close(found.covariance, wanted.covariance)


def test_the_contents_hues_get_the_styles_mean_and_the_painting_keeps_its_light():
    y = torch.linspace(-0.5, 0.5, 64).view(1, 1, 64, 1).expand(1, 3, 64, 64).contiguous()
    content = y + torch.tensor([0.2, 0.0, -0.2]).view(1, 3, 1, 1)
    style = 0.3 * (torch.rand(1, 3, 40, 40) - 0.5) + torch.tensor([-0.1, 0.0, 0.3]).view(1, 3, 1, 1)
    painting = y.flip(2)
    found = to_oklab(hues_matched(painting, content, palette_of(style)))
    wanted = to_oklab(style)
    torch.testing.assert_close(found[:, 1:].mean((0, 2, 3)), wanted[:, 1:].mean((0, 2, 3)), atol=0.01, rtol=0)
    low, high = wanted[:, 0].min(), wanted[:, 0].max()
    torch.testing.assert_close(found[:, 0], to_oklab(painting)[:, 0].clamp(low, high), atol=0.01, rtol=0)


def test_in_a_place_of_its_own_a_style_meets_the_hues_of_that_place():
    """Sky above, ground below: what is below moves nothing above."""
    content = (torch.rand(1, 3, 40, 40) - 0.5) * 0.3
    content[:, :, :20] += torch.tensor([-0.3, 0.0, 0.4]).view(1, 3, 1, 1)
    content[:, :, 20:] += torch.tensor([0.3, 0.1, -0.4]).view(1, 3, 1, 1)
    above = torch.zeros(40, 40)
    above[:20] = 1
    style = 0.3 * (torch.rand(1, 3, 40, 40) - 0.5) + torch.tensor([0.2, 0.0, 0.1]).view(1, 3, 1, 1)
    wanted = to_oklab(style)[:, 1:].mean((0, 2, 3))
    near, far = (
        to_oklab(hues_matched(content, content, palette_of(style), mask))[:, 1:, :18].mean((0, 2, 3))
        for mask in (above, None)
    )
    assert (near - wanted).abs().max() < 0.008
    assert (far - wanted).abs().max() > 2 * (near - wanted).abs().max()


def test_of_several_styles_the_palette_is_wide():
    dark, light = torch.full((1, 3, 4, 4), -0.8), torch.full((1, 3, 4, 4), 0.8)
    palette = blended([palette_of(dark), palette_of(light)], [1.0, 1.0])
    assert palette.lowest[0] == palette_of(dark).lowest[0]
    assert palette.highest[0] == palette_of(light).highest[0]
