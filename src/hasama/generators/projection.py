"""Projection: find the latent, or the style w, from which a generator makes a given real picture.

`project` yields a `ProjectionStep` after every step, and its consumer may stop at any: `best_of` keeps the nearest.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, as_generator
from hasama.generators.projection_distance import Target, distances, moved, pixel_distances, target_of
from hasama.generators.sampling import (
    GENERATED_AT_ONCE,
    W,
    device_of,
    draw_latents,
    is_styled,
    labels_for,
    mean_w,
    synthesize,
    to_w,
)
from hasama.optimizers import Adam
from hasama.options import whole_number
from hasama.perception.vgg import Weights
from hasama.shapes import Images, Labels, PerImage

Space = Literal["w", "w+", "z"]
RANDOM_STARTS, COMPARED = 512, 32
"""Latents that are tried first, and how many of them, the nearest by pixels, are compared by features, too."""


RATE = 0.1
RAMP_UP, RAMP_DOWN = 0.05, 0.25
NOISE, NOISE_ENDS = 0.05, 0.75
"""The learning rate, the shares of the steps in which it rises and falls, the noise: Karras et al. 2020, app. D."""


SHELL = 2.0
"""How far the length of a z may be from the root of Z: nearly three standard deviations, which are 0.7 for any Z."""


class ProjectionStep(NamedTuple):
    """One step of the search: a w, and how far its picture is from the one that is wanted.

    Attributes:
        step: its number; 0 is the best of the random starts.
        steps: how many there will be.
        losses: the distance's terms by name.
        w: in the space z a latent [1, Z], in w a style [1, W], in w+ a style for each layer [1, layers, W].
        image: [1, C, H, W], generated from this w.
        label: the class; None without classes.
    """

    step: int
    steps: int
    losses: dict[str, float]
    w: W
    image: Images
    label: int | None

    @property
    def distance(self) -> float:
        """The sum of the terms."""
        return sum(self.losses.values())


def project(
    generator: TrainedGenerator,
    wanted: Images,
    steps: int = 300,
    space: Space | None = None,
    label: str | None = None,
    seed: int = 0,
    weights: Weights | None = None,
) -> Iterator[ProjectionStep]:
    """Search for a picture by Adam, beginning with the nearest of many random ones.

    As Karras et al. 2020, appendix D, but: from the nearest random picture, not from the mean w; by the pixels, too,
    with features that nobody has calibrated; with a learning rate in units of the standard deviation of w; and the
    generator's own noise is not optimised.

    Args:
        generator: the generator.
        wanted: [1, C, H, W] in [-1, 1], of the form of the generator's pictures.
        steps: of Adam.
        space: 'w' (one for all layers) or 'w+' (one for each: Abdal et al. 2019), of style-based generators; 'z'.
            None: w where there is one.
        label: the class's name; without it all are tried first, and the nearest picture's is taken.
        seed: of the random starts and of the noise.
        weights: of the network that compares features; None: the packaged VGG19.

    Yields:
        A `ProjectionStep` for the start, and one after each step.

    Raises:
        HasamaError: there is no such space or class, the picture has another form, or `steps` or `seed` is below 0 or
            not whole.
    """
    generator = as_generator(generator)
    steps, seed = whole_number("number of steps", steps), whole_number("seed", seed)
    if min(steps, seed) < 0:
        raise HasamaError(f"Projecting takes steps and a seed from 0 up; got {steps} and {seed}.")
    space = space_of(generator, space)
    target = target_of(generator, wanted, weights)
    start, chosen, sigma = _best_random_start(generator, target, label, seed)
    return _descend(_Search(generator, target, space, chosen, sigma, steps, seed), start)


def best_of(steps: Iterable[ProjectionStep], stop: Callable[[], bool] = lambda: False) -> ProjectionStep:
    """The step nearest to the wanted picture, of all steps until `stop()` is true.

    Raises:
        HasamaError: there is no step.
    """
    best: ProjectionStep | None = None
    for step in steps:
        if best is None or step.distance < best.distance:
            best = step
        if stop():
            break
    if best is None:
        raise HasamaError("There was no step to choose from.")
    return best


def space_of(generator: TrainedGenerator, space: str | None) -> Space:
    """The space to search in.

    Raises:
        HasamaError: this generator has no such space.
    """
    styled = is_styled(generator.network)
    if space is None:
        return "w" if styled else "z"
    if space not in get_args(Space):
        raise HasamaError(f"There is no space {space!r}: w, w+ or z.")
    if space != "z" and not styled:
        raise HasamaError(f"This generator has no {space}, for it is not style-based: leave out --space.")
    return space  # pyright: ignore[reportReturnType]


# --- the search -----------------------------------------------------------------------------------


class _Start(NamedTuple):
    latents: Float[Tensor, "1 z"]
    w: W


@torch.no_grad()
def _best_random_start(
    generator: TrainedGenerator, target: Target, label: str | None, seed: int
) -> tuple[_Start, Labels | None, float]:
    """The nearest of RANDOM_STARTS latents or more, its label, and the standard deviation of w."""
    starts = max(RANDOM_STARTS, len(generator.classes) * (label is None))  # each class is tried
    latents = draw_latents(seed, starts, generator.latent_size)
    labels = labels_for(generator, starts, label)
    w = to_w(generator, latents, labels)
    sigma = (w - mean_w(generator)).square().mean().sqrt().item()

    def far(chosen: Tensor, distance: Callable[[Images], dict[str, PerImage]]) -> PerImage:
        found, device = [], device_of(generator)
        for some in chosen.split(GENERATED_AT_ONCE):
            given = None if labels is None else labels[some].to(device)
            terms = distance(synthesize(generator, w[some].to(device), given))
            found.append(torch.stack(list(terms.values())).sum(0).cpu())
        return torch.cat(found)

    everyone = torch.arange(starts)
    near = far(everyone, lambda images: pixel_distances(images, target.image)).topk(COMPARED, largest=False).indices
    best = near[far(near, lambda images: distances(target, images)).argmin()][None]
    return _Start(latents[best], w[best]), None if labels is None else labels[best], sigma


class _Search(NamedTuple):
    generator: TrainedGenerator
    target: Target
    space: Space
    labels: Labels | None
    sigma: float
    """Of one number of w."""
    steps: int
    seed: int

    def generate(self, w: W) -> Images:
        network, labels = self.generator.network, moved(self.labels, w.device)
        if self.space == "z" and is_styled(network):
            with self.generator.at_rest():
                w = network.mapping(w, labels)
        return synthesize(self.generator, w, labels)

    def evaluate(self, number: int, w: W) -> tuple[ProjectionStep, Tensor]:
        """The step with this w, and its distance as a tensor that can be differentiated."""
        image = self.generate(w)
        terms = distances(self.target, image)
        label = None if self.labels is None else int(self.labels[0])
        losses = {name: term.item() for name, term in terms.items()}
        step = ProjectionStep(number, self.steps, losses, w.detach().clone(), image.detach(), label)
        return step, torch.stack(list(terms.values())).sum()


def _descend(search: _Search, start: _Start) -> Iterator[ProjectionStep]:
    """First the start itself, then one record for each step of Adam."""
    device, network = device_of(search.generator), search.generator.network
    w = (start.latents if search.space == "z" else start.w).to(device)
    if search.space == "w+" and is_styled(network):
        w = w[:, None].repeat(1, network.style_layers, 1)
    with torch.no_grad():
        yield search.evaluate(0, w)[0]
    scale = 1.0 if search.space == "z" else search.sigma
    w = w.clone().requires_grad_()
    adam = Adam([w])
    random = torch.Generator().manual_seed(search.seed % 2**63)
    for number in range(1, search.steps + 1):
        adam.param_groups[0]["lr"] = RATE * scale * ramp(number / search.steps)
        noise = torch.randn(w.shape, generator=random) * _noise(search, w, number / search.steps)
        with torch.enable_grad():  # whoever asks may have switched it off, as one does around a generator
            step, distance = search.evaluate(number, w + noise.to(device))
            (w.grad,) = torch.autograd.grad(distance, w)
        adam.step()
        if search.space == "z":
            with torch.no_grad():
                w.copy_(into_shell(w))
        yield step


def ramp(done: float) -> float:
    """The share of the learning rate: a linear rise, then constant, then half a cosine down."""
    return min(1.0, done / RAMP_UP) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / RAMP_DOWN)))


def _noise(search: _Search, w: W, done: float) -> float:
    """The standard deviation of the noise on each number of w, which explores at first. A z gets none."""
    if search.space == "z":
        return 0.0
    whole = search.sigma * math.sqrt(w.shape[-1])  # the deviation of w as one vector: the paper's sigma_w
    return NOISE * whole * max(0.0, 1 - done / NOISE_ENDS) ** 2


def into_shell(latents: Float[Tensor, "n z"]) -> Float[Tensor, "n z"]:
    """The nearest latents whose length is one that random latents have.

    Menon et al. 2020, section 3.2, keep to the sphere of radius sqrt(Z). In few dimensions lengths do vary, and a
    picture's own latent may lie off that sphere: hence a shell.
    """
    length, radius = latents.norm(dim=1, keepdim=True), math.sqrt(latents.shape[1])
    return latents * (length.clamp(max(0.0, radius - SHELL), radius + SHELL) / length.clamp_min(1e-12))
