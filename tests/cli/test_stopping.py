"""Ctrl-C at any moment: what is said of the work is true."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from command import TINY, hasama, start
from hasama.cli import app
from hasama.cli.commands import train as command
from hasama.cli.flags import INTERRUPTED
from hasama.runs.folder import Run


def interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says when Ctrl-C comes while it trains."""

    def stops(*given: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_train", stops)
    monkeypatch.setattr(sys, "argv", ["hasama", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == INTERRUPTED
    return " ".join(capsys.readouterr().err.split())


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


def test_a_real_process_in_its_first_seconds(tmp_path: Path, pictures: Path):
    """Whenever the signal comes, the end is 130 without a traceback, and what is said of the run is true."""
    process = start("train", pictures, "dcgan", *TINY, "--kimg", 100, "--out", tmp_path / "run")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    seen = Run(tmp_path / "run").images_seen()
    assert "stands at" not in said or seen > 0, said
    assert "Nothing was saved yet" not in said or seen == 0, said
