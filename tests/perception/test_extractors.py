"""What the networks are shown, which weights they take, and that InceptionV3 is InceptionV3."""

import hashlib
import http.server
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import narrow_vgg
from hasama.errors import HasamaError
from hasama.perception import extractors
from hasama.perception.extractors import (
    EXTRACTOR,
    LAYER,
    check_features,
    extract_features,
    extractor_named,
    vgg_features,
)
from hasama.perception.inception import Inception, inception_of
from hasama.perception.vgg import VGG
from hasama.pictures.images import as_channels
from hasama.pictures.sources.download import cache_folder
from narrow_vgg import narrow_weights

CPU = torch.device("cpu")

# --- VGG19 ----------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of the same form, a thousand times as fast."""
    monkeypatch.setattr(extractors, "load_weights", narrow_weights)


def some_pixels(count: int, height: int = 64, width: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


def test_the_real_network_gives_its_layers_mean_whatever_the_batches_are():
    pixels = some_pixels(5)
    features = vgg_features(pixels)
    assert (features.shape, features.dtype) == ((5, 512), torch.float32)
    assert features.min() >= 0
    network = VGG(extractors.load_weights(), ["relu5_1"], border="zeros")
    exact = network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)["relu5_1"].mean((2, 3))
    torch.testing.assert_close(features, exact, rtol=0.03, atol=0.03)  # bf16, where the machine has it
    cut = vgg_features(batch for batch in (pixels[:2], pixels[2:3], pixels[3:]))
    torch.testing.assert_close(cut, features, rtol=1e-2, atol=1e-2)
    assert LAYER in EXTRACTOR


@pytest.mark.usefixtures("narrow")
def test_large_batches_are_cut_and_small_ones_taken_as_they_come(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    means = extractors._means
    monkeypatch.setattr(
        extractors, "_means", lambda network, images: (seen.append(len(images)), means(network, images))[1]
    )
    whole = vgg_features(some_pixels(70))
    assert seen == [64, 6]
    parts = vgg_features(iter([some_pixels(70)[:33], some_pixels(70)[33:]]))
    torch.testing.assert_close(parts, whole, rtol=1e-2, atol=1e-2)
    seen.clear()
    vgg_features(some_pixels(2, 512, 1024))
    assert seen == [1, 1]


@pytest.mark.usefixtures("narrow")
def test_no_pictures_give_no_features():
    def nothing() -> Iterator[np.ndarray]:
        yield from ()

    assert vgg_features(nothing()).shape == vgg_features(some_pixels(0)).shape == (0, narrow_vgg.WIDTHS[-1])


@pytest.mark.usefixtures("narrow")
def test_grey_is_seen_as_grey_colour_and_alpha_on_white():
    grey = some_pixels(2, channels=1)
    assert torch.equal(vgg_features(grey), vgg_features(grey.repeat(3, 3)))
    clear = some_pixels(2, channels=4)
    on_white = [np.asarray(as_channels(Image.fromarray(picture), 3)) for picture in clear]
    torch.testing.assert_close(vgg_features(clear), vgg_features(np.stack(on_white)), rtol=0.02, atol=0.02)
    hidden = clear.copy()
    hidden[..., 3] = 0
    assert torch.equal(vgg_features(hidden), vgg_features(np.full((2, 64, 64, 3), 255, np.uint8)))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("size", "seen"),
    [((28, 28), (64, 64)), ((16, 40), (64, 160)), ((1, 3), (64, 192)), ((64, 90), (64, 90)), ((100, 70), (100, 70))],
)
def test_small_pictures_are_enlarged_and_keep_their_shape(
    size: tuple[int, int], seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    enlarged = extractors.large_enough(extractors.as_photographs(torch.zeros(2, 1, *size)), 64)
    assert tuple(enlarged.shape) == (2, 3, *seen)
    assert vgg_features(some_pixels(1, *size)).isfinite().all()


# --- InceptionV3 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Inception:
    """Random weights of He's size and lively statistics, so that every layer has something to say."""
    network, generator = Inception(), torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("bn.bias", "running_mean")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def weights(network: Inception, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They in a file, as pytorch-fid saves them: with the 1008 classes that nobody asks for."""
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict() | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, file)
    return file


def test_its_parameters_are_torchvisions_in_number_and_name(network: Inception):
    """Of torchvision's 27,161,264 (1000 classes), 3,326,696 are the auxiliary classifier's; and the last layer."""
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 3_326_696 - 1000 * 2049
    names = network.state_dict().keys()
    assert len(names) == 94 * 6
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names} == {"conv", "bn"}
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6b.branch7x7dbl_4.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7_2.bn.running_var": (192,),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
    }
    assert {name: tuple(network.state_dict()[name].shape) for name in shapes} == shapes


def test_it_agrees_layer_for_layer_with_keras(network: Inception, monkeypatch: pytest.MonkeyPatch):
    """The same weights in another implementation; that one has an average pooling in the last block, too."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    keras: Any = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend")
    other = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(107, 75, 3))
    convolutions, norms = (
        [each for each in other.layers if isinstance(each, kind)]
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    )
    stored = network.state_dict()
    names = [name.removesuffix(".conv.weight") for name in stored if name.endswith(".conv.weight")]
    for name, convolution, norm in zip(names, by_number(convolutions), by_number(norms), strict=True):
        convolution.set_weights([stored[f"{name}.conv.weight"].permute(2, 3, 1, 0).numpy()])
        norm.set_weights([stored[f"{name}.bn.{kind}"].numpy() for kind in ("bias", "running_mean", "running_var")])
    images = torch.rand(2, 3, 107, 75, generator=torch.Generator().manual_seed(1)) * 2 - 1
    theirs = torch.as_tensor(np.asarray(other(images.permute(0, 2, 3, 1).numpy()).detach())).permute(0, 3, 1, 2)
    last = network.get_submodule("Mixed_7c")
    by_maximum = network.places(images)
    monkeypatch.setattr(last, "by_maximum", False)
    ours = network.places(images)
    assert ours.shape == (2, 2048, 2, 1)
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert torch.equal(by_maximum[:, :1856], ours[:, :1856])
    assert not torch.allclose(by_maximum[:, 1856:], ours[:, 1856:])


