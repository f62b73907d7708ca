"""Run two sides of a comparison in turns, each in its own process, and print medians and their ratio.

A side is a script called with `--side NAME` that prints one JSON line with `images_per_second` and
`peak_mib` (peak resident memory of the process and its children). Turns are interleaved, so that whatever
else the machine does falls on both sides alike.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

# The largest thresholds of glibc's malloc, for the sides that run "with the allocator setting".
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def peak_mib() -> float:
    """Peak resident memory of this process and of its largest ended child, in MiB."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (own.ru_maxrss + children.ru_maxrss) / 1024


def report(images: int, seconds: float, **more: float) -> None:
    """What a side prints at its end."""
    print(json.dumps({"images_per_second": images / seconds, "peak_mib": peak_mib(), **more}))


def timed(steps: Iterator, count: int, warm_up: int, images_each: int) -> tuple[int, float]:
    """Consume `warm_up` steps, then `count` more; give the images and the seconds of those."""
    for _ in range(warm_up):
        next(steps)
    start = time.perf_counter()
    for _ in range(count):
        next(steps)
    return count * images_each, time.perf_counter() - start


def run_side(script: str, side: str, arguments: list[str], allocator: bool) -> dict[str, float]:
    """One turn of one side."""
    environment = os.environ | (ALLOCATOR if allocator else {})
    command = [sys.executable, script, "--side", side, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the side {side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(script: str, sides: dict[str, bool], arguments: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Medians per side over interleaved rounds. `sides`: name -> whether glibc keeps memory for it."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name, allocator in sides.items():
            results[name].append(run_side(script, name.split(" ")[0], arguments, allocator))
            print(f"  round {turn + 1}  {name:34} {results[name][-1]['images_per_second']:9.1f} images/s", flush=True)
    return {
        name: {key: statistics.median(result[key] for result in given) for key in given[0]}
        for name, given in results.items()
    }


def print_table(medians: dict[str, dict[str, float]], ours: str) -> None:
    """Medians, and how many times faster and how much larger `ours` is than each other side."""
    print(f"\n{'side':36}{'images/s':>10}{'peak MiB':>10}{'ours is faster by':>20}{'memory of ours':>16}")
    for name, figures in medians.items():
        faster = medians[ours]["images_per_second"] / figures["images_per_second"]
        larger = medians[ours]["peak_mib"] / figures["peak_mib"]
        print(
            f"{name:36}{figures['images_per_second']:10.1f}{figures['peak_mib']:10.0f}{faster:19.2f}x{larger:15.2f}x"
        )
