"""What is downloaded: MNIST, Fashion-MNIST and CIFAR-10, and single files for others, all with checksums.

`HASAMA_MIRROR` names another server that has the same files under the same names.
"""

import gzip
import hashlib
import http.client
import io
import os
import tarfile
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.names import at_home

TIMEOUT_SECONDS = 20
INSTEAD = "train on a folder of pictures, on `digits`, or"
"""What can be done without a connection, besides putting the file into its place."""


class Download(NamedTuple):
    """A data set: where it lies, its files with their MD5 sums, and how to read them.

    `read` takes the files' paths in order and gives uint8 images [N, H, W] or [N, H, W, C] and labels [N].
    `classes` are the words for the labels 0, 1, ..., by which people can call them.
    """

    address: str
    files: dict[str, str]
    read: Callable[[list[Path]], tuple[np.ndarray, np.ndarray]]
    classes: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where downloads and decoded pictures are kept: $HASAMA_CACHE, or the user's cache folder."""
    if os.environ.get("HASAMA_CACHE"):
        return at_home(os.environ["HASAMA_CACHE"])
    import platformdirs  # start-up time

    return platformdirs.user_cache_path("hasama")


class DownloadProgress(NamedTuple):
    """How far a download is: the file's name, the bytes so far and in all (0: the server did not say)."""

    name: str
    done: int
    total: int


def fetch(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of one of `DOWNLOADS`, downloaded the first time.

    Raises:
        HasamaError: no connection, or the files are not what they should be.
    """
    deque(download_missing(name), maxlen=0)
    download, folder = DOWNLOADS[name], _folder(name)
    try:
        return download.read([folder / file for file in download.files])
    except Exception as error:  # gzip, tar and numpy raise nearly everything
        raise HasamaError(
            f"The files in {folder} are damaged ({error}): delete that folder and try again."
        ) from error


def download_missing(name: str) -> Iterator[DownloadProgress]:
    """Download those files of one of `DOWNLOADS` that are not in the cache yet; errors as in `fetch`."""
    download, folder = DOWNLOADS[name], _folder(name)
    address = os.environ.get("HASAMA_MIRROR") or download.address
    for file, checksum in download.files.items():
        if not (folder / file).exists():
            yield from download_file(f"{address.rstrip('/')}/{file}", folder / file, checksum)


def _folder(name: str) -> Path:
    return cache_folder() / "downloads" / name


def download_file(url: str, path: Path, checksum: str, instead: str = INSTEAD) -> Iterator[DownloadProgress]:
    """Download one file, check it, and only then give it its name.

    Args:
        url: where it is.
        path: what it will be.
        checksum: its MD5, or "sha256:" and its SHA256 or the beginning of that.
        instead: for the message: what can be done without a connection.

    Yields:
        How far it is, after every block. Nothing is kept if this is not consumed to its end.

    Raises:
        HasamaError: no connection, another file, or no room.
    """
    kind, _, wanted = checksum.rpartition(":")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply, replacing(path) as temporary:
            total, done = int(reply.headers.get("Content-Length") or 0), 0
            digest = hashlib.new(kind or "md5", usedforsecurity=False)
            with temporary.open("wb") as file:
                while block := _received(reply, url, path, instead):
                    digest.update(block)
                    file.write(block)
                    done += len(block)
                    yield DownloadProgress(path.name, done, total)
            if not digest.hexdigest().startswith(wanted):
                raise HasamaError(
                    f"{url} is not the file it should be ({digest.name.upper()} {digest.hexdigest()}, wanted {wanted}"
                    "); nothing was kept. Try again, or set HASAMA_MIRROR to another server that has it."
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _cannot_download(url, path, error, instead) from error


def _received(body: io.BufferedIOBase, url: str, path: Path, instead: str) -> bytes:
    """The next block; a connection that breaks must not look like a full disk."""
    try:
        return body.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise _cannot_download(url, path, error, instead) from error


def _cannot_download(url: str, path: Path, error: Exception, instead: str) -> HasamaError:
    reason = getattr(error, "reason", None) or error
    return HasamaError(
        f"Cannot download {url}: {reason}. Without a connection, {instead} put the file into {path.parent} yourself."
    )


def _read_idx(path: Path) -> np.ndarray:
    """One gzipped IDX file of unsigned bytes: 2 zeros, type 8, the rank, the sizes, the bytes."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError(f"{path.name} is not an IDX file of bytes")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _read_mnist(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    return _read_idx(paths[0]), _read_idx(paths[1])


def _read_cifar10(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """The binary version: rows of 1 label and 3 x 32 x 32 bytes. (The Python version is a pickle: code.)"""
    rows = []
    with gzip.open(paths[0]) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
        for batch in range(1, 6):
            member = archive.extractfile(f"cifar-10-batches-bin/data_batch_{batch}.bin")
            if member is None:
                raise ValueError(f"data_batch_{batch}.bin is missing")
            rows.append(np.frombuffer(io.BytesIO(member.read()).getbuffer(), np.uint8).reshape(-1, 3073))
        while packed.read(1 << 20):
            pass  # to the very end, where gzip keeps its checksum
    table = np.concatenate(rows)
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0]


DOWNLOADS: dict[str, Download] = {
    "mnist": Download(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        },
        _read_mnist,
    ),
    "fashion-mnist": Download(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        },
        _read_mnist,
        (
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
    ),
    "cifar10": Download(
        "https://www.cs.toronto.edu/~kriz",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        _read_cifar10,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}
