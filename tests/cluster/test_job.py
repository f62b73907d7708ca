"""`hasama job`: the command that it is given is checked as if it were run; nothing is written if it is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from command import hasama, make_pictures, refused
from hasama.cli.commands.job import COMMANDS, READS, work_of
from hasama.cli.commands.train import resume
from hasama.cli.words import understood
from hasama.cluster.engines import WRITERS
from hasama.cluster.job import Job, Work, job_of, replaced
from hasama.cluster.options import ENGINES, GROUPS, NEEDED, ONLY_FOR, PATTERNS, JobOptions, checked
from hasama.cluster.standing import standing
from hasama.errors import HasamaError
from hasama.runs.folder import Run
from hasama.style.painters.painter import Painter
from hasama.style.painters.painter_file import save_painter
from jobs import ENGINES as ASKED
from jobs import job_text

SLURM = ["job", "slurm"]


def test_the_tables_name_what_there_is():
    assert tuple(WRITERS) == ENGINES == tuple(ASKED)
    fields = {*vars(JobOptions())}
    assert {name for group in GROUPS.values() for name in group} == fields
    assert {*ONLY_FOR, *NEEDED, *PATTERNS} <= fields
    assert {*READS} == {command.__name__ for command in COMMANDS}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_recipe_is_refused_with_exit_code_2(engine: str):
    done = hasama("job", engine, *ASKED[engine], "train", "digits", "dcgna")
    refused(done, "There is no recipe called 'dcgna'. Did you mean dcgan?")
    assert done.stdout == ""


@pytest.mark.parametrize(("words", "told"), [
    (["train", "digits", "dcgan", "--nope", "3"], "Unknown option: --nope"),
    (["train", "digits", "dcgan", "--kimg", "many"], "--kimg"),
    (["trian", "digits"], 'Did you mean "train"?'),
])  # fmt: skip
def test_what_the_parser_refuses_is_refused(words: list[str], told: str):
    direct, queued = hasama(*words), hasama(*SLURM, *words)
    refused(queued, told)
    assert queued.stdout == ""
    assert told in direct.stderr


@pytest.mark.parametrize(("words", "told"), [
    ([], "Say what is to be done"),
    (["train", "digits", "dcgan", "--kimg", "3", "--steps", "4"], "Give the length once"),
    (["train", "digits", "dcgan", "--kimg", "-3"], "--kimg must be"),
    (["train", "digits", "progressive", "--size", "36"], "size"),
    (["train", "nowhere/", "dcgan"], "There are no pictures at nowhere/"),
    (["train", "digits", "dcgan", "--init-from", "nowhere"], "There is nothing at nowhere"),
    (["train", "digits", "--device", "cuda"], "needs a job with GPUs"),
    (["sweep", "digits", "dcgan", "--search", "gammma"], "gammma"),
    (["teach", "nowhere.png"], "There is nothing at nowhere.png"),
    (["teach", "nowhere.png", "--out", "x.png"], "ends in .safetensors"),
    (["style", "a.png", "b.png"], "--out"),
    (["style", "a.png", "b.png", "--recipe", "bset", "--out", "c.png"], "Did you mean best?"),
    (["style", "-", "b.png", "--out", "c.png"], "no standard input"),
    (["style", "a.png", "b.png", "--out", "p.xyz"], "Cannot write a picture called p.xyz"),
    (["style", "a.png", "b.png", "--depth", "16", "--out", "p.jpg"], "holds 8 bits"),
    (["style", "a.png", "b.png", "--mix", "1,2,3", "--out", "p.png"], "each of the 1 styles"),
    (["style", "a.png", "b.png", "--memory", "lots", "--out", "p.png"], "--memory"),
    (["sweep", "digits", "dcgan", "--trials", "0"], "--trials takes 1 to"),
    (["evaluate", "runs/mine", "--count", "2"], "--count takes 12 to"),
    (["resume", "runs/mine", "--kimg", "-1"], "--kimg must be"),
    (["train", "digits", "dcgan", "--threads", "0"], "--threads must be"),
    (["train", "digits", "dcgan", "--device", "foo"], "--device takes auto, cpu"),
    (["train", "digits", "dcgan", "--out", "two\nlines"], "line break"),
])  # fmt: skip
def test_what_the_command_refuses_is_refused(words: list[str], told: str):
    with pytest.raises(HasamaError, match=told):
        job_text("slurm", *words)


@pytest.mark.parametrize(("engine", "asked", "told"), [
    ("slurm", {"storage": "x"}, "--storage means nothing to slurm"),
    ("slurm", {"name": "My Cats"}, "--name takes"),
    ("slurm", {"memory": "much"}, "such as 32GB"),
    ("slurm", {"partition": "a b"}, "--partition takes"),
    ("slurm", {"hours": 0.05}, "leaves no time"),
    ("slurm", {"gpu_type": "A100"}, "--gpu-type needs --gpus"),
    ("slurm", {"gpus": 2, "processes": 3}, "a GPU of its own"),
    ("slurm", {"nodes": 0}, "--nodes must be"),
    ("kubernetes", {"storage": "x"}, "needs --image"),
    ("kubernetes", {"image": "x"}, "needs --storage"),
    ("kubernetes", {"image": "x", "storage": "s3://x"}, "PersistentVolumeClaim"),
    ("azureml", {"install": "x"}, "needs --compute"),
    ("azureml", {"compute": "x"}, "--image with a container image"),
    ("azureml", {"compute": "x", "image": "y", "install": "z"}, "not both"),
    ("azureml", {"compute": "x", "image": "y", "storage": "s3://x"}, "azureml://datastores"),
    ("azureml", {"compute": "x", "image": "y", "data": "photos"}, "azureml:NAME:VERSION"),
    ("skypilot", {"image": "x"}, "takes a bucket"),
    ("skypilot", {"image": "x", "storage": "s3://x", "gpus": 1}, "how many GPUs and which"),
    ("skypilot", {"image": "x", "storage": "s3://x", "data": "photos"}, "--data takes a bucket"),
])  # fmt: skip
def test_options_that_cannot_be_are_refused(engine: str, asked: dict, told: str):
    with pytest.raises(HasamaError, match=told):
        checked(engine, asked)


@pytest.mark.parametrize(("words", "options", "told"), [
    (("evaluate", "runs/x"), {"processes": 2}, "one process"),
    (("sweep", "digits"), {"processes": 2}, "give --nodes"),
    (("teach", "x.png"), {"nodes": 2}, "one machine"),
])  # fmt: skip
def test_only_what_can_be_spread_is(words: tuple[str, ...], options: dict, told: str):
    with pytest.raises(HasamaError, match=told):
        job_of(Work(words, (), "runs/x"), JobOptions(**options))


def test_patterns_of_shards_and_addresses_are_sources_as_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = hasama("images", "digits", "--size", 8, "--labels", "--shards", "sh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tars = sorted(path.name for path in Path("sh").glob("*.tar"))
    pattern = "sh/" + tars[0].replace("000000", "{000000..000000}")
    assert pattern in job_text("slurm", "train", pattern, "dcgan", "--out", "run")
    with pytest.raises(HasamaError):
        job_text("slurm", "train", "sh/none-{000000..000001}.tar", "dcgan", "--out", "run")


def test_a_painter_is_checked_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("a.png")
    save_painter(Painter(1, 8), ["s"], Path("p.safetensors"))
    text = job_text("slurm", "style", "a.png", "p.safetensors", "--strength", "0.8", "--out", "o.png")
    assert "--strength 0.8" in text
    for words, told in ((["--iterations", "5"], "does not apply to a painter"), (["a.png"], "stands alone")):
        with pytest.raises(HasamaError, match=told):
            job_text("slurm", "style", "a.png", "p.safetensors", *words, "--out", "o.png")


def test_own_flags_stand_before_the_command():
    words = ["job", "slurm", "--nodes", "2", "--name=x", "train", "photos", "--hours", "3", "--mix", "-1,2"]
    apart = ["job", "slurm", "--nodes", "2", "--name=x", "--", "train", "photos", "--hours", "3", "--mix=-1,2"]
    assert understood(words) == apart
    assert understood(["job", "--nodes", "2", "slurm", "train"]) == ["job", "--nodes", "2", "slurm", "--", "train"]
    for alone in ("job", "job slurm", "job slurm --nodes", "job --help", "job slurm --help", "train x --out y"):
        assert understood(alone.split()) == alone.split()
    text = job_text(*["slurm", "--hours", "5", "--cpus", "2", "train", "digits", "dcgan", "--hours", "3"])
    assert "--time=0-05:00:00" in text
    assert "train digits dcgan --hours 3" in text


def test_where_the_run_will_be_is_said_in_the_job():
    """The cluster's folder may have another name: nobody should have to look for the run."""
    assert "--out runs/digits-dcgan)" in job_text("slurm", "train", "digits", "dcgan")
    assert "--out runs/sweep-digits-dcgan)" in job_text("slurm", "sweep", "digits", "dcgan")


