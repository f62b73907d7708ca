"""The enlarger, and generators whose pictures it enlarges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from command import hasama, refused
from easel import hasama_here
from hasama.cli.generators import project
from hasama.errors import HasamaError
from hasama.generators.enlarging import enlarge_in_tiles
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.generators.sampling import draw_latents, generate_all
from hasama.networks.enlarger import (
    REACH,
    WEIGHTS,
    Enlarged,
    Enlarger,
    enlarge,
    load_enlarger,
    shipped,
    smaller,
)
from hasama.networks.pair import is_styled
from hasama.networks.registry import ARCHITECTURES, build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.runs.reports.samples import sample_grid
from hasama.training.setup import loop_for, new_game

PRESETS = {a: next(r for r in RECIPES.values() if r.architecture == a) for a in ARCHITECTURES}


def busy(width: int = 4) -> Enlarger:
    """An enlarger that does not begin with plain interpolation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        enlarger = Enlarger(width)
        for parameter in enlarger.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return enlarger


def picture(channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth, with a sharp disc on it."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    waves = [torch.sin(3 * x + k) * torch.cos(2 * y - k) for k in range(channels)]
    image = torch.stack(waves)[None] * 0.7
    image[:, :, (x**2 + y**2) < 0.3] *= -1
    return image


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 8), (16, 5)])
def test_every_side_is_doubled(channels: int, height: int, width: int):
    made = busy()(torch.rand(2, channels, height, width) * 2 - 1)
    assert made.shape == (2, channels, 2 * height, 2 * width)
    assert made.abs().max() <= 1


def test_a_new_one_is_a_cubic_interpolation():
    small = picture(3, 12, 12) * 0.5
    cubic = torch.nn.functional.interpolate(small, scale_factor=2, mode="bicubic")
    torch.testing.assert_close(Enlarger()(small), cubic)


