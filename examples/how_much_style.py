"""One photo in one style, from a touch of it to nearly nothing else: a strip to choose the content weight from.

python examples/how_much_style.py photo.jpg painting.jpg [strip.png]
"""

import sys

from PIL import Image

import hasama

WEIGHTS = (0.8, 0.25, 0.08, 0.025, 0.008)

if len(sys.argv) < 3:
    sys.exit(__doc__)
content, style, *place = sys.argv[1:]
paintings = []
for weight in WEIGHTS:
    recipe = hasama.STYLE_RECIPES["sketch"].but(content_weight=weight)
    *_, last = hasama.stylize(content, style, recipe)
    print(f"content weight {weight}: {last.losses}")
    paintings.append(last.picture.convert("RGB"))

width, height = paintings[0].size
strip = Image.new("RGB", (width * len(paintings), height))
for number, painting in enumerate(paintings):
    strip.paste(painting, (number * width, 0))
strip.save(place[0] if place else "strip.png")
