"""Build the documentation in English and Kiswahili: build/docs/en, build/docs/sw.

    python scripts/build_docs.py                # what `make docs` does; a warning is an error
    python scripts/build_docs.py --messages     # bring docs/locale up to date after the English pages have changed

Kiswahili is there for the pages in `TRANSLATED`; the others are in English in both.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS, OUT = ROOT / "docs", ROOT / "build/docs"
LANGUAGES = {"en": "English", "sw": "Kiswahili"}
TRANSLATED = ("index", "start", "lesson")
DOOR = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hasama</title>
<body style="font: 1.2rem sans-serif; margin: 3rem">
<h1>Hasama</h1>
{links}
</body>
</html>
"""


def sphinx(builder: str, out: Path, *words: str) -> None:
    """Run Sphinx over docs; a warning ends the script with its exit code."""
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-q", *words, str(DOCS), str(out)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def compile_messages(out: Path) -> None:
    """The .po files as .mo files, outside what is tracked."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    for po in DOCS.glob("locale/*/LC_MESSAGES/**/*.po"):
        mo = out / po.relative_to(DOCS / "locale").with_suffix(".mo")
        mo.parent.mkdir(parents=True, exist_ok=True)
        with po.open("rb") as file, mo.open("wb") as written:
            write_mo(written, read_po(file, locale=po.relative_to(DOCS / "locale").parts[0]))


def build(out: Path) -> None:
    """Both languages, and a page to choose one."""
    compile_messages(out / "locale")
    for language in LANGUAGES:
        told = ["-D", f"language={language}", "-D", f"locale_dirs={out / 'locale'}"]
        sphinx("html", out / language, "-d", str(out / "read" / language), *told)
    links = "\n".join(f'<p><a href="{code}/index.html" lang="{code}">{name}</a>' for code, name in LANGUAGES.items())
    (out / "index.html").write_text(DOOR.format(links=links), encoding="utf-8")
    print(f"The documentation is in {out}: " + ", ".join(f"{code}/index.html" for code in LANGUAGES))


def update_messages(out: Path) -> None:
    """docs/locale with all that the English pages say now; what has changed is marked fuzzy, to be looked through."""
    sphinx("gettext", out / "gettext", "-d", str(out / "read/gettext"))
    chosen = out / "chosen"
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir()
    for name in TRANSLATED:
        shutil.copy(out / "gettext" / f"{name}.pot", chosen)
    command = [
        sys.executable,
        "-m",
        "sphinx_intl",
        "update",
        "-p",
        str(chosen),
        "-d",
        str(DOCS / "locale"),
        "-l",
        "sw",
    ]
    subprocess.run([*command, "-w", "110"], cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", action="store_true", help="update docs/locale, and build nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    (update_messages if given.messages else build)(given.out.resolve())


if __name__ == "__main__":
    main()
