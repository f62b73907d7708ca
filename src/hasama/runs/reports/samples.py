"""The grid of samples by which people watch a training."""

from typing import TYPE_CHECKING

from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate_all, labels_for
from hasama.pictures.images import grid

if TYPE_CHECKING:
    from PIL import Image

ROWS = 8
"""And as many columns, where there are no classes."""
SIDE_MOST = 2048
"""Pixels of the grid's side: 64 pictures of 512 pixels would take longer than the training between two grids."""


def sample_grid(generator: TrainedGenerator, seed: int) -> "Image.Image":
    """64 pictures, or 8 of each class with a column for each class (at most 16 classes); of large pictures fewer."""
    recipe = generator.recipe
    fit = ROWS if recipe is None else max(1, min(ROWS, SIDE_MOST // max(recipe.resolution)))
    columns = min(len(generator.classes), 16) or None
    count = fit * fit if columns is None else columns * (ROWS if fit == ROWS else max(1, fit * fit // columns))
    labels = labels_for(generator, count)
    if columns and labels is not None:
        labels = labels.new_tensor([place % columns for place in range(count)])
    return grid(generate_all(generator, draw_latents(seed, count, generator.latent_size), labels), columns)
