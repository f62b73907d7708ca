"""One training on several processes is the training on one: figures, files, kills and resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from command import TINY, hasama, start
from company import GAMES, all_games, begin, end, figures_of, free_port, furthest, said, together
from hasama.distributed import started_as
from hasama.errors import HasamaError
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.shares import WHOLE, Part, computing, drawn, in_parts, noise_like, part

TRAIN = ["train", "digits", "r3gan", *TINY, "--health-kimg", "0", "--quality-kimg", "0"]


# --- random numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(("world", "parts"), [(2, 1), (4, 1), (1, 2), (2, 4)])
@pytest.mark.parametrize("blocks", [1, 2])
def test_the_parts_together_draw_what_the_whole_batch_draws(world: int, parts: int, blocks: int):
    torch.manual_seed(5)
    whole = torch.randn(blocks * 16, 3)
    put = torch.full_like(whole, torch.nan).view(blocks, 16, 3)
    for rank in range(world):
        for number in range(parts):
            part = Part(rank + world * number, world * parts, 16 // (world * parts), number, parts)
            torch.manual_seed(5)
            with computing(part):
                mine = drawn(torch.randn, blocks * part.images, 3)
            put[:, part.first :: part.every] = mine.view(blocks, -1, 3)
    assert torch.equal(put.view_as(whole), whole)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_noise_for_a_share_is_the_noise_for_the_batch(layout: torch.memory_format):
    images = torch.zeros(8, 3, 4, 5).contiguous(memory_format=layout)
    torch.manual_seed(1)
    whole = torch.randn_like(images)
    torch.manual_seed(1)
    with computing(Part(1, 2, 4)):
        assert torch.equal(noise_like(images[1::2].contiguous(memory_format=layout)), whole[1::2])


def test_the_parts_of_a_share_lie_within_it():
    with computing(Part(1, 2, 8)):
        parts = [part() for _ in in_parts(4)]
    assert [(part.first, part.every, part.images) for part in parts] == [(1, 8, 2), (3, 8, 2), (5, 8, 2), (7, 8, 2)]
    assert part() == WHOLE


def test_half_of_torchruns_variables_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(HasamaError, match="Start them by torchrun"):
        started_as()


# --- the same figures -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone() -> dict[str, list[dict[str, float]]]:
    return {name: figures_of(name) for name in GAMES}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, list[dict[str, float]]]]:
    found = {}
    for world in (2, 4):
        file = tmp_path_factory.mktemp("figures") / "figures.json"
        together(world, file, main=all_games)
        found[world] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("game", GAMES)
def test_a_game_shared_out_is_the_game_of_one(game: str, world: int, alone: dict, shared: dict):
    assert furthest(alone[game], shared[world][game]) < 2e-3


PER_PICTURE = ("dense", "r3gan", "r3gan, labels", "r3gan, diffaugment")
"""Nothing in these networks mixes the pictures of a batch."""


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("game", PER_PICTURE)
def test_a_batch_in_parts_gives_the_figures_of_the_batch(game: str, parts: int, alone: dict):
    assert furthest(alone[game], figures_of(game, accumulate=parts)) < 2e-3


def test_a_batch_in_parts_keeps_generators_statistics_of_its_own_turn_only():
    """The mean style moves once for each part, not once more for each time that fakes are made again."""
    from hasama.networks.registry import build
    from hasama.presets import RECIPES
    from hasama.training.setup import new_game
    from hasama.training.turns import play

    recipe = RECIPES["dcgan"].but(size="16", width=2, latent_size=4, batch=8, accumulate=2)
    game = new_game(build(recipe, 3), recipe)
    next(play(game, iter([torch.zeros(8, 3, 16, 16)])))
    counts = [int(n) for key, n in game.pair.generator.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts
    assert set(counts) == {2}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch": 15, "accumulate": 2}, "cannot be divided"),
        ({"batch": 4, "accumulate": 4}, "at least two pictures"),
        ({"batch": 8, "accumulate": 2, "balance": "skip-strong"}, "--accumulate 1 only"),
        ({"batch": 8, "accumulate": 2, "architecture": "vae"}, "--accumulate does not apply"),
    ],
)
def test_what_cannot_be_taken_in_parts_is_refused(changes: dict, told: str):
    with pytest.raises(HasamaError, match=told):
        Recipe(**changes)


# --- the command ----------------------------------------------------------------------------------


def losses(run: Path) -> list[float]:
    return [line["loss_generator"] for line in Run(run).log()]


def close(one: Path, other: Path) -> None:
    assert losses(one) == pytest.approx(losses(other), rel=0.02)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    assert hasama(*TRAIN, "--kimg", "1", "--out", out, OMP_NUM_THREADS="1").returncode == 0
    return out


def test_two_processes_train_one_run_and_one_of_them_talks(tmp_path: Path, by_one: Path):
    told = together(2, *TRAIN, "--kimg", "1", "--out", tmp_path / "run")
    assert "shared out among 2 processes" in told[0]
    assert "Done: 1.008 kimg" in told[0]
    assert told[1] == ""
    close(tmp_path / "run", by_one)


@pytest.mark.slow
def test_one_that_is_late_is_waited_for(tmp_path: Path, by_one: Path):
    processes = begin(2, *TRAIN, "--kimg", "1", "--out", tmp_path / "run", late=3)
    assert end(processes) == [0, 0]
    close(tmp_path / "run", by_one)


def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path: Path, by_one: Path):
    """4 -> 1 -> 2, with another number of parts, too."""
    out = tmp_path / "run"
    schedule = ("--schedule-kimg", "1")  # as that of the other one
    together(4, *TRAIN, "--kimg", "0.32", *schedule, "--out", out)
    assert hasama(*TRAIN, "--kimg", "0.64", *schedule, "--out", out, OMP_NUM_THREADS="1").returncode == 0
    together(2, *TRAIN, "--kimg", "1", "--accumulate", "2", *schedule, "--out", out)
    close(out, by_one)


def test_all_stop_when_one_is_asked_to(tmp_path: Path):
    processes = begin(2, *TRAIN, "--kimg", "1000", "--out", tmp_path / "run")
    wait_for_log(tmp_path / "run")
    processes[1].send_signal(signal.SIGUSR1)
    codes = end(processes)
    assert codes[1] == 75
    assert "Saved at" in said(processes[0])
    assert Run(tmp_path / "run").images_seen() > 0


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_all_with_one_message_and_the_run_goes_on(tmp_path: Path, lost: int):
    out = tmp_path / "run"
    together(2, *TRAIN, "--kimg", "0.16", "--schedule-kimg", "1000", "--out", out)
    processes = begin(2, *TRAIN, "--kimg", "1000", "--schedule-kimg", "1000", "--out", out)
    wait_for_log(out, more_than=160)
    processes[lost].kill()
    codes = end(processes)
    assert codes[1 - lost] == 1
    told = said(processes[1 - lost])
    assert told.count("Another of the 2 processes is gone") == 1
    assert "Traceback" not in told
    assert Run(out).images_seen() == 160
    assert "broke" not in told


def wait_for_log(run: Path, more_than: int = 0) -> None:
    for _ in range(600):
        lines = Run(run).log() if (run / "log.jsonl").exists() else []
        if lines and lines[-1]["images_seen"] > more_than:
            return
        time.sleep(0.1)
    raise AssertionError("it never began")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "15"], "--batch 15 cannot be shared out evenly among 2 processes"),
        (["--autopilot"], "--autopilot works in one process"),
    ],
)
def test_what_several_cannot_do_is_told_once(tmp_path: Path, words: list[str], told: str):
    processes = begin(2, "train", "digits", "r3gan", "--size", "16", "--kimg", "1", *words, "--out", tmp_path / "run")
    assert end(processes) == [2, 2]
    everything = "".join(map(said, processes))
    assert everything.count("hasama:") == 1
    assert told in everything


def test_commands_of_one_process_refuse_several():
    processes = begin(2, "runs")
    assert end(processes) == [2, 2]
    assert "start it without torchrun" in said(processes[0])
    assert said(processes[1]) == ""


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (signal.SIGTERM, [], 0),
        (signal.SIGTERM, ["--requeue"], 75),
        (signal.SIGUSR1, [], 75),
        (signal.SIGINT, ["--requeue"], 130),
    ],
)
def test_a_signal_saves_and_the_exit_code_says_whether_to_start_again(
    tmp_path: Path, number: signal.Signals, words: list[str], code: int
):
    process = start(*TRAIN, "--kimg", "1000", *words, "--out", tmp_path / "run")
    wait_for_log(tmp_path / "run")
    process.send_signal(number)
    assert process.wait(60) == code
    assert Run(tmp_path / "run").images_seen() > 0


# --- what else is shared --------------------------------------------------------------------------


def test_teaching_is_shared_out(tmp_path: Path):
    """Each paints half of the crops; the painter is that of one process."""
    painting = tmp_path / "painting.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(painting)
    small = ["--crop", "32", "--style-size", "32", "--width", "4", "--batch", "4"]
    words = ["teach", painting, "--kimg", "0.012", *small]
    assert hasama(*words, "--out", tmp_path / "one.safetensors", OMP_NUM_THREADS="1").returncode == 0
    told = together(2, *words, "--out", tmp_path / "two.safetensors")
    assert "paints at once" in told[0]
    assert told[1] == ""
    logs = [(tmp_path / f"{name}.teaching" / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    ours, theirs = (json.loads(lines[-1]) for lines in logs)
    assert ours["style"] == pytest.approx(theirs["style"], rel=1e-3)
    ours, theirs = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in ours)


def test_evaluating_is_shared_out(tmp_path: Path, by_one: Path):
    reals = tmp_path / "reals"
    reals.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (25, 16, 16), np.uint8)):
        Image.fromarray(pixels).save(reals / f"{number}.png")
    words = ["evaluate", by_one, "--source", reals, "--features", "efficientnet", "--count", "21", "--json"]
    alone = json.loads(hasama(*words, HASAMA_CACHE=str(tmp_path / "a"), OMP_NUM_THREADS="1").stdout)
    told = together(2, *words, HASAMA_CACHE=str(tmp_path / "b"))
    assert told[1] == ""
    shared = json.loads(told[0])
    for name, figure in alone["figures"].items():
        assert shared["figures"][name] == pytest.approx(figure, rel=1e-3, abs=1e-3), name


def test_coverage_is_shared_out(tmp_path: Path):
    words = ["coverage", "ring", "--kimg", "2", "--seeds", "0-1", "--json"]
    alone = json.loads(hasama(*words, OMP_NUM_THREADS="1").stdout)
    told = together(2, *words, "--out", tmp_path / "kept")
    assert told[1] == ""
    shared = json.loads(told[0])
    assert shared["floor"] == alone["floor"]
    for ours, theirs in zip(alone["seeds"], shared["seeds"], strict=True):
        assert theirs["modes"] == pytest.approx(ours["modes"], abs=1)
        assert theirs["kl"] == pytest.approx(ours["kl"], rel=0.2)


# --- torchrun itself ------------------------------------------------------------------------------


def torchrun(*words: object, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables
    )


@pytest.mark.slow
def test_torchrun_starts_again_what_was_killed_and_the_run_is_the_same(tmp_path: Path):
    """It goes back to the checkpoint, and comes to the same weights."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    length = ["--kimg", "2", "--checkpoint-minutes", "0.005"]
    together(2, *TRAIN, *length, "--out", whole)
    agent = torchrun("--nproc-per-node", 2, "--max-restarts", 2, "-m", "hasama", *TRAIN, *length, "--out", torn)
    wait_for_log(torn, more_than=400)
    workers = subprocess.run(["pgrep", "-P", str(agent.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[-1]), signal.SIGKILL)
    told, _ = agent.communicate(timeout=120)
    assert agent.returncode == 0, told
    assert "Going on with" in told
    assert (whole / "generator.safetensors").read_bytes() == (torn / "generator.safetensors").read_bytes()


@pytest.mark.slow
def test_two_machines_that_share_nothing_but_the_network(tmp_path: Path, by_one: Path):
    """Two torchruns that meet at an address; each has its own run folder and its own cache of pictures."""
    port = free_port()
    agents = []
    for node in (0, 1):
        meeting = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d"]
        where = ["--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "one", "-m", "hasama"]
        own = {"HASAMA_CACHE": str(tmp_path / f"cache{node}"), "OMP_NUM_THREADS": "1"}
        agents.append(torchrun(*meeting, *where, *TRAIN, "--kimg", "1", "--out", tmp_path / f"run{node}", **own))
    for agent in agents:
        told, _ = agent.communicate(timeout=120)
        assert agent.returncode == 0, told
    done = [node for node in (0, 1) if (tmp_path / f"run{node}" / "generator.safetensors").exists()]
    assert len(done) == 1  # rank 0 is on either of them
    close(tmp_path / f"run{done[0]}", by_one)
