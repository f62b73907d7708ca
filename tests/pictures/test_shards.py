"""Shards: written, found, read, cached or streamed; and what is wrong with them is told."""

import dataclasses
import hashlib
import io
import itertools
import json
import tarfile
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.cache import Reading, open_cached
from hasama.pictures.dataset import Pictures, batches, hold_out
from hasama.pictures.decoding import Form
from hasama.pictures.shards.index import NO_CLASS, Tar, from_json
from hasama.pictures.shards.open_tar import OpenTar
from hasama.pictures.shards.order import Lanes, divide
from hasama.pictures.shards.places import expanded, shard_place
from hasama.pictures.shards.plain_png import from_plain_png, to_plain_png
from hasama.pictures.shards.streaming import BrokenPictureWarning
from hasama.pictures.shards.writing import check_shards, write_shards
from hasama.pictures.sources.sources import open_source


def png(pixels: np.ndarray) -> bytes:
    """As other people write it."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
    return out.getvalue()


def some_pictures(count: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> np.ndarray:
    """Different ones [n, H, W, C], each of which is known by its first value."""
    pixels = np.random.default_rng(count).integers(0, 256, (count, *size, channels), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count) % 256
    pixels[:, 0, 1, 0] = np.arange(count) // 256
    return pixels.clip(np.array([0, 0, 0, 1], np.uint8)[:channels])  # nothing is clear: that has no colour


def number_of(pixels: np.ndarray) -> list[int]:
    """Which of `some_pictures` these are [n, H, W, C]."""
    return (pixels[:, 0, 0, 0].astype(int) + 256 * pixels[:, 0, 1, 0].astype(int)).tolist()


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def opened(source: object, form: Form | None = None, streamed: bool | None = None) -> Pictures:
    reading = Reading(str(source), form or Form((8, 8)), streamed)
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


def shards_of(pixels: np.ndarray, folder: Path, megabytes: float, labels: np.ndarray | None = None) -> Path:
    """Shards as Hasama writes them."""
    source = folder.with_suffix(".npz")
    arrays = {"images": pixels} if labels is None else {"images": pixels, "labels": labels}
    np.savez(source, **arrays)  # pyright: ignore[reportArgumentType]
    written = opened(source, Form(pixels.shape[1:3], labels=labels is not None))
    deque(write_shards(written, folder, megabytes), maxlen=0)
    return folder


class Shown(NamedTuple):
    """A batch as arrays."""

    images: np.ndarray
    labels: np.ndarray | None


def shown(
    pictures: Pictures, count: int, batch: int = 16, start: int = 0, rank: int = 0, world: int = 1
) -> list[Shown]:
    """The first batches."""
    drawn = itertools.islice(batches(pictures, batch, 5, start, True, "cpu", rank, world), count)
    return [Shown(images.numpy(), None if labels is None else labels.numpy()) for images, labels in drawn]


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 8 shards of 40 pictures each, in five classes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HASAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
    pixels = some_pictures(320)
    folder = shards_of(pixels, tmp_path_factory.mktemp("shards") / "eight", 0.1, np.arange(320) % 5)
    patch.undo()
    assert len(list(folder.glob("*.tar"))) == 8
    return folder


# --- the order ------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    batch=st.integers(1, 24),
    seed=st.integers(0, 3),
    held=st.integers(0, 3),
)
def test_every_picture_is_shown_once_in_each_epoch_of_its_lane(sizes: list[int], batch: int, seed: int, held: int):
    shards = np.repeat(np.arange(len(sizes)), sizes)
    chosen = np.arange(len(shards))[min(held, len(shards) - 1) :]
    lanes = Lanes(shards, chosen, batch, seed)
    assert batch % lanes.count == 0
    each = np.diff(lanes.bounds)
    assert sum(each) == len(chosen)
    for lane in range(lanes.count):
        indices, _ = lanes.at(lane + lanes.count * np.arange(3 * each[lane]))
        for epoch in indices.reshape(3, -1):
            assert sorted(epoch) == list(range(lanes.bounds[lane], lanes.bounds[lane + 1]))
            kinds = [shard for shard, _ in itertools.groupby(shards[chosen][epoch])]
            assert len(kinds) == len(set(kinds)), "one shard after another"


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=20), lanes=st.integers(1, 8))
def test_lanes_are_of_nearly_the_same_length(sizes: list[int], lanes: int):
    shards = np.repeat(np.arange(len(sizes)), sizes)
    each = np.diff(divide(shards, lanes))
    assert sum(each) == len(shards)
    assert (abs(each - len(shards) / lanes) <= 1 + len(shards) / lanes / 16).all()


def test_lanes_of_equal_shards_are_whole_shards():
    shards = np.repeat(np.arange(8), [100, 101, 100, 99, 100, 100, 101, 98])
    for lanes in (1, 2, 4, 8):
        assert all(shards[end - 1] != shards[end] for end in divide(shards, lanes)[1:-1])


@given(start=st.integers(0, 200), batch=st.sampled_from([4, 6, 8, 12]), world=st.sampled_from([1, 2, 4]))
def test_the_order_is_a_function_of_the_position(start: int, batch: int, world: int):
    shards = np.repeat(np.arange(5), [7, 3, 9, 5, 8])
    expected, flips = Lanes(shards, None, batch, 1).at(np.arange(400))
    for rank in range(world):
        at = np.arange(start + rank, 400, world)
        lanes = Lanes(shards, None, batch, 1)
        for some in np.array_split(at, 7):
            indices, flipped = lanes.at(some)
            np.testing.assert_array_equal(indices, expected[some])
            np.testing.assert_array_equal(flipped, flips[some])


def test_another_seed_is_another_order_and_epochs_differ():
    shards = np.repeat(np.arange(4), 50)
    one, other = (Lanes(shards, None, 4, seed).at(np.arange(400))[0] for seed in (0, 1))
    assert (one != other).mean() > 0.9
    assert (one[:200] != one[200:]).mean() > 0.9


def test_what_follows_is_the_next_shard_of_the_lane():
    shards = np.repeat(np.arange(6), [10, 12, 8, 11, 9, 10])
    lanes = Lanes(shards, None, 2, 3)
    for lane in (0, 1):
        size = int(np.diff(lanes.bounds)[lane])
        order = lanes.at(lane + 2 * np.arange(3 * size))[0].reshape(3, size)
        pieces = [(shard, len(list(same))) for epoch in order for shard, same in itertools.groupby(shards[epoch])]
        place = 0
        for (_, length), (after, _) in itertools.pairwise(pieces):
            for one in range(place, place + length):
                assert lanes.following(np.array([lane + 2 * one])) == [after]
            place += length


# --- batches --------------------------------------------------------------------------------------


def test_batches_are_the_same_for_any_number_of_processes_and_each_opens_its_own_shards(eight: Path):
    one = shown(opened(eight, Form((8, 8), labels=True), True), 30)
    assert sorted(number_of(np.concatenate([_pixels(batch) for batch in one[:20]]))) == list(range(320))
    for world in (2, 4):
        files = []
        for rank in range(world):
            with opening() as own:
                part = shown(opened(eight, Form((8, 8), labels=True), True), 30, rank=rank, world=world)
            for whole, mine in zip(one, part, strict=True):
                np.testing.assert_array_equal(whole.images[rank::world], mine.images)
                np.testing.assert_array_equal(whole.labels[rank::world], mine.labels)  # type: ignore[index]
            files.append(own)
        assert all(len(set(own)) == 8 // world for own in files), files
        assert len(set().union(*files)) == 8


def _pixels(batch: Shown) -> np.ndarray:
    """Floats in [-1, 1] -> uint8, mirrored back."""
    pixels = np.rint((np.asarray(batch.images) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    known = some_pictures(320)
    return np.stack([one if (known == one).all((1, 2, 3)).any() else one[:, ::-1] for one in pixels])


@contextmanager
def opening() -> Iterator[list[str]]:
    """The names of the shards that are opened meanwhile."""
    names: list[str] = []
    real = OpenTar.at

    def noted(path: Path, tar: Tar) -> OpenTar:
        names.append(tar.name)
        return real(path, tar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenTar, "at", noted)
        yield names


def test_labels_go_with_the_pictures(eight: Path):
    for batch in shown(opened(eight, Form((8, 8), labels=True), True), 25):
        assert [number % 5 for number in number_of(_pixels(batch))] == np.asarray(batch.labels).tolist()


def test_batches_go_on_from_anywhere(eight: Path):
    pictures = opened(eight, streamed=True)
    whole = np.concatenate([batch.images for batch in shown(pictures, 50)])
    for start in (0, 16, 160, 328, 400):
        part = np.concatenate([batch.images for batch in shown(pictures, 8, start=start)])
        np.testing.assert_array_equal(part, whole[start : start + len(part)])


@pytest.mark.parametrize(("counts", "world"), [((30,), 1), ((30,), 4), ((25, 9), 4), ((40, 3, 17, 1), 2)])
def test_few_and_unequal_shards(tmp_path: Path, counts: tuple[int, ...], world: int):
    """With fewer shards than processes several read from one; the order is still the same."""
    pixels = some_pictures(sum(counts))
    numbers = iter(range(sum(counts)))
    for at, count in enumerate(counts):
        make_tar(tmp_path / f"{at}.tar", {f"{n}.png": png(pixels[n]) for n in itertools.islice(numbers, count)})
    pictures = opened(tmp_path, streamed=True)
    one = np.concatenate([batch.images for batch in shown(pictures, 10)])
    parts = [shown(opened(tmp_path, streamed=True), 10, rank=rank, world=world) for rank in range(world)]
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(one[rank::world], np.concatenate([batch.images for batch in part]))
    seen = Counter(one.reshape(len(one), -1).sum(1).tolist())
    assert len(seen) >= 0.9 * min(len(pixels), 160)


def test_held_out_pictures_are_not_trained_on(eight: Path):
    training, held = hold_out(opened(eight, streamed=True), 0.1, 0)
    assert held is not None
    kept = number_of(held.take(np.arange(len(held))))
    drawn = {number for batch in shown(training, 40) for number in number_of(_pixels(batch))}
    assert len(kept) == 32
    assert drawn == set(range(320)) - set(kept)


# --- the same pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (12, 20), (64, 48)])
def test_cached_and_streamed_pictures_are_those_that_were_written(
    tmp_path: Path, channels: int, size: tuple[int, int]
):
    pixels = some_pictures(50, size, channels)
    labels = np.array(["cat", "dog"])[np.arange(50) % 2]
    folder = shards_of(pixels, tmp_path / "shards", 0.05, labels)
    for streamed in (False, True):
        pictures = opened(folder, Form(size, labels=True), streamed)
        assert pictures.report.channels == channels
        assert pictures.classes == ("cat", "dog")
        assert bool(pictures.report.streamed) == streamed
        taken = pictures.take(np.arange(50))
        assert sorted(map(bytes, taken)) == sorted(map(bytes, pixels))
        assert pictures.labels is not None
        for one, label in zip(taken, pictures.labels, strict=True):
            (number,) = np.flatnonzero((pixels == one).all((1, 2, 3)))
            assert labels[number] == pictures.classes[label]


@pytest.mark.parametrize(
    "form",
    [Form((16, 16)), Form((6, 10), "pad"), Form((8, 8), "stretch", "grey"), Form((8, 8), colour="rgba", labels=True),
     Form((8, 8), labels=True, only="1,3")],
)  # fmt: skip
def test_streamed_is_cached_in_another_form_too(eight: Path, form: Form):
    cached, streamed = (opened(eight, form, way) for way in (False, True))
    np.testing.assert_array_equal(cached.take(np.arange(len(cached))), streamed.take(np.arange(len(streamed))))
    np.testing.assert_array_equal(cached.labels, streamed.labels)  # type: ignore[arg-type]
    assert cached.classes == streamed.classes
    assert len(streamed) == (128 if form.only else 320)


def test_no_colour_that_nobody_sees_is_learnt_from(tmp_path: Path):
    """Nor from shards that hold such colours, as older ones do."""
    pixels = np.full((2, 8, 8, 4), 200, np.uint8)
    pixels[:, :4, :, 3] = 0
    make_tar(tmp_path / "a.tar", {f"{number}.png": to_plain_png(pixels[number]) for number in range(2)})
    for streamed in (False, True):
        taken = opened(tmp_path, streamed=streamed).take(np.arange(2))
        assert taken.shape == (2, 8, 8, 4)
        assert taken[:, :4].max() == 0
        assert taken[:, 4:].min() == 200


def test_the_size_decides_and_a_variable_says_of_which(eight: Path, monkeypatch: pytest.MonkeyPatch):
    assert not opened(eight).report.streamed
    monkeypatch.setenv("HASAMA_STREAM_GB", "0.00006")
    told = opened(eight).report
    assert told.streamed == 8
    assert "decoded as they are needed" in told.text()
    monkeypatch.setenv("HASAMA_STREAM_GB", "0.00007")
    assert not opened(eight).report.streamed, "320 pictures of 192 bytes"
    monkeypatch.setenv("HASAMA_STREAM_GB", "many")
    with pytest.raises(HasamaError, match="HASAMA_STREAM_GB takes a number of GB"):
        opened(eight)


def test_nothing_is_decoded_before_it_is_needed(eight: Path, own_cache: Path):
    with opening() as names:
        pictures = opened(eight, streamed=True)
        assert names == []
        assert not list(own_cache.rglob("pixels.u8"))
        pictures.take(np.array([0, 1, 2]))
        assert len(names) == 1


def test_opened_again_by_its_key(eight: Path):
    pictures = opened(eight, Form((8, 8), labels=True), True)
    again = open_cached(pictures.report.key)
    assert again is not None
    assert again.report == pictures.report
    np.testing.assert_array_equal(again.labels, pictures.labels)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.take(np.arange(9)), pictures.take(np.arange(9)))


def test_the_webdataset_package_reads_them(eight: Path):
    webdataset = pytest.importorskip("webdataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = webdataset.WebDataset(str(eight / "shard-{000000..000007}.tar"), shardshuffle=False)
        samples = list(dataset.decode("rgb8"))
    assert sorted(number_of(np.stack([sample["png"] for sample in samples]))) == list(range(320))
    assert all(sample["cls"] == int(sample["json"]["class"]) == sample["json"]["label"] for sample in samples)
    assert [sample["cls"] for sample in samples] == [
        number % 5 for number in number_of(np.stack([s["png"] for s in samples]))
    ]


# --- writing --------------------------------------------------------------------------------------


def test_what_shards_json_says_is_true(eight: Path):
    told = json.loads((eight / "shards.json").read_text())
    assert (told["pictures"], told["size"], told["channels"], told["classes"]) == (320, [8, 8], 3, list("01234"))
    for shard in told["shards"]:
        data = (eight / shard["name"]).read_bytes()
        assert len(data) == shard["bytes"]
        assert hashlib.sha256(data).hexdigest() == shard["sha256"]
        assert shard["count"] == 40
        parts = zip(shard["starts"], shard["sizes"], shard["labels"], strict=True)
        numbers = number_of(np.stack([np.asarray(Image.open(io.BytesIO(data[a : a + n]))) for a, n, _ in parts]))
        assert [number % 5 for number in numbers] == shard["labels"]
    assert len({json.dumps(shard["labels"]) for shard in told["shards"]}) == 8, "mixed"


def test_the_same_pictures_make_the_same_shards_even_after_a_kill(tmp_path: Path):
    pixels = some_pictures(200)
    whole = shards_of(pixels, tmp_path / "whole", 0.05)
    source = opened(tmp_path / "whole.npz")
    writing = write_shards(source, tmp_path / "killed", 0.05)
    for _ in range(5):
        next(writing)
    del writing
    assert not (tmp_path / "killed").exists(), "nothing under its name before all is there"
    (begun,) = tmp_path.glob(".killed*/shard-000000.tar")
    before = begun.stat().st_mtime_ns
    deque(write_shards(source, tmp_path / "killed", 0.05), maxlen=0)
    assert (tmp_path / "killed/shard-000000.tar").stat().st_mtime_ns == before, "gone on with"
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in (tmp_path / "killed").iterdir()} == names
    assert all((whole / name).read_bytes() == (tmp_path / "killed" / name).read_bytes() for name in names)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_nothing_that_is_there_is_overwritten(tmp_path: Path):
    shards_of(some_pictures(20), tmp_path / "shards", 1)
    with pytest.raises(HasamaError, match="is there already"):
        deque(write_shards(opened(tmp_path / "shards.npz"), tmp_path / "shards", 1))
    with pytest.raises(HasamaError, match="--shard-mb takes more than 0"):
        deque(write_shards(opened(tmp_path / "shards.npz"), tmp_path / "new", 0))


def test_what_appears_in_the_place_of_the_shards_costs_none_of_them(tmp_path: Path):
    shards_of(some_pictures(20), tmp_path / "whole", 1)
    pictures, out = opened(tmp_path / "whole.npz"), tmp_path / "shards"
    out.mkdir()
    writing = write_shards(pictures, out, 0.002)
    next(writing)
    (out / ".DS_Store").touch()
    with pytest.raises(HasamaError, match=r"All shards are written, but .* Directory not empty"):
        deque(writing, maxlen=0)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".shards.unfinished/*.tar")}
    assert len(written) > 1
    (out / ".DS_Store").unlink()
    deque(write_shards(pictures, out, 0.002), maxlen=0)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == {
        path.name: time for path, time in written.items()
    }
    assert not (out / "plan.json").exists()


@pytest.mark.parametrize("out", [".", "..", "a/.."])
def test_shards_have_a_folder_with_a_name(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(HasamaError, match="shards go into a new folder"):
        check_shards(Path(out), 1.0)


def test_streamed_pictures_can_be_written_again(eight: Path, tmp_path: Path):
    deque(write_shards(opened(eight, Form((8, 8), labels=True), True), tmp_path / "again", 0.02), maxlen=0)
    again = opened(tmp_path / "again", Form((8, 8), labels=True), True)
    assert again.report.streamed == 64
    assert sorted(number_of(again.take(np.arange(320)))) == list(range(320))


@given(
    arrays_of(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))),
    st.booleans(),
)
def test_plain_png(pixels: np.ndarray, large: bool):
    if large:
        pixels = np.tile(pixels, (40, 13, 1))
    data = to_plain_png(pixels)
    np.testing.assert_array_equal(from_plain_png(data), pixels)  # type: ignore[arg-type]
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)
    for cut in (1, 9, len(data) // 2, len(data) - 13):
        assert from_plain_png(data[:cut]) is None
    assert from_plain_png(data[:45] + bytes([data[45] ^ 0x55]) + data[46:]) is None


def test_other_pngs_are_left_to_pillow():
    pixels = np.add.outer(np.arange(40), np.arange(30))[..., None].astype(np.uint8).repeat(3, 2)
    found = from_plain_png(png(pixels))
    assert found is None or (found == pixels).all()
    assert from_plain_png(b"") is None
    assert from_plain_png(png(np.zeros((4, 4, 1), np.uint8))[:20]) is None


# --- other people's tars --------------------------------------------------------------------------


def foreign(folder: Path, count: int = 12) -> Path:
    """Two tars of JPEGs and PNGs, some with classes."""
    pixels = some_pictures(count, (20, 20))
    for at in range(2):
        files = {}
        for number in range(at * count // 2, (at + 1) * count // 2):
            files[f"set/{number:03}.png"] = png(pixels[number])
            files[f"set/{number:03}.cls"] = b"7\n" if number % 2 else b"10"
        make_tar(folder / f"part-{at}.tar", files)
    return folder


def test_a_folder_of_tars_a_pattern_and_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    foreign(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (".", "part-{0..1}.tar", str(tmp_path / "part-{0,1}.tar")):
        for streamed in (False, True):
            pictures = opened(name, Form((20, 20), labels=True), streamed)
            assert pictures.report.classes == {"7": 6, "10": 6}
            assert pictures.labels is not None
            assert pictures.labels.tolist() == [1, 0] * 6
            assert number_of(pictures.take(np.arange(12))) == list(range(12))


def test_a_single_tar_with_classes_beside_its_pictures(tmp_path: Path):
    foreign(tmp_path)
    pictures = opened(tmp_path / "part-1.tar", Form((20, 20), labels=True))
    assert pictures.report.classes == {"7": 3, "10": 3}
    assert pictures.report.skipped == {}
    make_tar(tmp_path / "plain.tar", {"a/1.png": png(some_pictures(1, (20, 20))[0])})
    assert open_source(str(tmp_path / "plain.tar")).shards is None


def test_a_folder_with_an_ordinary_tar_is_read_as_the_tar(tmp_path: Path):
    """Its folders are classes, and a point in a name means nothing."""
    pixels = some_pictures(4, (20, 20))
    names = ("cats/IMG.2023.0.png", "cats/IMG.2023.1.png", "dogs/IMG.2023.0.png", "dogs/IMG.2023.1.png")
    (tmp_path / "it").mkdir()
    make_tar(tmp_path / "it" / "data.tar", dict(zip(names, map(png, pixels), strict=True)))
    for name in (tmp_path / "it", tmp_path / "it" / "data.tar"):
        pictures = opened(name, Form((20, 20), labels=True))
        assert pictures.report.classes == {"cats": 2, "dogs": 2}
        assert pictures.report.skipped == {}
        assert len(opened(name)) == 4


def test_a_folder_whose_only_tar_is_not_there_is_told(tmp_path: Path):
    (tmp_path / "a.tar").symlink_to(tmp_path / "gone.tar")
    with pytest.raises(HasamaError, match=r"The shard .*a\.tar is gone"):
        open_source(str(tmp_path))


def test_a_folder_with_one_tar_of_webdataset_is_shards(tmp_path: Path):
    """As img2dataset writes them: classes and texts beside each picture; or pictures alone, many of them."""
    pixels = some_pictures(4, (20, 20))
    files: dict[str, bytes] = {}
    for number in range(4):
        files |= {f"{number:06}.png": png(pixels[number]), f"{number:06}.json": b'{"label": %d}' % (number % 2),
                  f"{number:06}.txt": b"a picture"}  # fmt: skip
    (tmp_path / "told").mkdir()
    make_tar(tmp_path / "told" / "00000.tar", files)
    for name in (tmp_path / "told", tmp_path / "told" / "00000.tar"):
        assert open_source(str(name)).shards is not None
        assert opened(name, Form((20, 20), labels=True)).report.classes == {"0": 2, "1": 2}
    (tmp_path / "dotted").mkdir()
    dotted = {f"{n}.image.png": png(pixels[n]) for n in range(4)} | {f"{n}.cls": b"%d" % (n % 2) for n in range(4)}
    make_tar(tmp_path / "dotted" / "a.tar", dotted)
    assert opened(tmp_path / "dotted", Form((20, 20), labels=True)).report.classes == {"0": 2, "1": 2}
    (tmp_path / "folders").mkdir()
    roses = {f"{kind}/{n}.png": png(pixels[n]) for n, kind in enumerate(("roses", "tulips"))}
    make_tar(tmp_path / "folders" / "a.tar", roses | {"LICENSE.txt": b"mine"})
    assert opened(tmp_path / "folders", Form((20, 20), labels=True)).report.classes == {"roses": 1, "tulips": 1}
    (tmp_path / "plain").mkdir()
    make_tar(tmp_path / "plain" / "a.tar", {f"{number}.png": png(pixels[number]) for number in range(4)})
    assert open_source(str(tmp_path / "plain")).shards is not None  # which can be streamed


def test_captions_beside_pictures_take_no_classes_from_folders(tmp_path: Path):
    pixels = some_pictures(4, (20, 20))
    for side, classes in ((b'{"width": 20}', {"a": 2, "b": 2}), (b'{"label": "x"}', {"x": 4})):
        files: dict[str, bytes] = {}
        for number in range(4):
            key = f"{'ab'[number % 2]}/{number}"
            files |= {f"{key}.png": png(pixels[number]), f"{key}.txt": b"a caption", f"{key}.json": side}
        folder = tmp_path / min(classes)
        folder.mkdir()
        tar = make_tar(folder / "it.tar", files)
        for name in (tar, folder, folder):
            assert opened(name, Form((20, 20), labels=True)).report.classes == classes


def test_points_in_names_are_no_endings(tmp_path: Path):
    """Screenshots and messengers put the time into names; of WebDataset's groups the plain ending is the picture."""
    pixels = some_pictures(8, (20, 20))
    for number, name in enumerate(("july", "august")):
        files = {f"Screenshot at 10.07.{second:02}.png": png(pixels[4 * number + second]) for second in range(3)}
        make_tar(tmp_path / f"{name}.tar", files | {"it.png": png(pixels[4 * number + 3]), "it.seg.png": b"a mask"})
    pictures = opened(tmp_path)
    assert len(pictures) == 8
    assert set(pictures.report.skipped.values()) == {"a second picture of one name"}  # the masks
    make_tar(
        tmp_path / "july.tar",
        {"a.1.png": png(pixels[0]), "a.1.cls": b"x", "a.2.png": png(pixels[1]), "a.2.cls": b"y"},
    )
    (tmp_path / "august.tar").unlink()
    assert opened(tmp_path, Form((20, 20), labels=True)).report.classes == {"x": 1, "y": 1}