@pytest.mark.parametrize("engine", ENGINES)
def test_who_can_ask_for_another_turn_does_so_where_exit_codes_count(engine: str):
    arguments = {"run": Path("runs/x"), "changes": {}}
    for known in ({}, {"requeue": False}, {"requeue": True}):
        work = work_of(resume, ["resume", "runs/x"], arguments | known, engine, data=False)
        added = known == {"requeue": False} and engine != "slurm"
        assert work.words == ("resume", "runs/x", *(["--requeue"] if added else []))


def test_nothing_is_made_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for engine in ENGINES:
        job_text(engine, *ASKED[engine], "train", "digits", "dcgan")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["slurm", "kubernetes"])
def test_machines_that_share_a_disk_share_a_sweep_by_a_journal(engine: str):
    """SQLite must not lie on a network's disk."""
    several, words = ("--nodes", "3"), ("sweep", "digits", "dcgan", "--out", "runs/s")
    assert "runs/s/sweep.journal" in job_text(engine, *ASKED[engine], *several, *words)
    assert "sweep.journal" not in job_text(engine, *ASKED[engine], *words)
    own = job_text(engine, *ASKED[engine], *several, *words, "--storage", "mine.journal")
    assert "sweep.journal" not in own


def test_the_pictures_that_are_elsewhere_are_the_photos(tmp_path: Path):
    """Neither the painting, nor the run that is begun with."""
    pictures = make_pictures(tmp_path / "photos", 3)
    painting = make_pictures(tmp_path / "paintings", 1) / "light" / "000.png"
    bucket = ("--data", "s3://mine/photos")
    for words in (("teach", painting, pictures), ("train", pictures, "dcgan"), ("style", pictures, painting)):
        made = "made/x.png" if words[0] == "style" else "made/x.safetensors"
        text = job_text("skypilot", *ASKED["skypilot"], *bucket, *words, "--out", made)
        (mount,) = (value for value in yaml.safe_load(text)["file_mounts"].values() if isinstance(value, dict)
                    and value["source"] == bucket[1])  # fmt: skip
        assert mount["mode"] == "MOUNT"
        assert str(painting) in yaml.safe_load(text)["file_mounts"].values() or words[0] == "train"
    with pytest.raises(HasamaError, match="this one names none"):
        job_text("skypilot", *ASKED["skypilot"], *bucket, "train", "digits", "dcgan")


