"""The page that paints what a camera sees, picture by picture, by a taught network in this process."""

import asyncio
import io

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from hasama.errors import HasamaError
from hasama.pictures.opening import open_picture, peek_at
from hasama.studio.pages.page import Studio
from hasama.studio.pages.teach import known_networks, network_named
from hasama.studio.uploads import bounded

LARGEST_FRAME, LARGEST_SIDE = 4 * 2**20, 4096
"""Bytes and pixels of a frame; the page sends far less."""
WIDTHS = (128, 256, 384)
USUAL_WIDTH = 256
FORMATS = ("JPEG", "PNG")
QUALITY = 88


def choose(studio: Studio, request: Request) -> Response:
    """The camera beside what is painted of it."""
    networks = known_networks(studio)
    wish = request.query_params.get("network", "")
    return studio.page(
        request, "camera.html", networks=networks, network=wish, widths=WIDTHS, usual_width=USUAL_WIDTH
    )


async def frame(studio: Studio, request: Request) -> Response:
    """One picture of a camera, JPEG or PNG, painted: a JPEG."""
    body = await bounded(request, LARGEST_FRAME).body()
    return await asyncio.to_thread(_painted, studio, request, body)


def _painted(studio: Studio, request: Request, body: bytes) -> Response:
    query = request.query_params
    file = network_named(studio, query.get("network", ""))
    try:
        width, strength = int(query.get("width", str(USUAL_WIDTH))), float(query.get("strength", "1"))
    except ValueError:
        raise HasamaError("Width and strength are numbers.") from None
    if width not in WIDTHS or not 0 <= strength <= 1:
        raise HasamaError(f"The width is one of {', '.join(map(str, WIDTHS))}, and the strength is from 0 to 1.")
    seen = _decoded(body, width)
    out = io.BytesIO()
    studio.live.paint(file, query.get("camera", "")[:64], seen, strength).save(out, "JPEG", quality=QUALITY)
    return Response(out.getvalue(), media_type="image/jpeg")


def _decoded(body: bytes, width: int) -> Image.Image:
    """A frame as RGB, so many pixels wide at most.

    Raises:
        HasamaError: it is no JPEG or PNG, broken, or larger than any camera's.
    """
    try:
        head = peek_at(io.BytesIO(body))
        if head.format not in FORMATS:
            raise HasamaError(f"it is neither {' nor '.join(FORMATS)}")
        if max(head.size) > LARGEST_SIDE:
            raise HasamaError(f"it is larger than any camera's ({LARGEST_SIDE} pixels a side at most)")
        picture = open_picture(io.BytesIO(body), about=width).convert("RGB")
    except HasamaError as error:
        raise HasamaError(f"This frame cannot be painted: {error}.") from error
    if picture.width <= width:
        return picture
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BILINEAR)
