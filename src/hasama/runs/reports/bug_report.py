"""What a bug report needs, as text for an issue: the machine; of a run its recipe, last lines and last error.

What is told of a run is chosen: figures, names of our own, counts. Free text (the message of an error) goes through
`private.Private`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hasama.errors import HasamaError
from hasama.files import size_of
from hasama.health.findings import is_number
from hasama.pictures.sources.sources import BUILT_IN
from hasama.presets import PRESETS
from hasama.recipe import DEFAULTS, Recipe
from hasama.runs.bases import base_names
from hasama.runs.folder import Run
from hasama.runs.reports.last_error import crash_file, error_file, read_error
from hasama.runs.reports.machine import device, extras, processor, variables, versions
from hasama.runs.reports.private import Private, forms_of, names_of

LINES = 8
"""Last lines of the log that are told."""
WORD = re.compile(r"-{0,2}[a-z][a-z-]*|-{0,2}[0-9.,x:-]+")
NAMED_BY_USERS = ("init_from", "only")
"""Fields of a recipe that hold paths, or names of people's classes."""
BEFORE_YOU_SEND_IT = (
    "Paths, file names and the names of users and machines were taken out as far as they could be known; please read "
    "it before you send it."
)


def bug_report(folder: str | Path | None = None) -> dict[str, Any]:
    """All that a bug report needs, as JSON can hold it.

    Args:
        folder: of a run that it is about; None: there is none.

    Raises:
        HasamaError: there is no run in that folder.
    """
    told: dict[str, Any] = {
        "versions": versions(),
        "extras": extras(),
        "machine": processor() | device(),
        "variables": variables(),
    }
    private = Private(forms_of(Path.cwd(), "HERE"))
    if folder is not None:
        told["run"], private = _run(Run(folder))
    crash = read_error(crash_file())
    if crash:
        told["last crash of a command"] = _error(crash, private)
    return _without_people(told, Private())


def _run(run: Run) -> tuple[dict[str, Any], Private]:
    """What there is to tell of a run, and what is private in it.

    Raises:
        HasamaError: there is none.
    """
    if not run.exists():
        raise HasamaError(f"There is no run at {run.folder} (no recipe.json).")
    images = _images(run)
    private = _private(run, images or {})
    told: dict[str, Any] = {"state": _state(run)}
    try:
        told["recipe"] = _recipe(run.recipe())
    except HasamaError as error:
        told["recipe"] = {"damaged": private.clean(str(error))}
    told["pictures"] = _pictures(images) if images else {"damaged": "images.json cannot be read"}
    told |= _last_lines(run)
    if (stage := run.stage()) is not run:
        told["stage of half the size"] = {"state": _state(stage)} | _last_lines(stage)
    error = read_error(error_file(run.folder))
    told["last error"] = _error(error, private) if error else "none"
    return told, private


def _last_lines(run: Run) -> dict[str, Any]:
    findings, log = run.findings()[-LINES:], run.log()[-LINES:]
    return {"findings": [_figures(line) for line in findings], "log": [_figures(line) for line in log]}


def _images(run: Run) -> dict[str, Any] | None:
    try:
        return run.images()
    except HasamaError:
        return None


def _private(run: Run, images: dict[str, Any]) -> Private:
    """Of a run: where it lies, where its pictures came from, and what it, they and their classes are called."""
    names = forms_of(Path.cwd(), "HERE")
    names |= names_of(images.get("skipped"), "PICTURE") | names_of([images.get("only")], "PICTURE")
    groups = images.get("duplicates")
    for group in groups if isinstance(groups, list) else []:
        names |= names_of(group, "PICTURE")
    names |= names_of(images.get("classes"), "CLASS")
    try:
        recipe = run.recipe()
        names |= names_of(recipe.only.split(","), "CLASS")
        names |= forms_of(recipe.init_from, "OTHER-RUN") if recipe.init_from not in ("", *base_names()) else {}
    except HasamaError:
        pass
    if (source := images.get("name", "")) not in ("", *BUILT_IN):
        names |= forms_of(source, "SOURCE") | names_of([images.get("source", "")], "SOURCE")
    return Private(names | forms_of(run.folder, "RUN"))


