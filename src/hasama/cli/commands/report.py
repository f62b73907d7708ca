"""hasama report, hasama --version: what a bug report needs."""

import json as as_json
from pathlib import Path

from hasama.version import __version__


def report(run: Path | None = None, /, *, out: Path | None = None, json: bool = False) -> int:
    """Gather what a bug report needs: versions, this machine, and of a run its recipe, last lines and last error.

    Without private paths: the home folder, names of users, machines, sources, files and classes are taken out. Read
    it before you send it all the same; nothing is sent by itself.

    Parameters
    ----------
    run
        The run's folder that it is about, if it is about one.
    out
        Write it to this file, such as report.txt.
    json
        As JSON, for programs.
    """
    from hasama.cli.terminal import say
    from hasama.files import check_place, replacing
    from hasama.runs.reports.bug_report import as_text, bug_report

    if out is not None:
        check_place(out)
    told = bug_report(run)
    text = as_json.dumps(told, indent=2) if json else as_text(told)
    if out is None:
        say(text)
        return 0
    with replacing(out) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    say(f"Written to {out}. Please read it before you send it.")
    return 0


def version_text() -> str:
    """'hasama 0.2.0 (torch 2.13.0, cpu, 2 threads, Python 3.11.7)'."""
    from hasama.cli.quiet import hush_libraries

    hush_libraries()
    from hasama.runs.reports.machine import in_a_line

    return f"hasama {__version__} ({in_a_line()})"


def remember_crash(error: Exception, words: list[str]) -> int:
    """Show an error that no command expected, keep it for `hasama report`, and say so; Python's own exit code."""
    import traceback

    from hasama.cli.terminal import complain
    from hasama.runs.reports.last_error import crash_file, save_error

    traceback.print_exception(error)
    save_error(crash_file(), error, words)
    complain("This is a fault of Hasama's own. `hasama report` gathers what a bug report needs.")
    return 1
