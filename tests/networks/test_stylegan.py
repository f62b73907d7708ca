"""StyleGAN2: its convolution against the textbook's, its filters, mixing, truncation's centre, path length."""

import math

import pytest
import torch
import torch.nn.functional as F

from hasama.generators.sampling import is_styled
from hasama.networks.architectures.stylegan import Generator, Modulated, StyleGAN, doubled, low_pass, path_length_cost


def textbook(layer: Modulated, maps: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """A kernel of its own for each picture, scaled and brought to unit length: Karras et al. 2020, eq. 1 and 3."""
    rows = []
    for one, scale in zip(maps, layer.affine(style), strict=True):
        weight = layer.conv.weight * scale[None, :, None, None]
        if layer.demodulates:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if layer.doubles:  # zeros between the pixels, then the flipped kernel, then the filter
            apart = torch.zeros(1, one.shape[0], 2 * one.shape[1] - 1, 2 * one.shape[2] - 1, dtype=one.dtype)
            apart[:, :, ::2, ::2] = one
            big = F.conv2d(F.pad(apart, (2, 2, 2, 2)), weight.flip(2, 3))
            row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=one.dtype)
            kernel = (row[:, None] * row / 16)[None, None].repeat(big.shape[1], 1, 1, 1)
            rows.append(F.conv2d(F.pad(big, (1, 1, 1, 1)), kernel, groups=big.shape[1]))
        else:
            rows.append(F.conv2d(one[None], weight, padding=weight.shape[2] // 2))
    return torch.cat(rows)


@pytest.mark.parametrize("demodulates", [True, False])
@pytest.mark.parametrize(("size", "doubles"), [(3, False), (3, True), (1, False)])
def test_the_modulated_convolution_is_the_textbooks(size: int, doubles: bool, demodulates: bool):
    torch.manual_seed(0)
    layer = Modulated(5, 7, size, 6, doubles, demodulates).double()
    maps, style = torch.randn(3, 5, 4, 6).double(), torch.randn(3, 6).double()
    given = torch.autograd.grad(layer(maps, style).square().sum(), list(layer.parameters()))
    wanted = torch.autograd.grad(textbook(layer, maps, style).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(layer(maps, style), textbook(layer, maps, style), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)


def test_linear_interpolation_is_the_filter_in_two_phases():
    images = torch.randn(2, 3, 5, 6)
    apart = torch.zeros(2, 3, 10, 12)
    apart[:, :, ::2, ::2] = images
    filtered = low_pass(F.pad(apart, (1, 0, 1, 0)), gain=4.0)  # [N, C, 10, 12]
    torch.testing.assert_close(doubled(images)[:, :, 2:-2, 2:-2], filtered[:, :, 2:-2, 2:-2])


def test_the_filter_keeps_the_mean():
    flat = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(low_pass(flat)[:, :, 1:-1, 1:-1], torch.full((1, 2, 5, 5), 3.0))
    assert low_pass(flat, stride=2).shape == (1, 2, 4, 4)


def generator(**changes) -> Generator:
    made = StyleGAN(width=4, latent_size=8, mapping_layers=2, **changes).build((16, 16), 3).generator
    assert isinstance(made, Generator)
    return made


def test_it_is_a_styled_generator():
    made = generator().eval()
    assert is_styled(generator())
    latents = torch.randn(3, 8)
    styles = made.mapping(latents)[:, None].expand(-1, made.style_layers, -1)
    assert made.style_layers == 6
    torch.testing.assert_close(made(latents), made.synthesis(styles))


def test_mixing_takes_the_later_layers_from_another_latent():
    torch.manual_seed(0)
    made = generator(style_mixing=1.0)
    own = torch.randn(50, 1, 8).expand(-1, made.style_layers, -1)
    mixed = made.mixed(own, None)
    kept = (mixed == own).all(2)
    assert kept[:, 0].all()  # the coarsest is always its own
    assert not kept[:, -1].any()
    assert (kept.int().diff(dim=1) <= 0).all()  # once another's, another's to the end
    assert len(set(kept.sum(1).tolist())) == made.style_layers - 1
    assert torch.equal(generator(style_mixing=0.0).mixed(own, None), own)


def test_noise_differs_in_training_and_is_still_for_people():
    made = generator()
    with torch.no_grad():
        for layer in made.layers:
            layer.noise_strength.fill_(1.0)  # pyright: ignore[reportCallIssue]
    styles = torch.randn(2, made.style_layers, 8)
    assert not torch.allclose(made.synthesis(styles), made.synthesis(styles))
    made.eval()
    assert torch.equal(made.synthesis(styles), made.synthesis(styles))


def test_the_mean_style_follows_w_in_training_only():
    made = generator()
    torch.manual_seed(0)
    latents = torch.randn(64, 8)
    for _ in range(2000):
        with torch.no_grad():
            made.mean_style.lerp_(made.mapping(latents).mean(0), 0.005)
    before = made.mean_style.clone()
    made.eval()(latents)
    assert torch.equal(made.mean_style, before)
    torch.testing.assert_close(before, made.mapping(latents).mean(0), rtol=1e-3, atol=1e-3)
    made.train()(torch.randn(4, 8))
    assert not torch.equal(made.mean_style, before)


def test_path_length_by_hand():
    """Of a synthesis that is linear in w the length does not depend on w, only on the noise."""
    made = generator(path_length=2.0)
    mixing = torch.randn(8, 3 * 16 * 16)
    made.synthesis = lambda styles: (styles.mean(1) @ mixing).view(-1, 3, 16, 16)  # pyright: ignore
    torch.manual_seed(1)
    latents = torch.randn(4, 8)
    torch.manual_seed(2)
    cost = path_length_cost(2.0, made, latents, None)
    torch.manual_seed(2)
    noise = torch.randn(2, 3, 16, 16) / 16
    gradient = noise.flatten(1) @ mixing.t() / made.style_layers  # to each layer's copy of w
    lengths = (gradient.square().sum(1, keepdim=True).expand(-1, made.style_layers)).mean(1).sqrt()
    mean = lengths.mean() * 0.01  # the moving average began at zero
    torch.testing.assert_close(cost, 2 * (lengths - mean).square(), rtol=1e-4, atol=1e-5)
    assert made.mean_path.item() == pytest.approx(mean.item(), rel=1e-4)


def test_variance_is_kept_through_the_layers():
    torch.manual_seed(0)
    layer = Modulated(64, 64, 3, 16)
    out = layer(torch.randn(8, 64, 16, 16), torch.randn(8, 16))
    assert out[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.15)
    assert math.isclose(Modulated(8, 8, 3, 4, doubles=True)(torch.ones(1, 8, 4, 4), torch.zeros(1, 4)).shape[2], 8)
