"""hasama interpolate: films of a trained generator."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import beside, check_apart, check_truncation, generator_place, open_generator
from hasama.cli.generators.project import tell_another_state
from hasama.cli.generators.sample import check_choice, choices
from hasama.errors import HasamaError
from hasama.names import check_name, counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from hasama.shapes import Latents

COUNT, STOPS = 9, 6
"""Interpolations side by side, and the random latents that each passes through, where nobody says it."""


def interpolate(
    run: Path,
    /,
    *projections: Path,
    out: Path | None = None,
    seed: int | None = None,
    count: int | None = None,
    stops: int | None = None,
    seconds: float = 8.0,
    fps: int = 24,
    label: str | None = None,
    truncation: float = 1.0,
    best_of: int = 1,
    source: str | None = None,
    device: str = "auto",
) -> int:
    """A film that interpolates between random latents, or between pictures of one's own.

    Parameters
    ----------
    run
        A run's folder, a generator.safetensors, or a base.
    projections
        What `hasama project` found for pictures of one's own, two or more, or the pictures that it wrote: the film
        goes from one to the next, and back to the first.
    out
        A film: .mp4 (needs the extra `video`), .gif or .webp. Default: interpolation.mp4 (or .gif) in the run's
        folder.
    seed
        Seed of the first interpolation; the others have the next ones. Default: 0.
    count
        Interpolations side by side. Default: 9.
    stops
        Random latents that each one passes through before it comes back to the first. Default: 6.
    seconds
        Length of the film.
    fps
        Frames per second.
    label
        Only this class.
    truncation
        Less than 1: more typical pictures, but less various. 0 to 2.
    best_of
        As a stop take of each so many latents the one whose picture looks most like real ones: 1 to 100.
    source
        Real pictures for --best-of. Default: those of the run.
    device
        auto, cpu, cuda, ...
    """
    from importlib.util import find_spec

    if projections:
        _check_projections(projections, (seed, count, stops, label, source), best_of)
    seed, count, stops = (usual if one is None else one for one, usual in ((seed, 0), (count, COUNT), (stops, STOPS)))
    if not (1 <= count <= 400 and 1 <= stops <= 1000 and 0 < seconds <= 3600 and 1 <= fps <= 120 and seed >= 0):
        raise HasamaError(
            "--count takes 1 to 400, --stops 1 to 1000, --seconds up to 3600, --fps 1 to 120, --seed at least 0."
        )
    check_truncation(truncation)
    check_choice(best_of, 0, source, None)
    called = "+".join(each.stem for each in projections) if projections else "interpolation"
    out = out or beside(run, f"{called}.mp4" if find_spec("imageio_ffmpeg") else f"{called}.gif")
    check_apart(projections, [out], "go through")

    from hasama.cli.terminal import say
    from hasama.files import check_place
    from hasama.generators.sampling import draw_latents, labels_for
    from hasama.pictures.video import check_ending, save_film

    check_ending(out)
    check_name(out)
    generator_place(run)  # a place that is none is told first, or a folder would be made for it
    check_place(out)
    generator = open_generator(run, device)

    frames = max(2, round(seconds * fps))
    if projections:
        film = _between_pictures(generator, projections, frames, truncation)
    else:
        labels = labels_for(generator, count, label)
        points = [draw_latents(seed + number, stops * best_of, generator.latent_size) for number in range(count)]
        if best_of > 1:
            points = _best_of(points, run, source, generator, labels, best_of, truncation)
        film = _between_latents(generator, points, labels, frames, truncation)
    save_film(film, out, fps)
    say(f"{counted(frames / fps, 'second')} in {out}")
    return 0


def _check_projections(projections: tuple[Path, ...], random: tuple[Any, ...], best_of: int) -> None:
    if len(projections) < 2:
        raise HasamaError("One picture makes no film: name two or more projections.")
    if best_of > 1 or any(one is not None for one in random):
        raise HasamaError(
            "The projections are what the film goes through, each of its own class: leave out --seed, --count, "
            "--stops, --label, --best-of and --source."
        )


def _between_pictures(
    generator: Any, projections: tuple[Path, ...], frames: int, truncation: float
) -> Iterator["Image"]:
    """Frames that go through what was projected."""
    from hasama.generators.projection_file import load_projections
    from hasama.generators.sampling import generate_from_w, interpolate_through, is_styled, mean_w, truncate
    from hasama.pictures.images import grid

    w, labels, same = load_projections(generator, projections)
    tell_another_state(same)
    styled = is_styled(generator.network)  # whose w know their classes
    if labels is not None and not styled and len(set(labels.tolist())) > 1:
        raise HasamaError("These projections are of several classes, between which this generator has nothing.")
    path = interpolate_through(truncate(w, mean_w(generator), truncation), frames, straight=styled)
    made = generate_from_w(generator, path, None if labels is None else labels[:1].expand(frames))
    return (grid(one[None], smallest=128) for some in made for one in some)


def _best_of(
    points: list["Latents"],
    run: Path,
    source: str | None,
    generator: Any,
    labels: Any,
    best_of: int,
    truncation: float,
) -> list["Latents"]:
    """Of each interpolation's points [stops * best_of, Z] those that are chosen, [stops, Z]."""
    import torch

    of_each = None if labels is None else labels.repeat_interleave(len(points[0]))
    latents = torch.cat(points)
    chosen = [one.number for one in choices(run, source, generator, latents, of_each, best_of, truncation)]
    return list(latents[chosen].split(len(points[0]) // best_of))


def _between_latents(
    generator: Any, points: list["Latents"], labels: Any, frames: int, truncation: float
) -> Iterator["Image"]:
    """Frames of as many interpolations, side by side, as there are lists of points [stops, Z]."""
    import torch

    from hasama.generators.sampling import generate_all, interpolate_through
    from hasama.pictures.images import grid

    paths = torch.stack([interpolate_through(each, frames) for each in points], 1)  # [frames, count, Z]
    return (grid(generate_all(generator, latents, labels, truncation), smallest=128) for latents in paths)
