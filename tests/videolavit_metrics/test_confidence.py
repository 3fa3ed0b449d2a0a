"""Confidence intervals."""

import math

import pytest


@pytest.fixture
def statistics():
    from videolavit_metrics import confidence

    return confidence


def test_wilsons_interval(statistics):
    # Of the published example of 81 out of 263 (Newcombe 1998, table I).
    result = statistics.proportion([True] * 81 + [False] * 182)
    assert (round(result["low"], 4), round(result["high"], 4)) == (0.2553, 0.3662)
    assert result["count"] == 263 and result["value"] == 81 / 263
    certain = statistics.proportion([True] * 10)
    assert certain["high"] == 1 and 0.7 < certain["low"] < 0.75


def test_a_mean_leaves_out_what_could_not_be_measured(statistics):
    result = statistics.mean([1.0, 2.0, math.nan, 3.0])
    assert result["value"] == 2 and result["count"] == 3
    assert result["high"] - result["value"] == pytest.approx(1.95996 / math.sqrt(3), rel=1e-4)


@pytest.mark.parametrize("function", ["mean", "proportion"])
def test_nothing_has_no_mean(statistics, function):
    with pytest.raises(ValueError, match="There are no"):
        getattr(statistics, function)([])
