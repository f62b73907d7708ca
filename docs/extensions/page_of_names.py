"""The page of the public names: `hasama.__all__` with docstrings, type hints, and the help of recipes' fields."""

import dataclasses
import inspect
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import hasama
from hasama.cli.flags import plain

GROUPS = {
    "Train": ("train", "resume", "fit", "Run", "Step", "Turn"),
    "Recipes": ("Recipe", "RECIPES", "StyleRecipe", "STYLE_RECIPES"),
    "The game, and its parts": ("play", "autoencode", "new_game", "Game", "Pair", "build", "ARCHITECTURES"),
    "Pictures": ("open_pictures", "Pictures", "batches", "Batch", "grid", "save_picture"),
    "Trained generators": (
        "load_generator", "save_generator", "TrainedGenerator", "draw_latents", "generate", "generate_all",
        "interpolate", "project",
    ),
    "Painting": ("stylize", "Frame", "Style"),
    "What goes wrong": ("HasamaError",),
}  # fmt: skip
"""Headings of the page, and the public names under each."""

DICTIONARIES = {
    "RECIPES": 'The presets by name: `RECIPES["dcgan"].but(size="32")` varies one.',
    "STYLE_RECIPES": "The presets of painting by name.",
    "ARCHITECTURES": "The architectures by name: functions from a `Recipe` to the sizes that `build` takes.",
}

EXAMPLE = re.compile(r"(^\S.*[^:\n])\n\n(?= +\S)", flags=re.MULTILINE)
"""A sentence, after which what is indented is code."""
TOLD: list[str] = []
"""The attributes that the docstring of the class at hand explains."""


def page() -> str:
    """The whole page as reStructuredText."""
    parts = []
    for heading, names in GROUPS.items():
        parts += [heading, "-" * len(heading), ""]
        parts += [entry(name) for name in names]
    return "\n".join(parts)


def entry(name: str) -> str:
    """One public name."""
    value = getattr(hasama, name)
    if name in DICTIONARIES:
        return f".. py:data:: hasama.{name}\n\n   {DICTIONARIES[name]}\n"
    if not inspect.isclass(value):
        return f".. autofunction:: hasama.{name}\n"
    if dataclasses.is_dataclass(value) and any("help" in field.metadata for field in dataclasses.fields(value)):
        return f".. autoclass:: hasama.{name}()\n   :members:\n\n{table_of_fields(value)}\n"
    return f".. autoclass:: hasama.{name}\n   :members:\n"


def table_of_fields(owner: type) -> str:
    """The fields of a recipe: name, default, help."""
    lines = [
        "   .. list-table::",
        "      :header-rows: 1",
        "",
        "      * - field",
        "        - default",
        "        - what it is",
    ]
    for field in dataclasses.fields(owner):
        default = "None" if field.default is None else plain(field.default) or '""'
        told = escaped(field.metadata["help"])
        lines += [f"      * - ``{field.name}``", f"        - ``{default}``", f"        - {told}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Words with single backticks, as docstrings have them, so that reStructuredText takes them as they are meant."""
    parts = re.split(r"(`[^`\n]+`|(?<![\w*])\*\w+\*(?![\w*]))", text)
    return "".join(
        f"``{part[1:-1]}``\\ " if re.fullmatch(r"`[^`]+`", part)
        else part if re.fullmatch(r"\*\w+\*", part)
        else re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", part)
        for part in parts
    )  # fmt: skip


def in_rst(app: Sphinx, what: str, name: str, owner: Any, options: Any, lines: list[str]) -> None:
    """A docstring's lines, changed in place. What stands under Attributes is remembered for `told_already`."""
    text = "\n".join(lines)
    if what == "class":
        _, _, told = text.partition("Attributes:\n")
        TOLD[:] = re.findall(r"\w+", " ".join(re.findall(r"^ +([\w, ]+):", told, flags=re.MULTILINE)))
    lines[:] = EXAMPLE.sub(r"\1\n\n::\n\n", escaped(text)).split("\n")


def told_already(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples and dataclasses stand in the docstring under Attributes."""
    return True if type(member).__name__ == "_tuplegetter" or name in TOLD else None


class Names(SphinxDirective):
    """All public names."""

    def run(self) -> list[nodes.Node]:
        """A section for each group."""
        from docutils.statemachine import StringList
        from sphinx.util.nodes import nested_parse_with_titles

        return self._parse(StringList(page().splitlines(), "names"), nested_parse_with_titles)

    def _parse(self, lines: Any, parse: Any) -> list[nodes.Node]:
        place = nodes.section()
        place.document = self.state.document
        parse(self.state, lines, place)
        return place.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("hasama-names", Names)
    app.connect("autodoc-process-docstring", in_rst, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", told_already)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
