"""The pictures of docs/gallery.md, all made from what comes with the package and its dependencies.

    python scripts/make_gallery.py [--out docs/pictures/gallery] [--work build/gallery] [--size 224]

Faces come from the bases `portraits` and `portraits-128`. The photograph that is painted is Grace Hopper's (United
States Navy, public domain), which matplotlib brings; the styles are a sheet of the base's faces and a made-up scene.
The digits are trained (three minutes). What is in --work is kept, so that the sheets can be laid out again at once.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FACES, LARGE, SEED, LARGE_SEED = "portraits", "portraits-128", "5", "7"
RECIPES = ("instant", "neighbour", "best")
GAP, QUALITY = 6, 85
PHOTO = (60, 20, 460, 420)
"""What is cut from the photograph: the head."""


def hasama(*words: object) -> None:
    """Run a command, unless what it makes is there: the last word is its --out."""
    if not Path(str(words[-1])).exists():
        subprocess.run([sys.executable, "-m", "hasama", *map(str, words)], check=True)


def photograph(size: int, out: Path) -> Path:
    """The photograph, square."""
    import matplotlib.cbook
    from PIL import Image

    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as opened:
        opened.crop(PHOTO).resize((size, size), Image.Resampling.LANCZOS).save(out)
    return out


def sheet_of_faces(size: int, work: Path) -> Path:
    """A sheet of nine enlarged faces: the first style."""
    from PIL import Image

    hasama("sample", FACES, "--seeds", "1-9", "--truncation", "0.8", "--out", work / "nine")
    hasama("enlarge", work / "nine", "--times", "2", "--out", work / "nine-x2")
    side = size // 3
    sheet = Image.new("RGB", (3 * side, 3 * side))
    for number, file in enumerate(sorted((work / "nine-x2").glob("*.png"))[:9]):
        with Image.open(file) as opened:
            sheet.paste(opened.convert("RGB").resize((side, side)), (number % 3 * side, number // 3 * side))
    sheet.save(work / "faces.png")
    return work / "faces.png"


def made_up_scene(size: int, out: Path) -> Path:
    """A made-up scene, as `hasama teach` practises on: the second style."""
    import torch
    from PIL import Image

    from hasama.style.painters.scenes import Scenes

    (scene,) = Scenes(size).crops(1, torch.Generator().manual_seed(11))
    pixels = ((scene + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(out)
    return out


def laid_out(rows: Sequence[Sequence[Path | None]], side: int, out: Path) -> None:
    """A sheet of pictures, all scaled to squares of one size; None leaves a place empty."""
    from PIL import Image

    sheet = Image.new("RGB", (len(rows[0]) * (side + GAP) - GAP, len(rows) * (side + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, file in enumerate(row):
            if file is not None:
                with Image.open(file) as opened:
                    small = opened.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
                sheet.paste(small, (x * (side + GAP), y * (side + GAP)))
    sheet.save(out, quality=QUALITY)


def as_jpeg(png: Path, out: Path, width: int = 720) -> None:
    """A picture, made smaller if it is wider."""
    from PIL import Image

    with Image.open(png) as opened:
        picture = opened.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.save(out, quality=QUALITY)


def faces(work: Path, out: Path) -> None:
    """Samples, directions, and small faces beside enlarged ones."""
    from PIL import Image

    forty = ("sample", FACES, "--count", "40", "--columns", "10", "--seed", SEED)
    hasama(*forty, "--out", work / "faces-40.png")
    hasama(*forty, "--best-of", "8", "--out", work / "best-40.png")
    as_jpeg(work / "faces-40.png", out / "faces.jpg")
    as_jpeg(work / "best-40.png", out / "best-faces.jpg")
    hasama("directions", FACES, "--count", "3", "--samples", "1", "--out", work / "directions.png")
    as_jpeg(work / "directions.png", out / "directions.jpg")
    hasama("sample", LARGE, "--count", "4", "--best-of", "25", "--seed", LARGE_SEED, "--out", work / "four")
    hasama("enlarge", work / "four", "--times", "4", "--out", work / "four-x4")
    small, large = (sorted((work / name).glob("*.png"))[:4] for name in ("four", "four-x4"))
    for file in small:
        with Image.open(file) as opened:
            opened.convert("RGB").resize((512, 512), Image.Resampling.NEAREST).save(work / f"plain-{file.name}")
    laid_out([[work / f"plain-{file.name}" for file in small], large], 256, out / "enlarged.jpg")


def paintings(size: int, work: Path, out: Path) -> None:
    """A photograph in two styles by three recipes."""
    content = photograph(size, work / "photo.png")
    styles = [sheet_of_faces(size, work), made_up_scene(size, work / "scene.png")]
    rows: list[list[Path | None]] = [[content, None, None, None]]
    for style in styles:
        painted = [work / f"{style.stem}-{recipe}.png" for recipe in RECIPES]
        for recipe, file in zip(RECIPES, painted, strict=True):
            hasama("style", content, style, "--recipe", recipe, "--size", size, "--out", file)
        rows.append([style, *painted])
    laid_out(rows[1:], 176, out / "paintings.jpg")
    as_jpeg(content, out / "photo.jpg", 176)


def digits(work: Path, out: Path) -> None:
    """What is not far from `make demo`: narrower, for longer."""
    hasama("train", "digits", "demo", "--width", "16", "--kimg", "90", "--seed", "1", "--out", work / "demo")
    hasama("sample", work / "demo", "--count", "40", "--columns", "10", "--seed", "1", "--out", work / "digits.png")
    as_jpeg(work / "digits.png", out / "digits.jpg")


def styles(out: Path) -> None:
    """For README.md: two of the rows by `instant` from docs/experiments/instant.jpg."""
    from PIL import Image

    with Image.open(ROOT / "docs/experiments/instant.jpg") as sheet:
        rows = [sheet.crop((0, top, sheet.width, bottom)) for top, bottom in ((0, 200), (400, 533))]
    strip = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    strip.paste(rows[0], (0, 0))
    strip.paste(rows[1], (0, rows[0].height))
    strip.save(out, quality=QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures/gallery")
    parser.add_argument("--work", type=Path, default=ROOT / "build/gallery")
    parser.add_argument("--size", type=int, default=224, help="pixels of a painting's side")
    given = parser.parse_args()
    for folder in (given.out, given.work):
        folder.mkdir(parents=True, exist_ok=True)
    faces(given.work, given.out)
    paintings(given.size, given.work, given.out)
    digits(given.work, given.out)
    styles(given.out.parent / "styles.jpg")
    for file in sorted(given.out.glob("*.jpg")):
        print(f"{file.name}: {file.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
