"""hasama runs, stop, doctor, evaluate, recipes: list, inspect and judge what there is."""

import json as as_json
import shlex
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hasama.errors import HasamaError
from hasama.options import flags_of
from hasama.presets import DEFAULT, PRESETS
from hasama.style.recipe import STYLE_PRESETS

if TYPE_CHECKING:
    from rich.table import Table

    from hasama.evaluation.subject import Evaluation, EvaluationProgress
    from hasama.runs.folder import Run


NARROW = 80  # columns of a terminal, below which the words of a table of runs would be broken
BETTER = {"fid": "low", "kid": "low", "precision": "high", "recall": "high", "density": "near 1", "coverage": "high"}


def runs(folder: Path = Path("runs"), /) -> int:
    """List the runs in a folder, and how far they are.

    Parameters
    ----------
    folder
        Where to look, sub-folders included.
    """
    from hasama.cli.terminal import say
    from hasama.runs.folder import find_runs

    found = find_runs(folder)
    if not found:
        say(f"There are no runs in {folder}.")
    else:
        _run_table(found)
    return 0


def _run_table(runs: list["Run"]) -> None:
    """What each run is, how far it is, what it is doing: a table, or a list where there is no room for one."""
    from rich.table import Table
    from rich.text import Text

    from hasama.cli.terminal import console, say

    rows, faults = [], []
    for run in runs:
        try:
            rows.append(_run_row(run))
        except HasamaError as error:
            rows.append([str(run.folder), *6 * "-", "damaged"])
            faults.append(f"{run.folder}: {str(error).splitlines()[0]}")
    headings = ("run", "networks", "pictures", "size", "kimg", "done", "losses", "state")
    if console.width < NARROW:
        for name, *facts in rows:
            say("\n".join([name, *map("  {:9} {}".format, headings[1:], facts)]))
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("kimg", "done") else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for fault in faults:
        say(fault, "yellow")


def _run_row(run: "Run") -> list[str]:
    from hasama.cli.terminal import of_players
    from hasama.health.findings import is_number

    stage = run.stage()
    recipe, source = stage.recipe(), Path(stage.images()["name"]).name
    if stage.checkpoint.exists() and not stage.peek():
        raise HasamaError("The checkpoint is damaged: hasama resume says more.")
    log, held, small = stage.log(), run.is_held(), stage is not run
    images = (log[-1]["images_seen"] if log else 0) if held else stage.images_seen()  # what would be resumed
    last = log[-1] if log else {}
    losses = {name: value for name, value in last.items() if name.startswith("loss_") and is_number(value)}
    named = {name.removeprefix("loss_"): value for name, value in losses.items()}
    shown = [f"{name} {value:.2f}" for name, value in of_players(named).items()]
    state = "training" if held else "finished" if images >= recipe.images and not small else "stopped"
    state += ", at half the size first" if small else ""
    serious = [finding["name"] for finding in stage.findings() if finding.get("severity") == "serious"]
    state += f"; {', '.join(serious)} (hasama doctor)" if serious else ""
    share = f"{min(100.0, 100 * images / recipe.images):.0f} %"
    kimg = f"{images / 1000:g}/{recipe.kimg:g}"
    return [str(run.folder), recipe.architecture, source, recipe.size, kimg, share, " ".join(shown), state]


def stop(run: Path, /) -> int:
    """Ask the process that trains a run, or teaches a painter, wherever it was started, to save and stop.

    Of a sweep it ends the trial of that folder, and the sweep goes on with the others.

    Parameters
    ----------
    run
        The run's folder; or a painter's folder, or its file beside it.
    """
    from hasama.cli.terminal import say
    from hasama.runs.folder import Run
    from hasama.style.painters.teach_folder import teach_folder_of

    teaching = teach_folder_of(run)
    if teaching.exists():
        if not teaching.is_held():
            raise HasamaError(f"Nobody is teaching in {teaching.folder}.")
        teaching.stop()
        say(f"Asked {teaching.folder} to stop. To go on later, give the same command again.")
        return 0
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
            told = "  ".join(shlex.join(flags_of({field: value})) for field, value in differences.items())
            usual = "  (taken where none is named)" if name == DEFAULT else ""
            say(f"  {name:{longest}}  {told or '(the defaults)'}{usual}")
    if names := base_names():
        say("bases, for hasama sample NAME, and to begin with by --init-from NAME", "bold")
    for name in names:
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


