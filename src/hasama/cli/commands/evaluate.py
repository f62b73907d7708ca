"""hasama evaluate: how good a generator is."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from hasama.evaluation.subject import Evaluation, EvaluationProgress

BETTER = {"fid": "low", "kid": "low", "precision": "high", "recall": "high", "density": "near 1", "coverage": "high"}


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

    The column "real" is the floor: one half of the real pictures compared with the other. A run's result is written
    to its metrics.json, too, and export and push show it in the model card.

    Parameters
    ----------
    run
        A run's folder, or, with --source, a generator.safetensors.
    source
        Real pictures to compare with: a folder, a zip, an .npz, or a built-in name. Default: those that the run was
        trained on.
    features
        The network that extracts the features: vgg19 (offline), efficientnet (EfficientNet-Lite0: offline, a second
        opinion, and three times as fast), inception (FID's own weights, downloaded the first time: 91 MiB), or a
        file of InceptionV3's weights, .pth or .safetensors. Figures of different networks cannot be compared.
    count
        Generated pictures. Default: as many as there are real ones, at most 5000.
    seed
        The same seed evaluates the same generated pictures.
    device
        auto, cpu, cuda, ...
    json
        Print JSON and nothing else.
    """
    from hasama.cli.terminal import console, say
    from hasama.evaluation.evaluate import evaluate, save_report
    from hasama.runs.folder import Run

    result = _last(evaluate(run, source, features, count, seed, device), quiet=json)
    place = save_report(Run(run), result) if Run(run).exists() else None
    if json:
        from json import dumps

        say(dumps(result.report(), indent=2))
        return 0
    console.print(_table(result))
    for note in _notes(result):
        say(note)
    if place:
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
    """Notes on what the figures do not mean."""
    from hasama.evaluation.subject import helped_to_train
    from hasama.perception.extractors import INCEPTION_EXTRACTOR

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
