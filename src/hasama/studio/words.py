"""The pages' words in several languages: one file for each, `texts/LANGUAGE.json`, {key: text}."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PLACE = Path(__file__).parent / "texts"
FIRST = "en"


@cache
def texts(language: str) -> dict[str, Any]:
    """{key: text} of a language; its own name stands under `language`, what it teaches under `lessons` and `quiz`."""
    return json.loads((PLACE / f"{language}.json").read_text(encoding="utf-8"))


@cache
def languages() -> dict[str, str]:
    """{code: what it calls itself}"""
    return {file.stem: texts(file.stem)["language"] for file in sorted(PLACE.glob("*.json"))}


class Words:
    """The words of one language.

    Args:
        language: one of `languages()`.
    """

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        """A text, with values for what stands in braces."""
        text = texts(self.language)[key]
        return text.format(**values) if values else text


class Question(NamedTuple):
    """Of a quiz.

    Attributes:
        ask: the question.
        answers: to choose from.
        right: the number of the right one.
        why: why it is right.
    """

    ask: str
    answers: list[str]
    right: int
    why: str


class Lesson(NamedTuple):
    """A short page.

    Attributes:
        id: the same in all languages.
        title: its heading.
        text: paragraphs.
        attempt: what to do in the live experiment, and what is seen.
    """

    id: str
    title: str
    text: list[str]
    attempt: str


def lessons(language: str) -> list[Lesson]:
    """In the order in which they are to be read."""
    return [Lesson(one["id"], one["title"], one["text"], one["try"]) for one in texts(language)["lessons"]]


def quiz(language: str, which: str) -> list[Question]:
    """The questions `before` or `after` the lessons."""
    return [Question(**one) for one in texts(language)["quiz"][which]]


def wanted(cookie: str | None, accepted: str) -> str:
    """The language of a visitor.

    Args:
        cookie: what was chosen before.
        accepted: the browser's Accept-Language.
    """
    known = languages()
    if cookie in known:
        return cookie
    for part in accepted.split(","):
        code = part.split(";")[0].strip().split("-")[0].lower()
        if code in known:
            return code
    return FIRST
