"""Pictures in NumPy files: .npz with images and labels, or .npy."""

from pathlib import Path

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.entries import Entry, stamp_of
from hasama.pictures.images import to_picture

# --- arrays ---------------------------------------------------------------------------------------


def npz_entries(path: Path) -> list[Entry]:
    images, labels = _load_arrays(path)
    images = as_pixels(images, str(path))
    return array_entries(images, labels, stamp_of(path))


def _load_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of pictures in an .npy or .npz file and its labels. Nothing in the file is executed."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            name = next((n for n in ("images", "x", "x_train", "arr_0") if n in loaded.files), None)
            if name is None:
                raise HasamaError(
                    f"{path} holds no array called `images` (it has {', '.join(loaded.files) or 'none'})."
                )
            labels = next((loaded[n] for n in ("labels", "y", "y_train", "arr_1") if n in loaded.files), None)
            return loaded[name], labels
    except HasamaError:
        raise
    except Exception as error:  # numpy, zip and header parsing raise nearly everything
        raise HasamaError(f"Cannot read the arrays in {path}: {error}.") from error


def as_pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Check that these are pictures, and bring them to [N, H, W, C]."""
    if images.dtype != np.uint8:
        raise HasamaError(f"The images in {where} are {images.dtype}; Hasama takes uint8 from 0 to 255.")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise HasamaError(
            f"The images in {where} have the shape {list(images.shape)}; "
            "Hasama takes [N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels."
        )
    return images


def array_entries(images: np.ndarray, labels: np.ndarray | None, stamp: str) -> list[Entry]:
    """Entries for uint8 [N, H, W, C] in memory; labels [N] if there are any."""
    if labels is not None and labels.shape != images.shape[:1]:
        raise HasamaError(f"There are {len(images)} images but labels of shape {list(labels.shape)}.")
    names = None if labels is None else [str(label) for label in labels]

    def entry(index: int) -> Entry:
        def picture(about: int | None = None) -> Image.Image:
            return to_picture(images[index])

        return Entry(str(index), None if names is None else names[index], stamp, picture, picture)

    return [entry(index) for index in range(len(images))]