# --- how good a generator is --------------------------------------------------------------------


def evaluate(
    run: Path,
    /,
    *,
    source: str | None = None,
    features: str = "vgg19",
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Evaluate a generator by FID, KID, precision, recall, density and coverage, with 95 % intervals.

    The column "real" is the floor: one half of the real pictures compared with the other. Of a run the generator is
    judged that `hasama sample` takes. The result is written to its metrics.json, too, and export and push show it in
    the model card.

    Parameters
    ----------
    run
        A run's folder, or, with --source, a generator.safetensors, or pictures that something else made: a folder, a
        zip or an .npz, all of the size of the first one.
    source
        Real pictures to compare with: a folder, a zip, an .npz, or a built-in name. Default: those that the run was
        trained on.
    features
        The network that extracts the features: vgg19 (offline), efficientnet (EfficientNet-Lite0: offline, a second
        opinion, and three times as fast), inception (FID's own weights, downloaded the first time: 91 MiB), or a
        file of InceptionV3's weights, .pth or .safetensors. Figures of different networks cannot be compared.
    count
        Generated pictures. Default: as many as there are real ones, at most 5000; of pictures that are there, all.
    seed
        The same seed evaluates the same generated pictures; of those that are there, which with --count.
    device
        auto, cpu, cuda, ...
    json
        Print JSON and nothing else.
    """
    from hasama.cli.terminal import console, say
    from hasama.distributed import is_first
    from hasama.evaluation.evaluate import evaluate, save_report
    from hasama.runs.folder import Run

    records = evaluate(run, source, features, count, seed, device)
    if not is_first():
        deque(records, maxlen=0)
        return 0
    result = _last(records, quiet=json)
    if json:
        say(as_json.dumps(result.report(), indent=2))
    else:
        console.print(_table(result))
        for note in _notes(result):
            say(note)
    if Run(run).exists():  # last, for the place may not be writable
        place = save_report(Run(run), result)
        if not json:
            say(f"Written to {place}")
    return 0


def _last(records: Iterator["EvaluationProgress"], quiet: bool) -> "Evaluation":
    """Consume the records, showing how far they are."""
    from hasama.cli.progress import watch_stages

    (last,) = deque(records if quiet else watch_stages(records), maxlen=1)
    if last.result is None:
        raise RuntimeError("the last record holds the result")
    return last.result


def _table(result: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    title = f"{result.extractor}: {result.generated:,} generated against {result.real:,} real pictures, {result.size}"
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("figure", "95 % interval", "real", "better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, figure in result.figures.items():
        around = f"{figure.low:.4g} to {figure.high:.4g}"
        table.add_row(name, f"{figure.value:.4g}", around, f"{figure.floor:.4g}", BETTER[name])
    return table


def _notes(result: "Evaluation") -> Iterator[str]:
    """Notes on what the figures are of, and on what they do not mean."""
    from hasama.evaluation.subject import helped_to_train
    from hasama.perception.extractors import INCEPTION_EXTRACTOR

    if best := result.origin["generator"].get("best"):
        yield (
            f"These figures are of the best generator of this run, {best}. For the last one give its "
            "generator.safetensors, with --source."
        )
    fewer = min(result.real, result.generated)
    if fewer <= result.width:
        yield (
            f"FID means little here: it needs more pictures ({fewer}) than the network has features "
            f"({result.width}). KID does not."
        )
    if helped_to_train(result.report()):
        yield (
            "This generator was trained with the help of this network (--vision-aid), which flatters it: judge it by "
            "--features vgg19."
        )
    if result.extractor != INCEPTION_EXTRACTOR:
        yield f"Comparable only with other figures of {result.extractor}, not with published ones (Inception's)."
