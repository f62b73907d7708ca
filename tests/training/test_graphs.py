"""A step as one CUDA graph is the step itself; and no step waits for the device."""

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from easel import hasama_here
from hasama.cli.arguments import advice_for_a_card
from hasama.device import DEVICES, pick_device
from hasama.errors import HasamaError, short_of_memory
from hasama.health.signals import sizes
from hasama.networks.registry import build
from hasama.perception import extractors
from hasama.pictures.dataset import Batch
from hasama.pictures.tensors import to_device
from hasama.presets import RECIPES
from hasama.runs.pace import steps_until_recorded
from hasama.training.augmentation.augment import Augmented
from hasama.training.game import Game
from hasama.training.graphs import WARM_UPS, CannotRecordWarning, Graphs, as_graphs, why_not
from hasama.training.setup import new_game
from hasama.training.stepping import begin, count
from hasama.training.turns import both_turns, kind_of_step, play
from reads import Reads

GANS = sorted(name for name, recipe in RECIPES.items() if recipe.architecture != "vae")
RECORDED = sorted(set(GANS) - {"gentle", "progressive"})
TINY: dict[str, Any] = {"size": "16", "width": 2, "latent_size": 4, "batch": 4, "precision": "fp32", "kimg": 0.1}
on_a_card = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a graphics card with CUDA, and HASAMA_TEST_ON_CARD=1: make test-card"
)


def game_of(name: str, device: str = "cpu", **changes: Any) -> Game:
    small = TINY | ({"size": "32"} if name in ("fast", "msg") else {})
    recipe = RECIPES[name].but(**small | changes)
    return new_game(build(recipe, 3), recipe, device)


def reals(game_size: int, steps: int, device: str = "cpu") -> list[Batch]:
    drawn = torch.Generator().manual_seed(7)
    return [Batch((torch.rand(4, 3, game_size, game_size, generator=drawn) * 2 - 1).to(device)) for _ in range(steps)]


def size_of(name: str) -> int:
    return 32 if name in ("fast", "msg") else 16


@pytest.mark.parametrize("augment", ["none", "ada", "diffaugment"])
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_is_read_from_the_device_between_two_reports(name: str, augment: str):
    game = game_of(name, augment=augment)
    steps = play(game, reals(size_of(name), 6))
    next(steps)
    with Reads() as reads:
        four = [next(steps) for _ in range(4)]
    assert reads.found == []
    with Reads() as reads:
        four[-1].figures()
    assert reads.found  # so that reads would be seen


