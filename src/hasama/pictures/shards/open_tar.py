"""A shard that is open: any thread reads from it by offset, even when its file has been deleted meanwhile."""

import io
import os
import weakref
from pathlib import Path
from threading import Lock

from hasama.pictures.shards.index import ShardError, Tar


class OpenTar:
    """An open shard; it is closed when nobody holds this any longer.

    Args:
        file: open for reading.
        tar: what it should be.

    Raises:
        ShardError: it is another file.
    """

    def __init__(self, file: io.FileIO, tar: Tar) -> None:
        self.file = file
        weakref.finalize(self, self.file.close)
        self.lock, self.tar = Lock(), tar
        self.bytes = os.fstat(self.file.fileno()).st_size
        if tar.bytes and self.bytes != tar.bytes:
            raise ShardError(
                f"The shard {tar.place} has changed: it had {tar.bytes:,} bytes, and has {self.bytes:,}. A run needs "
                "the shards that it began with; for new ones start a new run."
            )

    @classmethod
    def at(cls, path: Path, tar: Tar) -> "OpenTar":
        """The shard in a file.

        Raises:
            ShardError: it is gone, cannot be read, or is another file.
        """
        try:
            return cls(path.open("rb", buffering=0), tar)
        except FileNotFoundError as error:
            raise ShardError(f"The shard {tar.place} is gone. Put it back, and go on then.") from error
        except OSError as error:
            raise ShardError(f"Cannot read the shard {path}: {error.strerror or error}.") from error

    def read(self, start: int, size: int) -> bytes:
        """Some of its bytes.

        Raises:
            ShardError: they are not there, or cannot be read.
        """
        try:
            with self.lock:
                self.file.seek(start)
                data = self.file.read(size)
                while len(data) < size and (more := self.file.read(size - len(data))):
                    data += more
        except OSError as error:
            raise ShardError(f"Cannot read the shard {self.tar.place}: {error.strerror or error}.") from error
        if len(data) < size:
            raise ShardError(f"The shard {self.tar.place} was cut short while it was being read.")
        return data
