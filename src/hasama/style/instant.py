"""A style at once, without an optimizer: VGG19's features are moved, level by level, and turned back into a picture.

From the coarsest level to the finest: the content's activations get the style's mean and covariance (`transport`), and
are turned back into activations of the next level (`inverse`), which are moved in turn. Forms come from the content,
what they are made of from the style. Large pictures are painted at a moderate size first, and then made larger, where
only the fine levels are moved anew: strokes are as large a part of a large picture as of a small one.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.errors import HasamaError
from hasama.perception.inverse import LEVELS, REACH, Inverse, load_inverse
from hasama.perception.vgg import VGG, Weights, reach_of, stride_of
from hasama.perception.vgg_weights import COMMON_STD
from hasama.shapes import Images, Resized
from hasama.style.canvas.canvas import resized
from hasama.style.canvas.pictures import Picture
from hasama.style.canvas.tiles import Tile, cut_with_halo
from hasama.style.methods.moments import Moments
from hasama.style.methods.targets import add_moments, tile_moments
from hasama.style.methods.transport import Move, together, transport
from hasama.style.recipe import STYLE_RECIPES
from hasama.style.subject import Hand, Style, Subject, content_image, groups_of, moments_for, within

STRIDE = stride_of(LEVELS[0])
HALO = STRIDE * math.ceil((reach_of(LEVELS[0]) + REACH) / STRIDE)
"""Pixels around a tile that its painting depends on."""
FINE = LEVELS[2:]
"""What is moved anew where a painting is made larger."""
BASE = 512
"""Pixels to a side, by area, up to which a style is made as large as the canvas, even if it has fewer."""
START = 256
"""Pixels of the longer side at which, at least, a canvas is painted that an optimizer is to go on with."""

Moves = dict[str, list[Move]]
"""{level: for each place of the picture its map}"""


class Step(NamedTuple):
    """A tile has gone through one level.

    Attributes:
        scale: counted from 0.
        scales: how many there are.
        done: steps at this scale so far.
        steps: at this scale.
        image: the painting so far [1, 3, H, W] in [-1, 1]; with the last step of a scale it has this scale's size.
    """

    scale: int
    scales: int
    done: int
    steps: int
    image: Images


def open_hand(weights: Weights, device: torch.device, like: VGG) -> Hand:
    """What paints at once, as precise and as quick as another network.

    Raises:
        HasamaError: the inverse is of another network than these weights, or is damaged.
    """
    if weights.name != "vgg19" or weights.std != (COMMON_STD,) * 3:  # torchvision's expect other pictures
        raise HasamaError(
            "To paint at once, the packaged VGG19 is turned round; it does not fit other --weights. Leave them away."
        )
    coarse, fine = (
        VGG(weights, levels, precision=like.precision, quick=like.quick).to(device) for levels in (LEVELS, FINE)
    )
    return Hand(coarse, fine, load_inverse().to(device))


def paint_at_once(subject: Subject, first: int = 0, image: Images | None = None) -> Iterator[Step]:
    """Paint, from the first scale to the last.

    Args:
        subject: with a hand; its maps, if there are any, are taken in place of the picture's own.
        first: the scale to begin with, counted from 0.
        image: the painting of the scale before.

    Yields:
        A `Step` after each tile at each level.
    """
    sizes = subject.sizes()
    for scale in range(first, len(sizes)):
        work = _Work(subject, _before(subject, image, *sizes[scale]), scale)
        shown = work.begun if image is None else image
        if subject.moves is None:
            for done in _learn([work]):
                yield Step(scale, len(sizes), done, work.count, shown)
        else:
            work.moves = subject.moves[scale]
        for done, painted in work.paint():
            image = shown = shown if painted is None else painted
            yield Step(scale, len(sizes), done, work.count, shown)


def learn_for_all(subject: Subject, contents: Sequence[Picture]) -> list[Moves]:
    """Maps that several pictures share, such as those of a film: for each scale."""
    images: list[Images | None] = [None] * len(contents)
    found = []
    for scale, size in enumerate(subject.sizes()):
        subjects = [subject._replace(content=content) for content in contents]
        works = [_Work(one, _before(one, image, *size), scale) for one, image in zip(subjects, images, strict=True)]
        for _ in _learn(works):
            pass
        found.append(works[0].moves)
        images = [[painted for _, painted in work.paint()][-1] for work in works]
    return found


def image_to_start_from(subject: Subject, height: int, width: int) -> Images:
    """A canvas [1, 3, height, width] for an optimizer to go on with."""
    own = subject.recipe
    longer = max(height, width, min(START, own.size or max(subject.content.size)))
    recipe = STYLE_RECIPES["instant"].but(size=longer, keep_colour=own.keep_colour, style_scale=own.style_scale)
    *_, last = paint_at_once(subject._replace(recipe=recipe))
    return resized(last.image, height, width).clamp(-1, 1)


def _before(subject: Subject, image: Images | None, height: int, width: int) -> Resized:
    """What a scale begins with: the content, or the painting of the scale before, with the content's finest forms."""
    content = content_image(subject, height, width).to(subject.device)
    if image is None:
        return content
    lost = content - resized(resized(content, *image.shape[2:]), height, width)
    return (resized(image, height, width) + lost).clamp(-1, 1)


