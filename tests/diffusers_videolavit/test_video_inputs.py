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
"""How keyframes, codes and motion that a user passes are sorted into videos and clips."""

import pytest
import torch

from diffusers_videolavit.video_inputs import join_clips, prepare_video_inputs


CODES = [torch.tensor([i] * (i + 1)) for i in range(6)]
MOTIONS = [torch.full((135,), i) for i in range(6)]
IMAGES = [torch.full((3, 4, 4), i / 6) for i in range(6)]
VECTORS = [torch.full((2, 24, 4, 4), float(i)) for i in range(6)]


def describe(inputs):
    """Numbers of videos and clips, and the first value of each keyframe and motion."""

    def first_values(videos, scale=1):
        return videos and [[round(clip.flatten()[0].item() * scale) for clip in video] for video in videos]

    return (
        (inputs.num_videos, inputs.num_clips),
        first_values(inputs.visual_codes) or first_values(inputs.images, 6),
        first_values(inputs.motion_codes) or first_values(inputs.motion_vectors),
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # One clip
        ({"visual_codes": CODES[2], "motion_codes": MOTIONS[1]}, ((1, 1), [[2]], [[1]])),
        ({"visual_codes": [2, 2, 2], "motion_codes": MOTIONS[1][None]}, ((1, 1), [[2]], [[1]])),
        ({"image": IMAGES[3], "motion_vectors": VECTORS[1]}, ((1, 1), [[3]], [[1]])),
        ({"image": IMAGES[3][None], "motion_vectors": VECTORS[1][None]}, ((1, 1), [[3]], [[1]])),
        # A batch of one-clip videos
        ({"visual_codes": CODES[:2], "motion_codes": MOTIONS[:2]}, ((2, 1), [[0], [1]], [[0], [1]])),
        ({"image": torch.stack(IMAGES[:2]), "motion_vectors": VECTORS[:2]}, ((2, 1), [[0], [1]], [[0], [1]])),
        ({"image": [IMAGES[0][None]] * 2, "motion_vectors": [VECTORS[1][None]] * 2}, ((2, 1), [[0], [0]], [[1], [1]])),
        # Clips of one video
        ({"visual_codes": [CODES[:3]], "motion_codes": [MOTIONS[:3]]}, ((1, 3), [[0, 1, 2]], [[0, 1, 2]])),
        ({"visual_codes": CODES[:3], "motion_codes": MOTIONS[:3], "num_clips": 3}, ((1, 3), [[0, 1, 2]], [[0, 1, 2]])),
        ({"image": IMAGES[5], "motion_vectors": torch.stack(VECTORS[:3])}, ((1, 3), [[5]], [[0, 1, 2]])),
        ({"prompt": "A boat", "visual_codes": CODES[:2], "motion_codes": MOTIONS[:2]}, ((1, 2), [[0, 1]], [[0, 1]])),
        # Clips of several videos
        ({"image": IMAGES[:2], "motion_codes": MOTIONS[:4]}, ((2, 2), [[0], [1]], [[0, 1], [2, 3]])),
        ({"image": IMAGES[:2], "motion_vectors": [VECTORS[:2], VECTORS[2:4]]}, ((2, 2), [[0], [1]], [[0, 1], [2, 3]])),
        (
            {"visual_codes": CODES[:4], "motion_codes": MOTIONS[:4], "num_clips": 2},
            ((2, 2), [[0, 1], [2, 3]], [[0, 1], [2, 3]]),
        ),
        (
            {"visual_codes": [CODES[:2], CODES[2:4]], "motion_codes": torch.stack(MOTIONS[:4])},
            ((2, 2), [[0, 1], [2, 3]], [[0, 1], [2, 3]]),
        ),
        # Motion that is to be generated
        ({"prompt": ["A", "B"], "num_clips": 3}, ((2, 3), None, None)),
        ({"image": IMAGES[:2]}, ((2, 1), [[0], [1]], None)),
        ({"prompt": "A", "image": IMAGES[1], "num_clips": 2}, ((1, 2), [[1]], None)),
        ({"visual_codes": [[[1]], [[2]]], "num_clips": 2}, ((2, 2), [[1], [2]], None)),
        # Copies
        (
            {"visual_codes": CODES[:2], "motion_codes": MOTIONS[:2], "num_videos_per_prompt": 2},
            ((4, 1), [[0], [0], [1], [1]], [[0], [0], [1], [1]]),
        ),
    ],
)
def test_values_are_sorted(values, expected):
    inputs = prepare_video_inputs(**{"prompt": None, "num_clips": None, **values})
    assert describe(inputs) == expected
    assert inputs.has_motion == ("motion_codes" in values or "motion_vectors" in values)


def test_prompts_are_repeated():
    assert prepare_video_inputs(["A", "B"], None, num_videos_per_prompt=2).prompts == ["A", "A", "B", "B"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": IMAGES[:2], "motion_codes": MOTIONS[:5]}, r"`motion_codes` has 2 \+ 2 \+ 1 items, .* 2 videos"),
        ({"image": IMAGES[:3], "motion_codes": MOTIONS[:2]}, r"`motion_codes` has 2 items, .* 3 videos of 1 clips"),
        ({"image": IMAGES[:2], "motion_codes": MOTIONS[:3], "num_clips": 3}, "`image` has 2 items, .* need 1 or 3"),
        ({"image": [IMAGES[:2], IMAGES[:1]], "motion_codes": [MOTIONS[:2]] * 2}, r"`image` has 2 \+ 1 items"),
        ({"visual_codes": [CODES[:2], CODES[:3]], "motion_codes": [MOTIONS[:2], MOTIONS[:3]]}, "`visual_codes` has"),
        ({"visual_codes": [CODES[:2]]}, "`visual_codes` has 2 items, but there are 1 videos of 1 clips"),
        ({"motion_vectors": VECTORS[0]}, "`motion_vectors` need a keyframe"),
        ({"visual_codes": [[[[1]]]]}, "has to be one item, a list of items, or a list of clips for each video"),
        ({"visual_codes": []}, "`visual_codes` has to hold at least one item"),
        ({"visual_codes": "codes"}, "`visual_codes` has to hold at least one item"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        prepare_video_inputs(**{"prompt": None, "num_clips": None, **values})


def test_joined_clips():
    tensors = [torch.full((2, length, 3), float(length)) for length in (3, 2)]
    assert torch.equal(join_clips(tensors), torch.cat(tensors, dim=1))
    assert join_clips([tensor.numpy() for tensor in tensors]).shape == (2, 5, 3)
    assert join_clips([[["a", "b"], ["c", "d"]], [["e"], ["f"]]]) == [["a", "b", "e"], ["c", "d", "f"]]
    assert join_clips([]) == []
