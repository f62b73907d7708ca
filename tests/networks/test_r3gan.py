"""R3GAN's two ways of resampling: the published filter by hand, full-size maps, and files that say which it was."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import hasama
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.networks.architectures.r3gan import (
    R3GAN,
    Block,
    Discriminator,
    Doubled,
    Generator,
    Halved,
    Modulation,
    clipped,
    smooth,
)
from hasama.networks.attention import SelfAttention
from hasama.networks.layers import WeighedPlaces
from hasama.networks.registry import build
from hasama.pictures.tensors import to_pixels


def test_a_point_is_spread_by_one_two_one():
    point = torch.zeros(1, 2, 3, 3)
    point[0, 0, 1, 1] = 16.0
    doubled = Doubled()(point)
    assert doubled.shape == (1, 2, 6, 6)
    wanted = torch.tensor([[4.0, 8, 4], [8, 16, 8], [4, 8, 4]])
    torch.testing.assert_close(doubled[0, 0, 1:4, 1:4], wanted)
    assert doubled.sum() == wanted.sum()  # nothing elsewhere, and nothing in the other channel


@pytest.mark.parametrize("places", [(4, 4), (4, 7)])
def test_weighed_places_are_a_depthwise_convolution(places: tuple[int, int]):
    """And so are both derivatives; the weights have that convolution's name and shape, as in older files."""
    torch.manual_seed(0)
    layer = WeighedPlaces(3, places).double()
    assert {name: value.shape for name, value in layer.state_dict().items()} == {"weight": (3, 1, *places)}
    maps = torch.randn(2, 3, *places, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, groups=3).flatten(1))

    def weighed(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, maps).square()

    assert torch.autograd.gradcheck(weighed, (maps, layer.weight))
    assert torch.autograd.gradgradcheck(weighed, (maps, layer.weight))


def test_a_flat_picture_stays_flat_inside():
    flat = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(Doubled()(flat)[..., 1:-1, 1:-1], torch.ones(1, 3, 14, 14))
    torch.testing.assert_close(Halved()(flat)[..., 1:, 1:], torch.ones(1, 3, 3, 3))


def test_halving_weighs_by_one_two_one():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 2] = torch.tensor([0.0, 0, 16, 0])
    torch.testing.assert_close(Halved()(maps)[0, 0], torch.tensor([[0.0, 0], [0, 4]]))
    maps[0, 0, 2] = torch.tensor([0.0, 16, 0, 0])  # seen by both neighbours, half as much
    torch.testing.assert_close(Halved()(maps)[0, 0], torch.tensor([[0.0, 0], [2, 2]]))


@pytest.mark.parametrize("group_width", [1, 16])
@pytest.mark.parametrize("resampling", ["strided", "filtered"])
@pytest.mark.parametrize(("size", "channels", "classes"), [("16", 3, 0), ("16x24", 4, 3), ("8x16", 1, 2)])
def test_pictures_of_every_form(resampling: str, size: str, channels: int, classes: int, group_width: int):
    recipe = hasama.RECIPES["r3gan"].but(
        size=size, width=2, latent_size=4, resampling=resampling, group_width=group_width
    )
    pair, (height, width) = build(recipe, channels, classes), recipe.resolution
    labels = torch.arange(2) % classes if classes else None
    given = (torch.randn(2, 4),) if labels is None else (torch.randn(2, 4), labels)
    fakes = pair.generator(*given)
    assert fakes.shape == (2, channels, height, width)
    logits = pair.discriminator(fakes, *given[1:])
    assert logits.shape == (2,)
    logits.sum().backward()
    assert all(p.grad is not None for p in pair.discriminator.parameters() if p.requires_grad)


def test_filtered_maps_are_as_large_as_the_picture():
    recipe = hasama.RECIPES["r3gan"].but(size="32", width=2, latent_size=4, resampling="filtered")
    pair = build(recipe, 3, 0)
    assert pair.discriminator.get_submodule("from_rgb").kernel_size == (1, 1)  # type: ignore[union-attr]
    seen: list[int] = []
    for stage in pair.generator.get_submodule("stages").children():
        stage.register_forward_hook(lambda _, __, maps: seen.append(maps.shape[-1]))
    pair.generator(torch.randn(1, 4))
    assert seen == [4, 8, 16, 32]


