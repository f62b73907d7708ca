"""Whether a run is done: `python -m hasama.cluster.standing RUN`, which job scripts ask when a turn is over.

Exit codes: 0, it is done; 75, it is not; 1, it is not, and nothing was saved since the time that `--since` gives; 2,
there is no run.
"""

import sys
from collections.abc import Sequence

from hasama.cluster.job import UNFINISHED
from hasama.errors import HasamaError
from hasama.runs.folder import Run

STUCK = 1


def standing(run: Run, since: float = 0.0) -> tuple[int, str]:
    """How far a run is.

    Args:
        run: the folder.
        since: seconds since 1970.

    Returns:
        The exit code that says so, and a sentence.

    Raises:
        HasamaError: there is no run, or it is damaged.
    """
    recipe, seen, stage = run.recipe(), run.images_seen(), run.stage()
    told = f"{run.folder} stands at {seen / 1000:g} of {recipe.kimg:g} kimg."
    if seen >= recipe.images:
        return 0, told
    if stage.checkpoint.exists() and stage.checkpoint.stat().st_mtime >= since:
        return UNFINISHED, told
    return STUCK, f"{told} Nothing was saved in this turn, so another would be no better: give it more time."


def main(words: Sequence[str]) -> int:
    """Say how far a run is.

    Args:
        words: the folder, and perhaps --since=SECONDS.
    """
    since = [word.removeprefix("--since=") for word in words if word.startswith("--since=")]
    folders = [word for word in words if not word.startswith("--since=")]
    try:
        code, told = standing(Run(folders[0]), float(since[-1]) if since else 0.0)
    except HasamaError as error:
        print(f"hasama: {error}", file=sys.stderr)
        return 2
    print(told, file=sys.stderr if code == STUCK else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
