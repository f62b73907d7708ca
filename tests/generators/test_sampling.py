"""Latents: drawn by number, walked through on great circles; w truncated, crossed, and moved along directions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hasama.errors import HasamaError
from hasama.generators.directions import find_directions
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import (
    GENERATED_AT_ONCE,
    crossed,
    draw_latents,
    for_each_layer,
    generate,
    generate_all,
    generate_from_w,
    interpolate,
    is_styled,
    labels_for,
    labels_of_seeds,
    latents_of_seeds,
    mean_w,
    midway,
    named_layers,
    slerp,
    to_w,
    truncate,
)
from hasama.networks.architectures.progressive import Progressive
from hasama.networks.registry import build
from hasama.recipe import Recipe

seeds = st.integers(0, 2**63 - 1)

# --- drawing --------------------------------------------------------------------------------------


@given(seed=seeds, count=st.integers(1, 8), more=st.integers(0, 8))
@settings(max_examples=30)
def test_the_first_of_many_are_the_few(seed: int, count: int, more: int):
    many = draw_latents(seed, count + more, 5)
    assert torch.equal(draw_latents(seed, count, 5), many[:count])
    if more:
        assert torch.equal(draw_latents(seed, more, 5, first=count), many[count:])


def test_latents_are_standard_normal_and_all_different():
    latents = draw_latents(0, 400, 100)
    assert (latents.shape, latents.dtype) == ((400, 100), torch.float32)
    assert latents.mean().item() == pytest.approx(0, abs=0.02)
    assert latents.std().item() == pytest.approx(1, abs=0.02)
    assert latents.pow(4).mean().item() == pytest.approx(3, abs=0.15)
    assert len(latents.unique(dim=0)) == 400


@pytest.mark.parametrize(("one", "other"), [((0, 0), (1, 0)), ((0, 1), (1, 0)), ((0, 0), (2**32, 0))])
def test_neighbouring_seeds_share_nothing(one: tuple[int, int], other: tuple[int, int]):
    """Not seed + index, whose streams would overlap."""
    (a, b) = (draw_latents(seed, 1, 50, first=index) for seed, index in (one, other))
    assert not torch.isclose(a, b).any()


def test_drawing_takes_no_number_from_torch():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw_latents(0, 3, 4)
    assert torch.equal(torch.rand(3), expected)


# --- walking --------------------------------------------------------------------------------------


@given(seed=seeds)
@settings(max_examples=30)
def test_an_arc_starts_and_ends_where_it_should(seed: int):
    start, end = draw_latents(seed, 2, 20)
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end)


@given(seed=seeds, share=st.floats(0, 1))
@settings(max_examples=60)
def test_an_arc_stays_on_the_sphere_and_turns_evenly(seed: int, share: float):
    start, end = draw_latents(seed, 2, 20).double()
    start, end = 3 * start / start.norm(), 3 * end / end.norm()
    point = slerp(start, end, share)
    angle = torch.arccos(torch.dot(start, end) / 9)
    so_far = torch.arccos((torch.dot(start, point) / 9).clamp(-1, 1))
    assert point.norm().item() == pytest.approx(3)
    assert so_far.item() == pytest.approx(share * angle.item(), abs=1e-6)


def test_an_arc_between_points_of_different_length_passes_no_hole():
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 4.0])
    lengths = [slerp(start, end, share).norm().item() for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_an_arc_along_one_line_is_finite(factor: float):
    """No great circle is defined there: a straight line serves."""
    start = torch.tensor([0.6, 0.8])
    points = torch.stack([slerp(start, factor * start, share) for share in (0.0, 0.3, 1.0)])
    assert points.isfinite().all()
    torch.testing.assert_close(points[[0, 2]], torch.stack([start, factor * start]))


@pytest.mark.parametrize(("stops", "frames"), [(3, 30), (5, 31), (2, 200), (4, 4)])
def test_a_walk_goes_round_in_even_steps_and_closes(stops: int, frames: int):
    steps = interpolate(7, stops, frames, 16)
    points = draw_latents(7, stops, 16)
    assert steps.shape == (frames, 16)
    assert torch.equal(steps[0], points[0])
    gaps = (steps.roll(-1, 0) - steps).norm(dim=1)  # the last is from the end to the beginning
    assert gaps.min() > 0
    longest = max((points[k] - points[(k + 1) % stops]).norm().item() for k in range(stops))
    assert gaps.max().item() <= math.pi / 2 * longest * max(1, stops / frames) + 1e-5
    if frames > 2 * stops:
        assert gaps[-1] < 3 * gaps.median()


def test_a_walk_passes_every_stop():
    points = draw_latents(1, 4, 8)
    torch.testing.assert_close(interpolate(1, 4, 40, 8)[::10], points)


# --- painting -------------------------------------------------------------------------------------


class Flat(nn.Module):
    """Paints each latent's first number, and the label after it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.batches: list[int] = []

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        self.batches.append(len(latents))
        second = latents[:, 1] if labels is None else labels / 10
        return torch.stack([latents[:, 0], second], 1)[:, None, None] * self.scale