@pytest.mark.parametrize("group_width", [1, 3, 16])
def test_a_3x3_convolution_mixes_the_channels_of_its_group_alone(group_width: int):
    block = Block(6, 1, group_width)
    inner = block.mix.in_channels
    assert inner == {1: 12, 3: 12, 16: 16}[group_width]  # twice as many, in whole groups
    maps = torch.randn(1, inner, 3, 3, requires_grad=True)
    for out in range(inner):
        (gradient,) = torch.autograd.grad(block.mix(maps)[0, out].sum(), maps)
        seen = gradient.abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        first = out // group_width * group_width
        assert seen == list(range(first, first + group_width))


def test_the_file_says_how_it_was_resampled(tmp_path: Path):
    file = tmp_path / "g.safetensors"
    recipe = hasama.RECIPES["r3gan"].but(size="8", width=2, latent_size=4, resampling="filtered")
    generator = TrainedGenerator(build(recipe, 3).generator, recipe, 4, 3)
    save_generator(generator, file)
    loaded = load_generator(file)
    assert loaded.recipe is not None
    assert loaded.recipe.resampling == "filtered"
    latents = torch.randn(3, 4)
    assert (loaded.generate(latents) == generator.generate(latents)).all()


def test_files_from_before_there_was_a_choice_are_strided(tmp_path: Path):
    new, old = tmp_path / "new.safetensors", tmp_path / "old.safetensors"
    recipe = hasama.RECIPES["r3gan"].but(size="8", width=2, latent_size=4, resampling="strided", group_width=16)
    save_generator(TrainedGenerator(build(recipe, 3).generator, recipe, 4, 3), new)
    with safe_open(new, "pt") as opened:
        about = json.loads(opened.metadata()["hasama"])
    del about["resampling"], about["group_width"]
    save_file(load_file(new), old, {"hasama": json.dumps(about)})
    loaded = load_generator(old)
    assert loaded.recipe is not None
    assert (loaded.recipe.resampling, loaded.recipe.group_width) == ("strided", 16)


def test_the_last_layer_begins_as_a_linear_interpolation():
    """So that a constant map gives one colour, and no picture begins with a grain of two pixels."""
    torch.manual_seed(0)
    generator = R3GAN(width=4, latent_size=4).build((32, 32), 3).generator
    assert isinstance(generator, Generator)
    assert isinstance(generator.to_rgb, torch.nn.ConvTranspose2d)
    flat = torch.randn(1, generator.to_rgb.weight.shape[0], 1, 1).expand(-1, -1, 8, 8)
    inner = generator.to_rgb(flat)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))
    deviations = [smooth(torch.nn.ConvTranspose2d(64, 64, 4, 2, 1)).weight.square().mean() for _ in range(2)]
    plain = torch.nn.ConvTranspose2d(64, 64, 4, 2, 1).weight.square().mean()
    assert all(abs(one / plain - 1) < 0.1 for one in deviations)


def test_the_generator_may_be_wider_than_the_discriminator(tmp_path: Path):
    recipe = hasama.RECIPES["r3gan"].but(size="16x24", width=2, latent_size=4, group_width=1)
    narrow, wide = build(recipe), build(recipe.but(generator_width=6))
    shapes = [[tuple(one.shape) for one in pair.discriminator.parameters()] for pair in (narrow, wide)]
    assert shapes[0] == shapes[1]
    for widths, times in ((narrow, 1), (wide, 3)):
        generator = widths.generator
        assert isinstance(generator, Generator)
        made = [part.out_channels for name, part in generator.stages.named_modules() if name.endswith("shrink")]
        assert made == [16 * times, 16 * times]
    same = build(recipe.but(generator_width=2))
    for one, other in zip(narrow.generator.parameters(), same.generator.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    save_generator(TrainedGenerator(wide.generator, recipe.but(generator_width=6), 4, 3), tmp_path / "g.safetensors")
    loaded, latents = load_generator(tmp_path / "g.safetensors"), torch.randn(3, 4)
    assert loaded.recipe is not None
    assert loaded.recipe.generator_width == 6
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.eval()(latents), wide.generator.eval()(latents))


