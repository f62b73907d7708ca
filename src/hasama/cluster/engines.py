"""The engines by name, and the file that each of them takes."""

from collections.abc import Callable

from hasama.cluster import azureml, kubernetes, skypilot, slurm
from hasama.cluster.job import Job

WRITERS: dict[str, Callable[[Job], str]] = {
    "slurm": slurm.script,
    "kubernetes": kubernetes.manifest,
    "azureml": azureml.command_job,
    "skypilot": skypilot.task,
}
"""{engine: what makes its file of a job}; the names are those of `options.ENGINES`."""


def job_file(engine: str, job: Job) -> str:
    """The text of the file that hands a job to a cluster.

    Args:
        engine: one of `options.ENGINES`.
        job: what is to be done.

    Raises:
        HasamaError: the engine cannot do it.
    """
    return WRITERS[engine](job)