def test_grey_stays_grey_and_opaque_stays_what_it_is():
    enlarger, grey = busy(), picture(1, 9, 9)
    three = enlarger(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(enlarger(grey), three.mean(1, keepdim=True))
    opaque = torch.cat([picture(3, 9, 9), torch.ones(1, 1, 9, 9)], 1)
    torch.testing.assert_close(enlarger(opaque)[:, :3], enlarger(opaque[:, :3]))


def test_no_pixel_depends_on_what_is_farther_away_than_its_reach():
    enlarger, farthest = busy(), 0
    for y in (100, 101):
        small = (torch.rand(1, 3, 101, 101) * 0.1).requires_grad_()
        enlarger(small)[0, :, y, y].sum().backward()
        assert small.grad is not None
        rows = small.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        farthest = max(farthest, int((rows - y // 2).abs().max()))
    assert farthest <= REACH < farthest + 3


@pytest.mark.parametrize("times", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiles_are_the_whole(times: int, channels: int):
    enlarger, small = busy(), picture(channels, 45, 71)
    tiles = list(enlarge_in_tiles(enlarger, small, times, side=24))
    assert [tile.done for tile in tiles] == list(range(1, tiles[-1].total + 1))
    made = tiles[-1].picture
    assert made is not None
    with torch.no_grad():
        torch.testing.assert_close(made, enlarge(enlarger, small, times), atol=1e-5, rtol=0)
    for kind, full in ((np.uint8, 255), (np.uint16, 65535)):
        into = np.empty((45 * times, 71 * times, channels), kind)
        again = list(enlarge_in_tiles(enlarger, small, times, side=24, into=into))
        assert [tile.picture for tile in again] == [None] * len(tiles)
        expected = (made.detach()[0].permute(1, 2, 0).numpy() + 1) * full / 2
        assert np.abs(into - expected).max() <= 0.51


def test_what_has_no_room_is_refused_with_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    monkeypatch.setattr(project, "LARGEST", 40 * 30 * 4)
    refused(hasama_here("enlarge", tmp_path / "a.png"), "gigantic (160x120 pixels)", "--times 2 is possible")
    assert not list(tmp_path.glob("*x4*"))
    assert hasama_here("enlarge", tmp_path / "a.png", "--times", "2").returncode == 0
    monkeypatch.setattr(project, "LONGEST_SIDE", {"WEBP": 79})
    words = ("--times", "2", "--out", tmp_path / "a.webp")
    refused(hasama_here("enlarge", tmp_path / "a.png", *words), ".webp holds 79 pixels a side, not 80x60: use .png")


def test_grey_stays_grey_with_transparency(tmp_path: Path):
    soft = picture(1, 30, 40)[0, 0]
    values = ((soft + 1) * 127.5).round().to(torch.uint8).numpy()
    alpha = np.full_like(values, 255)
    alpha[:8] = 90
    Image.fromarray(np.dstack([values, alpha])).save(tmp_path / "la.png")
    assert hasama_here("enlarge", tmp_path / "la.png", "--times", "2").returncode == 0
    made = np.asarray(Image.open(tmp_path / "la-x2.png"))
    assert made.shape == (60, 80, 4)
    assert (made[..., :1] == made[..., :3]).all()
    assert np.ptp(made[..., 0]) > 100


@pytest.mark.parametrize("alpha", [26, 64, 128, 191, 230])
@pytest.mark.parametrize("times", [2, 8])
def test_soft_alpha_stays_as_soft(times: int, alpha: int):
    small = torch.full((1, 4, 24, 24), 0.3)
    small[:, 3] = alpha / 127.5 - 1
    with torch.no_grad():
        levels = (enlarge(shipped(), small, times)[:, 3] + 1) * 127.5
    torch.testing.assert_close(levels, torch.full_like(levels, alpha), atol=0.01, rtol=0)


@pytest.mark.parametrize("times", [2, 4, 8])
def test_what_is_opaque_or_clear_all_around_stays_so_whatever_its_colours(times: int):
    """What ships made single pixels of opaque photos up to 11 levels clear."""
    small = picture(4, 40, 40)
    small[:, 3] = 1
    with torch.no_grad():
        assert bool((enlarge(shipped(), small, times)[:, 3] > 1 - 1e-5).all())
        small[:, 3, :, 20:] = -1
        alpha = enlarge(shipped(), small, times)[0, 3]
    assert bool((alpha[:, : 17 * times] > 1 - 1e-5).all())
    assert bool((alpha[:, 23 * times :] < -1 + 1e-5).all())


@pytest.mark.parametrize(
    ("size", "classes", "columns", "rows"),
    [("32", 0, 8, 8), ("256", 0, 8, 8), ("512", 0, 4, 4), ("512x1024", 0, 2, 2), ("2048", 0, 1, 1), ("4096", 0, 1, 1),
     ("32", 10, 10, 8), ("32", 20, 16, 8), ("512", 3, 3, 5), ("1024", 10, 10, 1)],
)  # fmt: skip
def test_of_large_pictures_a_grid_of_samples_has_fewer(
    monkeypatch: pytest.MonkeyPatch, size: str, classes: int, columns: int, rows: int
):
    """At 512 pixels 64 of them took longer than the training between two grids."""
    made: list[torch.Tensor] = []

    def small(generator: TrainedGenerator, latents: torch.Tensor, labels: torch.Tensor | None) -> np.ndarray:
        made.append(latents)
        assert labels is None or labels.tolist() == [place % columns for place in range(len(latents))]
        return np.zeros((len(latents), 2, 2, 3), np.uint8)

    monkeypatch.setattr("hasama.runs.reports.samples.generate_all", small)
    names = tuple(str(number) for number in range(classes))
    generator = TrainedGenerator(torch.nn.Identity(), RECIPES["dcgan"].but(size=size), 4, 3, names)
    image = sample_grid(generator, 0)
    assert len(made[0]) == columns * rows
    assert (image.width - 2) * rows == (image.height - 2) * columns


@pytest.mark.parametrize("times", [2, 4, 8])
def test_one_colour_stays_that_colour(times: int):
    """What ships added up to 13 levels at 8 times to the grounds of drawings."""
    torch.manual_seed(0)
    left, right = (torch.rand(6, 3, 1, 1).mul(2).sub(1).expand(-1, -1, 16, 12) for _ in range(2))
    with torch.no_grad():
        large = enlarge(shipped(), torch.cat([left, right], 3), times)
    for side, colour in ((large[..., : 8 * times], left), (large[..., -8 * times :], right)):
        torch.testing.assert_close(side, colour[..., :1, :1].expand_as(side), atol=1e-5, rtol=0)
    assert not torch.equal(large, torch.cat([left, right], 3).repeat_interleave(times, 2).repeat_interleave(times, 3))


def test_a_faint_shadow_is_kept_and_what_is_clear_around_it_stays_clear():
    small = torch.full((1, 4, 48, 48), -1.0)
    distance = (torch.arange(48) - 23.5).square()
    small[0, 3] += 0.4 * torch.exp(-(distance + distance[:, None]) / 100)  # 51 levels in the middle
    small[small < -1 + 1 / 255] = -1
    with torch.no_grad():
        large = enlarge(shipped(), small, 2)
    assert large[0, 3, 40:56, 40:56].mean() == pytest.approx(float(small[0, 3, 20:28, 20:28].mean()), abs=0.01)
    assert large[0, 3, :2].max() < -1 + 1 / 255


def test_many_pictures_are_those_made_one_by_one():
    enlarger, small = busy(), torch.rand(5, 3, 160, 128) * 2 - 1  # more than are doubled at once
    with torch.no_grad():
        one_by_one = torch.cat([enlarger(one) for one in small.split(1)])
        torch.testing.assert_close(enlarge(enlarger, small, 2), one_by_one, atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([2, 4, 8]),
    st.sampled_from([1, 3, 4]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(-1, 1),
)
def test_a_plain_picture_made_smaller_stays_plain(factor: int, channels: int, height: int, width: int, shade: float):
    image = torch.full((1, channels, factor * height, factor * width), shade)
    made = smaller(image, factor)
    assert made.shape == (1, channels, height, width)
    if channels < 4 or shade > -0.99:
        torch.testing.assert_close(made, torch.full_like(made, shade), atol=2e-3, rtol=0)


def test_colours_of_what_is_transparent_do_not_bleed_when_made_smaller():
    image = torch.ones(1, 4, 32, 32)
    image[:, 0] = 0.5
    image[:, :, :, 13:] = -1  # black and transparent
    made = smaller(image, 4)
    seen = made[:, 3] > -0.9
    torch.testing.assert_close(made[:, 0][seen], torch.full_like(made[:, 0][seen], 0.5), atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_shape_of_one_colour_made_smaller_has_no_rim(factor: int):
    image = torch.full((1, 4, 64, 64), -1.0)
    image[:, :3] = torch.tensor([0.6, -0.2, -0.9])[:, None, None]
    image[:, 3, 13:51, 9:57] = 1
    made = smaller(image, factor)
    seen = (made[:, 3] > -0.8).expand(3, -1, -1)
    torch.testing.assert_close(made[0, :3][seen], smaller(image[:, :3], factor)[0][seen], atol=1e-3, rtol=0)


@pytest.mark.parametrize("times", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_enlarged_and_made_smaller_again_it_is_the_small_picture(times: int, channels: int):
    small = smaller(picture(channels, 192, 192), 192 // 48)
    with torch.no_grad():
        again = smaller(enlarge(shipped(), small, times), times)
    assert (again - small)[:, :3].abs().mean() < 0.03


def test_what_ships_makes_edges_sharper():
    """Rings with sharp edges, which interpolation blurs."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    large = torch.tanh(40 * torch.sin(25 * (x**2 + y**2).sqrt())).expand(1, 3, -1, -1) * 0.8
    small = smaller(large, 2)
    cubic = torch.nn.functional.interpolate(small, scale_factor=2, mode="bicubic").clamp(-1, 1)
    with torch.no_grad():
        made = shipped()(small)
    steepness = [image.diff(dim=3).square().mean() for image in (cubic, made, large)]
    assert 1.2 * steepness[0] < steepness[1] < 1.1 * steepness[2]


def test_what_ships_is_small():
    assert WEIGHTS.stat().st_size < 3_000_000


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "other"])
def test_a_damaged_file_is_refused_in_a_sentence(damage: str, tmp_path: Path):
    path = tmp_path / "enlarger.safetensors"
    if damage == "cut":
        path.write_bytes(WEIGHTS.read_bytes()[:5000])
    elif damage == "text":
        path.write_text("not this")
    elif damage == "other":
        from safetensors.torch import save_file

        save_file({"enlarger.first.weight": torch.zeros(3)}, path)
    with pytest.raises(HasamaError, match="is not a readable enlarger"):
        load_enlarger(path)


# --- generators whose pictures are enlarged -------------------------------------------------------

FORMS: list[tuple[str, int, str, int]] = [
    *((a, 3, "32", 0) for a in ARCHITECTURES),
    ("r3gan", 1, "32x48", 3),
    ("stylegan", 4, "48x32", 3),
    ("dcgan", 4, "32", 0),
]


def small_game(architecture: str, channels: int, size: str, classes: int, **changes: Any):
    recipe = PRESETS[architecture].but(
        **{"size": size, "enlarge": 2, "width": 4, "latent_size": 8, "batch": 4, "precision": "fp32"} | changes
    )
    return recipe, new_game(build(recipe, channels, classes), recipe)


@pytest.mark.parametrize(("architecture", "channels", "size", "classes"), FORMS)
def test_the_game_is_small_and_the_pictures_are_large(
    architecture: str, channels: int, size: str, classes: int, tmp_path: Path
):
    recipe, game = small_game(architecture, channels, size, classes)
    generator = game.pair.generator
    assert isinstance(generator, Enlarged)
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    height, width = recipe.resolution
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (4,), generator=draw) if classes else None
    shown = [Batch(torch.rand(4, channels, height, width, generator=draw) * 2 - 1, labels) for _ in range(3)]
    assert len(list(loop_for(architecture)(game, shown))) == 3
    after = generator.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("generator.") for name in moved)
    assert not any(name.startswith("enlarger.") for name in moved)  # nothing frozen moves

    made = TrainedGenerator(game.sampling_generator, recipe, 8, channels, tuple("abc"[:classes]))
    latents, given = draw_latents(0, 4, 8), torch.tensor([0, 1, 2, 0]) if classes else None
    torch.manual_seed(0)  # stylegan's noise
    pixels = generate_all(made, latents, given)
    assert pixels.shape == (4, height, width, channels)
    save_generator(made, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    torch.manual_seed(0)
    difference = np.abs(generate_all(again, latents, given).astype(int) - pixels)
    assert difference.max() <= 1
    assert difference.mean() < 0.01
    assert is_styled(again.network) == (architecture == "stylegan")


def test_the_small_game_is_the_game_of_small_pictures():
    """Bit for bit what is played on pictures that were made smaller before."""
    _, game = small_game("r3gan", 3, "32", 0)
    alone = PRESETS["r3gan"].but(size="16", width=4, latent_size=8, batch=4, precision="fp32")
    other = new_game(build(alone, 3), alone)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    list(loop_for("r3gan")(game, [Batch(images)] * 2))
    list(loop_for("r3gan")(other, [Batch(smaller(images, 2))] * 2))
    enlarged = game.pair.generator
    assert isinstance(enlarged, Enlarged)
    for name, tensor in other.pair.generator.state_dict().items():
        assert torch.equal(enlarged.generator.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"enlarge": 3}, "--enlarge takes 1, 2, 4 or 8; got 3"),
        ({"enlarge": 4, "size": "130"}, "--enlarge 4 needs sides that are multiples of 4: try --size 128"),
        ({"enlarge": 8, "size": "100x64"}, "try --size 96x64"),
        ({"enlarge": 8, "size": "36"}, "try --size 64."),  # of 32 the small pictures would be of 4 pixels
        ({"enlarge": 2, "size": "6", "architecture": "dense"}, "at least 8 pixels a side, not 6x6: try --size 8, or"),
        ({"enlarge": 2, "size": "30x4", "architecture": "dense"}, "not 30x4: try --size 30x8, or leave out"),
    ],
)
def test_what_cannot_be_enlarged_is_refused(changes: dict[str, Any], told: str):
    with pytest.raises(HasamaError, match=told):
        RECIPES["r3gan"].but(**changes)


# --- the command ----------------------------------------------------------------------------------


def test_no_picture_is_replaced_by_its_enlarged_self(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (6, 5), (9, 99, 200)).save(folder / name)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    file = folder / "a.png"
    for words in ([folder, "--out", folder], [file, "--out", file], [file, "--out", folder]):
        refused(hasama("enlarge", *words, "--times", "2"), "a.png is one of the pictures to enlarge", "another --out")
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_what_is_lost_by_enlarging_is_told(tmp_path: Path):
    frames = [Image.new("RGB", (6, 5), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    done = hasama("enlarge", tmp_path / "film.gif", "--times", "2")
    assert done.returncode == 0, done.stderr
    assert "holds 2 pictures (an animation): only the first is taken" in done.stdout
    Image.new("RGBA", (6, 5), (9, 99, 200, 50)).save(tmp_path / "clear.png")
    done = hasama("enlarge", tmp_path / "clear.png", "--times", "2", "--out", tmp_path / "clear.jpg")
    assert done.returncode == 0, done.stderr
    assert "JPEG holds no transparency" in done.stdout
    assert "in place of what was there" not in done.stdout
    Image.fromarray(np.full((5, 6), 300, np.uint16)).save(tmp_path / "deep.png")
    done = hasama("enlarge", tmp_path / "deep.png", "--times", "2", "--out", tmp_path / "clear.jpg")
    assert done.returncode == 0, done.stderr
    assert "clear.jpg  12x10, in place of what was there" in done.stdout
    assert "JPEG holds 8 bits a colour" in done.stdout
    for ending, told in (("bmp", "BMP holds no transparency"), ("gif", "GIF holds no half transparency")):
        done = hasama("enlarge", tmp_path / "clear.png", "--times", "2", "--out", tmp_path / f"clear.{ending}")
        assert done.returncode == 0, done.stderr
        assert told in done.stdout
