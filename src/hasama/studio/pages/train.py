"""The pages that begin a training: choose pictures, read what is proposed and why, change it, start."""

import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hasama.errors import HasamaError
from hasama.fields import GROUPS
from hasama.names import SPARE, at_home, fitting_name
from hasama.pictures.sources.sources import BUILT_IN
from hasama.presets import RECIPES, asked_recipe, flags_of_difference
from hasama.recipe import Recipe
from hasama.runs.folder import free_name
from hasama.studio.forms import fields_of, filled_in
from hasama.studio.jobs import Job
from hasama.studio.pages.page import Studio, back_to, file_of_ours, quoted
from hasama.studio.uploads import ARCHIVES, PICTURES, check_alone, check_one_way, form_of, kept

HOURS_MOST = 1000.0
KEPT = ("size", "labels", "mirror", "only", "kimg", "batch")
"""What stays of a proposal where another recipe is taken."""


def choose(studio: Studio, request: Request) -> Response:
    """Which pictures?"""
    return studio.page(request, "train.html", names=list(BUILT_IN), endings=",".join((*PICTURES, *ARCHIVES)))


async def look(studio: Studio, request: Request) -> Response:
    """Look at the pictures: two children read them, show some, and propose a recipe."""
    form = await form_of(request)
    source, files = str(form.get("source", "")).strip(), form.getlist("files")
    check_one_way(files, source)
    if not source:
        check_alone(files, ARCHIVES, "Send one archive of pictures, or the pictures themselves.")
        place = await kept(files, studio.uploads, (*PICTURES, *ARCHIVES))
        if place is None:
            raise HasamaError("Choose pictures: drop some, or name a folder of this machine.")
        source = str(place)
    elif source not in BUILT_IN and not at_home(source).exists():
        raise HasamaError(f"There is no {source} on this machine.")
    hours = str(form.get("hours", "1")).strip() or "1"
    try:
        if not 0.01 <= float(hours) <= HOURS_MOST:
            raise ValueError
    except ValueError:
        raise HasamaError("Hours are a number from 0.01 to 1000.") from None
    if size := str(form.get("size", "")).strip():
        Recipe(size=size)  # what is wrong is told now
    words = ["suggest", source, "--hours", hours, "--json", *(["--size", size] if size else [])]
    job = studio.jobs.add(words, source=source, hours=hours)
    studio.jobs.add(["images", source, "--size", "64", "--out", str(job.folder / "preview.png")], of=job.id)
    return back_to(f"/train/proposal?job={job.id}")


def proposal(studio: Studio, request: Request) -> Response:
    """What is proposed, field by field, once the children are done."""
    studio.jobs.turn()
    job = _look_job(studio, request.query_params.get("job", ""))
    if job.state == "stopped":
        return back_to(f"/job?job={job.id}")
    told = _told(job)
    if told is None:
        report, before = _report(studio, job), _running_before(studio, job)
        return studio.page(request, "looking.html", job=job, report=report, before=before)
    recipe = Recipe.from_dict(told["recipe"])
    groups = fields_of(recipe, GROUPS)
    values = {
        "told": told, "groups": groups, "report": _report(studio, job), "name": _usual_name(job.about["source"]),
        "recipe": recipe,
        "preview": (job.folder / "preview.png").exists(), "presets": list(RECIPES),
    }  # fmt: skip
    return studio.page(request, "proposal.html", job=job, **values)


async def start(studio: Studio, request: Request) -> Response:
    """Begin the training, or put it into the queue."""
    form = await form_of(request, 2**20)
    job = _look_job(studio, str(form.get("job", "")))
    told = _told(job)
    if told is None:
        raise HasamaError("The pictures have not been looked at yet.")
    base = Recipe.from_dict(told["recipe"])
    preset = str(form.get("preset", told["preset"]))
    changes = filled_in({str(key): value for key, value in form.items()}, base)
    recipe = base.but(**changes)
    if preset != told["preset"]:
        recipe = asked_recipe(preset, {name: getattr(recipe, name) for name in KEPT})
    name = fitting_name(Path(str(form.get("name", "")).strip()).name.lstrip(".") or "run", "", SPARE)
    out = free_name(studio.root / name, studio.jobs.promised())
    words = ["train", job.about["source"], preset, *flags_of_difference(recipe, RECIPES[preset]), "--out", str(out)]
    begun = studio.jobs.add(words, place=str(out))
    return back_to(f"/job?job={begun.id}")


def preview(studio: Studio, request: Request) -> Response:
    """Some of the pictures."""
    return file_of_ours(_look_job(studio, request.query_params.get("job", "")).folder / "preview.png", "image/png")


def _look_job(studio: Studio, name: str) -> Job:
    job = studio.jobs.get(name)
    if job is None or job.words[0] != "suggest":
        raise HasamaError("There is no such proposal.")
    return job


def _told(job: Job) -> dict[str, Any] | None:
    """What `hasama suggest --json` printed; None while it is at work."""
    if job.state in ("waiting", "running"):
        return None
    try:
        told = json.loads(job.printed.read_text(encoding="utf-8"))
        return told if isinstance(told, dict) and "recipe" in told else None
    except (OSError, ValueError):
        raise HasamaError(job.said() or "The pictures could not be looked at.") from None


def _report(studio: Studio, job: Job) -> str:
    """What `hasama images` said of them."""
    other = next((one for one in studio.jobs.all() if one.about.get("of") == job.id), None)
    said = other.said() if other and other.state == "done" else ""
    return "\n".join(line for line in said.splitlines() if str(job.folder) not in line)


def _usual_name(source: str) -> str:
    return Path(source).stem or "run"


def job_page(studio: Studio, request: Request) -> Response:
    """How a child is doing: to its run once that is there."""
    studio.jobs.turn()
    job = studio.jobs.get(request.query_params.get("job", ""))
    if job is None:
        raise HasamaError("There is no such job.")
    place = Path(job.about.get("place", ""))
    began = job.state != "waiting" and studio.jobs.of_place(place) == job  # else the folder is another job's
    if began and (place / "recipe.json").is_file() and place.is_relative_to(studio.root):
        return back_to(f"/watch?run={quoted(place.relative_to(studio.root).as_posix())}")
    if job.words[0] == "suggest" and job.state != "stopped":
        return back_to(f"/train/proposal?job={job.id}")
    if job.words[0] == "project":
        return back_to(f"/projection?job={job.id}")
    if job.words[0] == "teach" and place.is_relative_to(studio.root):  # else the root was moved since
        return back_to(f"/taught?name={quoted(place.relative_to(studio.root).with_suffix('').as_posix())}")
    return studio.page(request, "job.html", job=job, before=_running_before(studio, job))


def _running_before(studio: Studio, job: Job) -> list[Job]:
    """What holds the lane in which a job waits."""
    return [one for one in studio.jobs.all() if one.lane == job.lane and one.state == "running"]


async def stop_job(studio: Studio, request: Request) -> Response:
    """Take a job back, or stop it."""
    job = studio.jobs.get(str((await form_of(request, 2**20)).get("job", "")))
    if job is None:
        raise HasamaError("There is no such job.")
    for one in [one for one in studio.jobs.all() if one.about.get("of") == job.id]:  # what looks with it
        studio.jobs.stop(one)
    studio.jobs.stop(job)
    page = {"style": "painting", "project": "projection"}.get(job.lane, "job")
    return back_to(f"/{page}?job={job.id}")
