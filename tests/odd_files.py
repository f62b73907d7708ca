"""A folder such as people really have: pictures of every format, whole and broken, and things that are none.

`odd_files()` gives some 300 of them, the same ones every time, each with what must become of it.
"""

import io
import pickle
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

Fate = Literal["used", "skipped", "either"]


class OddFile(NamedTuple):
    """A file's name, its bytes, and whether a scan must use it, must skip it, or may do as it likes."""

    name: str
    data: bytes
    fate: Fate


def encoded(picture: Image.Image, file_format: str, **options) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    picture.copy().save(buffer, format=file_format, **options)  # saving leaves traces in the object
    return buffer.getvalue()


def scene(width: int = 40, height: int = 28, seed: int = 0) -> Image.Image:
    """An RGB picture with smooth parts and noise, so that no format can pack it into a few bytes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], axis=-1)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 30, smooth.shape), 0, 255).astype(np.uint8))


def claiming(width: int, height: int) -> bytes:
    """A PNG of under 100 bytes whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def whole_pictures() -> dict[str, bytes]:
    """One intact file for each format and mode that Pillow can both write and read."""
    rgb = scene()
    frames = [scene(seed=seed) for seed in (1, 2)]
    grey, palette, cmyk = rgb.convert("L"), rgb.quantize(32), rgb.convert("CMYK")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": encoded(rgb, "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "bilevel.png": encoded(rgb.convert("1"), "PNG"),
        "alpha.png": encoded(rgba, "PNG"),
        "grey-alpha.png": encoded(rgba.convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-transparent.png": encoded(palette, "PNG", transparency=3),
        "colour-key.png": encoded(rgb, "PNG", transparency=(1, 2, 3)),
        "deep.png": encoded(deep, "PNG"),
        "moving.apng": encoded(rgb, "PNG", save_all=True, append_images=frames),
        "plain.jpg": encoded(rgb, "JPEG"),
        "grey.jpeg": encoded(grey, "JPEG"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True, quality=90),
        "cmyk.jpg": encoded(cmyk, "JPEG"),
        "turned.jpg": encoded(rgb, "JPEG", exif=exif),
        "full-chroma.jpg": encoded(rgb, "JPEG", subsampling=0, optimize=True),
        "pair.mpo": encoded(rgb, "MPO", save_all=True, append_images=frames),
        "still.gif": encoded(palette, "GIF"),
        "transparent.gif": encoded(palette, "GIF", transparency=2),
        "moving.gif": encoded(palette, "GIF", save_all=True, append_images=[f.quantize(32) for f in frames]),
        "lossy.webp": encoded(rgb, "WEBP"),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "alpha.webp": encoded(rgba, "WEBP"),
        "moving.webp": encoded(rgb, "WEBP", save_all=True, append_images=frames),
        "plain.avif": encoded(rgb, "AVIF", speed=10),
        "plain.jp2": encoded(rgb, "JPEG2000"),
        "rgb.bmp": encoded(rgb, "BMP"),
        "grey.bmp": encoded(grey, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "bilevel.bmp": encoded(rgb.convert("1"), "BMP"),
        "alpha.bmp": encoded(rgba, "BMP"),
        "plain.dib": encoded(rgb, "DIB"),
        "rgb.tif": encoded(rgb, "TIFF"),
        "deep.tiff": encoded(deep, "TIFF"),
        "whole-numbers.tiff": encoded(deep.convert("I"), "TIFF"),
        "float.tiff": encoded(grey.convert("F"), "TIFF"),
        "cmyk.tiff": encoded(cmyk, "TIFF"),
        "lab.tiff": encoded(Image.new("LAB", rgb.size, (90, 20, 30)), "TIFF"),
        "ycbcr.tiff": encoded(rgb.convert("YCbCr"), "TIFF"),
        "palette.tiff": encoded(palette, "TIFF"),
        "alpha.tiff": encoded(rgba, "TIFF"),
        "lzw.tiff": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "fax.tiff": encoded(rgb.convert("1"), "TIFF", compression="group4"),
        "jpeg-inside.tiff": encoded(rgb, "TIFF", compression="jpeg"),
        "pages.tiff": encoded(rgb, "TIFF", save_all=True, append_images=[scene(seed=3)]),
        "plain.ppm": encoded(rgb, "PPM"),
        "plain.pgm": encoded(grey, "PPM"),
        "plain.pbm": encoded(rgb.convert("1"), "PPM"),
        "deep.pgm": encoded(deep.convert("I"), "PPM"),
        "float.pfm": encoded(grey.convert("F"), "PPM"),
        "plain.tga": encoded(rgb, "TGA"),
        "packed.tga": encoded(rgba, "TGA", compression="tga_rle"),
        "icon.ico": encoded(rgba.resize((32, 32)), "ICO", sizes=[(32, 32), (16, 16)]),
        "icon.icns": encoded(rgba.resize((64, 64)), "ICNS"),
        "plain.pcx": encoded(rgb, "PCX"),
        "plain.sgi": encoded(rgb, "SGI"),
        "plain.dds": encoded(rgba, "DDS"),
        "plain.im": encoded(rgb, "IM"),
        "plain.qoi": encoded(rgb, "QOI"),
        "float.spider": encoded(grey.convert("F"), "SPIDER"),
        "bilevel.msp": encoded(rgb.convert("1"), "MSP"),
        "bilevel.xbm": encoded(rgb.convert("1"), "XBM"),
    }


def not_pictures() -> dict[str, bytes]:
    """Files that hold no picture, or one that must not be opened."""
    return {
        "empty.jpg": b"",
        "empty-without-ending": b"",
        "a-letter.jpg": b"Dear Sir,\nplease find attached no picture at all.\n" * 20,
        "not-found.png": b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>",
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
        "labels.csv": b"name,class\ncat.png,cat\n",
        "notes.txt": "Grüße aus Kanada — 日本\n".encode(),
        "code.pkl": pickle.dumps({"not": "a picture"}),
        "noise.webp": random.Random(1).randbytes(3000),
        "zeros.bmp": bytes(4000),
        "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(500),
        "film.mpg": b"\0\0\x01\xb3\x14\x00\xf0\x13" + bytes(200),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "paper.pdf": encoded(scene(), "PDF"),
        "only-a-signature.png": b"\x89PNG\r\n\x1a\n",
        "only-a-start.jpg": b"\xff\xd8\xff",
        "only-a-riff.webp": b"RIFF\xff\xff\xff\xffWEBP",
        "only-a-start.gif": b"GIF89a",
        "only-a-start.tiff": b"II*\0\x08\0\0\0",
        "loop.tiff": b"II*\0\x08\0\0\0" + struct.pack("<HHHII I", 1, 256, 4, 1, 40, 8),  # the next page is itself
        "bomb.png": claiming(50_000, 50_000),
        "smaller-bomb.png": claiming(11_000, 11_000),
        "bomb.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF0, 0, 0) + bytes(6) + b";",
        "bomb.ppm": b"P6 60000 60000 255\n" + bytes(30),
        "no-width.png": claiming(0, 20),
    }


ENDLESS_TAILS = (".gif", ".apng", ".webp", ".mpo", ".avif", ".icns", ".ico", "pages.tiff")
"""Formats of which the front half may hold a whole picture."""


def odd_files() -> Iterator[OddFile]:
    """Every file, each name once."""
    rng = random.Random(2024)
    whole = whole_pictures()
    for name, data in whole.items():
        yield OddFile(f"whole/{name}", data, "used")
        early = rng.randrange(1, max(2, len(data) // 2))
        yield OddFile(f"cut-early/{name}", data[:early], "either" if name.endswith(ENDLESS_TAILS) else "skipped")
        late = rng.randrange(len(data) // 2, len(data))
        yield OddFile(f"cut-late/{name}", data[:late], "either")
        for times in (1, 12):
            flipped = bytearray(data)
            for _ in range(times):
                flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield OddFile(f"flipped-{times}/{name}", bytes(flipped), "either")
    for name, data in not_pictures().items():
        yield OddFile(f"none/{name}", data, "skipped")
    yield OddFile("misnamed/really-a-png.jpg", whole["rgb.png"], "used")
    yield OddFile("misnamed/really-a-webp.txt", whole["lossy.webp"], "used")
    yield OddFile("misnamed/no-ending", whole["plain.jpg"], "used")
    yield OddFile("misnamed/SHOUTING.JPG", whole["plain.jpg"], "used")
    yield OddFile("misnamed/trailing-rubbish.jpg", whole["plain.jpg"] + b"\0rubbish" * 50, "used")
    yield OddFile("names/two words, a comma & 'quotes'.png", whole["rgb.png"], "used")
    yield OddFile("names/日本-🐈-é.png", whole["rgb.png"], "used")
    yield OddFile("names/two\nlines.png", whole["rgb.png"], "used")
    yield OddFile("names/[red]mark-up[/red] %s {0}.png", whole["rgb.png"], "used")
    yield OddFile("names/" + "long" * 60 + ".png", whole["rgb.png"], "used")
    yield OddFile("shapes/hair.png", encoded(scene(1, 3000), "PNG"), "used")
    yield OddFile("shapes/thread.jpg", encoded(scene(3000, 1), "JPEG"), "used")
    yield OddFile("shapes/dot.png", encoded(scene(1, 1), "PNG"), "used")
    damaged_exif = encoded(scene(), "PNG", exif=b"Exif\0\0no exif at all")
    yield OddFile("shapes/damaged-exif.png", damaged_exif, "used")
