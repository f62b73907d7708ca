"""Latents: drawn by number, walked through on great circles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hasama.errors import HasamaError
from hasama.latent import PAINT_AT_ONCE, draw_latents, labels_for, paint, slerp, walk
from hasama.weights import Painter

seeds = st.integers(0, 2**63 - 1)

# --- drawing --------------------------------------------------------------------------------------


@given(seed=seeds, count=st.integers(1, 8), more=st.integers(0, 8))
@settings(max_examples=30, deadline=None)
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
@settings(max_examples=30, deadline=None)
def test_an_arc_starts_and_ends_where_it_should(seed: int):
    start, end = draw_latents(seed, 2, 20)
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end)


@given(seed=seeds, share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
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
    steps = walk(7, stops, frames, 16)
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
    torch.testing.assert_close(walk(1, 4, 40, 8)[::10], points)


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
    pictures = np.concatenate(list(paint(Painter(network, None, 2, 1), latents)))
    assert network.batches == [PAINT_AT_ONCE, PAINT_AT_ONCE, 150 - 2 * PAINT_AT_ONCE]
    assert pictures.shape == (150, 1, 2, 1)
    assert (np.diff(pictures[:, 0, 0, 0].astype(int)) >= 0).all()
    labels = torch.arange(150) % 10
    labelled = np.concatenate(list(paint(Painter(network, None, 2, 1), latents, labels)))
    assert len(np.unique(labelled[:, 0, 1, 0])) == 10
    assert labelled[140, 0, 1, 0] == labelled[0, 0, 1, 0]


def test_labels_are_all_classes_in_turn_or_the_one_that_is_named():
    painter = Painter(nn.Identity(), None, 2, 1, ("cat", "dog", "fox"))
    in_turn, dogs = labels_for(painter, 5), labels_for(painter, 2, "dog")
    assert in_turn is not None
    assert dogs is not None
    assert in_turn.tolist() == [0, 1, 2, 0, 1]
    assert dogs.tolist() == [1, 1]
    with pytest.raises(HasamaError, match=r"no class called 'dgo'. Did you mean dog\?"):
        labels_for(painter, 2, "dgo")


def test_without_classes_there_are_no_labels():
    painter = Painter(nn.Identity(), None, 2, 1)
    assert labels_for(painter, 5) is None
    with pytest.raises(HasamaError, match="leave out --label"):
        labels_for(painter, 5, "cat")
