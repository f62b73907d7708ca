"""The studio: start, memory, a run with a very long log, and the way from a slider to a picture.

    python benchmarks/studio.py [--lines 1000000] [--size 64]

Needs the extra `studio`. The generator is a dcgan that has hardly begun: what it makes does not matter here.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory


def memory_of(pid: int) -> float:
    """MiB that a process holds."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def asked(address: str) -> float:
    """Seconds until an answer is there in full."""
    began = time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        answer.read()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=64)
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
            print(f"a log of {given.lines:,} lines ({size:.0f} MiB)   {statistics.median(pages):.2f} s")
            print(f"memory of the server   {memory_of(server.pid):.0f} MiB")
            asked(f"{found[0]}generated.png?run=long")
            times = [asked(f"{found[0]}generated.png?run=long&seed={seed}&across=0.5") for seed in range(30)]
            print(f"slider to picture, {given.size} pixels   {1000 * statistics.median(times):.0f} ms")
            print(f"memory with a generator   {memory_of(server.pid):.0f} MiB")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
