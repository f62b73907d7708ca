"""The command job of Azure ML: fields by Azure's own package, words by the shell that runs the command."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hasama.errors import HasamaError
from jobs import ENGINES, NASTY, SAYS_ITS_WORDS, job_text, misspelt, program

yaml = pytest.importorskip("yaml")

FREE = ("environment_variables", "conda_file")
PLACES = re.compile(r"\$\{\{(\w+)\.(\w+)\}\}")


def made(*words: object, options: tuple[str, ...] = ()) -> dict[str, Any]:
    return yaml.safe_load(job_text("azureml", *ENGINES["azureml"], *options, *words))


def accepts(job: dict[str, Any], folder: Path) -> bool:
    """Whether Azure's package takes a job, and each place in its command is declared: that it does not look at."""
    azure = pytest.importorskip("azure.ai.ml")
    file = folder / "job.yml"
    file.write_text(yaml.safe_dump(job))
    try:
        azure.load_job(str(file))
    except Exception:  # it raises many kinds
        return False
    return all(name in job.get(kind, {}) for kind, name in PLACES.findall(job["command"]))


def started(job: dict[str, Any], folder: Path) -> list[str]:
    """The words that `hasama` gets when the shell runs the command, with the places filled in."""
    program(folder, "hasama", SAYS_ITS_WORDS)
    command = PLACES.sub(lambda found: f"/mnt/{found[1]}/{found[2]}", job["command"])
    variables = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=variables, cwd=folder, check=True
    )
    return json.loads(done.stdout)


def test_the_fields_are_those_of_the_schema(pictures: Path, tmp_path: Path):
    job = made(
        "train", pictures, "dcgan", "--size", "16", options=("--nodes", "2", "--processes", "2", "--hours", "2")
    )
    assert accepts(job, tmp_path)
    assert len(list(misspelt(job, FREE))) > 25
    for where, wrong in misspelt(job, FREE):
        assert not accepts(wrong, tmp_path), where


def test_numbers_and_places(pictures: Path):
    job = made("train", pictures, "dcgan", options=("--nodes", "2", "--gpus", "4", "--hours", "1.5"))
    assert job["distribution"] == {"type": "pytorch", "process_count_per_instance": 4}
    assert job["resources"]["instance_count"] == 2
    assert job["limits"] == {"timeout": 5400}
    assert job["inputs"] == {"read_1": {"type": "uri_folder", "path": str(pictures), "mode": "download"}}
    assert job["outputs"]["made"]["path"].endswith(f"/paths/hasama/{job['display_name']}")
    assert job["command"].startswith("hasama train "), "Azure ML starts the processes, not torchrun"


def test_one_process_is_not_distributed():
    job = made("train", "digits", "dcgan")
    assert "distribution" not in job
    assert "inputs" not in job, "a built-in name is no input"


def test_pictures_that_are_already_there(tmp_path: Path):
    job = made("train", "photos", "dcgan", options=("--data", "azureml:photos:3"))
    assert job["inputs"]["read_1"]["path"] == "azureml:photos:3"
    assert started(job, tmp_path)[:2] == ["train", "/mnt/inputs/read_1"]


def test_what_is_a_file_keeps_its_name(pictures: Path, tmp_path: Path):
    painting = next(pictures.rglob("*.png"))
    job = made("teach", painting, pictures, "--out", "my painters/night sky.safetensors")
    assert [one["type"] for one in job["inputs"].values()] == ["uri_file", "uri_folder"]
    wanted = ["teach", "/mnt/inputs/read_1", "/mnt/inputs/read_2", "--out", "/mnt/outputs/made/night sky.safetensors"]
    wanted.append("--requeue")
    assert started(job, tmp_path) == wanted


def test_words_reach_the_program_as_they_were_typed(tmp_path: Path):
    for word in NASTY:
        folder = tmp_path / f"pictures {word}"
        folder.mkdir()
        job = made("train", folder, "dcgan", "--only", f"a{word}", f"--out=runs/{word}")
        expected = ["train", "/mnt/inputs/read_1", "dcgan", "--only", f"a{word}", "--out=/mnt/outputs/made"]
        expected.append("--requeue")
        assert started(job, tmp_path) == expected
        assert "inputs.x" not in "".join(map(str, PLACES.findall(job["command"])))


def test_a_sweep_is_not_started_on_one_machine_of_several():
    with pytest.raises(HasamaError, match="create the job several times"):
        made("sweep", "digits", "dcgan", options=("--nodes", "2"))


def test_the_folder_that_is_sent_is_the_one_here(pictures: Path, tmp_path: Path):
    azure = pytest.importorskip("azure.ai.ml")
    file = tmp_path / "job.yml"
    file.write_text(job_text("azureml", *ENGINES["azureml"], "train", pictures, "dcgan"))
    assert Path(azure.load_job(str(file)).inputs["read_1"].path) == pictures


def test_a_run_is_not_resumed_but_begun_again_by_the_same_command():
    with pytest.raises(HasamaError, match="the command that began the run"):
        job_text("azureml", *ENGINES["azureml"], "resume", "runs/cats")
