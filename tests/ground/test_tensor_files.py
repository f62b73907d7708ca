"""Files of tensors: what was written, or a refusal."""

import json
import os
import struct
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from command import forked, run_code
from hasama.errors import HasamaError
from hasama.tensor_files import CHECKSUM, header_of, load_state, load_tensors, peek_state, save_state, save_tensors

ABOUT = {"kind": '日本 "quoted"', "number": 3}


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(3, 4, 5, 5, generator=generator)
    return {
        "weight": plain.contiguous(memory_format=torch.channels_last),
        "half": plain.half(),
        "brain": plain.bfloat16(),
        "transposed": plain[0, 0].T,
        "shared": plain[:2],
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 3),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "a.safetensors", some_tensors(), ABOUT)
    return tmp_path / "a.safetensors"


def begins(file: Path) -> int:
    """Where the numbers begin."""
    return 8 + struct.unpack("<Q", file.read_bytes()[:8])[0]


def test_all_kinds_come_back_as_they_were(file: Path):
    tensors, header = load_tensors(file)
    assert json.loads(header_of(file)) == json.loads(header["hasama"]) == ABOUT
    there = some_tensors()
    assert set(tensors) == set(there)
    for name, tensor in tensors.items():
        assert tensor.dtype == there[name].dtype
        assert torch.equal(tensor, there[name])
    assert torch.equal(load_file(file)["weight"], there["weight"])  # others read it, too


@given(data=st.data())
def test_one_wrong_bit_is_seen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    file = tmp_path_factory.mktemp("bit") / "a.safetensors"
    save_tensors(file, some_tensors(), ABOUT)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(begins(file), len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises(ValueError, match="another checksum"):
        load_tensors(file)


def test_writing_takes_the_memory_of_one_copy(tmp_path: Path):
    """Features of many pictures are hundreds of megabytes."""
    code = """
import sys, torch
from pathlib import Path
from hasama.device import peak_bytes
from hasama.tensor_files import load_tensors, save_tensors
folder = Path(sys.argv[1])
save_tensors(folder / "small", {"a": torch.ones(3)}, {})
large = torch.ones(2**24)
before = peak_bytes()
save_tensors(folder / "large", {"a": large}, {})
print((peak_bytes() - before) / large.nbytes)
"""
    done = forked(run_code, code, tmp_path)
    assert 0.5 < float(done.stdout) < 2.5  # safetensors has the numbers as bytes, and those as one string


def test_the_same_tensors_make_the_same_file(file: Path, tmp_path: Path):
    for number in range(8):
        save_tensors(tmp_path / f"{number}", some_tensors(), ABOUT)
        assert (tmp_path / f"{number}").read_bytes() == file.read_bytes()
    assert begins(file) % 8 == 0


def test_of_a_state_that_has_no_room_the_last_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Torch's zip writer reports a full disk by a RuntimeError of its own."""
    save_state(tmp_path / "state.pt", {"steps": 3})

    def full(state: object, place: Path) -> None:
        place.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(HasamaError, match=r"Cannot write .*state\.pt"):
        save_state(tmp_path / "state.pt", {"steps": 4})
    assert load_state(tmp_path / "state.pt") == {"steps": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_cut_file_is_none(file: Path):
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SafetensorError):
        load_tensors(file)


def test_files_without_a_checksum_are_taken(tmp_path: Path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    tensors, header = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["a"], torch.ones(2))
    assert header == {}
    assert header_of(tmp_path / "a.safetensors") == ""


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("checked", [True, False])
def test_what_is_no_number_is_refused(wrong: float, checked: bool, tmp_path: Path):
    tensors = {"a": torch.ones(2), "b": torch.tensor([1.0, wrong])}
    file = tmp_path / "a.safetensors"
    if checked:
        save_tensors(file, tensors, {})
    else:
        save_file(tensors, file)
    with pytest.raises(ValueError, match="b holds what is no number"):
        load_tensors(file)


def test_the_checksum_is_that_of_the_numbers_alone(tmp_path: Path):
    """So that a header can be written anew."""
    found = []
    for number, about in enumerate(({}, ABOUT)):
        save_tensors(tmp_path / f"{number}", {"a": torch.arange(4.0)}, about)
        found.append(load_tensors(tmp_path / f"{number}")[1][CHECKSUM])
    assert found == [f"{zlib.crc32(struct.pack('<4f', 0, 1, 2, 3)):08x}"] * 2


def test_files_of_any_name_are_read(tmp_path: Path):
    """Folders from other systems have names that are no UTF-8, which safetensors and torch refuse."""
    folder = tmp_path / os.fsdecode(b"f\xfcr")
    folder.mkdir()
    save_tensors(folder / "some.safetensors", some_tensors(), ABOUT)
    tensors, _ = load_tensors(folder / "some.safetensors")
    assert tensors.keys() == some_tensors().keys()
    assert json.loads(header_of(folder / "some.safetensors")) == ABOUT
    save_state(folder / "state.pt", {"steps": torch.arange(3)})
    assert peek_state(folder / "state.pt")["steps"].tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        load_tensors(folder / "none.safetensors")


def test_a_header_can_tell_of_names_that_are_no_utf_8(file: Path):
    """Of styles, photos and classes: with LC_ALL=C a Python that is told to take ASCII has all umlauts so."""
    about = {"styles": ["für", os.fsdecode(b"f\xfcr")]}
    save_tensors(file, some_tensors(), about)
    assert json.loads(header_of(file)) == about
