"""Colours by a file's profile: a training sees what a viewer shows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hasama
from hasama.pictures.opening import open_picture
from odd_files import scene
from profiles import CMYK, LINEAR_GREY, P3, P3_PRIMARIES, SRGB, SWAPPED

SRGB_PRIMARIES = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""XYZ of IEC 61966-2-1's red, green and blue, adapted to D50."""


def in_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """A colour of `P3` as sRGB has it, 0 to 255, by its definition."""
    there = np.asarray(P3_PRIMARIES).T @ (np.asarray(colour) / 255) ** (563 / 256)
    light = np.clip(np.linalg.solve(np.asarray(SRGB_PRIMARIES).T, there), 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def saved(path: Path, picture: Image.Image, profile: bytes | None) -> Path:
    picture.save(path, icc_profile=profile)
    return path


@pytest.mark.parametrize("colour", [(180, 120, 100), (60, 160, 90), (20, 30, 200), (128, 128, 128), (255, 0, 0)])
@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_a_telephones_colours_are_those_that_are_seen(tmp_path: Path, colour, ending: str):
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 6), colour).save(path, icc_profile=P3, lossless=True)  # WebP alone knows that
    read = np.asarray(open_picture(path))
    np.testing.assert_allclose(read[3, 3], in_srgb(colour), atol=1.6)
    assert (np.asarray(open_picture(path, profiled=False))[3, 3] == colour).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("profile", [None, SRGB, b"no profile", SRGB[:300], bytes(200)])
def test_srgb_and_damaged_profiles_change_nothing(tmp_path: Path, mode: str, profile):
    picture = scene(24, 16).convert(mode)
    read = open_picture(saved(tmp_path / "a.png", picture, profile))
    wanted = picture.convert("RGB" if mode == "P" else mode)
    assert read.mode == wanted.mode
    assert (np.asarray(read) == np.asarray(wanted)).all()


def test_transparency_stays_as_it_is(tmp_path: Path):
    picture = Image.new("RGBA", (8, 8), (200, 30, 40, 77))
    read = np.asarray(open_picture(saved(tmp_path / "a.png", picture, SWAPPED)))
    np.testing.assert_allclose(read[4, 4], (40, 30, 200, 77), atol=1)


def test_a_palette_has_its_files_profile(tmp_path: Path):
    picture = Image.new("RGB", (8, 8), (200, 30, 40)).quantize(4)
    read = np.asarray(open_picture(saved(tmp_path / "a.png", picture, SWAPPED)))
    np.testing.assert_allclose(read[4, 4], (40, 30, 200), atol=1)


def test_grey_is_as_light_as_its_profile_says(tmp_path: Path):
    """Half the light is 188 of 255 in sRGB (IEC 61966-2-1)."""
    read = open_picture(saved(tmp_path / "a.png", Image.new("L", (8, 8), 128), LINEAR_GREY))
    assert read.mode == "L"
    np.testing.assert_allclose(np.asarray(read)[4, 4], 188, atol=1.5)


def test_ink_has_the_colours_of_its_profile(tmp_path: Path):
    """Of this profile every ink is grey; without one it is cyan."""
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    told = np.asarray(open_picture(saved(tmp_path / "a.jpg", ink, CMYK)), int)[8, 8]
    untold = np.asarray(open_picture(saved(tmp_path / "b.jpg", ink, None)), int)[8, 8]
    assert np.ptp(told) <= 3
    assert np.ptp(untold) > 200


@pytest.mark.parametrize("colour", ["auto", "rgba"])
def test_a_folder_is_learnt_in_the_colours_that_are_seen(tmp_path: Path, colour):
    saved(tmp_path / "a.png", Image.new("RGB", (32, 32), (180, 120, 100)), P3)
    saved(tmp_path / "b.png", Image.new("RGB", (32, 32), (180, 120, 100)), None)
    pictures = hasama.open_pictures(str(tmp_path), hasama.RECIPES["dcgan"].but(size="16", colour=colour))
    first, second = pictures.take(np.array([0, 1]))[:, 8, 8, :3]
    np.testing.assert_allclose(first, in_srgb((180, 120, 100)), atol=1.6)
    assert second.tolist() == [180, 120, 100]


def test_sixteen_bits_and_grey_with_alpha_have_their_profiles_too(tmp_path: Path):
    pyvips = pytest.importorskip("pyvips")
    deep = np.full((8, 8, 3), (180, 120, 100), np.uint16) * 257
    image = pyvips.Image.new_from_array(deep, interpretation="rgb16").copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", P3)
    image.write_to_file(str(tmp_path / "deep.png"))
    saved(tmp_path / "flat.png", Image.new("RGB", (8, 8), (180, 120, 100)), P3)
    pictures = hasama.open_pictures(str(tmp_path), hasama.RECIPES["dcgan"].but(size="16"))
    np.testing.assert_allclose(pictures.take(np.arange(2))[:, 4, 4], [in_srgb((180, 120, 100))] * 2, atol=1.6)
    half = Image.merge("LA", (Image.new("L", (8, 8), 128), Image.new("L", (8, 8), 99)))
    read = np.asarray(open_picture(saved(tmp_path / "grey.png", half, LINEAR_GREY)))
    np.testing.assert_allclose(read[4, 4], (188, 188, 188, 99), atol=1.5)