class Inexact(TorchDispatchMode):
    """Notes what adds numbers in any order on a graphics card, by the list of `torch.use_deterministic_algorithms`.

    Bilinear enlarging is on it, too; where exactness is asked for torch itself takes another way there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        parts = ("adaptive_avg_pool", "adaptive_max_pool", "grid_sampler", "reflection_pad", "replication_pad")
        cubic = ("upsample_linear1d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa")
        if name.endswith("_backward") and any(part in name for part in (*parts, *cubic, "nll_loss2d", "max_unpool")):
            self.found.add(name)
        if name in ("put_", "histc", "bincount", "kthvalue", "median", "cumsum", "scatter_reduce", "resize_"):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("augment", ["none", "ada", "diffaugment"])
@pytest.mark.parametrize("name", GANS)
def test_where_exactness_is_asked_for_no_operation_of_a_step_is_inexact_on_a_card(
    name: str, augment: str, exactly: None
):
    game = game_of(name, augment=augment)
    if isinstance(game.pair.discriminator, Augmented):
        game.pair.discriminator.probability.fill_(1.0)
    with Inexact() as noted:
        list(play(game, reals(size_of(name), 3)))
    assert noted.found == set()


def test_an_inexact_operation_would_be_noted():
    with Inexact() as noted:
        list(play(game_of("vision-aided", augment="ada"), reals(16, 2)))
    assert noted.found >= {"_adaptive_avg_pool2d_backward", "grid_sampler_2d_backward"}


@pytest.mark.parametrize("name", ["vision-aided", "stylegan"])
def test_exact_operations_come_to_the_same_figures(name: str, exactly: None):
    def figures() -> list[float]:
        game = game_of(name, augment="ada")
        assert isinstance(game.pair.discriminator, Augmented)
        game.pair.discriminator.probability.fill_(1.0)
        steps = list(play(game, reals(size_of(name), 2)))  # small differences grow from step to step
        return list(steps[-1].figures().values())

    exact = figures()
    torch.use_deterministic_algorithms(False)
    assert figures() == pytest.approx(exact, rel=1e-3, abs=1e-4)


@on_a_card
@pytest.mark.parametrize("name", GANS)
def test_on_a_card_a_resumed_training_is_the_unbroken_one_to_the_bit(name: str):
    def after(*parts: int) -> dict[str, Any]:
        pictures, game = reals(size_of(name), 40, "cuda"), game_of(name, "cuda", exact=True, augment="ada")
        for first, last in itertools.pairwise(itertools.accumulate(parts, initial=0)):
            state = game.state_dict()
            game = game_of(name, "cuda", exact=True, augment="ada")
            game.load_state_dict(state)
            list(play(game, pictures[first:last]))
        return game.pair.generator.state_dict()

    whole, broken = after(40), after(20, 20)
    assert [key for key in whole if not torch.equal(whole[key], broken[key])] == []


def test_the_referee_that_asks_is_seen_to_read():
    game = game_of("dcgan", balance="skip-strong")
    with Reads() as reads:
        list(play(game, reals(16, 2)))
    assert reads.found


def test_what_cannot_be_recorded_says_why():
    assert "--balance" in (why_not(game_of("gentle")) or "")
    assert "--beta2-initial" in (why_not(game_of("r3gan", beta2_initial=0.9)) or "")
    assert all(why_not(game_of(name)) is None for name in RECORDED)


def test_without_a_card_a_step_is_the_step():
    game = game_of("dcgan")
    assert as_graphs(game, both_turns, kind_of_step).func is both_turns  # pyright: ignore[reportFunctionMemberAccess]


def test_steps_are_of_as_many_kinds_as_they_have_operations():
    def kinds(name: str, **changes: Any) -> set[Any]:
        game = game_of(name, **changes)
        found = set()
        for step in range(32):
            game.steps, game.images_seen = step, 4 * step
            found.add(kind_of_step(game))
        return found

    assert len(kinds("dcgan")) == 1
    assert len(kinds("wgan-gp", critic_steps=5)) == 2
    assert len(kinds("stylegan")) == 3  # with R1 at every 16th, with path lengths at every fourth, with neither
    assert len(kinds("dcgan", instance_noise=0.1, instance_noise_kimg=0.05)) == 2  # until it has faded


def told(game: Game, batches: list[Batch]) -> list[dict[str, float]]:
    return [step.figures() for step in play(game, batches)]


@on_a_card
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_steps_are_the_steps(name: str, monkeypatch: pytest.MonkeyPatch):
    """With rates, gamma, EMA and noise that move, over twenty steps, each with random numbers of its own.

    The rates are small, for a game blows rounding up within a few steps.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    changes: dict[str, Any] = {"instance_noise": 0.2, "instance_noise_kimg": 0.04, "augment": "ada", "jitter": 1}
    changes |= {"generator_lr": 1e-6, "discriminator_lr": 1e-6, "ema_kimg": 0.02}
    batches = reals(size_of(name), 20, "cuda")

    def played() -> tuple[Game, list[dict[str, float]]]:
        game = game_of(name, "cuda", **changes)
        assert game.ema is not None
        with torch.no_grad():
            for parameter in game.ema.parameters():
                parameter += 1  # so that it is seen how far the average moves
        return game, told(game, batches)

    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotRecordWarning)
        ours, recorded = played()
    monkeypatch.setattr("hasama.training.turns.as_graphs", lambda game, work, kind: lambda *given: work(game, *given))
    theirs, plain = played()
    for one, other in zip(recorded, plain, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=2e-3)
    assert len({step["loss_discriminator"] for step in recorded}) == 20  # no two steps drew the same
    assert (ours.images_seen, ours.steps) == (theirs.images_seen, theirs.steps)
    rates = [[float(player.param_groups[0]["lr"]) for player in game.optimizers] for game in (ours, theirs)]
    assert rates[0] == rates[1]
    for one, other in zip(ours.parts().values(), theirs.parts().values(), strict=True):
        for (path, tensor), (_, like) in zip(flat(one.state_dict()), flat(other.state_dict()), strict=True):
            assert torch.allclose(tensor.double(), like.double(), rtol=1e-2, atol=1e-4), path


def flat(state: Any, path: str = "") -> list[tuple[str, torch.Tensor]]:
    """All tensors of a state that are weights: an optimizer's moments of rounding are rounding."""
    if isinstance(state, torch.Tensor):
        return [(path, state)]
    if isinstance(state, dict) and "param_groups" not in state:
        return [found for name, value in state.items() for found in flat(value, f"{path}/{name}")]
    return []


@on_a_card
def test_a_step_that_cannot_be_recorded_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def asks(game: Game, images: Any, labels: Any = None) -> Any:
        float(images.mean())
        return both_turns(game, images, labels)

    monkeypatch.setattr("hasama.training.turns.both_turns", asks)
    game = game_of("dcgan", "cuda")
    with pytest.warns(CannotRecordWarning, match="not recorded"):
        figures = told(game, reals(16, 8, "cuda"))
    assert len(figures) == 8
    assert all(torch.tensor(list(step.values())).isfinite().all() for step in figures)


