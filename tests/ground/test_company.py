"""What several processes do when not all of them see, hear or live through the same."""

import os
import sys
import time
from pathlib import Path

import pytest

from command import TINY, hasama, run_hasama
from company import begin, end, said, together
from hasama.distributed import Team, check_divisible
from hasama.errors import HasamaError
from hasama.files import read_json
from hasama.runs.folder import Run

TRAIN = ["train", "digits", "r3gan", *TINY, "--health-kimg", "0", "--quality-kimg", "0"]


def test_each_process_needs_as_many_pictures_in_each_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hasama.distributed._team", Team(0, 4, 0))
    check_divisible(16, 4)
    with pytest.raises(HasamaError, match="each in 8 parts"):
        check_divisible(16, 8)


# --- what only one of them sees -------------------------------------------------------------------


def elsewhere() -> None:
    """The command in a folder of this process's own: 0 or 1."""
    os.chdir(os.environ["RANK"])
    run_hasama()


def test_the_first_one_knows_whether_a_run_has_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder of the other one holds no run, as on another machine: it must not measure how fast it is alone."""
    monkeypatch.chdir(tmp_path)
    for rank in ("0", "1"):
        Path(rank).mkdir()
    together(2, *TRAIN, "--kimg", "0.03", "--out", "run", main=elsewhere)
    told = together(2, *TRAIN, "--hours", "0.001", "--out", "run", main=elsewhere)
    assert "already has its" in told[0]
    assert "images/s" not in told[0]
    assert not Run("1/run").exists()


def test_weights_to_begin_with_lie_where_the_first_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for rank in ("0", "1"):
        Path(rank).mkdir()
    together(2, *TRAIN, "--kimg", "0.03", "--out", "old", main=elsewhere)
    together(2, *TRAIN, "--kimg", "0.03", "--init-from", "old", "--out", "new", main=elsewhere)
    assert read_json(Path("0/new/inherited.json"), "list")["taken"]


# --- what is said, and how often ------------------------------------------------------------------


def test_a_flag_that_there_is_not_is_refused_once():
    processes = begin(2, "train", "digits", "--bogus", "3")
    assert end(processes) == [2, 2]
    assert "--bogus" in said(processes[0])
    assert said(processes[1]) == ""


# --- the machine ----------------------------------------------------------------------------------


def telling_threads() -> None:
    import torch

    torch.set_num_threads(1)  # as torchrun has it
    try:
        run_hasama()
    finally:
        Path(f"threads-{os.environ['RANK']}").write_text(str(torch.get_num_threads()))


def test_several_do_not_take_the_threads_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that had all cores to itself goes on in two processes, each with its own threads."""
    monkeypatch.chdir(tmp_path)
    assert hasama(*TRAIN, "--kimg", "0.03", "--threads", "2", "--out", "run").returncode == 0
    together(2, *TRAIN, "--kimg", "0.06", "--out", "run", main=telling_threads)
    assert [Path(f"threads-{rank}").read_text() for rank in (0, 1)] == ["1", "1"]


# --- meeting --------------------------------------------------------------------------------------


def three_times() -> None:
    """Meet three times, with nothing but an old store between, in which stand the names of processes long gone."""
    import torch.distributed as dist

    from hasama.distributed import agreed
    from hasama.distributed import together as joined

    os.environ["TORCHELASTIC_RESTART_COUNT"] = os.environ["RANK"]  # as it may be where machines are several
    store = dist.TCPStore("127.0.0.1", int(sys.argv[1]), 2, is_master=os.environ["RANK"] == "0")
    if os.environ["RANK"] == "0":
        for key in ("here-1", "heard-1", "meeting", "told of others"):
            store.set(key, "gone")
    store.wait(["told of others"])
    os.environ |= {"MASTER_PORT": sys.argv[1], "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for _ in range(3):
        with joined() as team:
            assert agreed(team.rank == 1)
    if os.environ["RANK"] == "0":
        time.sleep(1)  # it keeps the store


def test_processes_meet_again_where_a_store_still_tells_of_others():
    from company import free_port

    together(2, free_port(), main=three_times)


# --- in Python ------------------------------------------------------------------------------------


def broken_off() -> None:
    """`hasama.train`, left after three steps, and gone on with."""
    import hasama as package
    from hasama.presets import RECIPES

    recipe = RECIPES["r3gan"].but(size="16", width=4, latent_size=8, batch=16, kimg=0.096, health_kimg=0)
    for number, _ in enumerate(package.train("digits", recipe, sys.argv[1])):
        if number == 2:
            break
    assert sum(1 for _ in package.resume(sys.argv[1])) == 3


def test_a_loop_in_python_can_be_left_and_gone_on_with(tmp_path: Path):
    together(2, tmp_path / "run", main=broken_off)
    assert Run(tmp_path / "run").images_seen() == 96
