"""A TrainJob of Kubeflow Trainer v2 (trainer.kubeflow.org/v1alpha1), with the TrainingRuntime that it runs in.

The runtime is our own, in the same file, for three things that a TrainJob alone cannot say in all versions of the
API: the volume (`podTemplateOverrides` became `runtimePatches` in 2.2), the working folder, and how often the whole
job is started again. By PET_ variables the controller tells torchrun how many nodes and processes there are and where
they meet (kubeflow/trainer, pkg/runtime/framework/plugins/torch).
"""

from typing import Any

from hasama.cluster.job import Job
from hasama.cluster.yaml_text import to_yaml
from hasama.version import __version__

API = "trainer.kubeflow.org/v1alpha1"
VOLUME = "/hasama"
"""Where the volume is in the container; relative paths begin there."""

GROUP = 1000
"""Who may write to the volume: the group of the Dockerfile's user."""

GRACE_SECONDS = 120
"""What a training gets to save before it is killed."""


def manifest(job: Job) -> str:
    """Both objects, for `kubectl apply -f`.

    Args:
        job: what is to be done.
    """
    about = f"# Made by Hasama {__version__}. Paths are those on {job.options.storage}:  kubectl apply -f FILE\n"
    return f"{about}{to_yaml(_runtime(job))}---\n{to_yaml(_train_job(job))}"


def _runtime(job: Job) -> dict[str, Any]:
    """Where it runs. Any failure, eviction and exit code 75 included, starts all nodes again, together."""
    jobs = {
        "name": "node",  # the name that the controller looks for, as that of the container
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"backoffLimit": 0, "template": {"spec": _pod(job)}},
        },
    }
    spread: dict[str, Any] = {"torch": {}} if job.is_spread else {}
    return {
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": {"name": job.name},
        "spec": {
            "mlPolicy": {"numNodes": job.options.nodes, **spread},
            "template": {
                "spec": {"failurePolicy": {"maxRestarts": job.options.restarts}, "replicatedJobs": [jobs]},
            },
        },
    }


def _pod(job: Job) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"fsGroup": GROUP},
        "containers": [
            {
                "name": "node",
                "image": job.options.image,
                "workingDir": VOLUME,
                "volumeMounts": [
                    {"name": "storage", "mountPath": VOLUME},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},  # 64 MB otherwise: too little for NCCL
                ],
            }
        ],
        "volumes": [
            {"name": "storage", "persistentVolumeClaim": {"claimName": job.options.storage}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _train_job(job: Job) -> dict[str, Any]:
    options = job.options
    resources = {"cpu": str(options.cpus * job.processes)}
    if options.memory:
        resources["memory"] = f"{options.megabytes}M"
    if options.gpus:
        resources["nvidia.com/gpu"] = str(options.gpus)
    variables = job.environment | {"HASAMA_CACHE": f"{VOLUME}/.cache/hasama"}
    program = [as_it_stands(word) for word in job.program()]
    deadline = {"activeDeadlineSeconds": round(3600 * options.hours)} if options.hours else {}
    processes = {"numProcPerNode": job.processes} if job.is_spread else {}
    return {
        "apiVersion": API,
        "kind": "TrainJob",
        "metadata": {"name": job.name},
        "spec": {
            **deadline,
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": job.name},
            "trainer": {
                "image": options.image,
                "command": program[:1],
                "args": program[1:],
                "numNodes": options.nodes,
                **processes,
                "env": [{"name": name, "value": value} for name, value in variables.items()],
                "resourcesPerNode": {"requests": resources, "limits": resources},
            },
        },
    }


def as_it_stands(word: str) -> str:
    """A word of a container's command that Kubernetes leaves as it is: `$(NAME)` would mean a variable there."""
    return word.replace("$", "$$")
