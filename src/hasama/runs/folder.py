"""The run folder: what every file in it is, and nothing about training.

recipe.json            everything that decides how the run goes, with the version that wrote it
images.json            where the images came from, how many, what was skipped and why
log.jsonl              one line per logged step
samples/000120000.png  a grid from fixed latents, named by images seen
loss.png               the losses
health.jsonl           findings on the training's health, as they are made
autopilot.json         with --autopilot: the recipe that was asked for, and what was done to it, when and why
healthy/000120000.pt   with --autopilot: states to go back to
autopilot/             with --autopilot: the log, and perhaps the checkpoint, of what was given up
game.pt                everything to resume
generator.safetensors  the EMA generator: what people share
best.safetensors       the EMA generator as it was when its quality was best, which its header tells
look.safetensors       what its pictures look like to a frozen network, since `sample --best-of` first asked
inherited.json         with --init-from: which weights were taken over, and which began afresh
small/                 with --small-kimg: the run of the stage of half the size
enlarger.safetensors   with --enlarge: what enlarges the small pictures, fine-tuned on the run's
enlarging.pt           with --enlarge: to go on with its training
error.json             what broke off the last session, if something did: for `hasama report`
stop                   whoever writes this file asks the run to stop
"""

import itertools
import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from hasama.errors import HasamaError
from hasama.fields import BEFORE_THEY_WERE, new_names
from hasama.files import cannot_write, is_locked, read_json, remove_leftovers, write_json
from hasama.names import at_home, fitting_name
from hasama.recipe import Recipe
from hasama.runs.lines import append_line, cut_lines, read_lines
from hasama.version import __version__

if TYPE_CHECKING:
    from hasama.pictures.report import Report
    from hasama.training.game import Game


def free_name(folder: Path, taken: Collection[Path] = ()) -> Path:
    """The folder itself if there is none yet; else the first of FOLDER-2, FOLDER-3, ... that is not, nor is taken."""
    numbered = (folder.with_name(fitting_name(folder.name, f"-{number}")) for number in itertools.count(2))
    return next(at for at in itertools.chain([folder], numbered) if at not in taken and not at.exists())


