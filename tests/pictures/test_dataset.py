"""From any folder to batches: nothing breaks the scan, the cache is whole or not there, order is a function."""

import collections
import errno
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from command import run_code, start
from hasama.cli.arguments import tell_room
from hasama.errors import HasamaError
from hasama.pictures import cache, opening
from hasama.pictures import decoding as dataset
from hasama.pictures.cache import Reading, open_cached, open_pictures
from hasama.pictures.dataset import Batch, Pictures, batches
from hasama.pictures.decoding import Form, Scan
from hasama.pictures.report import Report
from hasama.recipe import Recipe
from odd_files import OddFile, encoded, odd_files, scene

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::PIL.Image.DecompressionBombWarning"
)  # Pillow's, of what is odd in these files

SMALL = Recipe(size="8")


def save(folder: Path, **pictures: Image.Image) -> Path:
    """A folder of PNG files; `cat__a` becomes cat/a.png."""
    for name, picture in pictures.items():
        path = folder / (name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture, "PNG"))
    return folder


def plain(shade: int, mode: str = "L", side: int = 8) -> Image.Image:
    return Image.new("RGB", (side, side), (shade, shade, shade)).convert(mode)


def some(folder: Path, count: int = 6) -> Path:
    """A folder of pictures that are told apart by their shade."""
    return save(folder, **{f"p{number}": plain(10 * number + 5) for number in range(count)})


def shades(pictures: Pictures) -> list[int]:
    return pictures.take(np.arange(len(pictures)))[:, 0, 0, 0].tolist()


# --- anything may lie in a folder -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def messy(tmp_path_factory) -> tuple[Path, list[OddFile]]:
    """Some 350 files of every kind, whole, broken and odd."""
    folder = tmp_path_factory.mktemp("messy")
    files = list(odd_files())
    for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "circle").symlink_to(".")
    (folder / "folder.png").mkdir()
    files += [OddFile("pipe.jpg", b"", "skipped"), OddFile("dangling.png", b"", "skipped")]
    return folder, files


@pytest.mark.parametrize("form", [Form((16, 16)), Form((9, 20), "pad", "rgba")])
def test_good_pictures_are_used_and_all_others_named(messy, form):
    folder, files = messy
    assert len(files) >= 200
    assert len({file.name for file in files}) == len(files)
    reading = Reading(str(folder), form)
    told = list(reading.scan())
    pictures, report = reading.pictures(), reading.pictures().report

    expected = {file.name.replace("\n", "\\n"): file.fate for file in files}
    assert report.found == len(files)
    assert report.used + len(report.skipped) == report.found
    assert len(pictures) == report.used
    assert set(report.skipped) <= set(expected)
    assert [name for name, fate in expected.items() if fate == "used" and name in report.skipped] == []
    assert [name for name, fate in expected.items() if fate == "skipped" and name not in report.skipped] == []
    for name, why in report.skipped.items():
        assert 3 < len(why) < 200, name
        assert str(folder) not in why, "so that many files share a reason"
        assert why.isprintable()
    assert pictures.take(np.arange(len(pictures))).shape == (report.used, *form.resolution, report.channels)
    assert [scan.done for scan in told if scan.stage == "looking"] == list(range(1, len(files) + 1))
    assert told[-1] == Scan(told[-1].total, told[-1].total, "decoding")


def test_the_reasons_say_what_is_wrong(messy):
    folder, _ = messy
    skipped = open_pictures(str(folder), Recipe(size="16")).report.skipped
    assert skipped["pipe.jpg"] == "not a file"
    assert skipped["dangling.png"] == "no such file or directory"
    assert skipped["none/a-letter.jpg"] == skipped["none/empty.jpg"] == skipped["none/notes.txt"] == "not a picture"
    assert skipped["none/bomb.png"] == skipped["none/bomb.bmp"] == "gigantic"
    assert skipped["none/smaller-bomb.png"] == "gigantic (11000x11000 pixels)"
    assert skipped["cut-early/plain.jpg"] == skipped["cut-early/rgb.bmp"] == "truncated"