def test_written_twice_at_once_the_second_says_that_they_are_there(tmp_path: Path):
    """And what a killed process left does not come along."""
    np.savez(tmp_path / "p.npz", images=some_pictures(12, (8, 8)))
    pictures = opened(tmp_path / "p.npz")
    left = tmp_path / ".out.unfinished"
    steps = write_shards(pictures, tmp_path / "out", 0.001)
    next(steps)
    (left / ".shard-000001.tar.3d6x179u.tar").write_bytes(b"half")
    steps.close()  # type: ignore[attr-defined]
    list(write_shards(pictures, tmp_path / "out", 0.001))
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(HasamaError, match="out"):
        list(write_shards(pictures, tmp_path / "out", 0.001))
    assert not left.exists()


def test_classes_in_json_missing_ones_and_foreign_members(tmp_path: Path):
    pixels = some_pictures(6, (20, 20))
    make_tar(
        tmp_path / "a.tar",
        {"README.txt": b"hello", "0.png": png(pixels[0]), "0.json": b'{"label": "cat", "width": 20}',
         "1.png": png(pixels[1]), "1.cls": b"dog", "1.txt": b"a dog", "2.png": png(pixels[2]),
         "3.png": b"no picture", "3.cls": b"cat", "4.seg.png": png(pixels[5]), "4.png": png(pixels[4]),
         "4.cls": b"cat"},
    )  # fmt: skip
    for streamed in (False, True):
        labelled = opened(tmp_path, Form((20, 20), labels=True), streamed).report
        assert labelled.classes == {"cat": 2, "dog": 1}
        assert labelled.skipped["a.tar/2.png"] == "without a class (no .cls beside it)"
        assert labelled.skipped["a.tar/3.png"] == "not a picture"
        assert labelled.skipped["a.tar/README.txt"] == labelled.skipped["a.tar/1.txt"] == "not a picture"
        assert labelled.skipped["a.tar/4.seg.png"] == "a second picture of one name"
        free = opened(tmp_path, Form((20, 20)), streamed)
        assert number_of(free.take(np.arange(len(free)))) == [0, 1, 2, 4]


