"""One training on several processes, as `torchrun` starts them: which part of a batch is ours, and sums over all.

It goes the way of StyleGAN2-ADA and R3GAN: backward on the bare networks, then one sum of all of a network's
gradients. Networks, turns and loops read the same on one process and on many, for alone everything here does nothing.

**A run does not depend on the number of its processes**, but for rounding. Of each batch a process has the images
`rank, rank + world, ...`; random numbers of a batch are drawn for all of it by every process, from the same seed, and
each takes those of its images (`hasama.shares.drawn`); what mixes the images of a batch sees them all (`gathered`,
`summed`).
"""

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from hasama.errors import HasamaError, LostProcessError
from hasama.shares import Part, computing, part

PATIENCE = timedelta(hours=2)
"""How long the others wait for one that is late, for the first one also teaches enlargers and looks at the health.

One that was killed is noticed at once: its connections break."""
POLL_SECONDS = 0.02
Tree = TypeVar("Tree")


class Team(NamedTuple):
    """The processes that train together.

    Attributes:
        rank: which of them this one is.
        world: how many they are.
        local_rank: which of those on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0


_team = Team()


# --- together -------------------------------------------------------------------------------------


def started_as() -> Team:
    """The team that this process was started in, by the environment variables that `torchrun` sets.

    Raises:
        HasamaError: some are missing, or are no numbers.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Team()
    try:
        rank, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise HasamaError(
            f"WORLD_SIZE is set, so this is one of several processes, but RANK and LOCAL_RANK do not fit: {error}. "
            "Start them by torchrun, or unset WORLD_SIZE."
        ) from error
    return Team(rank, world, local)


