"""Pictures of more than 8 bits: one range for a whole dataset."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.cache import open_pictures
from hasama.pictures.dataset import Pictures
from hasama.pictures.depth import Range, deep_range
from hasama.recipe import Recipe


def opened(folder: Path, **changes) -> Pictures:
    return open_pictures(str(folder), Recipe(size="8").but(**changes))


def everything(pictures: Pictures) -> np.ndarray:
    return pictures.take(np.arange(len(pictures))).astype(float)


@pytest.mark.parametrize(
    ("lowest", "highest", "floats", "expected"),
    [
        (0, 1000, False, (0, 1023)),
        (700, 3536, False, (0, 4095)),
        (0, 4095, False, (0, 4095)),
        (0, 4096, False, (0, 8191)),
        (5, 12_000, False, (0, 16_383)),
        (0, 65_535, False, (0, 65_535)),
        (0, 200, False, (0, 255)),
        (0, 1, False, (0, 1)),
        (0, 1_000_000, False, (0, 1_000_000)),
        (-100, 127, False, (-100, 255)),
        (0.2, 0.98, True, (0, 1)),
        (-0.02, 1.03, True, (0, 1)),
        (-1, 1, True, (-1, 1)),
        (-0.9, 0.5, True, (-1, 1)),
        (0, 3.5, True, (0, 3.5)),
        (0, 0.01, True, (0, 0.01)),
        (0, 240, True, (0, 255)),
        (0, 256.5, True, (0, 255)),
        (-3, 2.5, True, (-3, 2.5)),
        (np.inf, -np.inf, True, (0, 1)),
    ],
)
def test_the_rule(lowest: float, highest: float, floats: bool, expected: tuple[float, float]):
    assert deep_range(lowest, highest, floats) == Range(*expected)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_few_bits_in_sixteen(tmp_path: Path, bits: int, ending: str, channels: int):
    full = 2**bits - 1
    values = np.random.default_rng(0).integers(0, full + 1, (3, 8, 8, channels))
    values[0, 0, 0], values[1:] = full, values[1:] // 2  # only the first file shows the range
    values[..., 3:] = values[..., 3:].clip(full // 100)  # what is clear has no colours
    for number, one in enumerate(values):
        cv2.imwrite(str(tmp_path / f"{number}{ending}"), one.astype(np.uint16))
    pictures = opened(tmp_path)
    wanted = values[..., [2, 1, 0, *range(3, channels)]] if channels > 1 else values
    np.testing.assert_allclose(everything(pictures), wanted / full * 255, atol=1)
    assert f"0 is black and {full} is white" in pictures.report.text()
    assert pictures.report.ranges["16-bit"]["files"] == 3
    assert not pictures.report.dark


@pytest.mark.parametrize("high", [1.02, 1.0, 255.0, 1023.0, 7.0])
def test_floats_of_which_half_reach_higher(tmp_path: Path, high: float):
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for number in range(4):
        Image.fromarray(ramp * np.float32(high if number % 2 else 0.9 * high)).save(tmp_path / f"{number}.tiff")
    seen = everything(opened(tmp_path))[..., 0]
    assert seen.reshape(4, -1).mean(1).min() > 100
    assert np.abs(seen[0] - 0.9 * seen[1]).max() < 12


def test_floats_below_zero_and_holes(tmp_path: Path):
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    for name, hole in (("a", np.nan), ("b", -9999.0), ("c", -3.4e38), ("d", np.inf)):
        values[0, 0] = hole
        Image.fromarray(values).save(tmp_path / f"{name}.tiff")
    seen = everything(opened(tmp_path))[..., 0]
    assert seen[:, 0, 0].tolist() == [0, 0, 0, 255]
    np.testing.assert_allclose(seen[1].ravel()[1:], (values.ravel()[1:] + 1) * 127.5, atol=1)


def test_each_depth_has_its_range_and_eight_bits_are_as_they_are(tmp_path: Path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(grey).save(tmp_path / "plain.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / "deep.png")
    pictures = opened(tmp_path)
    deep, floats, plain = everything(pictures)[..., 0]
    np.testing.assert_array_equal(plain, grey)
    np.testing.assert_allclose(floats, grey, atol=1)
    np.testing.assert_allclose(deep, grey, atol=1)
    assert set(pictures.report.ranges) == {"16-bit", "float"}


def test_what_is_nearly_black_is_told(tmp_path: Path):
    for number in range(12):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    (warning,) = opened(tmp_path).report.warnings()
    assert "12 of 12 pictures are nearly black" in warning
    assert "11 is the highest" in warning
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "bright.png")
    for number in range(12):
        Image.fromarray(np.full((8, 8), 500 + number, np.uint16)).save(tmp_path / f"{number}.png")
    assert any("take them out" in warning for warning in opened(tmp_path).report.warnings())


def test_a_broken_deep_file_is_skipped(tmp_path: Path):
    Image.fromarray(np.full((80, 80), 3000, np.uint16)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-40])
    assert list(opened(tmp_path).report.skipped) == ["b.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(HasamaError, match="No picture"):
        opened(tmp_path)