def test_many_pictures_are_painted_a_few_at_a_time_in_order():
    network = Flat()
    latents = torch.linspace(-1, 1, 150)[:, None].repeat(1, 2)
    pictures = np.concatenate(list(generate(TrainedGenerator(network, None, 2, 1), latents)))
    assert network.batches == [GENERATED_AT_ONCE, GENERATED_AT_ONCE, 150 - 2 * GENERATED_AT_ONCE]
    assert pictures.shape == (150, 1, 2, 1)
    assert (np.diff(pictures[:, 0, 0, 0].astype(int)) >= 0).all()
    labels = torch.arange(150) % 10
    labelled = np.concatenate(list(generate(TrainedGenerator(network, None, 2, 1), latents, labels)))
    assert len(np.unique(labelled[:, 0, 1, 0])) == 10
    assert labelled[140, 0, 1, 0] == labelled[0, 0, 1, 0]


def test_labels_are_all_classes_in_turn_or_the_one_that_is_named():
    generator = TrainedGenerator(nn.Identity(), None, 2, 1, ("cat", "dog", "fox"))
    in_turn, dogs = labels_for(generator, 5), labels_for(generator, 2, "dog")
    assert in_turn is not None
    assert dogs is not None
    assert in_turn.tolist() == [0, 1, 2, 0, 1]
    assert dogs.tolist() == [1, 1]
    with pytest.raises(HasamaError, match=r"no class called 'dgo'. Did you mean dog\?"):
        labels_for(generator, 2, "dgo")


def test_without_classes_there_are_no_labels():
    generator = TrainedGenerator(nn.Identity(), None, 2, 1)
    assert labels_for(generator, 5) is None
    with pytest.raises(HasamaError, match="leave out --label"):
        labels_for(generator, 5, "cat")


# --- w ----------------------------------------------------------------------------------------


