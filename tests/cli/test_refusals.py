"""What is refused is refused before the work, in a sentence that helps; damaged records stop no command."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from command import refused
from easel import hasama_here
from hasama.runs.bases import BASES


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A base, as a run."""
    return Path(shutil.copytree(BASES / "digits", tmp_path / "run"))


@pytest.mark.parametrize(("words", "told"), [
    (("sample", "digits", "--out", ""), "--out is empty: name a picture or a folder"),
    (("sample", "digits", "--out="), "--out is empty"),
    (("export", "digits", "--safetensors", "--out", ""), "--out is empty"),
    (("directions", "digits", "--out="), "--out is empty"),
    (("enlarge", ""), "hasama enlarge was given an empty name: is a variable not set?"),
    (("enlarge", "digits"), "digits is a generator, not a picture. Let it make some first:"),
    (("style", "", "a.png"), "hasama style was given an empty name"),
    (("evaluate", "digits", "--source", ""), "--source is empty"),
    (("-",), "- is a stream, and no command"),
    (("evaluate", "digits", "--seed=-1"), "--seed at least 0; got -1."),
    (("invert", "a.png", "--layers", "relu9"), "--layers takes layers by their names, relu1_1 to relu5_4"),
    (("invert", "a.png", "--layers", ""), "--layers takes layers by their names"),
    (("studio", "runs", "--host", ""), "--host takes an address"),
    (("sample", "digits", "--nearest", 2, "--count", 1_000_000), "The base digits comes without its pictures"),
    (("sample", "digits", "--nearest", 2, "--source", "nowhere"), "There are no pictures at nowhere"),
    (("interpolate", "digits", "--out", "film.gif"), "there is a folder of that name"),
    (("images", "digits", "--out", "big.png"), "there is a folder of that name"),
    (("images", "digits", "--shards", "new", "--out", "new/p.png"), "lies in the folder of the shards"),
    (("sweep", "digits", "demo", "--size", "16", "--storage", "a.png", "--out", "sw"), "cannot be opened"),
    (("coverage", "ring", "--out", "photos", "--kimg", 0.1), "photos holds pictures (0.png)"),
    (("sample", "digits", "--seeds", "1-3", "--count", 3), "leave out --count and --seed"),
    (("sample", "digits", "--seeds", "1-3", "--seed", 0), "leave out --count and --seed"),
    (("sample", "digits", "--columns", 3, "--out", "new"), "--columns is for a grid"),
    (("images", "digits", "--shard-mb", 5), "--shard-mb is the size of what --shards writes"),
    (("suggest", "digits", "--gamma-kimg", 5), "--gamma-kimg is the length of the trials of --gammas"),
    (("invert", "photos/sheet.png", "--out", "photos"), "is one of the pictures to invert"),
    (("report", "digits", "--out", "a.png/x"), "a file is where a folder would have to be"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(
    words: tuple[object, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "film.gif", "big.png"):
        Path(folder).mkdir()
    for place in ("a.png", "photos/0.png"):
        Image.new("RGB", (20, 20), "teal").save(place)
    before = sorted(path for path in Path().rglob("*") if "sw" not in path.parts)
    refused(hasama_here(*words), told)
    assert sorted(path for path in Path().rglob("*") if "sw" not in path.parts) == before


DAMAGED = {
    "a loss that is none": '{"images_seen": 8, "loss_discriminator": null, "loss_generator": 0.5}\n',
    "no losses": '{"images_seen": 8}\n{"images_seen": 16}\n',
    "seconds in words": '{"images_seen": 8, "seconds": "many", "loss_generator": 0.5}\n',
    "a deep line": "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("log", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_log_stops_nothing(log: str, run: Path):
    (run / "log.jsonl").write_text(log)
    for words in (("runs", run.parent), ("doctor", run), ("export", run, "--safetensors", "--out", run.parent / "e")):
        done = hasama_here(*words)
        assert done.returncode in (0, 2), done.stderr
        assert "Traceback" not in done.stderr
    listed = hasama_here("runs", run.parent)
    assert "32" in listed.stdout, listed.stderr  # its size


def test_a_run_that_has_lost_its_list_of_pictures_says_how_to_go_on(run: Path):
    (run / "images.json").unlink()
    for words in (("resume", run), ("doctor", run)):
        refused(hasama_here(*words), f"begin anew with its weights: --init-from {run}")


@pytest.mark.parametrize("changes", [{"classes": 3}, {"duplicates": [[3]]}, {"duplicates": 5, "skipped": 1}])
def test_a_report_of_a_damaged_run_can_be_made(changes: dict, run: Path):
    told = json.loads((run / "images.json").read_text())
    (run / "images.json").write_text(json.dumps(told | changes))
    done = hasama_here("report", run, "--out", run.parent / "report.zip")
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode in (0, 2)
