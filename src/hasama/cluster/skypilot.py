"""A task of SkyPilot (`sky jobs launch FILE`, which starts it again elsewhere when the machine is taken away).

What is read is copied to the same relative path on the machines, and the run's folder is a bucket (MOUNT_CACHED: runs
append to logs and lock files, which MOUNT cannot do): a task that is started again goes on with the run.
"""

import re
import shlex
from pathlib import Path
from typing import Any

from hasama.cluster.job import UNFINISHED, Job, replaced
from hasama.cluster.yaml_text import to_yaml
from hasama.errors import HasamaError
from hasama.version import __version__

PLACE = "~/hasama"
"""Where everything is on the machines."""

PLAIN = re.compile(r"[\w./+-]+", re.ASCII)

MEET = (
    '--nnodes="$SKYPILOT_NUM_NODES"', '--node-rank="$SKYPILOT_NODE_RANK"', '--master-addr="$first"',
    "--master-port=29500",
)  # fmt: skip
"""How the nodes find each other."""


def task(job: Job) -> str:
    """The task.

    Args:
        job: what is to be done.

    Raises:
        HasamaError: what is made has no folder of its own, it is a run to be resumed, or a sweep whose trials several
            machines could share only through files in a bucket.
    """
    work = job.work
    if work.command == "resume":
        raise HasamaError("Give the command that began the run, hasama train ...: it goes on where the run stands.")
    if work.kept == Path():
        raise HasamaError(f"The folder that is written to becomes a bucket: --out {Path('made') / work.makes}")
    options, places = job.options, _places(job)
    if options.nodes > 1 and not job.is_spread and not any("://" in word for word in work.words):
        raise HasamaError(
            "A bucket cannot hold the database that several machines share: give the sweep's own --storage, such as "
            "postgresql://user@host/base, after the command."
        )
    setup = {} if options.image else {"setup": f"python3 -m pip install {shlex.quote(options.install)}"}
    return f"# Made by Hasama {__version__}:  sky jobs launch FILE\n" + to_yaml(
        {
            "name": job.name,
            "num_nodes": options.nodes,
            "resources": _resources(job),
            "envs": job.environment,
            "file_mounts": _mounts(job, places),
            **setup,
            "run": _run(job, places),
        }
    )


def _resources(job: Job) -> dict[str, Any]:
    options = job.options
    asked: dict[str, Any] = {"cpus": f"{options.cpus * job.processes}+"}
    if options.memory:
        asked["memory"] = f"{-(-options.megabytes // 1000)}+"
    if options.gpus:
        asked["accelerators"] = f"{options.gpu_type}:{options.gpus}"
    if options.image:
        asked["image_id"] = f"docker:{options.image.removeprefix('docker:')}"
    asked["job_recovery"] = {
        "max_restarts_on_errors": options.restarts, "recover_on_exit_codes": [UNFINISHED],
    }  # fmt: skip
    return asked


def _places(job: Job) -> dict[str, str]:
    """{path from here: where it is on the machines, below `PLACE`}. One that is not plain gets a name of ours."""
    work = job.work
    named = {path: f"read/{number}{_ending(path)}" for number, path in enumerate(work.reads, 1)}
    kept = str(work.kept)
    named[kept] = f"made/{job.name}"
    places = {path: str(Path(path)) if _is_plain(path) else name for path, name in named.items()}
    if work.is_file:
        places[work.makes] = f"{places[kept]}/{Path(work.makes).name}"
    else:
        places[work.makes] = places[kept]
    return places


def _is_plain(path: str) -> bool:
    """Whether a path may stay as it is: relative, within this folder, and without signs that a shell would mind."""
    return bool(PLAIN.fullmatch(path)) and not Path(path).is_absolute() and ".." not in Path(path).parts


def _ending(path: str) -> str:
    """`.zip`, `.jpg`, ... of a file, by which it is known what is in it."""
    ending = Path(path).suffix
    return ending if ending[1:].isalnum() and ending.isascii() else ""


def _mounts(job: Job, places: dict[str, str]) -> dict[str, Any]:
    mounts: dict[str, Any] = {}
    for number, path in enumerate(job.work.reads, 1):
        data = job.options.data if number == 1 else ""
        sent = str(Path(path).absolute())
        mounts[f"{PLACE}/{places[path]}"] = {"source": data, "mode": "MOUNT"} if data else sent
    kept = {"source": job.options.storage, "mode": "MOUNT_CACHED"}
    return mounts | {f"{PLACE}/{places[str(job.work.kept)]}": kept}


def _run(job: Job, places: dict[str, str]) -> str:
    """The shell's lines, run on every node."""
    several = job.options.nodes > 1
    flags = [f"--nproc-per-node={job.processes}", *(MEET if several else ["--standalone"])]
    program = job.program(*flags, words=replaced(job.work.words, places))
    lines = [f"cd {PLACE}"]
    if job.is_spread and several:
        lines.append('first=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")')
    lines.append("exec " + " ".join(word if word in flags else shlex.quote(word) for word in program))
    return "".join(f"{line}\n" for line in lines)
