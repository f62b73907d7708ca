"""hasama job: the file that hands a command to a cluster."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from hasama.cli.arguments import usual_run_place
from hasama.cli.commands.runs import evaluate
from hasama.cli.commands.style import style
from hasama.cli.commands.sweep import check_numbers, planned, sweep, usual_sweep_place
from hasama.cli.commands.teach import check_painter_place, teach, usual_painter_place, what_to_teach
from hasama.cli.commands.train import chosen_recipe, resume, train
from hasama.cli.flags import check_threads, default_of, flags_of, given
from hasama.cli.streams import STREAM
from hasama.cli.style_arguments import check_format, painter_among, paints_film
from hasama.cluster.options import GROUPS, JobOptions
from hasama.errors import HasamaError
from hasama.options import flag
from hasama.recipe import Recipe
from hasama.style.painters.recipe import TeachRecipe
from hasama.style.recipe import style_recipe_named

if TYPE_CHECKING:
    from hasama.cluster.job import Work

    AnyOptions = Any  # the flags of `JobOptions`, each of them optional

JobFlags = flags_of(JobOptions(), "JobFlags", GROUPS, default_of, "They stand before the command.")
if not TYPE_CHECKING:
    AnyOptions = Annotated[JobFlags, Parameter(name="*")]

DEVICES = re.compile(r"auto|cpu|mps|(cuda|xpu)(:[0-9]+)?")
"""What a job's --device may be: which of them there is, the machine knows on which it will run."""
COMMANDS = (train, resume, sweep, teach, evaluate, style)
"""What takes long enough to be a job."""

READS = {
    "train": ("source", "init_from"),
    "resume": (),
    "sweep": ("source", "init_from"),
    "teach": ("painting", "more", "weights"),
    "evaluate": ("source",),
    "style": ("content", "styles", "where", "style_mask", "weights"),
}
"""{command: what of it names files and folders to be read}."""

ELSEWHERE = ("azureml", "skypilot")
"""Engines by which places have other names there."""
HERE = ("slurm", "azureml", "skypilot")
"""The engines for which what is read has to be here: on the cluster's own disk, or to be sent."""


def job(
    engine: Literal["slurm", "kubernetes", "azureml", "skypilot"],
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    options: AnyOptions = JobFlags(),  # noqa: B008 (frozen)
) -> int:
    """Print the file that hands a command to a cluster, such as  hasama job slurm train photos/ --size 128 > job.sh

    The command's values are checked as if it were given here, but nothing is run. A job that is broken off goes on
    where it stands, until it is done (evaluate, which is short, begins anew). These flags stand before the command,
    its own after it.

    Parameters
    ----------
    engine
        slurm (a batch script for sbatch), kubernetes (a TrainJob of Kubeflow Trainer v2), azureml (a command job of
        Azure ML v2) or skypilot (a task).
    command
        train, resume, sweep, teach, evaluate or style, with all that it takes.
    options
        What the job asks for.
    """
    if not command:
        raise HasamaError(f"Say what is to be done:  hasama job {engine} train photos/ --out runs/mine")

    from hasama.cluster.engines import job_file
    from hasama.cluster.job import job_of
    from hasama.cluster.options import checked

    asked = checked(engine, given(options))
    parser = _parser()
    if {"--help", "-h"} & {*command}:
        return parser(list(command))
    function, bound, _ = parser.parse_args(list(command))
    arguments = _with_defaults(function, bound.arguments)
    work = work_of(function, command, arguments, engine, data=bool(asked.data))
    _check_device(str(arguments.get("device", "")), asked)
    if function is sweep and asked.nodes > 1 and arguments.get("storage") is None:  # SQLite is not for shared disks
        work = work._replace(words=(*work.words, "--storage", str(Path(work.makes) / "sweep.journal")))
    if function.__name__ == "train":
        _check_processes(arguments, asked)
    text = job_file(engine, job_of(work, asked))
    _check_elsewhere(function.__name__, arguments, engine, asked)
    sys.stdout.write(text)
    return 0


def _parser() -> App:
    """The commands that can be jobs, as the command itself parses them."""
    parser = App(name="hasama", help_flags=["--help", "-h"], version_flags=[])
    for command in COMMANDS:
        parser.command(command)
    return parser