def test_numbers_that_are_no_classes(tmp_path: Path):
    """As in tables and arrays: a score is none, and a number below 0 means none."""
    pixels = some_pictures(5, (20, 20))
    said = {"0.json": b'{"label": 0.9}', "1.json": b'{"label": 2.0}', "2.cls": b"-1\n", "3.cls": b"2", "4.cls": b"-x"}
    make_tar(tmp_path / "a.tar", said | {f"{number}.png": png(pixels[number]) for number in range(5)})
    report = opened(tmp_path, Form((20, 20), labels=True)).report
    assert report.classes == {"2": 2, "-x": 1}
    assert list(report.skipped) == ["a.tar/0.png", "a.tar/2.png"]


def test_they_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    foreign(tmp_path)
    opened(tmp_path, Form((20, 20)), True)

    def never(*_, **__):
        raise AssertionError("it was listed before")

    with monkeypatch.context() as patch:
        patch.setattr("hasama.pictures.sources.sharded.walk", never)
        assert len(open_source(str(tmp_path)).entries) == 12
    make_tar(tmp_path / "part-2.tar", {"9.png": png(some_pictures(1)[0])})
    assert len(open_source(str(tmp_path)).entries) == 13


@pytest.mark.parametrize("cut", [0.5, 0.97, 511, 512 * 3])
def test_a_tar_that_is_cut_short_is_named(tmp_path: Path, cut: float):
    foreign(tmp_path)
    path = tmp_path / "part-1.tar"
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[: int(cut * len(data)) if cut < 1 else int(cut)])
    with pytest.raises(HasamaError, match=r"shard .*part-1\.tar is not a tar file, or is damaged"):
        opened(tmp_path, streamed=True)


