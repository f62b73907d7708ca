"""The documents say what is so: their Python runs, the parser takes their commands, flags and recipes exist."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cyclopts import CycloptsError, MissingArgumentError

import hasama
from command import hasama as run
from hasama.cli.app import app
from hasama.cli.commands.coverage import coverage
from hasama.cli.flags import given
from hasama.cli.words import OLD_FLAGS, understood
from hasama.health import check_balance, check_data, check_generator
from hasama.health.explanations import TITLES
from hasama.presets import PRESETS, asked_recipe
from hasama.style.recipe import STYLE_PRESETS, STYLE_RECIPES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "README.sw.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINES_OF_A_SCREEN, LETTERS_OF_A_SCREEN = 60, 5000
FOREIGN_FLAGS = {"--runs", "--messages", "--execute", "--max-restarts"}  # of our scripts, and torchrun's


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """What stands between fences of these languages; '': without a language."""
    found = re.findall(r"^```([^\n`]*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [inside for language, inside in found if language in languages]


def spans(text: str) -> list[str]:
    """What stands between single backticks, outside of blocks."""
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


# --- Python ---------------------------------------------------------------------------------------

PYTHON = [(path, inside) for path in DOCUMENTS for inside in blocks(path.read_text(encoding="utf-8"), "python")]


@pytest.mark.parametrize("number", range(len(PYTHON)), ids=lambda number: f"{named(PYTHON[number][0])}-{number}")
def test_python_blocks_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(PYTHON[number][1], encoding="utf-8")
    runpy.run_path(str(script))
    if "save_picture" in PYTHON[number][1]:
        assert (tmp_path / "runs/eight-lines/digits.png").exists()


def test_there_are_blocks():
    assert len(PYTHON) >= 3


def test_the_loop_shown_is_the_loop():
    shown = [inside for path in DOCUMENTS for inside in blocks(path.read_text(encoding="utf-8"), "text")]
    shown = [inside for inside in shown if inside.startswith("def both_turns")]
    assert len(shown) >= 1
    source = read("src/hasama/training/turns.py")
    assert [inside for inside in shown if inside not in source] == []


def test_public_names_exist_and_say_what_they_are():
    for name in hasama.__all__:
        assert getattr(hasama, name).__doc__, name


# --- commands -------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A command in a document; `whole`: it stands in a block, and can be typed as it is."""

    document: str
    text: str
    whole: bool


def lines() -> Iterator[Line]:
    """Every `hasama ...` in the documents, but for those with a gap in them."""
    for path in DOCUMENTS:
        if path.name == "changelog.md":
            continue
        text = path.read_text(encoding="utf-8")
        typed = [
            line.strip().rpartition(" -m ")[2]  # torchrun --nproc-per-node 4 -m hasama train ...
            for inside in blocks(text, "", "bash", "console")
            for line in inside.replace("\\\n", " ").splitlines()
        ]
        for whole, several in ((True, typed), (False, [" ".join(span.split()) for span in spans(text)])):
            yield from (
                Line(named(path), line, whole)
                for line in several
                if line.startswith("hasama ") and not re.search(r"\w\|\w|\.\.\.( |$)", line.partition("#")[0])
            )


def words_of(line: str) -> list[str]:
    """The words after `hasama`, without a comment and what the shell takes for itself."""
    words = shlex.split(line, comments=True)[1:]
    ends = [place for place, word in enumerate(words) if word in ("<", ">", "|", "&&")]
    return words[: min(ends, default=len(words))]


def complaint(line: Line) -> str:
    """What is wrong with a command: nothing, for most."""
    words = words_of(line.text)
    if words == ["--help"]:
        return ""
    if "--help" in words:
        words = [word for word in words if word != "--help"]
        line = line._replace(whole=False)
    if words[0].startswith("--") or words[0] not in app:
        return "there is no such command"
    try:
        command, bound, *_ = app.parse_args(understood(words), exit_on_error=False, print_error=False)
    except MissingArgumentError as error:
        return str(error) if line.whole else ""
    except CycloptsError as error:
        return str(error)
    return refused(command.__name__, {**bound.arguments, "changes": bound.arguments.get("changes")})


def refused(command: str, arguments: dict) -> str:
    """Why a recipe that parses cannot be; '' if it can."""
    changes = given(arguments["changes"]) if arguments["changes"] is not None else {}
    recipe = arguments.get("recipe")
    try:
        if command in ("train", "sweep"):
            asked_recipe(recipe or "vision-aided", changes)
        elif command == "style" and not any(str(style).endswith(".safetensors") for style in arguments["styles"]):
            STYLE_RECIPES[recipe or "best"].but(**changes)
    except (hasama.HasamaError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_the_parser_takes_every_command_in_the_documents():
    found = list(lines())
    assert len(found) > 100
    assert len({line.document for line in found}) > 10
    assert [(line.document, line.text, said) for line in found if (said := complaint(line))] == []


@pytest.mark.parametrize("wrong", [
    "hasama trane photos/", "hasama train", "hasama train photos/ dcgna", "hasama train photos/ --gama 5",
    "hasama train photos/ --augment adda", "hasama style photo.jpg painting.jpg --recipe bst",
    "hasama sample runs/mine --count many",
    "hasama train photos/ --width 0",
])  # fmt: skip
def test_a_command_that_is_wrong_would_be_noticed(wrong: str):
    assert complaint(Line("page.md", wrong, True))


def flags_there_are() -> set[str]:
    """Every flag of every command, with those that have other names by now."""
    there = set(OLD_FLAGS) | {"--help", "--version"}
    for name in ("train", "sweep", "style", "teach", *(one for one in app if not one.startswith("-"))):
        for argument in app[name].assemble_argument_collection():
            there |= {one for one in argument.names if one.startswith("--")}
    return there


def test_every_flag_in_the_documents_is_one():
    there = flags_there_are()
    assert len(there) > 150
    unknown = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if path.name == "changelog.md":
            continue
        if path.name == "coming-from.md":  # the first column has the flags of other tools
            text = re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE)
        for span in (span for span in spans(text) if re.match(r"hasama |--", span)):
            unknown += [(named(path), flag) for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", span)
                        if flag not in there | FOREIGN_FLAGS]  # fmt: skip
    assert unknown == []