def by_number(layers: list[Any]) -> list[Any]:
    """In the order in which they were made: conv2d, conv2d_1, ..."""
    return sorted(layers, key=lambda layer: int((re.findall(r"\d+$", layer.name.removeprefix("conv2d")) or ["0"])[0]))


def test_pictures_of_any_form_become_2048_features_alike_in_any_batch(weights: Path, network: Inception):
    seen = extractor_named(str(weights))
    assert seen.width == 2048
    pixels = some_pixels(2, 20, 30, 1)
    whole = torch.cat(list(extract_features(seen, pixels)))
    assert (whole.shape, whole.dtype) == ((2, 2048), torch.float32)
    torch.testing.assert_close(
        torch.cat(list(extract_features(seen, iter([pixels[:1], pixels[1:]])))), whole, rtol=1e-4, atol=1e-5
    )
    colours = torch.from_numpy(pixels).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 127.5 - 1
    enlarged = torch.nn.functional.interpolate(colours, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole, network.places(enlarged).mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_state_dict_comes_back_whatever_stands_behind_the_last_pooling(
    weights: Path, network: Inception, tmp_path: Path
):
    trunk = {k: v.clone() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(trunk | {"AuxLogits.fc.bias": torch.zeros(3)}, tmp_path / "own.safetensors")
    for file in (weights, tmp_path / "own.safetensors"):
        loaded = inception_of(extractors.read_state(file), file).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in trunk.items())


def test_weights_of_unknown_origin_bear_another_name(weights: Path, monkeypatch: pytest.MonkeyPatch):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    named = extractor_named(str(weights))
    assert named.name == f"inception-v3-pool3-{digest[:8]}"
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", digest)
    assert extractor_named(str(weights)).name == "inception-v3-pool3"
    assert digest in named.key


# --- weights that cannot be used ------------------------------------------------------------------


def test_names_that_are_none():
    with pytest.raises(HasamaError, match=r"no network for features called 'vgg'\. Did you mean vgg19\?.*local file"):
        check_features("vgg")
    for path in ("nowhere.pth", "no/where", "~nobody-of-that-name/x.pth"):
        with pytest.raises(HasamaError, match="There are no network weights at"):
            extractor_named(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("Mixed_7c.branch_pool.conv.weight"), r"Mixed_7c\.branch_pool.*\(1 of 470 tensors"),
        (lambda state: state.update({"layer4.0.weight": torch.zeros(1)}), r"layer4\.0\.weight is missing, too many"),
        (lambda state: state.update({"Conv2d_1a_3x3.bn.bias": torch.zeros(7)}), "or of another shape"),
        (lambda state: state.update({"Conv2d_1a_3x3.bn.bias": torch.full((32,), torch.nan)}), "no finite numbers"),
        (lambda state: state.clear(), r"\(470 of 470 tensors are\)"),
    ],
)
def test_other_weights_are_refused(change: Any, complaint: str, network: Inception):
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(HasamaError, match=complaint):
        inception_of(state, Path("some.pth"))