def test_the_generator_may_have_more_blocks_than_the_discriminator(tmp_path: Path):
    recipe = hasama.RECIPES["r3gan"].but(size="16x24", width=2, latent_size=4, group_width=1, generator_blocks=3)
    shallow, deep = build(recipe.but(generator_blocks=1)), build(recipe)
    shapes = [[tuple(one.shape) for one in pair.discriminator.parameters()] for pair in (shallow, deep)]
    assert shapes[0] == shapes[1]
    assert isinstance(deep.generator, Generator)
    blocks = [name for name, part in deep.generator.stages.named_modules() if isinstance(part, Block)]
    assert blocks == [f"{level}.{number}" for level in range(2) for number in range(3)]
    for block in deep.generator.modules():  # so that the blocks do something
        if isinstance(block, Block):
            torch.nn.init.normal_(block.shrink.weight, std=0.3)
    save_generator(TrainedGenerator(deep.generator, recipe, 4, 3), tmp_path / "g.safetensors")
    loaded, latents = load_generator(tmp_path / "g.safetensors"), torch.randn(3, 4)
    assert loaded.recipe is not None
    assert loaded.recipe.generator_blocks == 3
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.eval()(latents), deep.generator.eval()(latents))


def test_each_block_adds_as_little_as_there_are_blocks():
    """Zhang et al. 2019, Fixup: the deeper the network, the smaller the first weights of its blocks."""
    recipe = hasama.RECIPES["r3gan"].but(size="32", group_width=1, latent_size=4)
    sizes = []
    for blocks in (1, 4):
        generator = build(recipe.but(generator_blocks=blocks)).generator
        assert isinstance(generator, Generator)
        first = generator.stages[0]
        assert isinstance(first, torch.nn.Sequential)
        block = first[0]
        assert isinstance(block, Block)
        sizes.append(block.expand.weight.detach().square().mean().item())
        assert not block.shrink.weight.any()
    assert sizes[0] / sizes[1] == pytest.approx(4**0.5, rel=0.05)  # the weights by the fourth root