def test_a_source_without_one_picture_says_why(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_text("no picture")
    with pytest.raises(HasamaError, match=r"(?s)No picture .* can be used.*7 not a picture: 0.jpg, .* and 2 more"):
        open_pictures(str(tmp_path), SMALL)


def test_every_kind_of_source_becomes_pictures(tmp_path):
    pixels = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8)
    np.savez(tmp_path / "a.npz", images=pixels)
    opened = open_pictures(str(tmp_path / "a.npz"), SMALL)
    np.testing.assert_array_equal(opened.take(np.array([2, 0])), pixels[[2, 0], ..., None])
    digits = open_pictures("digits", Recipe(size="8", labels=True))
    assert (len(digits), digits.classes, digits.report.channels) == (1797, tuple("0123456789"), 1)
    assert digits.labels is not None
    assert digits.labels[:5].tolist() == [0, 1, 2, 3, 4]


def test_fitting_is_done_as_asked(tmp_path):
    save(tmp_path, wide=Image.new("L", (40, 20), 200))
    for fit, bars in (("crop", 0), ("pad", 7), ("stretch", 0)):
        (pixels,) = open_pictures(str(tmp_path), Recipe(size="10x20").but(fit=fit)).take(np.array([0]))
        assert pixels.shape == (20, 10, 1)
        assert (pixels[:bars] == 0).all()
        assert (pixels[10] == 200).all()


# --- colour -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modes", "channels"),
    [
        ("L L 1", 1),
        ("I;16 L", 1),
        ("L RGB L", 3),
        ("L P", 3),
        ("RGBA RGBA L", 4),
        ("RGBA LA", 4),
        ("RGBA L", 3),
        ("RGBA RGB RGB", 3),
    ],
)
def test_auto_takes_the_fewest_channels_that_serve(tmp_path, modes, channels):
    made = {
        f"p{n}": plain(90).convert("RGB" if mode == "P" else "L").convert(mode)
        for n, mode in enumerate(modes.split())
    }
    assert open_pictures(str(save(tmp_path, **made)), SMALL).report.channels == channels


@pytest.mark.parametrize(("modes", "told"), [("RGBA RGB RGB", "1 of 3"), ("RGB RGB", ""), ("RGBA RGBA L", "")])
def test_transparency_that_is_lost_unasked_is_told(tmp_path: Path, modes: str, told: str):
    made = {f"p{n}": plain(90 + n).convert(mode) for n, mode in enumerate(modes.split())}
    folder = str(save(tmp_path, **made))
    assert ("--colour rgba keeps it" in open_pictures(folder, SMALL).report.note) == bool(told)
    assert open_pictures(folder, SMALL).report.note.startswith(told)
    assert not open_pictures(folder, SMALL.but(colour="rgb")).report.note


def test_a_black_drawing_on_nothing_is_not_dark(tmp_path: Path):
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((9, 9, 9, 255), (2, 2, 6, 6))
    report = open_pictures(str(save(tmp_path / "drawn", a=drawing)), SMALL).report
    assert (report.channels, report.dark, report.brightest) == (4, 0, 255)
    drawing.paste((9, 9, 9, 250), (0, 0, 8, 8))
    report = open_pictures(str(save(tmp_path / "black", a=drawing)), SMALL).report
    assert (report.channels, report.dark, report.brightest) == (4, 1, 13)


def test_broken_files_have_no_say_in_the_colour(tmp_path):
    save(tmp_path, a=plain(1), b=plain(2))
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(scene(), "PNG")[:20])
    assert open_pictures(str(tmp_path), SMALL).report.channels == 1


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3), ("rgba", 4)])
def test_colour_can_be_ordered(tmp_path, colour, channels):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    opened = open_pictures(str(save(tmp_path, a=plain(7), b=clear)), Recipe(size="8", colour=colour))
    first, second = opened.take(np.arange(2))[:, 4, 4].tolist()
    assert first == [7] * channels if channels < 4 else first == [7, 7, 7, 255]
    assert second == ([255] * channels if channels < 4 else [0, 0, 0, 0])


# --- classes ----------------------------------------------------------------------------------------


def test_classes_are_numbered_by_name_and_numbers_as_numbers(tmp_path):
    save(tmp_path, **{"10__a": plain(1), "9__b": plain(2), "cat__c": plain(3), "9__d": plain(4)})
    opened = open_pictures(str(tmp_path), Recipe(size="8", labels=True))
    assert opened.classes == ("9", "10", "cat")
    assert opened.report.classes == {"9": 2, "10": 1, "cat": 1}
    assert opened.labels is not None
    assert dict(zip(shades(opened), opened.labels.tolist(), strict=True)) == {1: 1, 2: 0, 3: 2, 4: 0}


