"""What the command says and leaves: real processes, good input and bad."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.numpy import save_file

from command import FORM, TINY, forked, hasama, in_a_terminal, make_pictures, refused, run_code, run_hasama, start
from hasama.cli import training_progress
from hasama.cli.training_progress import _can_be_parted, watch_training
from hasama.cli.words import _understood
from hasama.errors import short_of_memory
from hasama.presets import RECIPES
from hasama.runs.folder import Run
from hasama.training.game import Step, Turn


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with classes."""
    out = tmp_path_factory.mktemp("trained") / "run"
    done = hasama("train", pictures, *TINY, "--kimg", 0.5, "--labels", "--out", out, HASAMA_CACHE=str(out.parent))
    assert done.returncode == 0, done.stderr
    return out


def test_help_and_errors_do_not_wait_for_torch():
    code = "import sys; sys.argv = ['hasama', '--help']\nfrom hasama.cli.app import main\ntry: main()\n"
    code += "except SystemExit: pass\nassert 'hasama.recipe' in sys.modules\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    code = "import hasama, sys; assert 'torch' not in sys.modules; hasama.train; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_train_tells_what_it_made(trained: Path, pictures: Path):
    for name in ("recipe.json", "images.json", "log.jsonl", "game.pt", "generator.safetensors", "loss.png"):
        assert (trained / name).stat().st_size > 0
    grids = sorted(file.name for file in (trained / "samples").iterdir())
    assert grids[0] == "000000000.png"
    assert grids[-1] == "000000512.png"
    assert Image.open(trained / "samples" / grids[-1]).size == (2 * 66 + 2, 8 * 66 + 2)  # a column per class
    images = json.loads((trained / "images.json").read_text())
    assert images["name"] == str(pictures)
    assert images["classes"] == {"dark": 20, "light": 20}
    log = Run(trained).log()
    assert [line["images_seen"] for line in log] == [160, 320, 480, 512]
    assert {"loss_discriminator", "loss_generator", "accuracy_real", "accuracy_fake", "seconds"} <= set(log[0])


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_trains_and_samples(recipe: str, pictures: Path, tmp_path: Path):
    out, size = tmp_path / "run", ["--size", 16, "--width", 4, "--latent-size", 8, "--batch", 8]
    done = hasama("train", pictures, recipe, *size, "--steps", 6, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "Done: 0.048 kimg" in done.stdout
    assert Run(out).images_seen() == 48
    done = hasama("sample", out, "--count", 3, "--out", tmp_path / "three.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "three.png").mode == "RGB"


@pytest.mark.parametrize(("colour", "mode"), [("grey", "L"), ("rgb", "RGB"), ("rgba", "RGBA")])
def test_sizes_and_colours(colour: str, mode: str, pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    flags = ["--size", "16x24", "--colour", colour, "--width", 4, "--batch", 8, "--steps", 2]
    assert hasama("train", pictures, *flags, "--out", out).returncode == 0
    assert hasama("sample", out, "--count", 2, "--out", tmp_path / "single").returncode == 0
    files = sorted((tmp_path / "single").iterdir())
    assert len(files) == 2
    picture = Image.open(files[0])
    assert (picture.size, picture.mode) == ((16, 24), mode)  # WIDTHxHEIGHT


def test_the_same_seed_gives_the_same_pictures(trained: Path, tmp_path: Path):
    for name, count, seed in (("a", 4, 1), ("b", 6, 1), ("c", 4, 2)):
        done = hasama("sample", trained, "--count", count, "--seed", seed, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    a, b, c = ([file.read_bytes() for file in sorted((tmp_path / name).iterdir())] for name in "abc")
    assert a == b[:4]
    assert a[0] != c[0]


def test_a_generator_alone_is_enough(trained: Path, tmp_path: Path):
    alone = tmp_path / "elsewhere" / "cats.safetensors"
    alone.parent.mkdir()
    alone.write_bytes((trained / "generator.safetensors").read_bytes())
    for source, name in ((trained, "a.png"), (alone, "b.png")):
        done = hasama("sample", source, "--count", 9, "--columns", 3, "--label", "dark", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert hasama("sample", alone).returncode == 0
    assert (alone.parent / "samples-0.png").exists()


@pytest.mark.parametrize("ending", [".gif", ".webp", ".mp4"])
def test_interpolate_writes_a_film(ending: str, trained: Path, tmp_path: Path):
    film = tmp_path / f"walk{ending}"
    done = hasama("interpolate", trained, "--seconds", 1, "--fps", 10, "--count", 4, "--stops", 3, "--out", film)
    assert done.returncode == 0, done.stderr
    if ending == ".mp4":
        imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
        assert imageio_ffmpeg.count_frames_and_secs(str(film))[0] == 10
    else:
        opened = Image.open(film)
        assert opened.size == (2 * 130 + 2, 2 * 130 + 2)


def test_images_reports_and_previews(pictures: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    make_pictures(mixed, 6)
    (mixed / "dark" / "notes.txt").write_text("no picture")
    (mixed / "light" / "000.png").write_bytes((mixed / "light" / "002.png").read_bytes())
    done = hasama("images", mixed, "--size", 32, "--labels", "--out", tmp_path / "preview.png")
    assert done.returncode == 0, done.stderr
    for words in ("7 files, 6 pictures, 1 skipped", "not a picture: dark/notes.txt", "duplicates  1", "dark (3)"):
        assert words in done.stdout
    assert Image.open(tmp_path / "preview.png").size[0] > 64


def test_other_sources(tmp_path: Path):
    folder = make_pictures(tmp_path / "folder", 8)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
    arrays = np.random.default_rng(0).integers(0, 255, (9, 3, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "arrays.npz", images=arrays)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(tmp_path / "one.jpg")
    for source, words in {
        "pictures.zip": "8 pictures",
        "arrays.npz": "9 pictures",
        "one.jpg": "random crops",
    }.items():
        done = hasama("train", tmp_path / source, *TINY, "--steps", 2, "--out", tmp_path / f"run-{source}")
        assert done.returncode == 0, done.stderr
        assert words in done.stdout


def test_tensorboard_logs(pictures: Path, tmp_path: Path):
    pytest.importorskip("tensorboardX")
    out = tmp_path / "run"
    done = hasama("train", pictures, *FORM, "--kimg", 0.4, "--tensorboard", "--out", out)
    assert done.returncode == 0, done.stderr
    (events,) = (out / "tensorboard").iterdir()
    written = events.read_bytes()
    for tag in (b"loss_generator", b"accuracy_real", b"samples"):
        assert tag in written


def test_runs_lists_all_and_survives_damage(trained: Path, tmp_path: Path):
    (tmp_path / "good").symlink_to(trained)
    told = hasama("runs", trained.parent, COLUMNS="200").stdout
    assert re.search(r"D \d\.\d\d .*G \d+\.\d\d .*finished", told), told
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "recipe.json").write_text("{")
    spoilt = shutil.copytree(trained, tmp_path / "spoilt")
    (spoilt / "game.pt").write_bytes(b"spoilt")
    done = hasama("runs", tmp_path, COLUMNS="200")
    assert done.returncode == 0
    table, *faults = [" ".join(text.split()) for text in re.split(r"\n(?=\S+/(?:broken|spoilt): )", done.stdout)]
    assert table.count(" damaged") == 2
    assert sorted(Path(fault.split(":")[0]).name for fault in faults) == ["broken", "spoilt"]
    assert any("checkpoint is damaged" in fault for fault in faults)
    assert "no runs" in hasama("runs", tmp_path / "good" / "samples").stdout
    narrow = hasama("runs", trained.parent, COLUMNS="40").stdout
    assert re.search(r"\n  networks  \w+\n.*\n  state     finished\n", narrow, re.DOTALL), narrow


def test_a_word_too_many_is_named():
    refused(hasama("runs", "here", "there"), "hasama runs has no use for there: hasama runs --help")
    refused(hasama("doctor", "here", "two words"), "has no use for 'two words'")


def test_what_cannot_go_on_is_not_said_to_go_on(trained: Path, tmp_path: Path):
    """And the generator of who has deleted the large file is not replaced by a new game's."""
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "generator.safetensors").read_bytes()
    (run / "game.pt").write_bytes(b"spoilt")
    done = hasama("resume", run, "--kimg", 1)
    refused(done, "is damaged")
    assert "Going on" not in done.stdout
    (run / "game.pt").unlink()
    refused(hasama("resume", run, "--kimg", 1), "no longer its checkpoint game.pt", "another --out")
    assert (run / "generator.safetensors").read_bytes() == before


@pytest.mark.parametrize("kimg", ["0.2", "200"])
def test_at_80_columns_the_bar_is_one_line(kimg: str, tmp_path: Path):
    """With the time left, the speed, the players' losses and the quality."""
    recipe = RECIPES["vision-aided"].but(kimg=float(kimg))
    figures = {f"loss_{name}": 12.345 for name in ("discriminator", "heads", "generator", "vision")}
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    half = recipe.images // 2
    records = [SimpleNamespace(images_seen=seen, shown=8, figures=lambda: figures) for seen in (half, half + 8)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_progress, "console", console)
        patch.setattr(training_progress, "REFRESH_SECONDS", -1.0)
        patch.setattr(training_progress, "_LastLook", lambda _: lambda: "  KID 123")
        list(watch_training(iter(records), recipe, 0, Run(tmp_path)))  # type: ignore[arg-type]
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).strip().splitlines()
    assert all("D 12.35 G 12.35  KID 123" in line for line in last[-1:]), last
    assert all("kimg" in line and "/s" in line and "left" in line for line in last), last


# --- bad input ------------------------------------------------------------------------------------

BAD_FLAGS = {
    "--size 7": ["at least 8 pixels a side", "--size 8x8"],
    "--size 0": ["between 1 and 4096"],
    "--size 64y96": ["WIDTHxHEIGHT"],
    "--width 0": ["--width", "between 1 and 1024"],
    "--width many": ["--width"],
    "--batch 1": ["--batch"],
    "--kimg nan": ["--kimg"],
    "--kimg -1": ["--kimg"],
    "--kimg 1 --steps 3": ["not both"],
    "--steps 0": ["--steps"],
    "--hours 1 --kimg 3": ["--hours or --kimg, not both"],
    "--steps 3 --hours 1": ["--steps or --hours, not both"],
    "--hours 0": ["--hours", "0.001 to 10000"],
    "--hours nan": ["--hours"],
    "--objective hings": ["--objective"],
    "--penalty r1": ["--discriminator-norm none"],
    "--generator-betas 0.5 1": ["--generator-betas"],
    "--label-smoothing 0.1 --objective hinge": ["--label-smoothing", "hinge"],
    "--threads 0": ["--threads"],
    "--device nonsense": ["--device cpu"],
    "--no-such-flag": ["--no-such-flag"],
    "--seed -1": ["--seed"],
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_are_refused_before_any_work(flags: str, pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    refused(hasama("train", pictures, "dcgan", *flags.split(), "--out", out), *BAD_FLAGS[flags])
    assert not (out / "recipe.json").exists()


def test_bad_sources_and_places(pictures: Path, trained: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "file").write_text("a")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 nothing more")
    (tmp_path / "other.npz").write_bytes(b"nothing")
    out = tmp_path / "run"
    for source, words in {
        "nowhere": "no pictures at",
        "empty": "holds no files",
        "texts": "not a picture: a.txt",
        "file": "not a picture",
        "bad.zip": "not a zip file",
        "other.npz": "Cannot read the arrays",
    }.items():
        refused(hasama("train", tmp_path / source, *TINY, "--out", out), words)
    refused(hasama("train", pictures, "dcgna", "--out", out), "Did you mean dcgan?")
    refused(
        hasama("train", pictures, "vae", "--objective", "hinge", "--out", out), "neither a discriminator nor classes"
    )
    refused(hasama("train", pictures, *TINY, "--out", tmp_path / "file"), "is a file")
    refused(hasama("train", pictures, *TINY, "--out", tmp_path), "holds other files")
    refused(hasama("train", pictures, *TINY, "--out", "/proc/nowhere/run"), "Cannot write")
    refused(hasama("train", tmp_path / "texts" / "..", *TINY, "--labels", "--out", out), "No picture")
    refused(hasama("resume", tmp_path), "no run at")
    refused(hasama("resume", trained, "--kimg", "0"), "--kimg")
    refused(hasama("stop", trained), "Nobody is training")
    refused(hasama("runs", tmp_path / "nowhere"), "no folder")
    refused(hasama("images", tmp_path / "texts"), "not a picture: a.txt")
    refused(hasama("images", pictures, "--out", tmp_path / "preview"), ".png")


def test_what_is_nearly_there_is_offered(tmp_path: Path):
    (tmp_path / "my photos").mkdir()
    refused(hasama("train", "my", "photos", cwd=tmp_path), "A name with spaces needs quotes: 'my photos'")
    parsed = hasama("images", "my", "photos", cwd=tmp_path)  # refused by the parser, which ends the process itself
    refused(parsed, "A name with spaces needs quotes: 'my photos'")
    assert "quotes" not in hasama("train", "your", "photos", cwd=tmp_path).stderr
    for words in (("train", "my photo"), ("style", "my fotos", "painting.jpg"), ("sample", "My photoss")):
        refused(hasama(*words, cwd=tmp_path), "Did you mean my photos?")


def _without_memory() -> None:
    """The command, on a machine on which a training asks for more than there is."""
    import hasama.cli.commands.train as command

    command._check_machine = lambda *_: torch.empty(2**60, dtype=torch.uint8)
    run_hasama()


def test_a_file_that_begins_with_a_minus_sign_is_a_file(tmp_path: Path):
    """As a pattern such as *.png names it."""
    Image.new("RGB", (6, 5), (9, 99, 200)).save(tmp_path / "-dash.png")
    done = hasama("enlarge", "-dash.png", "--times", 2, "--out", "large.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (12, 10)
    assert hasama("enlarge", "-none.png", cwd=tmp_path).returncode == 2
    assert hasama("runs", "-h", cwd=tmp_path).returncode == 0


def test_several_runs_are_evaluated_one_by_one(tmp_path: Path):
    refused(hasama("evaluate", "a", "--count", 30, "b", cwd=tmp_path), "takes one run or generator", "each of a, b")


def test_too_little_memory_is_no_fault_of_ours(pictures: Path, tmp_path: Path):
    done = forked(_without_memory, "train", pictures, "--out", tmp_path / "run")
    refused(done, "needs more memory than there is (1,073,741,824.0 GiB were asked for at once)", "--size or --batch")
    assert short_of_memory(RuntimeError("shapes do not match")) is None
    assert short_of_memory(MemoryError()) is not None


def _out_of_memory_at_the_fifth_step() -> None:
    """The command, on a card whose memory is full at that step unless batches are taken in parts."""
    import hasama.training.turns as turns

    real, count = turns.both_turns, [0]

    def both_turns(*given: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(*given, **more)

    turns.both_turns = both_turns
    run_hasama()


@pytest.mark.parametrize(
    ("preset", "changes", "parts"),
    [("r3gan", {}, [2, 4]), ("r3gan", {"accumulate": 4}, []), ("vae", {}, []), ("gentle", {}, [])],
)
def test_no_parts_are_advised_that_would_be_refused(preset: str, changes: dict[str, int], parts: list[int]):
    recipe = RECIPES[preset].but(**changes)
    numbers = range(recipe.accumulate + 1, recipe.batch + 1)
    assert [number for number in numbers if _can_be_parted(recipe, number)] == parts


def test_where_memory_runs_out_the_run_is_kept_and_goes_on_in_parts(pictures: Path, tmp_path: Path):
    run = tmp_path / "run"
    words = ("train", pictures, *TINY, "--kimg", 0.096, "--checkpoint-minutes", 0, "--out", run)
    done = forked(_out_of_memory_at_the_fifth_step, *words)
    refused(done, "needs more memory than there is.", "stands at 0.064 kimg", f"hasama resume {run} --accumulate 2")
    done = forked(_out_of_memory_at_the_fifth_step, "resume", run, "--accumulate", 2)
    assert done.returncode == 0, done.stderr
    assert Run(run).recipe().accumulate == 2
    assert Run(run).images_seen() == 96


def test_a_run_that_never_began_may_be_deleted(trained: Path, pictures: Path, tmp_path: Path):
    stranded, words = tmp_path / "run", ("train", pictures, *TINY, "--seed", 9)
    stranded.mkdir()
    for name in ("recipe.json", "images.json"):
        (stranded / name).write_bytes((trained / name).read_bytes())
    refused(hasama(*words, "--out", stranded), "--seed 0 (now --seed 9)", "its folder can be deleted")
    begun = hasama(*words, "--out", trained)
    refused(begun, "--seed 0 (now --seed 9)")
    assert "deleted" not in begun.stderr


def test_recipes_are_listed_as_they_are_typed():
    said = hasama("recipes").stdout
    assert "--pixel-noise " in said
    assert "--no-balance" in said
    assert "True" not in said


def test_bad_models(trained: Path, tmp_path: Path):
    refused(hasama("sample", tmp_path), "no run at")
    refused(hasama("sample", tmp_path / "nothing"), "no generator")
    refused(hasama("sample", trained, "--label", "drak"), "Did you mean dark?")
    refused(hasama("sample", trained, "--count", 0), "--count")
    refused(hasama("sample", trained, "--out", tmp_path / "a.xyz"), ".png")
    refused(hasama("interpolate", trained, "--out", tmp_path / "a.avi"), ".mp4")
    whole = (trained / "generator.safetensors").read_bytes()
    strange = {"cut": whole[:-100], "empty": b"", "pickle": b"\x80\x04]\x94.", "noise": bytes(range(256)) * 40}
    for name, content in strange.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        refused(hasama("sample", tmp_path / f"{name}.safetensors"), "not a readable safetensors file")
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    refused(hasama("sample", tmp_path / "other.safetensors"), "not a generator that Hasama saved")
    huge = {
        "architecture": "dcgan",
        "width": 1024,
        "latent_size": 4096,
        "size": "4096",
        "discriminator_norm": "batch",
    }
    header = json.dumps({**huge, "channels": 3, "classes": []})
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "huge.safetensors", {"hasama": header})
    refused(hasama("sample", tmp_path / "huge.safetensors"), "do not fit")


def test_a_missing_extra_explains_itself(trained: Path, pictures: Path, tmp_path: Path):
    """The packages of the extras are hidden by a module finder that knows nothing of them."""
    hidden = "from command import hide; hide('tensorboardX', 'imageio_ffmpeg', 'sklearn', 'scipy')\n"
    code = f"{hidden}from hasama.cli.app import main; main()"
    for arguments, extra in (
        (["train", pictures, "--tensorboard", "--out", tmp_path / "run"], "hasama[tensorboard]"),
        (["interpolate", trained, "--out", tmp_path / "a.mp4"], "hasama[video]"),
    ):
        refused(forked(run_code, code, *arguments), extra)
    assert not (tmp_path / "run" / "recipe.json").exists()
    done = forked(run_code, code, "images", "digits", "--size", 8, cwd=tmp_path)  # needs none of them
    assert "1797 pictures" in done.stdout, done.stderr


def test_the_bar_shows_rate_time_left_and_both_losses(pictures: Path, tmp_path: Path):
    """In a terminal of 80 columns."""
    code, said = in_a_terminal("train", pictures, "dcgan", *TINY, "--kimg", 8, "--out", tmp_path / "run")
    assert code == 0, said
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).splitlines()
    whole = [line for line in drawn if re.search(r"\d % \S+/8 kimg +[\d,]+ images/s +[\d:]+ left D \S+ +G \S+", line)]
    assert whole
    assert all(len(line) <= 80 for line in whole)
    assert "500 steps of 16" in said


@pytest.mark.slow
def test_the_length_as_a_time_is_what_the_machine_makes_of_it(pictures: Path, tmp_path: Path):
    command = ["train", pictures, "r3gan", "--size", 8, "--width", 2, "--out", tmp_path / "run", "--hours", 0.001]
    done = hasama(*command)
    assert done.returncode == 0, done.stderr
    told = re.search(r"([\d.e+]+) images/s: about (\S+) kimg in 0.001 h", done.stdout)
    assert told, done.stdout
    run = Run(tmp_path / "run")
    rate, kimg = map(float, told.groups())
    assert run.recipe().kimg == kimg == pytest.approx(rate * 3.6 / 1000, rel=0.12)
    assert run.recipe().schedule_images == run.recipe().images <= run.images_seen()
    again = hasama(*command)
    assert "already has its" in again.stdout, again.stdout  # its own length, whatever the machine does now


def test_runs_and_previews_inside_the_source_are_no_pictures(tmp_path: Path):
    pictures = make_pictures(tmp_path / "photos", 6)
    done = hasama("train", ".", *TINY, "--steps", "2", cwd=pictures)
    assert done.returncode == 0, done.stderr
    assert Run(pictures / "runs" / "photos-vision-aided").images_seen() == 32
    done = hasama("images", ".", cwd=pictures)
    assert "6 files, 6 pictures" in done.stdout
    assert (tmp_path / "photos-preview.png").exists()


def test_a_loop_of_links_is_no_source(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    refused(hasama("images", "loop", cwd=tmp_path), "There are no pictures at loop")


def test_a_reader_that_goes_away_does_not_end_the_work(pictures: Path, tmp_path: Path):
    words = ["train", str(pictures), "dcgan", *TINY, "--steps", "20", "--out", str(tmp_path / "run")]
    process = start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert Run(tmp_path / "run").images_seen() == 320


def test_the_home_folder_is_meant_in_flags_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    words = ["~/runs/x", "--out=~/runs/x", "--out", "a~b", "~", "--name=x=~/y", "--no-mirror", "-h"]
    assert [_understood(word) for word in words] == [
        "/home/somebody/runs/x", "--out=/home/somebody/runs/x", "--out", "a~b", "/home/somebody", "--name=x=~/y",
        "--no-mirror", "-h",
    ]  # fmt: skip


def test_a_reader_of_json_may_go_away(tmp_path: Path):
    process = start("coverage", "ring", "--kimg", "0.2", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert "Traceback" not in process.stderr.read()


def test_tensorboard_without_room_does_not_end_the_work(pictures: Path, tmp_path: Path):
    pytest.importorskip("tensorboardX")
    kill = (
        "import tensorboardX.event_file_writer as w\n"
        "real, told = w.EventsWriter.write_event, []\n"
        "def write(*a, **k):\n"
        "    told.append(1)\n"
        "    if len(told) > 2: raise OSError(28, 'No space left on device')\n"
        "    return real(*a, **k)\n"
        "w.EventsWriter.write_event = write\n"
        "from hasama.cli.app import main; main()"
    )
    flags = ["train", str(pictures), "dcgan", *TINY, "--steps", "40", "--tensorboard", "--out", str(tmp_path / "run")]
    done = forked(run_code, kill, *flags)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").images_seen() == 640


def test_rate_and_time_left_after_the_autopilot_went_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr("hasama.cli.training_progress.LINE_SECONDS", 0.0)
    recipe = RECIPES["vae"].but(kimg=1.0, batch=20)
    seen = [*range(620, 801, 20), *range(20, 1001, 20)]  # resumed at 600, at 800 back to 0
    records = (Step(number, 20, Turn(torch.zeros(()), True, {}), Turn(torch.zeros(()), True, {})) for number in seen)
    assert [record.images_seen for record in watch_training(iter(records), recipe, 600, Run(tmp_path))] == seen
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= len(seen) - 1
    assert not any("-" in line for line in lines)


def test_resume_says_that_a_run_keeps_its_recipe(trained: Path):
    refused(hasama("resume", trained, "--beta2-initial=0.9"), "A run keeps its recipe, and so --beta2-initial")
    other = hasama("resume", trained, "--banana", "0.9")
    assert other.returncode == 2
    assert "keeps its recipe" not in other.stderr


def test_the_network_that_measures_a_runs_quality_stays_the_same(trained: Path, pictures: Path):
    """Figures of two networks cannot be compared, and the best generator goes by them."""
    again = ["train", pictures, *TINY, "--kimg", 0.5, "--labels", "--out", trained]
    other = ["--quality-kimg", 0.2, "--quality-features", "vgg19"]
    refused(hasama(*again, *other, HASAMA_CACHE=str(trained.parent)), "--quality-features", "keeps its recipe")


def test_train_says_that_the_enlarger_learns_first(pictures: Path, tmp_path: Path):
    run = tmp_path / "run"
    words = "dcgan", "--size", 16, "--enlarge", 2, "--width", 2, "--batch", 4, "--kimg", 0.008, "--out", run
    done = hasama("train", pictures, *words, HASAMA_CACHE=str(tmp_path))
    assert "First an enlarger learns; the game is played at a size of 8." in done.stdout
