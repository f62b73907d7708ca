"""Everything that decides how a picture is painted, in one frozen dataclass. No torch here: `--help` is quick."""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from hasama.errors import HasamaError
from hasama.options import check_fields, flag, option, preset_named, unknown_name

StyleLoss = Literal["wasserstein", "gram", "neighbour"]
Optimizer = Literal["auto", "lbfgs", "adam", "pyramid", "gradient-descent", "none"]
KeepColour = Literal["no", "luminance", "histogram"]

LARGEST_SIDE = 32_768
LARGEST_FOR_LBFGS = 2**20
"""Pixels up to which L-BFGS's memory, dozens of canvases, is hardly felt."""
LARGEST_SHARE = 1e6
"""Of a style in a mixture."""
STARTS = ("content", "noise", "style", "instant")


class Layered:
    """A recipe that names the layers of content and style."""

    content_layers: str
    style_layers: str

    @property
    def content(self) -> dict[str, float]:
        """{layer: share}, the shares adding up to 1."""
        return parse_layers(self.content_layers, "--content-layers")

    @property
    def style(self) -> dict[str, float]:
        """{layer: share}, the shares adding up to 1."""
        return parse_layers(self.style_layers, "--style-layers")

    def check_layers(self) -> None:
        """Raises HasamaError if one of the two texts does not read as layers."""
        parse_layers(self.content_layers, "--content-layers")
        parse_layers(self.style_layers, "--style-layers")


