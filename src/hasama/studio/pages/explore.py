"""The pages that explore a generator, and pictures shown by a fixed type whatever they are."""

from pathlib import Path

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from hasama.errors import HasamaError
from hasama.names import fitting_name
from hasama.pictures.images import png_of
from hasama.pictures.opening import open_picture
from hasama.studio.jobs import Job
from hasama.studio.pages.page import Studio, back_to, file_of_ours
from hasama.studio.uploads import PICTURES, form_of, kept
from hasama.studio.watching import run_named

LARGEST_PHOTO, STEPS_MOST = 200 * 2**20, 10_000
SHOWN = 1024
"""Pixels of the longer side of a picture that is shown: whoever sent it has it larger."""


def explore(studio: Studio, request: Request) -> Response:
    """Sliders over a generator."""
    name, projected = request.query_params.get("run", ""), request.query_params.get("projected", "")
    about = studio.explorer.about(run_named(studio.root, name))
    _projection(studio, request)
    endings = ",".join(PICTURES)
    return studio.page(request, "explore.html", run=name, projected=projected, endings=endings, **about)


def generated(studio: Studio, request: Request) -> Response:
    """One of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    return Response(
        studio.explorer.picture(
            run, request.query_params, _projection(studio, request), "keep" in request.query_params
        ),
        media_type="image/png",
    )


def walk(studio: Studio, request: Request) -> Response:
    """A film that walks through some of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    film = studio.explorer.walk(run, request.query_params)
    return Response(film, media_type="video/mp4", headers={"content-disposition": 'attachment; filename="walk.mp4"'})


async def project(studio: Studio, request: Request) -> Response:
    """Find what the generator can make of a picture that is sent: a child searches.

    Raises:
        HasamaError: there is no such run, or no picture.
    """
    form = await form_of(request, LARGEST_PHOTO)
    name, steps = str(form.get("run", "")), str(form.get("steps", "300"))
    run = run_named(studio.root, name)
    photo = await kept(form.getlist("photo")[:1], studio.uploads, PICTURES)
    if photo is None:
        raise HasamaError("Choose a picture.")
    if not steps.isascii() or not steps.isdigit() or not 0 < int(steps) <= STEPS_MOST:
        raise HasamaError(f"Steps are a number from 1 to {STEPS_MOST}.")
    out = photo.parent / fitting_name(photo.stem, "-projected.png")
    words = ["project", str(run.folder), str(photo), "--steps", steps, "--out", str(out)]
    job = studio.jobs.add(words, run=name, out=str(out))
    return back_to(f"/projection?job={job.id}")


def projection(studio: Studio, request: Request) -> Response:
    """How far the search is; at the end the picture beside what the generator makes of it."""
    studio.jobs.turn()
    job = _project_job(studio, request.query_params.get("job", ""))
    return studio.page(request, "projection.html", job=job, run=job.about["run"])


def projected_picture(studio: Studio, request: Request) -> Response:
    """The picture, its projection and their difference, side by side."""
    job = _project_job(studio, request.query_params.get("job", ""))
    return file_of_ours(Path(job.about["out"]), "image/png")


def _project_job(studio: Studio, name: str) -> Job:
    job = studio.jobs.get(name)
    if job is None or job.words[0] != "project":
        raise HasamaError("There is no such projection.")
    return job


def _projection(studio: Studio, request: Request) -> Path | None:
    """The file with the w that a page begins at; None: it begins at a seed."""
    name = request.query_params.get("projected", "")
    return Path(_project_job(studio, name).about["out"]).with_suffix(".safetensors") if name else None


def one_file(place: Path) -> Response:
    """A picture that was sent, as a PNG of ours: whatever else its file holds goes no further.

    Raises:
        HasamaError: it is no picture.
    """
    if not place.is_file():
        raise HasamaError("There is no such file.")
    picture = open_picture(place)
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    return Response(png_of(picture), media_type="image/png")
