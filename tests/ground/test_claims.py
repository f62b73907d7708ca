"""Claims: one winner however many ask at once, and an heir for whoever died."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama import claims
from hasama.claims import PATIENCE_SECONDS, claimed, holder_of
from hasama.errors import HasamaError

HOLD = """
import sys, time
from pathlib import Path
from hasama.claims import claimed
with claimed(Path(sys.argv[1])) as claim:
    print(claim is not None, flush=True)
    time.sleep(100)
"""


def taken(place: Path) -> bool:
    """Whether this process gets the claim."""
    with claimed(place) as claim:
        return claim is not None


def claim_file(place: Path) -> Path:
    (file,) = place.parent.glob("*.claim")
    return file


def left_behind(place: Path, age: float = 0, **changes: object) -> Path:
    """A claim as another process leaves it that dies, touched `age` seconds ago."""
    with ExitStack() as stack:
        stack.enter_context(claimed(place))
        file = claim_file(place)
        told = json.loads(file.read_text()) | changes
        shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").rename(file)
    file.write_text(json.dumps(told))
    os.utime(file, (then := time.time() - age, then))
    return file


ELSEWHERE = {"host": "nodeb", "machine": "another system", "pid": 1}


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the claim of `a.png`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.png")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


# --- one winner -----------------------------------------------------------------------------------


def test_what_is_claimed_is_left_alone_and_free_afterwards(tmp_path: Path):
    place = tmp_path / "folder" / "a.png"
    with claimed(place) as first:
        assert first is not None
        assert not taken(place)
        assert taken(place.with_name("b.png"))
        assert str(holder_of(place)) == f"process {os.getpid()}"
    assert list(place.parent.iterdir()) == []
    assert holder_of(place) is None
    assert taken(place)


def test_a_block_that_fails_leaves_no_claim(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "a.png"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dead", [False, True], ids=["free", "dead"])
def test_of_eight_that_ask_at_once_one_gets_it(dead: bool, tmp_path: Path):
    for turn in range(25):
        place = tmp_path / f"{turn}.png"
        if dead:
            left_behind(place, age=2 * PATIENCE_SECONDS, **ELSEWHERE)
        assert race(place, 8) == 1
    assert list(tmp_path.iterdir()) == []


def race(place: Path, count: int) -> int:
    """How many of so many threads get a claim that all ask for before one of them lets go."""
    begin, asked = threading.Barrier(count), threading.Barrier(count)
    won: list[bool] = []

    def ask() -> None:
        begin.wait()
        with claimed(place) as claim:
            won.append(claim is not None)
            asked.wait()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(won)


class Puppet(threading.Thread):
    """Asks for a claim, and stands still before each of its steps until it is told to go on."""

    def __init__(self, place: Path) -> None:
        super().__init__(daemon=True)
        self.file, self.token = place, None
        self.may_go, self.stands = threading.Semaphore(0), threading.Semaphore(0)
        self.over = False

    def run(self) -> None:
        try:
            self.pause()
            self.token = claims._take(self.file)
        finally:
            self.over = True
            self.stands.release()

    def pause(self) -> None:
        self.stands.release()
        self.may_go.acquire()

    def go_on(self) -> None:
        self.may_go.release()
        self.stands.acquire()


def stepwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function before and after which a puppet stands still."""

    def paused(*given: object) -> Any:
        puppet = threading.current_thread()
        if not isinstance(puppet, Puppet):
            return function(*given)
        puppet.pause()
        result = function(*given)
        puppet.pause()
        return result

    return paused


@settings(max_examples=150)
@given(order=st.lists(st.integers(0, 2), max_size=60))
def test_however_three_heirs_take_turns_one_inherits(order: list[int], tmp_path_factory: pytest.TempPathFactory):
    """Every step of theirs that reads or writes a file stands where another's can come between."""
    place = tmp_path_factory.mktemp("race") / "a.png"
    file = left_behind(place, age=2 * PATIENCE_SECONDS, **ELSEWHERE)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_read", "_create", "_written", "_leave"):
            patch.setattr(claims, name, stepwise(getattr(claims, name)))
        puppets = [Puppet(file) for _ in range(3)]
        for puppet in puppets:
            puppet.start()
            puppet.stands.acquire()
        turns = iter(order)
        while waiting := [puppet for puppet in puppets if not puppet.over]:
            waiting[next(turns, 0) % len(waiting)].go_on()
    winners = [puppet.token for puppet in puppets if puppet.token]
    assert len(winners) == 1
    assert json.loads(file.read_text())["token"] == winners[0]
    assert list(place.parent.iterdir()) == [file]


