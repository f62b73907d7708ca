"""The commands `suggest` and `sweep` in real processes, with or without what makes them slow."""

import os
import subprocess
from pathlib import Path
from typing import Any

import command
from command import Started, forked, hide, start


def main() -> None:
    """The command. HASAMA_TEST_SECONDS: how long `suggest` times steps. HASAMA_TEST_JUDGE: instead of KID, a figure
    that costs nothing: how far a picture's mean is from the middle grey, so that trials differ.
    """
    import hasama.cli.app
    import hasama.runs.pace
    import hasama.tuning.sweep_score
    from hasama.generators.sampling import draw_latents

    def cheap(*_: Any) -> Any:
        return lambda by: abs(by.generate(draw_latents(0, 4, by.latent_size)).mean() - 128.0) / 128

    if os.environ.get("HASAMA_TEST_JUDGE"):
        hasama.tuning.sweep_score.by_kid = cheap
    if os.environ.get("HASAMA_TEST_SECONDS"):
        hasama.runs.pace.SECONDS = float(os.environ["HASAMA_TEST_SECONDS"])
    hasama.cli.app.main()


def without_optuna() -> None:
    hide("optuna")
    main()


TINY = [*command.TINY, "--health-kimg", 0]


def advise(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return forked(main, *arguments, **environment)


def begin_sweep(pictures: Path, out: Path, *flags: object) -> Started:
    """Start a sweep that is judged cheaply; the caller ends it."""
    return start("sweep", pictures, "dcgan", *TINY, "--out", out, *flags, main=main, HASAMA_TEST_JUDGE="1")
