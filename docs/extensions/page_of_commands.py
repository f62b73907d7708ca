"""The page of the commands, made from what `hasama --help` shows: every command and every flag, at each build."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from hasama.cli.app import COMMANDS, app
from hasama.options import flags_of
from hasama.presets import PRESETS
from hasama.style.recipe import STYLE_PRESETS


def told(name: str) -> str:
    """A command's help as Markdown, under a heading of its own."""
    text = app[name].generate_docs(heading_level=2, usage_name=f"hasama {name}")
    heading, _, body = text.partition("\n")
    assert heading.startswith("## "), heading
    body = re.sub(r"\n( {4,})(?=\S)", " ", body)  # a flag's second line is no block of code
    body = re.sub(rf"^hasama {name} -m \S+", f"hasama {name}", body, flags=re.MULTILINE)  # how Sphinx was started
    return f"## hasama {name}\n{body}"


def command_names() -> list[str]:
    """The commands in the order in which they are listed."""
    return [command.__name__ for command in COMMANDS]


def table_of_presets() -> str:
    """What each recipe changes, as Markdown."""
    rows = [
        f"| {command} | `{name}` | {' '.join(f'`{one}`' for one in pairs(changes)) or 'the defaults'} |"
        for command, presets in (("train", PRESETS), ("style", STYLE_PRESETS))
        for name, changes in presets.items()
    ]
    return "\n".join(["| command | recipe | what it changes |", "|---|---|---|", *rows])


def pairs(changes: dict) -> list[str]:
    """['--size 28', '--labels', ...]: a flag with its values."""
    return [one.strip() for one in re.split(r" (?=--)", " ".join(flags_of(changes))) if one.strip()]


class Commands(SphinxDirective):
    """Every command."""

    def run(self) -> list[nodes.Node]:
        """A section for each."""
        text = "\n\n".join(map(told, command_names()))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Presets(SphinxDirective):
    """Every recipe."""

    def run(self) -> list[nodes.Node]:
        """A table."""
        return self.parse_text_to_nodes(table_of_presets())


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("hasama-commands", Commands)
    app.add_directive("hasama-presets", Presets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
