"""How frames are compared."""

import math

import numpy as np
import pytest
import torch


def test_decibels_are_those_of_the_mean_squared_error():
    from small_world_evaluation.reconstruction import decibels

    original = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    assert decibels(original + 0.1, original) == pytest.approx(20, abs=1e-4)
    mask = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    mask[1, 0, :2] = True
    half = torch.where(mask, original + 0.01, original + 0.1)
    assert decibels(half, original, mask) == pytest.approx(40, abs=1e-3)
    assert math.isnan(decibels(half, original, torch.zeros_like(mask)))
    assert decibels(original, original) == pytest.approx(100)


def test_moving_pixels_are_where_something_comes_or_goes():
    from small_world_evaluation.reconstruction import moving_pixels

    frames = torch.zeros(1, 2, 3, 12, 12)
    frames[0, 0, :, 2:4, 2:4] = 1
    frames[0, 1, :, 7:9, 7:9] = 1
    moving = moving_pixels(frames)
    assert not moving[0, 0].any()
    expected = np.zeros((12, 12), dtype=bool)
    expected[1:5, 1:5] = expected[6:10, 6:10] = True
    assert (moving[0, 1, 0].numpy() == expected).all()
