"""A diagnosis as one HTML page with plots, evidence and samples."""

import base64
import html
from pathlib import Path

from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.runs.reports.diagnosis import MEANINGS, Diagnosis, Seen, finding_lines, what_autopilot_did
from hasama.runs.reports.grids import grids_of
from hasama.runs.reports.plot import health_plot

# --- as a page ------------------------------------------------------------------------------------


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.4rem }} img {{ max-width: 100% }} code {{ background: #f2f2f2; padding: .1rem .3rem }}
section {{ border-left: .4rem solid #bbb; padding: .1rem 1rem; margin: 1rem 0 }}
.serious {{ border-color: #c0392b }} .warning {{ border-color: #e0a030 }} .over {{ opacity: .55 }}
td {{ padding: .1rem .8rem .1rem 0 }} td:nth-child(2) {{ text-align: right; font-variant-numeric: tabular-nums }}
</style><h1>{title}</h1><p><strong>{verdict}</strong></p>{done}{findings}{command}<h2>Signals</h2>{plot}
<table>{signals}</table><h2>Samples</h2>{samples}</html>
"""


def save_page(diagnosis: Diagnosis, path: Path) -> None:
    """One HTML file that holds everything: findings, plots, the latest sample grid.

    Raises:
        HasamaError: it cannot be written.
    """
    history, run, command = diagnosis.history, diagnosis.run.stage(), diagnosis.command
    plot = health_plot(history.log, [(s.finding.title, s.begun, s.last) for s in diagnosis.seen])
    log = run.log()
    grids = [run.sample_file(made) for made in grids_of(run, log[-1]["images_seen"] if log else 0)]
    latest = history.looks[-1] if history.looks else {}
    rows = "".join(
        f"<tr><td>{name}</td><td>{latest[name]:.3g}</td><td>{html.escape(meaning)}</td></tr>"
        for name, meaning in MEANINGS.items() if latest.get(name) is not None
    )  # fmt: skip
    page = PAGE.format(
        title=html.escape(f"{run.folder} at {history.seen / 1000:g} kimg"),
        verdict=html.escape(diagnosis.verdict),
        done="".join(f"<p>{html.escape(line)}</p>" for line in what_autopilot_did(diagnosis)),
        command=f"<h2>With the first remedy</h2><p><code>{html.escape(command)}</code></p>" if command else "",
        findings="".join(_section(one, _grid_at(grids, one.last)) for one in diagnosis.seen),
        plot=_embedded(plot) if plot else "<p>Nothing has been logged yet.</p>",
        signals=rows,
        samples=_embedded(_read(grids[-1])) if grids else "<p>None yet.</p>",
    )
    with replacing(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def _grid_at(grids: list[Path], images_seen: int) -> Path | None:
    """The last sample grid that was made by then."""
    return next((grid for grid in reversed(grids) if int(grid.stem) <= images_seen), None)


def _section(one: Seen, grid: Path | None) -> str:
    lines = [html.escape(line) for line in finding_lines(one)]
    remedies = "".join(
        f"<li><code>{html.escape(remedy.flags)}</code> {html.escape(remedy.why)}</li>"
        for remedy in one.finding.remedies
    )  # fmt: skip
    over = "" if one.holds else " over"
    evidence = ", ".join(f"{name} {value:.3g}" for name, value in one.finding.evidence.items())
    shown = ""
    if grid is not None:
        seen = f"samples at {int(grid.stem) / 1000:g} kimg"
        shown = f"<details><summary>{seen}</summary>{_embedded(_read(grid))}</details>"
    return (
        f'<section class="{one.finding.severity}{over}"><h3>{lines[0]}</h3><p>{lines[1]}</p>'
        f"<p>Evidence: {html.escape(evidence)}</p>"
        + (f"<ul>{remedies}</ul>" if remedies else "")
        + shown
        + "</section>"
    )


def _embedded(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error
