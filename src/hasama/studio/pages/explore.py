"""The pages that explore a generator, and pictures shown by a fixed type whatever they are."""

import io
from pathlib import Path

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from hasama.errors import HasamaError
from hasama.pictures.opening import open_picture
from hasama.studio.pages.page import Studio
from hasama.studio.watching import run_named

SHOWN = 1024
"""Pixels of the longer side of a picture that is shown: whoever sent it has it larger."""


def explore(studio: Studio, request: Request) -> Response:
    """Sliders over a generator."""
    name = request.query_params.get("run", "")
    about = studio.explorer.about(run_named(studio.root, name))
    return studio.page(request, "explore.html", run=name, **about)


def generated(studio: Studio, request: Request) -> Response:
    """One of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    return Response(
        studio.explorer.picture(run, request.query_params, "keep" in request.query_params),
        media_type="image/png",
    )


def walk(studio: Studio, request: Request) -> Response:
    """A film that walks through some of its pictures."""
    run = run_named(studio.root, request.query_params.get("run", ""))
    film = studio.explorer.walk(run, request.query_params)
    return Response(film, media_type="video/mp4", headers={"content-disposition": 'attachment; filename="walk.mp4"'})


def one_file(place: Path) -> Response:
    """A picture that was sent, as a PNG of ours: whatever else its file holds goes no further.

    Raises:
        HasamaError: it is no picture.
    """
    if not place.is_file():
        raise HasamaError("There is no such file.")
    picture = open_picture(place)
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return Response(out.getvalue(), media_type="image/png")
