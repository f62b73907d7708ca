"""Pictures in and out of style transfer: depth, colour profile, transparency, and every broken file refused."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms, TiffImagePlugin, TiffTags

from hasama.errors import HasamaError
from hasama.pictures.opening import eight_bits
from hasama.style.canvas.formats import lost_in
from hasama.style.canvas.pictures import (
    Picture,
    _read_deep,
    eight_bit_pixels,
    fitted_mask,
    from_pixels,
    in_space_of,
    read_mask,
    read_picture,
    to_canvas,
    to_output,
    write_picture,
)
from hasama.style.jobs.batch import pictures_in
from odd_files import claiming, encoded, not_pictures, scene
from profiles import CMYK, LINEAR_GREY, SRGB, SWAPPED

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning"
)  # Pillow's, of what is odd in these files

RED = (200, 30, 40)
BLUE = (40, 30, 200)


def values(height: int, width: int, bands: int, kind: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Noise in [H, W, bands] that uses every bit."""
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (height, width, bands)).astype(kind)


def write_vips(path: Path, pixels: np.ndarray, profile: bytes | None = None, orientation: int = 1) -> Path:
    """A file that is not made by our own code, nor by Pillow."""
    depth = "16" if pixels.dtype == np.uint16 else ""
    name = ("grey16" if depth else "b-w") if pixels.shape[-1] < 3 else ("rgb16" if depth else "srgb")
    image = pyvips.Image.new_from_array(pixels, interpretation=name).copy()
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)  # type: ignore[arg-type]
    if orientation != 1:
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)  # type: ignore[arg-type]
    image.write_to_file(str(path))
    return path