def test_a_compressed_tar_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x.png"))
    with pytest.raises(HasamaError, match=r"a\.tar is not a tar file, or is damaged"):
        opened(tmp_path)


def test_a_broken_picture_is_replaced_by_another_of_its_class_in_any_process(tmp_path: Path):
    pixels = some_pictures(40, (20, 20))
    files = {}
    for number in range(40):
        data = png(pixels[number])
        files[f"{number:02}.png"] = data[: len(data) // 2] if number == 5 else data
        files[f"{number:02}.cls"] = b"odd" if number % 2 else b"even"
    make_tar(tmp_path / "a.tar", files)
    pictures = opened(tmp_path, Form((20, 20), labels=True), True)
    with pytest.warns(BrokenPictureWarning, match=r"a\.tar, at byte \d+, is broken"):
        assert number_of(pictures.take(np.arange(4, 8))) == [4, 7, 6, 7]


def test_a_shard_that_changes_or_goes_while_it_is_streamed(tmp_path: Path):
    shards_of(some_pictures(60), tmp_path / "shards", 0.03)
    pictures = opened(tmp_path / "shards", streamed=True)
    (tmp_path / "shards/shard-000000.tar").write_bytes(b"short")
    with pytest.raises(HasamaError, match=r"shard-000000\.tar has changed: it had"):
        shown(pictures, 3)
    assert open_cached(pictures.report.key) is None
    with pytest.raises(HasamaError, match="it has 5 bytes instead of"):
        opened(tmp_path / "shards", streamed=True)
    (tmp_path / "shards/shard-000000.tar").unlink()
    with pytest.raises(HasamaError, match=r"shard-000000\.tar is gone"):
        shown(pictures, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "format"),
        ({"shards": [{"name": "../x.tar"}]}, "LookupError|bytes|no name of a file"),
        ({"channels": 2}, "channels"),
        ({"classes": []}, "of a class that there is not"),
        ({"pictures": 1, "shards": 7}, "not iterable"),
    ],
)
def test_a_damaged_list_of_shards(eight: Path, change: dict, said: str):
    told = json.loads((eight / "shards.json").read_text()) | change
    with pytest.raises(HasamaError, match=f"shards.json is damaged, or no list of shards.*({said})"):
        from_json(json.dumps(told), "shards.json", "")


