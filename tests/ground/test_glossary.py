"""Kiswahili texts take their terms from the glossary."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
TEXTS = [
    ROOT / "src/hasama/studio/texts/sw.json",
    *sorted((ROOT / "notebooks/texts/sw").glob("*.md")),
    *sorted((ROOT / "docs/locale/sw").rglob("*.po")),
]
"""Everything that is written in Kiswahili."""


def rows() -> list[list[str]]:
    """English, Kiswahili, meaning, maana, what it is not called."""
    lines = [line for line in GLOSSARY.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def variants() -> dict[str, str]:
    """{what it is not called: what it is called}"""
    return {bad.strip(): row[1] for row in rows() for bad in row[4].split(",") if bad.strip()}


def used(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, flags=re.IGNORECASE) is not None


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", " ", text, flags=re.DOTALL)


def test_every_row_is_whole():
    assert len(rows()) > 60
    for row in rows():
        assert len(row) == 5, row
        assert all(row[:4]), row
    english = [row[0] for row in rows()]
    assert len(english) == len({*english})


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_kiswahili_texts_use_the_words_of_the_glossary(path: Path):
    text = without_code(path.read_text("utf-8"))
    assert {bad: good for bad, good in variants().items() if used(bad, text)} == {}


def test_a_variant_would_be_noticed():
    assert {bad for bad in variants() if used(bad, "Kibaguzi na jenereta hushindana.")} == {"kibaguzi", "jenereta"}
    assert not {bad for bad in variants() if used(bad, "Mtambuzi na mzalishaji hushindana.")}


@pytest.mark.parametrize(
    "term", ["mzalishaji", "mtambuzi", "hasara", "mafunzo", "kilele", "gradienti", "mtindo", "tabaka"]
)
def test_the_main_terms_are_in_the_glossary_and_in_use(term: str):
    assert any(term in re.split(r", | ", row[1]) for row in rows())
    assert sum(used(term, path.read_text("utf-8")) for path in TEXTS) >= 2
