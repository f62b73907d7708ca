"""The pages that teach a network to paint: choose paintings and photos, watch, stop, go on, take it along."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasama.errors import HasamaError
from hasama.names import at_home
from hasama.options import flags_of
from hasama.pictures.opening import why
from hasama.pictures.sources.sources import open_source
from hasama.studio.forms import fields_of, filled_in
from hasama.studio.jobs import Job
from hasama.studio.pages.page import Studio, back_to, file_of_ours, quoted
from hasama.studio.uploads import PICTURES, check_alone, check_one_way, form_of, kept, kept_pictures
from hasama.studio.watching import curves_in, inside, last_lines, speed_of
from hasama.style.painters.painter_header import is_painter
from hasama.style.painters.recipe import TEACH_GROUPS, TeachRecipe
from hasama.style.painters.teach_folder import FILE_ENDING, FOLDER_ENDING, TeachFolder, find_teach_folders

PAINTINGS_MOST = 32
SMALL_FORM = 2**20
CURVES = ("style", "content", "identity", "tv")
TITLES_MOST = 80
"""Characters of several paintings' names that become the network's."""


# --- what is there ----------------------------------------------------------------------------------


def known_networks(studio: Studio) -> dict[str, Path]:
    """{name: file} of all taught networks: of teach folders, of files beside them, and of those that were sent."""
    found: dict[str, Path] = {}
    lone = [*studio.root.glob("*" + FILE_ENDING), *studio.taught.glob("*" + FILE_ENDING)]
    sent = studio.uploads.glob("*/*" + FILE_ENDING)
    for file in (*(one.painter for one in _folders(studio)), *sorted(lone), *sorted(sent, reverse=True)):
        if is_painter(file) and file.resolve().is_relative_to(studio.root):  # no link leads elsewhere
            found.setdefault(name_of(studio, file), file)
    return found


def network_named(studio: Studio, name: str) -> Path:
    """A taught network's file by its name in `known_networks`.

    Raises:
        HasamaError: there is none.
    """
    for ending in (f"{FOLDER_ENDING}/painter.safetensors", FILE_ENDING):
        with suppress(HasamaError):
            if is_painter(file := inside(studio.root, name + ending)):
                return file
    raise HasamaError("There is no taught network of that name.")


def title_of(file: Path) -> str:
    """What a network, or any other style, is called: of the file in a teach folder, the folder's name."""
    return file.parent.stem if file.parent.suffix == FOLDER_ENDING else file.stem


def _folders(studio: Studio) -> list[TeachFolder]:
    """All that the command made; under another ending nothing can go on."""
    return [one for one in find_teach_folders(studio.root) if one.folder.suffix == FOLDER_ENDING]


def name_of(studio: Studio, place: Path) -> str:
    """What a network is called in addresses: its path below the root, without its ending.

    Args:
        studio: whose root.
        place: the network's file, or a teach folder.
    """
    place = place.parent if place.parent.suffix == FOLDER_ENDING else place
    if not place.is_relative_to(studio.root):  # the root was moved since
        return place.stem
    return place.relative_to(studio.root).with_suffix("").as_posix()


def choose(studio: Studio, request: Request) -> Response:
    """What to learn from and how; below, what was taught before."""
    studio.jobs.turn()
    values = {
        "groups": fields_of(TeachRecipe(), TEACH_GROUPS), "endings": ",".join(PICTURES),
        "photo_endings": ",".join((*PICTURES, ".zip")),
        "taught": [_told(studio, name_of(studio, one.folder)) for one in _folders(studio)],
    }  # fmt: skip
    return studio.page(request, "teach.html", **values)


def _told(studio: Studio, name: str) -> dict[str, Any]:
    """`_state`; of a folder that is broken, what is wrong with it."""
    try:
        return _state(studio, name)
    except HasamaError as error:
        return {"name": name, "status": "broken", "said": str(error)}


