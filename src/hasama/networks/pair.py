"""The interface between an architecture and the training: `Pair`, and what an architecture must be (`Config`)."""

import copy
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.shapes import Images, Labels, Latents, PerImage, Resized, Styles, Views


def unchanged(real: Images) -> Views:
    """The default view: the discriminator is shown reals as they are."""
    return real


def as_they_are(real: Images) -> Resized:
    """The default whole: reals have the size that the networks make."""
    return real


def never(images_seen: int) -> None:
    """The default growth: none."""


class Extra(NamedTuple):
    """A cost of one network beside the objective, computed lazily: at every `every`-th step, times `every`.

    Attributes:
        name: for the log.
        cost: the discriminator's: (discriminator, reals as shown) -> [N]; the generator's: (generator, latents,
            labels) -> [N].
        every: steps between two of them (Karras et al. 2020, section 3.1).
    """

    name: str
    cost: Callable[..., PerImage]
    every: int = 1


class Pair(NamedTuple):
    """Two networks that are trained against each other. Any two `nn.Module`s, or Keras networks on torch, will do.

    Attributes:
        generator: latents [N, Z] (and labels [N], if there are classes) -> images [N, C, H, W] in [-1, 1]; while
            training it may give a pyramid of them, or smaller ones, if `view` shows the reals likewise.
        discriminator: images (and labels) -> logits [N] or [N, 1], large for real.
        latent_size: Z.
        view: turns reals [N, C, H, W] into what the discriminator is given (blurred, a pyramid, ...).
        grow: called with the images seen before every step; opens layers.
        generator_extra, discriminator_extra: costs beside the objective; or None.
        classes: how many; 0 for none.
        whole: turns reals into pictures of the size that the networks make when they are grown: with an enlarger
            (`hasama.networks.enlarger`) smaller ones.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_size: int
    view: Callable[[Images], Views] = unchanged
    grow: Callable[[int], None] = never
    generator_extra: Extra | None = None
    discriminator_extra: Extra | None = None
    classes: int = 0
    whole: Callable[[Images], Resized] = as_they_are


@runtime_checkable
class Styled(Protocol):
    """A style-based generator, with the intermediate latents w of Karras et al. 2019. Untruncated, its forward is

    synthesis(mapping(latents, labels)[:, None].expand(-1, style_layers, -1)).

    Attributes:
        style_layers: how many layers take a style of their own, coarse to fine.
        mean_style: [W], the moving average of w over training.
    """

    style_layers: int
    mean_style: Tensor

    def mapping(self, latents: Latents, labels: Labels | None = None) -> Latents:
        """Latents [N, Z] -> w [N, W]."""
        ...

    def synthesis(self, styles: Styles) -> Images:
        """A w for each layer [N, style_layers, W] -> images [N, C, H, W]."""
        ...


def is_styled(network: nn.Module) -> TypeGuard[Styled]:
    """Whether a generator is style-based. Not by isinstance, which from Python 3.12 on overlooks buffers."""
    return all(hasattr(network, name) for name in ("style_layers", "mean_style", "mapping", "synthesis"))


class Config(Protocol):
    """An architecture: a frozen dataclass of its sizes whose `build` makes the two networks."""

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """The pair for (height, width), channels and number of classes (0: none).

        Raises:
            HasamaError: it cannot make pictures of that size; the message names the nearest that it can.
        """
        ...


class KerasNetwork(nn.Module):
    """A Keras 3 network, on Keras's torch backend, as a torch module. The weights stay the given network's own.

    Keras takes `training` at every call, not by `train()`; and it gives the weights of each copy other names, in
    another order. Here they are named by the order in which they were created.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.given = (network,)  # in a tuple, or torch would list its weights a second time
        self.weights = nn.ParameterDict(
            {f"{place:04}_{v.name.replace('.', '_')}": v.value for place, v in enumerate(network.variables)}
        )

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        (network,) = self.given
        return network(given[0] if len(given) == 1 else list(given), training=self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> "KerasNetwork":
        try:
            return KerasNetwork(copy.deepcopy(self.given[0], memo))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise HasamaError(
                "Keras cannot copy this network, as the EMA generator needs: decorate its class with "
                f"@keras.saving.register_keras_serializable(), or train without EMA (ema_kimg=0). {error}"
            ) from error


def as_torch(network: Any) -> nn.Module:
    """A network as a torch module: Keras networks are wrapped, others are returned as they are.

    Raises:
        HasamaError: a Keras network without weights, or on another backend than torch.
    """
    layer = getattr(sys.modules.get("keras"), "Layer", None)  # whoever has a Keras network has imported Keras
    if layer is None or not isinstance(network, layer):
        return network
    if not isinstance(network, nn.Module):
        raise HasamaError("Keras must run on torch: set KERAS_BACKEND=torch before it is imported.")
    if not network.built:
        raise HasamaError("This Keras network has no weights yet: begin it with keras.Input, or call it once.")
    return KerasNetwork(network)
