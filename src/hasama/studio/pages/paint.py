"""The pages that paint: content, styles and masks are sent, a child paints, and the page shows how far it is."""

from pathlib import Path

from PIL import Image
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.files import cannot_write
from hasama.names import fitting_name
from hasama.options import flags_of
from hasama.studio.forms import fields_of, filled_in
from hasama.studio.jobs import Job
from hasama.studio.pages.explore import one_file
from hasama.studio.pages.page import Studio, back_to, file_of_ours
from hasama.studio.uploads import PICTURES, form_of, kept
from hasama.studio.watching import all_runs, inside, run_named
from hasama.style.recipe import IDLE_AT_ONCE, LARGEST_SIDE, STYLE_GROUPS, STYLE_RECIPES, style_recipe_named

LARGEST_UPLOAD = 512 * 2**20
STYLES_MOST = 6
LARGER = 2
BY_PLACE = ("rotations", "canvas_share")
"""Fields that mean nothing for other recipes than neighbour."""


def choose(studio: Studio, request: Request) -> Response:
    """What to paint, and how; below, what was painted before."""
    studio.jobs.turn()
    again = studio.jobs.get(request.query_params.get("again", ""))
    recipe = request.query_params.get("recipe", "best")
    chosen = style_recipe_named(recipe)
    idle = BY_PLACE if not chosen.by_place else ()
    idle += (*IDLE_AT_ONCE, "start", "optimizer", "style_layers", *STYLE_GROUPS["Films"]) if chosen.at_once else ()
    groups = {
        group: shown
        for group, members in fields_of(chosen, STYLE_GROUPS).items()
        if (shown := [one for one in members if one.name not in idle])
    }
    values = {
        "groups": groups, "recipe": recipe, "recipes": list(STYLE_RECIPES), "history": _history(studio),
        "runs": [run["name"] for run in all_runs(studio.root) if run.get("generator")],
        "painters": _painters(studio), "endings": ",".join(PICTURES), "again": again,
        "pictured": {job.id for job in _history(studio) if _shown(job)},
    }  # fmt: skip
    return studio.page(request, "paint.html", **values)


def _history(studio: Studio) -> list[Job]:
    return [job for job in studio.jobs.all() if job.lane == "style"][:60]


def _painters(studio: Studio) -> list[str]:
    """Taught painters that lie in the studio's folder."""
    from hasama.style.painters.painter_file import is_painter  # memory: the server has none of it before it is needed

    found = list(studio.root.glob("*.safetensors")) if studio.root.is_dir() else []
    return sorted(file.name for file in found if is_painter(file))


async def start(studio: Studio, request: Request) -> Response:
    """Begin a painting."""
    form = await form_of(request, LARGEST_UPLOAD)
    content = await _content(studio, form)
    styles = await _styles(studio, form)
    words = ["style", str(content), *map(str, styles)]
    painter = styles[0].suffix == ".safetensors"
    recipe = "instant" if painter else str(form.get("recipe", "best"))
    given = {str(key): value for key, value in form.items()}
    changes = filled_in(given, style_recipe_named(recipe))
    if painter:
        changes = {name: value for name, value in changes.items() if name in ("size", "strength", "keep_colour")}
    else:
        words += ["--recipe", recipe, "--preview"]
        style_recipe_named(recipe).but(**changes)  # what is wrong is told now
    words += flags_of(changes) + await _masks(studio, form, len(styles))
    if mix := str(form.get("mix", "")).strip():
        words += ["--mix", mix]
    return back_to(f"/painting?job={_begun(studio, words, content, list(map(str, styles)), recipe).id}")


async def _content(studio: Studio, form: FormData) -> Path:
    if name := str(form.get("run", "")):
        return run_named(studio.root, name).folder
    place = await kept(form.getlist("content"), studio.uploads, PICTURES)
    if place is None and (job := studio.jobs.get(str(form.get("again", "")))):
        place = Path(job.about["content"])
    if place is None:
        raise HasamaError("Choose a picture to paint.")
    return place


async def _styles(studio: Studio, form: FormData) -> list[Path]:
    if name := str(form.get("painter", "")):
        return [inside(studio.root, name)]
    place = await kept(form.getlist("styles"), studio.uploads, PICTURES)
    if place is None and (job := studio.jobs.get(str(form.get("again", "")))):
        return [Path(style) for style in job.about["styles"]]
    if place is None:
        raise HasamaError("Choose a painting to take the style from.")
    found = [place] if place.is_file() else sorted(place.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    if len(found) > STYLES_MOST:
        raise HasamaError(f"At most {STYLES_MOST} styles at once.")
    return found


async def _masks(studio: Studio, form: FormData, styles: int) -> list[str]:
    """What was drawn in the page: a mask for each style, or none at all."""
    found = [await kept(form.getlist(f"mask{number}"), studio.uploads, (".png",)) for number in range(styles)]
    if not any(found):
        return []
    return [word for mask in found for word in ("--where", "none" if mask is None else str(mask))]


def _begun(studio: Studio, words: list[str], content: Path, styles: list[str], recipe: str) -> Job:
    try:
        studio.paintings.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(studio.paintings, error) from error
    name = "+".join(Path(style).stem for style in styles)
    stem = fitting_name(f"{content.stem}--{name}", ".png")
    out = studio.paintings / stem
    number = 2
    promised = {job.about.get("out") for job in studio.jobs.all()}
    while out.exists() or str(out) in promised:
        out = studio.paintings / fitting_name(Path(stem).stem, f"-{number}.png")
        number += 1
    about = {"content": str(content), "styles": styles, "out": str(out), "recipe": recipe}
    return studio.jobs.add([*words, "--out", str(out)], **about)


def painting(studio: Studio, request: Request) -> Response:
    """One painting: how far it is, before and after."""
    studio.jobs.turn()
    job = painting_job(studio, request)
    return studio.page(
        request, "painting.html", job=job, larger=_larger_size(job), is_run=_is_run(job), there=_shown(job)
    )


def painting_job(studio: Studio, request: Request) -> Job:
    """The painting that is asked for.

    Raises:
        HasamaError: there is none of that name.
    """
    job = studio.jobs.get(request.query_params.get("job", ""))
    if job is None or job.lane != "style":
        raise HasamaError("There is no such painting.")
    return job


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
    for place in (out, out.with_name(fitting_name(out.stem, "-preview.png"))):
        if place.is_file():
            return place
    return None


def picture(studio: Studio, request: Request) -> Response:
    """The painting or what there is of it; the content; or a style, by its number."""
    job, which = painting_job(studio, request), request.query_params.get("which", "painting")
    if which == "content":
        return one_file(Path(job.about["content"]))
    if which.isdecimal() and int(which) < len(job.about["styles"]):
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
    if job.state != "done" or not out.is_file() or job.about["recipe"] not in STYLE_RECIPES or _is_run(job):
        return None
    with Image.open(out) as opened:
        side = LARGER * max(opened.size)
    return side if side <= LARGEST_SIDE else None


async def go_on_larger(studio: Studio, request: Request) -> Response:
    """The same painting twice as large, begun with what was painted."""
    form = await form_of(request, 2**20)
    job = studio.jobs.get(str(form.get("job", "")))
    if job is None or job.lane != "style" or (side := _larger_size(job)) is None:
        raise HasamaError("This painting cannot be made larger.")
    words = _without(job.words, ("--size", "--out", "--start", "--smallest"))
    instant = job.about["recipe"] == "instant"
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
