# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Numbers with their confidence intervals."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import numpy as np


CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def proportion(outcomes: Sequence[bool]) -> dict[str, float | int]:
    """
    How often something is right, with Wilson's interval.

    Args:
        outcomes (`Sequence[bool]`): One for each item.

    Returns:
        `dict`: "value", the bounds "low" and "high" of the 95 % interval, from 0 to 1, and "count".

    Raises:
        ValueError: If there are none.
    """
    count = len(outcomes)
    if count == 0:
        raise ValueError("There are no outcomes.")
    share = sum(map(bool, outcomes)) / count
    center = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half_width = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return {
        "value": share,
        "low": max(0.0, center - half_width),
        "high": min(1.0, center + half_width),
        "count": count,
    }


def mean(values: Sequence[float]) -> dict[str, float | int]:
    """
    The mean of measurements, with the normal interval; values that are not numbers are left out.

    Args:
        values (`Sequence[float]`): The measurements.

    Returns:
        `dict`: "value", the bounds "low" and "high" of the 95 % interval, and "count".

    Raises:
        ValueError: If there are none.
    """
    measured = [float(value) for value in values if np.isfinite(value)]
    if not measured:
        raise ValueError("There are no measurements.")
    half_width = _Z * stdev(measured) / math.sqrt(len(measured)) if len(measured) > 1 else math.inf
    center = fmean(measured)
    return {"value": center, "low": center - half_width, "high": center + half_width, "count": len(measured)}