def colours_and_alpha(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """What a picture of 1 to 4 bands must be read as."""
    bands = pixels.shape[-1]
    colours = pixels[..., :3] if bands >= 3 else np.repeat(pixels[..., :1], 3, -1)
    return colours, pixels[..., -1] if bands in (2, 4) else None


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Equal in type and value; or both nothing."""
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and np.array_equal(one, other)


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_files_of_another_program_are_read_to_the_bit(tmp_path: Path, bands: int, ending: str, kind: type):
    pixels = values(5, 7, bands, kind)
    read = read_picture(write_vips(tmp_path / f"it.{ending}", pixels))
    colours, alpha = colours_and_alpha(pixels)
    assert same(read.pixels, colours)
    assert same(read.alpha, alpha)
    assert read.is_deep == (kind is np.uint16)
    assert read.profile is None
    assert read.size == (5, 7)


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF", "PNG"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(6, 9), (1, 1), (7, 1), (1, 7)])
@pytest.mark.parametrize("transparent", [False, True])
def test_what_is_written_is_read_again(
    tmp_path: Path, ending: str, kind: type, height: int, width: int, transparent: bool
):
    pixels = values(height, width, 4, kind)
    picture = Picture(pixels[..., :3], pixels[..., 3] if transparent else None, SWAPPED)
    write_picture(picture, tmp_path / f"it.{ending}")
    again = read_picture(tmp_path / f"it.{ending}")
    assert same(again.pixels, picture.pixels)
    assert same(again.alpha, picture.alpha)
    assert again.profile == SWAPPED
    assert [path.name for path in tmp_path.iterdir()] == [f"it.{ending}"]


def test_another_program_reads_the_deep_files_that_are_written(tmp_path: Path):
    pixels = values(4, 5, 4, np.uint16)
    for ending in ("png", "tif"):
        write_picture(Picture(pixels[..., :3], pixels[..., 3], SWAPPED), tmp_path / f"it.{ending}")
        seen = pyvips.Image.new_from_file(str(tmp_path / f"it.{ending}"))
        assert same(seen.numpy(), pixels)
        assert seen.get("icc-profile-data") == SWAPPED


@pytest.mark.parametrize("ending", ["webp", "bmp", "tga"])
def test_sixteen_bits_are_rounded_where_the_format_holds_eight(tmp_path: Path, ending: str):
    pixels = values(4, 5, 3, np.uint16)
    path = tmp_path / f"it.{ending}"
    write_picture(Picture(pixels), path)
    if ending == "webp":  # it loses more than the bits
        np.testing.assert_allclose(read_picture(path).pixels.mean(), pixels.mean() / 257, atol=8)
    else:
        assert same(read_picture(path).pixels, np.round(pixels / 257.0).astype(np.uint8))


@pytest.mark.parametrize("ending", ["apng", "png", "tif", "tiff", "jpg", "webp"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_ending_of_a_picture_takes_either_depth(tmp_path: Path, ending: str, kind: type):
    write_picture(Picture(values(8, 8, 3, kind), None, SWAPPED), tmp_path / f"it.{ending}")
    assert read_picture(tmp_path / f"it.{ending}").profile == SWAPPED


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight():
    every = np.arange(65536, dtype=np.uint16)
    rounded = eight_bit_pixels(every)
    assert rounded.dtype == np.uint8
    assert (np.abs(rounded * 257.0 - every) <= 128.5).all()
    assert eight_bit_pixels(rounded) is rounded


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_file_that_was_painted_over_is_read_anew(tmp_path: Path, ending: str, kind: type):
    """Libvips remembers what it opened by name, and a notebook opens the same name again and again."""
    for seed in (1, 2):
        picture = Picture(values(4, 5 + seed, 3, kind, seed))
        write_picture(picture, tmp_path / f"it.{ending}")
        assert same(read_picture(tmp_path / f"it.{ending}").pixels, picture.pixels)


def test_palettes_bilevel_and_cmyk_become_rgb(tmp_path: Path):
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, *RED])
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "clear.png", transparency=1)
    Image.new("1", (3, 2), 1).save(tmp_path / "bilevel.png")
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "inks.jpg", quality=100)
    for name, colour, alpha in (
        ("palette.png", RED, None),
        ("clear.png", RED, 0),
        ("bilevel.png", (255, 255, 255), None),
        ("inks.jpg", (255, 0, 0), None),
    ):
        read = read_picture(tmp_path / name)
        assert read.pixels.dtype == np.uint8
        np.testing.assert_allclose(read.pixels.reshape(-1, 3), np.tile(colour, (read.pixels[..., 0].size, 1)), atol=3)
        assert (read.alpha is None) == (alpha is None)
        assert read.alpha is None or (read.alpha == alpha).all()


def test_jpeg_paints_what_is_transparent_white(tmp_path: Path):
    clear = np.zeros((16, 16), np.uint8)
    write_picture(Picture(np.zeros((16, 16, 3), np.uint8), clear), tmp_path / "it.jpg")
    read = read_picture(tmp_path / "it.jpg")
    assert read.alpha is None
    assert read.pixels.min() > 250


def test_raw_pixels_of_one_three_and_four_channels_are_pictures():
    for bands in (1, 3, 4):
        pixels = values(3, 4, bands)
        colours, alpha = colours_and_alpha(pixels)
        assert same(from_pixels(pixels).pixels, colours)
        assert same(from_pixels(pixels).alpha, alpha)


# --- orientation ----------------------------------------------------------------------------------

UPRIGHT = {  # EXIF 2.3, tag 274: where row 0 and column 0 of the file lie in the picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a[::-1].swapaxes(0, 1),  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a[:, ::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_set_upright_with_their_alpha(tmp_path: Path, orientation: int, ending: str, kind: type):
    pixels = values(4, 6, 4, kind)
    path = write_vips(tmp_path / f"it.{ending}", pixels, orientation=orientation)
    wanted = UPRIGHT[orientation](pixels)
    read = read_picture(path)
    assert same(read.pixels, np.ascontiguousarray(wanted[..., :3]))
    assert same(read.alpha, np.ascontiguousarray(wanted[..., 3]))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiffs_by_pillow_are_set_upright(tmp_path: Path, mode: str, compression: str | None):
    """Pillow maps plain files of one strip into memory, another way through its code than for packed ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = scene(6, 4).convert(mode)
    picture.save(tmp_path / "it.tif", exif=exif, compression=compression)
    wanted = UPRIGHT[6](np.asarray(picture.convert("RGB")))
    assert same(read_picture(tmp_path / "it.tif").pixels, np.ascontiguousarray(wanted))


def test_a_jpeg_of_a_camera_held_sideways_is_set_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (32, 16), RED)
    picture.paste(BLUE, (0, 0, 16, 16))  # the left half, which is the top when it stands upright
    picture.save(tmp_path / "it.jpg", exif=exif, quality=100)
    read = read_picture(tmp_path / "it.jpg")
    assert read.size == (32, 16)
    np.testing.assert_allclose(read.pixels[2, 8], BLUE, atol=8)
    np.testing.assert_allclose(read.pixels[29, 8], RED, atol=8)


