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
"""From the keyframes, codes and motion that a user passes to one list of clips a video."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch

from .pipeline_utils import image_to_tensor


@dataclass
class VideoInputs:
    """
    What a batch of videos is made of. All lists but `prompts` hold one list of clips a video.

    Args:
        num_videos (`int`): Number of videos.
        num_clips (`int`): Number of clips of every video.
        prompts (`list[str]`, *optional*): One prompt a video.
        images (`list[list[torch.Tensor]]`, *optional*):
            Keyframes of shape `(3, height, width)`, values from 0 to 1, of the first clip or of all clips.
        visual_codes (`list[list[torch.LongTensor]]`, *optional*): Codes of the keyframe of the first clip or of all clips.
        motion_codes (`list[list[torch.LongTensor]]`, *optional*): Motion codes of all clips.
        motion_vectors (`list[list[torch.Tensor]]`, *optional*):
            Motion of all clips, of shape `(2, num_frames, height, width)`, in tenths of its standard deviation.
    """

    num_videos: int
    num_clips: int
    prompts: list[str] | None = None
    images: list[list[torch.Tensor]] | None = None
    visual_codes: list[list[torch.LongTensor]] | None = None
    motion_codes: list[list[torch.LongTensor]] | None = None
    motion_vectors: list[list[torch.Tensor]] | None = None

    @property
    def has_motion(self) -> bool:
        return self.motion_codes is not None or self.motion_vectors is not None

    def repeat(self, num_videos_per_prompt: int) -> "VideoInputs":
        """The inputs of `num_videos_per_prompt` videos for each of these, next to each other."""

        def repeat(values: list | None) -> list | None:
            return values and [value for value in values for _ in range(num_videos_per_prompt)]

        return VideoInputs(
            num_videos=self.num_videos * num_videos_per_prompt,
            num_clips=self.num_clips,
            prompts=repeat(self.prompts),
            images=repeat(self.images),
            visual_codes=repeat(self.visual_codes),
            motion_codes=repeat(self.motion_codes),
            motion_vectors=repeat(self.motion_vectors),
        )


def _split(value: Any, item_ndim: int, convert: Callable[[Any, str], torch.Tensor], name: str) -> tuple[list, int]:
    """
    Splits a value into its items and gives the depth of the list: 0 for one item, 1 for a list, 2 for a list of lists.
    """
    if isinstance(value, (torch.Tensor, np.ndarray)):
        depth = value.ndim - item_ndim
        if depth == 0:
            return [convert(value, name)], 0
        if depth not in (1, 2) or len(value) == 0:
            raise ValueError(
                f"`{name}` has to be of {item_ndim} to {item_ndim + 2} dimensions, but is {value.ndim}-d."
            )
        items = [_split(item, item_ndim, convert, name)[0] for item in value]
        return ([item for (item,) in items], 1) if depth == 1 else (items, 2)
    if isinstance(value, PIL.Image.Image) or (
        isinstance(value, (list, tuple)) and item_ndim == 1 and len(value) > 0 and isinstance(value[0], int)
    ):
        return [convert(value, name)], 0
    if not isinstance(value, (list, tuple)) or len(value) == 0:
        raise ValueError(f"`{name}` has to hold at least one item, but is {value!r}.")
    items, depths = zip(*[_split(item, item_ndim, convert, name) for item in value])
    if len(set(depths)) > 1 or depths[0] == 2:
        raise ValueError(f"`{name}` has to be one item, a list of items, or a list of clips for each video.")
    return ([item for (item,) in items], 1) if depths[0] == 0 else (list(items), 2)


def _to_codes(value: Any, name: str) -> torch.LongTensor:
    codes = torch.as_tensor(value)
    if codes.is_floating_point() or codes.dtype == torch.bool:
        raise ValueError(f"`{name}` has to hold integers, but is of {codes.dtype}.")
    return codes.long()


def _to_motion(value: Any, name: str) -> torch.Tensor:
    motion = torch.as_tensor(value).float()
    if not bool(torch.isfinite(motion).all()):
        raise ValueError(f"`{name}` holds values that are not finite.")
    return motion


# Number of dimensions of one item, and what converts it.
_ITEMS = {
    "image": (3, image_to_tensor),
    "visual_codes": (1, _to_codes),
    "motion_codes": (1, _to_codes),
    "motion_vectors": (4, _to_motion),
}


def prepare_video_inputs(
    prompt: str | list[str] | None, num_clips: int | None, num_videos_per_prompt: int = 1, **values: Any
) -> VideoInputs:
    """
    Sorts what was passed into videos and clips.

    A list of lists holds the clips of each video. A flat list holds the clips of all videos, one video after another:
    `num_clips` a video, or, when it is not given, as many as the prompts, or else the keyframes, imply. Keyframes are
    those of all clips, or of the first clip of each video.

    Args:
        prompt (`str` or `list[str]`, *optional*): One prompt, or one a video.
        num_clips (`int`, *optional*): Number of clips of every video.
        num_videos_per_prompt (`int`, *optional*, defaults to 1): Number of videos for each of those passed.
        values: `image`, `visual_codes`, `motion_codes` and `motion_vectors`, each of which may be `None`.

    Raises:
        ValueError: If the numbers of prompts, keyframes and motions do not fit together.
    """
    if num_clips is not None and (not isinstance(num_clips, int) or num_clips < 1):
        raise ValueError(f"`num_clips` has to be a positive integer, but is {num_clips}.")
    if prompt is not None:
        prompt = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(prompt, list) or len(prompt) == 0 or not all(isinstance(text, str) for text in prompt):
            raise ValueError(f"`prompt` has to be a string or a list of strings, but is {prompt!r}.")
    given = {name: _split(value, *_ITEMS[name], name) for name, value in values.items() if value is not None}
    if "motion_codes" in given and "motion_vectors" in given:
        raise ValueError("Pass either `motion_codes` or `motion_vectors`: both are the motion.")
    motion_name = "motion_vectors" if "motion_vectors" in given else "motion_codes"
    if motion_name in given and "image" not in given and "visual_codes" not in given:
        raise ValueError(f"`{motion_name}` need a keyframe: pass `image` or `visual_codes` too.")
    if prompt is None and not given:
        raise ValueError("Pass a `prompt`, an `image`, or `visual_codes` with their motion.")

    # 1. Count videos and clips
    keyframe_names = [name for name in ("image", "visual_codes") if name in given]
    nested = [name for name in (motion_name, *keyframe_names) if name in given and given[name][1] == 2]
    num_motions = len(given[motion_name][0]) if motion_name in given else None
    if nested:
        num_videos = len(given[nested[0]][0])
        if num_clips is None and (nested[0] == motion_name or motion_name not in given):
            num_clips = len(given[nested[0]][0][0]) if nested[0] == motion_name else 1
    elif prompt is not None:
        num_videos = len(prompt)
    elif num_clips is not None and num_motions is not None:
        num_videos = max(num_motions // num_clips, 1)
    else:
        num_videos = len(given[keyframe_names[0]][0])
    if num_clips is None:
        num_clips = max(num_motions // num_videos, 1) if num_motions is not None else 1

    # 2. Sort
    if prompt is not None and len(prompt) != num_videos:
        raise ValueError(f"`prompt` holds {len(prompt)} prompts for {num_videos} videos.")
    clips = {}
    for name, (items, depth) in given.items():
        allowed = (num_clips,) if name == motion_name else (1, num_clips)
        if depth < 2:
            size = len(items) // num_videos
            items = [items[i : i + size] for i in range(0, len(items), size)] if size > 0 else [items]
        lengths = {len(video) for video in items}
        if len(items) != num_videos or len(lengths) != 1 or lengths.pop() not in allowed:
            raise ValueError(
                f"`{name}` has {' + '.join(str(len(video)) for video in items)} items, but there are {num_videos} videos "
                f"of {num_clips} clips each, which need {' or '.join(str(count) for count in sorted(set(allowed)))} a video."
            )
        clips[name] = items
    inputs = VideoInputs(
        num_videos=num_videos,
        num_clips=num_clips,
        prompts=prompt,
        images=clips.get("image"),
        visual_codes=clips.get("visual_codes"),
        motion_codes=clips.get("motion_codes"),
        motion_vectors=clips.get("motion_vectors"),
    )
    return inputs.repeat(num_videos_per_prompt)


def join_clips(clips: list) -> list | np.ndarray | torch.Tensor:
    """Joins the frames of several clips of the same videos."""
    if len(clips) > 0 and isinstance(clips[0], torch.Tensor):
        return torch.cat(clips, dim=1)
    if len(clips) > 0 and isinstance(clips[0], np.ndarray):
        return np.concatenate(clips, axis=1)
    return [[frame for frames in video for frame in frames] for video in zip(*clips)]
