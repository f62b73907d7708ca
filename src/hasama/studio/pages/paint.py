"""The pages that paint: content, styles and masks are sent, a child paints, and the page shows how far it is."""

from pathlib import Path

from PIL import Image
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.names import preview_beside
from hasama.options import flags_of
from hasama.studio.forms import Field, fields_of, filled_in
from hasama.studio.jobs import Job
from hasama.studio.pages.explore import one_file
from hasama.studio.pages.page import Studio, back_to, file_of_ours
from hasama.studio.pages.teach import known_networks, name_of, network_named, title_of
from hasama.studio.uploads import PICTURES, check_one_way, form_of, kept, kept_pictures
from hasama.studio.watching import all_runs, run_named
from hasama.style.painters.painter_header import is_painter, styles_of
from hasama.style.painters.recipe import PAINTING_FIELDS, check_painting_fields
from hasama.style.painters.teach_folder import FILE_ENDING
from hasama.style.recipe import (
    IDLE_AT_ONCE,
    LARGEST_SIDE,
    STYLE_GROUPS,
    STYLE_RECIPES,
    parse_mix,
    style_recipe_named,
)

LARGEST_UPLOAD = 512 * 2**20
STYLES_MOST = 6
LARGER = 2
BY_PLACE = ("rotations", "canvas_share")
"""Fields that mean nothing for other recipes than neighbour."""
TAUGHT = "taught"
"""A way of painting beside the recipes: a taught network paints, and has its styles in itself."""


def choose(studio: Studio, request: Request) -> Response:
    """What to paint, and how; below, what was painted before."""
    studio.jobs.turn()
    again = _painted(studio, request.query_params.get("again", ""))
    recipe = request.query_params.get("recipe", "best")
    networks = known_networks(studio) if recipe == TAUGHT else {}
    before = again.about["styles"] if again else []
    wish = request.query_params.get("network") or next((n for n, file in networks.items() if str(file) in before), "")
    values = {
        "groups": {} if recipe == TAUGHT else _fields(recipe), "recipe": recipe, "recipes": [*STYLE_RECIPES, TAUGHT],
        "history": _history(studio), "runs": [run["name"] for run in all_runs(studio.root) if run.get("generator")],
        "networks": networks, "network": wish, "endings": ",".join(PICTURES), "again": again,
        "pictured": {job.id for job in _history(studio) if _shown(job)},
    }  # fmt: skip
    return studio.page(request, "paint.html", **values)


def _fields(recipe: str) -> dict[str, list[Field]]:
    """Those that mean something for a recipe, by group."""
    chosen = style_recipe_named(recipe)
    idle = BY_PLACE if not chosen.by_place else ()
    idle += (*IDLE_AT_ONCE, "start", "optimizer", "style_layers", *STYLE_GROUPS["Films"]) if chosen.at_once else ()
    return {
        group: shown
        for group, members in fields_of(chosen, STYLE_GROUPS).items()
        if (shown := [one for one in members if one.name not in idle])
    }


def _history(studio: Studio) -> list[Job]:
    return [job for job in studio.jobs.all() if job.lane == "style"][:60]


async def start(studio: Studio, request: Request) -> Response:
    """Begin a painting."""
    form = await form_of(request, LARGEST_UPLOAD)
    content = await _content(studio, form)
    recipe = str(form.get("recipe", "best"))
    styles = await (_network(studio, form) if recipe == TAUGHT else _styles(studio, form))
    given = {str(key): value for key, value in form.items()}
    if recipe == TAUGHT:
        base = style_recipe_named("instant")
        given = {name: value for name in PAINTING_FIELDS if (value := given.get(name))}
        changes = {name: getattr(base, name) for name in given} | filled_in({**given, "shown": ",".join(given)}, base)
    else:
        base = style_recipe_named(recipe)
        changes = filled_in(given, base)
    base.but(**changes)  # what is wrong is told now
    if recipe == TAUGHT:
        check_painting_fields(changes)
    words = ["style", str(content), *map(str, styles), *flags_of(changes)]
    if recipe != TAUGHT:
        words += ["--recipe", recipe, "--preview", *await _masks(studio, form, len(styles))]
    if mix := str(form.get("mix", "")).strip():
        parse_mix(mix, len(styles_of(styles[0]) if recipe == TAUGHT else styles), some=recipe == TAUGHT)
        words += ["--mix", mix]
    return back_to(f"/painting?job={_begun(studio, words, content, list(map(str, styles)), recipe).id}")