@dataclass(frozen=True)
class StyleRecipe(Layered):
    """How to paint one picture in the style of others.

    Raises:
        HasamaError: a value is of the wrong kind, out of range, or contradicts another.
    """

    # --- the picture
    size: int = option(
        512, "Longer side of the painted picture in pixels; 0: as large as the content.", 0, LARGEST_SIDE
    )
    start: str = option(
        "content",
        "What the canvas starts from: content, noise, style, instant (a first painting), or a picture's path.",
    )
    start_noise: float = option(0.0, "So much of the start is noise; 1: all of it.", 0, 1)
    keep_colour: KeepColour = option(
        "no",
        "Keep the content's colours: luminance paints in grey and puts the colours back; histogram gives the "
        "style the content's colours first.",
    )
    style_scale: float = option(1.0, "Size of the style pictures relative to the canvas: larger strokes.", 0.05, 20)
    strength: float = option(
        1.0, "Of what is painted at once, by instant or by a painter: 0 (the photo as it is) to 1.", 0, 1
    )
    # --- what is minimised
    style_loss: StyleLoss = option(
        "wasserstein",
        "How styles are compared: as a whole, by Gaussians (wasserstein) or Gram matrices; or place by place, each "
        "with the most similar one in the style (neighbour).",
    )
    content_loss: Literal["features", "self-similarity"] = option(
        "features",
        "How contents are compared: by squared differences of features, or by which places are how like each other.",
    )
    content_layers: str = option(
        "relu4_2", "Layers that keep the content, with weights: relu4_2 or relu3_2:1,relu4_2:2."
    )
    style_layers: str = option(
        "relu1_1:256,relu2_1:64,relu3_1:16,relu4_1:4,relu5_1:1", "Layers that carry the style, with weights."
    )
    content_weight: float = option(0.08, "Weight of the content loss; less: more style.", 0)
    style_weight: float = option(1.0, "Weight of the style loss.", 0)
    balance: bool = option(
        True,
        "Measure content and style by how far an empty canvas would be from them, so that weights mean the same for "
        "vivid and for pale pictures.",
    )
    tv_weight: float = option(0.8, "Weight of the total variation: smoothness.", 0)
    tv: Literal["squared", "absolute"] = option(
        "squared", "Differences of neighbours are squared, or absolute: flat areas with sharp edges."
    )
    pooling: Literal["max", "average"] = option("max", "Pooling in the network.")
    border: Literal["replicate", "zeros"] = option("replicate", "What lies around the picture for the first layer.")
    rotations: bool = option(True, "neighbour: learn from the style turned by 90, 180 and 270 degrees, too.")
    canvas_share: float = option(
        0.25, "neighbour: by so much the canvas, not the content, says which place of the style is similar.", 0, 1
    )
    colours: Literal["painted", "matched", "hues"] = option(
        "painted",
        "At the end: nothing; matched: mean and spread of the style's colours; hues: the content's hues, moved to "
        "the style's, with the painting's light and dark.",
    )
    # --- how
    optimizer: Optimizer = option(
        "auto",
        "What moves the canvas; auto: lbfgs, and beyond a megapixel adam, which needs less memory. pyramid: adam on "
        "the bands of a Laplacian pyramid, in place of adam and in the last pass with neighbour. none: what --start "
        "instant paints is the painting.",
    )
    learning_rate: float = option(0.04, "Size of the steps of all but lbfgs; white less black is 2.", 0, 1e6)
    smallest: int = option(128, "Longer side of the first scale.", 16, LARGEST_SIDE)
    scale_step: float = option(1.4143, "Each next scale is larger by at most this factor.", 1.05, 16)
    first_iterations: int = option(150, "Iterations at the first scale.", 1, 1_000_000)
    iterations: int = option(60, "Iterations at every other scale.", 1, 1_000_000)
    plateau: float = option(
        0.003, "Go to the next scale when 20 iterations improve the loss by less than this share; 0: never.", 0, 1
    )
    average: float = option(
        0.98,
        "The picture is the canvas's moving average with this decay; 0: the canvas. Not with lbfgs or pyramid.",
        0,
        0.9999,
    )
    seed: int = option(0, "Seed of the noise.", 0, 2**63 - 1)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Arithmetic inside the network; auto takes bf16 where the machine gains by it."
    )
    # --- films
    temporal_weight: float = option(10.0, "Films: weight of staying with the last picture where nothing moved.", 0)
    frame_iterations: int = option(30, "Films: iterations for each picture after the first.", 1, 1_000_000)

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_layers()
        if self.content_weight == 0 and self.style_weight == 0:
            raise HasamaError("With --content-weight 0 and --style-weight 0 there is nothing to paint.")
        for name in ("rotations", "canvas_share"):
            if not self.by_place and getattr(self, name) != STYLE_DEFAULTS[name]:
                raise HasamaError(f"{flag(name)} means nothing without --style-loss neighbour.")
        self._check_at_once()

    def _check_at_once(self) -> None:
        """What is painted at once has no losses, and is what `instant` starts from."""
        if self.at_once and self.start != "instant":
            raise HasamaError("What paints at once (--recipe instant, --optimizer none) needs --start instant.")
        if not self.at_once and self.strength != STYLE_DEFAULTS["strength"]:
            raise HasamaError("--strength is for --recipe instant and for painters; else see --content-weight.")
        for name in IDLE_AT_ONCE if self.at_once else ():
            if getattr(self, name) != STYLE_DEFAULTS[name]:
                raise HasamaError(f"{flag(name)} means nothing with --recipe instant; see --strength.")

    @property
    def at_once(self) -> bool:
        """Whether there is no optimizer."""
        return self.optimizer == "none"

    @property
    def by_place(self) -> bool:
        """Whether styles are compared place by place, not as a whole."""
        return self.style_loss == "neighbour"

    def averages(self, optimizer: str) -> bool:
        """Whether the picture is a moving average of what this optimizer makes of the canvas."""
        return bool(self.average) and optimizer not in ("lbfgs", "pyramid")

    def optimizer_at(self, height: int, width: int) -> Optimizer:
        """What moves a canvas of this size."""
        if self.optimizer != "auto":
            return self.optimizer
        lighter = "pyramid" if self.by_place else "adam"
        return "lbfgs" if height * width <= LARGEST_FOR_LBFGS else lighter

    def iterations_at(self, scale: int) -> int:
        """How many iterations at most the scale takes, counted from 0."""
        return self.iterations if scale else self.first_iterations

    def but(self, **changes: Any) -> "StyleRecipe":
        """A copy with some fields changed, checked anew.

        Raises:
            HasamaError: there is no such field, or a value is refused.
        """
        for name in changes:
            if name not in STYLE_DEFAULTS:
                raise HasamaError(unknown_name(name, STYLE_DEFAULTS, "field of a style recipe"))
        made = dataclasses.replace(self, **changes)
        for weight, idle in IDLE_WITHOUT.items():
            named = next((name for name in idle if name in changes), None)
            if named and weight not in changes and getattr(made, weight) == 0:
                raise HasamaError(f"{flag(named)} means nothing with this recipe's {flag(weight)} 0: give one, too.")
        one = 0 < made.size <= made.smallest and not (made.by_place and made.style_weight)  # which goes over it twice
        if "iterations" in changes and "first_iterations" not in changes and one:
            raise HasamaError("There is but one scale, as long as --first-iterations; --iterations is the others'.")
        if "colours" in changes and made.colours != "painted" and made.keep_colour != "no":
            raise HasamaError("--colours means nothing with --keep-colour, by which the colours are the content's.")
        return made

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return dataclasses.asdict(self)


def parse_layers(text: str, where: str) -> dict[str, float]:
    """'relu1_1:3,relu2_1' -> {'relu1_1': 0.75, 'relu2_1': 0.25}; a weight that is not given is 1.

    Raises:
        HasamaError: the text reads otherwise. Whether the network has such layers is asked later.
    """
    weights: dict[str, float] = {}
    for part in re.split(r"[,\s]+", text.strip()):
        match = re.fullmatch(r"((?:conv|relu)\d_\d)(?::([0-9.eE+-]+))?", part)
        try:
            weight = float(match[2] or 1) if match else math.nan
        except ValueError:
            weight = math.nan
        if not match or not 0 < weight < math.inf:
            raise HasamaError(
                f"{where} takes layers with positive weights, such as relu3_1:2,relu4_1:1; got {part!r} in {text!r}."
            )
        weights[match[1]] = weights.get(match[1], 0.0) + weight
    whole = sum(weights.values())
    if whole == math.inf:
        raise HasamaError(f"{where}: the weights are too large together; got {text!r}.")
    return {layer: weight / whole for layer, weight in weights.items()}


