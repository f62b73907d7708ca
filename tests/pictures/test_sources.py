"""Every kind of source is found out and listed; whatever is wrong with one is said in a sentence."""

import io
import os
import pickle
import signal
import socket
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.sources.entries import LARGEST_ENTRY, Entry
from hasama.pictures.sources.sources import open_source
from odd_files import encoded


def png(shade: int = 100) -> bytes:
    return encoded(Image.new("RGB", (6, 4), (shade, 0, 0)), "PNG")


def fill(folder: Path, *names: str) -> Path:
    """A folder with one small red picture under each name, each of another shade."""
    for shade, name in enumerate(names, 1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shade))
    return folder


def listed(source: Path | str) -> list[str]:
    return [entry.name for entry in open_source(str(source)).entries]


def labels(source: Path | str) -> dict[str, str | None]:
    return {entry.name: entry.label for entry in open_source(str(source)).entries}


def entry_named(source: Path, name: str) -> Entry:
    return next(entry for entry in open_source(str(source)).entries if entry.name == name)


def shade(entry: Entry) -> int:
    return int(np.asarray(entry.open(None))[0, 0, 0])


@pytest.fixture
def no_hanging() -> Iterator[None]:
    """Waiting for a pipe that nobody writes to would take for ever."""

    def rang(signum, frame):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, rang)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# --- names ----------------------------------------------------------------------------------------


def test_unknown_names_are_told_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere", "", "digit", "mnist/", "\0"):
        with pytest.raises(HasamaError, match=r"no pictures at.*digits, mnist, fashion-mnist, cifar10"):
            open_source(name)


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-that-name/pictures"])
def test_impossible_names_get_a_sentence_too(name):
    with pytest.raises(HasamaError, match=r"Cannot look for pictures|no pictures at"):
        open_source(name)


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "cats", "a.png")
    assert listed("~/cats") == ["a.png"]


def test_a_folder_goes_before_a_built_in_name(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path, "digits/mine.png"))
    assert listed("digits") == ["mine.png"]


def test_built_in_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = open_source("digits")
    assert len(source.entries) == 1797
    assert {entry.label for entry in source.entries} == set("0123456789")
    first = np.asarray(source.entries[0].open(None))
    assert (first.shape, first.min(), first.max()) == ((8, 8), 0, 239)  # 15 of 16
    levels, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    theirs = (levels.reshape(-1, 8, 8) * (255.0 / 16.0)).round()
    assert np.array_equal([np.asarray(entry.open(None)) for entry in source.entries], theirs)
    assert [entry.label for entry in source.entries] == [str(label) for label in labels]


def test_one_picture_is_a_source_of_crops(tmp_path):
    source = open_source(str(fill(tmp_path, "texture.png") / "texture.png"))
    assert source.crops
    assert [(entry.name, entry.label) for entry in source.entries] == [("texture.png", None)]
    assert source.entries[0].open(None).size == (6, 4)


def test_a_pipe_or_a_device_is_no_source(tmp_path, no_hanging):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(HasamaError, match="neither a folder nor a file"):
            open_source(str(path))


# --- folders --------------------------------------------------------------------------------------


