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
"""What each patch of a picture shows: what an image encoder of the small world learns to tell."""

import numpy as np
import torch

from .rendering import OUTLINES, inside_shape
from .scenes import (
    BACKGROUND_COLOURS,
    BACKGROUND_PATTERNS,
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
)


# What there is to tell of a patch, with the values that it can have. A patch without an object has none of an object's.
BACKGROUND_ATTRIBUTES = {"background_pattern": BACKGROUND_PATTERNS, "background_colour": BACKGROUND_COLOURS}
OBJECT_ATTRIBUTES = {"colour": COLOURS, "shape": SHAPES, "size": tuple(SIZES), "texture": TEXTURES}
NO_OBJECT = -100
_POINTS_PER_SIDE = 4


def label_patches(scene: Scene, num_patches: int) -> dict[str, torch.Tensor]:
    """
    Labels the patches of a scene's first frame, which is square.

    Args:
        scene (`Scene`): The scene.
        num_patches (`int`): Patches in each direction.

    Returns:
        `dict[str, torch.Tensor]`: For each attribute the index of its value, of shape `(num_patches**2,)`, -100 for an
        object's where there is none; "coverage", the share of each patch that its largest object fills, of the same
        shape; and "offset", where that object's centre is from the patch's, in widths of a patch, of shape
        `(num_patches**2, 2)`.
    """
    side = num_patches * _POINTS_PER_SIDE
    coordinates = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(coordinates, coordinates)
    # Later objects are drawn over earlier ones.
    owner = np.zeros((side, side), dtype=np.int64)
    for index, (described, center) in enumerate(zip(scene.description.objects, scene.positions), start=1):
        radius = SIZES[described.size]
        near = np.hypot(x - center[0], y - center[1]) <= radius * OUTLINES[described.shape].max()
        inside = inside_shape(described.shape, (x - center[0]) / radius, (y - center[1]) / radius)
        owner[near & inside] = index
    cells = owner.reshape(num_patches, _POINTS_PER_SIDE, num_patches, _POINTS_PER_SIDE)
    cells = cells.swapaxes(1, 2).reshape(num_patches**2, -1)
    shares = np.stack([(cells == index + 1).mean(axis=1) for index in range(len(scene.positions))], axis=1)
    largest, coverage = shares.argmax(axis=1), shares.max(axis=1)

    labels = {"coverage": torch.from_numpy(coverage).float()}
    for attribute, values in OBJECT_ATTRIBUTES.items():
        indices = np.array([values.index(getattr(described, attribute)) for described in scene.description.objects])
        labels[attribute] = torch.from_numpy(np.where(coverage > 0, indices[largest], NO_OBJECT))
    for attribute, values in BACKGROUND_ATTRIBUTES.items():
        value = values.index(getattr(scene.description, attribute))
        labels[attribute] = torch.full((num_patches**2,), value)
    patch_centers = (np.arange(num_patches) + 0.5) / num_patches - 0.5
    patch_x, patch_y = np.meshgrid(patch_centers, patch_centers)
    patches = np.stack([patch_x.ravel(), patch_y.ravel()], axis=1)
    offset = (np.array(scene.positions)[largest] - patches) * num_patches
    labels["offset"] = torch.from_numpy(offset).float()
    return labels
