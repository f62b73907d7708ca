"""What all pages share: the studio they belong to, their words, and how one is answered."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from hasama.errors import HasamaError
from hasama.names import at_home, shortened
from hasama.studio.jobs import Jobs
from hasama.studio.uploads import gone_if_refused
from hasama.studio.words import Words, languages, wanted
from hasama.version import __version__

if TYPE_CHECKING:
    from hasama.studio.experiments import Experiments
    from hasama.studio.exploring import Explorer
    from hasama.studio.ring import Rings
    from hasama.style.painters.live import Live

TEMPLATES = Path(__file__).parents[1] / "templates"
LANGUAGE = "hasama-language"

Endpoint = Callable[["Studio", Request], Awaitable[Response] | Response]


class Studio:
    """Everything that the pages work on.

    Args:
        root: the folder of runs.
    """

    def __init__(self, root: Path) -> None:
        self.root = at_home(root).resolve()
        self.own = self.root / ".studio"
        self.uploads, self.paintings = self.own / "uploads", self.root / "paintings"
        self.taught = self.root / "taught"
        self.jobs = Jobs(self.own / "jobs")
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self.templates.filters["url"] = quoted
        self.templates.filters["short"] = short

    @cached_property
    def explorer(self) -> "Explorer":
        """The generators that are looked at."""
        from hasama.studio.exploring import Explorer  # memory: torch comes with it, and not before it is needed

        return Explorer()

    @cached_property
    def rings(self) -> "Rings":
        """The games in the plane."""
        from hasama.studio.ring import Rings  # memory: likewise

        return Rings()

    @cached_property
    def experiments(self) -> "Experiments":
        """Those of the lessons."""
        from hasama.studio.experiments import Experiments  # memory: likewise

        return Experiments()

    @cached_property
    def live(self) -> "Live":
        """What paints pictures of cameras."""
        from hasama.style.painters.live import Live  # memory: likewise

        return Live()

    def words(self, request: Request) -> Words:
        """In the visitor's language."""
        return Words(wanted(request.cookies.get(LANGUAGE), request.headers.get("accept-language", "")))

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page from its template."""
        words, query = self.words(request), request.url.query
        address = request.url.path + (f"?{query}" if query else "")
        shared = {
            "t": words, "language": words.language, "languages": languages(), "version": __version__,
            "here": request.url.path, "address": address if request.method == "GET" else "/",
            "clock": clock,
        }  # fmt: skip
        text = self.templates.get_template(template).render(**shared, **values)
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status)  # names may be no UTF-8


def quoted(text: object) -> str:
    """As a part of an address."""
    return quote(str(text), safe="", errors="surrogateescape")


def short(number: float | None, digits: int = 4) -> str:
    """12345.6 -> 12350: so many digits and never an exponent, as `short` of watching.js has it; None: a dash."""
    if number is None:
        return "–"
    told = f"{float(f'{number:.{digits}g}'):.12f}"
    return told.rstrip("0").rstrip(".")


def clock(seconds: float | None) -> str:
    """3725 -> 1:02:05"""
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def answering(studio: Studio, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose errors are told: as a page, or as JSON below /api/."""

    async def answer(request: Request) -> Response:
        try:
            if inspect.iscoroutinefunction(endpoint):
                with gone_if_refused():
                    return await endpoint(studio, request)
            made = await asyncio.to_thread(endpoint, studio, request)
            assert isinstance(made, Response)
            tag = made.headers.get("etag")
            if tag and tag == request.headers.get("if-none-match"):  # the browser has it
                return Response(None, 304, {"etag": tag, "cache-control": made.headers["cache-control"]})
            return made
        except (HasamaError, OSError) as error:
            message = str(error) if isinstance(error, HasamaError) else _of_the_disk(error)
            if request.url.path.startswith("/api/"):
                return JSONResponse({"error": message}, 422)
            return studio.page(request, "error.html", 422, message=message)

    return answer


def _of_the_disk(error: OSError) -> str:
    place = f" at {shortened(str(error.filename))}" if error.filename else ""
    return f"There can be nothing{place}: {error.strerror or error}."


def file_of_ours(place: Path, kind: str, name: str | None = None) -> Response:
    """A file that the studio or a run has made, under a fixed type.

    Raises:
        HasamaError: it is not there.
    """
    if not place.is_file():
        raise HasamaError("There is no such file.")
    headers = {"cache-control": "private, no-cache"}
    return FileResponse(place, media_type=kind, filename=name, headers=headers, stat_result=place.stat())


def back_to(place: str) -> RedirectResponse:
    """After a form: to a page."""
    return RedirectResponse(place, 303)
