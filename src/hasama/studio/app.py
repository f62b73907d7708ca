"""The studio as an application: its addresses, and who may use them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hasama.studio.pages import camera, explore, learn, paint, ring, teach, train, watch
from hasama.studio.pages.page import LANGUAGE, Studio, answering, back_to
from hasama.studio.security import COOKIE, Guard, Tries
from hasama.studio.uploads import form_of
from hasama.studio.words import languages

STATIC = Path(__file__).parent / "static"

PAGES = {
    "/": watch.home,
    "/watch": watch.watch,
    "/sample.png": watch.sample,
    "/loss.png": watch.plot,
    "/recipe.json": watch.recipe_file,
    "/run.zip": watch.take_along,
    "/api/state": watch.state,
    "/api/health": watch.health,
    "/train": train.choose,
    "/train/proposal": train.proposal,
    "/train/preview.png": train.preview,
    "/job": train.job_page,
    "/explore": explore.explore,
    "/generated.png": explore.generated,
    "/api/likeliest": explore.likeliest,
    "/walk.mp4": explore.walk,
    "/projection": explore.projection,
    "/projected.png": explore.projected_picture,
    "/paint": paint.choose,
    "/painting": paint.painting,
    "/painting.png": paint.picture,
    "/api/painting": paint.progress,
    "/teach": teach.choose,
    "/taught": teach.watch,
    "/taught/preview.png": teach.preview,
    "/taught/network.safetensors": teach.take_along,
    "/api/taught": teach.state,
    "/camera": camera.choose,
    "/ring": ring.ring,
    "/learn": learn.learn,
    "/learn/lesson": learn.lesson,
    "/learn/quiz": learn.quiz_page,
    "/learn/growing.png": learn.growing,
    "/learn/shuffled.png": learn.shuffled,
    "/api/distances": learn.distances,
    "/api/dirac": learn.dirac,
}
FORMS = {
    "/watch/stop": watch.stop,
    "/watch/resume": watch.resume,
    "/watch/remedy": watch.remedy,
    "/train/look": train.look,
    "/train/start": train.start,
    "/job/stop": train.stop_job,
    "/explore/project": explore.project,
    "/paint/start": paint.start,
    "/paint/larger": paint.go_on_larger,
    "/paint/resume": paint.go_on,
    "/teach/start": teach.start,
    "/teach/stop": teach.stop,
    "/teach/resume": teach.resume,
    "/api/camera": camera.frame,
    "/api/ring": ring.step,
}


def make_studio(root: Path, hosts: list[str], token: str, password: str | None = None) -> Starlette:
    """The studio over a folder of runs.

    Args:
        root: the folder.
        hosts: names with ports that it goes by.
        token: lets scripts in.
        password: None: none is needed.
    """
    studio = Studio(root)

    async def wrong(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        message = studio.words(request)("not_found") if code == 404 else str(getattr(error, "detail", error))
        if request.url.path.startswith("/api/"):
            return PlainTextResponse(message, code)
        return studio.page(request, "error.html", code, message=message)

    routes: list[Any] = [Route(path, answering(studio, page)) for path, page in PAGES.items()]
    routes += [Route(path, answering(studio, page), methods=["POST"]) for path, page in FORMS.items()]
    routes += [
        Route("/language", answering(studio, _language)),
        Route("/login", _login(studio), methods=["GET", "POST"]),
        Route("/static/plotly.js", _plotly),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    guard = Middleware(Guard, hosts=hosts, token=token, password=password)
    app = Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: wrong})
    app.state.studio = studio
    return app


def _language(studio: Studio, request: Request) -> Response:
    """Remember a language, and go back."""
    wish, back = request.query_params.get("to", ""), request.query_params.get("back", "/")
    answer = back_to(back if _is_here(back) else "/")
    if wish in languages():
        answer.set_cookie(LANGUAGE, wish, max_age=365 * 86400, samesite="strict", httponly=True)
    return answer


def _is_here(address: str) -> bool:
    """Whether it is a path, and names no other machine."""
    try:
        return address.startswith("/") and not (urlsplit(address).netloc or address.startswith(("//", "/\\")))
    except ValueError:
        return False


def _login(studio: Studio) -> Any:
    tries = Tries()

    async def answer(request: Request) -> Response:
        guard = request.scope["hasama.guard"]
        if request.method == "GET":
            return studio.page(request, "login.html", wrong=False)
        if tries.too_many():
            raise HTTPException(429, studio.words(request)("too_many_passwords"))
        form = await form_of(request, 2**16)
        if not guard.is_password(str(form.get("password", ""))):
            tries.add()
            return studio.page(request, "login.html", 403, wrong=True)
        answer = back_to("/")
        answer.set_cookie(COOKIE, guard.session, samesite="strict", httponly=True)
        return answer

    return answer


def _plotly(request: Request) -> Response:
    """The library that draws curves, as its package carries it."""
    spec = find_spec("plotly")
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        if (file := Path(place) / "package_data" / "plotly.min.js").is_file():
            return FileResponse(file, media_type="text/javascript", headers={"cache-control": "max-age=86400"})
    return PlainTextResponse("The package plotly is not installed.", 404)