def _state(studio: Studio, name: str) -> dict[str, Any]:
    """What there is to say of a teaching now.

    Raises:
        HasamaError: there is none of that name, or it is damaged.
    """
    folder, job = _folder_named(studio, name), _job_of(studio, name)
    if not folder.exists() and job is not None:
        return {"name": name, "status": job.state, "images_seen": 0, "total": 0, "done": 0.0, "said": _failure(job),
                "images_per_second": None, "seconds_left": None, "preview": "0", "network": False}  # fmt: skip
    lines, total = last_lines(folder.log_file), folder.recipe().images
    seen, speed = lines[-1]["images_seen"] if lines else 0, speed_of(lines)
    held = folder.is_held() or (job is not None and job.state == "running")
    failed = job is not None and not held and job.failed_last(folder.log_file, folder.state, folder.painter)
    stopping = folder.stop_file.exists() or (job is not None and job.about.get("stopping"))
    if held:
        status = "stopping" if stopping else "running"
    elif job is not None and job.state == "waiting":
        status = job.state
    else:
        status = "finished" if seen >= total else "failed" if failed else "paused"
    preview = folder.preview.stat().st_mtime_ns if folder.preview.is_file() else 0
    return {
        "name": name, "status": status, "images_seen": seen, "total": total, "done": min(1.0, seen / total),
        "images_per_second": speed, "seconds_left": max(0, total - seen) / speed if speed and held else None,
        "preview": str(preview), "network": folder.painter.is_file(),
        "said": _failure(job) if failed else "",
    }  # fmt: skip


def _folder_named(studio: Studio, name: str) -> TeachFolder:
    """It is there, or a job will make it."""
    folder = TeachFolder(inside(studio.root, name + FOLDER_ENDING))
    if not folder.exists() and _job_of(studio, name) is None:
        raise HasamaError("Nothing is taught under that name.")
    return folder


def _job_of(studio: Studio, name: str) -> Job | None:
    return studio.jobs.of_place(studio.root / (name + FOLDER_ENDING))


def _failure(job: Job | None) -> str:
    return job.said()[-2000:] if job is not None and job.state == "failed" else ""


# --- begin ------------------------------------------------------------------------------------------


async def start(studio: Studio, request: Request) -> Response:
    """Begin to teach, or put it into the queue."""
    form = await form_of(request)
    recipe = TeachRecipe()
    changes = filled_in({str(key): value for key, value in form.items()}, recipe)
    TeachRecipe(**{**recipe.to_dict(), **changes})  # what is wrong is told now
    check_one_way(form.getlist("photos"), str(form.get("source", "")).strip())
    paintings = await _paintings(studio, form)
    photos = await _photos(studio, form)
    wish = Path(str(form.get("name", "")).strip()).name.lstrip(".")
    stem = wish or "+".join(one.stem for one in paintings)[:TITLES_MOST]
    out = studio.jobs.free_place(studio.taught, stem, FILE_ENDING, FOLDER_ENDING)
    words = ["teach", *map(str, paintings), *([] if photos is None else [str(photos)]), *flags_of(changes)]
    begun = studio.jobs.add([*words, "--out", str(out)], place=str(out.with_suffix(FOLDER_ENDING)), out=str(out))
    return back_to(_address(name_of(studio, Path(begun.about["out"]))))


async def _paintings(studio: Studio, form: FormData) -> list[Path]:
    """Those that were sent, each of which is a picture."""
    found = await kept_pictures(form.getlist("paintings"), studio.uploads)
    if not found:
        raise HasamaError("Choose a painting to learn from.")
    if len(found) > PAINTINGS_MOST:
        raise HasamaError(f"At most {PAINTINGS_MOST} paintings in one network.")
    return found


