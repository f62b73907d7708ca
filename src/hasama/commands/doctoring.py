"""hasama doctor."""

import json as as_json
from pathlib import Path


def doctor(run: Path, /, *, json: bool = False, html: Path | None = None) -> int:
    """Say whether a training, finished or running, is healthy, and what to do if not.

    Parameters
    ----------
    run
        The run's folder.
    json
        Print the findings and signals as JSON.
    html
        Also write a page with plots, evidence and the latest samples, such as report.html.
    """
    from hasama.doctor.diagnosis import as_text, diagnose, save_page
    from hasama.errors import HasamaError
    from hasama.run import Run
    from hasama.show import say

    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise HasamaError(f"--html takes a name such as report.html; got {html}.")
    diagnosis = diagnose(Run(run))
    if html is not None:
        save_page(diagnosis, html)
    if json:
        say(as_json.dumps(diagnosis.to_dict(), indent=2))
        return 0
    say(as_text(diagnosis))
    if html is not None:
        say(f"\nThe page: {html}")
    return 0
