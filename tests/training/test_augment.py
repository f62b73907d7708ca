"""DiffAugment and ADA against hand-made transforms; twice differentiable; one draw for all levels; p's steering."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from hasama.training.augmentation.ada import Moves, Tones, Transforms, draw_transforms, mixture, placement, transform
from hasama.training.augmentation.augment import AUGMENTS, Augment, Augmented, augmented
from hasama.training.augmentation.diffaugment import Changes, change, draw_changes
from hasama.training.augmentation.resample import REFLECTION, ZEROS, Sampled, Shifted, moved, spread
from hasama.training.rules.penalties import squared_gradient

NAMES = ("diffaugment", "ada")
NEUTRAL: dict[str, float] = dict.fromkeys(("zoom", "stretch", "mirrored", "luma", "contrast", "saturation"), 1.0)
"""What changes nothing; 0 for all other numbers."""

DOUBLE = torch.float64
Pair = tuple[float, float]


class Mirror(nn.Module):
    """A discriminator that keeps what it was shown."""

    def forward(self, views: Tensor | tuple[Tensor, ...], labels: Tensor | None = None) -> Tensor:
        self.seen, self.labels = views, labels
        return (views if isinstance(views, Tensor) else views[0]).flatten(1).sum(1)


def pictures(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def smooth(n: int = 4, channels: int = 3, side: int = 64) -> Tensor:
    return F.interpolate(pictures(n, channels, 5, 5, seed=9), (side, side), mode="bicubic", align_corners=False)


def recipe(name: str) -> Augment:
    augment = AUGMENTS[name]
    assert augment is not None
    return augment


def drawn(name: str, images: Tensor, seed: int = 5, probability: float = 1.0):
    torch.manual_seed(seed)
    return recipe(name).draw(images, torch.tensor(probability))


def changes(
    images: Tensor,
    brightness: float = 0.0,
    saturation: float = 1.0,
    contrast: float = 1.0,
    shift: tuple[int, int] = (0, 0),
    hole: tuple[int, int] = (999, 999),
) -> Changes:
    """One draw of DiffAugment for all images, which changes nothing but what is given; the hole is far off."""
    n = len(images)
    first, second, third = (torch.full((n,), number) for number in (brightness, saturation, contrast))
    by, corner = (torch.tensor(pair).expand(n, 2) for pair in (shift, hole))
    return Changes(first, second, third, by, corner, (images.shape[2], images.shape[3]))


def moves(n: int = 2, whole: Pair = (0.0, 0.0), fraction: Pair = (0.0, 0.0), **given: float) -> Moves:
    """One draw of ADA's moves for n images, which moves nothing but what is given."""
    numbers = {name: torch.full((n,), float(given.get(name, NEUTRAL.get(name, 0.0)))) for name in Moves._fields}
    pairs = {"whole": torch.tensor(whole).expand(n, 2), "fraction": torch.tensor(fraction).expand(n, 2)}
    return Moves(**numbers | pairs)


def tones(n: int = 2, **given: float) -> Tones:
    """The same for ADA's colours."""
    return Tones(*(torch.full((n,), given.get(name, NEUTRAL.get(name, 0.0))) for name in Tones._fields))


def transformed(images: Tensor, of: Moves | None = None, by: Tones | None = None) -> Tensor:
    n, size = len(images), (images.shape[2], images.shape[3])
    return transform(images, Transforms(placement(of or moves(n), size), mixture(by or tones(n))))


# --- the linear maps ------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [ZEROS, REFLECTION])
@pytest.mark.parametrize("transposed", [False, True])
def test_sampling_is_differentiable_twice(beyond: int, transposed: bool):
    images = pictures(2, 2, 4, 5, dtype=DOUBLE).requires_grad_()
    grid = 1.3 * pictures(2, 4, 5, 2, seed=1, dtype=DOUBLE)

    def function(x: Tensor) -> Tensor:
        return Sampled.apply(x, grid, beyond, transposed)  # pyright: ignore[reportReturnType]

    assert gradcheck(function, (images,))
    assert gradgradcheck(function, (images,))


