"""Tars are read as zips are; formats that are not read are named; lists give the classes."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.cache import open_pictures
from hasama.pictures.sources import archives
from hasama.pictures.sources.sources import open_source
from hasama.recipe import Recipe
from odd_files import encoded, scene

SMALL = Recipe(size="8")
LABELLED = Recipe(size="8", labels=True)


def png(shade: int) -> bytes:
    return encoded(Image.new("RGB", (6, 4), (shade, 0, 0)), "PNG")


def packed(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


FILES = {"set/dog/b.png": png(2), "./set/cat/a.png": png(1), "/set/cat/.hidden.png": png(9), "set/README": b"hello"}
MODES = {"a.tar": "w", "a.tar.gz": "w:gz", "b.tgz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz", "odd": "w:gz"}

# --- tar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_tars_are_read_in_the_order_of_names(tmp_path: Path, name: str):
    source = open_source(str(packed(tmp_path / name, FILES, MODES[name])))
    assert [(entry.name, entry.label) for entry in source.entries][1:] == [
        ("set/cat/a.png", "cat"),
        ("set/dog/b.png", "dog"),
    ]
    assert [np.asarray(entry.open(None))[0, 0, 0] for entry in source.entries[1:]] == [1, 2]
    assert not source.crops


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz"])
def test_damaged_tars_are_told(tmp_path: Path, name: str):
    whole = packed(tmp_path / name, {f"{n}.png": encoded(scene(seed=n), "PNG") for n in range(9)}, MODES[name])
    data = whole.read_bytes()
    for kept in (0.3, 0.6, 0.97 if name != "a.tar" else 0.6):
        whole.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(HasamaError, match="is not a tar file, or is damaged"):
            open_source(str(whole))
    whole.write_bytes(b"no tar at all" * 99)
    with pytest.raises(HasamaError, match="is not a tar file, or is damaged"):
        open_source(str(whole))
    if name == "a.tar":
        middle = len(data) // 2 // 512 * 512
        for place in range(0, len(data), 512):
            if data[place + 257 : place + 262] == b"ustar" and place > middle:
                whole.write_bytes(data[: place + 150] + b"\xff" + data[place + 151 :])
                with pytest.raises(HasamaError, match="damaged"):
                    open_source(str(whole))
                break


def test_links_and_unsafe_names_in_a_tar_touch_nothing(tmp_path: Path):
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("../../evil.png", tarfile.REGTYPE, ""),
            ("hard.png", tarfile.LNKTYPE, "../../evil.png"),
            ("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("device.png", tarfile.CHRTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(png(7)) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(png(7)))
    report = open_pictures(str(path), SMALL).report
    assert report.used == 1  # the name that begins with a dot is hidden
    assert report.skipped == {"soft.png": "a link"}
    assert not list(tmp_path.rglob("*.png"))


def test_bombs_are_refused(tmp_path: Path, monkeypatch):
    path = packed(tmp_path / "a.tar.gz", {"a.png": bytes(3_000_000)}, "w:gz")
    monkeypatch.setattr(archives, "BOMB_BYTES", 1_000_000)
    with pytest.raises(HasamaError, match="unpacks to more than 200 times its size"):
        open_source(str(path))


# --- names for what is not read -------------------------------------------------------------------

BOXED = b"\0\0\0\x18ftyp%s\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("IMG.jpg", BOXED % b"heic", "a HEIC photo"),
        ("IMG.HEIC", b"", "a HEIC photo"),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "raw photo (Canon CR3)"),
        ("a.NEF", encoded(scene(), "TIFF"), "raw photo (Nikon NEF)"),
        ("a.dng", encoded(scene(), "TIFF"), "raw photo (DNG)"),
        ("a.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        ("a.psd", b"8BPS" + bytes(40), "Photoshop"),
        ("a.mov", b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a film (MOV)"),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + bytes(40), "a film"),
        ("a.rar", b"Rar!\x1a\x07\0", "an archive inside the folder: unpack it first"),
        ("a.zip", b"PK\x03\x04" + bytes(40), "an archive inside the folder: unpack it first"),
        ("data.mdb", bytes(16) + b"\xde\xc0\xef\xbe" + bytes(40), "an LMDB database"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
        ("a.tfrecord-00001-of-00002", bytes(40), "TensorFlow records"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("a.png", b"<!DOCTYPE html><html>", "a web page"),
        ("a.aae", b"<plist/>", "not a picture"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, data: bytes, words: str):
    (tmp_path / "good.png").write_bytes(png(5))
    (tmp_path / name).write_bytes(data)
    for recipe in (SMALL, SMALL.but(colour="rgb")):
        report = open_pictures(str(tmp_path), recipe).report
        assert words in report.skipped[name]
        assert report.used == 1


@pytest.mark.parametrize("name", ["a.tfrecord", "a.7z", "a.pkl", "a.mp4"])
def test_a_file_of_another_kind_is_no_source(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(bytes(50))
    with pytest.raises(HasamaError, match=rf"{name} is an? .*: "):
        open_source(str(tmp_path / name))


def test_an_archive_inside_an_archive(tmp_path: Path):
    inner = packed(tmp_path / "inner.tar", FILES).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.tar", inner)
        archive.writestr("a.png", png(1))
    skipped = open_pictures(str(tmp_path / "a.zip"), SMALL).report.skipped
    assert skipped == {"inner.tar": "an archive inside the archive: unpack it first"}


# --- lists of classes -----------------------------------------------------------------------------


def listed(folder: Path, name: str, text: str) -> Path:
    for number in range(4):
        path = folder / "00000" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (folder / name).write_text(text)
    return folder


PAIRS = [[f"00000/{number}.png", number % 2] for number in range(4)]
LISTS = {
    "dataset.json": json.dumps({"labels": PAIRS}),
    "metadata.jsonl": "\n".join(json.dumps({"file_name": name, "label": label}) for name, label in PAIRS),
    "metadata.csv": "file_name,labels\n" + "\n".join(f"{name},{label}" for name, label in PAIRS),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_lists_give_the_classes_and_are_no_pictures(tmp_path: Path, name: str, kind: str):
    folder = listed(tmp_path / "set", name, LISTS[name])
    source = folder
    if kind != "folder":
        source = tmp_path / f"set.{kind}"
        files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        if kind == "tar":
            packed(source, files)
        else:
            with zipfile.ZipFile(source, "w") as archive:
                for each, data in files.items():
                    archive.writestr(each, data)
    report = open_pictures(str(source), LABELLED).report
    assert report.classes == {"0": 2, "1": 2}
    assert (report.found, report.skipped) == (4, {})
    assert open_pictures(str(source), SMALL).report.found == 4


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dataset.json", '{"labels": null}', '"labels": null'),
        ("dataset.json", json.dumps({"labels": [[n, [0.0, 1.0]] for n, _ in PAIRS]}), "one-hot"),
        ("dataset.json", json.dumps({"labels": [[n, 0.5] for n, _ in PAIRS]}), "measured number"),
        ("dataset.json", json.dumps({"labels": [["other.png", 1]]}), "names none of the files"),
        ("dataset.json", "{", "not JSON"),
        ("metadata.jsonl", '{"file_name": "00000/0.png", "label": [1, 2]}', "one class"),
        ("metadata.jsonl", "nothing", "Line 1"),
    ],
)
def test_lists_that_are_no_classes_are_refused_only_where_classes_are_wanted(tmp_path: Path, name, text, words):
    folder = listed(tmp_path / "set", name, text)
    with pytest.raises(HasamaError, match=r"leave out --labels") as caught:
        open_pictures(str(folder), LABELLED)
    assert words in str(caught.value)
    report = open_pictures(str(folder), SMALL).report
    assert (report.used, report.skipped) == (4, {})


def test_a_list_of_captions_leaves_the_folders_as_classes(tmp_path: Path):
    folder = listed(tmp_path / "set", "metadata.jsonl", '{"file_name": "00000/0.png", "text": "a cat"}')
    (folder / "00001").mkdir()
    (folder / "00001" / "a.png").write_bytes(png(9))
    assert open_pictures(str(folder), LABELLED).report.classes == {"00000": 4, "00001": 1}


def test_what_a_list_leaves_out_has_no_class(tmp_path: Path):
    text = json.dumps({"labels": [["00000/0.png", "cat"], ["00000/1.png", -1], ["00000/2.png", None]]})
    report = open_pictures(str(listed(tmp_path / "set", "dataset.json", text)), LABELLED).report
    assert report.classes == {"cat": 1}
    assert len(report.skipped) == 3
    assert all("without a class (dataset.json" in reason for reason in report.skipped.values())


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((32, 32, 3), np.uint8), None, "images[None]"),
        (np.zeros((4, 8, 8, 3)), None, '(x * 255).round().astype("uint8")'),
        (np.linspace(-1, 1, 192).reshape(1, 8, 8, 3), None, "((x + 1) * 127.5)"),
        (np.full((1, 8, 8), 200.0, np.float32), None, 'x.round().astype("uint8")'),
        (np.full((1, 8, 8), 4000, np.uint16), None, "255 / 4095"),
        (np.zeros((0, 8, 8, 3), np.uint8), None, "empty"),
        (np.zeros((3, 8, 8, 3), np.uint8), np.eye(3), "labels.argmax(1)"),
        (np.zeros((3, 8, 8, 3), np.uint8), np.ones((3, 2)), "labels[:, 0]"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([0.5, 1.5]), "no classes"),
    ],
)
def test_arrays_are_refused_with_a_way_on(tmp_path: Path, images, labels, words):
    np.savez(tmp_path / "a.npz", images=images, **({} if labels is None else {"labels": labels}))
    with pytest.raises(HasamaError) as caught:
        open_source(str(tmp_path / "a.npz"))
    assert words in str(caught.value)


def test_labels_below_zero_are_no_class(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.array([[-1], [7], [-1], [2]]))
    report = open_pictures(str(tmp_path / "a.npz"), LABELLED).report
    assert report.classes == {"2": 1, "7": 1}
    assert "2 without a class (label -1, which means no class" in report.text()
    assert open_pictures(str(tmp_path / "a.npz"), SMALL).report.used == 4


def test_heic_counts_as_a_picture_before_the_first_is_opened(tmp_path: Path):
    """Pillow knows the ending only then, and only with the extra; what a source is must depend on neither."""
    for name in ("cats/1.HEIC", "cats/2.heic", "dogs/1.heif"):
        path = tmp_path / "named" / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BOXED % b"heic")
    (tmp_path / "named" / "README").write_text("A stray file is no picture.")
    labels = {entry.name: entry.label for entry in open_source(str(tmp_path / "named")).entries}
    assert labels == {"README": None, "set/cats/1.HEIC": "cats", "set/cats/2.heic": "cats", "set/dogs/1.heif": "dogs"}
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "1.heic").write_bytes(BOXED % b"heic")
    packed(tmp_path / "album" / "old.tar", {"a.png": png(1)})
    assert [entry.name for entry in open_source(str(tmp_path / "album")).entries] == ["1.heic", "old.tar"]
    shard = packed(tmp_path / "a.tar", {"1.heic": BOXED % b"heic", "1.cls": b"cat", "2.png": png(1), "2.cls": b"dog"})
    entries = open_source(str(shard)).entries
    assert [(entry.name, entry.label) for entry in entries] == [("a.tar/1.heic", "cat"), ("a.tar/2.png", "dog")]


def test_heic_is_read_where_its_extra_is_installed(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(scene(40, 28)).save(tmp_path / "a.heic")
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    report = open_pictures(str(tmp_path), SMALL).report
    assert (report.used, report.skipped) == (1, {})