# --- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "attentive"), [("8", {}), ("32", {1: 8, 2: 16}), ("48x80", {1: 20, 2: 40})])
def test_the_small_maps_attend_and_at_first_change_nothing(size: str, attentive: dict[int, int], tmp_path: Path):
    recipe = hasama.RECIPES["r3gan"].but(size=size, width=2, latent_size=4, group_width=1, generator_blocks=3)
    pair = build(recipe.but(generator_attention=True))
    generator, latents = pair.generator.eval(), torch.randn(2, 4)
    assert isinstance(generator, Generator)
    heights: dict[str, int] = {}
    attentions = {name: layer for name, layer in generator.named_modules() if isinstance(layer, SelfAttention)}
    for name, layer in attentions.items():
        layer.register_forward_hook(lambda _, given, __, name=name: heights.update({name: given[0].shape[2]}))
    with torch.no_grad():
        first = generator(latents)
        assert heights == {f"stages.{level}.attention": height for level, height in attentive.items()}
        for layer in attentions.values():
            torch.nn.init.normal_(layer.tell.weight)
        assert torch.equal(first, generator(latents)) == (not attentive)
        save_generator(TrainedGenerator(generator, recipe.but(generator_attention=True), 4, 3), tmp_path / "g")
        again = load_generator(tmp_path / "g").network.eval()
        torch.testing.assert_close(again(latents), generator(latents))
    assert {*build(recipe).generator.state_dict()} == {
        name for name in generator.state_dict() if ".attention." not in name
    }


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("width", [5, 64])
def test_attention_is_what_its_formula_says(width: int, exact: bool):
    """Place by place, head by head, in float64."""
    layer, maps = SelfAttention(width).double(), torch.randn(2, width, 3, 4, dtype=torch.float64)
    torch.nn.init.normal_(layer.tell.weight)
    heads = -(-width // 32)
    want, places = maps.clone(), maps.flatten(2)
    for picture in range(2):
        asked = layer.ask.weight.flatten(1) @ places[picture]  # [3 * 32 * heads, 12]
        told = []
        for head in asked.chunk(heads):
            queries, keys, values = head.chunk(3)
            for at in range(12):
                likeness = [
                    32**0.5 * torch.cosine_similarity(queries[:, at], keys[:, other], dim=0) for other in range(12)
                ]
                shares = torch.stack(likeness).exp()
                told.append((values * shares / shares.sum()).sum(1))
        told = torch.stack(told).reshape(heads, 12, 32).transpose(1, 2).reshape(-1, 12)
        want[picture] += (layer.tell.weight.flatten(1) @ told).reshape(width, 3, 4)
    torch.use_deterministic_algorithms(exact)
    try:
        torch.testing.assert_close(layer(maps), want)
    finally:
        torch.use_deterministic_algorithms(False)


# --- self-modulation ------------------------------------------------------------------------------


@pytest.mark.parametrize("resampling", ["strided", "filtered"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_latent_scales_the_channels_of_all_maps_from_nothing(resampling: str, classes: int):
    recipe = hasama.RECIPES["r3gan"].but(
        size="32x64", width=2, latent_size=4, resampling=resampling, generator_width=3
    )
    plain = build(recipe, 4, classes).generator
    generator = build(recipe.but(self_modulation=True), 4, classes).generator
    assert isinstance(generator, Generator)
    for one in plain.modules():  # so that the blocks do something
        if isinstance(one, Block):
            torch.nn.init.normal_(one.shrink.weight, std=0.3)
    missing = generator.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    given = (torch.randn(2, 4),) if not classes else (torch.randn(2, 4), torch.tensor([2, 0]))
    with torch.no_grad():
        torch.testing.assert_close(generator(*given), plain(*given), rtol=0, atol=0)
    seen: dict[int, torch.Tensor] = {}

    def remember(number: int) -> Callable[..., None]:
        return lambda _, maps: seen.update({number: maps[0].detach()})

    for number, stage in enumerate([*generator.stages[1:], generator.to_rgb]):
        stage.register_forward_pre_hook(remember(number))
    modulations = [*generator.modulations, generator.last_modulation]
    assert len(modulations) == len(generator.stages)
    features = generator.conditioned(*given, *[None] * (2 - len(given)))
    generator(*given)
    before = dict(seen)
    for number, modulation in enumerate(modulations):
        assert isinstance(modulation, Modulation)
        torch.nn.init.normal_(modulation.scale.weight)
        torch.nn.init.normal_(modulation.scale.bias)
        generator(*given)
        wanted = before[number] * (1 + features @ modulation.scale.weight.T + modulation.scale.bias)[:, :, None, None]
        torch.testing.assert_close(seen[number], wanted, rtol=1e-4, atol=1e-5)
        before = dict(seen)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_discriminator_that_compares_begins_as_one_that_does_not(channels: int, classes: int):
    recipe = hasama.RECIPES["r3gan"].but(size="16x32", width=2, latent_size=4)
    plain, comparing = (build(recipe.but(minibatch_std=on), channels, classes).discriminator for on in (False, True))
    missing = comparing.load_state_dict(plain.state_dict(), strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["compare.weigh.weight"], [])
    pictures = torch.randn(8, channels, 32, 16)
    given = (pictures,) if not classes else (pictures, torch.arange(8) % 3)
    assert torch.equal(comparing(*given), plain(*given))
    assert isinstance(comparing, Discriminator)
    assert comparing.compare is not None
    torch.nn.init.ones_(comparing.compare.weigh.weight)
    alike = pictures[:1].expand(8, -1, -1, -1)
    apart = [(comparing(some, *given[1:]) - plain(some, *given[1:])).mean() for some in (alike, pictures)]
    assert apart[0] < 0.1 * apart[1]


def test_the_file_keeps_its_modulations(tmp_path: Path):
    file, latents = tmp_path / "g.safetensors", torch.randn(3, 4)
    recipe = hasama.RECIPES["r3gan"].but(size="16x24", width=2, latent_size=4, self_modulation=True)
    generator = build(recipe, 3).generator
    for name, tensor in generator.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(tensor)
    whole = TrainedGenerator(generator, recipe, 4, 3)
    save_generator(whole, file)
    loaded = load_generator(file)
    assert loaded.recipe is not None
    assert loaded.recipe.self_modulation
    assert (loaded.generate(latents) == whole.generate(latents)).all()


# --- clipping -------------------------------------------------------------------------------------


def test_what_is_beyond_black_and_white_counts_a_twentieth():
    picture = torch.tensor([-3.0, -1.0, -0.2, 0.9, 1.0, 2.0]).view(1, 1, 2, 3).requires_grad_()
    shown = clipped(picture)
    assert shown.flatten().tolist() == pytest.approx([-1.1, -1, -0.2, 0.9, 1, 1.05])
    (slope,) = torch.autograd.grad(shown.sum(), picture)
    assert slope.flatten()[[0, 2, 3, 5]].tolist() == pytest.approx([0.05, 1, 1, 0.05])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_clipped_pictures_are_saved_as_the_others_and_the_file_says_so(channels: int, tmp_path: Path):
    """The same weights, the same pixels: only what learns from them differs."""
    recipe = hasama.RECIPES["r3gan"].but(size="16x24", width=2, latent_size=4)
    plain, clips = (build(recipe.but(clip_output=on), channels).generator for on in (False, True))
    clips.load_state_dict(plain.state_dict())
    for network in (plain, clips):
        assert isinstance(network, Generator)
        network.to_rgb.weight.data *= 3  # far beyond
    latents = torch.randn(5, 4)
    with torch.no_grad():
        one, other = plain(latents), clips(latents)
    assert one.abs().max() > 2
    assert other.abs().max() < 1 + 0.05 * one.abs().max()
    assert np.array_equal(to_pixels(one), to_pixels(other))
    save_generator(TrainedGenerator(clips, recipe.but(clip_output=True), 4, channels), tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert torch.equal(loaded.network(latents), other)


# --- noise ----------------------------------------------------------------------------------------


def noisy_generator(resampling: str = "strided", strength: float = 0.5) -> Generator:
    """One whose noise is as strong everywhere."""
    recipe = hasama.RECIPES["r3gan"].but(
        size="16x24", width=2, latent_size=4, resampling=resampling, pixel_noise=True
    )
    generator = build(recipe, 3, 0).generator
    assert isinstance(generator, Generator)
    assert generator.noise is not None
    assert generator.noise.strength.bias is not None
    generator.noise.strength.bias.data = torch.tensor([strength, 0.0, 2 * strength])
    return generator


@pytest.mark.parametrize("resampling", ["strided", "filtered"])
def test_noise_is_nothing_at_first_and_goes_by_its_strength_then(resampling: str):
    latents = torch.randn(300, 4)
    silent, loud = noisy_generator(resampling, 0.0), noisy_generator(resampling, 0.5)
    silent.train()
    loud.train()
    with torch.no_grad():
        added = loud(latents) - silent(latents)
    assert (silent(latents) == silent(latents)).all()
    assert added[:, 1].abs().max() == 0
    torch.testing.assert_close(added[:, 0].std(0), torch.full((24, 16), 0.5), atol=0.12, rtol=0)
    torch.testing.assert_close(added[:, 2], 2 * added[:, 0], atol=1e-5, rtol=0)  # one number for all colours
    neighbours = added[:, 0, :, 1:] * added[:, 0, :, :-1]
    assert abs(float(neighbours.mean())) < 0.01  # each pixel has its own


def test_the_same_latent_is_the_same_picture_and_the_file_keeps_its_noise(tmp_path: Path):
    generator, file = noisy_generator(), tmp_path / "g.safetensors"
    recipe = hasama.RECIPES["r3gan"].but(size="16x24", width=2, latent_size=4, pixel_noise=True)
    whole = TrainedGenerator(generator, recipe, 4, 3)
    save_generator(whole, file)
    loaded, latents = load_generator(file), torch.randn(3, 4)
    pictures = loaded.generate(latents)
    assert (pictures == whole.generate(latents)).all()
    assert (pictures[1:] == loaded.generate(latents[1:])).all()
    assert loaded.recipe is not None
    assert loaded.recipe.pixel_noise


def test_the_strength_of_noise_has_no_pattern_of_two_pixels():
    generator = noisy_generator()
    noise = generator.noise
    assert noise is not None
    torch.nn.init.normal_(noise.strength.weight)
    noise.noise.fill_(1.0)
    maps = torch.ones(1, noise.strength.in_channels, 12, 8)  # flat maps: a flat strength, whatever the weights
    flat = noise.eval()(maps)
    assert flat.shape == (1, 3, 24, 16)
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))