def test_every_kind_of_known_modes_is_told():
    (told,) = re.findall(r"`hasama coverage ([\w|-]+) \[RECIPE\]", read("docs/guide/quality.md"))
    assert set(told.split("|")) == {"ring", "grid", "hundred", "stacked-mnist"}
    assert all(name in (coverage.__doc__ or "") for name in told.split("|"))


def test_what_is_promised_in_seconds_is_so(tmp_path: Path):
    """The commands of the first page that need no training are run as they stand."""
    (section,) = re.findall(r"^## In seconds\n(.*?)^## ", read("docs/start.md"), flags=re.DOTALL | re.MULTILINE)
    (block,) = blocks(section, "")
    for line in block.splitlines():
        done = run(*words_of(line), cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        assert (tmp_path / words_of(line)[-1]).stat().st_size > 1000


# --- what the pages must have ---------------------------------------------------------------------


def rows(text: str) -> set[str]:
    """The code at the beginning of each table row."""
    return set(re.findall(r"^\| `([a-z0-9-]+)` \| ", text, flags=re.MULTILINE))


def test_every_recipe_is_told():
    assert rows(read("docs/recipes.md")) >= set(PRESETS)
    assert rows(read("docs/guide/style.md")) >= set(STYLE_PRESETS)


@pytest.mark.parametrize("name", ["README.md", "README.sw.md"])
def test_the_readme_is_one_screen(name: str):
    text = read(name)
    assert text.count("\n") <= LINES_OF_A_SCREEN
    assert len(text) <= LETTERS_OF_A_SCREEN
    assert [line.split()[1] for line in blocks(text, "")[0].splitlines()[1:]] == ["demo", "test"]
    assert len(re.findall(r"!\[[^]]+\]\(", text)) == 3


def test_the_readme_counts_rightly():
    words = {5: "five", 14: "fourteen", 15: "fifteen"}
    text = read("README.md")
    assert f"{words.get(len(PRESETS), len(PRESETS))} for training" in text
    assert f"{words.get(len(STYLE_PRESETS), len(STYLE_PRESETS))} for painting" in text
    assert f"{words.get(len(TITLES), len(TITLES))} findings" in text


def test_every_finding_is_told_with_its_severity_and_shown():
    text = read("docs/healthy.md")
    told = dict(re.findall(r"^\| \[`([a-z-]+)`\]\(#[a-z-]+\) \| ([a-z ]+) \|", text, flags=re.MULTILINE))
    assert set(told) == set(TITLES)
    code = "".join(Path(module.__file__ or "").read_text() for module in (check_balance, check_data, check_generator))
    made = dict(re.findall(r'history\.finding\(\s*"([a-z-]+)", "?(\w+)', code))
    assert set(made) == set(TITLES)
    assert {name: made[name] for name in told if name != "too-few"} == {
        name: severity for name, severity in told.items() if name != "too-few"
    }
    shown = set(re.findall(r"\]\(pictures/health/([a-z-]+)\.jpg\)", text))
    assert shown == set(TITLES) - {"too-few", "not-finite"} | {"healthy"}
    assert all(f"`{name}`." in text for name in TITLES)


LESSON = [*(f"P{n}" for n in range(1, 13)), *(f"K{n}" for n in range(1, 8)), *(f"S{n}" for n in range(1, 9))]


def test_every_row_of_the_lesson_is_told():
    _, _, text = read("docs/lesson.md").partition("## Every row of the lesson")
    table = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE)
    assert [row for row, _, _ in table if row in LESSON] == LESSON
    assert {row for row, _, _ in table} - set(LESSON) == {"page", "quiz", "row"}
    assert [row for row, taught, here in table if len(taught) < 10 or not re.search(r"`|\]\(|\*", here)] == ["row"]


# --- links ----------------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """The targets of links and pictures, outside of blocks and code."""
    text = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def there(path: Path, link: str) -> bool:
    """Whether a link leads somewhere; the notebooks need not be there."""
    if re.match(r"[a-z]+:", link):
        return re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[^\s<>]*)?|mailto:[^@\s]+@[^@\s]+", link) is not None
    place, _, anchor = link.partition("#")
    target = path.parent / place if place else path
    if "/notebooks/" in str(target) and not (ROOT / "notebooks").exists():
        return True
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and the pages have them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | ({"what-each-recipe-changes"} if path.name == "commands.md" else set())


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path: Path):
    assert [link for link in links(path.read_text(encoding="utf-8")) if not there(path, link)] == []


def test_a_link_that_leads_nowhere_would_be_noticed():
    page = ROOT / "docs/start.md"
    wrong = ["nowhere.md", "recipes.md#nowhere", "#nowhere", "http:/x", "https://a b", "ftp://a.b"]
    assert not any(there(page, link) for link in wrong)
    right = [
        "recipes.md",
        "recipes.md#all-recipes",
        "#install",
        "https://pytorch.org/get-started",
        "pictures/ring.jpg",
    ]
    assert all(there(page, link) for link in right)