def parse_mix(text: str, count: int, some: bool = False) -> list[float]:
    """'2,1' -> [2.0, 1.0]: how much each style counts.

    Args:
        text: numbers with commas between.
        count: how many styles there are.
        some: some of them may count nothing.

    Raises:
        HasamaError: it reads otherwise, or is of another number of styles.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    least = 0 if some else math.ulp(0)
    if len(shares) != count or not all(least <= share <= LARGEST_SHARE for share in shares) or not any(shares):
        wanted = "number for each style, not all 0" if some else f"positive number for each of the {count} styles"
        example = ",".join(map(str, range(count, 0, -1)))
        raise HasamaError(f"--mix takes a {wanted}, such as {example}; got {text!r}.")
    return shares


def scale_sides(smallest: int, largest: int, step: float = 1.4143) -> list[int]:
    """Longer sides from coarse to fine, evenly spaced, each larger by at most this factor.

    >>> scale_sides(128, 512)
    [128, 181, 256, 362, 512]
    """
    if largest <= smallest:
        return [largest]
    steps = math.ceil(round(math.log(largest / smallest) / math.log(step), 3))
    return [round(smallest * (largest / smallest) ** (step / steps)) for step in range(steps + 1)]


STYLE_GROUPS: dict[str, tuple[str, ...]] = {
    "Most used": (
        *("size", "start", "keep_colour", "content_weight", "style_weight", "tv_weight", "style_scale"),
        *("iterations", "strength", "seed"),
    ),
    "Losses": (
        *("content_loss", "style_loss", "content_layers", "style_layers", "balance", "rotations", "canvas_share"),
        *("tv", "colours", "pooling", "border"),
    ),
    "Optimizer": (
        *("start_noise", "first_iterations", "optimizer", "learning_rate", "smallest", "scale_step", "plateau"),
        *("average", "precision"),
    ),
    "Films": ("temporal_weight", "frame_iterations"),
}
"""All fields by what they are about, those that people need first at the top."""

IDLE_AT_ONCE = (
    *("content_loss", "style_loss", "content_layers", "content_weight", "style_weight", "balance", "tv_weight", "tv"),
    *("iterations", "first_iterations", "learning_rate", "start_noise", "pooling", "border", "average", "plateau"),
    *("temporal_weight", "frame_iterations"),
)
"""What means nothing without an optimizer."""

IDLE_WITHOUT = {
    "content_weight": ("content_loss", "content_layers"),
    "style_weight": ("style_loss", "style_layers", "style_scale"),
    "tv_weight": ("tv",),
}
"""What means nothing where a weight is 0."""

STYLE_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(StyleRecipe)}

# What each preset changes, and nothing else.
STYLE_PRESETS: dict[str, dict[str, Any]] = {
    # Crowson's recipe (github.com/crowsonkb/style-transfer-pytorch), its lengths for one ordinary computer.
    "best": {},
    # Gatys et al. 2016: white noise, Gram matrices, L-BFGS, one scale. Their network had been rescaled so that all
    # layers are equally active; here the weights of the layers do that.
    "lesson": {
        "start": "noise", "style_loss": "gram", "balance": False,
        "style_layers": "relu1_1:1000,relu2_1:20,relu3_1:5,relu4_1:0.1,relu5_1:20",
        "content_weight": 1.0, "style_weight": 300.0, "tv_weight": 200.0, "pooling": "average",
        "optimizer": "lbfgs", "smallest": LARGEST_SIDE, "first_iterations": 300, "plateau": 0.0,
    },
    # Kolkin et al. 2022, NNST-Opt, with VGG19: a hypercolumn is made of the layers up to relu4_3.
    "neighbour": {
        "style_loss": "neighbour", "content_weight": 0.0, "balance": False, "tv_weight": 0.0,
        "style_layers": "relu1_1,relu1_2,relu2_1,relu2_2,relu3_1,relu3_2,relu3_3,relu4_1,relu4_2,relu4_3",
        "smallest": 64, "scale_step": 2.0, "learning_rate": 0.004,
        "first_iterations": 60, "plateau": 0.0, "average": 0.0, "colours": "matched",
    },
    # VGG19's features moved in closed form and turned back: seconds.
    "instant": {
        "start": "instant", "optimizer": "none", "style_layers": "relu1_1,relu2_1",
        "smallest": 256, "scale_step": 2.0,
    },
    # A first look.
    "sketch": {"size": 256, "first_iterations": 60, "iterations": 30},
}  # fmt: skip

STYLE_RECIPES: dict[str, StyleRecipe] = {name: StyleRecipe(**fields) for name, fields in STYLE_PRESETS.items()}


def style_recipe_named(name: str) -> StyleRecipe:
    """One of `STYLE_RECIPES`.

    Raises:
        HasamaError: there is none of that name; the message offers the nearest.
    """
    return preset_named(name, STYLE_RECIPES, "recipe for painting")
