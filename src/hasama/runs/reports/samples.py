"""The grid of samples by which people watch a training."""

from typing import TYPE_CHECKING

from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate_all, labels_for
from hasama.pictures.images import grid

if TYPE_CHECKING:
    from PIL import Image

GRID_COUNT = 64


def sample_grid(generator: TrainedGenerator, seed: int) -> "Image.Image":
    """64 pictures, or 8 of each class with a column for each class (at most 16 classes)."""
    columns = min(len(generator.classes), 16) or None
    count = 8 * columns if columns else GRID_COUNT
    labels = labels_for(generator, count)
    if columns and labels is not None:
        labels = labels.new_tensor([place % columns for place in range(count)])
    return grid(generate_all(generator, draw_latents(seed, count, generator.latent_size), labels), columns)