def test_pictures_without_a_class_are_skipped_where_classes_are_wanted(tmp_path):
    save(tmp_path, cat__a=plain(1), stray=plain(2), dog__b=plain(3))
    wanted = open_pictures(str(tmp_path), Recipe(size="8", labels=True))
    assert list(wanted.report.skipped.items()) == [("stray.png", "without a class (in no sub-folder)")]
    assert shades(wanted) == [1, 3]
    unwanted = open_pictures(str(tmp_path), SMALL)
    assert (unwanted.labels, unwanted.classes, len(unwanted)) == (None, (), 3)


def test_no_classes_at_all_is_an_error(tmp_path):
    with pytest.raises(HasamaError, match="6 without a class"):
        open_pictures(str(some(tmp_path)), Recipe(size="8", labels=True))


def test_a_skipped_picture_takes_its_label_along(tmp_path):
    save(tmp_path, a__a=plain(1), a__b=plain(2), b__c=plain(3))
    (tmp_path / "a" / "aa.png").write_text("no picture")
    opened = open_pictures(str(tmp_path), Recipe(size="8", labels=True))
    assert opened.labels is not None
    assert opened.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("stage", ["identified", "_decode"])
def test_what_a_failing_disk_does_is_no_fault_of_a_picture_and_is_not_kept(tmp_path, monkeypatch, stage):
    some(tmp_path)
    working = True

    def failing(one: object, *others: object, **named: object):
        if not working and "p3" in f"{getattr(one, 'name', '')}":
            raise OSError(errno.EIO, "Input/output error")
        return whole(one, *others, **named)

    module = opening if stage == "identified" else dataset
    whole = getattr(module, stage)
    monkeypatch.setattr(module, stage, failing)
    working = False
    with pytest.raises(HasamaError, match=r"^p3\.png cannot be read now \(input/output error\)"):
        open_pictures(str(tmp_path), SMALL)
    working = True
    assert len(open_pictures(str(tmp_path), SMALL)) == 6


# --- the report -------------------------------------------------------------------------------------


def test_duplicates_are_reported_and_kept(tmp_path):
    save(tmp_path, **{"a, 1": plain(1), "a, 2": plain(1), "b": plain(2), "c": plain(1), "d": plain(1)})
    opened = open_pictures(str(tmp_path), SMALL)
    assert opened.report.duplicates == [["a, 1.png", "a, 2.png", "c.png", "d.png"]]
    assert len(opened) == 5
    assert "3 (kept), such as a, 1.png = a, 2.png = c.png and 1 more" in opened.report.text()


def test_the_report_mentions_everything():
    report = Report(
        "folder cats", 12, 8, (96, 64), 3, "pad", "key", skipped={f"{n}.txt": "not a picture" for n in range(3)}
    )
    report.skipped["b.jpg"] = "truncated"
    report.duplicates = [["a.png", "c.png"], ["d.png", "e.png", "f.png"]]
    report.classes = {"cat": 5, "dog": 3}
    text = report.text()
    assert text.splitlines() == [
        "folder cats: 12 files, 8 pictures, 4 skipped",
        "  form        64 wide, 96 high, RGB, fit by pad",
        "  skipped     3 not a picture: 0.txt, 1.txt, 2.txt",
        "  skipped     1 truncated: b.jpg",
        "  duplicates  3 (kept), such as a.png = c.png",
        "  classes     cat (5), dog (3)",
    ]


# --- the cache --------------------------------------------------------------------------------------


@pytest.fixture
def no_decoding(monkeypatch):
    """Whoever opens a picture file now fails the test."""

    def opened(*args, **kwargs):
        raise AssertionError("a picture was decoded")

    def forbid() -> None:
        monkeypatch.setattr(Image, "open", opened)

    return forbid


def test_the_second_time_nothing_is_decoded(tmp_path, no_decoding):
    first = open_pictures(str(some(tmp_path)), SMALL)
    no_decoding()
    reading = Reading(str(tmp_path), Form.of(SMALL))
    assert list(reading.scan()) == []
    second = reading.pictures()
    assert second.report == first.report
    np.testing.assert_array_equal(second.take(np.arange(6)), first.take(np.arange(6)))
    assert len(first.report.digest) == 32
    with pytest.raises(HasamaError, match="a picture was decoded"):
        open_pictures(str(tmp_path), SMALL.but(size="9"))