async def _network(studio: Studio, form: FormData) -> list[Path]:
    """A taught network that is known, or that was sent."""
    sent = await kept(form.getlist("network_file"), studio.uploads, (FILE_ENDING,))
    if sent is not None:
        if not is_painter(sent):
            sent.unlink(missing_ok=True)
            raise HasamaError(f"{sent.name} is no network that hasama teach made.")
        return [sent]
    if name := str(form.get("network", "")):
        return [network_named(studio, name)]
    raise HasamaError("Choose a taught network to paint with.")


async def _content(studio: Studio, form: FormData) -> Path:
    name = str(form.get("run", ""))
    check_one_way(form.getlist("content"), name)
    if name:
        return run_named(studio.root, name).folder
    sent = await kept_pictures(form.getlist("content")[:1], studio.uploads)
    if sent:
        return sent[0]
    if job := _painted(studio, str(form.get("again", ""))):
        return Path(job.about["content"])
    raise HasamaError("Choose a picture to paint.")


async def _styles(studio: Studio, form: FormData) -> list[Path]:
    found = await kept_pictures(form.getlist("styles"), studio.uploads)
    job = _painted(studio, str(form.get("again", "")))
    if not found and job is not None and job.about["recipe"] != TAUGHT:
        return [Path(style) for style in job.about["styles"]]
    if not found:
        raise HasamaError("Choose a painting to take the style from.")
    if len(found) > STYLES_MOST:
        raise HasamaError(f"At most {STYLES_MOST} styles at once.")
    return found


async def _masks(studio: Studio, form: FormData, styles: int) -> list[str]:
    """What was drawn in the page: a mask for each style, or none at all."""
    found = [
        await kept_pictures(form.getlist(f"mask{number}")[:1], studio.uploads, (".png",)) for number in range(styles)
    ]
    if not any(found):
        return []
    return [word for mask in found for word in ("--where", str(mask[0]) if mask else "none")]


def _begun(studio: Studio, words: list[str], content: Path, styles: list[str], recipe: str) -> Job:
    name = "+".join(title_of(Path(style)) for style in styles)
    out = studio.jobs.free_place(studio.paintings, f"{content.stem}--{name}", ".png")
    about = {"content": str(content), "styles": styles, "out": str(out), "recipe": recipe}
    return studio.jobs.add([*words, "--out", str(out)], **about)


def painting(studio: Studio, request: Request) -> Response:
    """One painting: how far it is, before and after."""
    studio.jobs.turn()
    job = painting_job(studio, request)
    taught = name_of(studio, Path(job.about["styles"][0])) if job.about["recipe"] == TAUGHT else None
    return studio.page(
        request, "painting.html", job=job, larger=_larger_size(job), is_run=_is_run(job), there=_shown(job),
        taught=taught, goes_on=_goes_on(studio, job),
    )  # fmt: skip


def painting_job(studio: Studio, request: Request) -> Job:
    """The painting that is asked for.

    Raises:
        HasamaError: there is none of that name.
    """
    job = _painted(studio, request.query_params.get("job", ""))
    if job is None:
        raise HasamaError("There is no such painting.")
    return job


def _painted(studio: Studio, name: str) -> Job | None:
    job = studio.jobs.get(name)
    return job if job is not None and job.lane == "style" else None


