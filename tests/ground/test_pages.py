"""The documentation builds without a warning, in Kiswahili, too; what is made from the code is all there."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hasama
from hasama.cli.app import COMMANDS, app

pytest.importorskip("furo")
pytest.importorskip("myst_parser")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path[:0] = [str(DOCS / "extensions"), str(ROOT / "scripts")]

import build_docs  # noqa: E402 (the path comes first)
import drawing  # noqa: E402
import page_of_commands  # noqa: E402
import page_of_names  # noqa: E402
import written_elsewhere  # noqa: E402

SAME = {"Hasama", "Kiswahili"}
"""Words that are the same in both languages."""


# --- the pages ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swahili(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, built in Kiswahili; a warning is an error."""
    out = tmp_path_factory.mktemp("pages")
    build_docs.compile_messages(out / "locale")
    words = ["-b", "html", "-W", "--keep-going", "-q", "-d", str(out / "read"), "-D", "language=sw"]
    words += ["-D", f"locale_dirs={out / 'locale'}"]
    command = [sys.executable, "-m", "sphinx", *words, str(DOCS), str(out / "sw")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return out / "sw"


def test_every_page_is_there_and_links_to_its_twin(swahili: Path):
    pages = [page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")]
    assert len(pages) > 20
    for page in pages:
        text = (swahili / page).read_text(encoding="utf-8")
        assert 'lang="sw"' in text
        (twin,) = re.findall(r'href="([^"]+)" lang="en" hreflang="en"', text)
        assert (swahili / page.parent / twin).resolve() == (swahili.parent / "en" / page).resolve()


def test_nothing_is_loaded_from_the_network(swahili: Path):
    loaded = [
        (page.name, address)
        for page in swahili.rglob("*.html")
        for tag in re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        for address in re.findall(r'(?:src|href)="([^"]+)"', tag)
        if re.match(r"(https?:)?//", address)
    ]
    assert loaded == []
    styles = "".join(file.read_text(encoding="utf-8") for file in swahili.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)


def messages(file: Path) -> dict[str, str]:
    """The messages of a .pot or .po file, and what they are in the other language; without those marked as fuzzy."""
    from babel.messages.pofile import read_po

    with file.open("rb") as opened:
        return {str(one.id): str(one.string) for one in read_po(opened) if one.id and not one.fuzzy}


def is_code(message: str) -> bool:
    """Whether there is nothing in it to translate: code, packages, links to notebooks, rows' names."""
    text = re.sub(r"`[^`]*`( \([\w, ]+\))?|\[\w+\]\(\.\./notebooks/[^)]*\)", "", message)
    return not re.search("[A-Za-z]{2}", text)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """All that the translated pages say in English."""
    out = tmp_path_factory.mktemp("messages")
    only = ",".join(f"{name}.md" for name in build_docs.TRANSLATED)
    command = [sys.executable, "-m", "sphinx", "-b", "gettext", "-Q", "-D", f"include_patterns={only}"]
    subprocess.run([*command, "-d", str(out / "read"), str(DOCS), str(out)], check=True, timeout=600)
    return {name: [*messages(out / f"{name}.pot")] for name in build_docs.TRANSLATED}


@pytest.mark.parametrize("name", build_docs.TRANSLATED)
def test_what_is_to_be_in_kiswahili_is(wanted: dict[str, list[str]], swahili: Path, name: str):
    there = messages(DOCS / f"locale/sw/LC_MESSAGES/{name}.po")
    assert [message for message in wanted[name] if not is_code(message) and not there.get(message)] == []
    assert len(wanted[name]) >= 10
    same = {message for message in wanted[name] if there.get(message) == message and not is_code(message)}
    assert same <= SAME
    assert "mzalishaji" in (swahili / f"{name}.html").read_text(encoding="utf-8").lower()


def test_the_contents_are_in_kiswahili(swahili: Path):
    told = messages(DOCS / "locale/sw/LC_MESSAGES/index.po")
    text = (swahili / "how.html").read_text(encoding="utf-8")
    titles = re.findall(r"^([A-Z].+) <[\w/-]+>$", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(titles) > 15
    assert [title for title in titles if f">{told.get(title)}</a>" not in text] == []


def test_translations_keep_code_and_links(wanted: dict[str, list[str]]):
    kept = re.compile(r"`[^`]+`|\]\([^)]+\)")
    for name in build_docs.TRANSLATED:
        for english, other in messages(DOCS / f"locale/sw/LC_MESSAGES/{name}.po").items():
            if other:
                assert sorted(kept.findall(english)) == sorted(kept.findall(other)), english


def test_every_flag_of_every_command_stands_on_its_page(swahili: Path):
    text = (swahili / "commands.html").read_text(encoding="utf-8")
    assert " -m " not in text
    for name in page_of_commands.command_names():
        assert f">hasama {name}<" in text, name
        shown = text.partition(f">hasama {name}<")[2].partition("<h2>hasama ")[0]
        flags = [one for argument in app[name].assemble_argument_collection() for one in argument.names]
        assert [flag for flag in flags if flag.startswith("--") and f"{flag}" not in shown] == [], name


def test_every_public_name_stands_on_its_page(swahili: Path):
    text = (swahili / "python.html").read_text(encoding="utf-8")
    assert [name for name in hasama.__all__ if f'id="hasama.{name}"' not in text] == []
    for field in ("generator_lr", "vision_aid", "style_scale"):
        assert f">{field}<" in text, field
    assert "Parameters" in text
    assert "Raises" in text


def test_the_drawing_is_in_the_page(swahili: Path):
    assert 'data-arrow="runs training"' in (swahili / "architecture.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_both_languages_build_with_one_command(tmp_path: Path):
    words = [sys.executable, str(ROOT / "scripts/build_docs.py"), "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "Anza" in (tmp_path / "sw/start.html").read_text(encoding="utf-8")
    assert "Install" in (tmp_path / "en/start.html").read_text(encoding="utf-8")
    assert 'href="sw/index.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")


# --- what is made from the code -------------------------------------------------------------------


def test_the_page_has_every_command_in_the_order_of_the_help():
    assert page_of_commands.command_names() == [command.__name__ for command in COMMANDS]
    assert {name for name in app if not name.startswith("-")} == {*page_of_commands.command_names()}


def test_a_recipe_s_changes_are_shown_as_flags():
    table = page_of_commands.table_of_presets()
    assert "| train | `lsgan` | `--objective least-squares` |" in table
    assert "| train | `dcgan` | the defaults |" in table
    assert "`--generator-betas 0 0.99`" in table


def test_every_public_name_has_a_group():
    grouped = [name for group in page_of_names.GROUPS.values() for name in group]
    assert sorted(grouped) == sorted(hasama.__all__)


@pytest.mark.parametrize(("text", "shown"), [
    ("a `Pair` and `b`s", "a ``Pair``\\  and ``b``\\ s"),
    ("args * two | three", "args \\* two \\| three"),
    ("`2 * 3`", "``2 * 3``\\ "),
    ("it *is* the run", "it *is* the run"),
])  # fmt: skip
def test_docstrings_are_shown_as_they_are_meant(text: str, shown: str):
    assert page_of_names.escaped(text) == shown


# --- the drawing ----------------------------------------------------------------------------------


def drawn() -> str:
    (text,) = re.findall(r"```mermaid\n(.*?)```", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.DOTALL)
    return text


def test_the_drawing_has_all_rooms_and_arrows_and_is_proper_xml():
    chart = drawing.read(drawn())
    svg = ElementTree.fromstring(drawing.svg_of(drawn()))
    rooms = [node.attrib["data-room"] for node in svg.iter() if "data-room" in node.attrib]
    assert sorted(rooms) == sorted(room for _, floor in chart.floors for room in floor)
    arrows = [node.attrib["data-arrow"] for node in svg.iter() if "data-arrow" in node.attrib]
    assert sorted(arrows) == sorted(f"{one} {other}" for one, other in chart.arrows)
    assert len(arrows) > 15


def test_boxes_do_not_overlap_and_lie_within():
    chart = drawing.read(drawn())
    places, _ = drawing.places_of(chart)
    for _, rooms in chart.floors:
        halves = {room: drawing.size_of(room) / 2 for room in rooms}
        edges = sorted((places[room][0] - halves[room], places[room][0] + halves[room]) for room in rooms)
        assert edges[0][0] >= drawing.LABELS - 1
        assert edges[-1][1] <= drawing.WIDTH
        assert all(one[1] < other[0] for one, other in itertools.pairwise(edges))


def test_what_the_drawing_cannot_show_is_refused():
    with pytest.raises(ValueError, match=r"not understood: a -\.-> b"):
        drawing.read("flowchart TD\nsubgraph x [y]\na\nend\na -.-> b")


# --- what is written elsewhere --------------------------------------------------------------------


def test_links_of_files_at_the_root_are_moved():
    text = "[a](docs/start.md#install) [b](SECURITY.md) [c](src/hasama/shapes.py) [d](docs) [e](https://a.b) [f](#g)"
    shown = written_elsewhere.LINK.sub(lambda link: written_elsewhere.moved(link, DOCS), text)
    assert shown == "[a](start.md#install) [b](security.md) [c](../src/hasama/shapes.py) d [e](https://a.b) [f](#g)"


@pytest.mark.parametrize("page", ["contributing", "changelog", "security"])
def test_files_at_the_root_are_shown_whole(swahili: Path, page: str):
    text = (ROOT / written_elsewhere.AT_THE_ROOT[page]).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    shown = (swahili / f"{page}.html").read_text(encoding="utf-8")
    assert [heading for heading in headings if f">{heading}<" not in shown] == []