@pytest.mark.parametrize("beyond", [ZEROS, REFLECTION])
def test_sampling_and_its_gradient_are_those_of_torch(beyond: int):
    images, grid = pictures(2, 3, 6, 5).requires_grad_(), 1.3 * pictures(2, 6, 5, 2, seed=1)
    weights = pictures(2, 3, 6, 5, seed=2).to(memory_format=torch.channels_last)
    ours = Sampled.apply(images, grid, beyond, False)
    mode = {ZEROS: "zeros", REFLECTION: "reflection"}[beyond]
    theirs = F.grid_sample(images, grid, padding_mode=mode, align_corners=False)
    assert torch.equal(ours, theirs)  # pyright: ignore[reportArgumentType]
    (g,), (wanted,) = (torch.autograd.grad((x * weights).sum(), images) for x in (ours, theirs))  # pyright: ignore[reportOptionalOperand]
    torch.testing.assert_close(g, wanted)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([ZEROS, REFLECTION]), st.floats(0.1, 9), st.integers(0, 99)
)
def test_the_exact_transpose_of_sampling_is_torchs(height: int, width: int, beyond: int, reach: float, seed: int):
    values = pictures(2, 3, height, width, seed=seed, dtype=DOUBLE)
    grid = reach * pictures(2, height, width, 2, seed=seed + 1, dtype=DOUBLE)
    wanted = Sampled.apply(values, grid, beyond, True)
    torch.testing.assert_close(spread(values, grid, beyond), wanted)
    edges = torch.tensor([-1.0, 1.0]).double().expand(2, height, width, 2)  # where places meet the edges
    torch.testing.assert_close(spread(values, edges, beyond), Sampled.apply(values, edges, beyond, True))


def test_shifting_is_differentiable_twice_and_brings_zeros():
    images, by = pictures(3, 2, 4, 5, dtype=DOUBLE).requires_grad_(), torch.tensor([[1, -2], [0, 0], [-9, 3]])
    out = Shifted.apply(images, by)
    wanted = torch.zeros_like(images)
    wanted[0, :, 1:, :3] = images[0, :, :3, 2:]
    wanted[1] = images[1]
    assert torch.equal(out, wanted)  # pyright: ignore[reportArgumentType]
    assert gradcheck(lambda x: Shifted.apply(x, by), (images,))
    assert gradgradcheck(lambda x: Shifted.apply(x, by), (images,))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 3, 4, 4), (2, 4, 4, 6), (2, 1, 5, 4)])
def test_whole_pipelines_are_differentiable_twice(name: str, shape: tuple[int, ...]):
    images = pictures(*shape, dtype=DOUBLE).requires_grad_()
    draw, coarse = drawn(name, images), pictures(shape[0], shape[1], 2, 2, dtype=DOUBLE).requires_grad_()
    for level in (images, coarse):
        assert gradcheck(lambda x: recipe(name).apply(x, draw), (level,), fast_mode=True)
        assert gradgradcheck(lambda x: recipe(name).apply(x, draw), (level,), fast_mode=True)


# --- DiffAugment, part by part --------------------------------------------------------------------


def test_diffaugments_colours_are_the_three_steps_one_after_another():
    images = pictures(2, 3, 4, 6)
    out = change(images, changes(images, brightness=0.3, saturation=1.7, contrast=0.6))
    step = images + 0.3
    step = (step - step.mean(1, keepdim=True)) * 1.7 + step.mean(1, keepdim=True)
    step = (step - step.mean((1, 2, 3), keepdim=True)) * 0.6 + step.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(out, step)


def test_diffaugment_shifts_and_cuts_by_whole_pixels():
    images = pictures(2, 3, 8, 16)
    out = change(images, changes(images, shift=(1, -2)))
    assert torch.equal(out[:, :, 1:, :14], images[:, :, :7, 2:])
    assert not out[:, :, 0].any()
    assert not out[:, :, :, 14:].any()

    cut = change(images, changes(images, hole=(-2, 12)))  # 4 x 8, half of each side, partly outside
    wanted = images.clone()
    wanted[:, :, :2, 12:] = 0
    assert torch.equal(cut, wanted)
    assert torch.equal(change(images, changes(images)), images)


