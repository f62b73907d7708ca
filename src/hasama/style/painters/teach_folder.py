"""A folder in which a painter is taught: what it is about, its log, its state, a preview; it goes on after any kill.

teach.json           the recipe, the paintings and the photos
log.jsonl            a line for every logged step
state.pt             everything to go on
painter.safetensors  the painter so far: what people share
preview.png          photos, and how they are painted so far
loss.png             the losses
stop                 whoever writes this file asks it to stop
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from hasama.device import keep_memory, pick_device
from hasama.errors import HasamaError
from hasama.files import cannot_write, read_json, replacing, write_json
from hasama.networks.calling import evaluating
from hasama.perception.vgg import VGG
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.images import grid, save_picture
from hasama.pictures.tensors import to_pixels
from hasama.shapes import Images
from hasama.style.canvas.pictures import Picture, to_canvas
from hasama.style.jobs.job import StyleSource, open_styles
from hasama.style.painters.painter import mix_of
from hasama.style.painters.painter_file import save_painter
from hasama.style.painters.recipe import TEACH_DEFAULTS, TeachRecipe
from hasama.style.painters.scenes import Photos, Scenes
from hasama.style.painters.teaching import Crops, Lesson, School, teach
from hasama.style.painting import Machine
from hasama.style.recipe import StyleRecipe
from hasama.style.subject import network_for
from hasama.version import __version__

SAVE_SECONDS, PREVIEW_SECONDS, LOG_SECONDS = 60.0, 20.0, 5.0
SHOWN = 3
"""Photos in the preview."""
FREE = ("kimg",)
"""Fields that may be changed when it goes on."""


class TeachFolder:
    """The folder. Making the object touches nothing.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about, self.log_file, self.state = folder / "teach.json", folder / "log.jsonl", folder / "state.pt"
        self.painter, self.preview = folder / "painter.safetensors", folder / "preview.png"
        self.loss_plot, self.stop_file = folder / "loss.png", folder / "stop"

    def saved(self) -> dict[str, Any]:
        """What going on needs.

        Raises:
            HasamaError: it is damaged.
        """
        try:
            return torch.load(self.state, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged zip or pickle raises nearly everything
            raise HasamaError(f"{self.state} is damaged: begin again with another --out.") from error

    def begin(self, recipe: TeachRecipe, sources: dict[str, Any]) -> TeachRecipe:
        """Make the folder, or check that it was begun by the same command.

        Returns:
            The recipe, with the longer of both lengths.

        Raises:
            HasamaError: it holds something else.
        """
        told = {"version": __version__, "recipe": recipe.to_dict(), **sources}
        if self.about.exists():
            own = read_json(self.about, "description of a teaching")
            try:
                before = TeachRecipe(**{**TEACH_DEFAULTS, **own["recipe"]})
                same = {key: own[key] for key in sources} == sources
            except (TypeError, KeyError, HasamaError) as error:
                raise HasamaError(f"{self.about} is damaged: {error}") from error
            others = [name for name in TEACH_DEFAULTS if getattr(before, name) != getattr(recipe, name)]
            if not same or [name for name in others if name not in FREE]:
                raise HasamaError(
                    f"{self.folder} was begun with other paintings, photos or settings: choose another --out."
                )
            if recipe.kimg <= before.kimg:
                return before
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise HasamaError(f"{self.folder} holds other files: choose another --out.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        write_json(self.about, told)
        return recipe

    def log(self) -> list[dict[str, Any]]:
        """All whole lines of the log."""
        found = []
        if self.log_file.exists():
            for line in self.log_file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:  # cut off by a kill
                    continue
        return found


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
        HasamaError: a picture cannot be read, or the folder holds something else.
    """
    keep_memory()
    device = pick_device(machine.device)
    styles = [style.picture for style in open_styles([StyleSource(path) for path in paintings])]
    crops: Crops = Scenes(recipe.crop) if photos is None else Photos(photos, recipe.crop)
    sources = {
        "paintings": [_mark(path) for path in paintings],
        "photos": None if photos is None else str(photos.resolve()),
    }
    recipe = folder.begin(recipe, sources)
    lock = FileLock(folder.folder / ".lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        raise HasamaError(f"{folder.folder} is being taught by another process.") from None
    try:
        folder.stop_file.unlink(missing_ok=True)
        network = _network(recipe, machine, device)
        school = School([_at_size(style, recipe.style_size) for style in styles], network, recipe, device)
        if folder.state.exists():
            saved = folder.saved()
            torch.set_num_threads(saved["threads"])
            school.load_state_dict(saved["school"])
        names = [path.stem for path in paintings]
        notice = _skipped(crops)
        for lesson in _watched(folder, school, crops, names, stop):
            yield lesson._replace(notice=notice)
            notice = ""
    finally:
        lock.release()


def _skipped(crops: Crops) -> str:
    """Which photos could not be read."""
    skipped = crops.skipped if isinstance(crops, Photos) else []
    if not skipped:
        return ""
    more = f" and {len(skipped) - SKIPPED_TOLD} more" if len(skipped) > SKIPPED_TOLD else ""
    return f"Left out, for they cannot be read: {'; '.join(skipped[:SKIPPED_TOLD])}{more}."


def _watched(
    folder: TeachFolder, school: School, crops: Crops, names: list[str], stop: Callable[[], bool]
) -> Iterator[Lesson]:
    """The steps, with all that is written beside them."""
    saved = previewed = logged = time.monotonic()
    lines = [line for line in folder.log() if line["images_seen"] <= school.images_seen]
    sample = crops.crops(SHOWN, torch.Generator().manual_seed(school.recipe.seed % 2**63))
    kept = None
    try:
        for lesson in teach(school, crops):
            kept, now = lesson, time.monotonic()
            last = lesson.images_seen >= lesson.total
            if now - logged > LOG_SECONDS or last:
                lines.append({"images_seen": lesson.images_seen, **lesson.losses})
                logged = now
            if now - previewed > PREVIEW_SECONDS or last:
                _show(folder, school, sample)
                previewed = now
            if now - saved > SAVE_SECONDS or last:
                _save(folder, school, names, lines)
                saved = now
            yield lesson
            if stop() or folder.stop_file.exists():
                break
    finally:
        if kept is not None:
            _save(folder, school, names, lines)
            _show(folder, school, sample)


def _save(folder: TeachFolder, school: School, names: list[str], lines: list[dict[str, Any]]) -> None:
    with replacing(folder.log_file) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    save_painter(school.painter, names, folder.painter)
    state = {"images_seen": school.images_seen, "threads": torch.get_num_threads(), "school": school.state_dict()}
    with replacing(folder.state) as temporary:
        torch.save(state, temporary)
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
    height, width = picture.size
    factor = min(1.0, shorter / min(height, width))
    return to_canvas(picture, max(1, round(height * factor)), max(1, round(width * factor)))


def _mark(path: Path) -> list[str]:
    """A painting's name and the sum of its bytes."""
    return [path.name, hashlib.sha256(path.expanduser().read_bytes()).hexdigest()[:32]]