def test_folders_are_searched_to_the_bottom_in_the_order_of_names(tmp_path):
    fill(tmp_path, "b.png", "a/z.png", "a/b/c/d/deep.png", "a.png", "B.png")
    assert listed(tmp_path) == ["B.png", "a.png", "a/b/c/d/deep.png", "a/z.png", "b.png"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    fill(tmp_path / ".pictures", "a.png", "._a.png", ".DS_Store", ".thumbnails/a.png", "b/.hidden/c.png")
    assert listed(tmp_path / ".pictures") == ["a.png"]


def test_an_empty_folder_is_no_source(tmp_path):
    fill(tmp_path, ".hidden.png", "empty/.git/a.png")
    with pytest.raises(HasamaError, match="holds no files"):
        open_source(str(tmp_path))


def test_links_are_followed_but_not_in_circles(tmp_path, no_hanging):
    fill(tmp_path, "pictures/a.png", "elsewhere/b.png")
    pictures = tmp_path / "pictures"
    (pictures / "linked").symlink_to(tmp_path / "elsewhere")
    (pictures / "same.png").symlink_to("a.png")
    (pictures / "self").symlink_to(".")
    (pictures / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "back").symlink_to(pictures)
    (pictures / "knot").symlink_to("knot")
    (pictures / "gone.png").symlink_to("nowhere")
    assert listed(pictures) == ["a.png", "gone.png", "knot", "linked/b.png", "same.png"]
    assert shade(entry_named(pictures, "same.png")) == 1
    for name, reason in (("gone.png", "no such file"), ("knot", "too many levels of symbolic links")):
        with pytest.raises((HasamaError, OSError), match=f"(?i){reason}"):
            entry_named(pictures, name).open(None)


def test_which_of_two_links_counts_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    fill(tmp_path, "pictures/z/a.png")
    (tmp_path / "pictures" / "b").symlink_to("z")
    (tmp_path / "pictures" / "y").symlink_to("z")
    assert listed(tmp_path / "pictures") == ["b/a.png"]


def test_pipes_and_sockets_in_a_folder_are_not_opened(tmp_path, no_hanging, monkeypatch):
    monkeypatch.chdir(fill(tmp_path, "a.png"))
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.png")
    assert listed(tmp_path) == ["a.png", "pipe.png", "socket.png"]
    for name in ("pipe.png", "socket.png"):
        for attempt in (lambda entry: entry.open(None), lambda entry: entry.peek()):
            with pytest.raises(HasamaError, match="not a file"):
                attempt(entry_named(tmp_path, name))


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    fill(tmp_path, "open/a.png", "private/b.png")
    really = os.scandir

    def scandir(folder):
        if Path(folder).name == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return really(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert listed(tmp_path) == ["open/a.png", "private"]
    with pytest.raises(HasamaError, match="a folder that cannot be read"):
        entry_named(tmp_path, "private").open(None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (os.fsencode("日本 🐈 é.png"), "日本 🐈 é.png"),
        (b"two\nlines\t.png", r"two\nlines\t.png"),
        (b"caf\xe9.png", r"caf\udce9.png"),
        (b"\x1b[31mred.png", r"\x1b[31mred.png"),
        (b"-rf *.png", "-rf *.png"),
    ],
)
def test_names_of_any_bytes_are_opened_and_shown_in_one_line(tmp_path, name, shown):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(png(7))
    assert listed(tmp_path) == [shown]
    shown.encode("utf-8")
    assert shade(entry_named(tmp_path, shown)) == 7


# --- classes --------------------------------------------------------------------------------------


def test_classes_are_the_first_sub_folders(tmp_path):
    fill(tmp_path, "cat/a.png", "cat/more/b.png", "dog/c.png", "stray.png")
    assert labels(tmp_path) == {"cat/a.png": "cat", "cat/more/b.png": "cat", "dog/c.png": "dog", "stray.png": None}


def test_one_class_is_a_class(tmp_path):
    assert labels(fill(tmp_path, "cat/a.png", "cat/b.png")) == {"cat/a.png": "cat", "cat/b.png": "cat"}


def test_a_common_top_folder_is_no_class(tmp_path):
    fill(tmp_path, "pets/all/cat/a.png", "pets/all/dog/b.png")
    assert set(labels(tmp_path).values()) == {"cat", "dog"}


@pytest.mark.parametrize("stray", ["README.txt", "pets/licence", "pets/Thumbs.db", "pets/cat/notes.md"])
def test_a_stray_text_file_does_not_change_the_classes(tmp_path, stray):
    fill(tmp_path, "pets/cat/a.png", "pets/dog/b.JPG")
    (tmp_path / stray).write_text("no picture")
    found = labels(tmp_path)
    assert (found["pets/cat/a.png"], found["pets/dog/b.JPG"]) == ("cat", "dog")
    assert found[stray] in (None, "cat")


def test_without_sub_folders_there_are_no_classes(tmp_path):
    assert labels(fill(tmp_path, "a.png", "b.png")) == {"a.png": None, "b.png": None}


# --- what changes when a file changes ----------------------------------------------------------------


def test_the_stamp_changes_with_the_file_even_if_size_and_time_do_not(tmp_path):
    path = fill(tmp_path, "a.bmp") / "a.bmp"
    before, status = open_source(str(tmp_path)).entries[0].stamp, path.stat()
    assert open_source(str(tmp_path)).entries[0].stamp == before
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert open_source(str(tmp_path)).entries[0].stamp != before


def test_unpacked_copies_with_the_same_names_sizes_and_times_differ(tmp_path):
    """As unpacking does that sets the times in the archive: two sets of raw pictures look alike from outside."""
    stamps = []
    for name, grey in (("one", 1), ("two", 2)):
        path = tmp_path / name / "a.bmp"
        path.parent.mkdir()
        path.write_bytes(encoded(Image.new("L", (4, 4), grey), "BMP"))
        os.utime(path, (1e9, 1e9))
        stamps.append(open_source(str(path.parent)).entries[0].stamp)
    assert stamps[0] != stamps[1]


# --- zip ------------------------------------------------------------------------------------------


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def patch(path: Path, signature: bytes, offset: int, value: bytes, occurrence: int = 0) -> None:
    """Overwrite a field in the n-th record of a kind."""
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(occurrence + 1):
        place = data.index(signature, place + 1)
    data[place + offset : place + offset + len(value)] = value
    path.write_bytes(data)


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zips_are_read_in_the_order_of_names(tmp_path, compression):
    path = zipped(tmp_path / "a.zip", {"b.png": png(2), "a.png": png(1), "c/": b""}, compression)
    assert listed(path) == ["a.png", "b.png"]
    assert [shade(entry) for entry in open_source(str(path)).entries] == [1, 2]
    assert [entry.peek().size for entry in open_source(str(path)).entries] == [(6, 4), (6, 4)]


def test_a_zip_of_any_name_is_a_zip(tmp_path):
    assert listed(zipped(tmp_path / "pictures.cbz", {"a.png": png()})) == ["a.png"]


def test_classes_in_a_zip_lie_below_the_common_folder(tmp_path):
    files = {"pets/cat/a.png": png(), "pets/dog/b.png": png(), "pets/README": b"hello"}
    path = zipped(tmp_path / "a.zip", {**files, "__MACOSX/pets/cat/._a.png": b"x", "pets/.DS_Store": b"x"})
    assert labels(path) == {"pets/README": None, "pets/cat/a.png": "cat", "pets/dog/b.png": "dog"}


def test_zips_of_old_windows_programs_and_of_tar_users(tmp_path):
    path = zipped(
        tmp_path / "a.zip", {"cat\\a.png": png(1), "dog\\b.png": png(2), "dog\\": b"", "./cow/c.png": png(3)}
    )
    assert labels(path) == {"cat/a.png": "cat", "cow/c.png": "cow", "dog/b.png": "dog"}
    assert [shade(entry) for entry in open_source(str(path)).entries] == [1, 3, 2]


def test_of_two_entries_with_one_name_the_later_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.png", png(1))
        archive.writestr("a.png", png(2))
    assert [shade(entry) for entry in open_source(str(tmp_path / "a.zip")).entries] == [2]


def refusal(path: Path, name: str) -> str:
    """Why an entry cannot be opened; its neighbour can."""
    assert shade(entry_named(path, "good.png")) == 5
    with pytest.raises(HasamaError) as caught:
        entry_named(path, name).open(None)
    return str(caught.value)


def test_encrypted_entries(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "good.png": png(5)})
    patch(path, LOCAL, 6, b"\x01")
    patch(path, CENTRAL, 8, b"\x01")
    assert refusal(path, "a.png") == "encrypted"


