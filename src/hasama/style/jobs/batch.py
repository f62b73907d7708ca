"""A folder of pictures painted in the style of one, of several together, or of each of a folder."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hasama.errors import HasamaError
from hasama.names import SPARE, fitting_name
from hasama.pictures.images import is_picture_name
from hasama.style.jobs.job import Job, StyleSource


def pictures_in(folder: Path, but: Path | None = None) -> list[Path]:
    """Every file below a folder whose ending is a picture's, by name; nothing hidden, nothing below `but`.

    Raises:
        HasamaError: there is none.
    """
    found = []
    outside = but is None or folder.resolve().is_relative_to(but.resolve())  # everything is below `but`
    for path in sorted(folder.rglob("*")):
        if not is_picture_name(path) or not path.is_file():  # a link that goes round is none
            continue
        parts = path.relative_to(folder).parts
        made = not outside and but is not None and path.resolve().is_relative_to(but.resolve())
        if not made and not any(part.startswith(".") for part in parts):
            found.append(path)
    if not found:
        raise HasamaError(f"There are no pictures in {folder}.")
    return found


def batch_jobs(job: Job) -> list[Job]:
    """One job for each content and each style.

    Args:
        job: its content, or one of its styles, or both are folders; `out` is the folder for what is painted. Styles
            that are all single pictures are mixed; if one is a folder, each picture makes a painting of its own.

    Raises:
        HasamaError: a folder holds no pictures, or masks or weights are given for a folder of styles.
    """
    contents = pictures_in(job.content, job.out) if job.content.is_dir() else [job.content]
    if not any(source.picture.is_dir() for source in job.styles):
        sets: list[Sequence[StyleSource]] = [job.styles]
    else:
        if any(source.mask or source.where or source.weight != 1 for source in job.styles):
            raise HasamaError("Masks and --mix belong to single style pictures; a folder of styles takes none.")
        sets = [
            [StyleSource(picture)]
            for source in job.styles
            for picture in (pictures_in(source.picture, job.out) if source.picture.is_dir() else [source.picture])
        ]
    root = job.content if job.content.is_dir() else job.content.parent
    content_names = names_for([content.relative_to(root) for content in contents])
    mixed = [Path("+".join(one.picture.stem for one in styles) + styles[-1].picture.suffix) for styles in sets]
    style_names = names_for(mixed)
    names = distinct([f"{content}--{style}" for content in content_names for style in style_names])
    pairs = [(content, styles) for content in contents for styles in sets]
    return [
        job._replace(content=content, styles=tuple(styles), out=job.out / _file_name(Path(name)))
        for (content, styles), name in zip(pairs, names, strict=True)
    ]


def _file_name(name: Path) -> Path:
    return name.with_name(fitting_name(name.name, ".png", SPARE))


def names_for(paths: Sequence[Path]) -> list[str]:
    """Names without endings, but with them (a-jpg, a-png) or a number where several would be the same."""
    bare = [str(path.with_suffix("")) if path.suffix else str(path) for path in paths]
    count = Counter(bare)
    names = [
        name if count[name] == 1 else f"{name}-{path.suffix.lstrip('.').lower()}"
        for name, path in zip(bare, paths, strict=True)
    ]
    return distinct(names)


def distinct(names: Sequence[str]) -> list[str]:
    """The same names, but with a number (a-2) where one is taken."""
    made: dict[str, None] = {}
    for name in names:
        number, one = 1, name
        while one in made:
            number += 1
            one = f"{name}-{number}"
        made[one] = None
    return list(made)