def test_the_command_says_why_steps_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As if this were a card: libraries' warnings are hushed, this one is not."""

    def refuses(game: Game, work: Any, kind: Any) -> Any:
        warnings.warn("Steps are not recorded as CUDA graphs: a reason.", CannotRecordWarning, stacklevel=2)
        return lambda *given: work(game, *given)

    monkeypatch.setattr("hasama.training.turns.as_graphs", refuses)
    words = ["train", "digits", "dcgan", "--size", "16", "--width", "4", "--batch", "4", "--steps", "2"]
    done = hasama_here(*words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "a reason." in done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "batch", "told"), [("cuda", 8, True), ("cuda", 32, False), ("cpu", 8, False)])
def test_on_a_card_larger_batches_are_advised(kind: str, batch: int, told: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hasama.device.pick_device", lambda name: torch.device(kind))
    assert ("--batch 32" in (advice_for_a_card(RECIPES["r3gan"].but(batch=batch), "auto") or "")) is told


# --- without a card: what of the recording can be seen on a processor -----------------------------------------------


class FakeGraph:
    """Repeats nothing, but notes that it was asked to."""

    replays = 0

    def replay(self) -> None:
        FakeGraph.replays += 1


@contextmanager
def recording(graph: FakeGraph, pool: object = None, stream: object = None) -> Iterator[None]:
    yield


@pytest.fixture
def fake_card(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Of torch.cuda what `Graphs` calls; gives the devices that it named."""
    named: list[Any] = []
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "CUDAGraph": FakeGraph, "graph": recording, "graph_pool_handle": lambda: None, "empty_cache": lambda: None,
        "Stream": lambda device: stream, "stream": lambda one: nullcontext(), "set_stream": lambda one: None,
        "current_stream": lambda device=None: named.append(device) or stream,
        "synchronize": lambda device=None: named.append(device),
        "device": lambda device: named.append(device) or nullcontext(),
        "default_generators": [SimpleNamespace(initial_seed=lambda: 1, graphsafe_set_state=lambda state: None)],
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    made = SimpleNamespace(graphsafe_get_state=lambda: None, manual_seed=lambda seed: made)
    real = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda *given: made if given else real())
    FakeGraph.replays = 0
    return named


def stepped(graphs: Graphs, game: Game, images: torch.Tensor) -> None:
    begin(game, 4)
    graphs(images, None)
    count(game, 4)


def test_the_weights_have_the_gradients_of_the_step_that_was_repeated(fake_card: list[Any]):
    """Two kinds of step: with the penalty, at every second, and without."""
    game = game_of("wgan-gp", penalty_every=2, balance="always")
    graphs = Graphs(game, both_turns, kind_of_step, torch.device("cpu"))
    (images,) = (batch.images for batch in reals(16, 1))
    for _ in range(2 * WARM_UPS):
        stepped(graphs, game, images)
    assert not graphs.graphs
    weight = next(game.pair.discriminator.parameters())
    recorded = []
    for _ in range(2):
        stepped(graphs, game, images)
        recorded.append(weight.grad)
    assert len(graphs.graphs) == 2 == FakeGraph.replays
    assert recorded[0] is not recorded[1]
    for expected in (*recorded, *recorded):
        stepped(graphs, game, images)
        assert weight.grad is expected
    assert {str(device) for device in fake_card} == {"cpu"}  # the one that was named, not the current one


def test_without_room_to_record_nothing_of_it_stays(fake_card: list[Any], monkeypatch: pytest.MonkeyPatch):
    game = game_of("wgan-gp", penalty_every=2, balance="always")
    graphs = Graphs(game, both_turns, kind_of_step, torch.device("cpu"))
    (images,) = (batch.images for batch in reals(16, 1))
    for _ in range(2 * WARM_UPS + 1):
        stepped(graphs, game, images)
    assert len(graphs.graphs) == 1

    @contextmanager
    def full(graph: object, pool: object = None, stream: object = None) -> Iterator[None]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        yield

    monkeypatch.setattr(torch.cuda, "graph", full)
    with pytest.warns(CannotRecordWarning, match="no memory for it beside the step itself"):
        stepped(graphs, game, images)
    assert graphs.graphs == {}
    seen = game.images_seen
    stepped(graphs, game, images)  # as it is
    assert game.images_seen == seen + 4


@pytest.mark.parametrize(("error", "told"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "no memory for it beside the step"),
    (RuntimeError("CUDA error: operation not permitted when stream is capturing"), "operation not permitted"),
])  # fmt: skip
def test_why_a_recording_broke_off_is_told_not_that_it_could_not_be_ended(
    error: RuntimeError, told: str, fake_card: list[Any], monkeypatch: pytest.MonkeyPatch
):
    inside: list[bool] = []

    @contextmanager
    def ends_badly(graph: object, pool: object = None, stream: object = None) -> Iterator[None]:
        inside.append(True)
        try:
            yield
        finally:
            inside.clear()
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def work(game: Game, images: torch.Tensor, labels: Any = None) -> Any:
        if inside:
            raise error
        return both_turns(game, images, labels)

    monkeypatch.setattr(torch.cuda, "graph", ends_badly)
    game = game_of("dcgan")
    graphs = Graphs(game, work, kind_of_step, torch.device("cpu"))
    (images,) = (batch.images for batch in reals(16, 1))
    for _ in range(WARM_UPS):
        stepped(graphs, game, images)
    try:
        raise RuntimeError("another matter, which the caller has in hand")
    except RuntimeError:
        with pytest.warns(CannotRecordWarning, match=told):
            stepped(graphs, game, images)


@pytest.mark.parametrize(("name", "changes"), [
    ("vision-aided", {}), ("vision-aided", {"batch": 32}), ("stylegan", {}), ("wgan-gp", {"penalty_every": 3}),
    ("stylegan", {"balance": "critic-steps", "critic_steps": 2, "penalty_every": 1}),
])  # fmt: skip
def test_a_card_is_timed_when_all_kinds_of_steps_are_recorded(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    game = game_of(name, **changes)
    batch = {**TINY, **changes}["batch"]
    monkeypatch.setattr("hasama.runs.pace.kind_of", lambda device: DEVICES["cuda"])
    before = steps_until_recorded(game, batch)
    seen: Counter[Any] = Counter()
    for step in range(2 * before + 256):
        game.steps, game.images_seen = step, batch * step
        kind = kind_of_step(game)
        assert step < before or seen[kind] > WARM_UPS
        seen[kind] += 1


def test_networks_that_grow_say_so():
    assert why_not(game_of("progressive")) == "its networks grow"


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", "cpu"])
def test_only_an_nvidia_card_gets_pictures_without_waiting(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Others would read memory that is used again by then."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *given, **named: calls.append(named) or self)
    to_device(np.zeros(3, np.int64), kind)
    assert calls == (["pinned", {"non_blocking": True}] if kind == "cuda" else [{}])


def test_a_look_at_the_sizes_asks_a_card_a_few_times(monkeypatch: pytest.MonkeyPatch):
    game = game_of("vision-aided")
    list(play(game, reals(16, 2)))
    as_before = sizes(game)
    for optimizer in game.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])  # as on a card
    with Reads() as reads:
        figures = sizes(game)
    assert figures == pytest.approx(as_before, rel=1e-6)
    assert all(isinstance(value, float) for value in figures.values())
    assert 0 < len(reads.found) <= 6


def test_exactness_is_prepared_before_the_first_product(monkeypatch: pytest.MonkeyPatch):
    """CuBLAS reads its variable once in a process."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if not torch.cuda.is_available():
        with pytest.raises(HasamaError, match=r"'cuda' cannot be used here: this torch was built without cuda\. Try"):
            pick_device("cuda")
    else:
        pick_device("cuda")
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"


@pytest.mark.parametrize(("name", "why"), [("", "torch knows no such device"), ("meta", "it holds no numbers"),
                                           ("kitchen", "torch knows no such device")])  # fmt: skip
def test_devices_are_refused_in_our_words(name: str, why: str):
    with pytest.raises(HasamaError, match=f"cannot be used here: {why}"):
        pick_device(name)


@pytest.mark.parametrize(("words", "kind", "short"), [
    ("CUDA out of memory. Tried to allocate 2.00 GiB", torch.OutOfMemoryError, True),
    ("CUDA error: out of memory", RuntimeError, True),
    ("MPS backend out of memory (MPS allocated: 9.05 GB)", RuntimeError, True),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", RuntimeError, True),
    ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", RuntimeError, True),
    ("UR backend failed. UR backend returns:39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)", RuntimeError, True),
    ("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to get "
     "8589934592 bytes.", RuntimeError, True),
    ("CUDA error: an illegal memory access was encountered", RuntimeError, False),
    ("out of memory", ValueError, False),
])  # fmt: skip
def test_whoever_is_short_of_memory_is_known_by_the_words(words: str, kind: type[Exception], short: bool):
    assert (short_of_memory(kind(words)) is not None) == short


def test_figures_for_comparison_are_made_of_whole_products(monkeypatch: pytest.MonkeyPatch):
    inside, backends = [], cast(Any, torch.backends)

    class Network(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            inside.append((backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision))
            return images.mean((2, 3))

    before = backends.cudnn.conv.fp32_precision
    extractors._pooled(Network(), torch.zeros(2, 3, 4, 4))
    assert inside == [("ieee", "ieee")]
    assert backends.cudnn.conv.fp32_precision == before
