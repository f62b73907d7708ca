"""Pictures in and out: every mode and orientation, exact sizes, exact round trips, refusals."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms

from hasama.errors import HasamaError
from hasama.pictures import images
from hasama.pictures.images import (
    as_channels,
    fit_picture,
    grid,
    has_alpha,
    is_grey,
    prepared,
    save_picture,
    to_picture,
)
from hasama.pictures.opening import eight_bits, open_picture
from hasama.pictures.tensors import to_images, to_pixels
from odd_files import claiming, encoded, scene

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::PIL.Image.DecompressionBombWarning"
)  # Pillow's, of what is odd in these files

ORANGE = (250, 120, 10)


def reopened(picture: Image.Image, file_format: str, **options) -> Image.Image:
    return open_picture(io.BytesIO(encoded(picture, file_format, **options)))


def in_lab() -> Image.Image:
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(Image.new("RGB", (2, 2), ORANGE), rgb, lab, outputMode="LAB")
    assert converted is not None
    return converted


def in_palette(transparent: int | None = None) -> Image.Image:
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, *ORANGE])
    if transparent is not None:
        picture.info["transparency"] = transparent
    return picture


# --- modes ----------------------------------------------------------------------------------------

ORANGE_PICTURE = Image.new("RGB", (2, 2), ORANGE)

MODES = {
    "1": (Image.new("1", (2, 2), 1), "L", (255,)),
    "L": (Image.new("L", (2, 2), 77), "L", (77,)),
    "LA": (Image.new("LA", (2, 2), (77, 99)), "RGBA", (77, 77, 77, 99)),
    "P": (in_palette(), "RGB", ORANGE),
    "P transparent": (in_palette(1), "RGBA", (*ORANGE, 0)),
    "P opaque here": (in_palette(0), "RGBA", (*ORANGE, 255)),
    "PA": (in_palette().convert("PA"), "RGBA", (*ORANGE, 255)),
    "RGB": (ORANGE_PICTURE, "RGB", ORANGE),
    "RGBA": (Image.new("RGBA", (2, 2), (*ORANGE, 99)), "RGBA", (*ORANGE, 99)),
    "RGBa": (Image.new("RGBA", (2, 2), (255, 0, 255, 128)).convert("RGBa"), "RGBA", (255, 0, 255, 128)),
    "CMYK": (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "RGB", (255, 0, 0)),
    "YCbCr": (ORANGE_PICTURE.convert("YCbCr"), "RGB", ORANGE),
    "LAB": (in_lab(), "RGB", ORANGE),
    "HSV": (ORANGE_PICTURE.convert("HSV"), "RGB", ORANGE),
    "I": (Image.new("I", (2, 2), 40_000), "L", (156,)),
    "I;16": (Image.new("I;16", (2, 2), 40_000), "L", (156,)),
    "I;16B": (Image.new("I;16B", (2, 2), 40_000), "L", (156,)),
    "F": (Image.new("F", (2, 2), 0.5), "L", (128,)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_eight_bits_of_the_same_colour(name):
    picture, mode, colour = MODES[name]
    result = eight_bits(picture)
    assert result.mode == mode
    np.testing.assert_allclose(np.asarray(result)[1, 1], colour if len(colour) > 1 else colour[0], atol=3)


@pytest.mark.parametrize("name", MODES)
def test_the_header_foretells_what_decoding_gives(name):
    picture, mode, _ = MODES[name]
    told = "RGBA" if has_alpha(picture) else "L" if is_grey(picture) else "RGB"
    assert told == mode


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_deep_grey_is_scaled_not_clipped(mode):
    ramp = np.array([[0, 128, 257, 25_700, 65_278, 65_535]])
    picture = Image.fromarray(ramp.astype(np.int32 if mode == "I" else ">u2" if mode == "I;16B" else "<u2"))
    assert picture.mode == mode
    assert np.asarray(eight_bits(picture)).tolist() == [[0, 0, 1, 100, 254, 255]]


@pytest.mark.parametrize(("file_format", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("PPM", "I")])
def test_a_dark_sixteen_bit_file_stays_dark(file_format, mode):
    """All values below 256: a reader that guesses the depth from the values makes night into day."""
    dark = Image.fromarray(np.full((4, 4), 200, np.uint16)).convert(mode)
    assert np.asarray(reopened(dark, file_format)).max() == 1


@pytest.mark.parametrize(("file_format", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("PPM", "I")])
def test_a_sixteen_bit_file_keeps_its_brightness(file_format, mode):
    bright = Image.fromarray(np.full((4, 4), 51_400, np.uint16)).convert(mode)
    assert np.unique(np.asarray(reopened(bright, file_format))).tolist() == [200]


def test_whole_numbers_beyond_sixteen_bits_are_scaled_too():
    assert np.asarray(eight_bits(Image.fromarray(np.array([[0, 500_000, 1_000_000]], np.int32)))).tolist() == [
        [0, 128, 255]
    ]


def test_small_whole_numbers_are_taken_as_they_are():
    assert np.asarray(eight_bits(Image.fromarray(np.array([[0, 17, 255]], np.int32)))).tolist() == [[0, 17, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 17.0, 255.0], [0, 17, 255]),
        ([0.0, 65_535.0, -9999.0], [0, 255, 0]),
        ([0.5, np.nan, np.inf, -np.inf], [128, 0, 255, 0]),
    ],
)
def test_float_greys_with_and_without_holes(values, expected):
    assert np.asarray(eight_bits(Image.fromarray(np.array([values], np.float32)))).tolist() == [expected]


def test_dropped_alpha_shows_white():
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    assert np.asarray(as_channels(picture, 3)).tolist() == [[[255, 255, 255], [10, 20, 30]]]
    assert np.asarray(as_channels(picture, 1))[0, 0] == 255
    assert as_channels(picture, 4) == picture


# --- EXIF -----------------------------------------------------------------------------------------

UPRIGHT = np.kron(np.array([[10, 90, 160], [240, 40, 200]], np.uint8), np.ones((32, 32), np.uint8))

STORED_AS = {
    1: UPRIGHT,
    2: np.fliplr(UPRIGHT),
    3: np.rot90(UPRIGHT, 2),
    4: np.flipud(UPRIGHT),
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),  # the camera was turned: to be shown turned clockwise
    7: np.rot90(UPRIGHT.T, 2),
    8: np.rot90(UPRIGHT, -1),
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_pictures_come_out_upright(orientation, file_format):
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation]))
    options = {"quality": 95} if file_format in ("JPEG", "WEBP") else {}
    shown = reopened(stored, file_format, exif=oriented(orientation), **options).convert("L")
    assert shown.size == (96, 64)
    np.testing.assert_allclose(np.asarray(shown)[16::32, 16::32], UPRIGHT[16::32, 16::32], atol=8)


def test_pictures_decoded_at_a_fraction_are_upright_too():
    stored = Image.fromarray(np.kron(np.ascontiguousarray(STORED_AS[6]), np.ones((8, 8), np.uint8)))
    shown = open_picture(io.BytesIO(encoded(stored, "JPEG", exif=oriented(6))), about=24)
    assert shown.width < 300
    assert shown.width * 2 == shown.height * 3
    small = np.asarray(shown.resize((3, 2), Image.Resampling.BOX))
    np.testing.assert_allclose(small, UPRIGHT[16::32, 16::32], atol=8)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_cost_a_good_picture(file_format):
    whole = oriented(1)
    whole[0x010F] = "Some Camera"
    good = whole.tobytes()
    for place in range(6, len(good)):
        damaged = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
        assert sorted(reopened(scene(9, 6), file_format, exif=damaged).size) == [6, 9]
    assert reopened(scene(9, 6), file_format, exif=b"Exif\0\0nonsense").size == (9, 6)


# --- fitting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7), (64, 64), (130, 90)])
@pytest.mark.parametrize("resolution", [(64, 64), (96, 64), (1, 1), (17, 200)])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_fitting_gives_exactly_the_size(fit, size, resolution, mode):
    fitted = fit_picture(Image.new(mode, size, "white"), resolution, fit)
    assert (fitted.height, fitted.width) == resolution
    assert fitted.mode == mode
    assert np.asarray(fitted).max() == 255


@settings(max_examples=300)
@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(st.integers(1, 80), st.integers(1, 80)))
def test_cropping_fits_any_size_into_any_other(size, resolution):
    assert fit_picture(Image.new("L", size, 9), resolution, "crop").size == resolution[::-1]


@pytest.mark.parametrize(("size", "resolution"), [((26, 29), (7, 6)), ((29, 5000), (7, 7))])
def test_cropping_survives_rounding(size, resolution):
    """6 * (29 / 7) is a hair more than what there is, and Pillow refuses a box outside the picture."""
    assert fit_picture(Image.new("L", size, 9), resolution, "crop").size == resolution[::-1]


def three_stripes() -> Image.Image:
    return Image.fromarray(np.repeat(np.array([[10] * 20 + [120] * 20 + [240] * 20], np.uint8), 20, axis=0))


def test_crop_keeps_the_middle():
    assert np.unique(np.asarray(fit_picture(three_stripes(), (20, 20), "crop"))).tolist() == [120]
    upright = three_stripes().transpose(Image.Transpose.ROTATE_90)
    assert np.unique(np.asarray(fit_picture(upright, (20, 20), "crop"))).tolist() == [120]


def test_pad_keeps_everything_between_black_bars():
    padded = np.asarray(fit_picture(three_stripes(), (60, 60), "pad"))
    assert padded[:20].max() == 0
    assert padded[40:].max() == 0
    assert padded[30, [5, 30, 55]].tolist() == [10, 120, 240]


def test_pad_is_transparent_where_there_is_alpha():
    padded = np.asarray(fit_picture(Image.new("RGBA", (30, 10), (1, 2, 3, 255)), (30, 30), "pad"))
    assert padded[:10, :, 3].max() == 0
    assert padded[15, 15].tolist() == [1, 2, 3, 255]


def test_stretch_keeps_everything():
    assert np.asarray(fit_picture(three_stripes(), (30, 30), "stretch"))[15, [3, 15, 27]].tolist() == [10, 120, 240]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_invisible_colours_do_not_bleed_into_the_edges(fit):
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[...] = (255, 0, 0, 0)  # red, but nobody can see it
    picture[:, :29] = (200, 200, 200, 255)
    fitted = np.asarray(fit_picture(Image.fromarray(picture), (10, 10), fit)).astype(int)
    seen = fitted[fitted[..., 3] > 16]
    assert ((seen[:, 3] > 16) & (seen[:, 3] < 240)).any(), "the edge falls between two pixels"
    assert np.ptp(seen[:, :3], axis=1).max() <= 2, "a tinge of red"
    assert np.abs(seen[:, :3] - 200).max() <= 1


@pytest.mark.parametrize("resolution", [(8, 8), (4, 4), None])
def test_what_nobody_sees_is_black_whether_or_not_the_size_changes(resolution: tuple[int, int] | None):
    picture = np.full((8, 8, 4), 200, np.uint8)
    picture[:, :4, 3] = 0
    shown = prepared(Image.fromarray(picture), 4, resolution)
    assert shown[:, 0].max() == 0
    assert shown[:, -1].min() == 200


@pytest.mark.parametrize("huge", [2**24, 5000])
@pytest.mark.parametrize("side", [16, 32, 64, 300])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_shape_of_one_colour_has_no_rim(fit: str, side: int, huge: int, monkeypatch: pytest.MonkeyPatch):
    """Where alpha jumps it overshoots, as do colours that it weighs."""
    monkeypatch.setattr(images, "HUGE", huge)
    picture = np.zeros((100, 100, 4), np.uint8)
    picture[...] = (128, 60, 30, 0)
    picture[21:77, 18:90, 3] = 255
    fitted = np.asarray(fit_picture(Image.fromarray(picture), (side, side), fit)).astype(int)
    assert np.abs(fitted[fitted[..., 3] > 200][:, :3] - (128, 60, 30)).max() <= 1
    assert np.abs(fitted[fitted[..., 3] > 20][:, :3] - (128, 60, 30)).max() <= 6
    whole = np.asarray(fit_picture(Image.fromarray(picture[..., 3].astype(np.float32)), (side, side), fit))
    assert np.abs(fitted[..., 3] - whole.clip(0, 255)).max() <= (1 if huge == 2**24 else 40)


# --- tensors --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])).flatmap(
        lambda shape: arrays.arrays(np.uint8, shape)
    )
)
def test_pixels_survive_the_way_there_and_back(pixels):
    images = to_images(pixels)
    assert images.shape == (pixels.shape[0], pixels.shape[3], *pixels.shape[1:3])
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(to_pixels(images), pixels)


def test_all_256_values_survive_and_span_minus_one_to_one():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = to_images(every)
    assert images.min() == -1
    assert images.max() == 1
    np.testing.assert_array_equal(to_pixels(images), every)
    np.testing.assert_array_equal(to_pixels(images.to(torch.float64)), every)


def test_reversed_and_read_only_pixels_are_taken():
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)[:, :, ::-1]
    pixels.flags.writeable = False
    np.testing.assert_array_equal(to_pixels(to_images(pixels)), pixels)


def test_what_lies_outside_is_clipped():
    images = torch.tensor([-7.0, -1.001, 1.001, 1e9]).reshape(1, 1, 2, 2).requires_grad_()
    assert to_pixels(images).ravel().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_pixels_become_pictures(channels, mode):
    pixels = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels)
    picture = to_picture(pixels)
    assert (picture.mode, picture.size) == (mode, (3, 2))
    np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)


# --- grids ----------------------------------------------------------------------------------------


def numbered(count: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.broadcast_to(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None], (count, height, width, 3))


def test_a_grid_goes_row_by_row():
    canvas = np.asarray(grid(numbered(5), smallest=1, gap=2))
    assert canvas.shape == (2 * 6 + 2, 3 * 8 + 2, 3)  # 5 pictures: 3 columns, 2 rows
    for number, (top, left) in enumerate([(2, 2), (2, 10), (2, 18), (8, 2), (8, 10)], 1):
        assert np.unique(canvas[top : top + 4, left : left + 6]).tolist() == [number]
    assert canvas[8:, 18:].max() == 0, "the last place stays empty"
    assert canvas[:2].max() == canvas[:, :2].max() == canvas[6:8].max() == canvas[:, 8:10].max() == 0


def test_a_grid_has_no_column_without_a_picture():
    made = grid(np.zeros((3, 64, 64, 3), np.uint8), columns=1000)
    assert made.size == grid(np.zeros((3, 64, 64, 3), np.uint8), columns=3).size


def test_a_grid_of_what_is_no_picture():
    with pytest.raises(HasamaError, match=r"uint8 \[N, H, W, C\].*got uint8 \[2, 3, 16, 16\]"):
        grid(np.zeros((2, 3, 16, 16), np.uint8))


def test_a_grid_of_given_columns():
    assert grid(numbered(5), columns=5, smallest=1, gap=0).size == (30, 4)
    assert grid(numbered(5), columns=1, smallest=1, gap=0).size == (6, 20)
    assert grid(numbered(1), smallest=1, gap=3).size == (12, 10)


def test_small_tiles_are_enlarged_by_whole_factors():
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    canvas = np.asarray(grid(pixels, smallest=13, gap=0))
    assert canvas.shape == (12, 12)
    np.testing.assert_array_equal(canvas[1::3, 1::3], pixels[0, :, :, 0])
    np.testing.assert_array_equal(canvas[::3, 2::3], pixels[0, :, :, 0])


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg", ".JPEG", ".gif", ".bmp", ".tiff", ".avif", ".qoi"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_are_saved_by_their_ending(tmp_path, ending, mode):
    path = tmp_path / "new" / f"picture{ending}"
    save_picture(Image.new(mode, (20, 10), "white"), path)
    with Image.open(path) as saved:
        assert saved.format == Image.registered_extensions()[ending.lower()]
        assert saved.size == (20, 10)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_jpeg_has_white_where_nothing_was(tmp_path):
    save_picture(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), tmp_path / "a.jpg")
    assert np.asarray(open_picture(tmp_path / "a.jpg")).min() >= 253


@pytest.mark.parametrize("ending", ["jpg", "bmp", "dib", "ppm", "mpo"])
def test_where_a_format_has_no_alpha_nothing_hidden_is_shown(tmp_path: Path, ending: str):
    """Pillow writes alpha into a BMP, reads none, and so shows what lay under it."""
    pixels = np.full((32, 48, 4), (9, 99, 200, 0), np.uint8)
    pixels[:, 16:32, 3], pixels[:, 32:, 3] = 128, 255
    save_picture(Image.fromarray(pixels), tmp_path / f"a.{ending}")
    with Image.open(tmp_path / f"a.{ending}") as saved:
        assert saved.mode == "RGB"
        shown = np.asarray(saved).astype(int)
    for columns, colour in (
        (slice(0, 12), (255, 255, 255)),
        (slice(20, 28), (131, 177, 227)),
        (slice(36, 48), (9, 99, 200)),
    ):
        assert np.abs(shown[:, columns] - colour).max() <= 4


def test_a_gif_is_clear_or_opaque(tmp_path: Path):
    """Pillow makes every pixel of a soft picture opaque, with what lay under it."""
    pixels = np.full((32, 256, 4), (9, 99, 200, 0), np.uint8)
    pixels[..., 3] = np.arange(256)
    save_picture(Image.fromarray(pixels), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as saved:
        shown = np.asarray(saved.convert("RGBA")).astype(int)
    assert (shown[:, :128, 3] == 0).all()
    assert (shown[:, 128:, 3] == 255).all()
    assert (
        np.abs(
            shown[:, 128:, :3] - (255 + (np.arange(128, 256) / 255)[:, None] * (np.array([9, 99, 200]) - 255))
        ).max()
        < 16
    )


def test_saved_pictures_are_as_readable_as_other_files(tmp_path):
    save_picture(scene(), tmp_path / "a.png")
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("name", ["picture", "picture.xyz", "picture.txt", ".png", "picture.psd"])
def test_endings_that_cannot_be_written(tmp_path, name):
    with pytest.raises(HasamaError, match=r"use an ending such as \.png"):
        save_picture(scene(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (Image.new("L", (16_384, 1)), "wide.webp"),
        (Image.new("L", (66_000, 1)), "wide.jpg"),
        (Image.new("L", (66_000, 1)), "wide.gif"),
        (Image.new("RGBA", (4, 4)), "alpha.pcx"),
        (Image.new("RGBA", (4, 4)), "alpha.eps"),
        (Image.new("RGB", (4, 4)), "colour.xbm"),
        (Image.new("RGB", (4, 4)), "colour.h5"),
        (Image.new("RGB", (300, 300)), "cut-down.ico"),
        (Image.new("RGB", (300, 200)), "square.icns"),
    ],
)
def test_pictures_that_a_format_cannot_hold(tmp_path, picture, name):
    (tmp_path / name).write_text("the old one")
    with pytest.raises(HasamaError, match=r"Use another ending, such as \.png"):
        save_picture(picture, tmp_path / name)
    assert (tmp_path / name).read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_saving_is_all_or_nothing(tmp_path, monkeypatch, fault):
    path = tmp_path / "a.png"
    save_picture(Image.new("L", (4, 4), 7), path)

    def half(self, file, **options):
        Path(file).write_bytes(b"half a pic")
        raise fault

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(HasamaError if isinstance(fault, OSError) else KeyboardInterrupt) as caught:
        save_picture(Image.new("L", (4, 4), 8), path)
    monkeypatch.undo()
    assert isinstance(fault, KeyboardInterrupt) or "No space left on device" in str(caught.value)
    assert open_picture(path).getpixel((0, 0)) == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for place in ("/proc/nope/a.png", tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(HasamaError, match="Cannot write"):
            save_picture(scene(), place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.png"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 9_001), (2**31 - 1, 1)])
def test_gigantic_pictures_are_refused_before_they_are_decoded(size):
    before = time.perf_counter()
    with pytest.raises(HasamaError, match="gigantic"):
        open_picture(io.BytesIO(claiming(*size)))
    assert time.perf_counter() - before < 0.5


def test_reasons_are_short_and_free_of_paths(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(encoded(scene(), "PNG")[:500])
    (tmp_path / "folder.png").mkdir()
    reasons = {}
    for name in ("text.png", "cut.png", "folder.png", "absent.png"):
        with pytest.raises(HasamaError) as caught:
            open_picture(tmp_path / name)
        reasons[name] = str(caught.value)
    assert reasons == {
        "text.png": "not a picture",
        "cut.png": "truncated",
        "folder.png": "is a directory",
        "absent.png": "no such file or directory",
    }


def test_an_open_file_is_left_open():
    file = io.BytesIO(encoded(scene(), "PNG"))
    assert open_picture(file) == scene()
    assert not file.closed