# --- heirs ----------------------------------------------------------------------------------------


def test_a_killed_process_of_this_machine_is_inherited_from_at_once(holding: subprocess.Popen, tmp_path: Path):
    place = tmp_path / "a.png"
    os.utime(claim_file(place), (1, 1))  # it lives, so that its silence means nothing
    assert not taken(place)
    assert str(holder_of(place)) == f"process {holding.pid}"
    holding.kill()
    os.waitid(os.P_PID, holding.pid, os.WEXITED | os.WNOWAIT)  # nobody has heard of it yet: a zombie keeps its number
    assert claim_file(place).exists()
    assert holder_of(place) is None
    assert taken(place)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_a_dead_process_may_be_another_s_by_now(tmp_path: Path):
    left_behind(tmp_path / "a.png", began="1")
    assert taken(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("age", "free"), [(0, False), (0.9 * PATIENCE_SECONDS, False), (1.1 * PATIENCE_SECONDS, True)]
)
def test_a_claim_of_another_machine_lives_as_long_as_its_heart_beats(age: float, free: bool, tmp_path: Path):
    place = tmp_path / "a.png"
    left_behind(place, age, **ELSEWHERE)
    assert (holder_of(place) is None) == free
    assert free or str(holder_of(place)) == "process 1 on nodeb"
    assert taken(place) == free


def test_the_file_system_s_clock_counts_and_not_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left_behind(tmp_path / "a.png", **ELSEWHERE)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * PATIENCE_SECONDS)
    assert not taken(tmp_path / "a.png")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}'])
def test_half_a_claim_is_respected_while_it_is_new(text: str, tmp_path: Path):
    place = tmp_path / "a.png"
    file = left_behind(place)
    file.write_text(text)
    assert not taken(place)
    assert str(holder_of(place)) == "another process"
    os.utime(file, (1, 1))
    assert taken(place)


def test_who_dies_while_inheriting_is_inherited_from(tmp_path: Path):
    place = tmp_path / "a.png"
    file = left_behind(place, began="1")
    right = file.with_name(f"{file.name}.{json.loads(file.read_text())['token']}")
    right.write_text(file.read_text().replace('"token": "', '"token": "0'))
    assert taken(place)
    assert list(tmp_path.iterdir()) == []


def test_a_sleeper_finds_its_claim_lost_and_leaves_the_heir_s(tmp_path: Path):
    place = tmp_path / "a.png"
    with claimed(place) as sleeper:
        assert sleeper is not None
        sleeper.beat()
        assert not sleeper.lost
        file = claim_file(place)
        file.write_text(json.dumps(json.loads(file.read_text()) | ELSEWHERE))
        os.utime(file, (1, 1))
        with claimed(place) as heir:
            assert heir is not None
            sleeper.beat()
            assert sleeper.lost
            claims._leave(sleeper.file, sleeper.token)
            assert not taken(place)


def test_a_heart_beats_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    with claimed(tmp_path / "a.png") as claim:
        assert claim is not None
        os.utime(claim.file, (1, 1))
        end = time.monotonic() + 10
        while claim.file.stat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.01)


# --- file systems ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_links_it_works_as_well(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def link(*given: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    with claimed(tmp_path / "a.png") as first:
        assert first is not None
        assert not taken(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_got_lost_is_no_defeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """NFS asks again, and hears that the link which it has just made exists."""
    real = os.link

    def link(*given: Any) -> None:
        real(*given)
        real(*given)

    monkeypatch.setattr(os, "link", link)
    with claimed(tmp_path / "a.png") as first:
        assert first is not None
        assert not taken(tmp_path / "a.png")


def test_a_place_that_cannot_be_is_told_in_plain_words(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HasamaError, match=r"Cannot write .*a\.png"), claimed(tmp_path / "file" / "a.png"):
        pass
    assert holder_of(tmp_path / "file" / "a.png") is None


def test_a_full_disk_keeps_nothing_of_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(file: Path, *_: object, **__: object) -> int:
        file.touch()  # for names there is room
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(HasamaError, match=r"Cannot write .*a\.png: No space left"), claimed(tmp_path / "a.png"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_long_names_can_be_claimed_and_inherited(tmp_path: Path):
    place = tmp_path / ("é" * 125 + ".png")
    left_behind(place, began="1")
    with claimed(place.with_name("e" + place.name[1:])) as other:
        assert other is not None
        assert taken(place)
    assert list(tmp_path.iterdir()) == []
