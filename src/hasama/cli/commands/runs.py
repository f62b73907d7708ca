"""hasama images, runs, stop, doctor, recipes: list and inspect what there is."""

import json as as_json
from pathlib import Path

from hasama.cli.arguments import name_of
from hasama.cli.flags import plain
from hasama.errors import HasamaError
from hasama.names import SPARE, check_name, fitting_name
from hasama.options import flag
from hasama.presets import DEFAULT, PRESETS
from hasama.recipe import Recipe
from hasama.style.recipe import STYLE_PRESETS


def images(
    source: str,
    /,
    *,
    size: str = "64",
    fit: str = "crop",
    colour: str = "auto",
    labels: bool = False,
    only: str = "",
    out: Path | None = None,
) -> int:
    """Read pictures as training would: report what is there, and save a preview grid.

    Parameters
    ----------
    source
        A folder, a zip or tar, an .npz, one picture, or a built-in name.
    size
        64, or WIDTHxHEIGHT such as 64x96.
    fit
        crop, pad or stretch.
    colour
        auto, grey, rgb or rgba.
    labels
        Also read the classes.
    only
        Read these classes only: their names, with commas between.
    out
        The preview grid. Default: SOURCE-preview.png here.
    """
    from hasama.cli.progress import watch_download, watch_scan
    from hasama.cli.terminal import say

    form = Recipe(size=size, fit=fit, colour=colour, labels=labels, only=only)  # pyright: ignore[reportArgumentType]
    out = out or _preview_place(source)

    import numpy as np

    from hasama.pictures.cache import Reading
    from hasama.pictures.decoding import Form
    from hasama.pictures.images import grid, picture_format, save_picture
    from hasama.pictures.sources.sources import download_first

    check_name(out)
    picture_format(out)
    watch_download(download_first(source))
    reading = Reading(source, Form.of(form))
    watch_scan(reading.scan())
    pictures = reading.pictures()
    shown = np.random.default_rng(0).permutation(len(pictures))[:64]
    save_picture(grid(pictures.take(np.sort(shown))), out)
    say(f"{pictures.report.text()}\n  preview     {out}")
    for warning in pictures.report.warnings():
        say(warning, "yellow")
    return 0


def _preview_place(source: str) -> Path:
    """Here; or beside the source where here is inside of it, or the preview would be one of its pictures."""
    name, folder = fitting_name(name_of(source), "-preview.png", SPARE), Path(source).expanduser().resolve()
    inside = folder.is_dir() and Path.cwd().is_relative_to(folder)
    return folder.parent / name if inside else Path(name)


def runs(folder: Path = Path("runs"), /) -> int:
    """List the runs in a folder, and how far they are.

    Parameters
    ----------
    folder
        Where to look, sub-folders included.
    """
    from hasama.cli.tables import run_table
    from hasama.cli.terminal import say
    from hasama.runs.folder import find_runs

    found = find_runs(folder)
    if not found:
        say(f"There are no runs in {folder}.")
    else:
        run_table(found)
    return 0


def stop(run: Path, /) -> int:
    """Ask the process that trains a run, wherever it was started, to save and stop.

    Parameters
    ----------
    run
        The run's folder.
    """
    from hasama.cli.terminal import say
    from hasama.runs.folder import Run

    place = Run(run)
    place.recipe()
    if not place.is_held():
        raise HasamaError(f"Nobody is training {run}.")
    place.stop()
    say(f"Asked {run} to stop. To go on later:  {place.how_to_go_on()}")
    return 0


def recipes() -> int:
    """List the presets, what each changes, and the bases to begin with."""
    from hasama.cli.terminal import say
    from hasama.runs.bases import about_base, base_names

    for command, presets in (("train SOURCE", PRESETS), ("style CONTENT STYLE --recipe", STYLE_PRESETS)):
        say(f"hasama {command} ...", "bold")
        longest = max(map(len, presets))
        for name, differences in presets.items():
            told = "  ".join(f"{flag(field)} {plain(value)}" for field, value in differences.items())
            usual = "  (taken where none is named)" if name == DEFAULT else ""
            say(f"  {name:{longest}}  {told or '(the defaults)'}{usual}")
    for number, name in enumerate(base_names()):
        if number == 0:
            say("bases, for hasama sample NAME, and to begin with by --init-from NAME", "bold")
        about = about_base(name)
        say(f"  {name:10}  {about['kimg']:g} kimg of {about['pictures']} ({about['licence']})")
    return 0


def doctor(run: Path, /, *, json: bool = False, html: Path | None = None) -> int:
    """Say whether a training, finished or running, is healthy, and what to do if not.

    Parameters
    ----------
    run
        The run's folder.
    json
        Print the findings and signals as JSON.
    html
        Also write a page with plots, evidence and the latest samples, such as report.html.
    """
    from hasama.cli.terminal import say
    from hasama.errors import HasamaError
    from hasama.runs.folder import Run
    from hasama.runs.reports.diagnosis import as_text, diagnose
    from hasama.runs.reports.diagnosis_page import save_page

    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise HasamaError(f"--html takes a name such as report.html; got {html}.")
    diagnosis = diagnose(Run(run))
    if html is not None:
        save_page(diagnosis, html)
    if json:
        say(as_json.dumps(diagnosis.to_dict(), indent=2))
        return 0
    say(as_text(diagnosis))
    if html is not None:
        say(f"\nThe page: {html}")
    return 0