@pytest.mark.parametrize("side", [28, 64, 9, 4, 1])
def test_diffaugments_draws_fill_their_ranges(side: int):
    torch.manual_seed(1)
    draw = draw_changes(torch.zeros(4000, 3, side, 2 * side), torch.tensor(1.0))
    for numbers, low, high in ((draw.brightness, -0.5, 0.5), (draw.saturation, 0, 2), (draw.contrast, 0.5, 1.5)):
        assert low <= numbers.min()
        assert numbers.max() <= high
        assert numbers.mean().item() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
        assert numbers.std().item() == pytest.approx((high - low) / math.sqrt(12), rel=0.05)  # uniform
    for axis, whole in enumerate((side, 2 * side)):
        assert set(draw.shift[:, axis].tolist()) == set(range(-(whole // 8), whole // 8 + 1))
        middles = draw.hole[:, axis] + whole // 2 // 2
        assert set(middles.tolist()) == set(range(whole + 1 - whole // 2 % 2))


# --- ADA, part by part ----------------------------------------------------------------------------


def test_blitting_is_flips_quarter_turns_and_whole_moves_exactly():
    images = pictures(2, 3, 16, 16)
    assert torch.equal(transformed(images, moves(mirrored=-1)), images.flip(3))
    for quarters in range(4):  # x towards y, which points down: clockwise to the eye
        assert torch.equal(transformed(images, moves(quarters=quarters)), images.rot90(-quarters, (2, 3)))
    moved = transformed(images, moves(whole=(2, -3)))
    assert torch.equal(moved[:, :, :13, 2:], images[:, :, 3:, :14])
    assert torch.equal(moved[:, :, :13, :2], images[:, :, 3:, :2].flip(3))  # reflected about the edge
    assert torch.equal(moved[:, :, 13:, 2:], images[:, :, 13:, :14].flip(2))
    both = transformed(images, moves(mirrored=-1, quarters=1, whole=(2, 0)))
    assert torch.equal(both[:, :, :, 2:], images.flip(3).rot90(-1, (2, 3))[:, :, :, :14])  # in the paper's order


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ({"mirrored": -1.0}, {"mirrored": -1.0}),
        ({"quarters": 1.0}, {"quarters": 3.0}),
        ({"quarters": 2.0}, {"quarters": 2.0}),
        ({"whole": (2.0, -1.0)}, {"whole": (-2.0, 1.0)}),
        ({"fraction": (1.0, 2.0)}, {"fraction": (-1.0, -2.0)}),
    ],
)
def test_what_moves_by_whole_pixels_is_undone_exactly(there: dict, back: dict):
    images = pictures(2, 4, 16, 16)
    again = transformed(transformed(images, moves(**there)), moves(**back))
    assert torch.equal(again[:, :, 2:-2, 2:-2], images[:, :, 2:-2, 2:-2])


def test_zoom_stretch_and_turn_do_as_their_names_say():
    spot = torch.zeros(2, 1, 65, 65)
    spot[:, :, 32 - 8, 32 + 4] = 1.0  # 4 right, 8 up

    def found(**given: float) -> list[float]:
        out = transformed(F.avg_pool2d(spot, 5, 1, 2), moves(2, (0, 0), (0, 0), **given))[0, 0]
        out[:8], out[-8:], out[:, :8], out[:, -8:] = 0, 0, 0, 0  # reflections
        places = torch.arange(65.0) - 32
        return [((out * places).sum() / out.sum()).item(), ((out.T * places).sum() / out.sum()).item()]

    assert found(zoom=2.0) == pytest.approx([8, -16], abs=0.1)
    assert found(stretch=2.0) == pytest.approx([8, -4], abs=0.1)
    assert found(before=math.pi / 2) == pytest.approx([8, 4], abs=0.1)
    assert found(before=math.pi / 2, stretch=2.0) == pytest.approx([16, 2], abs=0.1)
    assert found(stretch=2.0, after=math.pi / 2) == pytest.approx([4, 8], abs=0.1)


def test_half_a_pixel_is_the_mean_of_two():
    images = pictures(2, 3, 8, 8)
    out = transformed(images, moves(fraction=(0.5, 0.0)))
    torch.testing.assert_close(out[..., 1:], (images[..., 1:] + images[..., :-1]) / 2)


def test_pictures_that_are_not_square_turn_without_shear():
    images = pictures(2, 3, 8, 16)
    upright = transformed(images, moves(before=math.pi / 2))[:, :, :, 4:12]
    torch.testing.assert_close(upright, images[:, :, :, 4:12].rot90(-1, (2, 3)), atol=1e-5, rtol=1e-5)


angle = st.floats(-math.pi, math.pi)
factor = st.floats(0.5, 2)
length = st.floats(-3, 3)
sign = st.sampled_from([-1.0, 1.0])
BLITS = st.fixed_dictionaries({"mirrored": sign, "quarters": st.integers(0, 3), "whole": st.tuples(length, length)})
SHAPES = st.fixed_dictionaries({"zoom": factor, "before": angle, "stretch": factor, "after": angle})
COLOURS = st.fixed_dictionaries(
    {"brightness": length, "contrast": factor, "luma": sign, "hue": angle, "saturation": factor}
)


def affine(linear: Tensor, offset: Tensor | None = None) -> Tensor:
    """[k, k] and [k] -> [k + 1, k + 1]"""
    matrix = torch.eye(len(linear) + 1, dtype=DOUBLE)
    matrix[:-1, :-1] = linear
    if offset is not None:
        matrix[:-1, -1] = offset
    return matrix


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def turned(a: float) -> Tensor:
    return affine(double(math.cos(a), -math.sin(a), math.sin(a), math.cos(a)).view(2, 2))


def one_after_another(*steps: Tensor) -> Tensor:
    chain = steps[0]
    for step in steps[1:]:
        chain = step @ chain
    return chain


@settings(max_examples=60)
@given(BLITS, SHAPES, st.tuples(length, length))
def test_the_placement_is_the_inverse_of_all_moves_in_order(blits: dict, shapes: dict, fraction: Pair):
    eye, zoom, stretch = torch.eye(2, dtype=DOUBLE), shapes["zoom"], shapes["stretch"]
    chain = one_after_another(
        affine(torch.diag(double(blits["mirrored"], 1))),
        turned(blits["quarters"] * math.pi / 2),
        affine(eye, double(*blits["whole"])),
        affine(zoom * eye),
        turned(shapes["before"]),
        affine(torch.diag(double(stretch, 1 / stretch))),
        turned(shapes["after"]),
        affine(eye, double(*fraction)),
    )
    found = torch.eye(3, dtype=DOUBLE)
    found[:2] = placement(moves(1, fraction=fraction, **blits, **shapes), (10, 40))[0]
    to_pixels = affine(torch.diag(double(20, 5)))  # halves of the sides
    back = to_pixels @ found @ to_pixels.inverse()
    torch.testing.assert_close(back @ chain, torch.eye(3, dtype=DOUBLE), atol=1e-4, rtol=0)
    assert found.det().abs().item() == pytest.approx(zoom**-2, rel=1e-4)


@settings(max_examples=60)
@given(COLOURS)
def test_the_mixture_is_all_changes_of_colour_in_order(by: dict):
    axis, eye = double(1, 1, 1) / math.sqrt(3), torch.eye(3, dtype=DOUBLE)
    grey, cross = torch.outer(axis, axis), torch.linalg.cross(axis.expand(3, 3), eye, dim=1).T
    chain = one_after_another(
        affine(eye, double(*[by["brightness"]] * 3)),
        affine(by["contrast"] * eye),
        affine(eye - (1 - by["luma"]) * grey),
        affine(torch.matrix_exp(by["hue"] * cross)),
        affine(grey + by["saturation"] * (eye - grey)),
    )
    found = mixture(tones(1, **by))[0].double()
    torch.testing.assert_close(found, chain[:3], atol=1e-5, rtol=1e-5)
    assert found[:, :3].det().abs().item() == pytest.approx(by["contrast"] ** 3 * by["saturation"] ** 2, rel=1e-3)


def test_hue_turns_red_into_green_and_grey_stays():
    red, grey = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.3)
    red[:, 0] = 1
    green = red.roll(1, 1)
    third = tones(hue=2 * math.pi / 3)
    torch.testing.assert_close(transformed(red, by=third), green, atol=1e-6, rtol=0)
    torch.testing.assert_close(transformed(grey, by=third), grey)
    torch.testing.assert_close(transformed(grey, by=tones(luma=-1)), -grey)


def draw_numbers(images: Tensor, p: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The numbers from which ADA makes its maps."""
    kept: dict[str, Tensor] = {}
    monkeypatch.setattr(
        "hasama.training.augmentation.ada.placement", lambda m, size: kept.update(m._asdict()) or placement(m, size)
    )
    monkeypatch.setattr("hasama.training.augmentation.ada.mixture", lambda t: kept.update(t._asdict()) or mixture(t))
    torch.manual_seed(3)
    draw_transforms(images, torch.tensor(p))
    return kept


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_ada_makes_each_change_with_probability_p(p: float, monkeypatch: pytest.MonkeyPatch):
    numbers = draw_numbers(torch.zeros(4000, 3, 8, 8), p, monkeypatch)
    wanted = dict.fromkeys(numbers, p)
    wanted["before"] = wanted["after"] = 1 - math.sqrt(1 - p)
    wanted["mirrored"] = wanted["luma"] = p / 2  # with p they draw, and may draw no change
    wanted["quarters"] = wanted["whole"] = p * 3 / 4  # on 8 pixels, half of the moves of an axis round to none
    for name, drawn_numbers in numbers.items():
        changed = (drawn_numbers != NEUTRAL.get(name, 0.0)).reshape(4000, -1).any(1).float().mean().item()
        assert changed == pytest.approx(wanted[name], abs=0.03 if 0 < wanted[name] < 1 else 0), name


def test_adas_numbers_are_spread_as_in_the_paper(monkeypatch: pytest.MonkeyPatch):
    numbers = draw_numbers(torch.zeros(4000, 3, 32, 64), 1.0, monkeypatch)
    for name, sigma in {"zoom": 0.2, "stretch": 0.2, "contrast": 0.5, "saturation": 1.0}.items():
        assert numbers[name].log2().std().item() == pytest.approx(sigma, rel=0.05), name
    assert numbers["brightness"].std().item() == pytest.approx(0.2, rel=0.05)
    assert numbers["fraction"].std(0).tolist() == pytest.approx([8.0, 4.0], rel=0.05)  # an eighth of the sides
    assert numbers["whole"].abs().amax(0).tolist() == [8.0, 4.0]
    assert torch.equal(numbers["whole"], numbers["whole"].round())
    assert set(numbers["quarters"].tolist()) == {0.0, 2.0}  # for it is not square
    for name in ("hue", "before", "after"):
        assert numbers[name].abs().max() <= math.pi + 1e-6
        assert numbers[name].std().item() == pytest.approx(2 * math.pi / math.sqrt(12), rel=0.05), name


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (5, 4, 28, 28), (5, 1, 15, 37), (5, 3, 100, 60)])
def test_ada_at_p_0_is_the_identity_exactly(shape: tuple[int, ...]):
    images, judge = pictures(*shape), augmented(Mirror(), "ada")
    judge(images)
    assert torch.equal(judge.get_submodule("discriminator").seen, images)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_channel_count_and_shape_works(name: str, channels: int):
    for h, w in ((16, 16), (24, 10), (7, 13)):
        images = pictures(6, channels, h, w)
        out = recipe(name).apply(images, drawn(name, images))
        assert out.shape == images.shape
        assert out.isfinite().all()
        assert not torch.equal(out, images)


@pytest.mark.parametrize("name", NAMES)
def test_alpha_moves_but_is_not_recoloured(name: str):
    images = pictures(6, 4, 16, 16)
    draw = drawn(name, images)
    out = recipe(name).apply(images, draw)
    still = (
        {"mixture": mixture(tones(6))}
        if name == "ada"
        else {"brightness": torch.zeros(6), "saturation": torch.ones(6), "contrast": torch.ones(6)}
    )
    assert torch.equal(out[:, 3:], recipe(name).apply(images, draw._replace(**still))[:, 3:])
    assert torch.equal(out[:, :3], recipe(name).apply(images[:, :3], draw))
    assert not torch.equal(out[:, 3:], images[:, 3:])


@pytest.mark.parametrize("name", NAMES)
def test_grey_is_treated_as_an_rgb_picture_without_colour(name: str):
    grey = pictures(6, 1, 16, 16)
    draw = drawn(name, grey)
    wanted = recipe(name).apply(grey.expand(-1, 3, -1, -1), draw)
    torch.testing.assert_close(recipe(name).apply(grey, draw), wanted.mean(1, keepdim=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_levels_of_a_pyramid_share_one_draw(name: str):
    top = smooth(16)
    pyramid = (top, F.avg_pool2d(top, 2), F.avg_pool2d(top, 4))
    judge = augmented(Mirror(), name)
    assert isinstance(judge, Augmented)
    judge.probability.fill_(1.0)
    judge(pyramid)
    seen = judge.get_submodule("discriminator").seen
    assert isinstance(seen, tuple)
    for level, factor in ((1, 2), (2, 4)):
        wanted = F.avg_pool2d(seen[0], factor)
        assert seen[level].shape == pyramid[level].shape
        error = (seen[level] - wanted).square().mean().sqrt() / wanted.std()
        assert error < 0.08  # two draws would have more than 1


def test_diffaugments_coarse_levels_are_exact_where_the_shift_is_whole_there_too():
    top = pictures(3, 3, 32, 64)
    draw = changes(top, brightness=0.2, saturation=0.5, contrast=1.4, shift=(2, -4), hole=(4, -2))
    torch.testing.assert_close(change(F.avg_pool2d(top, 2), draw), F.avg_pool2d(change(top, draw), 2))
    cut, white = changes(top, hole=(7, 11)), torch.ones_like(top)
    torch.testing.assert_close(change(torch.ones(3, 3, 4, 8), cut), F.avg_pool2d(change(white, cut), 8))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_pictures_and_another_does_not(name: str):
    images = pictures(8, 3, 16, 16)
    first, again, other = (recipe(name).apply(images, drawn(name, images, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    rows = first.flatten(1)
    assert len({tuple(row) for row in rows.tolist()}) == 8  # each picture has its own transform


@pytest.mark.parametrize("name", NAMES)
def test_memory_format_and_autocast_change_nothing(name: str):
    images, seen = pictures(4, 3, 16, 16), []
    judge = augmented(Mirror(), name)
    assert isinstance(judge, Augmented)
    judge.probability.fill_(1.0)
    for given_images, casts in (
        (images, False),
        (images.to(memory_format=torch.channels_last), False),
        (images, True),
    ):
        torch.manual_seed(6)
        with torch.autocast("cpu", torch.bfloat16, enabled=casts):
            judge(given_images)
        seen.append(judge.get_submodule("discriminator").seen)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    judge(images.bfloat16())
    assert judge.get_submodule("discriminator").seen.dtype == torch.bfloat16  # pyright: ignore[reportAttributeAccessIssue]


def test_labels_are_handed_on_and_none_means_the_discriminator_itself():
    plain = Mirror()
    assert augmented(plain, "none") is plain
    judge, labels = augmented(plain, "diffaugment"), torch.tensor([0, 1])
    judge(pictures(2, 3, 8, 8), labels)
    assert plain.labels is labels
    lone = augmented(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), "diffaugment")  # takes pictures only
    assert lone(pictures(2, 3, 8, 8)).shape == (2, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bf16", [False, True])
def test_r1_reaches_the_discriminators_weights(name: str, bf16: bool):
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.SiLU(), nn.Flatten())
    judge = augmented(nn.Sequential(network, nn.Linear(128, 1)).to(memory_format=torch.channels_last), name)  # pyright: ignore[reportCallIssue]
    assert isinstance(judge, Augmented)
    judge.probability.fill_(1.0)
    images = pictures(6, 3, 16, 16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = judge(images).float().flatten()
    penalty = squared_gradient(images, logits)
    assert (penalty > 0).all()
    penalty.mean().backward()
    for parameter_name, parameter in judge.named_parameters():
        if parameter_name != "discriminator.1.bias":  # which no gradient by the images knows
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()


# --- p --------------------------------------------------------------------------------------------


def ada(target: float = 0.6, images: float = 1000) -> Augmented:
    judge = augmented(Mirror(), "ada", target, images)
    assert isinstance(judge, Augmented)
    return judge


def told(judge: Augmented, *shares: float, count: int = 10) -> float:
    for share in shares:
        judge.adapt(torch.tensor(share), count)
    return judge.probability.item()


def test_p_rises_where_the_discriminator_is_too_right_and_falls_where_it_is_not():
    judge = ada()
    assert told(judge) == 0
    assert told(judge, 1.0, 1.0, 1.0) == 0  # not before four steps
    assert told(judge, 1.0) == pytest.approx(0.04)
    assert told(judge, 1.0, 1.0, 0.7, 0.7) == pytest.approx(0.08)  # the mean r is 0.7
    assert told(judge, 0.7, 0.7, 0.7, 0.7) == pytest.approx(0.04)  # 0.4
    assert told(judge, *[0.5] * 40) == 0


def test_p_goes_from_0_to_1_in_so_many_images_and_no_further():
    judge = ada(images=400)
    assert told(judge, *[1.0] * 36) == pytest.approx(0.9)
    assert told(judge, *[1.0] * 4) == pytest.approx(1.0)
    assert told(judge, *[1.0] * 40) == 1.0


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), max_size=40), st.floats(-1, 1), st.floats(1, 1000))
def test_p_never_leaves_0_to_1(shares: list[float], target: float, images: float):
    judge = ada(target, images)
    for share in shares:
        assert 0 <= told(judge, share) <= 1


def test_a_resumed_ada_is_the_one_that_was_not_interrupted():
    shares = [0.9, 0.85, 0.7, 0.95, 0.99, 0.6, 0.9]
    whole, first, second = ada(), ada(), ada()
    told(whole, *shares)
    told(first, *shares[:2])
    second.load_state_dict(first.state_dict())
    told(second, *shares[2:])
    assert set(whole.state_dict()) == {"probability", "leaning", "shown", "steps"}
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), second.buffers(), strict=True))


def test_diffaugment_does_not_adapt():
    judge = augmented(Mirror(), "diffaugment")
    assert isinstance(judge, Augmented)
    assert told(judge, *[1.0] * 8) == 1.0
    assert told(judge, *[0.0] * 8) == 1.0


# --- jitter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_jitter_moves_all_pictures_alike_and_repeats_the_edge(most: int):
    images = torch.rand(3, 2, 6, 5)
    found = set()
    for seed in range(200):
        torch.manual_seed(seed)
        made = moved(images, most)
        assert isinstance(made, torch.Tensor)
        y, x = next(
            (y, x)
            for y in range(most + 1)
            for x in range(most + 1)
            if torch.equal(made[:, :, y:, x:], images[:, :, : 6 - y, : 5 - x])
        )
        found.add((y, x))
        assert torch.equal(made[:, :, :y], made[:, :, y : y + 1].expand(-1, -1, y, -1))
        assert torch.equal(made[:, :, :, :x], made[:, :, :, x : x + 1].expand(-1, -1, -1, x))
    assert len(found) == (most + 1) ** 2


def test_jitter_keeps_the_levels_of_a_pyramid_together():
    """Each level shows the same picture: a coarser one is moved by the same part of its side."""
    image = torch.rand(2, 3, 32, 32)
    pyramid = (image, image[:, :, ::2, ::2], image[:, :, ::8, ::8])
    for seed in range(30):
        torch.manual_seed(seed)
        alone = moved(image, 8)
        torch.manual_seed(seed)
        fine, coarse, coarsest = moved(pyramid, 8)
        assert isinstance(alone, torch.Tensor)
        assert torch.equal(fine, alone)
        down, across = next(
            (y, x)
            for y in range(9)
            for x in range(9)
            if torch.equal(fine[:, :, y:, x:], image[:, :, : 32 - y, : 32 - x])
        )
        for level, whole, every in ((coarse, pyramid[1], 2), (coarsest, pyramid[2], 8)):
            side, y, x = 32 // every, down // every, across // every
            assert torch.equal(level[:, :, y:, x:], whole[:, :, : side - y, : side - x])
            assert torch.equal(level[:, :, :y], level[:, :, y : y + 1].expand(-1, -1, y, -1))


def test_no_jitter_draws_nothing():
    images = torch.rand(2, 3, 4, 4)
    torch.manual_seed(3)
    assert moved(images, 0) is images
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)


def test_a_pattern_of_the_discriminators_stride_is_lost_by_jitter():
    """A discriminator that looks at every other pixel pulls at every other pixel, always the same ones."""

    def pull(most: int) -> torch.Tensor:
        total = torch.zeros(1, 1, 8, 8)
        for seed in range(64):
            torch.manual_seed(seed)
            image = torch.zeros(1, 1, 8, 8, requires_grad=True)
            seen = moved(image, most)
            assert isinstance(seen, torch.Tensor)
            seen[:, :, ::2, ::2].sum().backward()
            assert image.grad is not None
            total += image.grad
        return total[:, :, 2:6, 2:6] / 64

    assert pull(0).std() > 0.4
    assert pull(1).std() < 0.1