def _state(run: Run) -> dict[str, Any]:
    files = {file.name: size_of(file) for file in (run.checkpoint, run.generator, run.best, run.log_file)}
    state = {"images seen at the checkpoint": run.images_seen(), "being trained now": run.is_held()}
    return state | {"threads": run.threads()} | {f"{name}, bytes": size for name, size in files.items()}


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """The architecture, and what is not as it is by default; of what users named, only that there is something."""
    told = {name: value for name, value in recipe.to_dict().items() if getattr(recipe, name) != DEFAULTS[name]}
    told = {"architecture": recipe.architecture} | told
    for name in NAMED_BY_USERS:
        if told.get(name) not in (None, "", *base_names()):
            told[name] = "(given)"
    return told


def _pictures(images: dict[str, Any]) -> dict[str, Any]:
    """Counts of what was found, without a name of any of it."""
    kept = ("found", "used", "resolution", "channels", "fit", "crops", "dark")
    told = {name: images[name] for name in kept if name in images}
    told["source"] = images["name"] if images["name"] in BUILT_IN else "(a source of the user's)"
    reasons = Counter(Private().clean(str(reason)) for reason in images.get("skipped", {}).values())
    classes, groups = images.get("classes"), images.get("duplicates")
    counts = list(classes.values()) if isinstance(classes, dict) else classes
    return told | {
        "skipped": dict(reasons),
        "classes": counts,
        "duplicates": len(groups) if isinstance(groups, list) else groups,
    }


def _figures(line: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a line of the log; of a finding also its name and how bad it is."""
    told: dict[str, Any] = {name: line[name] for name in ("name", "severity") if name in line}
    told |= {name: _short(value) for name, value in line.items() if is_number(value)}
    evidence = line.get("evidence")
    if isinstance(evidence, dict):
        told["evidence"] = {name: _short(value) for name, value in evidence.items() if is_number(value)}
    return told


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _error(error: Mapping[str, Any], private: Private) -> dict[str, Any]:
    """An error as it was kept; of the command's words those that are ours."""
    command, *words = error["words"] or [""]  # what nobody expected did not come from an unknown command
    typed = [word for word in words if not _is_ours(word)]
    own = private.also({form: "WORD" for word in typed for form in forms_of(word.partition("=")[2] or word, "WORD")})
    told: dict[str, Any] = {name: error[name] for name in ("when", "version", "kind")}
    told["message"] = own.clean(error["message"])
    if command:
        told["command"] = " ".join(["hasama", command, *(w if _is_ours(w) else _hidden(w) for w in words)])
    return told | {"frames": [str(frame) for frame in error["frames"]]}


def _is_ours(word: str) -> bool:
    """Whether a word of a command line is a flag, a number, a recipe or a built-in source."""
    if word.startswith("--"):
        name, _, value = word.partition("=")
        return WORD.fullmatch(name) is not None and (not value or _is_ours(value))
    return bool(re.fullmatch(r"-?[0-9.,x:-]+|-h", word)) or word in PRESETS or word in BUILT_IN


def _hidden(word: str) -> str:
    return f"{word.partition('=')[0]}=WORD" if word.startswith("--") else "WORD"


def _without_people(told: Any, people: Private) -> Any:
    """Once more through everything: the names of the user and of the machine, wherever they may have come from."""
    if isinstance(told, str):
        return people.without_names(told)
    if isinstance(told, dict):
        return {key: _without_people(value, people) for key, value in told.items()}
    return [_without_people(value, people) for value in told] if isinstance(told, list) else told


# --- as text --------------------------------------------------------------------------------------


def as_text(report: Mapping[str, Any]) -> str:
    """The report as text to be pasted into an issue."""
    parts = [f"<!-- Made by `hasama report`. {BEFORE_YOU_SEND_IT} -->"]
    for title, section in report.items():
        if title == "run":
            parts += [_section(f"run: {name}", part) for name, part in section.items()]
        else:
            parts.append(_section(title, section))
    return "\n\n".join(parts)


def _section(title: str, content: Any) -> str:
    lines = list(_lines(content)) or ["none"]
    return "\n".join([f"### {title[0].upper()}{title[1:]}", "", "```text", *lines, "```"])


def _lines(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        width = max(map(len, content), default=0)
        for name, value in content.items():
            if isinstance(value, list) and value and isinstance(value[0], str):
                yield from (f"{name if not number else '':{width}}  {one}" for number, one in enumerate(value))
            else:
                yield f"{name:{width}}  {value if isinstance(value, str) else json.dumps(value)}"
    elif isinstance(content, list):
        yield from (json.dumps(line) for line in content)
    else:
        yield str(content)
