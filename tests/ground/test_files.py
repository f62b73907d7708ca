"""Names: cut where they would be too long, between two letters, and never two files in one."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from hasama.errors import HasamaError
from hasama.files import check_place, is_locked, remove_leftovers, replacing, write_json
from hasama.names import LONGEST_NAME, check_name, counted, fitting_name
from hasama.pictures.report import Report


def test_short_names_stay():
    assert fitting_name("cat--night", ".png") == "cat--night.png"
    assert fitting_name("x" * 251, ".png") == "x" * 251 + ".png"


@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=200, max_size=600),
    st.sampled_from(["", ".json", "-preview.png"]),
    st.integers(0, 40),
)
def test_long_names_fit_and_keep_their_ending(name: str, ending: str, spare: int):
    made = fitting_name(name, ending, spare)
    assert len(made.encode()) <= LONGEST_NAME - spare
    assert made.endswith(ending)
    assert fitting_name(name + "2", ending, spare) != made
    assert fitting_name(name, ending, spare) == made


@pytest.mark.parametrize("letter", ["x", "ü", "画", "🖼"])
def test_every_name_that_a_file_may_have_can_be_written(letter: str, tmp_path: Path):
    longest = letter * ((LONGEST_NAME - 5) // len(letter.encode())) + ".json"
    for name in (longest, longest[1:], longest[:-5], "a." + letter * (250 // len(letter.encode()))):
        check_place(tmp_path / name)
        write_json(tmp_path / name, [1])
        assert (tmp_path / name).read_text() == "[\n  1\n]\n"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "y" * 300 + "/a.png"])
def test_longer_names_are_refused_with_the_right_words(name: str, tmp_path: Path):
    for check in (check_name, check_place, lambda path: write_json(path, 1)):
        with pytest.raises(HasamaError, match="the name is too long") as refusal:
            check(tmp_path / name)
        assert "space" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_too_long_as_a_whole_is_refused_likewise(tmp_path: Path):
    deep = tmp_path.joinpath(*["d" * 200] * 30) / "a.png"
    with pytest.raises(HasamaError, match="the name is too long"), replacing(deep):
        pass


def test_a_checkpoint_that_finds_no_room_says_so_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    from hasama.runs.folder import Run

    class Game:
        def state_dict(self) -> dict[str, int]:
            return {}

    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    run = Run(tmp_path / "run")
    with pytest.raises(HasamaError, match="no room for the checkpoint") as refusal:
        run.save_game(Game())  # pyright: ignore[reportArgumentType]
    assert "enforce" not in str(refusal.value)
    assert not run.checkpoint.exists()


def test_what_a_killed_process_left_goes_and_nothing_of_anybody_elses(tmp_path: Path):
    own = [".gitlab-ci.yml", ".pre-commit-config.yaml", ".env.local", ".config.settings", ".eslintrc.abcdefgh.json"]
    (tmp_path / "below").mkdir()
    kept = [tmp_path / "below" / name for name in own]
    for file in kept:
        file.write_text("mine")
    folder = tmp_path / ".generator.onnx.abcdefgh.onnx"  # in which an export works
    folder.mkdir()

    def child() -> None:
        for name in ("game.pt", "below/000000080.png"):
            with replacing(tmp_path / name):
                if name != "game.pt":
                    os._exit(9)
                (tmp_path / ".game.pt.aaaaaaaa.pt").write_text("half of it")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 9
    left = {file.name for file in tmp_path.rglob("*") if file.is_file()} - set(own)
    assert len(left) == 3  # game.pt and two temporary ones
    remove_leftovers(tmp_path)
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {*own, "game.pt"}
    assert folder.is_dir()


def test_many_can_look_at_a_lock_at_once(tmp_path: Path):
    lock = tmp_path / ".lock"
    assert not is_locked(lock)
    assert not lock.exists()
    with FileLock(lock):
        assert is_locked(lock)
    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(lambda _: is_locked(lock), range(2000)))


def test_what_there_is_one_of_is_told_without_an_s():
    assert [counted(n, "picture") for n in (0, 1, 2, 1797)] == [
        "0 pictures",
        "1 picture",
        "2 pictures",
        "1797 pictures",
    ]
    assert [counted(n, "second") for n in (0.5, 1.0, 1.001, 2.25)] == [
        "0.5 seconds", "1 second", "1 second", "2.25 seconds",
    ]  # fmt: skip
    report = Report("folder x", 1, 1, (8, 8), 3, "crop", "key")
    assert report.text().startswith("folder x: 1 file, 1 picture, 0 skipped")