def test_entries_whose_checksum_is_wrong(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "good.png": png(5)})
    patch(path, LOCAL, 30 + len("a.png") + 40, b"\xaa")
    assert refusal(path, "a.png") == "damaged in the zip (Bad CRC-32)"


def test_entries_whose_packed_bytes_are_damaged(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png() * 9, "good.png": png(5)}, zipfile.ZIP_DEFLATED)
    patch(path, LOCAL, 30 + len("a.png"), b"\xff" * 8)
    assert refusal(path, "a.png").startswith("damaged in the zip (")


def test_entries_of_an_unknown_method(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "good.png": png(5)})
    patch(path, LOCAL, 8, b"\x63")
    patch(path, CENTRAL, 10, b"\x63")
    assert refusal(path, "a.png").startswith("damaged in the zip (")


def test_entries_that_claim_to_be_gigantic(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "good.png": png(5)})
    patch(path, CENTRAL, 24, struct.pack("<I", LARGEST_ENTRY + 1))
    assert refusal(path, "a.png") == f"gigantic ({LARGEST_ENTRY + 1} bytes unpacked)"


def test_entries_that_unpack_to_more_than_they_claim(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": bytes(5_000_000), "good.png": png(5)}, zipfile.ZIP_DEFLATED)
    patch(path, CENTRAL, 24, struct.pack("<I", 1000))
    assert refusal(path, "a.png").startswith("damaged in the zip (")


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.97])
def test_a_zip_cut_short(tmp_path, kept):
    path = zipped(tmp_path / "a.zip", {f"{n}.png": png(n) for n in range(9)})
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(HasamaError, match="is not a zip file, or is damaged"):
        open_source(str(path))


