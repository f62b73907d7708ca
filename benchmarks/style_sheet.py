"""A contact sheet: every content in every style, with the contents on the left and the styles above.

    python benchmarks/style_sheet.py CONTENTS STYLES [--out sheet.jpg] [--size 384] [--flags ...]

CONTENTS and STYLES are folders of pictures. The paintings stand beside the sheet; those that are there are kept.
"""

import argparse
import subprocess
import sys
from pathlib import Path

GAP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sheet.jpg"))
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="passed on to hasama style")
    given = parser.parse_args()

    from PIL import Image, ImageOps

    from hasama.style.jobs.batch import pictures_in

    paintings = given.out.with_suffix("")
    command = [
        sys.executable, "-m", "hasama", "style", given.contents, given.styles, "--out", paintings, "--size",
        given.size, *given.flags,
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True)

    contents, styles, side = pictures_in(given.contents), pictures_in(given.styles), given.size

    def tile(path: Path) -> Image.Image:
        return ImageOps.pad(Image.open(path).convert("RGB"), (side, side), color="white")

    step = side + GAP
    sheet = Image.new("RGB", (step * (len(styles) + 1) + GAP, step * (len(contents) + 1) + GAP), "white")
    for row, content in enumerate(contents, 1):
        sheet.paste(tile(content), (GAP, GAP + row * step))
        for column, style in enumerate(styles, 1):
            painted = paintings / f"{content.stem}--{style.stem}.png"
            sheet.paste(tile(painted), (GAP + column * step, GAP + row * step))
    for column, style in enumerate(styles, 1):
        sheet.paste(tile(style), (GAP + column * step, GAP))
    sheet.save(given.out, quality=92)
    print(f"{len(contents)} x {len(styles)} paintings in {given.out}")


if __name__ == "__main__":
    main()