def test_damaged_and_hostile_files_are_refused(weights: Path, tmp_path: Path):
    file = tmp_path / "damaged.pth"
    file.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(HasamaError, match="damaged"):
        extractor_named(str(file))
    torch.save({"state": Path("/tmp")}, file)
    with pytest.raises(HasamaError, match="could run foreign code"):
        extractor_named(str(file))
    with pytest.raises(HasamaError, match="Cannot read"):
        extractors.sha256_of(tmp_path)


# --- the download ---------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Has one file, and counts who asks."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body, self.asked = body, []
        self.address = f"http://127.0.0.1:{self.server_port}/weights"


class Answer(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has random weights in place of FID's own."""
    with Server(weights.read_bytes()) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(extractors, "INCEPTION_ADDRESS", server.address)
        monkeypatch.setattr(extractors, "INCEPTION_SHA256", hashlib.sha256(server.body).hexdigest())
        yield server
        server.shutdown()


def test_the_weights_are_downloaded_once(server: Server, capsys: pytest.CaptureFixture[str]):
    first = extractor_named("inception")
    assert first.name == "inception-v3-pool3"
    assert server.asked == ["/weights/pt_inception-2015-12-05-6726825d.pth"]
    assert extractor_named("inception").key == first.key
    assert len(server.asked) == 1
    assert capsys.readouterr().out == "", "where JSON may be wanted"


def test_another_server_can_be_named(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extractors, "INCEPTION_ADDRESS", "http://127.0.0.1:9/unused")
    monkeypatch.setenv("HASAMA_MIRROR", f"{server.address}/")
    assert extractor_named("inception").width == 2048


def test_nothing_is_kept_of_a_wrong_file(server: Server):
    server.body = b"<html>Welcome to the hotel's network</html>"
    with pytest.raises(HasamaError, match=r"is not the file it should be \(SHA256 .*nothing was kept"):
        extractor_named("inception")
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]


def test_a_file_that_was_damaged_later_is_named(server: Server):
    extractor_named("inception")
    file = cache_folder() / "downloads" / "inception" / extractors.INCEPTION_FILE
    file.write_bytes(server.body[:-1] + b"x")
    with pytest.raises(HasamaError, match="delete it, and it is downloaded again"):
        extractor_named("inception")


def test_no_connection(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(extractors, "INCEPTION_ADDRESS", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(
        HasamaError, match=r"Cannot download .*refused.*--features vgg19.*--features PATH.*put the file"
    ):
        extractor_named("inception")


def test_the_files_name_tells_the_beginning_of_its_checksum():
    assert f"-{extractors.INCEPTION_SHA256[:8]}.pth" in extractors.INCEPTION_FILE
    assert len(extractors.INCEPTION_SHA256) == 64
