"""The studio: start, memory, a run with a very long log, and the way from a slider to a picture.

    python benchmarks/studio.py [--lines 1000000] [--size 64]

Needs the extra `studio`. The generator is a dcgan that has hardly begun: what it makes does not matter here.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

EVERY = 2.0
"""Seconds between two questions of the page that watches (static/watch.js)."""


def memory_of(pid: int) -> float:
    """MiB that a process holds."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def asked(address: str) -> float:
    """Seconds until an answer is there in full."""
    began = time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        answer.read()
    return time.perf_counter() - began


def worked(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def images_of(root: str) -> int:
    """How far the watched training is."""
    return json.loads((Path(root) / "watched" / "log.jsonl").read_text().splitlines()[-1])["images_seen"]


def watching(address: str, root: str, pid: int, seconds: float) -> tuple[float, float]:
    """What it costs that a page watches a training that goes on.

    Returns:
        The share of one core that the server takes, and how fast the training is beside its speed when nobody looks;
        watched and unwatched spells take turns.
    """
    words = ["train", "digits", "dcgan", "--size", "32", "--kimg", "100000", "--threads", "1"]
    command = [sys.executable, "-m", "hasama", *words, "--out", f"{root}/watched"]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        log = Path(root) / "watched" / "log.jsonl"
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.2)
        asked(f"{address}watch?run=watched")
        asked(f"{address}api/health?run=watched")
        shares, speeds = [], {True: [], False: []}
        for watched in (True, False, False, True, True, False):
            began, before, seen = time.perf_counter(), worked(pid), images_of(root)
            while (past := time.perf_counter() - began) < seconds / 6:
                if watched:
                    asked(f"{address}api/state?run=watched")
                time.sleep(EVERY)
            speeds[watched].append((images_of(root) - seen) / past)
            if watched:
                shares.append((worked(pid) - before) / past)
        return statistics.mean(shares), statistics.mean(speeds[True]) / statistics.mean(speeds[False])
    finally:
        training.terminate()
        training.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=90, help="for how long a training is watched")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="hasama-") as place:
        run = Path(place) / "long"
        words = ["train", "digits", "dcgan", "--size", str(given.size), "--steps", "2", "--out", str(run)]
        subprocess.run([sys.executable, "-m", "hasama", *words], check=True, capture_output=True)
        line = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
        with (run / "log.jsonl").open("w") as log:
            for number in range(1, given.lines + 1):
                log.write(json.dumps(line | {"images_seen": number}) + "\n")
        began = time.perf_counter()
        command = [sys.executable, "-u", "-m", "hasama", "studio", place, "--port", "0", "--no-browser"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+/", server.stdout.readline())
            assert found is not None
            first = asked(found[0])
            print(f"start to first page   {time.perf_counter() - began:.2f} s (the page itself {first:.3f})")
            size = (run / "log.jsonl").stat().st_size / 2**20
            pages = [asked(f"{found[0]}watch?run=long") + asked(f"{found[0]}api/state?run=long") for _ in range(3)]
            print(f"a log of {given.lines:,} lines ({size:.0f} MiB)   {pages[0]:.2f} s, then {min(pages):.2f}")
            print(f"memory of the server   {memory_of(server.pid):.0f} MiB")
            share, speed = watching(found[0], place, server.pid, given.seconds)
            print(f"watching a training   {100 * share:.1f} % of one core; {speed:.2f} times as fast as unwatched")
            asked(f"{found[0]}generated.png?run=long")
            times = [asked(f"{found[0]}generated.png?run=long&seed={seed}&across=0.5") for seed in range(30)]
            print(f"slider to picture, {given.size} pixels   {1000 * statistics.median(times):.0f} ms")
            print(f"memory with a generator   {memory_of(server.pid):.0f} MiB")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
