"""What may not be there: the notebooks, their page, the glossary. Without them the documentation still builds."""

import re
from pathlib import Path

from sphinx.application import Sphinx

NOTEBOOK = re.compile(r"\[([^]]+)\]\((\.\./notebooks/[^)]+)\)")


def without_what_is_not_there(app: Sphinx, page: str, source: list[str]) -> None:
    """A page's text, changed in place: no links to notebooks that are not there, nor to folders; no such pages."""
    folder = Path(app.srcdir)
    source[0] = NOTEBOOK.sub(lambda link: link[0] if (folder / link[2]).is_file() else f"`{link[1]}`", source[0])
    for other in ("glossary", "notebooks"):
        if page == "index" and not (folder / f"{other}.md").exists():
            source[0] = source[0].replace(f"\n{other}\n", "\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", without_what_is_not_there)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
