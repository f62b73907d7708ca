"""A training on streamed shards that was killed is the one that was not; and it starts once on each machine."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import FORM, hasama, refused, run_code, start
from hasama.runs.folder import Run

LENGTH = ["--kimg", 2.4, "--sample-kimg", 100, "--checkpoint-minutes", 0.002, "--mirror", "--labels"]
COMMAND = ["dcgan", *FORM, *LENGTH]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven unequal shards: the batch of 16 has four lanes."""
    folder = tmp_path_factory.mktemp("shards")
    pixels = np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3), np.uint8)
    np.savez(folder / "p.npz", images=pixels, labels=np.arange(500) % 2)
    done = hasama(
        "images", folder / "p.npz", "--size", 16, "--labels", "--shards", folder / "s", "--shard-mb", 0.2,
        HASAMA_CACHE=str(folder / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "shards" in done.stdout
    (folder / "s/shards.json").unlink()
    (folder / "s/shard-000003.tar").unlink()
    return folder / "s"


def test_killed_and_resumed_it_is_the_run_that_was_not(shards: Path, tmp_path: Path):
    cache: Any = {"HASAMA_STREAM_GB": "0", "HASAMA_CACHE": str(tmp_path / "cache")}
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = hasama("train", shards, *COMMAND, "--out", whole, **cache)
    assert done.returncode == 0, done.stderr
    assert "decoded as they are needed" in done.stdout
    kills = 0
    for _ in range(20):
        process = start("train", shards, *COMMAND, "--out", out, **cache)
        seen = Run(out).images_seen() if out.exists() else 0
        end = time.monotonic() + 60
        while kills < 2 and process.poll() is None and time.monotonic() < end:
            if (out / "game.pt").exists() and Run(out).images_seen() > seen:
                process.kill()
                kills += 1
            time.sleep(0.01)
        process.communicate()
        if process.returncode == 0:
            break
    assert kills == 2
    assert Run(out).images_seen() == 2400
    games = [torch.load(folder / "game.pt", weights_only=True)["game"] for folder in (whole, out)]
    assert str(games[0]) == str(games[1])
    assert (whole / "generator.safetensors").read_bytes() == (out / "generator.safetensors").read_bytes()
    assert json.loads((out / "images.json").read_text())["streamed"] == 7 <= 8


def test_what_goes_with_a_run_goes_with_streamed_shards(shards: Path, tmp_path: Path):
    cache: Any = {"HASAMA_STREAM_GB": "0", "HASAMA_CACHE": str(tmp_path / "cache")}
    out, brief = tmp_path / "run", ["--kimg", 0.32, "--only", "1", "--held-out", 0.2, "--health-kimg", 0.16]
    done = hasama("train", f"{shards}/{{shard-000000,shard-000001,shard-000002}}.tar", "dcgan", *FORM, *brief,
                  "--out", out, cwd=tmp_path, **cache)  # fmt: skip
    assert done.returncode == 0, done.stderr
    images = json.loads((out / "images.json").read_text())
    assert images["used"] == sum(_labels(shards, number).count("1") for number in range(3))
    assert any(
        "held_out" in name or "overfit" in name or "diversity" in name for line in Run(out).log() for name in line
    )
    done = hasama("evaluate", out, "--count", 20, "--features", "efficientnet", **cache)
    assert done.returncode == 0, done.stderr
    done = hasama("doctor", out, **cache)
    assert done.returncode == 0, done.stderr
    refused(hasama("train", f"{shards}/{{00..99}}.tar", **cache), "names 100 tars, and there is no")
    refused(hasama("train", "http://127.0.0.1:9/x.zip", **cache), "is no address of shards")


def _labels(shards: Path, number: int) -> list[str]:
    import tarfile

    with tarfile.open(shards / f"shard-{number:06}.tar") as archive:
        return [archive.extractfile(one).read().decode() for one in archive if one.name.endswith(".cls")]  # type: ignore[union-attr]


SCAN = """
import sys, time
from collections import deque
import hasama.pictures.cache as cache
from hasama.pictures.decoding import Form

real = cache.decode

def counted(*given):
    with open(sys.argv[2], "a") as file:
        file.write("scan\\n")
    for record in real(*given):
        time.sleep(0.01)
        yield record

cache.decode = counted
reading = cache.Reading(sys.argv[1], Form((16, 16)))
deque(reading.scan(), maxlen=0)
pictures = reading.pictures()
print(len(pictures), int(pictures.take(range(5)).sum()))
"""


def test_processes_of_one_machine_scan_once_and_then_open_the_same(pictures: Path, tmp_path: Path):
    started = [start(SCAN, pictures, tmp_path / "scans", main=run_code) for _ in range(3)]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(said)) == 1
    assert said[0].startswith("40 ")
    assert (tmp_path / "scans").read_text() == "scan\n"