def test_a_zip_that_is_none(tmp_path):
    (tmp_path / "a.zip").write_text("PK but no more")
    with pytest.raises(HasamaError, match="is not a zip file, or is damaged"):
        open_source(str(tmp_path / "a.zip"))


def test_a_zip_with_a_damaged_directory(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "b.png": png()})
    patch(path, CENTRAL, 0, b"XXXX", occurrence=1)
    with pytest.raises(HasamaError, match="damaged"):
        open_source(str(path))


def test_any_flipped_byte_of_a_zip_is_survived(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.png": png(), "dog/b.png": png()}, zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            for entry in open_source(str(path)).entries:
                entry.open(None)
        except HasamaError as error:
            assert "\n" not in str(error)  # noqa: PT017 - no error is right, too


def test_an_empty_zip_is_no_source(tmp_path):
    with pytest.raises(HasamaError, match="holds no files"):
        open_source(str(zipped(tmp_path / "a.zip", {"__MACOSX/a.png": png(), "folder/": b""})))


# --- arrays ---------------------------------------------------------------------------------------

GREY = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
COLOUR = np.arange(5 * 6 * 7 * 3, dtype=np.uint8).reshape(5, 6, 7, 3)
ALPHA = np.arange(5 * 6 * 7 * 4, dtype=np.uint8).reshape(5, 6, 7, 4)


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR),
        (np.asfortranarray(COLOUR), COLOUR),
        (ALPHA, ALPHA),
        (ALPHA.transpose(0, 3, 1, 2), ALPHA),
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_of_every_accepted_shape(tmp_path, stored, seen, ending):
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, stored)
    else:
        np.savez_compressed(path, images=stored)
    source = open_source(str(path))
    assert not source.crops
    assert [entry.name for entry in source.entries] == list("01234")
    for entry, expected in zip(source.entries, seen, strict=True):
        np.testing.assert_array_equal(np.asarray(entry.open(4)), expected)
        np.testing.assert_array_equal(np.asarray(entry.peek()), expected)


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("arr_0", "arr_1")])
def test_arrays_under_the_usual_names(tmp_path, x, y):
    np.savez(tmp_path / "a.npz", **{x: GREY, y: np.array([2, 0, 1, 2, 0]), "other": np.zeros(3)})
    assert list(labels(tmp_path / "a.npz").values()) == ["2", "0", "1", "2", "0"]


