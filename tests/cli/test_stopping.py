"""Ctrl-C at any moment: what is said of the work is true."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from command import TINY, forked, hasama, run_code
from hasama.__main__ import main
from hasama.cli import app, flags
from hasama.cli.commands import train as command
from hasama.cli.flags import INTERRUPTED, asked_to_stop


def interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says when Ctrl-C comes while it trains."""

    def stops(*given: Any, **more: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_train", stops)
    monkeypatch.setattr(sys, "argv", ["hasama", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == INTERRUPTED
    return " ".join(capsys.readouterr().err.split())


def test_a_terminal_that_is_closed_asks_to_save_unless_it_was_told_to_go_on(monkeypatch: pytest.MonkeyPatch):
    def gone(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(flags, "_write_to_nobody", lambda: None)  # pytest reads what is written
    for handler, heard in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with asked_to_stop() as asked, monkeypatch.context() as patch:
                patch.setattr(os, "write", gone)  # nobody can be told any more
                for _ in range(2):  # by the shell and by the system
                    os.kill(os.getpid(), signal.SIGHUP)
                assert asked() == heard
            assert signal.getsignal(signal.SIGHUP) is handler
        finally:
            signal.signal(signal.SIGHUP, before)


def test_what_is_said_after_the_terminal_was_closed_goes_nowhere(tmp_path: Path):
    """To write to it is an error, which would break off what is being saved."""
    code = """
import os, pty, signal, sys
from hasama.cli.flags import asked_to_stop
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # pytest may have been told to go on
keeper, terminal = pty.openpty()
os.dup2(terminal, 1); os.dup2(terminal, 2); os.close(terminal)
with asked_to_stop() as asked:
    os.close(keeper)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    os.write(1, b"a bar"); os.write(2, b"a word")
    open(sys.argv[1], "w").write(str(asked()))
"""
    assert forked(run_code, code, tmp_path / "told").returncode == 0
    assert (tmp_path / "told").read_text() == "True"


def test_before_anything_is_saved_it_says_so(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    words = ("train", pictures, "dcgan", *TINY, "--out", tmp_path / "run")
    said = interrupted(monkeypatch, capsys, *words)
    assert "Nothing was saved yet" in said
    assert "stands" not in said


def test_where_something_is_saved_it_tells_where_it_stands(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    words = ("train", pictures, "dcgan", *TINY, "--out", run)
    assert hasama(*words, "--kimg", 0.032).returncode == 0
    for again in ((*words, "--kimg", 1), ("resume", run, "--kimg", 1)):
        said = interrupted(monkeypatch, capsys, *again)
        assert "The run stands at 0.032 kimg" in said
        assert f"hasama resume {run}" in said


def test_a_command_that_saves_nothing_promises_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stops(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("hasama.runs.folder.find_runs", stops)
    monkeypatch.setattr(sys, "argv", ["hasama", "runs", "."])
    with pytest.raises(SystemExit):
        app.main()
    assert capsys.readouterr().err.strip() == "hasama: stopped at once."


class Interrupts:
    """A finder of modules that meets Ctrl-C when the command is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "hasama.cli.app":
            raise KeyboardInterrupt


def test_while_the_command_is_still_being_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delitem(sys.modules, "hasama.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == INTERRUPTED
    assert capsys.readouterr().err == "hasama: stopped at once.\n"
