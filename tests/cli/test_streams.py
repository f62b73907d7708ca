"""Pictures through standard input and output, JSON, sheets, and what each layer knows of a picture."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import HASAMA, SECONDS, hasama, refused, start
from easel import brief, hasama_here, lay_out, pixels_of
from hasama.cli.terminal import as_meant
from hasama.style.jobs.sheet import GAP, LINE, SIDE, Tile, sheet


def piped(content: bytes, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """The command in a forked process, its streams files."""
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        sent, made, said = (Path(folder) / name for name in ("stdin", "stdout", "stderr"))
        sent.write_bytes(content)
        process = start(*words, cwd=cwd, stdin=str(sent), stdout=str(made), stderr=str(said))
        return subprocess.CompletedProcess(words, process.wait(SECONDS), made.read_bytes(), said.read_bytes())


@pytest.mark.parametrize("words", [("report", "--out", "-"), ("sample", "digits", "--out=-"), ("images", "-")])
def test_other_commands_have_no_streams(words: tuple[str, ...], tmp_path: Path):
    """And make nothing that is called so."""
    refused(hasama(*words, cwd=tmp_path), "for a stream, is for hasama style")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_utf_8_is_told():
    assert as_meant("photos\udcff/") == "photos\\udcff/"
    as_meant("photos\udcff/").encode("utf-8")


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path):
    """Every command that named such a folder ended with a fault of Hasama's own."""
    (tmp_path / "caf\u00e9").mkdir()
    told = subprocess.run(
        [sys.executable, "-m", "hasama", "runs", tmp_path / "caf\u00e9"],
        capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert b"Traceback" not in told.stderr
    assert b"caf\\xe9" in told.stdout + told.stderr


def test_a_picture_goes_in_and_comes_out(tmp_path: Path):
    """Through pipes of a process that is started as people do."""
    content, style = lay_out(tmp_path)
    words = [*HASAMA, "style", "-", str(style), *brief()]
    done = subprocess.run(
        words, input=content.read_bytes(), capture_output=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as made:
        assert made.format == "PNG"
        found = np.asarray(made)
    assert b"step" in done.stderr or b"48x32" in done.stderr  # what is done is told elsewhere
    hasama_here("style", content, style, "--out", tmp_path / "same.png", *brief())
    assert (found == pixels_of(tmp_path / "same.png")).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.png", "s.png", "same.png", "same.png.json"]


def test_one_end_may_be_a_file(tmp_path: Path):
    content, style = lay_out(tmp_path)
    done = piped(content.read_bytes(), "style", "-", style, "--out", "out.png", *brief(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    out = piped(b"", "style", content, style, "--out", "-", *brief(), cwd=tmp_path)
    with Image.open(io.BytesIO(out.stdout)) as made:
        assert (np.asarray(made) == pixels_of(tmp_path / "out.png")).all()


def test_streams_are_called_by_their_names(tmp_path: Path):
    content, style = lay_out(tmp_path)
    out = piped(b"", "style", content, style, "--out", "-", *brief(), cwd=tmp_path)
    assert b"standard output  48x32" in out.stderr
    assert b"hasama-" not in out.stderr
    twice = piped(content.read_bytes(), "style", "-", "-", cwd=tmp_path)
    assert twice.returncode == 2
    assert b"Standard input (-) can be the content; a style is a file" in twice.stderr
    frames = [Image.open(content), Image.open(style)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    film = hasama_here("style", tmp_path / "a.gif", style, "--out", tmp_path / "a.mp4", *brief())
    assert film.returncode == 0, film.stderr
    refused = piped(b"", "style", tmp_path / "a.mp4", style, "--out", "-", *brief(), cwd=tmp_path)
    assert refused.returncode == 2
    assert b"of a film, name the file by --out" in refused.stderr


@pytest.mark.parametrize(("sent", "told"), [(b"", b"nothing on standard input"), (b"nonsense", b"not a picture")])
def test_what_is_no_picture_is_refused(sent: bytes, told: bytes, tmp_path: Path):
    _, style = lay_out(tmp_path)
    done = piped(sent, "style", "-", style, *brief(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    assert told in done.stderr or b"no picture on standard input" in done.stderr
    assert b"hasama-" not in done.stderr  # the file that stands for the stream
    assert b"Traceback" not in done.stderr


def test_json_says_what_was_done_and_nothing_else(tmp_path: Path):
    content, style = lay_out(tmp_path)
    done = hasama_here("style", content, style, "--out", tmp_path / "out.png", "--json", *brief())
    (told,) = json.loads(done.stdout)
    assert told["out"] == str(tmp_path / "out.png")
    assert told["size"] == [48, 32]
    assert told["iterations"] == 10
    again = hasama_here("style", content, style, "--out", tmp_path / "out.png", "--json", *brief())
    assert json.loads(again.stdout) == [told]
    once = hasama_here(
        "style", content, style, "--out", tmp_path / "o.png", "--json", "--recipe", "instant", "--size", 48
    )
    (at_once,) = json.loads(once.stdout)
    assert not {"losses", "distances", "curve"} & set(at_once)  # which only an optimizer has
    assert {"losses", "distances", "curve"} <= set(told)
    assert "strength" in at_once["recipe"]
    assert not {"iterations", "content_weight", "style_loss"} & set(at_once["recipe"])
    words = ["style", content, style, "--out", tmp_path / "o.png", "--json", *brief(first_iterations=100_000)]
    stopped = start(*words, "--preview", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / "o-preview.png").exists():
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate()
    assert stopped.returncode == 130
    assert json.loads(said) == []  # what stands there is an older painting
    refused = hasama_here("style", content, style, "--out", "-", "--json", *brief())
    assert refused.returncode == 2
    assert "not both" in refused.stderr


def test_a_folder_of_styles_makes_a_sheet(tmp_path: Path):
    content, style = lay_out(tmp_path)
    styles = tmp_path / "styles"
    styles.mkdir()
    for name in ("one", "two", "three"):
        (styles / f"{name}.png").write_bytes(style.read_bytes())
    done = hasama_here("style", content, styles, "--out", tmp_path / "many", "--sheet", *brief())
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "many" / "sheet.png") as made:
        assert made.size == (2 * (48 + GAP) + GAP, 2 * (32 + LINE + GAP) + GAP)
    alone = hasama_here("style", content, style, "--out", tmp_path / "one.png", "--sheet", *brief())
    assert alone.returncode == 2
    assert "--sheet is of several paintings" in alone.stderr


def test_a_sheet_shows_pictures_where_they_belong_with_their_names(tmp_path: Path):
    colours = {
        "red\nin two lines": (255, 0, 0),
        "blue": (0, 0, 255),
        "a very long name that does not fit below it" * 3: (0, 255, 0),
    }
    tiles = []
    for number, (name, colour) in enumerate(colours.items()):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (700, 350), colour).save(file)
        tiles.append(Tile(name, file))
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(clear)
    made = sheet([*tiles, Tile("clear", clear)], columns=2)
    assert made.getpixel((GAP + 5, GAP + 5)) == (255, 0, 0)
    assert made.getpixel((2 * GAP + SIDE + 5, GAP + 5)) == (0, 0, 255)
    below = SIDE // 2 + LINE + 2 * GAP
    assert made.getpixel((GAP + 5, below + 5)) == (0, 255, 0)
    right = np.asarray(made)[below : below + 20, 2 * GAP + SIDE :]
    assert (right == 255).all()  # what is transparent is white
    names = np.asarray(made.convert("L"))[GAP + SIDE // 2 : GAP + SIDE // 2 + LINE]
    assert (names < 100).any()


def test_of_one_picture_in_several_styles_each_is_told_apart_below_it(tmp_path: Path):
    Image.new("RGB", (60, 60)).save(tmp_path / "small.png")
    tiles = [Tile(f"a-photograph--{style}", tmp_path / "small.png") for style in ("one", "two")]
    below = np.asarray(sheet(tiles, columns=2))[GAP + 60 : GAP + 60 + LINE]
    left, right = np.split(below[:, GAP : GAP + 2 * (60 + GAP)], 2, axis=1)
    assert (left < 100).any()
    assert (left != right).any()


def test_each_layer_gives_back_what_it_knows(tmp_path: Path):
    content, _ = lay_out(tmp_path)
    out = tmp_path / "layers"
    asked = ("invert", content, "--layers", "relu1_1,relu3_1", "--size", 48, "--iterations", 40, "--threads", 1)
    done = hasama_here(*asked, "--out", out)
    assert done.returncode == 0, done.stderr
    names = {"relu1_1.png", "relu1_1.png.json", "relu3_1.png", "relu3_1.png.json", "sheet.png"}
    assert {file.name for file in out.iterdir()} == names
    original = pixels_of(content).astype(float)
    differences = [np.abs(pixels_of(out / f"{name}.png") - original).mean() for name in ("relu1_1", "relu3_1")]
    assert differences[0] < 30  # of 255; noise is at about 70
    assert differences[0] < differences[1] < 60
    again = hasama_here(*asked, "--out", out)
    assert again.stdout.count("already painted") == 2
    (tmp_path / "broken.png").write_bytes(b"nonsense")
    broken = hasama_here("invert", tmp_path / "broken.png", "--out", tmp_path / "none")
    assert broken.returncode == 2
    assert broken.stderr.count("not a picture") == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--layers", "relu9_9"), "relu9_9"),
        (("--layers", "nonsense"), "--layers takes layers"),
        (("--out", "picture.png"), "--out takes a folder"),
        (("--iterations", "0"), "iterations"),
    ],
)
def test_what_cannot_be_inverted_is_refused(flags: tuple[str, ...], told: str, tmp_path: Path):
    content, _ = lay_out(tmp_path)
    place = () if "--out" in flags else ("--out", tmp_path / "out")
    done = hasama_here("invert", content, "--size", 48, *place, *flags)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