def test_labels_may_be_words(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.array(["cat", "dog", "cat", "é", "日本"]))
    assert list(labels(tmp_path / "a.npz").values()) == ["cat", "dog", "cat", "é", "日本"]


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (GREY.astype(np.float32), "float32"),
        (GREY.astype(np.int64), "int64"),
        (GREY > 3, "bool"),
        (GREY[0], r"shape \[6, 7\]"),
        (np.zeros((5, 6, 7, 2), np.uint8), r"shape \[5, 6, 7, 2\]"),
        (np.zeros((5, 6, 7, 3, 1), np.uint8), r"shape \[5, 6, 7, 3, 1\]"),
        (np.zeros((0, 6, 7), np.uint8), r"shape \[0, 6, 7, 1\]"),
        (np.zeros((5, 0, 7), np.uint8), r"shape \[5, 0, 7, 1\]"),
        (np.uint8(3), r"shape \[\]"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, images, complaint):
    for path, save in ((tmp_path / "a.npy", np.save), (tmp_path / "b.npz", lambda p, x: np.savez(p, images=x))):
        save(path, images)
        with pytest.raises(HasamaError, match=f"{complaint}.*Hasama takes"):
            open_source(str(path))


@pytest.mark.parametrize("wrong", [np.zeros(4, int), np.zeros((5, 2), int), np.int64(5)])
def test_labels_that_do_not_match(tmp_path, wrong):
    np.savez(tmp_path / "a.npz", images=GREY, labels=wrong)
    with pytest.raises(HasamaError, match="5 images but labels of shape"):
        open_source(str(tmp_path / "a.npz"))


def test_arrays_of_another_name(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=GREY, classes=GREY)
    with pytest.raises(HasamaError, match=r"no array called `images` \(it has pictures, classes"):
        open_source(str(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz")
    with pytest.raises(HasamaError, match="it has none"):
        open_source(str(tmp_path / "a.npz"))


class Mine:
    """Unpickling this leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "labels.npz", "bare.npy", "bare.npz"])
def test_nothing_in_a_file_is_executed(tmp_path, name):
    evil = np.array([Mine(tmp_path / "executed")] * 5, object)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, evil, allow_pickle=True)
    elif name == "a.npz":
        np.savez(path, images=evil)
    elif name == "labels.npz":
        np.savez(path, images=GREY, labels=evil)
    else:
        path.write_bytes(pickle.dumps(evil))
    with pytest.raises(HasamaError, match="Cannot read the arrays"):
        open_source(str(path))
    assert not (tmp_path / "executed").exists()
    if name == "a.npy":
        np.load(path, allow_pickle=True)
        assert (tmp_path / "executed").exists(), "the trap works"


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, GREY)
    else:
        np.savez_compressed(path, images=GREY)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF  # in the data, where only the .npz has a checksum
    broken = [b"", b"not an array", whole[:10], whole[: len(whole) // 2], whole[:-30]]
    for data in broken + ([bytes(flipped)] if name == "a.npz" else []):
        path.write_bytes(data)
        with pytest.raises(HasamaError, match="Cannot read the arrays"):
            open_source(str(path))


def test_an_array_that_claims_to_be_gigantic(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    )
    (tmp_path / "a.npy").write_bytes(buffer.getvalue() + bytes(100))
    with pytest.raises(HasamaError, match="Cannot read the arrays"):
        open_source(str(tmp_path / "a.npy"))
