"""What enlarging loses, as `hasama suggest` tells it."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advice import advise
from hasama.metrics.distances import kid
from hasama.metrics.intervals import stream
from hasama.networks.enlarger import enlarge, shipped, smaller
from hasama.perception.extractors import extract_features, extractor_named
from hasama.pictures.dataset import Pictures
from hasama.pictures.tensors import to_images, to_pixels
from hasama.presets import RECIPES
from hasama.tuning.floor import LEAST, SUBSETS, floor_of


def save_pictures(folder: Path, count: int, side: int) -> Path:
    """Stripes in all directions."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:side, :side] / side
    rng = np.random.default_rng(0)
    for number in range(count):
        turn, often, colour = rng.uniform(0, 3), rng.uniform(4, 12), rng.uniform(0.2, 1, 3)
        waves = np.sin(6 * often * (x * np.cos(turn) + y * np.sin(turn))) > 0
        Image.fromarray((255 * waves[..., None] * colour).astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    import hasama as package

    folder = save_pictures(tmp_path_factory.mktemp("floor") / "pictures", 60, 32)
    return package.open_pictures(str(folder), RECIPES["r3gan"].but(size="32"))


def test_it_is_the_kid_of_reals_made_smaller_and_larger(pictures: Pictures):
    extractor = extractor_named("efficientnet", "cpu")
    records = list(floor_of(pictures, 2, extractor))
    assert [record.kid is None for record in records] == [True] * (len(records) - 1) + [False]
    assert [(one.done, one.total) for one in records if one.stage.startswith("enlarging")] == [(16, 30), (30, 30)]
    assert records[-1].done == records[-1].total == 60
    order = stream(0).permutation(60)
    real = to_images(pictures.take(order[:30]))
    with torch.no_grad():
        made = to_pixels(enlarge(shipped(), smaller(real, 2), 2))
    fakes = torch.cat(list(extract_features(extractor, iter([made]))))
    reals = torch.cat(list(extract_features(extractor, iter([pictures.take(order[30:])]))))
    expected, _ = kid(reals, fakes, SUBSETS, 15)
    found = records[-1].kid
    assert found is not None
    mean, low, high = found
    assert mean == pytest.approx(expected, rel=0.05)
    assert low < mean < high


def test_where_time_is_short_fewer_are_seen_and_that_is_told(pictures: Pictures):
    extractor = extractor_named("efficientnet", "cpu")
    *before, last = floor_of(pictures, 2, extractor, seconds=0)
    assert [one.enlarged for one in before] == [0] * len(before)
    assert (last.enlarged, last.total) == (LEAST // 2, LEAST // 2 + LEAST)
    assert last.kid is not None
    assert list(floor_of(pictures, 2, extractor, seconds=1e6))[-1].enlarged == 30


def test_more_is_lost_by_more(pictures: Pictures):
    extractor = extractor_named("efficientnet", "cpu")
    figures = [list(floor_of(pictures, factor, extractor))[-1].kid for factor in (2, 8)]
    assert figures[0] is not None
    assert figures[1] is not None
    assert figures[0][0] < figures[1][0]


def test_few_pictures_tell_nothing(pictures: Pictures):
    few = dataclasses.replace(pictures, chosen=np.arange(LEAST - 1))
    assert not list(floor_of(few, 2, extractor_named("efficientnet", "cpu")))


@pytest.mark.slow
def test_suggest_tells_it(tmp_path: Path):
    folder = save_pictures(tmp_path / "pictures", 44, 256)
    cache = str(tmp_path / "cache")
    done = advise("suggest", folder, "--size", 256, "--hours", 100, HASAMA_CACHE=cache, HASAMA_TEST_SECONDS="0.1")
    assert done.returncode == 0, done.stderr
    assert "enlarge 2" in done.stdout
    assert re.search(r"floor \d.*of 2[0-2] real pictures made 2 times smaller and enlarged again", done.stdout)
    assert "--enlarge 2" in done.stdout.split("Begin with:")[1]
