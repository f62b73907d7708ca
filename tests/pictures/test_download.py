"""Downloads from a server on this machine: what arrives is what was asked for, or nothing at all."""

import gzip
import hashlib
import http.server
import io
import itertools
import socket
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hasama.errors import HasamaError
from hasama.pictures.sources import download
from hasama.pictures.sources.chosen import only_classes
from hasama.pictures.sources.download import DOWNLOADS, Download, cache_folder, fetch
from hasama.pictures.sources.sources import open_source

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server(http.server.ThreadingHTTPServer):
    """Answers with what lies in `files`, or as `answers` say, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """Where it is to be found."""
        return f"http://127.0.0.1:{self.server_port}/data"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked.append(self.path)
        name = self.path.removeprefix("/data/")
        if name in self.server.answers:
            self.server.answers[name](self)
        elif name in self.server.files:
            send(self, self.server.files[name])
        else:
            self.send_error(404)

    def log_message(self, format: str, *args) -> None:
        pass


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, claimed: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
    handler.end_headers()
    handler.wfile.write(body)


# --- tiny data sets in the real formats -----------------------------------------------------------------

GREYS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
COLOURS = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), np.uint8)
TEN = np.arange(10, dtype=np.uint8)


def packed(data: bytes) -> bytes:
    """The same bytes at any time of day."""
    return gzip.compress(data, mtime=0)


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return packed(header + values.tobytes())


def cifar(batches: int = 5) -> bytes:
    """The binary version, with two pictures in each batch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(batches):
            rows = [bytes([TEN[n]]) + COLOURS[n].tobytes() for n in (2 * number, 2 * number + 1)]
            info = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{number + 1}.bin")
            info.size = 2 * 3073
            archive.addfile(info, io.BytesIO(b"".join(rows)))
    return packed(buffer.getvalue())


MNIST = {"train-images-idx3-ubyte.gz": idx(GREYS), "train-labels-idx1-ubyte.gz": idx(np.array([7, 0, 7], np.uint8))}
CIFAR = {"cifar-10-binary.tar.gz": cifar()}


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A server that has all three data sets, which `DOWNLOADS` expects there and nowhere else."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for name, files in (("mnist", MNIST), ("fashion-mnist", MNIST), ("cifar10", CIFAR)):
        sums = {file: hashlib.md5(data, usedforsecurity=False).hexdigest() for file, data in files.items()}
        assert list(sums) == list(DOWNLOADS[name].files), "the same names as the real ones"
        monkeypatch.setitem(DOWNLOADS, name, DOWNLOADS[name]._replace(address=server.address, files=sums))
        server.files.update(files)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def kept() -> list[str]:
    """Every file below the cache, hidden ones too."""
    return sorted(path.name for path in cache_folder().rglob("*") if path.is_file())


IMAGES = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files(server, name):
    images, labels = fetch(name)
    np.testing.assert_array_equal(images, GREYS)
    assert labels.tolist() == [7, 0, 7]
    assert kept() == sorted(MNIST)


def test_cifar_tars(server):
    images, labels = fetch("cifar10")
    np.testing.assert_array_equal(images, COLOURS.transpose(0, 2, 3, 1))
    assert labels.tolist() == TEN.tolist()


