"""What works with any network: call it with or without labels, freeze it, put it into evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from hasama.shapes import Labels


def call(network: nn.Module, given: Any, labels: Labels | None) -> Any:
    """Networks without classes take one argument, so that any `nn.Module` will do."""
    return network(given) if labels is None else network(given, labels)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode, so that running statistics stay; afterwards in its own mode."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, this network does not change while the other network learns through it.

    Its parameters need no gradient, which also saves computing one. Its buffers (such as
    BatchNorm's running statistics) are put back afterwards: BatchNorm still normalises by the batch, as in training,
    but the other network's turn does not change the statistics. (In most code it does.)
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
    """Copy a network's buffers and frozen weights; the returned function puts them back."""
    tensors = [*network.buffers(), *(p for p in network.parameters() if not p.requires_grad)]
    kept = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def put_back() -> None:
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)

    return put_back


def takes_labels(network: nn.Module) -> bool:
    """Whether a network can be called with labels beside what it is given: one of the user's own may have no use."""
    try:
        taken = signature(network.forward).parameters.values()
    except (TypeError, ValueError):  # it is written in C
        return True
    several = any(one.kind is Parameter.VAR_POSITIONAL for one in taken)
    return (
        several or sum(one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for one in taken) > 1
    )
