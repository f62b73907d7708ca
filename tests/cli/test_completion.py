"""The Tab key, as each shell asks: commands, flags, recipes, bases, runs, files."""

import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from command import hasama
from hasama.cli.app import COMMANDS, app
from hasama.cli.commands.completion import ASKED, SCRIPTS, Shell, answer, candidates
from hasama.options import flag
from hasama.presets import RECIPES
from hasama.recipe import DEFAULTS
from hasama.style.recipe import STYLE_RECIPES


def found(*words: str) -> list[str]:
    return [one.word for one in candidates(app, list(words))[0]]


def test_every_command_is_completed():
    assert found("") == [command.__name__ for command in COMMANDS]
    assert found("s") == [command.__name__ for command in COMMANDS if command.__name__.startswith("s")]
    assert found("tr") == ["train"]
    assert found("trian", "") == []


def test_every_field_of_the_recipe_is_a_flag():
    assert {flag(name) for name in DEFAULTS} <= set(found("train", "digits", "-"))
    of_generator = ["width", "blocks", "attention", "norm", "optimizer", "lr", "betas"]
    assert found("train", "digits", "--gen") == [f"--generator-{name}" for name in of_generator]


def test_recipes_stand_in_their_place():
    assert found("train", "photos", "") == list(RECIPES)
    assert found("train", "photos", "dc") == ["dcgan"]
    assert found("train", "photos", "dcgan", "") == []
    assert found("style", "a.png", "b.png", "--recipe", "") == list(STYLE_RECIPES)
    assert found("style", "a.png", "b.png", "--recipe=sk") == ["--recipe=sketch"]


@pytest.mark.parametrize("before", ["--size 32", "--size=32", "--mirror", "--no-mirror", "--generator-betas 0 0.9"])
def test_flags_and_their_values_are_no_places(before: str):
    assert found("train", *before.split(), "photos", "vis") == ["vision-aided"]


def test_values_are_those_of_the_flag():
    assert found("train", "photos", "--objective", "w") == ["wasserstein"]
    assert found("train", "photos", "--objective", "=", "w") == ["wasserstein"]  # as bash cuts words
    assert found("train", "photos", "--objective", "=") == found("train", "photos", "--objective", "")
    assert found("train", "photos", "--size", "") == []
    assert found("sample", "portraits", "--device", "c") == ["cpu", "cuda"]
    assert found("completion", "") == list(typing.get_args(Shell)) == list(SCRIPTS)


def test_sources_bases_and_runs_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/recipe.json").touch()
    monkeypatch.chdir(tmp_path)
    assert candidates(app, ["train", "di"]) == ([("digits", "")], True)
    assert found("sample", "") == ["digits", "emoji", "portraits", "portraits-128", "runs/mine"]
    assert found("train", "photos", "--init-from", "") == [
        "digits",
        "emoji",
        "portraits",
        "portraits-128",
        "runs/mine",
    ]
    assert found("resume", "") == ["runs/mine"]  # a base cannot be resumed


def test_where_files_may_stand_the_shell_is_told():
    assert candidates(app, ["style", "a.png", "b.png", "c"])[1]
    assert candidates(app, ["doctor", "runs/mine", "--html", ""])[1]
    assert not candidates(app, ["train", "photos", "--kimg", ""])[1]
    assert not candidates(app, ["train", "photos", "--"])[1]


def test_each_shell_gets_the_help_in_its_own_way():
    assert list(answer(app, "bash", ["trai"])) == ["train"]
    (line,) = answer(app, "zsh", ["trai"])
    assert line.startswith("train:Train on pictures")
    (line,) = answer(app, "fish", ["trai"])
    assert line.startswith("train\tTrain on pictures")


# --- real shells ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command in bin/, a folder of photos, and the scripts as the command prints them."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "bin").mkdir()
    program = folder / "bin/hasama"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hasama "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    (folder / "dinner photos").mkdir()
    for shell in SCRIPTS:
        printed = hasama("completion", shell).stdout
        assert printed == SCRIPTS[shell]
        (folder / f"completion.{shell}").write_text(printed, encoding="utf-8")
    return folder


def run_in(shell: str, room: Path, code: str) -> list[str]:
    """What a shell that has loaded the completion prints."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    source = Path(sys.modules["hasama"].__file__ or "").parents[1]
    there = os.environ | {
        "PATH": f"{room / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(source),
        "HOME": str(room),
    }
    done = subprocess.run(
        [path, "-c", code], cwd=room, env=there, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shells_can_read_their_scripts(shell: str, room: Path):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([path, "-n", str(room / f"completion.{shell}")], check=True, timeout=30)


def test_bash_completes(room: Path):
    code = """
source completion.bash
at() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hasama; printf '%s|' "${COMPREPLY[@]}"; echo; }
at hasama tr
at hasama train photos vis
at hasama train di
complete -p hasama
"""
    assert run_in("bash", room, code) == [
        "train|", "vision-aided|", "digits|dinner photos|", "complete -F _hasama hasama",
    ]  # fmt: skip


def test_zsh_completes(room: Path):
    code = """
compdef() { print "compdef $*"; }
_describe() { print -l -- "${(@P)4}"; }
_files() { print files; }
source completion.zsh
words=(hasama train di); CURRENT=3; _hasama
words=(hasama tr); CURRENT=2; _hasama
"""
    told = run_in("zsh", room, code)
    assert told[:3] == ["compdef _hasama hasama", "digits", "files"]
    assert told[3].startswith("train:Train on pictures")


def test_fish_completes(room: Path):
    said = run_in("fish", room, "source completion.fish; complete -C 'hasama train di'; complete -C 'hasama tr'")
    assert {"digits", "dinner photos/"} <= set(said)
    assert any(line.startswith("train\tTrain on pictures") for line in said)


def test_asked_by_a_shell_it_does_nothing_else(tmp_path: Path):
    done = hasama("train", "digits", "", cwd=tmp_path, **{ASKED: "bash"})
    assert done.returncode == 0
    assert done.stdout.split() == list(RECIPES)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_shell_is_refused():
    done = hasama("completion", "tcsh")
    assert done.returncode != 0
    assert "tcsh" in done.stdout + done.stderr
