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
"""What each patch of a picture has near it: what an image encoder of the small world learns to tell."""

import numpy as np
import torch

from .scenes import BACKGROUND_COLOURS, BACKGROUND_PATTERNS, COLOURS, SHAPES, SIZES, TEXTURES, Scene


# What there is to tell of a patch, with the values that it can have.
BACKGROUND_ATTRIBUTES = {"background_pattern": BACKGROUND_PATTERNS, "background_colour": BACKGROUND_COLOURS}
OBJECT_ATTRIBUTES = {"colour": COLOURS, "shape": SHAPES, "size": tuple(SIZES), "texture": TEXTURES}


def label_patches(scene: Scene, num_patches: int) -> dict[str, torch.Tensor]:
    """
    Labels the patches of a scene's first frame, which is square, with the object that is nearest to each.

    Objects cover few patches. If only those told of an object, the keyframe tokenizer, for whose loss all patches count
    the same, would do well without any.

    Args:
        scene (`Scene`): The scene.
        num_patches (`int`): Patches in each direction.

    Returns:
        `dict[str, torch.Tensor]`: For each attribute the index of its value, of shape `(num_patches**2,)`; "offset",
        where the nearest object's centre is from the patch's, in widths of a patch, of shape `(num_patches**2, 2)`; and "gap",
        how far the patch's centre is from the object's edge, negative within it, of shape `(num_patches**2,)`.
    """
    places = (np.arange(num_patches) + 0.5) / num_patches - 0.5
    x, y = np.meshgrid(places, places)
    patches = np.stack([x.ravel(), y.ravel()], axis=1)
    objects = scene.description.objects
    offsets = np.array(scene.positions) - patches[:, None]  # (patches, objects, 2)
    gaps = np.linalg.norm(offsets, axis=-1) - np.array([SIZES[described.size] for described in objects])
    nearest = gaps.argmin(axis=1)

    labels = {}
    for attribute, values in OBJECT_ATTRIBUTES.items():
        indices = np.array([values.index(getattr(described, attribute)) for described in objects])
        labels[attribute] = torch.from_numpy(indices[nearest])
    for attribute, values in BACKGROUND_ATTRIBUTES.items():
        value = values.index(getattr(scene.description, attribute))
        labels[attribute] = torch.full((num_patches**2,), value)
    offset = offsets[np.arange(len(patches)), nearest] * num_patches
    labels["gap"] = torch.from_numpy(gaps.min(axis=1) * num_patches).float()
    labels["offset"] = torch.from_numpy(offset).float()
    return labels
