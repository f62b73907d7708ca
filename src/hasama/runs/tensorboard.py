"""TensorBoard logs (an extra): a consumer of records like any other."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image

from hasama.errors import missing_extra
from hasama.files import cannot_write
from hasama.recipe import Recipe
from hasama.runs.fitting import crossed, log_interval, sample_interval
from hasama.runs.folder import Run
from hasama.runs.session import Earlier
from hasama.training.game import Record


def check_installed() -> None:
    """Before any work.

    Raises:
        HasamaError: tensorboardX is missing.
    """
    if find_spec("tensorboardX") is None:
        raise missing_extra("tensorboardX", "tensorboard", "--tensorboard")


def to_tensorboard(records: Iterator[Record], run: Run, recipe: Recipe) -> Iterator[Record]:
    """Pass the records on, writing figures and sample grids into the run's folder `tensorboard`, and into the one of
    its stage of half the size.

    If that folder can no longer be written to, training goes on without: a log is not worth a run.
    """
    stages = groupby(records, lambda record: record.run if isinstance(record, Earlier) else run)
    for stage, some in stages:
        yield from _written(some, stage, recipe if stage is run else stage.recipe())


def _written(records: Iterator[Record], run: Run, recipe: Recipe) -> Iterator[Record]:
    from tensorboardX import SummaryWriter  # an extra

    folder, writer = run.folder / "tensorboard", None
    try:
        for record in records:
            step = record.step if isinstance(record, Earlier) else record
            if writer is None:  # only now is the run's folder surely there
                begun = step.images_seen if folder.exists() else None
                try:  # with a long queue: a full one blocks for ever when its reader has died of a full disk
                    writer = SummaryWriter(str(folder), purge_step=begun, max_queue=100_000)
                except OSError as error:
                    raise cannot_write(folder, error) from error
            if _alive(writer):
                _write(writer, step, run, recipe)
            yield record
    finally:
        if writer is not None and _alive(writer):
            writer.close()


def _alive(writer: Any) -> bool:
    """Whether tensorboardX's writing thread still runs."""
    return writer.file_writer.event_writer._worker.is_alive()


def _write(writer: Any, record: Record, run: Run, recipe: Recipe) -> None:
    if crossed(record, log_interval(recipe)):
        for name, value in record.figures().items():
            writer.add_scalar(name, value, record.images_seen)
    picture = run.sample_file(record.images_seen)
    if crossed(record, sample_interval(recipe)) and picture.exists():
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        writer.add_image("samples", pixels, record.images_seen, dataformats="HWC")