class Run:
    """A run folder. Making the object touches nothing; `create` makes the folder.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = at_home(folder)
        self.checkpoint = self.folder / "game.pt"
        self.generator = self.folder / "generator.safetensors"
        self.best = self.folder / "best.safetensors"
        self.enlarger = self.folder / "enlarger.safetensors"
        self.enlarging = self.folder / "enlarging.pt"
        self.samples = self.folder / "samples"
        self.log_file = self.folder / "log.jsonl"
        self.loss_plot = self.folder / "loss.png"
        self.health_file = self.folder / "health.jsonl"
        self.autopilot_file = self.folder / "autopilot.json"
        self.stop_file = self.folder / "stop"
        self.inherited = self.folder / "inherited.json"
        self._recipe_file = self.folder / "recipe.json"
        self.images_file, self.lock_file = self.folder / "images.json", self.folder / ".lock"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    # --- beginning

    def exists(self) -> bool:
        """Whether this folder holds a run."""
        return self._recipe_file.is_file()

    def create(self, recipe: Recipe, report: "Report", source: str) -> None:
        """Make the folder and write what the run is about.

        Raises:
            HasamaError: the folder holds something else, or cannot be written to.
        """
        self.check_free()
        self.save_images(report, source)
        self.save_recipe(recipe)

    def check_free(self) -> None:
        """Before any work: is this a place where a new run can be?

        Raises:
            HasamaError: it is a file, holds something else, or cannot be written to.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise HasamaError(f"{self.folder} is a file; --out takes a folder for the run.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in self.folder.iterdir() if not _is_ours(path.name)]
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if others:
            raise HasamaError(f"{self.folder} holds other files ({', '.join(others[:3])}): choose another --out.")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run to this process.

        Raises:
            HasamaError: another process is training it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.lock_file)
            lock.acquire(timeout=1)  # `is_held` of another process may have it for an instant
        except Timeout:
            raise HasamaError(
                f"{self.folder} is being trained by another process; wait for it, or stop it."
            ) from None
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        try:
            remove_leftovers(self.folder, idle=3600)  # another command may be writing a film here
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a process is training this run now."""
        return is_locked(self.lock_file)

    # --- what it is about

    def saved_generator(self) -> Path:
        """The file `generator`, once it is written.

        Raises:
            HasamaError: there is no run here, it is damaged, or it has saved no generator yet.
        """
        when = f"every {self.recipe().checkpoint_minutes:g} minutes and at the end"
        if not self.generator.exists():
            half = f" {small} is one of half the size." if (small := self.small().generator).exists() else ""
            resume = f" hasama resume {shlex.quote(str(self.folder))} writes it." if self.checkpoint.exists() else ""
            raise HasamaError(f"{self.folder} has no generator yet: it is saved {when}.{half}{resume}")
        return self.generator

    def recipe(self) -> Recipe:
        """The recipe it was started with.

        Raises:
            HasamaError: there is no run here, or its recipe is damaged or of a version that knew other fields.
        """
        if not self.exists():
            raise HasamaError(f"There is no run at {self.folder} (no recipe.json).")
        written = read_json(self._recipe_file, "recipe")
        try:
            return Recipe.from_dict(BEFORE_THEY_WERE | new_names(written["recipe"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise HasamaError(f"The recipe {self._recipe_file} is damaged: it holds no recipe.") from error
        except HasamaError as error:
            told = f"written by Hasama {written.get('version', 'unknown')} (this is {__version__})"
            raise HasamaError(f"Cannot use {self._recipe_file}, {told}: {error}") from error

    def save_recipe(self, recipe: Recipe) -> None:
        """Write the recipe, as when a run is made longer."""
        write_json(self._recipe_file, {"version": __version__, "recipe": recipe.to_dict()})

    def save_images(self, report: "Report", source: str) -> None:
        """Write where the pictures are, and what the scan found."""
        write_json(self.images_file, {"name": source, **asdict(report)})

    def small(self) -> "Run":
        """The run of the stage of half the size, which a run with --small-kimg begins with."""
        return Run(self.folder / "small")

    def stage(self) -> "Run":
        """The run whose files show how far it is: that of half the size until this one logs; else itself."""
        small = self.small()
        return small if small.exists() and not self.log_file.exists() else self

    def is_done(self) -> bool:
        """Whether it has the length that its recipe asks for. Raises HasamaError if it is damaged."""
        return self.exists() and self.images_seen() >= self.recipe().images

    def how_to_go_on(self) -> str:
        """The command that resumes it, fit for pasting; of a stage of half the size, the whole run."""
        outer = Run(self.folder.parent)
        going = outer if self.folder.name == "small" and outer.exists() else self
        return f"hasama resume {shlex.quote(str(going.folder))}"

    def images(self) -> dict[str, Any]:
        """What `images.json` says: the scan's report, and the source's name as it was given.

        Raises:
            HasamaError: it is missing or damaged.
        """
        if not self.images_file.exists() and self.exists():
            way_out = f"put a copy back, or begin anew with its weights: --init-from {shlex.quote(str(self.folder))}"
            raise HasamaError(f"{self.images_file} is gone, which says what the run is trained on: {way_out}.")
        images = read_json(self.images_file, "list of images")
        kinds = {"name": str, "key": str, "digest": str, "channels": int, "used": int}
        sound = isinstance(images, dict) and all(isinstance(images.get(k), kind) for k, kind in kinds.items())
        groups = images.get("duplicates", []) if sound else None  # runs of the first versions have none
        if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
            raise HasamaError(f"{self.images_file} is damaged.")
        return images

    def sample_file(self, images_seen: int) -> Path:
        """The sample grid made after so many images."""
        return self.samples / f"{images_seen:09d}.png"

    # --- the log and the findings

    def append_log(self, figures: dict[str, Any]) -> None:
        """Add one line to the log. Raises HasamaError if that is impossible."""
        append_line(self.log_file, figures)

    def log(self) -> list[dict[str, Any]]:
        """All whole lines of the log."""
        return read_lines(self.log_file)

    def append_finding(self, finding: dict[str, Any]) -> None:
        """Add one finding to health.jsonl. Raises HasamaError if that is impossible."""
        append_line(self.health_file, finding)

    def findings(self) -> list[dict[str, Any]]:
        """What was found while training, oldest first: name, severity, images_seen, explanation, ... of each."""
        return [line for line in read_lines(self.health_file) if isinstance(line.get("name"), str)]

    def cut_log(self, images_seen: int) -> None:
        """Delete what was logged and found after the checkpoint to resume from. Raises HasamaError if it cannot."""
        for file in (self.log_file, self.health_file):
            if file.exists() or file is self.log_file:
                cut_lines(file, images_seen)

    # --- the checkpoint

    def save_game(self, game: "Game") -> None:
        """Write everything that resuming needs, atomically.

        Raises:
            HasamaError: no room; the last checkpoint is untouched.
        """
        import torch  # start-up time: `hasama runs` needs no torch

        from hasama.tensor_files import save_state  # the same

        saved = {"version": __version__, "threads": torch.get_num_threads(), "game": game.state_dict()}
        save_state(self.checkpoint, saved, "the checkpoint")

    def load_game(self, game: "Game") -> None:
        """Load the checkpoint into the game; without a checkpoint the game stays at its beginning.

        Raises:
            HasamaError: the checkpoint is damaged or does not fit. It is never executed as code.
        """
        if self.checkpoint.exists():
            game.load_state_dict(self.saved_game())

    def saved_game(self) -> Any:
        """The state of the game in the checkpoint.

        Raises:
            HasamaError: the checkpoint is damaged. It is never executed as code.
        """
        from hasama.tensor_files import load_state  # start-up time: `hasama runs` needs no torch

        try:
            return load_state(self.checkpoint)["game"]
        except Exception as error:  # a damaged zip or pickle raises nearly everything
            raise HasamaError(
                f"The checkpoint {self.checkpoint} is damaged and cannot be read. The generator in "
                f"{self.generator.name} may still be good; to train on, start a new run."
            ) from error

    def images_seen(self) -> int:
        """Where a session would begin: the checkpoint's count; 0 without one, or if it cannot be read."""
        return int(self.peek().get("game", {}).get("images_seen", 0))

    def threads(self) -> int | None:
        """The CPU threads that made the checkpoint; None without one."""
        threads = self.peek().get("threads")
        return threads if type(threads) is int and 1 <= threads <= 1024 else None

    def peek(self) -> dict[str, Any]:
        """The checkpoint, without reading its tensors; empty if it cannot be read, which `load_game` explains."""
        from hasama.tensor_files import peek_state  # start-up time: `hasama runs` needs no torch

        try:
            saved = peek_state(self.checkpoint)
            return saved if isinstance(saved["game"]["images_seen"], int) else {}
        except Exception:
            return {}

    # --- stopping

    def stop_asked(self) -> bool:
        """Whether someone wrote the stop file."""
        return self.stop_file.exists()

    def clear_stop(self) -> None:
        """Take back a stop that was asked for."""
        self.stop_file.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask the process that trains this run to save and stop at its next step. Raises HasamaError if it cannot."""
        try:
            self.stop_file.touch()
        except OSError as error:
            raise cannot_write(self.stop_file, error) from error


def _is_ours(name: str) -> bool:
    """Whether a file may be left by a run that was killed while it was being made."""
    return name == "images.json" or name.startswith(".")


def find_runs(folder: str | Path) -> list[Run]:
    """The runs in a folder, and in its sub-folders, newest first.

    Raises:
        HasamaError: there is no such folder.
    """
    folder = at_home(folder)
    if not folder.is_dir():
        raise HasamaError(f"There is no folder {folder} to look for runs in.")
    found = []
    for place, folders, files in os.walk(folder):
        if "recipe.json" in files:
            found.append(Run(place))
            folders.clear()
    return sorted(found, key=lambda run: run.folder.stat().st_mtime, reverse=True)
