"""Tables of runs and figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from hasama.runs.folder import Run
from hasama.cli.terminal import console, duration, say

PLAYERS = {"discriminator": "D", "generator": "G"}
"""What takes too much room in a table, as the field's papers call it."""


def run_table(runs: list["Run"]) -> None:
    """One row per run: what it is, how far it is, what it is doing."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "networks", "pictures", "size", "kimg", "done", "losses", "state"):
        table.add_column(heading, justify="right" if heading in ("kimg", "done") else "left", overflow="fold")
    for run in runs:
        table.add_row(*map(Text, _run_row(run)))
    console.print(table)


def _run_row(run: "Run") -> list[str]:
    from hasama.errors import HasamaError

    try:
        recipe, source = run.recipe(), Path(run.images()["name"]).name
    except HasamaError as error:
        return [str(run.folder), "-", "-", "-", "-", "-", "-", f"damaged: {str(error).splitlines()[0]}"]
    log = run.log()
    held = run.is_held()
    images = (log[-1]["images_seen"] if log else 0) if held else run.images_seen()  # what would be resumed
    last = log[-1] if log else {}
    named = {name.removeprefix("loss_"): value for name, value in last.items() if name.startswith("loss_")}
    losses = [f"{PLAYERS.get(name, name)} {value:.2f}" for name, value in named.items()]
    state = "training" if held else "finished" if images >= recipe.images else "stopped"
    serious = [finding["name"] for finding in run.findings() if finding.get("severity") == "serious"]
    state += f"; {', '.join(serious)} (hasama doctor)" if serious else ""
    share = f"{min(100.0, 100 * images / recipe.images):.0f} %"
    kimg = f"{images / 1000:g}/{recipe.kimg:g}"
    return [str(run.folder), recipe.architecture, source, recipe.size, kimg, share, " ".join(losses), state]


def coverage_table(told: dict[str, Any]) -> None:
    """The floor of real data, a row for each seed, and their mean."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "modes", "high quality", "KL", "time"):
        table.add_column(heading, justify="left" if not heading else "right")

    def add(name: str, row: dict[str, Any], style: str = "") -> None:
        quality = "-" if row["quality"] is None else f"{100 * row['quality']:.1f} %"
        kl = "infinite" if row["kl"] is None else f"{row['kl']:.4f}"
        seconds = duration(row["seconds"]) if "seconds" in row else ""
        table.add_row(name, f"{row['modes']:g} of {row['of']}", quality, kl, seconds, style=style)

    add("real data", told["floor"], "dim")
    for row in told["seeds"]:
        add(f"seed {row['seed']}", row)
    add(f"mean of {len(told['seeds'])}", told["mean"], "bold")
    say(f"{told['what']} by {told['recipe']}, {told['kimg']:g} kimg; {told['floor']['samples']:,} samples each")
    console.print(table)
