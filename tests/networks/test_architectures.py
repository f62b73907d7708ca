"""The networks: their shapes, their gradients, the two fast convolutions, and the VAE's formulas."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import distributions, nn
from torch.distributions import Normal

from hasama.errors import HasamaError
from hasama.networks import strided
from hasama.networks.architectures.dcgan import DCGAN
from hasama.networks.architectures.dense import Dense
from hasama.networks.architectures.vae import VAE
from hasama.networks.layers import Conditioned, Dropout, Projection, cut, halvings, map_sizes, widths
from hasama.networks.pair import Pair
from hasama.networks.registry import build
from hasama.networks.strided import Double, Halve
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.training.autoencoder import gaussian_loss, kl_divergence

# --- shapes and gradients -------------------------------------------------------------------------

RESOLUTIONS = [(8, 8), (16, 32), (24, 24), (40, 72), (72, 72), (64, 8), (28, 28), (17, 30), (9, 15), (50, 33)]
CONFIGS = {
    "dcgan": DCGAN(2, 3),
    "dcgan-plain": DCGAN(2, 3, "none"),
    "dense": Dense(2, 3),
    "lesson": Dense(2, 3, 0.0, 2, "batch"),
    "vae": VAE(2, 3),
}
FORMS = [
    (config, resolution, channels, classes)
    for config, resolution, (channels, classes) in itertools.product(
        CONFIGS, RESOLUTIONS, [(1, 0), (3, 0), (4, 0), (3, 5)]
    )
    if not (config == "vae" and classes)
]


@pytest.mark.parametrize(("config", "resolution", "channels", "classes"), FORMS)
def test_a_pair_fits_its_pictures_and_every_weight_gets_a_gradient(
    config: str, resolution: tuple[int, int], channels: int, classes: int
):
    torch.manual_seed(0)
    pair = CONFIGS[config].build(resolution, channels, classes)
    labels = [torch.arange(5)] if classes else []
    if classes:  # zero at first, so that the classes make no difference; then no gradient can pass
        nn.init.normal_(pair.discriminator.get_submodule("projection.embedding").weight)  # pyright: ignore
    images = pair.generator(torch.randn(5, pair.latent_size), *labels)
    said = pair.discriminator(images, *labels)
    assert images.shape == (5, channels, *resolution)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std() > 0
    assert said.shape == ((5, 2 * pair.latent_size) if config == "vae" else (5,))
    said.square().sum().backward()
    for network in pair[:2]:
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("architecture", ["dcgan", "vae"])
@pytest.mark.parametrize(("size", "nearest"), [("4", "8x8"), ("7", "8x8"), ("20x5", "20x8"), ("1x64", "8x64")])
def test_smaller_sizes_are_refused_with_the_smallest(architecture: str, size: str, nearest: str):
    with pytest.raises(HasamaError, match=f"at least 8 pixels a side, not {size}.*try --size {nearest}\\.$"):
        build(Recipe(architecture=architecture, size=size, width=2))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("resolution", [(72, 72), (40, 72), (24, 24), (64, 8)])
def test_sizes_of_multiples_of_8_are_made_as_they_were_before_there_were_others(resolution: tuple[int, int]):
    torch.manual_seed(0)
    generator = DCGAN(2, 3).build(resolution, 3).generator.eval()
    latents = torch.randn(2, 3)
    maps = generator.get_submodule("doublings")(generator.get_submodule("spread")(latents[:, :, None, None]))
    whole = torch.tanh(generator.get_submodule("to_rgb")(maps))
    assert torch.equal(generator(latents), cut(whole, resolution))


@pytest.mark.parametrize("resolution", [(28, 28), (17, 30), (9, 15), (50, 33), (39, 71)])
@pytest.mark.parametrize("config", ["dcgan", "vae"])
def test_every_pixel_is_seen(config: str, resolution: tuple[int, int]):
    torch.manual_seed(0)
    images = torch.randn(1, 1, *resolution, requires_grad=True)
    CONFIGS[config].build(resolution, 1).discriminator.eval()(images).sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).all()


@pytest.mark.parametrize("resolution", [(7, 5), (28, 28), (1, 1)])
def test_dense_makes_any_size(resolution: tuple[int, int]):
    pair = Dense(2, 3).build(resolution, 1)
    assert pair.generator(torch.zeros(2, 3)).shape == (2, 1, *resolution)


def weights_of(network: nn.Module, *kinds: type[nn.Module]) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, kinds)]  # pyright: ignore


def test_dense_has_the_lessons_layers():
    pair = Dense().build((28, 28), 1)
    assert weights_of(pair.generator, nn.Linear) == [(256, 100), (512, 256), (1024, 512), (784, 1024)]
    assert weights_of(pair.discriminator, nn.Linear) == [(1024, 784), (512, 1024), (256, 512), (1, 256)]
    lesson = build(RECIPES["lesson"], 1)
    assert weights_of(lesson.generator, nn.Linear) == weights_of(pair.generator, nn.Linear)
    assert weights_of(lesson.generator, nn.BatchNorm1d) == [(256,), (512,), (1024,)]
    assert weights_of(lesson.discriminator, nn.Linear) == [(512, 784), (256, 512), (1, 256)]


def test_dcgan_has_the_papers_layers():
    """Radford et al. 2016, figure 1, at half its channels: the classic PyTorch example's sizes."""
    pair = DCGAN().build((64, 64), 3)
    ups = [(100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]
    downs = [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 4, 4)]
    assert weights_of(pair.generator, nn.ConvTranspose2d) == ups
    assert weights_of(pair.discriminator, nn.Conv2d) == downs
    assert weights_of(pair.discriminator, nn.BatchNorm2d) == [(128,), (256,), (512,)]  # none next to the picture
    first = pair.generator.get_submodule("spread")(torch.randn(2, 100, 1, 1))
    assert first.shape == (2, 512, 4, 4)
    assert sum(p.numel() for p in pair.generator.parameters()) == 3_576_704


