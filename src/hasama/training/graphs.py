"""A whole step as one CUDA graph, so that a graphics card does not wait for Python.

A step of small networks is a thousand operations of a few microseconds, and Python needs longer to ask for one than
the card to do it. A graph asks once: it records what the step does and does it again. The mathematics knows nothing
of it. It must keep to this: numbers that change are tensors (`Now`, the optimizers' rates), random numbers come from
the device, and nothing is decided by asking the device. On other devices steps stay as they are.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_map_only

from hasama.device import kind_of
from hasama.distributed import team
from hasama.errors import short_of_memory
from hasama.networks.pair import never
from hasama.shapes import Images, Labels
from hasama.training.game import Game, Now, Turns

Work = Callable[..., Turns]
"""(game, images, labels) -> what the two networks did."""

WARM_UPS = 3
"""Steps of each kind before it is recorded: optimizers make their memory, and cuDNN chooses."""


class CannotRecordWarning(UserWarning):
    """The steps of a game run one operation after the other, though on a graphics card."""


def as_graphs(game: Game, work: Work, kind: Callable[[Game], Hashable]) -> Callable[[Images, Labels | None], Turns]:
    """The step of a game: on a graphics card recorded and repeated, if it can be; else as it is.

    Args:
        game: whose numbers of the step have been set before each call.
        work: all that a step does on the device.
        kind: the same for steps that consist of the same operations.
    """
    device = next(game.pair.generator.parameters()).device
    if not kind_of(device).graphs:
        return partial(work, game)
    if reason := why_not(game):
        warnings.warn(f"Steps are not recorded as CUDA graphs: {reason}.", CannotRecordWarning, stacklevel=2)
        return partial(work, game)
    return Graphs(game, work, kind, device)


def why_not(game: Game) -> str | None:
    """What a graph cannot repeat; None if there is nothing of it."""
    if team().world > 1:
        return "several processes share its batches, which was never tried"
    if game.rules.accumulate > 1:
        return "batches are taken in parts (--accumulate)"
    if game.rules.balance.asks:
        return "whether the discriminator learns is decided anew at each step by what it says (--balance)"
    if game.rules.beta2_initial is not None:
        return "Adam's beta2 changes from step to step (--beta2-initial)"
    if game.pair.grow is not never:
        return "its networks grow"
    return None


class _Graph(NamedTuple):
    """What is repeated, and the places where it reads and writes; `gradients` are those of each weight."""

    graph: torch.cuda.CUDAGraph
    images: Images
    labels: Labels | None
    turns: Turns
    gradients: list[tuple[torch.Tensor, torch.Tensor | None]]


class Graphs:
    """One graph for each kind of step. A kind is recorded after some steps that are run as they are."""

    def __init__(self, game: Game, work: Work, kind: Callable[[Game], Hashable], device: torch.device) -> None:
        self.game, self.work, self.kind, self.device = game, work, kind, device
        self.places = [torch.zeros((), device=device) for _ in Now._fields]
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[Hashable, _Graph] = {}
        self.run: Counter[Hashable] = Counter()
        self.shown: Hashable = None  # the kind whose gradients the weights have
        self.refused = False

    def __call__(self, images: Images, labels: Labels | None = None) -> Turns:
        """A step."""
        if self.refused:
            return self.work(self.game, images, labels)
        with torch.cuda.device(self.device):  # streams are the current card's
            return self.step(images, labels)

    def step(self, images: Images, labels: Labels | None) -> Turns:
        """A step, on the current card."""
        kind = (self.kind(self.game), images.shape, labels is None)
        for place, number in zip(self.places, self.game.now, strict=True):
            place.fill_(number)
        self.game.now = Now(*self.places)
        if kind not in self.graphs and self.run[kind] >= WARM_UPS:
            self.record(kind, images, labels)
        if kind not in self.graphs:
            self.run[kind], self.shown = self.run[kind] + 1, None
            return self.aside(images, labels)
        known = self.graphs[kind]
        known.images.copy_(images)
        if known.labels is not None and labels is not None:
            known.labels.copy_(labels)
        known.graph.replay()
        if self.shown != kind:  # Python is not asked: the weights' gradients would be those of another kind of step
            self.shown = kind
            for weight, gradient in known.gradients:
                weight.grad = gradient
        return tree_map_only(torch.Tensor, torch.clone, known.turns)  # the next step writes to the same places

    def aside(self, images: Images, labels: Labels | None) -> Turns:
        """A step as it is, on the stream on which it will be recorded."""
        usual = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(usual)
        with torch.cuda.stream(self.stream):
            turns = self.work(self.game, images, labels)
        usual.wait_stream(self.stream)
        return turns

    def record(self, kind: Hashable, images: Images, labels: Labels | None) -> None:
        """Record a step; if that is impossible, say why and do without from now on."""
        mine, theirs = images.clone(), None if labels is None else labels.clone()
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        outside = sys.exc_info()[1]
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                turns = self.work(self.game, mine, theirs)
        except RuntimeError as error:
            cause: BaseException = error  # to end what broke off is another error, whose words tell nothing
            while isinstance(cause.__context__, RuntimeError) and cause.__context__ is not outside:
                cause = cause.__context__
            first = str(cause).partition("\n")[0]
            if short_of_memory(cause):
                first = "there is no memory for it beside the step itself (a smaller --batch has room)"
            self.recover(usual)
            told = f"Steps are not recorded as CUDA graphs, and are slower so: {first}"
            warnings.warn(told, CannotRecordWarning, stacklevel=5)
            return
        weights = [weight for optimizer in self.game.optimizers for group in optimizer.param_groups
                   for weight in group["params"]]  # fmt: skip
        self.graphs[kind] = _Graph(graph, mine, theirs, turns, [(weight, weight.grad) for weight in weights])

    def recover(self, usual: Any) -> None:
        """After a recording that broke off: no graph is used any more, and the memory of all of them is free again.

        The generator of random numbers believes that it is still recorded, and torch may be left on the other stream.
        """
        self.refused = True
        self.graphs.clear()
        with suppress(RuntimeError):
            torch.cuda.synchronize(self.device)
        torch.cuda.set_stream(usual)
        torch.cuda.empty_cache()
        generator = torch.cuda.default_generators[self.device.index or 0]
        fresh = torch.Generator(self.device).manual_seed(generator.initial_seed())
        generator.graphsafe_set_state(fresh.graphsafe_get_state())