class Mapped(nn.Module):
    """A style-based generator of three layers: each paints the first number of its own w as one pixel.

    Its mapping stretches z along the given lengths, moves it by 0.1 and, in training, spoils the mean.
    """

    mean_style: torch.Tensor
    style_layers = 3

    def __init__(self, *lengths: float) -> None:
        super().__init__()
        self.stretch = nn.Parameter(torch.tensor(lengths))
        self.register_buffer("mean_style", torch.full((len(lengths),), 0.1))

    def mapping(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if self.training:
            self.mean_style.add_(1)
        return latents * self.stretch + 0.1 + (0 if labels is None else labels[:, None])

    def synthesis(self, styles: torch.Tensor) -> torch.Tensor:
        return styles[:, None, None, :, 0]

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.synthesis(self.mapping(latents, labels)[:, None].expand(-1, self.style_layers, -1))


@pytest.fixture
def styled() -> TrainedGenerator:
    return TrainedGenerator(Mapped(0.1, 0.3, 0.2), None, 3, 1)


def real(architecture: str, classes: tuple[str, ...] = (), latent_size: int = 12) -> TrainedGenerator:
    """A network of the package, untrained."""
    recipe = Recipe(architecture=architecture, size="16", width=4, latent_size=latent_size)  # pyright: ignore
    network = build(recipe, 3, len(classes)).generator
    for weight in () if architecture == "stylegan" else network.parameters():  # whose own first weights are large
        nn.init.normal_(weight, 0, 0.3, torch.Generator().manual_seed(weight.numel()))
    return TrainedGenerator(network, recipe, latent_size, 3, classes)


def test_who_is_style_based():
    assert is_styled(Mapped(1.0))
    assert is_styled(real("stylegan").network)
    assert not is_styled(real("dcgan").network)


@pytest.mark.parametrize("architecture", ["stylegan", "dcgan"])
def test_without_truncation_pictures_are_the_generators_own(architecture: str):
    generator = real(architecture, ("cat", "dog"))
    latents, labels = draw_latents(0, 5, 12), labels_for(generator, 5)
    own = generator.generate(latents, labels)
    assert len(np.unique(own)) > 20
    np.testing.assert_array_equal(generate_all(generator, latents, labels), own)
    w = to_w(generator, latents, labels)
    np.testing.assert_array_equal(np.concatenate(list(generate_from_w(generator, w, labels))), own)
    assert (generate_all(generator, latents, labels, 0.5) != own).any()


@pytest.mark.parametrize("architecture", ["stylegan", "dcgan"])
def test_truncated_to_nothing_all_pictures_are_the_middle_one(architecture: str):
    generator = real(architecture)
    one, two, three = generate_all(generator, draw_latents(0, 3, 12), truncation=0.0)
    middle = np.concatenate(list(generate_from_w(generator, mean_w(generator)[None])))[0]
    for picture in (one, two, three):
        np.testing.assert_array_equal(picture, middle)


def test_truncation_is_a_share_of_the_way_from_the_middle(styled: TrainedGenerator):
    w, centre = to_w(styled, draw_latents(0, 4, 3)), mean_w(styled)
    assert torch.equal(truncate(w, centre, 1.0), w)
    for psi in (0.0, 0.3, 2.0):
        torch.testing.assert_close(truncate(w, centre, psi) - centre, psi * (w - centre))


def test_painting_changes_neither_the_mode_nor_the_mean(styled: TrainedGenerator):
    styled.network.train()
    before = mean_w(styled).clone()
    generate_all(styled, draw_latents(0, 70, 3), truncation=0.5)
    assert styled.network.training
    assert torch.equal(mean_w(styled), before)


def test_each_seed_has_its_own_latent_and_class_whoever_stands_beside_it():
    latents = latents_of_seeds([7, 0, 3], 5)
    assert torch.equal(latents[[0, 2]], latents_of_seeds([7, 3], 5))
    assert torch.equal(latents[:1], draw_latents(7, 1, 5))
    generator = TrainedGenerator(nn.Identity(), None, 2, 1, ("cat", "dog", "fox"))
    labels, cats = labels_of_seeds(generator, [7, 0, 3, 5]), labels_of_seeds(generator, [7, 0], "cat")
    assert labels is not None
    assert cats is not None
    assert (labels.tolist(), cats.tolist()) == ([1, 0, 0, 2], [0, 0])


# --- mixing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 6, 8, 9, 10, 18])
def test_the_named_layers_are_all_layers_once(count: int):
    parts = [named_layers(name, count) for name in ("coarse", "middle", "fine")]
    assert [layer for part in parts if part is not None for layer in part] == list(range(count))
    assert named_layers("course", count) is None


def test_the_named_layers_are_the_papers():
    """Karras et al. 2019, figure 3: 18 layers for 1024x1024; up to 8x8, up to 32x32, and the rest."""
    assert [named_layers(name, 18) for name in ("coarse", "middle", "fine")] == [range(4), range(4, 8), range(8, 18)]


def test_a_crossed_picture_has_the_columns_styles_in_the_layers_named(styled: TrainedGenerator):
    rows, columns = torch.tensor([[-1.0, 0, 0], [-0.5, 0, 0]]), torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0]])
    cells = crossed(rows, columns, [0, 2], 3)
    pictures = np.concatenate(list(generate_from_w(styled, cells)))[:, 0, :, 0].reshape(2, 3, 3)
    assert (pictures[:, :, 1] == [[0] * 3, [64] * 3]).all()
    assert (pictures[:, :, [0, 2]] == np.array([128, 191, 255])[None, :, None]).all()
    assert torch.equal(crossed(for_each_layer(rows, 3), columns, [0, 2], 3), cells)
    own = torch.arange(9.0).reshape(1, 3, 3)  # a w for each layer, as a projection in w+ has
    assert torch.equal(crossed(own, columns[:1], [1], 3), torch.stack([own[0, 0], columns[0], own[0, 2]])[None])


