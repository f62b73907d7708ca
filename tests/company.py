"""Several processes that train together; without torchrun, which takes seconds to start, but where it is tested."""

import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from command import SECONDS, Started, run_hasama, start


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def begin(
    world: int, *words: object, main: Callable[[], None] = run_hasama, late: float = 0, **more: str
) -> list[Started]:
    """Start the processes, each so many seconds later; what each says goes into a file, `said` tells it."""
    port = str(free_port())
    variables = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    folder = Path(tempfile.mkdtemp())
    begun = []
    for rank in range(world):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        stream = str(folder / f"{rank}.txt")
        begun.append(start(*words, main=main, stdout=stream, stderr=stream, **variables, **ranks, **more))
        begun[-1].words.append(stream)
        if rank < world - 1:
            time.sleep(late)
    return begun


def said(process: Started) -> str:
    return Path(process.words[-1]).read_text()


def end(processes: list[Started]) -> list[int]:
    """Their exit codes, once all are over."""
    with ExitStack() as stack:
        for process in processes:
            stack.callback(process.kill)
        return [process.wait(SECONDS) for process in processes]


def together(world: int, *words: object, main: Callable[[], None] = run_hasama, **more: str) -> list[str]:
    """Run the processes to their end, which must be good: what each said."""
    processes = begin(world, *words, main=main, late=0, **more)
    codes = end(processes)
    told = [said(process) for process in processes]
    assert codes == [0] * world, told
    return told


# --- games of everything --------------------------------------------------------------------------

GAMES: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "dcgan, labels": {"labels": True},
    "dcgan, ada": {"augment": "ada", "ada_kimg": 0.05},
    "dense": {},
    "lesson": {},
    "vae": {},
    "wgan-gp": {},
    "stable": {},
    "stable, finite differences": {"penalty_sigma": 0.1},
    "gentle": {},
    "gentle, skipping": {"skip_above": 0.51},
    "progressive": {"width": 4},
    "msg": {"size": "32"},
    "stylegan": {"penalty_every": 2},
    "stylegan, labels": {"labels": True, "augment": "diffaugment"},
    "r3gan": {
        "pixel_noise": True,
        "generator_width": 3,
        "generator_blocks": 2,
        "generator_attention": True,
        "generator_optimizer": "muon",
        "self_modulation": True,
        "clip_output": True,
    },
    "r3gan, comparing": {"minibatch_std": True, "checkerboard_weight": 1.0},
    "r3gan, labels": {"labels": True, "augment": "ada"},
    "r3gan, diffaugment": {"augment": "diffaugment", "jitter": 1},
    "fast": {"size": "32"},
    "vision-aided": {"clip_output": False},  # with it three steps make 0.005 of a rounding; r3gan has it above
}
"""Every architecture, objective, penalty and augmentation: a preset (up to the comma), and what differs from it."""

TINY: dict[str, Any] = {"size": "16", "width": 2, "latent_size": 4, "batch": 8, "precision": "fp32", "kimg": 0.1}
STEPS = 3


def figures_of(name: str, **changes: Any) -> list[dict[str, float]]:
    """What some steps of a game tell, and then the sum of the EMA generator's weights."""
    from hasama.distributed import team
    from hasama.networks.registry import build
    from hasama.pictures.dataset import Batch
    from hasama.presets import RECIPES
    from hasama.training.setup import loop_for, new_game

    recipe = RECIPES[name.partition(",")[0]].but(**TINY | GAMES[name] | changes)
    game = new_game(build(recipe, 3, 2 if recipe.labels else 0), recipe)
    drawn = torch.Generator().manual_seed(3)
    here = team()

    def batches() -> Iterator[Batch]:
        while True:
            images = torch.rand(8, 3, *recipe.resolution, generator=drawn) * 2 - 1
            labels = torch.randint(0, 2, (8,), generator=drawn)
            mine = slice(here.rank, None, here.world)
            yield Batch(images[mine], labels[mine] if recipe.labels else None)

    steps = loop_for(recipe.architecture)(game, batches())
    told = [next(steps).figures() for _ in range(STEPS)]
    weights = game.sampling_generator.state_dict().values()
    return [*told, {"weights": sum(float(one.double().abs().sum()) for one in weights)}]


def all_games() -> None:
    """Play each game in a process of several: argv is the file for the figures, which the first one writes."""
    from hasama.distributed import together as joined

    torch.set_num_threads(1)
    with joined() as team:
        told = {name: figures_of(name) for name in GAMES}
        if team.rank == 0:
            Path(sys.argv[1]).write_text(json.dumps(told))


def furthest(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """The largest relative difference of two games' figures."""
    assert [set(one) for one in ours] == [set(one) for one in theirs]
    pairs = [(one[name], other[name]) for one, other in zip(ours, theirs, strict=True) for name in one]
    return max(abs(a - b) / (0.01 + abs(a)) for a, b in pairs)
