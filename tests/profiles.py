"""ICC profiles, made bit by bit."""

import struct

from PIL import ImageCms


def tag(kind: bytes, body: bytes) -> bytes:
    return kind + bytes(4) + body


def profile_of(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2.4 (ICC.1:2001-04, clause 6)."""
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    tags = {
        b"desc": tag(b"desc", struct.pack(">I", 5) + b"test\0" + bytes(78)),
        b"cprt": tag(b"text", b"none\0"),
        b"wtpt": tag(b"XYZ ", white),
    } | tags
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI", start + len(data), bytes(4), 0x0240_0000)
    head += (b"prtr" if space == b"CMYK" else b"mntr") + space + connection
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + table + data


def swapped_red_and_blue(profile: bytes) -> bytes:
    """The profile of a screen whose red is blue: the two tags' places are exchanged."""
    count = struct.unpack(">I", profile[128:132])[0]
    at = {profile[place : place + 4]: place + 4 for place in range(132, 132 + 12 * count, 12)}
    red, blue = (slice(at[name], at[name] + 8) for name in (b"rXYZ", b"bXYZ"))
    turned = bytearray(profile)
    turned[red], turned[blue] = profile[blue], profile[red]
    return bytes(turned)


def cmyk_profile() -> bytes:
    """Ink is as dark as there is of it: a table of two points for each of the four inks, in Lab."""
    ramp = bytes(range(256))
    corners = [[index >> shift & 1 for shift in (3, 2, 1, 0)] for index in range(16)]
    table = b"".join(bytes([255 * (4 - sum(inks)) // 4, 128, 128]) for inks in corners)
    one = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    body = bytes([4, 3, 2, 0]) + one + 4 * ramp + table + 3 * ramp
    return profile_of(b"CMYK", b"Lab ", {b"A2B0": tag(b"mft1", body)})


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = swapped_red_and_blue(SRGB)
LINEAR_GREY = profile_of(b"GRAY", b"XYZ ", {b"kTRC": tag(b"curv", struct.pack(">IH", 1, 256))})  # gamma 1
CMYK = cmyk_profile()


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))


P3_PRIMARIES = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""XYZ of red, green and blue, adapted to D50 (SMPTE RP 431-2 with D65, as telephones have it)."""
P3 = profile_of(
    b"RGB ",
    b"XYZ ",
    {
        name: tag(b"XYZ ", _fixed(*place))
        for name, place in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3_PRIMARIES, strict=True)
    }
    | {name: tag(b"curv", struct.pack(">IH", 1, 563)) for name in (b"rTRC", b"gTRC", b"bTRC")},  # gamma 2.2
)