def edited(**changes):
    def edit(folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text())
        (folder / "about.json").write_text(json.dumps({**about, **changes}))

    return edit


def cut(name: str, to: int):
    def shorten(folder: Path) -> None:
        os.truncate(folder / name, to)

    return shorten


def report_without_a_field(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    del about["report"]["digest"], about["report"]["resolution"]
    (folder / "about.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "damage",
    [
        cut("pixels.u8", 0),
        cut("pixels.u8", 6 * 64 - 1),
        cut("pixels.u8", 6 * 64 + 1),
        cut("about.json", 0),
        cut("about.json", 100),
        lambda folder: (folder / "pixels.u8").unlink(),
        lambda folder: (folder / "about.json").unlink(),
        lambda folder: (folder / "about.json").write_text("[]"),
        lambda folder: (folder / "about.json").write_text("null"),
        lambda folder: (folder / "about.json").write_text("{}"),
        lambda folder: (folder / "about.json").write_bytes(b"\xff\xfe\0"),
        edited(shape="none"),
        edited(shape=None),
        edited(report={}),
        edited(report=7),
        edited(labels=[0]),
        report_without_a_field,
    ],
)
def test_a_damaged_cache_is_never_used_and_always_rebuilt(tmp_path, damage):
    first = open_pictures(str(some(tmp_path)), SMALL)
    folder = cache.cached(first.report.key)
    damage(folder)
    assert open_cached(first.report.key) is None
    again = open_pictures(str(tmp_path), SMALL)
    assert again.report == first.report
    assert shades(again) == [5, 15, 25, 35, 45, 55]
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "pixels.u8"]


