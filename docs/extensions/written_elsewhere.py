"""What is written elsewhere: pages at the root of the repository; and notebooks and glossary, which may not be there.

Without them the documentation still builds.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

AT_THE_ROOT = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "security": "SECURITY.md"}
"""Pages, and the files whose text they show."""
MAY_BE_MISSING = ("glossary", "notebooks")
NOTEBOOK = re.compile(r"\[([^]]+)\]\((\.\./notebooks[^)]*)\)")
LINK = re.compile(r"\[([^]]+)\]\((?![a-z]+:|#)([^)#]+)(#[^)]*)?\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """A page's text, changed in place."""
    folder = Path(app.srcdir)
    if page in AT_THE_ROOT:
        file = folder.parent / AT_THE_ROOT[page]
        app.env.note_dependency(str(file))
        source[0] = LINK.sub(lambda link: moved(link, folder), file.read_text(encoding="utf-8"))
    source[0] = NOTEBOOK.sub(lambda link: link[0] if (folder / link[2]).is_file() else f"`{link[1]}`", source[0])
    for other in MAY_BE_MISSING:
        if page == "index" and not (folder / f"{other}.md").exists():
            source[0] = source[0].replace(f"\n{other}\n", "\n")


def moved(link: re.Match[str], folder: Path) -> str:
    """A link of a file at the root as it is from docs; a link to a folder is only its text."""
    shown, target, anchor = link[1], link[2], link[3] or ""
    pages = {file: page for page, file in AT_THE_ROOT.items()}
    place = f"{pages[target]}.md" if target in pages else f"../{target}".replace("../docs/", "", 1)
    return f"[{shown}]({place}{anchor})" if (folder / place).is_file() else shown


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
