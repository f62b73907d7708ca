"""A style at once, without an optimizer: VGG19's features are moved, level by level, and turned back into a picture.

Universal style transfer (Li et al. 2017): from the coarsest level to the finest, the picture's activations get the
style's mean and covariance (`transport`), at one of the levels patches like the style's own (`swapping`), and become
a picture again (`inverse`), which the next level sees. Forms come from the content, what they are made of from the
style. Pictures are painted small first, and then made larger, where only the fine levels are moved anew: strokes are
as large a part of a large picture as of a small one.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain, product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.errors import HasamaError
from hasama.perception.inverse import LEVELS, REACH, load_inverse
from hasama.perception.vgg import VGG, Weights, reach_of, stride_of
from hasama.perception.vgg_weights import COMMON_STD
from hasama.shapes import Images, Resized
from hasama.style.canvas.canvas import resized
from hasama.style.canvas.pictures import Picture
from hasama.style.canvas.tiles import Tile, cut_with_halo
from hasama.style.instant_style import Learnt, learnt
from hasama.style.methods.moments import Moments
from hasama.style.methods.swapping import APART, SWAPPINGS, Patches, swapped, swapped_level, with_grain
from hasama.style.methods.targets import add_moments, tile_moments
from hasama.style.methods.transport import Move, together, transport
from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
from hasama.style.subject import Hand, Maps, Places, Subject, content_image, groups_of

FINE = LEVELS[2:]
"""What is moved anew where a painting is made larger."""
SWAPPED_SCALES = 2
"""Scales at which patches are swapped; at those beyond, what was swapped before is large enough to be seen."""
START = 256
"""Pixels of the longer side at which, at least, a canvas is painted that an optimizer is to go on with."""


class Step(NamedTuple):
    """A tile has gone through one level.

    Attributes:
        scale: counted from 0.
        scales: how many there are.
        done: steps at this scale so far.
        steps: at this scale.
        image: the painting so far [1, 3, H, W] in [-1, 1]: what the last level that is done has made.
    """

    scale: int
    scales: int
    done: int
    steps: int
    image: Images


def open_hand(weights: Weights, recipe: StyleRecipe, device: torch.device, like: VGG) -> Hand:
    """What paints at once, as precise and as quick as another network.

    Raises:
        HasamaError: the inverse is of another network than these weights or has no such layers, or is damaged.
    """
    if recipe.at_once and not set(recipe.style) <= set(LEVELS):
        raise HasamaError(f"To paint at once, --style-layers are some of {', '.join(LEVELS)}.")
    if weights.name != "vgg19" or weights.std != (COMMON_STD,) * 3:  # torchvision's expect other pictures
        raise HasamaError(
            "To paint at once, the packaged VGG19 is turned round; it does not fit other --weights. Leave them away."
        )
    networks = {
        level: VGG(weights, LEVELS[number:], precision=like.precision, quick=like.quick).to(device)
        for number, level in enumerate(LEVELS)
    }
    return Hand(networks, load_inverse().to(device))


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
        maps = None if subject.maps is None else subject.maps[scale]
        work = _Scale(subject, [_before(subject, image, *sizes[scale])], scale, maps)
        for done in work.steps():
            image = work.images[0]
            yield Step(scale, len(sizes), done, work.count, image)


def learn_for_all(subject: Subject, contents: Sequence[Picture]) -> list[Maps]:
    """Maps that several pictures share, such as those of a film: for each scale."""
    images: list[Images | None] = [None] * len(contents)
    found = []
    for scale, size in enumerate(subject.sizes()):
        begun = [
            _before(subject._replace(content=content), image, *size)
            for content, image in zip(contents, images, strict=True)
        ]
        work = _Scale(subject, begun, scale)
        for _ in work.steps():
            pass
        found.append(Maps(work.moves, work.patches))
        images = list(work.images)
    return found


def image_to_start_from(subject: Subject, height: int, width: int) -> Images:
    """A canvas [1, 3, height, width] for an optimizer to go on with."""
    own = subject.recipe
    longer = max(height, width, min(START, own.size or max(subject.content.size)))
    recipe = STYLE_RECIPES["instant"].but(size=longer, keep_colour=own.keep_colour, style_scale=own.style_scale)
    *_, last = paint_at_once(subject._replace(recipe=recipe))
    return resized(last.image, height, width).clamp(-1, 1)


def learnt_styles(subject: Subject, scale: int = 0) -> tuple[list[Learnt], Patches | None]:
    """What a scale knows of styles that go everywhere: each one's moments, and all their patches."""
    work = _Scale(subject, [_before(subject, None, *subject.sizes()[scale])], scale)
    return work.styles[0], work.patches[0]


