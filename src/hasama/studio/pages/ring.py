"""The page of the game in the plane."""

import asyncio
import json
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.recipe import Objective, Penalty
from hasama.studio.pages.page import Studio
from hasama.studio.uploads import bounded

LARGEST = 2**17
VERDICTS = ("ring_begins", "ring_fine", "ring_missing", "ring_collapse", "ring_discriminator_wins", "ring_broken")
DATA = ("ring", "grid", "line", "gaussians", "drawn")


def ring(studio: Studio, request: Request) -> Response:
    """The game."""
    return studio.page(request, "ring.html", **choices(studio, request))


def choices(studio: Studio, request: Request, **chosen: Any) -> dict[str, Any]:
    """What the game's controls offer, and how they are set at first."""
    words = studio.words(request)
    verdicts = {key: words(key) for key in VERDICTS}
    offered = {"objectives": get_args(Objective), "kinds": get_args(Penalty), "data": DATA, "verdicts": verdicts}
    return offered | {"chosen": chosen}


async def step(studio: Studio, request: Request) -> Response:
    """Play, and tell how the game stands."""
    try:
        asked = json.loads(await bounded(request, LARGEST).body())
        if not isinstance(asked, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise HasamaError("This is no JSON.") from error
    return JSONResponse(await asyncio.to_thread(lambda: studio.rings.answer(asked)))
