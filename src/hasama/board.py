"""TensorBoard logs (an extra): a consumer of records like any other."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from PIL import Image

from hasama.errors import missing_extra
from hasama.fitting import crossed, log_interval, sample_interval
from hasama.game import Record
from hasama.recipe import Recipe
from hasama.run import Run


def check_installed() -> None:
    """Before any work.

    Raises:
        HasamaError: tensorboardX is missing.
    """
    if find_spec("tensorboardX") is None:
        raise missing_extra("tensorboardX", "tensorboard", "--tensorboard")


def to_tensorboard(records: Iterator[Record], run: Run, recipe: Recipe) -> Iterator[Record]:
    """Pass the records on, writing figures and sample grids into the run's folder `tensorboard`."""
    from tensorboardX import SummaryWriter

    writer = None
    try:
        for record in records:
            if writer is None:  # only now is the run's folder surely there
                begun = record.images_seen if run.log() else None
                writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=begun)
            if crossed(record, log_interval(recipe)):
                for name, value in record.figures().items():
                    writer.add_scalar(name, value, record.images_seen)
            picture = run.sample_file(record.images_seen)
            if crossed(record, sample_interval(recipe)) and picture.exists():
                pixels = np.asarray(Image.open(picture).convert("RGB"))
                writer.add_image("samples", pixels, record.images_seen, dataformats="HWC")
            yield record
    finally:
        if writer is not None:
            writer.close()