def _before(subject: Subject, image: Images | None, height: int, width: int) -> Resized:
    """What a scale begins with: the content, or the painting of the scale before, with the content's finest forms."""
    content = content_image(subject, height, width).to(subject.device)
    if image is None:
        return content
    before = resized(content, image.shape[2], image.shape[3])
    lost = content - resized(before, height, width)
    return (resized(image, height, width) + lost).clamp(-1, 1)


class _Scale:
    """One picture at one size, or several of one size that share their maps."""

    def __init__(self, subject: Subject, images: Sequence[Images], scale: int, maps: Maps | None = None) -> None:
        assert subject.hand is not None
        self.images, self.hand = list(images), subject.hand
        some = FINE if scale else LEVELS
        self.levels = [level for level in some if level in subject.recipe.style] or [LEVELS[-1]]
        self.swapped = swapped_level(self.levels) if scale < SWAPPED_SCALES else None
        recipe = subject.recipe.but(style_layers=",".join(self.levels))
        self.subject = subject._replace(network=self.hand.networks[self.levels[0]], recipe=recipe)
        height, width = images[0].shape[2:]
        stride = stride_of(self.levels[0])
        self.padding = (0, (-width) % stride, 0, (-height) % stride)  # so that doublings give a picture back
        self.height, self.width = height + self.padding[3], width + self.padding[1]
        self.places: Places = list(groups_of(self.subject, self.height, self.width))
        self.learning = maps is None
        self.moves: dict[str, list[list[Move]]] = {} if maps is None else maps.moves
        self.kept: tuple[int, Tensor] | None = None
        self.styles: list[list[Learnt]] = []
        if maps is None:  # else nothing of the styles is asked any more
            asked = (height, width, self.swapped)
            self.styles = [[learnt(self.subject, one, *asked) for one in place[0]] for place in self.places]
        numbers = range(len(self.places))
        if self.swapped is not None:
            self.images = [with_grain(image, subject.recipe.strength) for image in images]
        self.patches = [self.patches_of(number) for number in numbers] if maps is None else maps.patches

    @property
    def count(self) -> int:
        """How many steps there are."""
        tiles = sum(len(self.tiles(level)) * (1 + self.learning * self.rounds(level)) for level in self.levels)
        return len(self.images) * tiles

    def rounds(self, level: str) -> int:
        """How often moments are moved: where patches are swapped once more, for they have others."""
        return 1 + (level == self.swapped and any(some is not None for some in self.patches))

    def tiles(self, level: str) -> list[Tile]:
        """The windows in which a picture goes through a level and back."""
        swapping = level == self.swapped
        stride = stride_of(level) * (APART if swapping else 1)  # patches lie at the same places in every window
        halo = stride * math.ceil((reach_of(level) + REACH[level] + 2 * stride * swapping) / stride)
        return cut_with_halo(self.height, self.width, max(self.subject.side, 3 * halo), stride, halo)

    def steps(self) -> Iterator[int]:
        """Level by level: learn the maps if there are none, then paint. How many steps are done."""
        done = 0
        for level in self.levels:
            whole = [F.pad(image, self.padding, mode="replicate") for image in self.images]
            for _ in chain(self.learn(level, whole) if self.learning else (), self.paint(level, whole)):
                done += 1
                yield done

    def learn(self, level: str, whole: Sequence[Images]) -> Iterator[None]:
        """A level's maps, round after round; after each tile there is a yield."""
        self.moves[level] = []
        for _ in range(self.rounds(level)):
            found: list[dict[str, Moments]] = [{} for _ in self.places]
            for image, tile in product(whole, self.tiles(level)):
                maps = self.seen(image, tile, level)
                for place, added in zip(self.places, found, strict=True):
                    add_moments(added, {level: tile_moments(tile, maps, level, place[2])})
                yield
            self.moves[level].append([self.move(number, part[level], level) for number, part in enumerate(found)])

    def paint(self, level: str, whole: Sequence[Images]) -> Iterator[None]:
        """The pictures after a level, in place of those before; after each tile there is a yield."""
        for number, image in enumerate(whole):
            painted = torch.empty_like(image)
            for tile in self.tiles(level):
                made, own, (top, bottom, left, right) = self.made(image, tile, level), tile.inner(), tile.own
                painted[:, :, top:bottom, left:right] = made[:, :, own.top : own.bottom, own.left : own.right]
                if (bottom, right) == (self.height, self.width):
                    high, wide = self.images[number].shape[2:]
                    self.images[number] = painted[:, :, :high, :wide]
                yield

    @torch.no_grad()
    def seen(self, image: Images, tile: Tile, level: str) -> Tensor:
        """A window's activations, moved in as many rounds as are known by now."""
        before, maps = self.kept or (0, self.hand.networks[level](tile.cut(image))[level])
        for number, moves in enumerate(self.moves[level][before:], before):
            maps = self.moved(maps, tile, level, moves, number == 0).relu_()
        if len(self.images) == 1 and tile.own == (0, self.height, 0, self.width):  # nothing is done twice
            self.kept = (len(self.moves[level]), maps)
        return maps

    @torch.no_grad()
    def made(self, image: Images, tile: Tile, level: str) -> Tensor:
        """What becomes of a window at a level; at less than full strength with what turning back alone would lose."""
        maps, seen, weaker = self.seen(image, tile, level), tile.cut(image), 1 - self.subject.recipe.strength
        self.kept = None  # its memory
        with self.arithmetic(maps):
            made = self.hand.inverse.picture(maps, level).float()
            if weaker:
                plain = self.hand.inverse.picture(self.hand.networks[level](seen)[level], level).float()
                made = (made + weaker * (seen - plain)).clamp(-1, 1)
        return made

    def arithmetic(self, maps: Tensor) -> AbstractContextManager:
        """The network's, for what is large."""
        precision = self.subject.network.precision
        return torch.autocast(maps.device.type, precision, enabled=precision != torch.float32)

    def moved(self, maps: Tensor, tile: Tile, level: str, moves: Sequence[Move], swapping: bool) -> Tensor:
        """Each place by its own map; where no style goes, activations stay as they are."""
        patches = self.patches if swapping else [None] * len(moves)
        if len(moves) == 1 and self.places[0][2] is None:
            return self.in_patches(moves[0](maps), patches[0], level)
        whole = maps.float()
        mixed, total, covered = torch.zeros_like(whole), whole.new_zeros(()), whole.new_zeros(())
        for move, some, (styles, _, where) in zip(moves, patches, self.places, strict=True):
            here = whole.new_ones(()) if where is None else where[level][tile.seen(level)].to(whole)
            share = here * sum(style.weight for style in styles) / len(styles)
            mixed.addcmul_(self.in_patches(move(maps), some, level), share)
            total, covered = total + share, covered + here
        return mixed.div_(total.clamp_min(1e-9)).lerp_(whole, 1 - covered.clamp(0, 1))

    @torch.no_grad()
    def move(self, place: int, content: Moments, level: str) -> Move:
        """The map of one place."""
        strength = self.subject.recipe.strength
        ways = [transport(content, style.moments[level], strength) for style in self.styles[place]]
        return together(ways, [style.weight for style in self.places[place][0]])

    def patches_of(self, place: int) -> Patches | None:
        """Those of a place's styles: of each as many as it weighs."""
        if self.swapped is None:
            return None
        weights = [style.weight for style in self.places[place][0]]
        most = SWAPPINGS[self.swapped].most
        counts = [max(1, round(most * weight / sum(weights))) for weight in weights]
        found = torch.cat([one.patches[:count] for one, count in zip(self.styles[place], counts, strict=True)])
        return Patches.of(found) if len(found) else None

    def in_patches(self, maps: Tensor, patches: Patches | None, level: str) -> Tensor:
        """With patches like the style's own."""
        if level != self.swapped or patches is None:
            return maps
        maps = maps.float()
        with self.arithmetic(maps):  # of which only the comparing makes use
            like = swapped(maps.relu(), patches)
        return maps.lerp(like, SWAPPINGS[level].share * self.subject.recipe.strength)