def _is_run(job: Job) -> bool:
    return Path(job.about["content"]).is_dir()


def progress(studio: Studio, request: Request) -> Response:
    """What the page over a painting needs again and again."""
    studio.jobs.turn()
    job = painting_job(studio, request)
    shown = _shown(job)
    lines = [line for line in job.said().splitlines() if line.strip()]
    return JSONResponse({
        "state": job.state, "said": lines[-1] if lines else "", "picture": shown is not None,
        "changed": shown.stat().st_mtime_ns if shown else 0,
    })  # fmt: skip


def _shown(job: Job) -> Path | None:
    """The painting, or what there is of it."""
    out = Path(job.about["out"])
    for place in (out, preview_beside(out)):
        if place.is_file():
            return place
    return None


def picture(studio: Studio, request: Request) -> Response:
    """The painting or what there is of it; the content; or a style, by its number."""
    job, which = painting_job(studio, request), request.query_params.get("which", "painting")
    if which == "content":
        return one_file(Path(job.about["content"]))
    if which in map(str, range(len(job.about["styles"]))):
        return one_file(Path(job.about["styles"][int(which)]))
    place = _shown(job)
    if place is None:
        raise HasamaError("There is nothing to see yet.")
    name = place.name if "keep" in request.query_params else None
    answer = file_of_ours(place, "image/png", name)
    answer.headers["cache-control"] = "no-store"
    return answer


def _larger_size(job: Job) -> int | None:
    """The longer side of a painting twice as large; None where that cannot be."""
    out = Path(job.about["out"])
    if (
        job.state != "done"
        or not out.is_file()
        or job.about["recipe"] not in (*STYLE_RECIPES, TAUGHT)
        or _is_run(job)
    ):
        return None
    try:
        with Image.open(out) as opened:
            side = LARGER * max(opened.size)
    except (OSError, Image.DecompressionBombError):  # so large already
        return None
    return side if side <= LARGEST_SIDE else None


def _goes_on(studio: Studio, job: Job) -> bool:
    """Whether a painting was broken off, and nothing else paints it by now."""
    out = job.about["out"]
    busy = any(one.about.get("out") == out and one.state in ("waiting", "running") for one in studio.jobs.all())
    return job.state in ("stopped", "failed") and not busy and not _is_run(job) and not Path(out).is_file()


async def go_on(studio: Studio, request: Request) -> Response:
    """Paint on where a painting was broken off: the same words, and the same place."""
    form = await form_of(request, 2**20)
    job = _painted(studio, str(form.get("job", "")))
    if job is None or not _goes_on(studio, job):
        raise HasamaError("This painting cannot be gone on with.")
    about = {name: job.about[name] for name in ("content", "styles", "out", "recipe")}
    return back_to(f"/painting?job={studio.jobs.add(job.words, **about).id}")


async def go_on_larger(studio: Studio, request: Request) -> Response:
    """The same painting twice as large, begun with what was painted."""
    form = await form_of(request, 2**20)
    job = _painted(studio, str(form.get("job", "")))
    if job is None or (side := _larger_size(job)) is None:
        raise HasamaError("This painting cannot be made larger.")
    instant = job.about["recipe"] in ("instant", TAUGHT)
    of_scales = () if instant else ("--start-noise", "--iterations")  # there will be but one, begun with the painting
    words = _without(job.words, ("--size", "--out", "--start", "--smallest", *of_scales))
    begun = [] if instant else ["--start", job.about["out"], "--smallest", str(side)]
    about = job.about
    words += ["--size", str(side), *begun]
    made = _begun(studio, words, Path(about["content"]), about["styles"], about["recipe"])
    return back_to(f"/painting?job={made.id}")


def _without(words: list[str], flags: tuple[str, ...]) -> list[str]:
    found, skip = [], False
    for word in words:
        if not skip and word not in flags:
            found.append(word)
        skip = word in flags
    return found
