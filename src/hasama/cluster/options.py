"""What a job asks of its cluster. The fields are the flags of `hasama job`."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hasama.errors import HasamaError
from hasama.options import check_fields, flag, option

ENGINES = ("slurm", "kubernetes", "azureml", "skypilot")

GROUPS = {
    "Most used": ("nodes", "processes", "gpus", "cpus", "hours", "memory", "name"),
    "What it runs in": ("image", "install", "python_env"),
    "Where it runs": ("partition", "account", "compute", "gpu_type"),
    "What it reads and keeps": ("storage", "data", "restarts", "notice"),
}
"""The headings of the help, and the fields under each."""

ONLY_FOR = {
    "hours": ("slurm", "kubernetes", "azureml"),
    "memory": ("slurm", "kubernetes", "skypilot"),
    "install": ("azureml", "skypilot"),
    "python_env": ("slurm",),
    "partition": ("slurm",),
    "account": ("slurm",),
    "compute": ("azureml",),
    "gpu_type": ("slurm", "skypilot"),
    "storage": ("kubernetes", "azureml", "skypilot"),
    "data": ("azureml", "skypilot"),
    "restarts": ("kubernetes", "skypilot"),
    "notice": ("slurm",),
}
"""{field: the engines that it means something to}; the others take all."""

NEEDED = {
    "image": ("kubernetes", "the container image that holds Hasama (see Dockerfile)"),
    "storage": ("kubernetes", "the PersistentVolumeClaim that holds the pictures and keeps the run"),
    "compute": ("azureml", "the compute cluster"),
}  # fmt: skip
"""{field: the engine that cannot do without it, and what it is}."""

PATTERNS = {
    "name": (r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", "up to 40 small letters, digits and -, the first of them a letter"),
    "memory": (r"[1-9]\d{0,5} ?(MB|GB)", "such as 32GB or 500MB"),
    "partition": (r"[\w.,+-]+", "the name of one, or several with commas between"),
    "account": (r"[\w.@+-]+", "the name of one"),
    "compute": (r"[A-Za-z0-9][A-Za-z0-9-]*", "the name of one"),
    "gpu_type": (r"[A-Za-z0-9][\w.-]*", "such as A100"),
    "image": (r"[\w./:@+-]+", "an image as containers are named, without spaces"),
    "install": (r"\S.*", "what pip takes as one word"),
}
"""{field: what a value that is given must look like, and that in words}."""

BUCKETS = ("s3://", "gs://", "r2://", "cos://", "oci://", "https://")
DATASTORE = "azureml://"
DATA_OF_AZURE = ("azureml:", "https://", "wasbs://", "abfss://")
CLAIM = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"


@dataclass(frozen=True)
class JobOptions:
    """What a job asks for. An empty text and 0 mean: not given."""

    nodes: int = option(
        1,
        "Machines. More than one is for train, resume (one run over all of them) and sweep "
        "(whose trials they share).",
        1,
        1024,
    )
    processes: int = option(0, "Processes of train or resume on each machine. 0: one for each GPU, or one.", 0, 64)
    gpus: int = option(0, "GPUs of each machine. 0: none.", 0, 64)
    cpus: int = option(4, "CPU cores, and so threads, of each process.", 1, 512)
    hours: float = option(
        0.0,
        "The longest that the job may take; with slurm, that one turn of it may take, for the "
        "job goes on in another. 0: the cluster's own limit (slurm, kubernetes, azureml).",
        0,
        10_000,
    )
    memory: str = option("", "Memory of each machine, such as 32GB (slurm, kubernetes, skypilot).")
    name: str = option("", "The job's name. Default: after the place of what it makes.")
    image: str = option(
        "",
        "A container image that holds Hasama (see Dockerfile); with slurm for Apptainer, such as "
        "hasama.sif or docker://registry.example/hasama:1.",
    )
    install: str = option(
        "",
        "Without an image: what pip is to install, such as git+https://git.example/hasama, with extras "
        "'hasama[sweep] @ git+https://git.example/hasama', or a wheel's address (azureml, skypilot).",
    )
    python_env: str = option(
        "",
        "The folder of the virtual or conda environment with Hasama. Default: the one in which "
        "the job is submitted (slurm).",
    )
    partition: str = option("", "The partition to wait in (slurm).")
    account: str = option("", "Whose account it goes to (slurm).")
    compute: str = option("", "The compute cluster's name, or local (azureml).")
    gpu_type: str = option("", "Which GPUs, such as A100 (skypilot, where GPUs need it; slurm).")
    storage: str = option(
        "",
        "What keeps the run when the machine is gone. kubernetes: a PersistentVolumeClaim, in "
        "which all paths lie; skypilot: a bucket such as s3://mine/hasama; azureml: a folder such "
        "as azureml://datastores/NAME/paths/FOLDER (default: hasama/NAME in the workspace's own "
        "datastore).",
    )
    data: str = option(
        "",
        "Where the pictures are, if they are not to be sent from here: s3://mine/photos (skypilot), "
        "azureml:photos:1, azureml://... (azureml).",
    )
    restarts: int = option(
        10,
        "How often at most it is started again after it broke off; it goes on where it stands "
        "(kubernetes, skypilot).",
        0,
        1000,
    )
    notice: int = option(5, "Minutes before the end at which it is asked to save (slurm).", 2, 600)

    def __post_init__(self) -> None:
        check_fields(self)
        for name, (pattern, told) in PATTERNS.items():
            value = getattr(self, name)
            if value and not re.fullmatch(pattern, value):
                raise HasamaError(f"{flag(name)} takes {told}; got {value!r}.")

    @property
    def megabytes(self) -> int:
        """The memory of each machine; 0 if it was not said."""
        return int(self.memory[:-2]) * (1000 if self.memory.endswith("GB") else 1) if self.memory else 0


def checked(engine: str, asked: dict[str, Any]) -> JobOptions:
    """The options for an engine.

    Args:
        engine: one of `ENGINES`.
        asked: the fields that somebody gave.

    Raises:
        HasamaError: one is out of range or means nothing to the engine, or one is lacking.
    """
    for name in asked:
        if engine not in ONLY_FOR.get(name, ENGINES):
            raise HasamaError(f"{flag(name)} means nothing to {engine}; it is for {' and '.join(ONLY_FOR[name])}.")
    options = JobOptions(**asked)
    for name, (needs, what) in NEEDED.items():
        if needs == engine and not asdict(options)[name]:
            raise HasamaError(f"A job for {engine} needs {flag(name)}: {what}.")
    for wrong, told in _troubles(engine, options):
        if wrong:
            raise HasamaError(told)
    return options


def _troubles(engine: str, options: JobOptions) -> Iterator[tuple[bool, str]]:
    """What does not go together: (whether that is so, a sentence)."""
    installs = engine in ONLY_FOR["install"]
    yield (
        installs and not (options.image or options.install),
        f"Say how {engine} gets Hasama: --image with a container image that holds it (see Dockerfile), or --install "
        "with what pip is to install, such as git+https://git.example/hasama.",
    )
    yield installs and bool(options.image and options.install), "Give --image or --install, not both."
    yield (
        0 < options.gpus < options.processes,
        f"Each process takes a GPU of its own: --processes {options.processes} is more than --gpus {options.gpus}.",
    )
    yield (
        engine == "skypilot" and bool(options.gpus) != bool(options.gpu_type),
        "SkyPilot wants to know how many GPUs and which:  --gpus 1 --gpu-type A100",
    )
    yield engine == "slurm" and bool(options.gpu_type) and not options.gpus, "--gpu-type needs --gpus: how many."
    yield (
        engine == "slurm" and 0 < options.hours * 60 <= options.notice + 1,
        f"--hours {options.hours:g} leaves no time before --notice {options.notice} minutes: give more hours.",
    )
    yield from _wrong_places(engine, options.storage, options.data)


def _wrong_places(engine: str, storage: str, data: str) -> Iterator[tuple[bool, str]]:
    """Whether what keeps the run, and what holds the pictures, are places that the engine knows."""
    yield (
        engine == "kubernetes" and not re.fullmatch(CLAIM, storage),
        f"--storage takes the name of a PersistentVolumeClaim; got {storage!r}.",
    )
    yield (
        engine == "azureml" and bool(storage) and not storage.startswith(DATASTORE),
        f"--storage takes azureml://datastores/NAME/paths/FOLDER; got {storage!r}.",
    )
    yield (
        engine == "azureml" and bool(data) and not data.startswith(DATA_OF_AZURE),
        f"--data takes azureml:NAME:VERSION or an address that begins with azureml://; got {data!r}.",
    )
    yield (
        engine == "skypilot" and not storage.startswith(BUCKETS),
        "SkyPilot's machines come and go: --storage takes a bucket that keeps the run, such as s3://mine/hasama; got "
        f"{storage!r}.",
    )
    yield (
        engine == "skypilot" and bool(data) and not data.startswith(BUCKETS),
        f"--data takes a bucket, such as s3://mine/photos; got {data!r}.",
    )
