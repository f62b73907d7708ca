"""Pictures in NumPy files: .npz with images and labels, or .npy."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from hasama.errors import HasamaError
from hasama.pictures.depth import deep_range
from hasama.pictures.sources.entries import Entry, Source, stamp_of

TAKES = "Hasama takes uint8 from 0 to 255, as [N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels"
NO_CLASS = "label {}, which means no class; give these a class of their own, or leave out --labels"

# --- the file -------------------------------------------------------------------------------------


def npz_source(path: Path) -> Source:
    """The pictures in an .npy or .npz file.

    Raises:
        HasamaError: it cannot be read, or its arrays are no pictures or do not match.
    """
    images, labels = _load_arrays(path)
    pixels = as_pixels(images, str(path))
    note = ""
    if images.ndim == 3 and images.shape[0] in (3, 4):
        note = (
            f"The shape {list(images.shape)} is read as {len(images)} grey pictures. If it is one colour picture "
            "[C, H, W], save  images.transpose(1, 2, 0)  as a PNG, and name that file."
        )
    return Source(f"arrays {path}", array_entries(pixels, labels, stamp_of(path)), note=note)


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
                    f"{path} holds no array called `images` (it has {', '.join(loaded.files) or 'none'}). "
                    "Save it as  np.savez(FILE, images=x, labels=y)."
                )
            images = loaded[name]
            named = next((n for n in ("labels", "y", "y_train", "arr_1") if n in loaded.files), None)
            labels = None if named is None else _labels(loaded, named, path)
            if named == "arr_1" and labels is not None and labels.ndim > 2:
                labels = None  # another array of pictures, such as those kept for a test
            return images, labels
    except HasamaError:
        raise
    except Exception as error:  # numpy, zip and header parsing raise nearly everything
        raise HasamaError(f"Cannot read the arrays in {path}: {error}.") from error


def _labels(loaded: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    try:
        return loaded[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise HasamaError(
            f"Cannot read the arrays in {path}: its labels are objects, as pandas' words are, which could execute "
            "anything. Save them as  labels.astype(str)  or as numbers."
        ) from error


# --- images ---------------------------------------------------------------------------------------


def as_pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Check that these are pictures, and bring them to [N, H, W, C].

    An array [H, W, 3] or [H, W, 4] is refused, for it is one picture: grey pictures 3 or 4 pixels wide are nothing
    that anyone trains on.

    Args:
        images: as they were saved.
        where: what to call their file.

    Raises:
        HasamaError: they are not uint8, or not of a shape that can be pictures; with what to do.
    """
    shape = list(images.shape)
    if images.dtype != np.uint8:
        raise HasamaError(f"The images in {where} are {images.dtype}{_values(images)}. {TAKES}.{_as_uint8(images)}")
    if images.ndim == 3 and images.shape[-1] in (3, 4) and 0 not in images.shape:
        raise HasamaError(
            f"The images in {where} have the shape {shape}, which is one picture [H, W, C]. {TAKES}. "
            "To learn from random crops of it, save it as a PNG and name that file. To have it as a set of one, "
            f"save  images[None]; if it really holds {len(images)} grey pictures {shape[-1]} pixels wide, save  "
            "images[..., None]."
        )
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if 0 in images.shape:
        raise HasamaError(
            f"The images in {where} have the shape {list(images.shape)}: the array is empty, it holds no picture. "
            f"{TAKES}."
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        one = "" if images.ndim != 2 else " This looks like one grey picture: save it as a PNG and name that file."
        raise HasamaError(f"The images in {where} have the shape {list(images.shape)}. {TAKES}.{one}")
    return images


def _values(images: np.ndarray) -> str:
    """From where to where they go."""
    if images.dtype.kind not in "iuf" or not images.size:
        return ""
    finite = images[np.isfinite(images)]
    return f" from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""


def _as_uint8(images: np.ndarray) -> str:
    """How to make uint8 of them, as Python."""
    if images.dtype.kind == "b":
        return ' Save  x.astype("uint8") * 255  instead (x: the images).'
    if images.dtype.kind not in "iuf" or not images.size or not np.isfinite(images).any():
        return ""
    finite = images[np.isfinite(images)]
    lowest, highest = float(finite.min()), float(finite.max())
    floats = images.dtype.kind == "f"
    x = "x" if finite.size == images.size else "np.nan_to_num(x)"
    black, white = deep_range(lowest, highest, floats)
    if lowest < black or highest > white:
        x = f"{x}.clip({black:g}, {white:g})"
    if (black, white) == (0.0, 255.0):
        formula = f'{x}.round().astype("uint8")' if floats else f'{x}.astype("uint8")'
    elif (black, white) == (0.0, 1.0):
        formula = f'({x} * 255).round().astype("uint8")'
    elif (black, white) == (-1.0, 1.0):
        formula = f'(({x} + 1) * 127.5).round().astype("uint8")'
    elif black == 0.0:
        formula = f'({x} * (255 / {white:.10g})).round().astype("uint8")'
    else:
        formula = f'(({x} - {black:.10g}) * (255 / {white - black:.10g})).round().astype("uint8")'
    return f" Save  {formula}  instead (x: the images)."


# --- labels ---------------------------------------------------------------------------------------


def array_entries(images: np.ndarray, labels: np.ndarray | None, stamp: str) -> list[Entry]:
    """Entries for uint8 [N, H, W, C] in memory; labels [N] if there are any.

    Raises:
        HasamaError: the labels are no classes, or not one for each picture; with what to do.
    """
    names = [None] * len(images) if labels is None else list(_class_names(labels, len(images)))

    def entry(index: int) -> Entry:
        why = "there are no labels" if labels is None else NO_CLASS.format(labels.ravel()[index])
        return Entry(str(index), names[index], stamp, lambda: images[index], why)

    return [entry(index) for index in range(len(images))]


def _class_names(labels: np.ndarray, count: int) -> Iterator[str | None]:
    """The class of each picture; None for a negative number or NaN, which mean none."""
    if labels.shape == (count, 1):
        labels = labels[:, 0]  # as Keras has them
    if labels.shape != (count,):
        raise HasamaError(
            f"There are {count} images but labels of shape {list(labels.shape)}.{_one_each(labels, count)}"
        )
    if labels.dtype.kind == "f":
        known = labels[np.isfinite(labels)]
        if (known != known.round()).any():
            raise HasamaError(
                f"The labels are {labels.dtype} from {known.min():.4g} to {known.max():.4g}, which are no classes. "
                "Save whole numbers or words, one for each picture, or no labels."
            )
    for label in labels.tolist():
        yield class_name(label)


def class_name(label: object) -> str | None:
    """A class by its number or word: 2.0 is '2'; None, a negative number, a part of one, or NaN is no class."""
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if label is None or (isinstance(label, float) and not label.is_integer()):
        return None
    if isinstance(label, (int, float)) and not isinstance(label, bool):
        return str(int(label)) if label >= 0 else None
    return str(label)


def _one_each(labels: np.ndarray, count: int) -> str:
    """What to do about labels of a wrong shape."""
    if labels.ndim != 2 or len(labels) != count or labels.dtype.kind not in "iufb":
        return " Hasama takes [N], one number or word for each picture."
    rows = labels.astype(np.float64)
    if ((rows == rows.max(1, keepdims=True)).sum(1) == 1).all() and (rows.sum(1) > 0).all():
        return " They are one-hot vectors or scores: save  labels.argmax(1)  instead."
    return " Hasama takes [N], one class for each picture: choose one column, such as  labels[:, 0]."
