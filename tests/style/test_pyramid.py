"""The Laplacian pyramid as a canvas."""

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.style.canvas.pyramid import PyramidAdam, composed, decomposed
from narrow_vgg import soft_picture


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
@settings(max_examples=30)
def test_the_bands_make_the_picture(height: int, width: int, levels: int):
    image = soft_picture(height, width)
    bands = decomposed(image, levels)
    assert len(bands) <= levels + 1
    assert [band.shape[2:] for band in bands[:1]] == [image.shape[2:]]
    torch.testing.assert_close(composed(bands), image, atol=1e-5, rtol=0)


def test_a_flat_picture_is_all_in_the_coarsest_band():
    *fine, coarse = decomposed(torch.full((1, 3, 64, 48), 0.3), 4)
    assert max(float(band.abs().max()) for band in fine) < 1e-6
    torch.testing.assert_close(coarse, torch.full((1, 3, 4, 3), 0.3))


def test_one_step_moves_every_band_by_the_learning_rate():
    image = soft_picture(32, 32).requires_grad_()
    before = image.detach().clone()
    optimizer = PyramidAdam(image, 0.01)
    image.grad = torch.ones_like(image)  # darker everywhere is better
    optimizer.step(lambda: 1.0)
    moved = before - image.detach()
    levels = len(optimizer.bands)
    assert levels == 6  # 32, 16, 8, 4, 2 and 1 pixel
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * levels), atol=1e-4, rtol=0)


def test_its_state_goes_on_to_the_bit():
    image = soft_picture(20, 30).requires_grad_()
    wanted, first = soft_picture(20, 30, 3), PyramidAdam(image, 0.02)

    def run(optimizer: PyramidAdam, steps: int) -> None:
        for _ in range(steps):
            optimizer.image.grad = 2 * (optimizer.image.detach() - wanted)
            optimizer.step(lambda: 0.0)

    run(first, 3)
    again = PyramidAdam(image.detach().clone().requires_grad_(), 0.02)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    run(first, 4)
    run(again, 4)
    assert torch.equal(first.image, again.image)
    far, near = (soft_picture(20, 30) - wanted).square().mean(), (first.image - wanted).square().mean()
    assert near < far