def test_first_weights_are_the_papers():
    pair = DCGAN().build((32, 32), 3)
    stds = [m.weight.std().item() for m in pair.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert stds == pytest.approx([0.02] * len(stds), rel=0.1)
    biases = [m.bias for m in pair.discriminator.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert biases
    assert all((bias == 0).all() for bias in biases)


def test_without_norm_nothing_mixes_the_images():
    judge = DCGAN(2, 3, "none").build((16, 16), 3).discriminator
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(judge(images)[:1], judge(images[:1]))
    mixing = DCGAN(2, 3).build((16, 16), 3).discriminator
    assert not torch.allclose(mixing(images)[:2], mixing(images[:2]))


def test_building_draws_from_the_recipes_seed_and_leaves_the_callers_numbers_alone():
    recipe = Recipe(size="8", width=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other, third = build(recipe), build(recipe), build(recipe.but(seed=1))
    assert torch.equal(torch.rand(3), expected)

    def weight(pair: Pair) -> torch.Tensor:
        return next(pair.generator.parameters())

    assert torch.equal(weight(one), weight(other))
    assert not torch.equal(weight(one), weight(third))


def test_halvings_come_to_a_picture_of_at_least_4_that_covers_the_whole():
    assert halvings((64, 64)) == (4, (4, 4))
    assert halvings((72, 72)) == (4, (5, 5))
    assert halvings((28, 28)) == (2, (7, 7))
    for height, width in itertools.product([*range(8, 264, 8), *range(9, 140, 5)], repeat=2):
        steps, (top, left) = halvings((height, width))
        assert 4 <= min(top, left) <= 8
        assert 0 <= top * 2**steps - height < 2**steps
        assert 0 <= left * 2**steps - width < 2**steps
        sizes = map_sizes((height, width))
        assert (sizes[0], sizes[-1], len(sizes)) == ((top, left), (height, width), steps + 1)
        waste = [2 * side - cut for a, b in itertools.pairwise(sizes) for side, cut in zip(a, b, strict=True)]
        if height % 8 or width % 8:
            assert set(waste) <= {0, 1}
        else:
            assert not any(waste[:-2])
    assert widths(3, 6) == [3, 6, 12, 24, 24, 24]


def test_cut_keeps_the_middle():
    images = torch.arange(80.0).view(1, 1, 8, 10)
    assert torch.equal(cut(images, (4, 8)), images[:, :, 2:6, 1:9])
    assert torch.equal(cut(images, (8, 10)), images)
    assert torch.equal(cut(images, (7, 9)), images[:, :, :7, :9])


# --- classes --------------------------------------------------------------------------------------


def test_a_generator_with_classes_needs_labels_and_heeds_them():
    conditioned = Conditioned(3, 2)
    latents = torch.ones(2, 3)
    rows = conditioned(latents, torch.tensor([0, 1]))
    assert rows.shape == (2, conditioned.features)
    assert torch.equal(rows[:, :3], latents)
    assert not torch.equal(rows[0], rows[1])
    with pytest.raises(HasamaError, match="needs a label for every latent"):
        conditioned(latents, None)


def test_projection_adds_the_product_of_embedding_and_features():
    projection = Projection(4, 3)
    features, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    assert torch.equal(projection(features, labels), torch.zeros(5))  # at first the classes make no difference
    assert projection.embedding is not None
    nn.init.normal_(projection.embedding.weight)
    wanted = [torch.dot(projection.embedding.weight[label], row) for label, row in zip(labels, features, strict=True)]
    torch.testing.assert_close(projection(features, labels), torch.stack(wanted))


# --- the fast convolutions ------------------------------------------------------------------------


def operands(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {"halve": [(2, 3, 4, 6), (5, 3, 4, 4)], "double": [(2, 3, 2, 3), (3, 5, 4, 4)]}[kind]
    images, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    return images, weight


PRODUCTS = {
    "halve": (strided._Halving.apply, lambda x, w: F.conv2d(x, w, None, 2, 1)),
    "double": (strided._Doubling.apply, lambda x, w: F.conv_transpose2d(x, w, None, 2, 1)),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_products_are_the_convolutions(kind: str):
    ours, plain = PRODUCTS[kind]
    images, weight = operands(kind)
    towards = torch.randn_like(plain(images, weight))
    torch.testing.assert_close(ours(images, weight), plain(images, weight))
    torch.testing.assert_close(
        torch.autograd.grad(ours(images, weight), (images, weight), towards),
        torch.autograd.grad(plain(images, weight), (images, weight), towards),
    )


@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_products_gradients_and_their_gradients_are_right(kind: str):
    ours, _ = PRODUCTS[kind]
    assert torch.autograd.gradcheck(ours, operands(kind))
    assert torch.autograd.gradgradcheck(ours, operands(kind))


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("needed", [0, 1])
def test_the_products_compute_no_gradient_that_is_not_wanted(kind: str, needed: int):
    ours, plain = PRODUCTS[kind]
    given = operands(kind)
    given[1 - needed].requires_grad_(False)
    (gradient,) = torch.autograd.grad(ours(*given).sum(), given[needed])
    torch.testing.assert_close(gradient, torch.autograd.grad(plain(*given).sum(), given[needed])[0])


LAYERS = {"halve": lambda: Halve(8, 12, bias=True), "halve-plain": lambda: Halve(8, 12, bias=False)}
LAYERS["double"] = lambda: Double(8, 12)  # pyright: ignore[reportArgumentType]


def output_and_gradients(layer: nn.Module, images: torch.Tensor, plain: bool) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = (layer.conv if plain else layer)(images)  # pyright: ignore[reportCallIssue]
    towards = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return [out.float(), *torch.autograd.grad((out.float() * towards).sum(), [images, *layer.parameters()])]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("channels_last", [True, False])
def test_inside_autocast_the_layers_agree_with_torchs_within_bf16(
    kind: str, channels_last: bool, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    layer, images = LAYERS[kind](), torch.randn(3, 8, 8, 8)
    if channels_last:
        layer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.to(memory_format=torch.channels_last)
    used = []
    product = strided._product_is_faster
    monkeypatch.setattr(strided, "_product_is_faster", lambda *given: used.append(product(*given)) or used[-1])
    ours, plain = (output_and_gradients(layer, images, plain) for plain in (False, True))
    assert used == [True]  # or the comparison would be of torch with itself
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * b.abs().max().item())
        assert (a - b).norm() < 0.01 * b.norm()


def test_the_products_are_taken_only_on_small_maps_in_bf16():
    small, large = torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 16, 16)
    assert not strided._product_is_faster(small, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert strided._product_is_faster(small, 64)
        assert not strided._product_is_faster(large, 256)
        odd = Halve(8, 2, bias=True)(torch.zeros(1, 8, 9, 7))
    assert odd.shape == (1, 2, 4, 3)  # sides that the product cannot halve


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_dropout_silences_its_share_and_keeps_the_mean(share: float):
    torch.manual_seed(0)
    units = Dropout(share)(torch.ones(400, 1001))
    kept = units[units != 0]
    assert (units == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert torch.equal(kept, torch.full_like(kept, kept[0].item()))
    assert units.mean().item() == pytest.approx(1, abs=0.005)


def test_dropout_silences_every_unit_at_times_and_units_independently():
    torch.manual_seed(0)
    layer = Dropout(0.5)
    silent = torch.stack([layer(torch.ones(3, 13)) == 0 for _ in range(2000)]).float().flatten(1)  # [2000, 39]
    assert (silent.mean(0) - 0.5).abs().max() < 0.06
    assert (torch.corrcoef(silent.T) - torch.eye(39)).abs().max() < 0.11


def test_dropout_passes_the_gradient_of_what_it_kept():
    torch.manual_seed(0)
    units = torch.randn(5, 7, requires_grad=True)
    out = Dropout(0.3)(units)
    (gradient,) = torch.autograd.grad(out.sum(), units)
    torch.testing.assert_close(gradient * units, out)


def test_dropout_is_reproducible_and_does_nothing_in_evaluation():
    layer, units = Dropout(0.3), torch.randn(4, 9)
    torch.manual_seed(1)
    one = layer(units)
    other = layer(units)
    torch.manual_seed(1)
    assert torch.equal(layer(units), one)
    assert not torch.equal(one, other)
    assert layer.eval()(units) is units
    assert Dropout(0.0)(units) is units


@pytest.mark.parametrize("architecture", ["dcgan", "dense"])
def test_dropout_in_the_discriminator_is_a_field_whose_default_is_what_was(architecture: str):
    recipe = Recipe(architecture=architecture, size="12x9", width=3)  # pyright: ignore[reportArgumentType]
    own = 0.3 if architecture == "dense" else 0.0
    pairs = [build(recipe.but(discriminator_dropout=share)) for share in (None, own, 0.5)]
    images = torch.randn(4, 3, 9, 12)
    for network in (pair.discriminator for pair in pairs):
        torch.manual_seed(3)
        network.said = network(images)  # pyright: ignore[reportArgumentType]
    one, same, other = (pair.discriminator.said for pair in pairs)
    assert torch.equal(one, same)  # pyright: ignore[reportArgumentType]
    assert not torch.equal(one, other)  # pyright: ignore[reportArgumentType]
    layers = [module.silent for module in pairs[2].discriminator.modules() if isinstance(module, Dropout)]
    assert layers == [128] * len(layers)
    assert len(layers) == (3 if architecture == "dense" else 1)
    states = [list(pair.discriminator.state_dict()) for pair in pairs]
    assert states[0] == states[1] == states[2]


# --- the VAE's formulas ---------------------------------------------------------------------------


def test_divergence_is_that_of_torchs_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(2, 6, 5, dtype=torch.float64) * 2
    wanted = distributions.kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(()), torch.ones(()))
    ).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), wanted)
    assert torch.equal(kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


def test_gaussian_loss_has_the_value_and_gradient_of_the_log_of_the_squared_error():
    torch.manual_seed(0)
    images, again = torch.randn(2, 4, 3, 5, 2, dtype=torch.float64)
    again.requires_grad_()
    size = 3 * 5 * 2
    loss = gaussian_loss(images, again).mean()
    optimal = size / 2 * (images - again).square().mean().log()  # Rybkin et al. 2021, eq. 8
    torch.testing.assert_close(loss, optimal + size / 2)
    torch.testing.assert_close(torch.autograd.grad(loss, again), torch.autograd.grad(optimal, again))


def test_gaussian_loss_is_finite_for_a_perfect_copy():
    again = torch.ones(2, 1, 2, 2, requires_grad=True)
    loss = gaussian_loss(torch.ones(2, 1, 2, 2), again)
    (gradient,) = torch.autograd.grad(loss.sum(), again)
    assert loss.isfinite().all()
    assert torch.equal(gradient, torch.zeros(2, 1, 2, 2))