# --- colour profiles ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_an_rgb_profile_goes_from_the_content_to_the_painting(tmp_path: Path, ending: str, kind: type):
    pixels = values(5, 6, 3, kind)
    content = read_picture(write_vips(tmp_path / f"it.{ending}", pixels, SWAPPED))
    assert content.profile == SWAPPED
    assert same(content.pixels, pixels)  # the numbers stay what they are
    painted = to_output(to_canvas(content, 5, 6), content, kind is np.uint16)
    write_picture(painted, tmp_path / f"out.{ending}")
    assert read_picture(tmp_path / f"out.{ending}").profile == SWAPPED


def test_a_palettes_profile_is_kept_like_any_other(tmp_path: Path):
    scene(8, 8).quantize(16).save(tmp_path / "it.png", icc_profile=SWAPPED)
    assert Image.open(tmp_path / "it.png").mode == "P"
    assert read_picture(tmp_path / "it.png").profile == SWAPPED


def test_a_style_takes_the_contents_colour_space():
    alpha = np.full((2, 3), 9, np.uint8)
    plain = Picture(np.full((2, 3, 3), RED, np.uint8), alpha)
    there = in_space_of(plain, SWAPPED)
    np.testing.assert_allclose(there.pixels, np.full((2, 3, 3), BLUE), atol=2)  # its first number drives blue
    assert there.profile == SWAPPED
    assert same(there.alpha, alpha)
    back = in_space_of(there, None)
    np.testing.assert_allclose(back.pixels, plain.pixels, atol=2)
    assert back.profile is None


def test_a_deep_style_takes_the_contents_colour_space_too():
    deep = Picture(np.full((2, 3, 3), RED, np.uint16) * np.uint16(257), np.full((2, 3), 65535, np.uint16))
    there = in_space_of(deep, SWAPPED)
    full = 257 if there.is_deep else 1
    np.testing.assert_allclose(there.pixels / full, np.full((2, 3, 3), BLUE), atol=2)
    assert there.alpha is not None
    assert there.alpha.dtype == there.pixels.dtype
    assert (there.alpha == there.alpha.max()).all()


def test_of_grey_with_alpha_in_eight_bits_beyond_pillow_both_are_read(tmp_path: Path):
    pixels = values(4, 5, 2)
    read = _read_deep(write_vips(tmp_path / "it.tif", pixels))
    assert read.alpha is not None
    assert same(read.alpha, pixels[..., 1])
    assert same(read.pixels, np.repeat(pixels[..., :1], 3, -1))
    coloured = _read_deep(write_vips(tmp_path / "it.tif", values(4, 5, 3), SWAPPED))
    assert coloured.profile == SWAPPED


def test_grey_that_alpha_was_multiplied_into_is_read():
    grey = Image.fromarray(np.dstack([np.full((2, 3), 200, np.uint8), np.full((2, 3), 255, np.uint8)]), "LA")
    assert eight_bits(grey.convert("La")).getpixel((1, 1)) == (200, 200, 200, 255)


def test_within_one_space_nothing_is_touched():
    for profile in (None, SWAPPED):
        picture = Picture(values(2, 3, 3, np.uint16), None, profile)
        assert in_space_of(picture, profile) is picture


@pytest.mark.parametrize("damaged", [b"no profile", SRGB[:300], bytes(200)])
def test_a_damaged_profile_changes_no_colours(tmp_path: Path, damaged: bytes):
    picture = Picture(np.full((2, 3, 3), RED, np.uint8))
    assert same(in_space_of(picture, damaged).pixels, picture.pixels)
    assert same(in_space_of(picture._replace(profile=damaged), SWAPPED).pixels, picture.pixels)
    Image.new("RGB", (3, 2), RED).save(tmp_path / "it.png", icc_profile=damaged)
    assert same(read_picture(tmp_path / "it.png").pixels, picture.pixels)