def test_downloads_are_sources(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mnist, cifar10 = open_source("mnist"), open_source("cifar10")
    assert [entry.label for entry in mnist.entries] == ["7", "0", "7"]
    np.testing.assert_array_equal(np.asarray(mnist.entries[2].open(None)), GREYS[2])
    np.testing.assert_array_equal(np.asarray(cifar10.entries[9].open(None)), COLOURS[9].transpose(1, 2, 0))


def test_their_classes_can_be_called_by_words(server):
    number = int(TEN[0])
    word = DOWNLOADS["cifar10"].classes[number]
    some = only_classes(open_source("cifar10"), word)
    assert {entry.label for entry in some.entries} == {str(number)}
    assert len(DOWNLOADS["cifar10"].classes) == len(DOWNLOADS["fashion-mnist"].classes) == 10
    with pytest.raises(HasamaError, match=f"{number} = {word} "):
        only_classes(open_source("cifar10"), "unicorn")


def test_the_second_time_nothing_is_asked(server):
    first = fetch("mnist")
    assert server.asked == [f"/data/{name}" for name in MNIST]
    second = fetch("mnist")
    np.testing.assert_array_equal(first[0], second[0])
    assert len(server.asked) == 2


def test_only_what_is_missing_is_asked_for(server):
    fetch("mnist")
    (cache_folder() / "downloads" / "mnist" / IMAGES).unlink()
    fetch("mnist")
    assert server.asked[2:] == [f"/data/{IMAGES}"]


def test_another_server_can_be_named(server, monkeypatch):
    real = DOWNLOADS["mnist"]
    monkeypatch.setitem(DOWNLOADS, "mnist", Download("http://127.0.0.1:9/unused", real.files, real.read))
    monkeypatch.setenv("HASAMA_MIRROR", server.address + "/")
    assert len(fetch("mnist")[0]) == 3
    assert server.asked[0] == f"/data/{IMAGES}"


# --- nothing is kept of what went wrong -------------------------------------------------------------------


def test_a_wrong_checksum(server):
    server.files[IMAGES] = idx(GREYS + 1)
    with pytest.raises(HasamaError, match=r"is not the file it should be .*nothing was kept.*HASAMA_MIRROR"):
        fetch("mnist")
    assert kept() == []
    server.files.update(MNIST)
    assert len(fetch("mnist")[0]) == 3


def test_the_second_of_two_files_is_wrong(server):
    server.files["train-labels-idx1-ubyte.gz"] = b""
    with pytest.raises(HasamaError, match="is not the file it should be"):
        fetch("mnist")
    assert kept() == [IMAGES]


def test_a_file_that_is_not_there(server):
    del server.files[IMAGES]
    with pytest.raises(HasamaError, match=f"Cannot download .*{IMAGES}.*Not Found.*Without a connection"):
        fetch("mnist")
    assert kept() == []


def test_no_server_at_all(server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HASAMA_MIRROR", f"http://127.0.0.1:{port}")
    with pytest.raises(HasamaError, match=r"Cannot download.*refused.*train on a folder of pictures"):
        fetch("mnist")
    assert kept() == []


@pytest.mark.parametrize(
    "mirror", ["no-scheme", "nonsense://host", "http://127.0.0.1:port/", "http://", "http://two words/"]
)
def test_a_mirror_that_is_no_address(server, monkeypatch, mirror):
    monkeypatch.setenv("HASAMA_MIRROR", mirror)
    with pytest.raises(HasamaError, match="Cannot download"):
        fetch("mnist")
    assert server.asked == []


def ends_early(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, MNIST[IMAGES][:20], claimed=len(MNIST[IMAGES]))


def ends_early_in_chunks(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\nonly a part")


def resets(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, MNIST[IMAGES][:20], claimed=5_000_000)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def falls_silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, MNIST[IMAGES][:20], claimed=len(MNIST[IMAGES]))
    handler.wfile.flush()
    threading.Event().wait(2)


def speaks_no_http(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n")


def hangs_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def sends_a_login_page(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"<html>Welcome to the hotel's network</html>")


def redirects_for_ever(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (ends_early, "is not the file it should be|Cannot download"),
        (ends_early_in_chunks, "Cannot download"),
        (resets, "Cannot download.*reset"),
        (falls_silent, "Cannot download.*timed out"),
        (speaks_no_http, "Cannot download"),
        (hangs_up, "Cannot download"),
        (sends_a_login_page, "is not the file it should be"),
        (redirects_for_ever, "Cannot download"),
    ],
)
def test_servers_that_misbehave(server, monkeypatch, answer, complaint):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    server.answers[IMAGES] = answer
    with pytest.raises(HasamaError, match=complaint) as caught:
        fetch("mnist")
    assert "free some space" not in str(caught.value), "it is not the disk's fault"
    assert kept() == []


@pytest.mark.parametrize("place", ["/proc/nope", "file"])
def test_no_room_to_keep_it(server, monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HASAMA_CACHE", str(tmp_path / place))
    with pytest.raises(HasamaError, match=r"Cannot write .*choose another place"):
        fetch("mnist")


# --- what is kept may be damaged later ------------------------------------------------------------------


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("mnist", b""),
        ("mnist", b"no gzip"),
        ("mnist", MNIST[IMAGES][:30]),
        ("mnist", flipped(MNIST[IMAGES], 12)),
        ("mnist", flipped(MNIST[IMAGES], -6)),
        ("mnist", packed(b"")),
        ("mnist", packed(b"\0\0\x08")),
        ("mnist", packed(b"\0\0\x08\x03\0\0")),
        ("mnist", packed(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0")),
        ("mnist", packed(b"\0\0\x08\x01\0\0\0\x09ab")),
        ("mnist", packed(b"\0\0\x08\x03" + b"\xff" * 12)),
        ("cifar10", b""),
        ("cifar10", b"no tar"),
        ("cifar10", CIFAR["cifar-10-binary.tar.gz"][:9000]),
        ("cifar10", flipped(CIFAR["cifar-10-binary.tar.gz"], 15_000)),
        ("cifar10", cifar(batches=4)),
        ("cifar10", packed(bytes(20_000))),
    ],
    ids=itertools.count(),
)
def test_damaged_files_in_the_cache_are_named(server, name, damaged):
    fetch(name)
    file = next(iter(DOWNLOADS[name].files))
    (cache_folder() / "downloads" / name / file).write_bytes(damaged)
    with pytest.raises(HasamaError, match=rf"^The files in .*{name} are damaged .*delete that folder .*$"):
        fetch(name)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_flipped_byte_in_the_cache_never_changes_a_picture(server, name):
    right = fetch(name)
    file, whole = next(iter((MNIST if name == "mnist" else CIFAR).items()))
    path = cache_folder() / "downloads" / name / file
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(flipped(whole, place))
        try:
            images, labels = fetch(name)
        except HasamaError as error:
            assert "damaged" in str(error)  # noqa: PT017 - no error is right, too
        else:
            np.testing.assert_array_equal(images, right[0])
            np.testing.assert_array_equal(labels, right[1])