def _with_defaults(function: Callable[..., Any], bound: Mapping[str, Any]) -> dict[str, Any]:
    """All that a command gets, whether it was typed or not; of its recipe's fields those that were."""
    signature = inspect.signature(inspect.unwrap(function))
    known = {one.name: one.default for one in signature.parameters.values() if one.default is not one.empty}
    arguments = known | {"more": (), "styles": ()} | dict(bound)
    return arguments | {"changes": given(arguments["changes"]) if "changes" in arguments else {}}


def work_of(
    function: Callable[..., Any], words: Sequence[str], arguments: dict[str, Any], engine: str, data: bool
) -> "Work":
    """What is to be done, checked as the command itself would check it.

    Args:
        function: the command.
        words: as they were typed.
        arguments: as they were parsed.
        engine: for which cluster.
        data: whether the pictures are elsewhere.

    Raises:
        HasamaError: the command would refuse it.
    """
    from hasama.cluster.job import Work

    name = function.__name__
    if STREAM in arguments.values():
        raise HasamaError("A job has no standard input or output: name files.")
    check_threads(arguments.get("threads"))
    place = CHECKS[name](arguments)
    own = list(words)
    if "run" not in arguments and arguments.get("out") is None:
        own += ["--out", str(place)]
    if engine != "slurm" and arguments.get("requeue") is False:
        own.append("--requeue")  # or what was broken off would look as if it were done; our SLURM script looks itself
    makes = str(arguments["run"] if "run" in arguments else arguments.get("out") or place)
    every = list(_reads(name, arguments, own))
    reads, makes = list(dict.fromkeys(every)), _as_typed(Path(makes), own)
    if data:  # which stands for the first of them
        pictures = _pictures_of(name, arguments, own)
        if pictures not in reads:
            raise HasamaError("--data says where pictures are that the command reads; this one names none.")
        reads.sort(key=pictures.__ne__)
    if engine in ELSEWHERE:
        _check_distinct([*every, makes], own)
    if engine in HERE:
        _check_there(reads[1:] if data else reads, arguments.get("source"))
    is_file = name == "teach" or (name == "style" and bool(Path(makes).suffix))
    return Work(tuple(own), tuple(reads), makes, is_file)


def _reads(name: str, arguments: Mapping[str, Any], words: Sequence[str]) -> Iterator[str]:
    """The words, or values in them, that name what is read."""
    from hasama.pictures.sources.sources import BUILT_IN
    from hasama.runs.bases import is_base

    for argument in READS[name]:
        value = arguments.get(argument, arguments["changes"].get(argument))
        for one in value if isinstance(value, tuple | list) else (value,):
            known = str(one) in BUILT_IN or str(one) == "none" or is_base(str(one))
            if one and not (known and not Path(one).exists()):
                yield _as_typed(Path(one), words)


def _pictures_of(name: str, arguments: Mapping[str, Any], words: Sequence[str]) -> str:
    """The word for the pictures: of what is taught the photos, not the painting."""
    if name == "teach":
        _, photos = what_to_teach((arguments["painting"], *arguments["more"]))
    else:
        photos = arguments.get("content" if name == "style" else "source")
    return _as_typed(Path(photos or ""), words)


def _as_typed(path: Path, words: Sequence[str]) -> str:
    """A path as it stands among the words: `photos/`, not `photos`."""
    return next((value for value in _values(words) if value and Path(value) == path), str(path))


def _values(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[2] if word.startswith("--") and "=" in word else word for word in words]


def _check_distinct(places: Sequence[str], words: Sequence[str]) -> None:
    """Refuse a place called like another word, which the job file would replace by the place's name there, too."""
    for place in places:
        if sum(value == place for value in _values(words)) > places.count(place):
            raise HasamaError(
                f"{place} is a place, and another word of the command, too: give the place another name."
            )


def _check_there(reads: Sequence[str], source: str | None) -> None:
    """Refuse what is not on this machine; of the source it is told what there could be."""
    from hasama.pictures.sources.sources import open_source

    for path in reads:
        if Path(path).exists():
            continue
        if source is None or Path(source) != Path(path):
            raise HasamaError(f"There is nothing at {path}.")
        open_source(source)  # a pattern of shards, or an address: or else it says what there could be


