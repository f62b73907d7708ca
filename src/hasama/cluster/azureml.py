"""A command job of Azure ML v2 (`az ml job create --file FILE`).

Azure ML itself starts as many processes as `distribution` says, with RANK, WORLD_SIZE and so on: there is no
torchrun. What is read from here becomes inputs, and what is made goes to a folder in a datastore, always the same one
for a job's name: the same job again goes on with the run.
"""

import shlex
from pathlib import Path
from typing import Any

from hasama.cluster.job import Job, replaced
from hasama.cluster.yaml_text import to_yaml
from hasama.errors import HasamaError
from hasama.version import __version__

SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
STORE = "azureml://datastores/workspaceblobstore/paths/hasama"
BASE_IMAGES = {
    False: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
    True: "mcr.microsoft.com/azureml/openmpi5.0-cuda12.4-ubuntu22.04",
}
"""{with GPUs: what a conda environment is built on}."""

SHARED_MEMORY = "8g"


def command_job(job: Job) -> str:
    """The job.

    Args:
        job: what is to be done.

    Raises:
        HasamaError: it resumes a run, which lies where it was begun; or it is a sweep on several machines.
    """
    if job.work.command == "resume":
        raise HasamaError("Give the command that began the run, hasama train ...: it goes on where the run stands.")
    inputs, options = _inputs(job), job.options
    if options.nodes > 1 and not job.is_spread:
        raise HasamaError(
            f"Azure ML would start hasama {job.work.command} on one of the machines only: create the job several "
            "times, with a database that all of them reach (the sweep's own --storage)."
        )
    hours = {"limits": {"timeout": round(3600 * options.hours)}} if options.hours else {}
    spread = {"type": "pytorch", "process_count_per_instance": job.processes}
    return f"# Made by Hasama {__version__}:  az ml job create --file FILE\n" + to_yaml(
        {
            "$schema": SCHEMA,
            "type": "command",
            "display_name": job.name,
            "experiment_name": "hasama",
            "command": _command(job, inputs),
            "environment": _environment(job),
            "environment_variables": job.environment,
            **({"inputs": inputs} if inputs else {}),
            "outputs": {"made": _output(job)},
            **({"distribution": spread} if job.is_spread else {}),
            "resources": {"instance_count": options.nodes, "shm_size": SHARED_MEMORY},
            **hours,
            "compute": "local" if options.compute == "local" else f"azureml:{options.compute}",
        }
    )


def _inputs(job: Job) -> dict[str, dict[str, str]]:
    """{input: where it is}: what is read from here, or the pictures from where they are."""
    found = {}
    for number, path in enumerate(job.work.reads, 1):
        sent = not (job.options.data and number == 1)
        folder = Path(path).is_dir() if sent else True
        where = str(Path(path).absolute()) if sent else job.options.data
        found[f"read_{number}"] = {
            "type": "uri_folder" if folder else "uri_file", "path": where, "mode": "download",
        }  # fmt: skip
    return found


def _output(job: Job) -> dict[str, str]:
    where = job.options.storage or f"{STORE}/{job.name}"
    return {"type": "uri_folder", "path": where, "mode": "rw_mount"}


def _command(job: Job, inputs: dict[str, dict[str, str]]) -> str:
    """The command for the shell, with the places that Azure ML fills in."""
    work = job.work
    made = "${{outputs.made}}" + (f"/{Path(work.makes).name}" if work.is_file else "")
    places = {path: f"${{{{inputs.{name}}}}}" for path, name in zip(work.reads, inputs, strict=True)}
    places[work.makes] = made
    words = replaced(work.words, places)
    return " ".join(["hasama", *(_quoted(new, new != old) for new, old in zip(words, work.words, strict=True))])


def _quoted(word: str, is_place: bool) -> str:
    """A word for the shell. Azure ML would fill in what a person has typed as `${{`, too: so that is taken apart."""
    if is_place:
        flag, equals, place = word.partition("=") if word.startswith("--") else ("", "", word)
        inner, slash, name = place.partition("}}/")
        return f'{flag}{equals}"{inner}}}}}"/{shlex.quote(name)}' if slash else f'{flag}{equals}"{place}"'
    return shlex.quote(word).replace("${{", "$''{{")


def _environment(job: Job) -> dict[str, Any]:
    options = job.options
    if options.image:
        return {"image": options.image}
    packages = ["python=3.11", "pip", {"pip": [options.install]}]
    return {
        "image": BASE_IMAGES[options.gpus > 0],
        "conda_file": {"name": "hasama", "channels": ["conda-forge"], "dependencies": packages},
    }