class _Work:
    """One picture at one size."""

    def __init__(self, subject: Subject, image: Images, scale: int) -> None:
        hand = subject.hand
        assert hand is not None
        self.levels, network = (FINE, hand.fine) if scale else (LEVELS, hand.coarse)
        recipe = subject.recipe.but(style_layers=",".join(self.levels))
        self.subject, self.hand = subject._replace(network=network, recipe=recipe), hand
        self.begun, self.size = image, (image.shape[2], image.shape[3])
        more = [(-length) % STRIDE for length in self.size]
        self.image = F.pad(image, (0, more[1], 0, more[0]), mode="replicate")  # so that doublings give it back
        height, width = self.image.shape[2:]
        self.tiles = cut_with_halo(height, width, max(subject.side, 3 * HALO), STRIDE, HALO)
        self.places = list(groups_of(self.subject, height, width))
        self.learnt = [[_learnt(self.subject, style, height, width) for style in place[0]] for place in self.places]
        self.moves: Moves = {}
        self.kept: tuple[str, Tensor] | None = None
        self.learning = subject.moves is None

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self.tiles) * (1 + self.learning * len(self.levels))

    @torch.no_grad()
    def maps(self, tile: Tile, level: str) -> Tensor:
        """A window's activations at a level: what is before it has been moved, they themselves not yet."""
        if self.kept is not None:  # in one piece nothing is made twice
            at, maps = self.kept
        else:
            at = self.levels[0]
            maps = self.subject.network(tile.cut(self.image))[at].float()
        for each in self.levels[self.levels.index(at) : self.levels.index(level)]:
            maps = self.turned_back(maps, tile, each)
        if len(self.tiles) == 1:
            self.kept = level, maps
        return maps

    def turned_back(self, maps: Tensor, tile: Tile, level: str) -> Tensor:
        """Moved, and then as the next level sees it."""
        precision = self.subject.network.precision
        with torch.autocast(maps.device.type, precision, enabled=precision != torch.float32):
            return self.hand.inverse(self.moved(maps, tile, level).relu_(), level).float()

    def moved(self, maps: Tensor, tile: Tile, level: str) -> Tensor:
        """Each place by its own map; where no style goes, activations stay as they are."""
        moves = self.moves[level]
        if len(moves) == 1 and self.places[0][2] is None:
            return moves[0](maps)
        mixed, total, covered = torch.zeros_like(maps), maps.new_zeros(()), maps.new_zeros(())
        for move, (styles, _, where) in zip(moves, self.places, strict=True):
            here = maps.new_ones(()) if where is None else where[level][_window_of(tile, level)].to(maps)
            share = here * sum(style.weight for style in styles) / len(styles)
            mixed, total, covered = mixed + share * move(maps), total + share, covered + here
        return maps.lerp(mixed / total.clamp_min(1e-9), covered.clamp(0, 1).expand_as(maps))

    @torch.no_grad()
    def paint(self) -> Iterator[tuple[int, Images | None]]:
        """Tile by tile: how many steps are done, and with the last the painting."""
        whole = torch.empty_like(self.image)
        first = self.count - len(self.tiles)
        for number, tile in enumerate(self.tiles, 1):
            made = self.turned_back(self.maps(tile, self.levels[-1]), tile, self.levels[-1])
            (top, bottom, left, right), own = tile.own, tile.inner()
            whole[:, :, top:bottom, left:right] = made[:, :, own.top : own.bottom, own.left : own.right]
            done = number == len(self.tiles)
            yield first + number, whole[:, :, : self.size[0], : self.size[1]] if done else None


@torch.no_grad()
def _learn(works: Sequence[_Work]) -> Iterator[int]:
    """Find the maps of one or several pictures that share them, level by level."""
    first = works[0]
    done = 0
    for level in first.levels:
        found: list[dict[str, Moments]] = [{} for _ in first.places]
        for work in works:
            for tile in work.tiles:
                maps = work.maps(tile, level)
                for place, added in zip(work.places, found, strict=True):
                    add_moments(added, {level: tile_moments(tile, maps, level, place[2])})
                done += 1
                yield done
        moves = []
        for place, added, learnt in zip(first.places, found, first.learnt, strict=True):
            ways = [transport(added[level], style[level], first.subject.recipe.strength) for style in learnt]
            moves.append(together(ways, [style.weight for style in place[0]]))
        for work in works:
            work.moves[level] = moves


def _learnt(subject: Subject, style: Style, height: int, width: int) -> dict[str, Moments]:
    """The moments of a style for a canvas of this size: as large by area, but not larger than it is."""
    high, wide = style.picture.size
    factor = min(1.0, math.sqrt(max(high * wide, BASE**2) / (height * width)))
    return moments_for(subject, style, *within(height, width, round(factor * max(height, width))))


def _window_of(tile: Tile, level: str) -> tuple[slice, slice]:
    """Where a window lies in a whole level."""
    stride, (top, bottom, left, right) = stride_of(level), tile.window
    return slice(top // stride, bottom // stride), slice(left // stride, right // stride)
