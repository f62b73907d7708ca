"""`hasama report` and `--version`: all that a bug report needs, and nothing that is private."""

import getpass
import json
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import TINY, forked, hasama, refused, run_code
from hasama.cli.commands.report import version_text
from hasama.version import __version__

TELLING = ("wanjiku", "nyumbani", "divorce", "lawyer", "secret-run", "anna", "kissing", "holiday", "password1")
"""Names that only their owner has to know."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with pictures and a run, all of them with telling names."""
    home = tmp_path_factory.mktemp("homes") / "wanjiku"
    source = home / "Divorce Papers (Lawyer)"
    rng = np.random.default_rng(0)
    for number in range(24):
        place = source / ("anna holiday" if number % 2 else "kissing")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(place / f"anna {number}.png")
    (source / "kissing/anna broken.png").write_bytes(b"no picture")
    run = home / "secret-run of nyumbani"
    cache = str(home / "cache-of-wanjiku")
    done = hasama(
        "train", source, "dcgan", "--out", run, "--labels", "--only", "kissing,anna holiday", "--kimg", "0.1", *TINY,
        HOME=str(home), USER="wanjiku", HASAMA_CACHE=cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home


def reported(home: Path, *words: object) -> str:
    done = hasama(
        "report", *words, cwd=home, HOME=str(home), USER="wanjiku", LOGNAME="wanjiku", HOSTNAME="nyumbani",
        HASAMA_CACHE=str(home / "cache-of-wanjiku"), HASAMA_STUDIO_PASSWORD="password1",
        HASAMA_MIRROR="https://wanjiku.example/holiday", CUDA_CACHE_PATH="/home/wanjiku/cuda", KMP_BLOCKTIME="7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_nothing_private(text: str, home: Path) -> None:
    told = text.lower()
    assert [name for name in TELLING if name in told] == []
    assert str(home.parent) not in text
    for name in (socket.gethostname(), getpass.getuser()):
        assert name in ("root", "localhost") or name not in text


def test_a_report_holds_what_a_bug_report_needs(home: Path):
    text = reported(home, home / "secret-run of nyumbani")
    for word in (__version__, "torch ", "pillow ", "processor ", "memory ", "device ", "threads ", "avx"):
        assert word in text, word
    assert "KMP_BLOCKTIME" in text
    for title in ("Versions", "Extras", "Machine", "Variables", "Run: recipe", "Run: log", "Run: last error"):
        assert f"### {title}\n" in text
    assert '"loss_generator"' in text
    assert "(given)" in text  # --only
    assert_nothing_private(text, home)


@pytest.mark.parametrize("name", ["secret-run of nyumbani", "."])
def test_as_json_it_holds_the_same(home: Path, name: str):
    place = home / "secret-run of nyumbani"
    told = json.loads(reported(home, "--json", place if name == "." else name))
    assert told["run"]["pictures"]["used"] == 24
    assert sum(told["run"]["pictures"]["skipped"].values()) == 1
    assert told["run"]["pictures"]["classes"] == [12, 12]
    assert told["run"]["recipe"]["width"] == 4
    assert told["run"]["last error"] == "none"
    assert told["variables"]["HASAMA_STUDIO_PASSWORD"] == "(set)"
    assert told["variables"]["KMP_BLOCKTIME"] == "7"
    assert_nothing_private(json.dumps(told), home)


def test_what_broke_off_a_run_is_told_without_names(home: Path, tmp_path: Path):
    run = tmp_path / "secret-run" / "of anna"
    run.parent.mkdir()
    run.symlink_to(home / "secret-run of nyumbani")
    kept = (home / "secret-run of nyumbani/game.pt").read_bytes()
    (run / "game.pt").write_bytes(b"damaged")
    try:
        done = hasama("resume", run, "--kimg", "1", HOME=str(home), HASAMA_CACHE=str(home / "cache-of-wanjiku"))
        refused(done, "is damaged")
        told = json.loads(reported(home, run, "--json"))["run"]["last error"]
    finally:
        (run / "game.pt").write_bytes(kept)
    assert told["kind"] == "HasamaError"
    assert "The checkpoint" in told["message"]
    assert "game.pt is damaged and cannot be read." in told["message"]
    assert any(frame.startswith("hasama/runs/session.py:") for frame in told["frames"])
    assert_nothing_private(json.dumps(told), home)
    done = hasama("resume", run, "--kimg", "0.2", HOME=str(home), HASAMA_CACHE=str(home / "cache-of-wanjiku"))
    assert done.returncode == 0
    assert not (run / "error.json").exists()  # a session that went well


CRASH = """
import sys
import hasama.cli.app as command
import hasama.pictures.cache as cache
def broken(*rest): raise ValueError(f"cannot use {sys.argv[2]} nor /data/divorce/anna.png nor 'anna 3.png'")
cache.Reading.scan = broken
command.main()
"""


def test_a_crash_is_kept_and_told_without_names(home: Path):
    variables = {"HOME": str(home), "HASAMA_CACHE": str(home / "cache-of-wanjiku")}
    source = home / "Divorce Papers (Lawyer)"
    done = forked(run_code, CRASH, "images", str(source), "--out=kissing.png", "--size", "16", cwd=home, **variables)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "`hasama report` gathers" in done.stderr
    told = json.loads(reported(home, "--json"))["last crash of a command"]
    assert told["kind"] == "ValueError"
    assert told["command"] == "hasama images WORD --out=WORD --size 16"
    assert told["message"].startswith("cannot use ")
    assert told["frames"][-1] == "<test>:5 broken"
    assert any(frame.startswith("hasama/cli/commands/images.py:") for frame in told["frames"])
    assert_nothing_private(json.dumps(told), home)


def test_a_report_goes_into_a_file(home: Path, tmp_path: Path):
    out = tmp_path / "report.txt"
    done = hasama("report", "--out", out, HOME=str(home))
    assert done.stdout.startswith(f"Written to {out}")
    assert f"hasama                            {__version__}" in out.read_text(encoding="utf-8")


def test_what_is_no_run_is_refused(tmp_path: Path):
    refused(hasama("report", tmp_path / "nowhere"), "There is no run at")


def test_a_damaged_run_is_reported_all_the_same(home: Path, tmp_path: Path):
    run = tmp_path / "divorce"
    run.mkdir()
    (run / "recipe.json").write_text("{", encoding="utf-8")
    (run / "error.json").write_text("[]", encoding="utf-8")
    told = json.loads(reported(home, run, "--json"))["run"]
    assert told["recipe"]["damaged"]
    assert told["pictures"] == {"damaged": "images.json cannot be read"}
    assert_nothing_private(json.dumps(told), home)


# --- the version ------------------------------------------------------------------------------------


def test_the_version_names_torch_and_the_device():
    done = hasama("--version")
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    assert told.startswith(f"hasama {__version__} (torch 2.")
    assert told == version_text().replace("2 threads", "1 thread")
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["completion", "bash"]])
def test_help_and_completion_do_not_wait_for_torch(words: list[str]):
    code = """
import sys
before = {name for name in sys.modules}
class Watch:
    def find_spec(self, name, *rest):
        if name == "torch": raise SystemExit(77)
for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]: del sys.modules[name]
sys.meta_path.insert(0, Watch())
from hasama.cli.app import main
main()
"""
    assert forked(run_code, code, *words).returncode == 0