async def _photos(studio: Studio, form: FormData) -> Path | None:
    """A folder or zip of photos, of this machine or sent; None: scenes are made up."""
    source = str(form.get("source", "")).strip()
    if source:
        place = at_home(source)
        if not place.is_dir() and not (place.suffix.lower() == ".zip" and place.is_file()):
            raise HasamaError(f"There is no folder or zip {source} on this machine.")
    else:
        files = form.getlist("photos")
        check_alone(files, ".zip", "Send one zip of photos, or the photos themselves.")
        sent = await kept(files, studio.uploads, (*PICTURES, ".zip"))
        if sent is None:
            return None
        place = sent.parent if sent.suffix.lower() in PICTURES else sent  # a photo alone would be a painting
    named = source or (place.name if place.suffix == ".zip" else "what was sent")
    await asyncio.to_thread(_check_photos, place, named)
    return place


def _check_photos(place: Path, named: str) -> None:
    """Is there a photo in it that can be read?

    Raises:
        HasamaError: there is none.
    """
    try:
        entries = [one for one in open_source(str(place)).entries if Path(one.name).suffix.lower() in PICTURES]
    except HasamaError as error:
        raise HasamaError(str(error).replace(str(place), named)) from error
    if not entries:
        raise HasamaError(f"There are no photos in {named}.")
    wrong = ""
    for entry in entries:
        try:
            entry.open()
        except Exception as error:  # archives that are broken raise nearly everything, too
            wrong = f"{entry.name}: {why(error)}"
        else:
            return
    raise HasamaError(f"No photo in {named} can be read: {wrong}.")


# --- watch ------------------------------------------------------------------------------------------


def watch(studio: Studio, request: Request) -> Response:
    """One network while it is taught."""
    studio.jobs.turn()
    name = request.query_params.get("name", "")
    return studio.page(request, "taught.html", name=name, title=Path(name).name, state=_state(studio, name))


def state(studio: Studio, request: Request) -> Response:
    """What the page over it needs again and again."""
    studio.jobs.turn()
    name = request.query_params.get("name", "")
    curves = curves_in(_folder_named(studio, name).log_file, CURVES)
    return JSONResponse(_state(studio, name) | {"curves": curves})


def preview(studio: Studio, request: Request) -> Response:
    """Photos, and how they are painted so far."""
    answer = file_of_ours(_folder_named(studio, request.query_params.get("name", "")).preview, "image/png")
    answer.headers["cache-control"] = "no-store"
    return answer


def take_along(studio: Studio, request: Request) -> Response:
    """The network as a file."""
    name = request.query_params.get("name", "")
    answer = file_of_ours(network_named(studio, name), "application/octet-stream", Path(name).name + FILE_ENDING)
    answer.headers["cache-control"] = "no-store"
    return answer


async def stop(studio: Studio, request: Request) -> Response:
    """Save and stop, or take it back if it waits."""
    name = str((await form_of(request, SMALL_FORM)).get("name", ""))
    folder, job = _folder_named(studio, name), _job_of(studio, name)
    if job is not None and job.state in ("waiting", "running"):
        studio.jobs.stop(job)
    elif folder.is_held():  # by a terminal
        folder.stop()
    return back_to(_address(name))


async def resume(studio: Studio, request: Request) -> Response:
    """Go on, longer if a length is given."""
    form = await form_of(request, SMALL_FORM)
    name, length = str(form.get("name", "")), str(form.get("kimg", "")).strip()
    folder, job = _folder_named(studio, name), _job_of(studio, name)
    if folder.is_held() or (job is not None and job.state in ("waiting", "running")):
        raise HasamaError("This network is being taught already.")
    if not folder.exists() and job is not None:
        words = job.words + (["--kimg", length] if length else [])  # it was taken back before it began
    else:
        words = folder.command(**filled_in({"kimg": length, "shown": "kimg"}, folder.recipe()) if length else {})
    studio.jobs.add(words, place=str(folder.folder), out=str(folder.folder.with_suffix(FILE_ENDING)))
    return back_to(_address(name))


def _address(name: str) -> str:
    return f"/taught?name={quoted(name)}"