@contextmanager
def together() -> Iterator[Team]:
    """Inside, this process and the others that `torchrun` started with it are one team; alone, it is a team of one.

    Raises:
        HasamaError: the others cannot be reached.
    """
    global _team
    found = started_as()
    if found.world == 1 or _team.world > 1:
        yield _team
        return
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = _common_store(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
        store.set_timeout(PATIENCE)
        notes = dist.PrefixStore(_meeting(store, found), store)
        dist.init_process_group(backend, timeout=PATIENCE, store=notes, rank=found.rank, world_size=found.world)
    except (RuntimeError, ValueError, KeyError) as error:
        raise HasamaError(f"Process {found.rank} of {found.world} cannot meet the others: {_line(error)}") from error
    _team = found
    try:
        yield found
    except HasamaError as error:
        error.told_here = _first_to_tell()
        raise
    finally:
        _team = Team()
        dist.destroy_process_group()  # gloo may abort where a process ends without


@cache
def _common_store(address: str, port: str) -> "dist.Store":
    """What all write to and read from, kept while this process lives: others may come back to it sooner."""
    return next(dist.rendezvous("env://", timeout=PATIENCE))[0]


def _meeting(store: "dist.Store", here: Team) -> str:
    """A name that only those know who are there now.

    torchrun keeps its store when it starts processes again, and with it the addresses of those that are gone; its own
    count of restarts is not the same on all machines, and a process may meet the others several times.
    """
    mine, others = uuid.uuid4().hex, [str(rank) for rank in range(1, here.world)]
    if here.rank:
        store.set(f"here-{here.rank}", mine)
        while mine not in (told := store.get("meeting").decode().split()):  # it is an earlier one's, until it is ours
            time.sleep(POLL_SECONDS)
        store.set(f"heard-{here.rank}", told[0])
        return told[0]
    while True:
        there = [store.get(f"here-{rank}").decode() for rank in others]  # of one that is late, perhaps an old one
        store.set("meeting", " ".join([mine, *there]))
        time.sleep(POLL_SECONDS)
        if store.check(heard := [f"heard-{rank}" for rank in others]) and {*map(store.get, heard)} == {mine.encode()}:
            return mine


def team() -> Team:
    """Where this process stands among those that train together."""
    return _team


def is_first() -> bool:
    """Whether this process writes the files."""
    return _team.rank == 0


def _first_to_tell() -> bool:
    """Whether this process is the first one to notice that something went wrong: it tells people."""
    try:
        notes = dist.distributed_c10d._get_default_store()
        notes.set_timeout(timedelta(seconds=10))
        return notes.add("told", 1) == 1
    except (RuntimeError, OSError):  # the first process kept the common notes, and is gone, too
        return _team.rank == 1


def agreed(yes: bool) -> bool:
    """Whether any process says yes; the same answer for all, at the same place."""
    if _team.world == 1:
        return yes
    return bool(_sum(torch.tensor(float(yes))).item())


def from_first(make: Callable[[], bytes]) -> bytes:
    """What the first process makes, for all of them."""
    if _team.world == 1:
        return make()
    mine = make() if is_first() else b""
    size = int(_sum(torch.tensor(len(mine), dtype=torch.int64)).item())
    told = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else torch.zeros(size, dtype=torch.uint8)
    with _noticing_losses():
        dist.broadcast(told, 0)
    return told.numpy().tobytes()


def told_by_first(make: Callable[[], Any]) -> Any:
    """What the first process says, for all of them, as JSON gives it back."""
    return json.loads(from_first(lambda: json.dumps(make()).encode()))


@runtime_checkable
class Stateful(Protocol):
    """What has a state: a game, or the like."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        ...


def begin_alike(one: Stateful) -> None:
    """Give all processes the first one's state: what it has loaded need not lie where they are."""
    if _team.world == 1:
        return

    def saved() -> bytes:
        torch.save(one.state_dict(), memory := io.BytesIO())
        return memory.getvalue()

    state = torch.load(io.BytesIO(from_first(saved)), map_location="cpu", weights_only=True)
    if not is_first():
        one.load_state_dict(state)


# --- a batch --------------------------------------------------------------------------------------


def whole(count: int) -> int:
    """How many images all processes have, where each has `count`."""
    return count * _team.world


def check_divisible(batch: int, parts: int = 1) -> None:
    """Every process gets as many images of a batch as every other, in each of its parts (`--accumulate`).

    Raises:
        HasamaError: that is impossible.
    """
    if batch % (_team.world * parts):
        each = f", each in {parts} parts (--accumulate)" if parts > 1 else ""
        raise HasamaError(
            f"--batch {batch} cannot be shared out evenly among {_team.world} processes{each}: choose a multiple of "
            f"{_team.world * parts}, or another number of processes."
        )


@contextmanager
def sharing(images: int) -> Iterator[None]:
    """Inside, what is computed is this process's share of a batch: so many images."""
    with computing(Part(_team.rank, _team.world, images)):
        yield


# --- sums over all --------------------------------------------------------------------------------


class _Summed(torch.autograd.Function):
    """The sum over all processes, as often differentiable as one likes: its derivative is itself."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        return _sum(mine.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Summed.apply(gradients[0])


def mixes_with_others() -> bool:
    """Whether a batch is computed together with other processes."""
    return _team.world > 1 and part().every > 1


def summed(mine: Tensor) -> Tensor:
    """The sum over all processes; gradients flow back to all."""
    return _Summed.apply(mine) if mixes_with_others() else mine  # pyright: ignore[reportReturnType]


def mean_of_all(mine: Tensor) -> Tensor:
    """The mean over all processes, of a tensor that needs no gradient."""
    return _sum(mine.detach().clone()) / _team.world if mixes_with_others() else mine


def gathered(mine: Tensor) -> Tensor:
    """The rows of all processes in their order in the batch, [N, ...] -> [N * world, ...]; gradients flow back."""
    if not mixes_with_others():
        return mine
    here = torch.nn.functional.one_hot(torch.tensor(_team.rank), _team.world).to(mine).view(-1, *[1] * mine.ndim)
    return summed(here * mine).transpose(0, 1).flatten(0, 1)


def own(rows: Tensor) -> Tensor:
    """Of one row for each image of a whole batch, those of this process."""
    return rows[_team.rank :: _team.world]


def ours(rows: Tensor) -> Tensor:
    """Of what `gathered` gave, or of one row for each of its rows, those of this process."""
    return own(rows) if mixes_with_others() else rows


def share_of(count: int) -> slice:
    """Which of so many things in a row are this process's share."""
    return slice(count * _team.rank // _team.world, count * (_team.rank + 1) // _team.world)


def rows_of_all(mine: Tensor, count: int) -> Tensor:
    """All rows [count, ...], of which each process has made its `share_of` them."""
    if _team.world == 1:
        return mine
    rows = torch.zeros(count, *mine.shape[1:], dtype=mine.dtype)
    rows[share_of(count)] = mine
    return _sum(rows)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """The mean of all processes' gradients, by one sum of them all."""
    if not mixes_with_others():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = _sum(torch.cat([gradient.flatten() for gradient in gradients])) / _team.world
    means = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [mean.view(old.shape) for mean, old in zip(means, gradients, strict=True)])


def averaged(tree: Tree) -> Tree:
    """The same, with every number (a tensor []) the mean over all processes."""
    if not mixes_with_others():
        return tree
    leaves, form = tree_flatten(tree)
    numbers = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    if numbers:
        means = mean_of_all(torch.stack([leaves[i].detach().float() for i in numbers]))
        for i, mean in zip(numbers, means.unbind(), strict=True):
            leaves[i] = mean
    return tree_unflatten(leaves, form)


def _sum(mine: Tensor) -> Tensor:
    """In place."""
    with _noticing_losses():
        dist.all_reduce(mine)
    return mine


@contextmanager
def _noticing_losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"Another of the {_team.world} processes is gone, so all of them stop ({_line(error)}). What was last "
            "saved is untouched: the same command goes on from there, under torchrun's --max-restarts by itself."
        ) from error


def _line(error: Exception) -> str:
    """The first line of what torch says, without the place in its source."""
    return str(error).partition("\n")[0].rpartition("] ")[2][:200]
