"""Hasama as a page for visitors: on Hugging Face Spaces, or on any machine (README.md beside this file).

Three things that need no training: pictures of the bases that ship with Hasama, films between them, and pictures
painted at once. For all else there is `hasama studio`, which serves its owner, not visitors.
"""

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "GRADIO_ANALYTICS_ENABLED", "False"
)  # nobody is told of the visitors; read when gradio is loaded

import gradio as gr
import torch
from PIL import Image

import hasama
from hasama.generators.sampling import generate_all, labels_for
from hasama.pictures.images import grid
from hasama.pictures.video import save_film
from hasama.runs.bases import about_base, base_names, place_named
from hasama.runs.folder import Run

MOST_ROWS, MOST_SECONDS, FPS = 8, 10, 12
LARGEST_PAINTING = 512
LARGEST_FILE = "20mb"
KEPT_SECONDS, LOOKS_SECONDS = 3600, 300
"""After which Gradio has deleted what visitors gave and got; it looks for that so often."""
WAITING_MOST = 20
"""Visitors that may stand in the queue; one is served at a time, for there are two cores."""
FILM = ".mp4" if find_spec("imageio_ffmpeg") else ".gif"


@contextmanager
def told_to_the_visitor() -> Iterator[None]:
    """What can be put right is shown in the page, without a traceback."""
    try:
        yield
    except hasama.HasamaError as error:
        raise gr.Error(str(error)) from error


@lru_cache(maxsize=4)
def generator_of(base: str) -> hasama.TrainedGenerator:
    """A base's generator, read once."""
    if base not in base_names():  # a visitor may ask for any path
        raise hasama.HasamaError(f"There is no base called {base!r}; there are {', '.join(base_names())}.")
    return hasama.load_generator(Run(place_named(base)).generator)


def generate(base: str, seed: float, truncation: float, rows: float, columns: float) -> Image.Image:
    """A grid of pictures that a base makes of a seed."""
    with told_to_the_visitor():
        generator = generator_of(base)
        rows, columns = _within(rows, 1, MOST_ROWS), _within(columns, 1, MOST_ROWS)
        latents = hasama.draw_latents(_within(seed, 0, 2**31), rows * columns, generator.latent_size)
        labels = labels_for(generator, len(latents), None)
        return grid(generate_all(generator, latents, labels, _share(truncation, 0.0, 2.0)), columns, smallest=128)


def interpolate(base: str, seed: float, stops: float, seconds: float, truncation: float) -> str:
    """A film that goes through some pictures and back to the first."""
    with told_to_the_visitor():
        generator = generator_of(base)
        frames = _within(seconds, 1, MOST_SECONDS) * FPS
        number, between = _within(seed, 0, 2**31), _within(stops, 2, 12)
        paths = [hasama.interpolate(number + way, between, frames, generator.latent_size) for way in range(4)]
        truncation, labels = _share(truncation, 0.0, 2.0), labels_for(generator, len(paths), None)
        film = (
            grid(generate_all(generator, some, labels, truncation), smallest=192) for some in torch.stack(paths, 1)
        )
        place = films() / f"film{FILM}"
        save_film(film, place, FPS)
        return str(place)


@cache
def films() -> Path:
    """A folder for the last film; Gradio copies it into its own cache before the next visitor is served."""
    return Path(tempfile.mkdtemp(prefix="hasama-film-"))


def paint(photo: str | None, painting: str | None, size: float, strength: float) -> Image.Image:
    """A photo, painted at once in the style of a painting."""
    with told_to_the_visitor():
        if photo is None or painting is None:
            raise hasama.HasamaError("Give both a photo and a painting.")
        longest, share = _within(size, 64, LARGEST_PAINTING), _share(strength, 0.0, 1.0)
        recipe = hasama.STYLE_RECIPES["instant"].but(size=longest, strength=share)
        (last,) = deque(hasama.stylize(photo, painting, recipe), maxlen=1)
        return last.picture


def _within(value: float | None, least: int, most: int) -> int:
    """A whole number that a visitor may ask for: the page's own limits do not bind a program.

    Raises:
        HasamaError: there is none.
    """
    return int(_share(value, least, most))


def _share(value: float | None, least: float, most: float) -> float:
    """The same for any number.

    Raises:
        HasamaError: there is none.
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise hasama.HasamaError("Fill in all numbers.")
    return max(least, min(value, most))


# --- the page -----------------------------------------------------------------------------------------


def make_page() -> gr.Blocks:
    """The page, with an address for each of the three things."""
    with gr.Blocks(
        title="Hasama", analytics_enabled=False, delete_cache=(LOOKS_SECONDS, KEPT_SECONDS - LOOKS_SECONDS)
    ) as page:
        gr.Markdown("# Hasama\nTwo networks learn by opposing each other. What you give is deleted after an hour.")
        with gr.Tab("Generate"):
            base, truncation, seed = _chosen_base()
            rows = gr.Slider(1, MOST_ROWS, 4, step=1, label="Rows")
            columns = gr.Slider(1, MOST_ROWS, 6, step=1, label="Columns")
            _button("Generate", generate, [base, seed, truncation, rows, columns], gr.Image(format="png"))
        with gr.Tab("Film"):
            base, truncation, seed = _chosen_base()
            stops = gr.Slider(2, 12, 4, step=1, label="Pictures that it goes through")
            seconds = gr.Slider(1, MOST_SECONDS, 4, step=1, label="Seconds")
            shown = gr.Video() if FILM == ".mp4" else gr.Image(type="filepath")
            _button("Make the film", interpolate, [base, seed, stops, seconds, truncation], shown)
        with gr.Tab("Paint"):
            with gr.Row():
                photo, painting = (gr.Image(type="filepath", label=label) for label in ("Photo", "Painting"))
            size = gr.Slider(64, LARGEST_PAINTING, 384, step=32, label="Longer side in pixels")
            strength = gr.Slider(0, 1, 1, label="Strength")
            _button("Paint", paint, [photo, painting, size, strength], gr.Image(format="png"))
    return page.queue(default_concurrency_limit=1, max_size=WAITING_MOST)


def _chosen_base() -> tuple[Any, Any, Any]:
    """Which base, how typical its pictures, from which seed; and whose the pictures are that it learnt from."""
    names = base_names()
    base = gr.Dropdown(names, value=names[0], label="Base")
    for name in names:
        about = about_base(name)
        gr.Markdown(f"*{name}*: learnt from {about['pictures']}, {about['authors']}, {about['licence']}.")
    return (
        base,
        gr.Slider(0, 1.5, 0.8, label="Truncation: less is more typical"),
        gr.Number(1, label="Seed", precision=0),
    )


def _button(words: str, function: Callable[..., Any], given: list[Any], shown: Any) -> None:
    """A button that calls a function; programs call it by its name."""
    clicked = gr.Button(words, variant="primary").click
    clicked(function, given, shown, api_name=function.__name__, concurrency_id="one")  # one visitor at a time, in all


if __name__ == "__main__":
    make_page().launch(max_file_size=LARGEST_FILE)