def test_cmyk_with_a_profile_becomes_srgb(tmp_path: Path):
    """A quarter of the ink is three quarters of the lightness, whichever ink it is."""
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "it.jpg", icc_profile=CMYK, quality=100)
    read = read_picture(tmp_path / "it.jpg")
    assert read.profile is None
    lab = ImageCms.profileToProfile(
        Image.fromarray(read.pixels), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    np.testing.assert_allclose(np.asarray(lab)[8, 8, 0] / 255, 0.75, atol=0.02)
    assert np.ptp(read.pixels[8, 8].astype(int)) <= 3  # grey, not cyan


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 2])
def test_grey_with_a_profile_becomes_srgb_and_keeps_its_alpha(tmp_path: Path, bands: int, kind: type):
    full = np.iinfo(kind).max
    half = np.full((4, 4, bands), round(full * 0.5), kind)
    read = read_picture(write_vips(tmp_path / "it.png", half, LINEAR_GREY))
    assert read.profile is None
    wanted = 1.055 * 0.5 ** (1 / 2.4) - 0.055  # sRGB's number for half of the light (IEC 61966-2-1)
    np.testing.assert_allclose(read.pixels / full, wanted, atol=0.01)
    assert read.is_deep == (kind is np.uint16)
    assert same(read.alpha, half[..., 1] if bands == 2 else None)


# --- canvas and back ------------------------------------------------------------------------------

sizes = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


@given(st.data(), sizes, st.sampled_from([np.uint8, np.uint16]))
@settings(max_examples=25)
def test_to_a_canvas_and_back_at_the_same_size_is_the_same_picture(st_data, size: tuple[int, int], kind: type):
    pixels = st_data.draw(arrays.arrays(kind, (*size, 3)))
    picture = Picture(pixels, None, SWAPPED)
    canvas = to_canvas(picture, *size)
    full = np.iinfo(kind).max
    np.testing.assert_allclose(
        canvas[0].permute(1, 2, 0).double().numpy(),
        pixels / (full / 2) - 1,
        atol=0.25 / full if kind is np.uint8 else 1e-6,
    )
    again = to_output(canvas, picture, kind is np.uint16)
    assert same(again.pixels, pixels)
    assert again.profile == SWAPPED


@given(st.data(), sizes, st.booleans())
@settings(max_examples=25)
def test_a_canvas_and_its_picture_differ_by_half_a_level_at_most(st_data, size: tuple[int, int], deep: bool):
    drawn = st_data.draw(arrays.arrays(np.float32, (1, 3, *size), elements=st.floats(-1, 1, width=32)))
    canvas = torch.from_numpy(drawn)
    picture = to_output(canvas, Picture(np.zeros((1, 1, 3), np.uint8)), deep)
    assert picture.is_deep == deep
    level = 2 / (65535 if deep else 255)
    torch.testing.assert_close(to_canvas(picture, *size), canvas, rtol=0, atol=0.5 * level + 2e-7)


def test_what_lies_beyond_black_and_white_is_cut_off():
    canvas = torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    for deep, full in ((False, 255), (True, 65535)):
        assert to_output(canvas, Picture(np.zeros((1, 2, 3), np.uint8)), deep).pixels[0, :, 0].tolist() == [0, full]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 1), (1, 9), (8, 6)])
