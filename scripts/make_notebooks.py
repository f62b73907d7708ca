"""Build the teaching notebooks in English and Kiswahili from one source of code, and execute them.

    python scripts/make_notebooks.py                  # build; outputs are kept where no code has changed
    python scripts/make_notebooks.py --execute gan    # and run the code of some notebooks (all, if none is named)

`notebooks/source/NAME.py` holds the code as jupytext's percent script, once: its Markdown cells hold keys only, and
`notebooks/texts/LANGUAGE/NAME.md` the text of each key, below a line `<!-- key -->`. `source/opening.py` is the
first code cell of all of them. The code is the same in all languages, so it is run once, and all get the outputs.
"""

import argparse
import base64
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

ADDRESS = "https://github.com/hasama/hasama"
"""Where the repository is public: the one place that says it. **A placeholder** until there is an address."""

ROOT = Path(__file__).parents[1]
BOOKS = ROOT / "notebooks"
LANGUAGES = {"en": "English", "sw": "Kiswahili"}
NAMES = ("gan", "gan_keras", "style_transfer", "challenges", "latent_space")
SECONDS = 3600
"""That one notebook may take at most, on a machine that many share."""
COLOURS, QUALITY = 64, 60
"""Of a plot, and of a JPEG."""

Notebook = Any
"""nbformat's, which has no type of its own."""


def source_cells(name: str) -> list[Notebook]:
    """The cells of a notebook's source; a Markdown cell's text is its key, the opening stands below its key."""
    cells = jupytext.read(BOOKS / "source" / f"{name}.py").cells
    opening = jupytext.read(BOOKS / "source" / "opening.py").cells
    place = next(place for place, cell in enumerate(cells) if cell.source == "opening") + 1
    return [*cells[:place], *opening, *cells[place:]]


def texts(name: str, language: str) -> dict[str, str]:
    """{key: Markdown} of a notebook in one language, in the order of the file."""
    parts = re.split(
        r"^<!-- ([a-z0-9-]+) -->\n", (BOOKS / "texts" / language / f"{name}.md").read_text("utf-8"), flags=re.M
    )
    return {key: text.strip() for key, text in zip(parts[1::2], parts[2::2], strict=True)}


def head(name: str, language: str) -> str:
    """What stands above every title: the badge of Colab, and the way to the other languages."""
    here = f"{ADDRESS.removeprefix('https://github.com/')}/blob/main/notebooks/{language}/{name}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{here})"
    others = [f"[{called}](../{other}/{name}.ipynb)" for other, called in LANGUAGES.items() if other != language]
    return " · ".join([badge, *others])


def build(name: str, language: str) -> Notebook:
    """A notebook without outputs; its cells are named by their places.

    Raises:
        KeyError: a text is missing.
    """
    told, cells = texts(name, language), []
    for number, cell in enumerate(source_cells(name)):
        if cell.cell_type == "markdown":
            text = told[cell.source].replace("ADDRESS", ADDRESS)
            made = nbformat.v4.new_markdown_cell(
                f"{head(name, language)}\n\n{text}" if cell.source == "title" else text
            )
        else:
            made = nbformat.v4.new_code_cell(cell.source.replace("ADDRESS", ADDRESS))
        made["id"] = f"cell-{number:02}"
        cells.append(made)
    about = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


# --- outputs --------------------------------------------------------------------------------------


def executed(notebook: Notebook) -> Notebook:
    """The notebook with outputs, run in a folder of its own that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    for cell in code_cells(notebook):
        cell.metadata.clear()  # the times at which it ran
        cell.outputs = joined([slim(output) for output in cell.outputs if output.get("name") != "stderr"])
    return notebook


def joined(outputs: list[Notebook]) -> list[Notebook]:
    """With what was printed in a row in one piece: where it is cut is a matter of time."""
    kept: list[Notebook] = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def slim(output: Notebook) -> Notebook:
    """With one picture, as small as it can be, where the kernel gives it in several formats."""
    data = output.get("data", {})
    pictures = {name: data.pop(name) for name in [*data] if name.startswith("image/")}
    if pictures:
        best = pictures.get("image/png") or next(iter(pictures.values()))
        kind, small = smallest(Image.open(io.BytesIO(base64.b64decode(best))))
        data |= {kind: base64.b64encode(small).decode(), "text/plain": "<picture>"}
    return output


def smallest(picture: Image.Image) -> tuple[str, bytes]:
    """As a PNG of few colours, or as a JPEG if that is smaller."""
    found = {}
    few = picture if picture.mode == "L" else picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    for kind, one, options in (
        ("PNG", few, {"optimize": True}),
        ("JPEG", picture.convert("RGB"), {"quality": QUALITY}),
    ):
        out = io.BytesIO()
        one.save(out, kind, **options)
        found[f"image/{kind.lower()}"] = out.getvalue()
    if picture.convert("RGB").getcolors(4 * COLOURS) is None:
        return "image/jpeg", found["image/jpeg"]  # few colours would spoil it
    return min(found.items(), key=lambda item: len(item[1]))


def code_cells(notebook: Notebook) -> list[Notebook]:
    """In their order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def keep_outputs(notebook: Notebook, former: Notebook) -> bool:
    """Take over the outputs of a notebook with the very same code; whether it was the same."""
    mine, theirs = code_cells(notebook), code_cells(former)
    if [cell.source for cell in mine] != [cell.source for cell in theirs]:
        return False
    for cell, before in zip(mine, theirs, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return True


# --- files ----------------------------------------------------------------------------------------


def place_of(name: str, language: str) -> Path:
    """Where a notebook lies."""
    return BOOKS / language / f"{name}.ipynb"


def make(name: str, execute: bool) -> None:
    """Build a notebook in all languages."""
    first = next(iter(LANGUAGES))
    former = nbformat.read(place_of(name, first), 4) if place_of(name, first).exists() else build(name, first)
    run = executed(build(name, first)) if execute else former
    for language in LANGUAGES:
        notebook = build(name, language)
        if not keep_outputs(notebook, run):
            print(f"{name}: its code has changed; run `python scripts/make_notebooks.py --execute {name}`")
        place_of(name, language).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place_of(name, language))
        print(
            f"{place_of(name, language).relative_to(ROOT)}: {place_of(name, language).stat().st_size / 1000:.0f} kB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--execute", action="store_true", help="run the code, too")
    parser.add_argument("names", nargs="*", help=", ".join(NAMES))
    given = parser.parse_args()
    if unknown := {*given.names} - {*NAMES}:
        parser.error(f"there is no notebook {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    os.environ.pop("HASAMA_QUICK", None)
    for name in given.names or NAMES:
        make(name, given.execute)


if __name__ == "__main__":
    main()
