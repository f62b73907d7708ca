"""The task of SkyPilot: fields by its own schemas, words by the shell that runs the task."""

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hasama.errors import HasamaError
from jobs import ENGINES, NASTY, SAYS_ITS_WORDS, job_text, misspelt, program

yaml = pytest.importorskip("yaml")

FREE = ("envs", "file_mounts")


def made(*words: object, options: tuple[str, ...] = ()) -> dict[str, Any]:
    return yaml.safe_load(job_text("skypilot", *ENGINES["skypilot"], *options, *words))


def strict(schema: Any) -> Any:
    """A schema that takes no field that it does not name: SkyPilot's client lets some pass for its server."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(item) for name, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("additionalProperties") is True:
        closed["additionalProperties"] = False
    return closed


def accepts(task: dict[str, Any]) -> bool:
    """Whether SkyPilot's schemas take a task: as it does itself, one for each part."""
    schemas = pytest.importorskip("sky.utils.schemas")
    jsonschema = pytest.importorskip("jsonschema")
    parts = [(task, schemas.get_task_schema()), (task.get("resources", {}), schemas.get_resources_schema())]
    stores = [one for one in task.get("file_mounts", {}).values() if isinstance(one, dict)]
    parts += [(store, schemas.get_storage_schema()) for store in stores]
    try:
        for part, schema in parts:
            jsonschema.validate(part, strict(schema))
    except jsonschema.ValidationError:
        return False
    return True


def started(task: dict[str, Any], folder: Path, **variables: str) -> list[str]:
    """The words that the program gets when the shell runs the task."""
    for name in ("hasama", "torchrun"):
        program(folder, name, SAYS_ITS_WORDS)
    (folder / "hasama-home/hasama").mkdir(parents=True, exist_ok=True)
    variables |= {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder / "hasama-home")}
    done = subprocess.run(
        ["bash", "-c", task["run"]], capture_output=True, text=True, env=os.environ | variables, check=True
    )
    return json.loads(done.stdout)


OPTIONS = ("--nodes", "2", "--gpus", "4", "--gpu-type", "A100", "--memory", "32GB")


def test_the_fields_are_those_of_the_schemas(pictures: Path):
    task = made("train", pictures, "dcgan", "--size", "16", options=OPTIONS)
    assert accepts(task)
    for where, wrong in misspelt(task, FREE):
        assert not accepts(wrong), where


def test_skypilot_itself_reads_the_task(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # it writes there
    sky = pytest.importorskip("sky")
    task = made("train", pictures, "dcgan", options=OPTIONS)
    del task["file_mounts"]["~/hasama/runs/" + Path(pictures).name + "-dcgan"]  # it would look for the bucket
    read = sky.Task.from_yaml_config(copy.deepcopy(task))  # it takes out what it has read
    assert (read.num_nodes, read.name) == (2, task["name"])


def test_numbers_and_places(pictures: Path):
    task = made("train", pictures, "dcgan", options=OPTIONS)
    assert task["resources"]["accelerators"] == "A100:4"
    assert task["resources"]["cpus"] == "16+"
    assert task["resources"]["memory"] == "32+"
    assert task["resources"]["job_recovery"] == {"max_restarts_on_errors": 10, "recover_on_exit_codes": [75]}
    kept = {"source": "s3://mine/cats", "mode": "MOUNT_CACHED"}
    assert list(task["file_mounts"].values()) == [str(pictures), kept]


def test_the_nodes_find_each_other(tmp_path: Path):
    task = made("train", "digits", "dcgan", options=OPTIONS)
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    words = started(task, tmp_path, **nodes)
    flags = ["--nproc-per-node=4", "--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=29500"]
    assert words[: words.index("-m")] == flags


def test_machines_share_a_sweep_by_a_database_only():
    words = ["sweep", "digits", "dcgan"]
    with pytest.raises(HasamaError, match="postgresql://"):
        made(*words, options=("--nodes", "2"))
    assert made(*words, "--storage", "postgresql://me@base/sweeps", options=("--nodes", "2"))["num_nodes"] == 2


def test_pictures_in_a_bucket():
    task = made("train", "photos/", "dcgan", options=("--data", "s3://mine/photos"))
    assert task["file_mounts"]["~/hasama/photos"] == {"source": "s3://mine/photos", "mode": "MOUNT"}


def test_words_reach_the_program_as_they_were_typed(tmp_path: Path):
    for word in NASTY:
        folder = tmp_path / f"pictures {word}"
        folder.mkdir()
        task = made("train", folder, "dcgan", "--only", f"a{word}", "--out", "runs/cats")
        words = ["train", "read/1", "dcgan", "--only", f"a{word}", "--out", "runs/cats", "--requeue"]
        assert started(task, tmp_path) == words
        assert task["file_mounts"]["~/hasama/read/1"] == str(folder)


@pytest.mark.parametrize(("words", "told"), [
    (["resume", "runs/cats"], "the command that began the run"),
    (["teach", "{}", "--out", "night.safetensors"], "--out made/night.safetensors"),
])  # fmt: skip
def test_what_it_cannot_do_is_refused(words: list[str], told: str, pictures: Path):
    painting = str(next(pictures.rglob("*.png")))
    with pytest.raises(HasamaError, match=told):
        made(*(word.format(painting) for word in words))
