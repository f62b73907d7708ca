"""Teaching on disk: a painter is taught in its folder, and goes on there after any kill."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hasama.device import keep_memory, pick_device
from hasama.distributed import agreed, begin_alike, check_divisible, is_first, team, told_by_first
from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.names import at_home
from hasama.networks.calling import evaluating
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.images import grid, save_picture
from hasama.pictures.tensors import to_pixels
from hasama.shapes import Images
from hasama.style.canvas.pictures import Picture, in_space_of, to_canvas
from hasama.style.jobs.job import StyleSource, open_styles
from hasama.style.painters.painter import mix_of
from hasama.style.painters.painter_file import save_painter
from hasama.style.painters.recipe import TeachRecipe
from hasama.style.painters.scenes import AT_MOST, Photos, Scenes
from hasama.style.painters.teach_folder import TeachFolder
from hasama.style.painters.teaching import Crops, Lesson, School, teach
from hasama.style.painting import Machine
from hasama.style.recipe import StyleRecipe
from hasama.style.subject import network_for
from hasama.tensor_files import load_state, save_state

SAVE_SECONDS, PREVIEW_SECONDS, LOG_SECONDS = 60.0, 20.0, 5.0
SHOWN = 3
"""Photos in the preview."""

SKIPPED_TOLD = 5
"""Photos that are named where some cannot be read."""


def teach_into(
    folder: TeachFolder,
    paintings: Sequence[Path],
    photos: Path | None,
    recipe: TeachRecipe,
    machine: Machine = Machine(),  # noqa: B008 (immutable)
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Lesson]:
    """Teach a painter in a folder, or go on where it stands, to the same painter.

    Args:
        folder: where.
        paintings: one or several.
        photos: a folder of them, or one; None for made-up scenes.
        recipe: how.
        machine: with what.
        stop: asked after every step; True saves and ends.

    Raises:
        HasamaError: a picture cannot be read, the folder holds something else, or several processes cannot share the
            batch.
    """
    keep_memory()
    device = pick_device(machine.device)
    styles = [style.picture for style in open_styles([StyleSource(path) for path in paintings])]
    crops: Crops = Scenes(recipe.crop) if photos is None else Photos(photos, recipe.crop)
    sources = {
        "paintings": [_mark(path) for path in paintings],
        "photos": None if photos is None else str(photos.resolve()),
    }
    weights = None if machine.weights is None else str(machine.weights.resolve())
    places = {"paintings": [str(at_home(path).resolve()) for path in paintings], "weights": weights}
    check_divisible(recipe.batch)
    network = _network(recipe, machine, device)
    with folder.held() if is_first() else nullcontext():
        if is_first():
            recipe = folder.begin(recipe, sources, places)
        recipe = TeachRecipe(**told_by_first(recipe.to_dict))
        school = School([_at_size(style, recipe.style_size) for style in styles], network, recipe, device)
        if is_first() and folder.goes_on(folder.painter):
            saved = _saved(folder)
            if team().world == 1 and machine.threads is None:  # several have the threads that they were given
                torch.set_num_threads(saved["threads"])
            school.load_state_dict(saved["school"])
        begin_alike(school)
        names = [path.stem for path in paintings]
        if not is_first():
            yield from _beside(school, crops, stop)
            return
        notice = _skipped(crops)
        for lesson in _watched(folder, school, crops, names, stop):
            yield lesson._replace(notice=notice)
            notice = ""


def _beside(school: School, crops: Crops, stop: Callable[[], bool]) -> Iterator[Lesson]:
    """The steps in a process that is not the first of several: it writes nothing."""
    for lesson in teach(school, crops):
        yield lesson
        if agreed(stop()):
            break


def _saved(folder: TeachFolder) -> dict[str, Any]:
    """What going on needs.

    Raises:
        HasamaError: it is damaged.
    """
    try:
        return load_state(folder.state)
    except Exception as error:  # a damaged zip or pickle raises nearly everything
        raise HasamaError(f"{folder.state} is damaged: begin again with another --out.") from error


def _skipped(crops: Crops) -> str:
    """Which photos are not practised on."""
    if not isinstance(crops, Photos):
        return ""
    told, skipped = [], crops.skipped
    if crops.listed > AT_MOST:
        told.append(f"Of {crops.listed:,} photos {AT_MOST:,} are practised on, from all over the folder.")
    if skipped:
        more = f" and {len(skipped) - SKIPPED_TOLD} more" if len(skipped) > SKIPPED_TOLD else ""
        told.append(f"Left out, for they cannot be read: {'; '.join(skipped[:SKIPPED_TOLD])}{more}.")
    return " ".join(told)


def _watched(
    folder: TeachFolder, school: School, crops: Crops, names: list[str], stop: Callable[[], bool]
) -> Iterator[Lesson]:
    """The steps, with all that is written beside them: of the first one at once, for whoever watches."""
    saved, previewed, logged = time.monotonic(), -math.inf, -math.inf
    before = school.images_seen
    folder.cut_log(before)
    ends = before >= 1000 * school.recipe.kimg  # perhaps killed between the last state and its painter
    if before and (ends or not folder.painter.exists()):
        save_painter(school.painter, names, folder.painter, folder.mark())
    sample = crops.crops(SHOWN, torch.Generator().manual_seed(school.recipe.seed % 2**63))
    kept = None
    try:
        for lesson in teach(school, crops):
            kept, now = lesson, time.monotonic()
            if folder.is_gone():
                folder.restore()
                _save(folder, school, names)
                raise HasamaError(
                    f"{folder.folder} was deleted or moved while it was taught in. What was learnt is saved there: "
                    "to go on, give the same command again."
                )
            last = lesson.images_seen >= lesson.total
            if now - logged > LOG_SECONDS or last:
                speed = round((lesson.images_seen - before) / (now - logged), 3)  # of the first step none is known
                folder.add_to_log({"images_seen": lesson.images_seen, **lesson.losses, "images_per_second": speed})
                logged, before = now, lesson.images_seen
            if now - previewed > PREVIEW_SECONDS or last:
                _show(folder, school, sample)
                previewed = now
            if now - saved > SAVE_SECONDS or last:
                _save(folder, school, names)
                saved = now
            yield lesson
            if agreed(stop() or folder.stop_file.exists()):
                break
    except GeneratorExit:
        _end(folder, school, names, sample, kept, before)
        raise
    _end(folder, school, names, sample, kept, before)  # but not where a step broke off, by a second Ctrl-C, say


def _end(
    folder: TeachFolder, school: School, names: list[str], sample: Images, kept: Lesson | None, logged: int
) -> None:
    if kept is None:
        return
    if logged < kept.images_seen:
        folder.add_to_log({"images_seen": kept.images_seen, **kept.losses})
    _save(folder, school, names)
    _show(folder, school, sample)


def _save(folder: TeachFolder, school: School, names: list[str]) -> None:
    state = {"images_seen": school.images_seen, "threads": torch.get_num_threads(), "school": school.state_dict()}
    save_state(folder.state, state)
    save_painter(school.painter, names, folder.painter, folder.mark())
    lines = folder.log()
    if len(lines) > 1:
        _plot(lines, folder.loss_plot)


@torch.no_grad()
def _show(folder: TeachFolder, school: School, sample: Images) -> None:
    """A row of photos, and a row of paintings for each style."""
    painter, rows = school.painter, [sample]
    with evaluating(painter):
        for number in range(painter.styles):
            mix = mix_of([float(number == other) for other in range(painter.styles)]).to(school.device)
            rows.append(painter(sample.to(school.device), mix.expand(len(sample), -1)).cpu())
    save_picture(grid(np.concatenate([to_pixels(row) for row in rows]), len(sample)), folder.preview)


def _plot(lines: list[dict[str, Any]], place: Path) -> None:
    from matplotlib.figure import Figure  # start-up time

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("style", "content", "identity", "tv"):
        points = [(line["images_seen"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes.set(xlabel="crops seen", ylabel="weighted loss", yscale="log")
    axes.legend()
    with replacing(place) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _network(recipe: TeachRecipe, machine: Machine, device: torch.device) -> VGG:
    layers = StyleRecipe(content_layers=recipe.content_layers, style_layers=recipe.style_layers)
    return network_for(layers, load_weights(machine.weights), device)


def _at_size(picture: Picture, shorter: int) -> Images:
    picture = in_space_of(picture, None)  # photos are practised on in sRGB
    height, width = picture.size
    factor = min(1.0, shorter / min(height, width))
    return to_canvas(picture, max(1, round(height * factor)), max(1, round(width * factor)))


def _mark(path: Path) -> list[str]:
    """A painting's name and the sum of its bytes."""
    return [path.name, hashlib.sha256(at_home(path).read_bytes()).hexdigest()[:32]]