@pytest.mark.parametrize("to", [(1, 1), (5, 3), (17, 40)])
def test_a_plain_picture_stays_plain_at_any_size(kind: type, height: int, width: int, to: tuple[int, int]):
    full = np.iinfo(kind).max
    colour = np.array([0.8, 0.1, 0.2])
    pixels = np.broadcast_to((colour * full).round().astype(kind), (height, width, 3))
    for alpha in (None, np.full((height, width), full // 3, kind)):
        canvas = to_canvas(Picture(np.ascontiguousarray(pixels), alpha), *to)
        assert canvas.shape == (1, 3, *to)
        torch.testing.assert_close(
            canvas, torch.tensor(2 * colour - 1).float().view(1, 3, 1, 1).expand(1, 3, *to), rtol=0, atol=0.01
        )


# --- transparency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_transparent_takes_the_mean_of_what_is_not_and_does_not_bleed(kind: type):
    """A red picture whose unseen half is green, as some programs leave it: no green may come out at any size."""
    full = np.iinfo(kind).max
    pixels = np.zeros((20, 20, 3), kind)
    pixels[:, :10, 0], pixels[:, 10:, 1] = full, full
    alpha = np.full((20, 20), full, kind)
    alpha[:, 10:] = 0
    for size in ((20, 20), (7, 7), (45, 31)):
        canvas = to_canvas(Picture(pixels, alpha), *size)
        red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand_as(canvas)
        torch.testing.assert_close(canvas, red, rtol=0, atol=1e-4)


def test_the_mean_counts_each_colour_by_its_opacity():
    pixels = np.array([[RED, BLUE, (1, 255, 1)]], np.uint8)
    alpha = np.array([[255, 51, 0]], np.uint8)
    canvas = to_canvas(Picture(pixels, alpha), 1, 3)[0, :, 0].T
    mean = (np.array(RED) + 0.2 * np.array(BLUE)) / 1.2
    wanted = np.stack([RED, 0.2 * np.array(BLUE) + 0.8 * mean, mean]) / 127.5 - 1
    np.testing.assert_allclose(canvas.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_half_transparent_colours_come_out_as_they_went_in(kind: type):
    """Nothing painted is nothing changed, where there is anything to be seen; and no mean lies upon it."""
    full = np.iinfo(kind).max
    pixels = values(16, 16, 3, kind)
    alpha = np.linspace(full // 250, full, 256).round().astype(kind).reshape(16, 16)
    content = Picture(pixels, alpha)
    made = to_output(to_canvas(content, 16, 16), content, deep=kind == np.uint16)
    assert np.abs(made.pixels.astype(int) - pixels).max() <= (1 if kind == np.uint8 else 4)
    np.testing.assert_array_equal(made.alpha, alpha)


def test_what_is_painted_on_half_transparent_places_looks_so_over_the_mean():
    """Laid on the content's mean colour, the file looks as the canvas did, where such a colour exists."""
    pixels, alpha = np.full((8, 8, 3), (200, 100, 50), np.uint8), np.full((8, 8), 128, np.uint8)
    content = Picture(pixels, alpha)
    painted = to_canvas(content, 8, 8) + 0.2 * torch.linspace(-1, 1, 8)
    made = to_output(painted, content, deep=False)
    seen = made.pixels * (128 / 255) + np.array([200, 100, 50]) * (127 / 255)
    np.testing.assert_allclose(seen, (painted[0].permute(1, 2, 0).numpy() + 1) * 127.5, atol=0.6)


def test_a_picture_that_is_transparent_everywhere_is_mid_grey():
    picture = Picture(values(3, 3, 3), np.zeros((3, 3), np.uint8))
    torch.testing.assert_close(to_canvas(picture, 5, 4), torch.zeros(1, 3, 5, 4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("deep", [False, True])
def test_the_contents_alpha_goes_into_the_file_at_the_paintings_size_and_depth(
    tmp_path: Path, kind: type, deep: bool
):
    full, wanted = np.iinfo(kind).max, 65535 if deep else 255
    alpha = np.zeros((16, 16), kind)
    alpha[:, 8:] = full
    content = Picture(values(16, 16, 3, kind), alpha)
    for size in ((16, 16), (8, 24)):
        painted = to_output(to_canvas(content, *size), content, deep)
        path = tmp_path / f"{size}.png"
        write_picture(painted, path)
        read = read_picture(path)
        assert read.alpha is not None
        assert read.alpha.shape == size
        assert read.is_deep == deep
        left, right = read.alpha[:, : size[1] // 4], read.alpha[:, -size[1] // 4 :]
        assert left.max() <= 0.01 * wanted
        assert right.min() >= 0.99 * wanted


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_mask_is_black_for_nothing_and_white_for_one(tmp_path: Path, kind: type):
    full = np.iinfo(kind).max
    ramp = np.linspace(0, full, 6).round().astype(kind).reshape(2, 3, 1)
    mask = read_mask(write_vips(tmp_path / "it.png", ramp))
    assert mask.shape == (2, 3)
    np.testing.assert_allclose(mask.numpy().ravel(), np.linspace(0, 1, 6), atol=0.005)


def test_a_masks_transparent_parts_are_black(tmp_path: Path):
    Image.fromarray(np.array([[[255, 255], [255, 51], [102, 255]]], np.uint8)).save(tmp_path / "it.png")
    np.testing.assert_allclose(read_mask(tmp_path / "it.png").numpy(), [[1, 0.2, 0.4]], atol=1e-6)


@given(arrays.arrays(np.float32, sizes, elements=st.floats(0, 1, width=32)), sizes)
@settings(max_examples=25)
def test_a_mask_of_another_size_stays_between_nothing_and_one(mask: np.ndarray, size: tuple[int, int]):
    fitted = fitted_mask(torch.from_numpy(mask), *size)
    assert fitted.shape == size
    assert 0 <= float(fitted.min()) <= float(fitted.max()) <= 1
    whole = fitted_mask(torch.ones_like(torch.from_numpy(mask)), *size)
    torch.testing.assert_close(whole, torch.ones(size))


# --- refusals -------------------------------------------------------------------------------------


def refused(path: Path, *words: str) -> None:
    """Both readers name the file and say why."""
    for read in (read_picture, read_mask):
        with pytest.raises(HasamaError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        if read is read_picture:
            assert any(word in str(caught.value) for word in words), str(caught.value)


def test_what_is_no_picture_is_refused_with_its_path(tmp_path: Path):
    for name, data in not_pictures().items():
        path = tmp_path / name
        path.write_bytes(data)
        refused(path, "not a picture", "gigantic", "truncated", "broken")


def test_text_named_png_is_not_a_picture(tmp_path: Path):
    path = tmp_path / "letter.png"
    path.write_text("Dear Sir,\n")
    refused(path, "not a picture")


def test_folders_and_files_that_are_not_there_are_refused(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "directory")
    refused(tmp_path / "nothing.png", "There is no picture at")
    refused(tmp_path / "nothing.png" / "inside.png", "There is no picture at")
    refused(Path("~nobody-of-this-name/it.png"), "home directory", "There is no picture at")


@pytest.mark.parametrize("side", [9_500, 50_000])
def test_a_gigantic_picture_is_refused_before_it_is_decoded(tmp_path: Path, side: int):
    path = tmp_path / "bomb.png"
    path.write_bytes(claiming(side, side))
    refused(path, "gigantic")


def test_a_gigantic_deep_picture_is_refused_too(tmp_path: Path):
    data = bytearray(claiming(9_500, 9_500))
    data[24] = 16
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    refused(path, "gigantic")


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, ending: str, kind: type):
    if ending == "jpg" and kind is np.uint16:
        pytest.skip("JPEG has no 16 bits")
    data = write_vips(tmp_path / f"whole.{ending}", values(40, 50, 3, kind)).read_bytes()
    for share in (0.02, 0.5, 0.9, 0.97):
        path = tmp_path / f"cut.{ending}"
        path.write_bytes(data[: int(len(data) * share)])
        refused(path, "truncated", "broken", "not a picture")


@pytest.mark.parametrize("name", ["it.png", "it.tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_flipped_bits_make_another_picture_or_a_refusal_but_nothing_else(tmp_path: Path, name: str, kind: type):
    data = write_vips(tmp_path / name, values(12, 12, 3, kind), SRGB).read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for index in range(30):
        broken = bytearray(data)
        for place in rng.integers(8, len(data), 12):
            broken[place] ^= 1 << rng.integers(8)
        path = tmp_path / f"{index}-{name}"
        path.write_bytes(broken)
        try:
            read_picture(path)
        except HasamaError as error:
            refusals.append((str(path), str(error)))
    assert refusals
    assert all(path in message for path, message in refusals)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["it.xyz", "it", "it.", "it.mp4"])
def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path: Path, name: str, kind: type):
    with pytest.raises(HasamaError, match="ending"):
        write_picture(Picture(values(3, 3, 3, kind)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, kind: type):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("a file")
    for place in (tmp_path / "folder.png", tmp_path / "file" / "it.png"):
        with pytest.raises(HasamaError) as caught:
            write_picture(Picture(values(3, 3, 3, kind)), place)
        assert str(place) in str(caught.value)


def test_without_pyvips_deep_pictures_explain_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = values(3, 3, 3, np.uint16)
    deep = write_vips(tmp_path / "deep.png", pixels)
    plain = write_vips(tmp_path / "plain.png", eight_bit_pixels(pixels))
    monkeypatch.setitem(sys.modules, "pyvips", None)  # importing it now fails as if it were not there
    for doing in (lambda: read_picture(deep), lambda: write_picture(Picture(pixels), tmp_path / "out.png")):
        with pytest.raises(HasamaError, match=r"hasama\[deep\]"):
            doing()
    assert not (tmp_path / "out.png").exists()
    assert same(read_picture(plain).pixels, eight_bit_pixels(pixels))  # 8 bits need nothing
    write_picture(Picture(pixels), tmp_path / "out.jpg")


def test_pictures_are_read_by_what_they_are_not_by_what_they_are_called(tmp_path: Path):
    pixels = values(4, 4, 3, np.uint16)
    write_vips(tmp_path / "it.tif", pixels).rename(tmp_path / "it.png")
    assert same(read_picture(tmp_path / "it.png").pixels, pixels)
    data = encoded(Image.fromarray(eight_bit_pixels(pixels)), "PNG")
    (tmp_path / "it.webp").write_bytes(data)
    assert same(read_picture(tmp_path / "it.webp").pixels, eight_bit_pixels(pixels))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_a_format_cannot_hold_is_told(kind: type):
    full, deep = np.iinfo(kind).max, kind == np.uint16
    pixels = values(4, 6, 3, kind)
    alphas = {
        name: np.full((4, 6), level, kind) for name, level in (("opaque", full), ("clear", 0), ("half", full // 2))
    }
    for name, alpha in alphas.items():
        for ending, losing in (("png", ()), ("webp", ()), ("tiff", ()), ("jpg", ("clear", "half")),
                               ("bmp", ("clear", "half")), ("gif", ("half",))):  # fmt: skip
            told = lost_in(f"a.{ending}", Picture(pixels, alpha))
            assert ("transparency" in " ".join(told)) == (name in losing), (name, ending)
            assert ("8 bits" in " ".join(told)) == (deep and ending not in ("png", "tiff"))
    assert lost_in("a.jpg", Picture(pixels), deep=False) == []  # that was asked for
    with pytest.raises(HasamaError, match="Cannot write a picture called"):
        lost_in("a.xyz", Picture(pixels))
    for ending in ("pcx", "eps"):  # refused before it is painted, for Pillow refuses it when all is done
        assert lost_in(f"a.{ending}", Picture(pixels), deep=False) == []
        with pytest.raises(HasamaError, match="holds no transparency, which the picture has"):
            lost_in(f"a.{ending}", Picture(pixels, alphas["opaque"]))


# --- photos of telephones and cameras -------------------------------------------------------------


def test_heic_is_painted_where_its_extra_is_installed(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(scene(40, 28)).save(tmp_path / "a.heic")
    read = read_picture(tmp_path / "a.heic")
    assert read.size == (28, 40)
    assert np.abs(read.pixels.astype(int) - np.asarray(scene(40, 28).convert("RGB"))).mean() < 25
    assert pictures_in(tmp_path) == [tmp_path / "a.heic"]


def test_of_a_raw_photo_no_preview_is_painted(tmp_path: Path):
    """Pillow reads the small picture that a DNG begins with."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706] = b"\x01\x04\x00\x00"
    tags.tagtype[50706] = TiffTags.BYTE
    scene(16, 12).convert("RGB").save(tmp_path / "a.dng", "TIFF", tiffinfo=tags)
    with pytest.raises(HasamaError, match=r"a\.dng: a raw photo \(DNG\): develop it"):
        read_picture(tmp_path / "a.dng")


def test_documents_and_films_among_photos_are_no_pictures(tmp_path: Path):
    for name in ("notes.pdf", "MVI_001.MPG", "table.h5", "a.png", "b.JPG", "c.webp"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in pictures_in(tmp_path)] == ["a.png", "b.JPG", "c.webp"]


@pytest.mark.parametrize("grey", [0.06, 0.12, 0.25, 0.5, 1.0])
def test_a_mask_of_sixteen_bits_is_as_grey_as_it_is(tmp_path: Path, grey: float):
    write_vips(tmp_path / "it.png", np.full((4, 4, 1), round(65535 * grey), np.uint16))
    np.testing.assert_allclose(read_mask(tmp_path / "it.png"), grey, atol=0.003)


def test_sixteen_bits_are_refused_before_the_work_where_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(HasamaError, match="pyvips"):
        lost_in("a.png", Picture(values(4, 4, 3)), deep=True)
    assert lost_in("a.png", Picture(values(4, 4, 3)), deep=False) == []


def test_names_that_are_no_utf8_hold_sixteen_bits_too(tmp_path: Path):
    name = tmp_path / os.fsdecode(b"f\xfcr.png")
    picture = Picture(values(6, 5, 3, np.uint16))
    write_picture(picture, name)
    assert same(read_picture(name).pixels, picture.pixels)