@pytest.mark.parametrize("engine", ["azureml", "skypilot"])
def test_what_could_not_work_elsewhere_is_refused(engine: str, tmp_path: Path):
    pictures, file = make_pictures(tmp_path / "photos", 3), tmp_path / "generator.safetensors"
    file.touch()
    for words, told in (
        (("evaluate", "runs/cats"), "name the real pictures by --source"),
        (("evaluate", "portraits", "--source", pictures), "portraits is none"),
        (("evaluate", file, "--source", pictures), "generator.safetensors is none"),
    ):
        with pytest.raises(HasamaError, match=told):
            job_text(engine, *ASKED[engine], *words)


@pytest.mark.parametrize("engine", ["azureml", "skypilot"])
def test_a_sweep_elsewhere_is_told_what_it_needs(engine: str, capsys: pytest.CaptureFixture[str]):
    job_text(engine, *ASKED[engine], "sweep", "digits", "dcgan")
    assert "--install 'hasama[sweep] @ git+https://git.example/hasama'" in capsys.readouterr().err
    asked = [word.replace("git+", "hasama[sweep] @ git+") for word in ASKED[engine]]
    job_text(engine, *asked, "sweep", "digits", "dcgan")
    assert capsys.readouterr().err == ""


def test_the_room_does_not_import_torch():
    modules = "import sys, hasama.cluster.engines, hasama.cluster.standing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_help_of_the_command_within(capsys: pytest.CaptureFixture[str]):
    assert "Train on pictures" in job_text("slurm", "train", "--help")


@pytest.mark.parametrize(("makes", "name"), [
    ("runs/cats", "cats"), ("runs/My Cats_2", "my-cats-2"), ("runs/猫", "hasama"), ("runs/7", "hasama-7"),
    ("x/" + "long" * 20, "long" * 10),
])  # fmt: skip
def test_names_that_every_cluster_takes(makes: str, name: str):
    assert Job(Work(("train", "digits"), (), makes), JobOptions()).name == name
    JobOptions(name=name)


def test_paths_are_replaced_wherever_they_stand():
    words = ["train", "a", "--out", "b", "--init-from=a", "a/b", "--only=c"]
    assert replaced(words, {"a": "X", "b": "Y"}) == ["train", "X", "--out", "Y", "--init-from=X", "a/b", "--only=c"]


@pytest.mark.parametrize("engine", ["azureml", "skypilot"])
def test_a_place_called_like_another_word_is_refused(engine: str):
    """Where places have other names, that word would be replaced, too."""
    for words in (["--out", "dcgan"], ["--only", "0,1", "--out", "0,1"]):
        with pytest.raises(HasamaError, match=f"{words[-1]} is a place, and another word of the command, too"):
            job_text(engine, *ASKED[engine], "train", "digits", "dcgan", *words)
    assert "dcgan" in job_text("slurm", "train", "digits", "dcgan", "--out", "dcgan")


def test_a_run_that_is_not_there(tmp_path: Path):
    with pytest.raises(HasamaError, match="There is no run"):
        standing(Run(tmp_path))
