"""Coloured maps: how many colours they have, in which order, and that smooth edges are no colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from hasama.errors import HasamaError
from hasama.style.canvas.regions import RegionMap, colour_name, read_regions
from hasama.style.masks import read_grey_mask, regions_of_styles

SIZE = (160, 120)


def drawn(factor: int = 1) -> Image.Image:
    """An orange sky, a teal disc in it, and a white triangle below."""
    picture = Image.new("RGB", (SIZE[0] * factor, SIZE[1] * factor), (240, 150, 20))
    pen = ImageDraw.Draw(picture)
    pen.ellipse([factor * side for side in (20, 10, 80, 70)], fill=(0, 128, 128))
    pen.polygon([factor * side for side in (90, 110, 150, 60, 155, 115)], fill="white")
    return picture


def smooth() -> Image.Image:
    return drawn(4).resize(SIZE, Image.Resampling.LANCZOS)


def regions_of(picture: Image.Image, path: Path, **options: Any) -> RegionMap:
    picture.save(path, **options)
    found = read_regions(path)
    assert found is not None
    return found


VARIANTS = {
    "sharp": drawn,
    "smooth": smooth,
    "blurred": lambda: smooth().filter(ImageFilter.GaussianBlur(1.5)),
    "enlarged": lambda: smooth().resize((400, 300), Image.Resampling.BICUBIC),
    "enlarged in blocks": lambda: smooth().resize((320, 240), Image.Resampling.NEAREST),
    "with a palette": lambda: smooth().quantize(16),
    "gigantic": lambda: drawn(16),
    "opaque": lambda: smooth().convert("RGBA"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_edges_are_no_colours(name: str, tmp_path: Path):
    found = regions_of(VARIANTS[name](), tmp_path / "a.png")
    assert [colour_name(colour).split(" #")[0] for colour in found.colours] == ["orange", "teal", "white"]
    assert (found.labels >= 0).all()
    shares = [found.share(number) for number in range(3)]
    assert shares == pytest.approx([0.76, 0.148, 0.092], abs=0.02)
    assert sum(found.mask(number) for number in range(3)).eq(1).all()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_nor_are_jpeg_s_artefacts(quality: int, tmp_path: Path):
    assert len(regions_of(smooth(), tmp_path / "a.jpg", quality=quality).colours) == 3


def test_an_edge_between_two_colours_does_not_become_a_third_that_lies_between_them(tmp_path: Path):
    picture = Image.new("RGB", (90, 60), "red")
    picture.paste("blue", (45, 0, 90, 60))
    picture.paste("purple", (0, 50, 90, 60))
    found = regions_of(picture.resize((180, 120), Image.Resampling.BICUBIC), tmp_path / "a.png")
    assert len(found.colours) == 3
    assert (found.labels[:90] < 2).all()


def test_greys_are_masks(tmp_path: Path):
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (48, 64))
    tinted = np.stack([ramp, ramp, ramp], -1).astype(int) + rng.integers(-6, 7, (48, 64, 3))
    for pixels in (ramp, tinted.clip(0, 255).astype(np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert read_regions(tmp_path / "a.png") is None
        assert read_grey_mask(tmp_path / "a.png").shape == (48, 64)


def test_photographs_are_neither(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(HasamaError, match=r"a\.png is coloured, but is no map of a few even colours"):
        read_regions(tmp_path / "a.png")


def test_transparent_parts_have_no_colour(tmp_path: Path):
    picture = drawn().convert("RGBA")
    picture.paste((9, 99, 199, 0), (0, 0, 40, 120))
    found = regions_of(picture, tmp_path / "a.png")
    assert len(found.colours) == 3
    assert (found.labels[:, :40] == -1).all()
    assert (found.labels[:, 40:] >= 0).all()


def test_black_may_be_left_out(tmp_path: Path):
    picture = Image.new("RGB", (60, 40))
    picture.paste("lime", (5, 5, 20, 30))
    picture.paste("red", (30, 5, 50, 30))
    found = regions_of(picture, tmp_path / "a.png")
    assert regions_of_styles(found, tmp_path / "a.png", 3) == [0, 1, 2]
    assert regions_of_styles(found, tmp_path / "a.png", 2) == [1, 2]
    for count in (1, 4):
        with pytest.raises(HasamaError, match=r"a coloured map of 3 regions \(black #000000, green .*, red"):
            regions_of_styles(found, tmp_path / "a.png", count)


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 9), (2, 2)])
def test_maps_of_few_pixels(size: tuple[int, int], tmp_path: Path):
    assert regions_of(Image.new("RGB", size, "red"), tmp_path / "a.png").colours == [(255, 0, 0)]
