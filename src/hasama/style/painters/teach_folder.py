"""A folder in which a painter is taught: what it is about, its log, its state, a preview; nothing about teaching.

teach.json           the recipe, the paintings and the photos, and where they were
log.jsonl            a line for every logged step
state.pt             everything to go on
painter.safetensors  the painter so far: what people share
preview.png          photos, and how they are painted so far
loss.png             the losses
stop                 whoever writes this file asks it to stop

This module does not import torch, so that the studio can look at many folders at once.
"""

import filecmp
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hasama.errors import HasamaError, TakenOverError
from hasama.files import (
    cannot_write,
    identity_of,
    is_locked,
    make_folder,
    read_json,
    remove_leftovers,
    replacing,
    was_replaced,
    write_json,
)
from hasama.options import flags_of
from hasama.style.painters.painter_header import teaching_of
from hasama.style.painters.recipe import BEFORE_THEY_WERE, TEACH_DEFAULTS, TeachRecipe
from hasama.version import __version__

FREE = ("kimg",)
"""Fields that may be changed when it goes on."""
FOLDER_ENDING, FILE_ENDING = ".teaching", ".safetensors"
"""Of the folder, and of the painter's file beside it."""
LOCK = ".lock"


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
        self.lock: tuple[int, int] | None = None
        self.begun: dict[str, Any] = {}

    def exists(self) -> bool:
        """Whether something is taught, or was, in this folder."""
        try:
            return self.about.is_file()
        except OSError:  # no disk takes such a name
            return False

    def begin(self, recipe: TeachRecipe, sources: dict[str, Any], places: dict[str, Any]) -> TeachRecipe:
        """Describe what is taught, or check that it was begun by the same command; in a folder that is `held`.

        Args:
            recipe: how to teach.
            sources: what decides what is learnt: the paintings' marks, and the photos.
            places: where the files are, for `command`; they may be elsewhere the next time.

        Returns:
            The recipe, with the longer of both lengths.

        Raises:
            HasamaError: it was begun by another command.
        """
        if self.about.exists():
            own = read_json(self.about, "description of a teaching")
            before = self._recipe_of(own)
            same = all(own.get(key, "") == value for key, value in sources.items())
            others = [name for name in TEACH_DEFAULTS if getattr(before, name) != getattr(recipe, name)]
            another = not same or any(name not in FREE for name in others)
            if another and (self.state.exists() or self.painter.exists()):
                raise HasamaError(
                    f"{self.folder} was begun with other paintings, photos or settings: choose another --out."
                )
            recipe = recipe if another or recipe.kimg > before.kimg else before
        self.begun = {"version": __version__, "recipe": recipe.to_dict(), **sources, "places": places}
        write_json(self.about, self.begun)
        return recipe

    def is_gone(self) -> bool:
        """Whether the folder that was begun was deleted or moved.

        Raises:
            TakenOverError: another process teaches in its place.
        """
        if was_replaced(self.folder / LOCK, self.lock):
            raise TakenOverError(f"{self.folder} was deleted or moved; another painter is taught in its place.")
        return bool(self.begun) and not self.about.exists()

    def restore(self) -> None:
        """Make a folder that is gone anew, fit for what is to be saved."""
        write_json(self.about, self.begun)

    def recipe(self) -> TeachRecipe:
        """How it is taught.

        Raises:
            HasamaError: there is nothing, or it is damaged.
        """
        return self._recipe_of(read_json(self.about, "description of a teaching"))

    def mark(self) -> str | None:
        """What makes this teaching this one, however long it goes on: a painter's file says from which it comes.

        Raises:
            HasamaError: what it is about is damaged.
        """
        if not self.exists():
            return None
        own = read_json(self.about, "description of a teaching")
        recipe = {name: value for name, value in self._recipe_of(own).to_dict().items() if name not in FREE}
        told = json.dumps([recipe, own.get("paintings"), own.get("photos")], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def goes_on(self, painter: Path) -> bool:
        """Whether something was saved.

        Args:
            painter: a file that a new beginning would replace.

        Raises:
            HasamaError: nothing was, but the painter is there.
        """
        if painter.exists() and not self.state.exists():
            raise HasamaError(
                f"{self.state}, which going on needs, is gone; {painter} is what was learnt. To teach anew, choose "
                "another --out."
            )
        return self.state.exists()

    def check_place(self, out: Path) -> None:
        """Before any work: is the place of the painter's file free, or is there what this teaching has put there?

        Raises:
            HasamaError: there is something else, which would be lost.
        """
        if not out.exists():
            return
        if not self.exists():
            raise HasamaError(
                f"{out} is there already, and {self.folder}, in which it would have been taught, is not: move it, or "
                "choose another --out."
            )
        self.goes_on(out)
        with suppress(OSError):  # one of them cannot be read
            if filecmp.cmp(out, self.painter, shallow=False):
                return
        if teaching_of(out) != self.mark():
            raise HasamaError(f"{out} is not what was taught in {self.folder}: move it, or choose another --out.")

    def _recipe_of(self, own: Any) -> TeachRecipe:
        try:
            return TeachRecipe(**{**TEACH_DEFAULTS, **BEFORE_THEY_WERE, **own["recipe"]})
        except (TypeError, KeyError, HasamaError) as error:
            raise HasamaError(f"{self.about} is damaged: {error}") from error

    def command(self, **changes: Any) -> list[str]:
        """What `hasama` is told to go on, perhaps longer.

        Args:
            changes: fields of the recipe that may change.

        Raises:
            HasamaError: it was begun by a version that did not note where the paintings were, or is damaged.
        """
        own = read_json(self.about, "description of a teaching")
        fields = {**self._recipe_of(own).to_dict(), **changes}
        try:
            places, photos = own["places"], own["photos"]
            paths = [*map(str, places["paintings"]), *([] if photos is None else [str(photos)])]
            weights = places["weights"]
        except (TypeError, KeyError):
            raise HasamaError(
                f"{self.folder} does not say where its paintings are: go on by the command that began it."
            ) from None
        told = flags_of({name: value for name, value in fields.items() if value != TEACH_DEFAULTS[name]})
        out = ["--out", str(self.folder.with_suffix(FILE_ENDING))]
        return ["teach", *paths, *told, *([] if weights is None else ["--weights", str(weights)]), *out]

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

    def cut_log(self, images_seen: int) -> None:
        """Forget what was logged after so many crops: the state that goes on knows nothing of it."""
        if self.log_file.exists():
            kept = [line for line in self.log() if line["images_seen"] <= images_seen]
            with replacing(self.log_file) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def add_to_log(self, line: dict[str, Any]) -> None:
        """One line more, at once, so that whoever watches sees it.

        Raises:
            HasamaError: it cannot be written.
        """
        try:
            with self.log_file.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(line) + "\n")
        except OSError as error:
            raise cannot_write(self.log_file, error) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep it to this process.

        Raises:
            HasamaError: another process teaches in it, it holds something else, or it cannot be made.
        """
        if not self.about.exists() and self.folder.exists() and any(at.name != LOCK for at in self.folder.iterdir()):
            raise HasamaError(f"{self.folder} holds other files: choose another --out.")
        make_folder(self.folder)
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=1)  # `is_held` of another process may have it for an instant
        except Timeout:
            raise HasamaError(f"{self.folder} is being taught by another process.") from None
        try:
            self.lock = identity_of(self.folder / LOCK)
            remove_leftovers(self.folder)
            self.stop_file.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a process teaches in this folder now."""
        return self.exists() and is_locked(self.folder / LOCK)  # asking the lock would make the folder

    def stop(self) -> None:
        """Ask the process that teaches to save and stop at its next step. Raises HasamaError if it cannot."""
        try:
            self.stop_file.touch()
        except OSError as error:
            raise cannot_write(self.stop_file, error) from error


def teach_folder_of(place: Path) -> TeachFolder:
    """The folder in which a painter is taught, by its own name or by that of the painter's file beside it."""
    return TeachFolder(place.with_suffix(FOLDER_ENDING) if place.suffix.lower() == FILE_ENDING else place)


def find_teach_folders(root: Path) -> list[TeachFolder]:
    """Those in a folder and its sub-folders, newest first; none where there is no such folder."""
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if "teach.json" in files:
            found.append(TeachFolder(Path(place)))
        if "teach.json" in files or "recipe.json" in files:  # nothing is taught inside of these
            folders.clear()
    return sorted(found, key=lambda one: one.about.stat().st_mtime, reverse=True)
