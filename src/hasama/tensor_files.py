"""Files of tensors that know their checksum: one wrong bit makes another network of them, and nobody would know.

Torch's own files have checksums that it does not compare. Of safetensors files the checksum (CRC-32 of the numbers,
tensor after tensor by name) stands in the header, where others overlook it; files without one, of an earlier version
or of other programs, are taken as they are.
"""

import errno
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from hasama.files import plainly_named, replacing, whole
from hasama.names import in_utf8

CHECKSUM = "crc32"
KEY = "hasama"


def save_tensors(file: Path, tensors: dict[str, Any], about: dict[str, Any], key: str = KEY) -> None:
    """Write tensors atomically.

    Args:
        file: where.
        tensors: on any device; they may share memory.
        about: written as JSON into the header.
        key: under which name.

    Raises:
        HasamaError: it cannot be written; a file that was there before is untouched.
    """
    own = _apart(tensors)
    content = save(own, {key: as_header(about), CHECKSUM: checksum(own)})
    header, numbers = _in_order(content)
    with replacing(file) as temporary, temporary.open("wb") as opened:
        opened.write(header)
        opened.write(numbers)


def as_header(about: dict[str, Any]) -> str:
    """As JSON that can be told in UTF-8: names of files, which it may hold, need not be."""
    return in_utf8(json.dumps(about, ensure_ascii=False))


def load_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its header.

    Raises:
        OSError: there is none, or it cannot be read.
        SafetensorError: it is cut, or something else.
        ValueError: its numbers have another checksum than its header says, or some are none (NaN, infinite).
    """
    with plainly_named(file) as plain, safe_open(plain, "pt") as opened:
        header = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no dict)
    if header.get(CHECKSUM, (found := checksum(tensors))) != found:
        raise ValueError("it is damaged: its numbers have another checksum")
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if odd := [name for name, tensor in tensors.items() if tensor.dtype in kinds and not tensor.isfinite().all()]:
        raise ValueError(f"it is damaged: {odd[0]} holds what is no number")
    return tensors, header


def header_of(file: Path) -> str:
    """The JSON in the header, as it stands there; empty if it is not one of ours."""
    with plainly_named(file) as plain, safe_open(plain, "pt") as opened:
        return (opened.metadata() or {}).get(KEY, "")


def load_state(file: Path) -> Any:
    """What `torch.save` wrote, on the CPU; nothing in it is executed.

    Raises:
        Exception: there is none, or it is damaged: a damaged zip or pickle raises nearly everything.
    """
    return torch.load(whole(file), map_location="cpu", weights_only=True)


def peek_state(file: Path) -> Any:
    """As `load_state`, but tensors are read when they are used.

    Raises:
        Exception: there is none, or it is damaged.
    """
    with plainly_named(file) as plain:
        return torch.load(plain, map_location="cpu", weights_only=True, mmap=True)


def save_state(file: Path, state: Any, called: str = "it") -> None:
    """What `load_state` reads again, written atomically.

    Args:
        file: where.
        state: tensors and plain values.
        called: what it is, to whoever is told that it has no room.

    Raises:
        HasamaError: it cannot be written.
    """
    with replacing(file) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's zip writer reports a full disk so, in its own words
            raise OSError(errno.ENOSPC, f"no room for {called}") from error


def _apart(tensors: dict[str, Any]) -> dict[str, Tensor]:
    """The same tensors in memory, each where no other is, for safetensors refuses what shares memory."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        there = tensor.detach().cpu().contiguous()
        if (place := there.untyped_storage().data_ptr()) in taken:
            there = there.clone()
        taken.add(place)
        own[name] = there
    return own


def _in_order(content: bytes) -> tuple[bytes, memoryview]:
    """The header, with its own words in order, and the numbers: safetensors draws another order each time."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    told = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)  # so that the numbers begin at a multiple of eight
    return struct.pack("<Q", len(told)) + told, memoryview(content)[8 + length :]


def checksum(tensors: dict[str, Tensor]) -> str:
    """The CRC-32 of their numbers, tensor after tensor by name."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
