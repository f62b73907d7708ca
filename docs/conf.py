"""How Sphinx builds the documentation: `make docs`. Nothing in the built pages is loaded from the network."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "src"), str(DOCS / "extensions")]

from hasama.version import __version__  # noqa: E402 (the path comes first)

project = "Hasama"
author = "The Hasama maintainers"
copyright = "2026, the Hasama maintainers. MIT licence"
version = release = __version__

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon",
    "drawing", "page_of_commands", "page_of_names", "written_elsewhere",
]  # fmt: skip
templates_path = ["templates"]
exclude_patterns = ["extensions", "locale", "templates"]

myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_rtype = False
default_role = "code"  # the docstrings' single backticks
add_module_names = False

language = "en"
locale_dirs: list[str] = []  # scripts/build_docs.py says where it puts the .mo files that it makes of docs/locale
gettext_compact = False
gettext_location = False
gettext_auto_build = False

html_theme = "furo"
html_title = f"Hasama {version}"
html_static_path = ["static"]
html_css_files = ["hasama.css"]
html_show_sphinx = False
html_copy_source = False
html_sidebars = {
    "**": [
        "sidebar/brand.html", "language.html", "sidebar/search.html", "sidebar/scroll-start.html",
        "sidebar/navigation.html", "sidebar/scroll-end.html",
    ],
}  # fmt: skip
