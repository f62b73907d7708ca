"""What every network can be asked for, whatever it is made of: to be called, frozen, put into evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hasama.shapes import Labels


def call(network: nn.Module, given: Any, labels: Labels | None) -> Any:
    """Networks without classes take one argument, so that any `nn.Module` will do."""
    return network(given) if labels is None else network(given, labels)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, which leaves no trace in running statistics; afterwards as it was."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """While the other network learns through this one, nothing of it moves.

    Its parameters need no gradient, which also saves computing one. Its buffers (BatchNorm's running
    statistics, say) are put back afterwards: BatchNorm still normalises by the batch, as in training, but the
    other network's turn leaves no trace. (The usual code lets it move the statistics.)
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    put_back = snapshot(network)
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        put_back()


def snapshot(network: nn.Module) -> Callable[[], None]:
    """Copy a network's buffers and frozen weights; calling the answer puts them back."""
    tensors = [*network.buffers(), *(p for p in network.parameters() if not p.requires_grad)]
    kept = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def put_back() -> None:
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)

    return put_back
