"""The shorter way through deep layers: equal to convolutions in float64, forwards and back, at any size."""

import copy

import pytest
import torch
import torch.nn.functional as F

from hasama.perception import winograd
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights
from narrow_vgg import soft_picture


@pytest.mark.parametrize(
    ("count", "inside", "outside", "height", "width"),
    [(1, 128, 256, 24, 32), (1, 256, 128, 23, 30), (3, 128, 256, 16, 13), (70, 128, 256, 3, 5), (2, 8, 4, 1, 1)],
)
def test_it_is_the_convolution(count: int, inside: int, outside: int, height: int, width: int):
    torch.manual_seed(count)
    x = torch.randn(count, inside, height, width, requires_grad=True)
    weight, bias = torch.randn(outside, inside, 3, 3) / (3 * inside**0.5), torch.randn(outside)
    towards = torch.randn(count, outside, height, width)
    exact = x.detach().double().requires_grad_()
    wanted = F.conv2d(exact, weight.double(), bias.double(), padding=1)
    wanted.backward(towards.double())
    found = winograd.convolve(x, winograd.Kernels(weight), bias)
    found.backward(towards)
    assert exact.grad is not None
    assert x.grad is not None
    torch.testing.assert_close(found.double(), wanted, atol=3e-5 * float(wanted.detach().abs().max()), rtol=0)
    torch.testing.assert_close(x.grad.double(), exact.grad, atol=3e-5 * float(exact.grad.abs().max()), rtol=0)


def test_what_comes_out_may_be_changed_in_place():
    x = torch.randn(1, 128, 20, 20, requires_grad=True)
    kernels = winograd.Kernels(torch.randn(256, 128, 3, 3))
    for part in (x, x[:, :, :18, :17]):
        winograd.convolve(part, kernels, torch.zeros(256)).relu_().sum().backward()


def test_features_are_the_same_both_ways():
    weights, image = load_weights(), soft_picture(136, 100)
    layers = ("relu3_1", "relu4_1", "relu5_1")
    short, long = (VGG(weights, layers, quick=quick)(image) for quick in (True, False))
    for layer in layers:
        torch.testing.assert_close(short[layer], long[layer], atol=2e-5 * float(long[layer].max()), rtol=0)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in winograd.PROCESSORS, reason="another processor")
def test_it_is_taken_where_it_pays_and_a_network_can_be_copied():
    network = VGG(load_weights(), ["relu3_2"])
    network(soft_picture(16, 16))
    assert not network.kernels  # so few activations are done before the weights are turned
    network(soft_picture(128, 128))
    assert set(network.kernels) == {"3_1", "3_2"}
    assert copy.deepcopy(network)(soft_picture(128, 128)).keys() == {"relu3_2"}
    half = VGG(load_weights(), ["relu3_2"], precision=torch.bfloat16)
    half(soft_picture(128, 128))
    assert not half.kernels