@pytest.mark.parametrize("field", ["name", "starts", "sizes", "labels", "count", "bytes"])
def test_no_place_outside_of_a_shard_is_believed(eight: Path, field: str):
    told = json.loads((eight / "shards.json").read_text())
    wrong = {"name": "../../etc/passwd", "starts": [-5] * 40, "sizes": [2**40] * 40, "labels": [9] * 40}
    told["shards"][0][field] = wrong.get(field, 3)
    with pytest.raises(HasamaError, match="is damaged, or no list of shards"):
        from_json(json.dumps(told), "shards.json", "")


def test_what_names_shards(tmp_path: Path):
    assert expanded("a-{08..11}-{x,y}.tar") == [f"a-{n:02}-{c}.tar" for n in range(8, 12) for c in "xy"]
    assert shard_place("digits") is None
    assert shard_place(str(tmp_path)) is None, "an empty folder"
    make_tar(tmp_path / "a.tar", {})
    assert shard_place(str(tmp_path)) is not None
    assert shard_place(str(tmp_path / "a.tar")) is None, "a tar of pictures, as ever"
    (tmp_path / "beside.png").write_bytes(b"")
    assert shard_place(str(tmp_path)) is None, "a folder of pictures in which a tar lies"
    place = shard_place("https://host/a/shards.json")
    assert place is not None
    assert (place.folder, place.listed) == ("https://host/a/", True)
    for wrong, said in (
        ("http://host/a.zip", "no address of shards"),
        ("https://host/shards.json?key=1", "without a question mark"),
        ("x/{0..}.tar", "Cannot read {0..}"),
        ("x/{3..1}.tar", "braces take"),
        (str(tmp_path / "{a,b}.tar"), "there is no .*b.tar"),
        ("http://host/{a,b}/1.tar", "several folders"),
    ):
        with pytest.raises(HasamaError, match=said):
            shard_place(wrong)


def test_no_class_is_no_class(eight: Path):
    shards = open_source(str(eight)).shards
    assert shards is not None
    bare = dataclasses.replace(shards.shards[0], labels=np.full(40, NO_CLASS))
    assert len(bare) == 40
    assert open_source(str(eight)).entries[41].name == "shard-000001.tar/picture 1.png"
    assert [entry.label for entry in open_source(str(eight)).entries[:3]] == [
        str(label) for label in shards.shards[0].labels[:3]
    ]
