"""The hook of conftest.py is really at work: wrong shapes are refused in the tests."""

import pytest
import torch

from hasama.pictures.tensors import to_pixels


def test_wrong_shape_is_refused():
    assert to_pixels(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)
    with pytest.raises(Exception, match="images"):
        to_pixels(torch.zeros(3, 4, 5))
