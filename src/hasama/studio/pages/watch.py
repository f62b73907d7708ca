"""The pages over runs: all of them, one, two side by side; stopping, going on, remedies; a run as one file."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hasama.errors import HasamaError
from hasama.presets import RECIPES, flags_of_difference, varied
from hasama.runs.folder import Run, free_name
from hasama.runs.reports.grids import counts
from hasama.studio.jobs import ENDED
from hasama.studio.pages.page import Studio, back_to, file_of_ours, quoted
from hasama.studio.uploads import form_of
from hasama.studio.watching import all_runs, curves_of, run_named, state_of

SMALL_FORM = 2**20
LEFT_OUT = {".pt", "stop"}
"""Endings and names of what is not taken along of a run: checkpoints are large, and only for going on."""


def home(studio: Studio, request: Request) -> Response:
    """All runs, with a filter."""
    studio.jobs.turn()
    wish = request.query_params.get("filter", "").strip().lower()
    runs = [one for one in all_runs(studio.root) if not wish or wish in _searched(one)]
    waiting = [job for job in studio.jobs.all() if job.state in ("waiting", "running") and job.lane != "show"]
    return studio.page(request, "home.html", runs=runs, filter=wish, jobs=waiting, root=str(studio.root))


def _searched(run: dict[str, Any]) -> str:
    recipe = run.get("recipe") or {}
    return f"{run['name']} {run['status']} {run.get('source', '')} {recipe.get('architecture', '')}".lower()


def watch(studio: Studio, request: Request) -> Response:
    """One run."""
    name = request.query_params.get("run", "")
    run = run_named(studio.root, name)
    other = request.query_params.get("beside", "")
    names = [one["name"] for one in all_runs(studio.root) if one["recipe"] and one["name"] != name]
    runs = [(name, state_of(run, name))]
    if other:
        runs.append((other, state_of(run_named(studio.root, other), other)))
    return studio.page(request, "watch.html", runs=runs, names=names, beside=other)


def state(studio: Studio, request: Request) -> Response:
    """What a page over a run needs again and again."""
    studio.jobs.turn()
    name = request.query_params.get("run", "")
    run = run_named(studio.root, name)
    return JSONResponse(state_of(run, name) | {"curves": curves_of(run), "job": _job_told(studio, run)})


def health(studio: Studio, request: Request) -> Response:
    """The doctor's findings."""
    from hasama.runs.reports.diagnosis import diagnose  # memory: the server has none of it before it is needed

    return JSONResponse(diagnose(run_named(studio.root, request.query_params.get("run", ""))).to_dict())


def sample(studio: Studio, request: Request) -> Response:
    """A sample grid. (The address has the size, too: a browser keeps what it has, of another stage, too.)"""
    run, seen = run_named(studio.root, request.query_params.get("run", "")), request.query_params.get("seen", "")
    if not counts(seen):
        raise HasamaError("There is no such file.")
    return file_of_ours(run.stage().sample_file(int(seen)), "image/png")


def plot(studio: Studio, request: Request) -> Response:
    """The plot of the losses that training draws."""
    return file_of_ours(run_named(studio.root, request.query_params.get("run", "")).stage().loss_plot, "image/png")


async def stop(studio: Studio, request: Request) -> Response:
    """Ask a run to save and stop."""
    name = str((await form_of(request, SMALL_FORM)).get("run", ""))
    run = run_named(studio.root, name)
    if run.is_held():
        run.stop()
    elif job := studio.jobs.of_place(run.folder):
        studio.jobs.stop(job)
    return back_to(_address(name))


async def resume(studio: Studio, request: Request) -> Response:
    """Go on with a run, longer if a length is given."""
    form = await form_of(request, SMALL_FORM)
    name, kimg = str(form.get("run", "")), str(form.get("kimg", "")).strip()
    run = run_named(studio.root, name)
    studio.jobs.turn()
    job = studio.jobs.of_place(run.folder)
    if run.is_held() or (job is not None and job.state not in ENDED):
        raise HasamaError("This run is being trained already.")
    words = ["resume", str(run.folder)]
    if kimg:
        run.recipe().but(kimg=_number(kimg))
        words += ["--kimg", kimg]
    studio.jobs.add(words, place=str(run.folder))
    return back_to(_address(name))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise HasamaError(f"A length is a number of thousands of images; got {text!r}.") from None


async def remedy(studio: Studio, request: Request) -> Response:
    """Stop a run that is not well, and train anew with what the doctor advises."""
    from hasama.runs.reports.diagnosis import diagnose  # memory: the server has none of it before it is needed

    form = await form_of(request, SMALL_FORM)
    name, finding, number = (str(form.get(key, "")) for key in ("run", "finding", "number"))
    run = run_named(studio.root, name)
    seen = {one.finding.name: one.finding for one in diagnose(run).seen if one.holds}
    remedies = seen[finding].remedies if finding in seen else ()
    if number not in map(str, range(len(remedies))):
        raise HasamaError("This remedy is not advised (any more).")
    recipe = varied(run.recipe(), remedies[int(number)].changes)
    out = free_name(run.folder, studio.jobs.promised())
    base = min(RECIPES, key=lambda one: len(_flags(recipe, one)))
    words = ["train", str(run.images()["name"]), base, *_flags(recipe, base), "--out", str(out)]
    studio.jobs.add(words, place=str(out), instead_of=str(run.folder))
    if run.is_held():
        run.stop()
    return back_to("/")


def _flags(recipe: Any, preset: str) -> list[str]:
    return flags_of_difference(recipe, RECIPES[preset])


def take_along(studio: Studio, request: Request) -> Response:
    """A run's folder as one zip, without its checkpoint."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    name = run.folder.name
    head = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
    return StreamingResponse(_zipped(run.folder, name), media_type="application/zip", headers=head)


def _zipped(folder: Path, name: str) -> Iterator[bytes]:
    """A zip, piece by piece: it is never whole in memory."""
    out = _Passing()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if file.is_symlink() or not file.is_file() or hidden or {file.name, file.suffix} & LEFT_OUT:
                continue
            with file.open("rb") as read, archive.open(f"{name}/{file.relative_to(folder).as_posix()}", "w") as into:
                while piece := read.read(2**20):
                    into.write(piece)
                    yield out.taken()
    yield out.taken()


class _Passing(io.RawIOBase):
    """Gives on what is written to it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        self.written += len(data)
        return len(data)

    def tell(self) -> int:
        return self.written

    def taken(self) -> bytes:
        parts, self.parts = self.parts, []
        return b"".join(parts)


def _job_told(studio: Studio, run: Run) -> dict[str, Any] | None:
    """How the newest job of a run is doing; of one that failed why, unless a terminal has gone on since."""
    job = studio.jobs.of_place(run.folder)
    if job is None:
        return None
    stage = run.stage()
    if run.is_held() or not job.failed_last(stage.log_file, stage.checkpoint):
        return {"state": job.state, "said": ""}
    said = job.said()[-2000:] or str(job.about.get("why") or f"It ended with code {job.code}, and said nothing.")
    return {"state": job.state, "said": said}


def _address(name: str) -> str:
    return f"/watch?run={quoted(name)}"


def recipe_file(studio: Studio, request: Request) -> Response:
    """All that decides how a run goes."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    told = json.dumps(asdict(run.recipe()), indent=2)
    return Response(told, media_type="application/json")
