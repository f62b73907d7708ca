"""What the formats of files cannot hold, said before or after it is lost."""

from pathlib import Path

from hasama.errors import HasamaError
from hasama.pictures.images import OPAQUE_FORMATS, REFUSE_ALPHA, picture_format
from hasama.style.canvas.pictures import DEEP_FORMATS, Picture, check_deep


def lost_in(path: str | Path, picture: Picture, deep: bool | None = None) -> list[str]:
    """What a picture loses in the format of an ending, a sentence each.

    Args:
        path: where it is to be written.
        picture: what it is, or is made of.
        deep: whether 16 bits a channel were asked for; None: as many as it has.

    Raises:
        HasamaError: Pillow cannot write it, be it for its transparency alone; or an extra is missing.
    """
    name, form = Path(path).name, picture_format(Path(path))
    full = 65535 if picture.is_deep else 255
    if picture.alpha is not None and form in REFUSE_ALPHA:
        raise HasamaError(f"{form} holds no transparency, which the picture has. Use another ending, such as .png.")
    if deep and form in DEEP_FORMATS:
        check_deep()
    lost = []
    if picture.alpha is not None and (picture.alpha < full).any():
        if form in OPAQUE_FORMATS:
            lost.append(f"{form} holds no transparency: {name} lies on white. PNG keeps it.")
        elif form == "GIF" and ((picture.alpha > 0) & (picture.alpha < full)).any():
            lost.append(
                f"GIF holds no half transparency: in {name} what is less than half opaque is clear, the rest lies "
                "on white. PNG keeps it."
            )
    if deep is None and picture.is_deep and form not in DEEP_FORMATS:
        lost.append(f"{form} holds 8 bits a colour: of the picture's 16 the rest is lost. PNG keeps them.")
    return lost
