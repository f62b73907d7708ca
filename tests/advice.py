"""The commands `suggest` and `sweep` in real processes, with or without what makes them slow."""

import os
import subprocess
import sys
from pathlib import Path

# As `python -m hasama`. HASAMA_TEST_SECONDS: how long `suggest` times steps. HASAMA_TEST_JUDGE: instead of KID, a
# figure that costs nothing: how far a picture's mean is from the middle grey, so that trials differ.
COMMAND = [
    sys.executable,
    "-c",
    "import os, hasama.cli as cli\n"
    "from hasama.commands.advising import suggest, sweep\n"
    "known = set(cli.app)\n"
    "[cli.app.command(c) for c in (suggest, sweep) if c.__name__ not in known]\n"
    "if os.environ.get('HASAMA_TEST_JUDGE'):\n"
    "    import hasama.sweep.judging as judging\n"
    "    from hasama.latent import draw_latents\n"
    "    def cheap(pictures, fakes, out, device):\n"
    "        return lambda by: abs(by.paint(draw_latents(0, 4, by.latent_size)).mean() - 128.0) / 128\n"
    "    judging.by_kid = cheap\n"
    "if os.environ.get('HASAMA_TEST_SECONDS'):\n"
    "    import hasama.pace as pace\n"
    "    pace.SECONDS = float(os.environ['HASAMA_TEST_SECONDS'])\n"
    "cli.main()",
]
TINY = ["--size", 16, "--width", 4, "--latent-size", 8, "--batch", 16, "--precision", "fp32", "--probe-kimg", 0]


def advise(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environment, timeout=120,
        check=False,
    )  # fmt: skip


def begin_sweep(pictures: Path, out: Path, *flags: object) -> subprocess.Popen[str]:
    """Start a sweep that is judged cheaply; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, ("sweep", pictures, "dcgan", *TINY, "--out", out, *flags))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"HASAMA_TEST_JUDGE": "1"},
    )  # fmt: skip