def test_midway_is_as_far_from_both():
    rows, columns = (torch.nn.functional.normalize(draw_latents(seed, seed + 2, 30)) for seed in (0, 1))
    cells = midway(rows, columns).unflatten(0, (2, 3))
    to_rows, to_columns = (cells * rows[:, None]).sum(2), (cells * columns).sum(2)
    assert to_rows.min() > 0.5
    torch.testing.assert_close(to_rows, to_columns)
    torch.testing.assert_close(cells.norm(dim=2), torch.ones(2, 3))


# --- directions -----------------------------------------------------------------------------------


def test_the_directions_of_w_are_its_principal_components():
    found = find_directions(TrainedGenerator(Mapped(0.1, 0.4, 0.2), None, 3, 1), 2)
    lengths = found.steps.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.4, 0.2]), rtol=0.03, atol=0)
    assert (found.steps / lengths[:, None])[[0, 1], [1, 2]].min() > 0.99  # positive: the sign is settled
    torch.testing.assert_close(found.shares, torch.tensor([16 / 21, 4 / 21]), rtol=0.05, atol=0)


@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_the_directions_of_z_are_those_that_the_first_layer_feels_most(classes: tuple[str, ...]):
    """Of a linear layer exactly its singular vectors, each one standard deviation of z long."""
    generator = real("dense", classes)
    first = generator.network.get_parameter("layers.0.weight")[:, :12]  # [units, Z]; the rest looks at the class
    found = find_directions(generator, 3)
    _, strengths, axes = torch.linalg.svd(first.detach())
    torch.testing.assert_close((found.steps @ axes[:3].T).abs(), torch.eye(3), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.shares, (strengths.square() / strengths.square().sum())[:3], rtol=1e-3, atol=0)


def test_directions_are_the_same_again_and_take_no_number_from_torch():
    generator = real("dcgan")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one = find_directions(generator, 2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(find_directions(generator, 2).steps, one.steps)


def test_directions_are_found_where_weights_are_computed_from_others():
    """Equalised learning rates are parametrisations: the layer itself owns no matrix."""
    pair = Progressive(4, 12).build((16, 16), 3)
    found = find_directions(TrainedGenerator(pair.generator, None, 12, 3), 2)
    assert found.steps.shape == (2, 12)
    assert found.shares[0] >= found.shares[1] > 1 / 12 / 4


def test_a_generator_that_is_blind_to_z_has_no_directions():
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.zeros_like(latents)).view(-1, 1, 2, 2)

    with pytest.raises(HasamaError, match="no directions"):
        find_directions(TrainedGenerator(Blind(), None, 4, 1), 1)
