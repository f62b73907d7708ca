"""The pages that explore a generator, and pictures shown by a fixed type whatever they are."""

from pathlib import Path

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.names import SPARE, fitting_name, tensors_beside
from hasama.pictures.images import png_of
from hasama.pictures.opening import open_picture
from hasama.runs.folder import Run
from hasama.studio.jobs import Job
from hasama.studio.pages.page import Studio, back_to, file_of_ours
from hasama.studio.uploads import PICTURES, form_of, kept_pictures
from hasama.studio.watching import changed, generator_named, inside, run_named

LARGEST_PHOTO, STEPS_MOST = 200 * 2**20, 10_000
SHOWN = 1024
"""Pixels of the longer side of a picture that is shown: whoever sent it has it larger."""


def explore(studio: Studio, request: Request) -> Response:
    """Sliders over a generator."""
    name, which = request.query_params.get("run", ""), request.query_params.get("which", "")
    run = run_named(studio.root, name)
    job, old = _begun_at(studio, request, run), False
    if job is not None:  # it lies where it does for this generator alone
        which = job.about["which"]
        old = changed(generator_named(run, which)) != job.about["changed"]
    about = studio.explorer.about(run, which, None if job is None else _tensors(job))
    values = {"run": name, "projected": job.id if job else "", "old": old, "endings": ",".join(PICTURES)}
    return studio.page(request, "explore.html", **values, **about)


def generated(studio: Studio, request: Request) -> Response:
    """One of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    job = _begun_at(studio, request, run)
    meant = "printed" if "large" in request.query_params else "kept" if "keep" in request.query_params else "seen"
    query = ({} if job is None else {"which": job.about["which"]}) | dict(request.query_params)
    made = studio.explorer.picture(run, query, None if job is None else _tensors(job), meant)
    return Response(made, media_type="image/png")


def likeliest(studio: Studio, request: Request) -> Response:
    """The seed of a picture that looks real, of some from the given one on."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    return JSONResponse({"seed": studio.explorer.likeliest(run, request.query_params)})


def walk(studio: Studio, request: Request) -> Response:
    """A film that walks through some of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    film = studio.explorer.walk(run, request.query_params)
    return Response(film, media_type="video/mp4", headers={"content-disposition": 'attachment; filename="walk.mp4"'})


async def project(studio: Studio, request: Request) -> Response:
    """Find what the generator can make of a picture that is sent: a child searches.

    Raises:
        HasamaError: there is no such run, it has no such generator, or no picture was sent that can be read.
    """
    form = await form_of(request, LARGEST_PHOTO)
    name, which, steps = (
        str(form.get(key, usual)) for key, usual in (("run", ""), ("which", "last"), ("steps", "300"))
    )
    generator = generator_named(run_named(studio.root, name), which)
    if not (steps.isascii() and steps.isdigit() and len(steps) < 9 and 0 < int(steps) <= STEPS_MOST):
        raise HasamaError(f"Steps are a number from 1 to {STEPS_MOST}.")
    photos = await kept_pictures(form.getlist("photo")[:1], studio.uploads)
    if not photos:
        raise HasamaError("Choose a picture.")
    photo = photos[0]
    out = photo.parent / fitting_name(photo.stem, "-projected.png", SPARE)
    words = ["project", str(generator), str(photo), "--steps", steps, "--out", str(out)]
    job = studio.jobs.add(words, run=name, which=which, changed=changed(generator), out=str(out))
    return back_to(f"/projection?job={job.id}")


def projection(studio: Studio, request: Request) -> Response:
    """How far the search is; at the end the picture beside what the generator makes of it."""
    studio.jobs.turn()
    job = _project_job(studio, request.query_params.get("job", ""))
    there = Path(job.about["out"]).is_file() and _tensors(job).is_file()
    return studio.page(request, "projection.html", job=job, run=job.about["run"], there=there)


def projected_picture(studio: Studio, request: Request) -> Response:
    """The picture, its projection and their difference, side by side."""
    job = _project_job(studio, request.query_params.get("job", ""))
    return file_of_ours(Path(job.about["out"]), "image/png")


def _project_job(studio: Studio, name: str) -> Job:
    job = studio.jobs.get(name)
    if job is None or job.words[0] != "project":
        raise HasamaError("There is no such projection.")
    return job


def _begun_at(studio: Studio, request: Request, run: Run) -> Job | None:
    """The projection that a page begins at, of this run; None: it begins at a seed."""
    name = request.query_params.get("projected", "")
    job = _project_job(studio, name) if name else None
    if job is not None and inside(studio.root, job.about["run"]) != run.folder:
        raise HasamaError("This projection is another training's.")
    return job


def _tensors(job: Job) -> Path:
    """The file with the w that it found."""
    return tensors_beside(Path(job.about["out"]))


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
