"""The pages' words in several languages: one file for each, `texts/LANGUAGE.json`, {key: text}."""

import json
from functools import cache
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent / "texts"
FIRST = "en"


@cache
def texts(language: str) -> dict[str, str]:
    """{key: text} of a language; its own name stands under `language`."""
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
