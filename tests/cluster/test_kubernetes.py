"""The TrainJob and its runtime: fields by the models of Kubeflow's own package, words by Kubernetes' rule for `$`."""

import json
import re
from typing import Any

import pytest

from jobs import ENGINES, NASTY, job_text, misspelt

yaml = pytest.importorskip("yaml")

FREE = ("labels", "requests", "limits")
KINDS = {"TrainJob": "TrainerV1alpha1TrainJob", "TrainingRuntime": "TrainerV1alpha1TrainingRuntime"}


def made(*words: object, options: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The runtime and the TrainJob."""
    text = job_text("kubernetes", *ENGINES["kubernetes"], *options, *words)
    runtime, job = yaml.safe_load_all(text)
    assert (runtime["kind"], job["kind"]) == ("TrainingRuntime", "TrainJob")
    return runtime, job


def started(job: dict[str, Any]) -> list[str]:
    """The words that the container's program gets: Kubernetes makes `$$` one `$`, and fills in `$(NAME)`."""
    trainer = job["spec"]["trainer"]
    given = [*trainer["command"], *trainer["args"]]
    return [re.sub(r"\$(\$|\(\w+\))", lambda found: "$" if found[1] == "$" else "FILLED IN", word) for word in given]


def accepts(document: dict[str, Any]) -> bool:
    """Whether the models of the package take a document, and drop nothing of it: they ignore what is unknown."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    try:
        read = getattr(models, KINDS[document["kind"]]).from_dict(document)
    except (KeyError, ValueError):
        return False
    return json.loads(read.to_json()) == document


BOTH = [
    ("train", "digits", "dcgan", "--kimg", "5"),
    ("sweep", "digits", "dcgan", "--trials", "3"),
]


@pytest.mark.parametrize("words", BOTH, ids=lambda words: words[0])
def test_the_fields_are_those_of_the_api(words: tuple[str, ...]):
    options = ("--nodes", "2", "--hours", "2.5", "--memory", "32GB", "--gpus", "2")
    for document in made(*words, options=options):
        assert accepts(document)
        for where, wrong in misspelt(document, FREE):
            assert not accepts(wrong), where


def test_numbers_are_where_the_controller_looks_for_them():
    options = ("--nodes", "3", "--gpus", "2", "--cpus", "6", "--memory", "8GB")
    runtime, job = made("train", "digits", "dcgan", options=options)
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 2)
    asked = {"cpu": "12", "memory": "8000M", "nvidia.com/gpu": "2"}
    assert trainer["resourcesPerNode"] == {"requests": asked, "limits": asked}
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 3, "torch": {}}
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert {"name": "OMP_NUM_THREADS", "value": "6"} in trainer["env"]
    assert trainer["command"] == ["torchrun"]
    assert trainer["args"][:3] == ["-m", "hasama", "train"]


def test_what_breaks_off_is_started_again_all_of_it():
    runtime, _ = made("train", "digits", "dcgan", options=("--restarts", "7"))
    template = runtime["spec"]["template"]["spec"]
    (replicated,) = template["replicatedJobs"]
    assert template["failurePolicy"] == {"maxRestarts": 7}
    assert replicated["template"]["spec"]["backoffLimit"] == 0
    assert replicated["template"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_one_process_needs_no_torchrun():
    runtime, job = made("train", "digits", "dcgan")
    assert job["spec"]["trainer"]["command"] == ["hasama"]
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 1}


def test_words_reach_the_program_as_they_were_typed():
    typed = [word for word in NASTY if word != "-"]
    for word in typed:
        _, job = made("train", f"./{word}", "dcgan", "--only", f"a{word}", "--out", f"runs/{word}")
        assert started(job) == [
            "hasama",
            "train",
            f"./{word}",
            "dcgan",
            "--only",
            f"a{word}",
            "--out",
            f"runs/{word}",
            "--requeue",
        ]
