"""How long a user waits before anything happens: `hasama --help`, and `import hasama` against `import torch`.

    python benchmarks/startup.py [--rounds 9]

Wanted: `import hasama` (with its largest part, the training loop) under
1.5 times `import torch`, `--help` under 0.5 s.
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import hasama": ["-c", "import hasama"],
    "import hasama; hasama.train": ["-c", "import hasama; hasama.train"],
    "hasama --help": ["-m", "hasama", "--help"],
    "hasama train --help": ["-m", "hasama", "train", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
    torch = statistics.median(seconds["import torch"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:30}{median:7.3f} s{median / torch:8.2f} x import torch")


if __name__ == "__main__":
    main()