def _check_elsewhere(name: str, arguments: Mapping[str, Any], engine: str, options: JobOptions) -> None:
    """Refuse what could not work on a machine that has only what is sent to it, and say what it may lack."""
    from hasama.runs.bases import is_base

    if engine not in ELSEWHERE:
        return
    if name == "sweep" and options.install and not {"sweep", "optuna"} & {*re.findall(r"\w+", options.install)}:
        install = f"--install 'hasama[sweep] @ {options.install}'"
        sys.stderr.write(f"hasama sweep needs the extra `sweep`, unless it is there:  {install}\n")
    if name == "evaluate":
        run = Path(arguments["run"])
        if run.is_file() or is_base(str(run)):
            raise HasamaError(f"A job for {engine} evaluates a run's folder, which it keeps; {run} is none.")
        if arguments.get("source") is None:
            raise HasamaError(f"A job for {engine} has only what is sent to it: name the real pictures by --source.")


def _check_device(device: str, options: JobOptions) -> None:
    if device and not DEVICES.fullmatch(device):
        raise HasamaError(f"--device takes auto, cpu, cuda, cuda:1, mps or xpu; got {device!r}.")
    if device.startswith("cuda") and not options.gpus:
        raise HasamaError(f"--device {device} needs a job with GPUs:  hasama job ... --gpus 1")


def _check_processes(arguments: Mapping[str, Any], options: JobOptions) -> None:
    """Can as many processes train together as the job asks for?"""
    from hasama.runs.standing import check_goes_with

    check_goes_with(_recipe_to_train(arguments), options.nodes * max(1, options.processes or options.gpus))


# --- what each command checks before any work; each gives the place of what is made --------------------------------


def _check_train(arguments: Mapping[str, Any]) -> Path:
    from hasama.runs.standing import check_buildable

    check_buildable(_recipe_to_train(arguments).but(init_from=""))
    return usual_run_place(arguments["source"], arguments["recipe"])


def _recipe_to_train(arguments: Mapping[str, Any]) -> Recipe:
    changes = dict(arguments["changes"])  # which gets a length
    return chosen_recipe(arguments["recipe"], changes, arguments["steps"], arguments["hours"])


def _check_resume(arguments: Mapping[str, Any]) -> Path:
    if arguments.get("kimg") is not None:
        Recipe(kimg=arguments["kimg"])
    return arguments["run"]


def _check_evaluate(arguments: Mapping[str, Any]) -> Path:
    from hasama.evaluation.evaluate import check_count

    check_count(arguments["count"], arguments["seed"])
    return arguments["run"]


def _check_sweep(arguments: Mapping[str, Any]) -> Path:
    check_numbers(arguments["trials"], arguments["fakes"], arguments["patience"])
    planned(arguments["recipe"], arguments["changes"], arguments["search"])
    return usual_sweep_place(arguments["source"], arguments["recipe"])


def _check_teach(arguments: Mapping[str, Any]) -> Path:
    TeachRecipe(**arguments["changes"])
    paintings, _ = what_to_teach((arguments["painting"], *arguments["more"]))
    place = arguments["out"] or usual_painter_place(paintings)
    check_painter_place(place)
    return place


def _check_style(arguments: Mapping[str, Any]) -> Path:
    from hasama.style.jobs.job import Job
    from hasama.style.memory import parse_memory
    from hasama.style.recipe import parse_mix

    others = {name: True for name in ("preview", "weights") if arguments[name]}
    others |= {"recipe": True} if arguments["recipe"] != "best" else {}
    where, mask = arguments["where"], arguments["style_mask"]
    taught = painter_among(arguments["styles"], where, mask, arguments["changes"] | others)
    base = style_recipe_named("instant") if taught else style_recipe_named(arguments["recipe"])
    base.but(**arguments["changes"])
    if not arguments["styles"]:
        raise HasamaError(f"Name a picture to take the style from:  hasama style {arguments['content']} STYLE")
    if arguments["out"] is None:
        raise HasamaError(f"A job says where the painting goes: give {flag('out')}.")
    if arguments["mix"] is not None and not taught:
        parse_mix(arguments["mix"], len(arguments["styles"]))
    if arguments["memory"] is not None:
        parse_memory(arguments["memory"])
    one = Job(arguments["content"], (), arguments["out"], sixteen_bits=arguments["depth"] == "16" or None)
    if one.out.suffix and not paints_film(one):
        check_format(one)
    return one.out


CHECKS: dict[str, Callable[[Mapping[str, Any]], Path]] = {
    "train": _check_train,
    "resume": _check_resume,
    "sweep": _check_sweep,
    "teach": _check_teach,
    "evaluate": _check_evaluate,
    "style": _check_style,
}