def test_what_a_killed_scan_left_is_swept_away(tmp_path):
    key = Reading(str(some(tmp_path)), Form.of(SMALL)).key
    unfinished = cache.cached(key).with_suffix(".unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / "pixels.u8").write_bytes(bytes(6 * 64))
    (unfinished / "about.json").write_text("{")
    assert shades(open_pictures(str(tmp_path), SMALL)) == [5, 15, 25, 35, 45, 55]
    assert not unfinished.exists()


def test_the_cache_gets_its_name_only_at_the_very_end(tmp_path, monkeypatch):
    reading = Reading(str(some(tmp_path)), Form.of(SMALL))
    assert not any(cache.cached(reading.key).exists() for _ in reading.scan())
    assert cache.cached(reading.key).exists()

    def dies(self, target):
        assert {path.name for path in self.iterdir()} == {"about.json", "pixels.u8"}
        raise KeyboardInterrupt

    another = Reading(str(tmp_path), Form((9, 9)))
    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        list(another.scan())
    assert not cache.cached(another.key).exists()


KILLED = """
import sys, time
from hasama.pictures.cache import Reading
from hasama.pictures.decoding import Form
for scan in Reading(sys.argv[1], Form((8, 8))).scan():
    if scan.stage == "decoding":
        print("in the middle", flush=True)
        time.sleep(60)
"""


def test_a_killed_process_locks_nobody_out(tmp_path, own_cache):
    some(tmp_path)
    process = start(KILLED, tmp_path, main=run_code)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    assert ".unfinished" in [path.suffix for path in (own_cache / "pictures").iterdir()]
    process.kill()
    process.communicate()
    assert shades(open_pictures(str(tmp_path), SMALL)) == [5, 15, 25, 35, 45, 55]
    assert sorted(path.suffix for path in (own_cache / "pictures").iterdir()) == ["", ".lock"]


@pytest.mark.parametrize("stage", ["looking", "decoding"])
def test_a_scan_that_is_given_up_leaves_nothing(tmp_path, stage):
    reading = Reading(str(some(tmp_path)), Form.of(SMALL))
    scan = reading.scan()
    next(record for record in scan if record.stage == stage)
    assert isinstance(scan, Iterator)
    scan.close()  # type: ignore[attr-defined]
    assert open_cached(reading.key) is None
    assert [path.suffix for path in cache.cached(reading.key).parent.iterdir()] in ([], [".lock"])
    with pytest.raises(HasamaError, match="vanished"):
        reading.pictures()
    assert len(open_pictures(str(tmp_path), SMALL)) == 6


def test_a_full_disk_leaves_nothing_and_is_said(tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "_settle", full)
    with pytest.raises(HasamaError, match=r"No space left on device.*HASAMA_CACHE"):
        open_pictures(str(some(tmp_path)), SMALL)
    monkeypatch.undo()


@pytest.mark.parametrize("place", ["/proc/nope", "a-file", "a-file/below"])
def test_an_impossible_cache_is_said(tmp_path, monkeypatch, place):
    some(tmp_path / "pictures")
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("HASAMA_CACHE", str(tmp_path / place))
    with pytest.raises(HasamaError, match=r"Cannot write .*HASAMA_CACHE names another place"):
        open_pictures(str(tmp_path / "pictures"), SMALL)


def test_any_change_makes_another_key(tmp_path):
    def key(recipe: Recipe = SMALL) -> str:
        return Reading(str(tmp_path), Form.of(recipe)).key

    save(tmp_path, cat__a=plain(1), cat__b=plain(2))
    seen = [key()]
    for changes in ({"size": "9"}, {"size": "8x9"}, {"fit": "pad"}, {"colour": "rgb"}, {"labels": True}):
        seen.append(key(SMALL.but(**changes)))
    assert key(SMALL.but(batch=5, mirror=True, width=8)) == seen[0], "what does not change the pixels does not count"
    save(tmp_path, cat__a=plain(3))
    seen.append(key())
    (tmp_path / "cat" / "b.png").rename(tmp_path / "cat" / "c.png")
    seen.append(key())
    (tmp_path / "cat" / "a.png").unlink()
    seen.append(key())
    (tmp_path / "cat").rename(tmp_path / "dog")
    seen.append(key())
    (tmp_path / "notes.txt").touch()
    seen.append(key())
    assert len(set(seen)) == len(seen)


def test_a_changed_picture_is_seen(tmp_path):
    old = open_pictures(str(some(tmp_path)), SMALL)
    save(tmp_path, p0=plain(200))
    new = open_pictures(str(tmp_path), SMALL)
    assert shades(new)[0] == 200
    assert new.report.digest != old.report.digest
    assert shades(old)[0] == 5, "who has the old ones open keeps them"


PROCESS = """
import sys, time
from pathlib import Path
from hasama.pictures.cache import open_pictures
from hasama.recipe import Recipe
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
report = open_pictures(sys.argv[1], Recipe(size="16")).report
print(report.digest, report.used)
"""


def test_two_processes_at_once_agree(tmp_path, own_cache):
    for number in range(60):
        (tmp_path / f"{number}.png").write_bytes(encoded(scene(seed=number), "PNG", exif=b"Exif\0\0damaged"))
    go = own_cache / "go"
    two = [start(PROCESS, tmp_path, go, main=run_code, stderr=subprocess.PIPE) for _ in range(2)]
    for process in two:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    said = [process.communicate() for process in two]
    here = open_pictures(str(tmp_path), Recipe(size="16")).report
    assert said == [(f"{here.digest} 60\n", "")] * 2, "the same digest, and nothing on the terminal"
    kept = [path.suffix for path in (own_cache / "pictures").iterdir()]
    assert sorted(kept) == ["", ".lock"]


# --- one picture ------------------------------------------------------------------------------------


def texture(tmp_path: Path, width: int, height: int) -> str:
    path = tmp_path / "texture.png"
    path.write_bytes(encoded(scene(width, height), "PNG"))
    return str(path)


@pytest.mark.parametrize("size", [(100, 60), (48, 30), (16, 12), (7, 5), (1, 1), (400, 13), (3, 200)])
def test_crops_have_the_size_and_lie_inside(tmp_path, size):
    opened = open_pictures(texture(tmp_path, *size), Recipe(size="16x12"))
    assert opened.corners is not None
    highest = np.array(opened.stored.shape[1:3]) - (12, 16)
    assert (highest >= 0).all()
    assert ((opened.corners >= 0) & (opened.corners <= highest)).all()
    assert len(opened) == opened.report.crops == min(20_000, int(np.prod(highest + 1)))
    crops = opened.take(np.arange(len(opened))[:50])
    assert crops.shape[1:] == (12, 16, 3)
    for crop, (y, x) in zip(crops, opened.corners, strict=False):
        np.testing.assert_array_equal(crop, opened.stored[0, y : y + 12, x : x + 16])


def test_crops_are_the_same_every_time_and_reach_every_side(tmp_path, monkeypatch):
    source, recipe = texture(tmp_path, 100, 100), Recipe(size="16")
    first = open_pictures(source, recipe)
    monkeypatch.setenv("HASAMA_CACHE", str(tmp_path / "another"))
    second = open_pictures(source, recipe)
    assert first.corners is not None
    assert second.corners is not None
    np.testing.assert_array_equal(first.corners, second.corners)
    assert first.stored.shape[1:3] == (48, 48), "scaled so that a crop shows a third of it"
    assert first.corners.min(axis=0).tolist() == [0, 0]
    assert first.corners.max(axis=0).tolist() == [32, 32]
    assert "cut from it as 1089 random crops" in first.report.text()


@pytest.mark.parametrize(
    ("size", "told"),
    [((16, 12), "only one crop"), ((8, 6), "only one crop"), ((18, 13), "only 6 crops"), ((40, 12), ""),
     ((20, 15), ""), ((90, 90), "")],
)  # fmt: skip
def test_one_picture_with_hardly_a_choice_of_crops_is_warned_of(tmp_path: Path, size: tuple[int, int], told: str):
    warnings = open_pictures(texture(tmp_path, *size), Recipe(size="16x12")).report.warnings()
    assert len(warnings) == bool(told)
    assert all(told in one and "At 16x12 pixels" in one and "--size 8x6;" in one for one in warnings)


def test_a_picture_too_narrow_to_enlarge_is_refused(tmp_path):
    with pytest.raises(HasamaError, match=r"too narrow \(1x3000 pixels\)"):
        open_pictures(texture(tmp_path, 1, 3000), Recipe(size="512"))


def test_a_broken_picture_as_the_only_one(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(scene(), "JPEG")[:400])
    with pytest.raises(HasamaError, match=r"(?s)No picture .*truncated: a.jpg"):
        open_pictures(str(tmp_path / "a.jpg"), SMALL)


# --- batches ----------------------------------------------------------------------------------------


def numbered(count: int, labelled: bool = True) -> Pictures:
    """Pictures that show their own number, as a ramp that tells left from right."""
    pixels = np.zeros((count, 4, 6, 3), np.uint8)
    pixels[..., 0] = (np.arange(count) // 256)[:, None, None]
    pixels[..., 1] = (np.arange(count) % 256)[:, None, None]
    pixels[..., 2] = np.arange(6) * 50
    report = Report("numbers", count, count, (4, 6), 3, "crop", "key")
    return Pictures(pixels, np.arange(count) % 3 if labelled else None, report)


def flat(drawn: list[Batch]) -> np.ndarray:
    """The batches' pictures one after another, uint8 [n, H, W, C]."""
    joined = torch.cat([batch.images for batch in drawn])
    return ((joined.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def numbers(drawn: list[Batch]) -> list[int]:
    pixels = flat(drawn).astype(int)
    return (256 * pixels[:, 0, 0, 0] + pixels[:, 0, 0, 1]).tolist()


def draw(count: int, batch: int, seed: int, how_many: int, **options) -> list[Batch]:
    return list(itertools.islice(batches(numbered(count), batch, seed, **options), how_many))


def test_batches_are_what_the_networks_take():
    (batch,) = draw(9, 5, 0, 1)
    assert batch.images.shape == (5, 3, 4, 6)
    assert batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.min() == -1
    assert -1 <= batch.images.max() <= 1
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [number % 3 for number in numbers([batch])]
    assert next(batches(numbered(9, labelled=False), 5, 0)).labels is None


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_every_epoch_shows_each_picture_once(count, batch, seed):
    epochs = 3
    order = numbers(draw(count, batch, seed, -(-epochs * count // batch)))
    for epoch in range(epochs):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_order_is_a_function_of_seed_and_epoch():
    def epochs(seed: int, batch: int) -> list[list[int]]:
        order = numbers(draw(50, batch, seed, -(-150 // batch)))
        return [order[:50], order[50:100], order[100:150]]

    assert epochs(1, 7) == epochs(1, 50) == epochs(1, 150)
    told = [tuple(order) for seed in (1, 2) for order in epochs(seed, 10)]
    assert len(set(told)) == 6, "every epoch and every seed has its own order"


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 200), st.integers(0, 5), st.booleans())
def test_starting_anywhere_gives_the_same_continuation(count, batch, start, seed, mirror):
    whole = flat(draw(count, 1, seed, start + 3 * batch, mirror=mirror))
    later = draw(count, batch, seed, 3, start=start, mirror=mirror)
    np.testing.assert_array_equal(flat(later), whole[start:])


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(2, 50), st.integers(1, 5), st.integers(0, 100), st.booleans())
def test_processes_share_each_batch_without_gap_or_overlap(count, batch, world, start, mirror):
    together = draw(count, batch, 3, 2, start=start, mirror=mirror)
    shares = [draw(count, batch, 3, 2, start=start, mirror=mirror, rank=rank, world=world) for rank in range(world)]
    for step, one in enumerate(together):
        pixels = flat([one])
        rebuilt = np.zeros_like(pixels)
        filled = np.zeros(len(pixels), int)
        for rank in range(world):
            rebuilt[rank::world] = flat([shares[rank][step]])
            filled[rank::world] += 1
        np.testing.assert_array_equal(rebuilt, pixels)
        assert (filled == 1).all()
        assert sum(len(share[step].images) for share in shares) == batch


def test_mirroring_flips_about_half_and_another_half_each_epoch():
    def flipped(seed: int, **options) -> np.ndarray:
        pixels = flat(draw(1000, 100, seed, 20, **options))
        ramp = np.arange(6) * 50
        backward = (pixels[:, 0, :, 2] == ramp[::-1]).all(axis=1)
        assert (backward | (pixels[:, 0, :, 2] == ramp).all(axis=1)).all()
        return backward

    first = flipped(4, mirror=True)
    assert 430 < first[:1000].sum() < 570
    np.testing.assert_array_equal(first, flipped(4, mirror=True))
    assert (first != flipped(5, mirror=True)).any()
    assert not flipped(4).any()
    order = numbers(draw(1000, 100, 4, 20))
    turned = collections.Counter(number for number, turn in zip(order, first, strict=True) if turn)
    assert 400 < sum(times == 1 for times in turned.values()) < 600, "flips are drawn anew in every epoch"


def test_mirroring_changes_nothing_in_the_order_and_nothing_in_the_store():
    pictures = numbered(30)
    before = np.array(pictures.stored[:])
    mirrored = list(itertools.islice(batches(pictures, 10, 7, mirror=True), 9))
    np.testing.assert_array_equal(pictures.stored[:], before)
    assert numbers(mirrored) == numbers(draw(30, 10, 7, 9))


def test_batches_from_the_cache_and_from_crops(tmp_path):
    cached = open_pictures(str(some(tmp_path / "folder")), SMALL)
    images = next(batches(cached, 6, 0, mirror=True)).images
    assert sorted(((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()) == [5, 15, 25, 35, 45, 55]
    crops = open_pictures(texture(tmp_path, 40, 30), Recipe(size="16x12"))
    assert next(batches(crops, 64, 0, mirror=True)).images.shape == (64, 3, 12, 16)


def test_a_cache_that_will_not_fit_is_refused_before_anything_is_read(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
):
    """At least one channel of each picture."""
    reading = Reading(str(pictures), Form.of(Recipe(size="4096")))
    count = len(reading.source.entries)
    assert reading.room == count * 4096**2
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=count * 4096**2 - 1))
    with pytest.raises(HasamaError, match=r"at least \S+ GB in the cache.*--size.*HASAMA_CACHE"):
        next(reading.scan())
    small = Reading(str(pictures), Form.of(Recipe(size="8", colour="rgba")))
    assert small.room == count * 8 * 8 * 4
    list(small.scan())
    assert small.room == 0  # it is there


def test_a_large_cache_is_told_of(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for room, words in ((5e9, "take 5 GB or more in the cache"), (3e9, "")):
        monkeypatch.setattr(Reading, "room", property(lambda reading, room=room: room))
        tell_room(Reading(str(pictures), Form.of(Recipe(size="8"))))
        out = capsys.readouterr().out
        assert words in out
        assert bool(out) == bool(words)
