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
"""From a video to its clips: keyframes and the motion that follows each (Video-LaVIT, section 3.1)."""

import itertools
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import torch

from .motion_vectors import KEYFRAME_INTERVAL, MotionCodec, macroblock_motion, normalize_motion
from .video_decoding import (
    ArrayFrames,
    BinaryFile,
    VideoDecodingError,
    VideoFileFrames,
    check_frame_rate,
    resample,
)


CLIP_SAMPLINGS = ("alternate", "shots", "all")

# Cuts are looked for in frames whose longer side has at most this many pixels.
_CUT_DETECTION_SIZE = 320

# Share of macroblocks that can't be predicted from the previous frame, from which on a frame starts a new shot. On real
# videos at 6 frames per second it is at most 0.44 within a shot, with fast motion, and at least 0.62 at a cut.
_CUT_THRESHOLD = 0.5

# Between pictures with little texture the codec finds predictions across a cut: a lower share is a cut, too, where the
# layout of light and dark is another one. Rendered shots reach 0.31 to 0.44 there, and at most 0.01 within a shot.
_CUT_THRESHOLD_OF_UNLIKE_FRAMES = 0.25
_UNLIKE_FRAMES_CORRELATION = 0.5
_LAYOUT_SIZE = 16

# Motion fields are resized together, since one call for each costs more than the work.
_FIELDS_AT_ONCE = 64


@dataclass
class VideoClips:
    """
    The clips of a video.

    Args:
        keyframes (`list`): The first frame of each clip, as it is decoded from the MPEG-4 stream: RGB, values 0…255,
            `np.ndarray` of shape `(height, width, 3)`, dtype `uint8`, or what `keyframe_transform` makes of it.
        motion_vectors (`torch.FloatTensor` of shape `(num_clips, 2, num_frames, motion_height, motion_width)`): Motion
            (x, y) of each clip in the units of [`~motion_vectors.normalize_motion`]. Frame 0 is zero; so are the frames
            that a clip at the end of a video or a shot lacks.
        clip_starts (`list[int]`): Index of each clip's first frame among the sampled ones.
        clip_lengths (`list[int]`): Frames of each clip, at most `num_frames`.
        is_keyframe (`torch.BoolTensor` of shape `(num_sampled_frames,)`): Which sampled frames the encoder made
            keyframes (I frames).
        source_indices (`list[int]`): Index of each sampled frame in the original video.
        width (`int`): Width of the upright video, in pixels.
        height (`int`): Height of the upright video, in pixels.
        num_source_frames (`int`): Frames of the original video.
        source_fps (`float`, *optional*): Average frames per second of the original video, where it is known.
        duration (`float`): Duration of the original video, in seconds.
        fps (`float`): Sampled frames per second.
    """

    keyframes: list[Any]
    motion_vectors: torch.FloatTensor
    clip_starts: list[int]
    clip_lengths: list[int]
    is_keyframe: torch.BoolTensor
    source_indices: list[int]
    width: int
    height: int
    num_source_frames: int
    source_fps: float | None
    duration: float
    fps: float


def extract_clips(
    video: str | os.PathLike | bytes | BinaryFile | VideoFileFrames | ArrayFrames,
    fps: float = 6,
    num_frames: int = 24,
    max_clips: int = 8,
    clip_sampling: str = "alternate",
    motion_size: tuple[int, int] | None = (20, 36),
    motion_scale_factor: float = 10.0,
    keyframe_transform: Callable[[np.ndarray], Any] | None = None,
    do_sample_frames: bool = True,
) -> VideoClips:
    """
    Decodes a video, encodes it as MPEG-4 Part 2 and takes the clips' keyframes and motion vectors from there.

    The video streams through: what is kept is the motion at `motion_size`, and the frames that may become keyframes, as
    `keyframe_transform` leaves them.

    Args:
        video (`str`, `os.PathLike`, `bytes`, binary file object, [`VideoFileFrames`] or [`ArrayFrames`]): The video.
        fps (`float`, defaults to 6): Sampled frames per second.
        num_frames (`int`, defaults to 24): Frames of a clip. What a shorter clip lacks is zero motion.
        max_clips (`int`, defaults to 8): Largest number of clips; of more, an evenly spaced choice is taken. `"all"`
            takes no notice of it.
        clip_sampling (`str`, defaults to `"alternate"`): Which clips to take.

            - `"alternate"`: every second keyframe of an undisturbed encoding starts a clip, as in the reference
              implementation (see [`alternate_clip_starts`]). Most clips with a scene cut are left out by this, not all.
            - `"shots"`: the video is cut into shots. A shot's first frame starts a clip, and more clips follow in the
              same shot as long as they are complete, so no clip spans a cut. Fades and dissolves don't count as cuts.
            - `"all"`: every sampled frame is in exactly one clip.
        motion_size (`tuple[int, int]`, *optional*, defaults to `(20, 36)`): Height and width of the motion field. `None`
            keeps the codec's own: one vector for each macroblock of 16 x 16 pixels.
        motion_scale_factor (`float`, defaults to 10.0): 10 for the tenths of a standard deviation that the motion
            tokenizer and the video detokenizer's pipeline take, 1 for standard deviations.
        keyframe_transform (`Callable`, *optional*): Applied to each keyframe at once, so that only its result is kept.
        do_sample_frames (`bool`, defaults to `True`): Whether to resample to `fps`. Otherwise every frame is taken, as
            if there were `fps` of them per second.

    Returns:
        [`VideoClips`]

    Raises:
        `VideoDecodingError`: if the video can't be decoded, or has no two frames at `fps`.
        `ValueError`: if an argument is out of range.

    Example:

    ```python
    >>> from transformers_videolavit.clip_sampling import extract_clips

    >>> clips = extract_clips("tests/fixtures/videos/city_timelapse.mp4", clip_sampling="shots")
    >>> clips.clip_starts, clips.clip_lengths, clips.motion_vectors.shape
    ([0, 28], [24, 18], torch.Size([2, 2, 24, 20, 36]))
    ```"""
    check_frame_rate(fps, "`fps`")
    if num_frames < 2:
        raise ValueError(f"`num_frames` must be at least 2, but it is {num_frames}.")
    if max_clips < 1:
        raise ValueError(f"`max_clips` must be at least 1, but it is {max_clips}.")
    if clip_sampling not in CLIP_SAMPLINGS:
        raise ValueError(f"`clip_sampling` must be one of {CLIP_SAMPLINGS}, but it is {clip_sampling!r}.")
    if not isinstance(video, VideoFileFrames | ArrayFrames):
        video = VideoFileFrames(video)

    codec = shot_detector = None
    shot_start = 0
    clip_starts, shot_starts = [], []
    candidates = _AlternateCandidates()
    keyframes, fields, new_fields, is_keyframe, source_indices = {}, [], [], [], []

    def normalize(fields: list[np.ndarray]) -> tuple[torch.Tensor, ...]:
        return normalize_motion(np.stack(fields), width, height, motion_size, motion_scale_factor).unbind()

    with closing(resample(video, fps if do_sample_frames else None)) as frames:
        for index, frame in enumerate(frames):
            if codec is None:
                width, height = frame.width, frame.height
                # Where the clips' starts are given, the encoder places no keyframes of its own between them.
                codec = MotionCodec(width, height, fps, detect_scene_cuts=clip_sampling == "alternate")
                shot_detector = _ShotDetector(width, height, fps) if clip_sampling == "shots" else None
            if shot_detector is not None and shot_detector.starts_shot(frame):
                shot_start = index
                shot_starts.append(index)
            starts_clip = clip_sampling != "alternate" and (index - shot_start) % num_frames == 0
            source_indices.append(frame.opaque)
            frame = codec.encode(frame, force_keyframe=starts_clip)
            if starts_clip:
                clip_starts.append(index)
            if starts_clip or (clip_sampling == "alternate" and frame.key_frame and candidates.add(index)):
                keyframe = frame.to_ndarray(format="rgb24")
                keyframes[index] = keyframe if keyframe_transform is None else keyframe_transform(keyframe)
            new_fields.append(macroblock_motion(frame)[0])
            if len(new_fields) == _FIELDS_AT_ONCE:
                fields.extend(normalize(new_fields))
                new_fields.clear()
            is_keyframe.append(bool(frame.key_frame))
    if new_fields:
        fields.extend(normalize(new_fields))
    if len(fields) < 2:
        raise VideoDecodingError(
            f"{video.name} has {video.num_frames} frames in {video.duration:.2f} s, which give {len(fields)} at {fps} "
            "frames per second, but motion takes at least 2. A single frame can be passed as an image."
        )

    clip_ends = dict(zip(clip_starts, [*clip_starts[1:], len(fields)]))
    if clip_sampling == "alternate":
        keyframe_indices = [index for index, key in enumerate(is_keyframe) if key]
        clip_starts = alternate_clip_starts(keyframe_indices, len(fields), max_clips, num_frames)
        clip_ends = {start: len(fields) for start in clip_starts}
    elif clip_sampling == "shots":
        clip_starts = [
            start for start in clip_starts if start in shot_starts or clip_ends[start] - start == num_frames
        ]
        clip_starts = _evenly_spaced(clip_starts, max_clips)
    clip_lengths = [min(num_frames, clip_ends[start] - start) for start in clip_starts]
    return VideoClips(
        keyframes=[keyframes[start] for start in clip_starts],
        motion_vectors=_stack_motion(fields, clip_starts, clip_lengths, num_frames),
        clip_starts=clip_starts,
        clip_lengths=clip_lengths,
        is_keyframe=torch.tensor(is_keyframe),
        source_indices=source_indices,
        width=width,
        height=height,
        num_source_frames=video.num_frames,
        source_fps=video.frame_rate,
        duration=video.duration,
        fps=fps,
    )


def alternate_clip_starts(
    keyframe_indices: list[int], num_sampled_frames: int, max_clips: int = 8, num_frames: int = 24
) -> list[int]:
    """
    The reference implementation's choice of clips.

    The encoder places extra keyframes at scene cuts. Keyframes with the regular distance to the next one, and with
    enough frames after them, are preferred; if there are fewer than two, all keyframes are taken. Every second one of
    them starts a clip, and `max_clips` evenly spaced ones are chosen if there are more.

    Args:
        keyframe_indices (`list[int]`): Indices of the keyframes among the sampled frames, in ascending order.
        num_sampled_frames (`int`): Number of sampled frames.
        max_clips (`int`, defaults to 8): Largest number of clips.
        num_frames (`int`, defaults to 24): Frames of a clip.

    Returns:
        `list[int]`: Indices of the clips' first frames.

    Example:

    ```python
    >>> from transformers_videolavit.clip_sampling import alternate_clip_starts

    >>> alternate_clip_starts([0, 12, 24, 36, 48, 60, 72], 84)
    [12, 36, 60]
    ```"""
    regular = [
        index
        for index, following in itertools.pairwise(keyframe_indices)
        if following - index == KEYFRAME_INTERVAL and num_sampled_frames - index >= num_frames
    ]
    indices = regular if len(regular) >= 2 else keyframe_indices
    if len(indices) / 2 > max_clips:
        return _evenly_spaced(indices[1::2], max_clips)
    return indices[1::2] if len(indices) > 2 else indices[::2]


class _AlternateCandidates:
    """
    Which keyframes [`alternate_clip_starts`] may choose, told before the keyframes that follow are known: those at an
    odd position, or the first one, among all keyframes or among the regular ones.
    """

    def __init__(self):
        self._num_keyframes = 0
        self._num_regular = 0
        self._previous = None

    def add(self, index: int) -> bool:
        """Takes the next keyframe and tells whether it may be chosen."""
        if self._previous is not None and index - self._previous == KEYFRAME_INTERVAL:
            self._num_regular += 1
        positions = (self._num_keyframes, self._num_regular)
        self._num_keyframes += 1
        self._previous = index
        return any(position == 0 or position % 2 == 1 for position in positions)


class _ShotDetector:
    """
    Finds cuts by what the codec itself can't do: where most of a frame has nothing to be predicted from in the previous
    one, a new shot begins. That is robust to camera motion, which frame differences are not. Where it is a smaller part,
    the frame's layout must have changed, too.
    """

    def __init__(self, width: int, height: int, fps: float):
        scale = min(1.0, _CUT_DETECTION_SIZE / max(width, height))
        self._size = tuple(max(16, round(size * scale / 2) * 2) for size in (width, height))
        self._codec = MotionCodec(*self._size, fps, keyframe_interval=2**31 - 1, detect_scene_cuts=False)
        self._layout = None

    def starts_shot(self, frame: av.VideoFrame) -> bool:
        """Takes the next frame and tells whether a shot starts with it."""
        layout = frame.reformat(_LAYOUT_SIZE, _LAYOUT_SIZE, format="gray", interpolation="AREA").to_ndarray()
        layout = layout.astype(np.float64) - layout.mean()
        previous, self._layout = self._layout, layout
        _, is_predicted = macroblock_motion(self._codec.encode(frame.reformat(*self._size, interpolation="AREA")))
        share = 1 - is_predicted.mean()
        if share >= _CUT_THRESHOLD or previous is None:
            return True
        norms = np.linalg.norm(layout) * np.linalg.norm(previous)
        is_unlike = (layout * previous).sum() < _UNLIKE_FRAMES_CORRELATION * norms
        return bool(share >= _CUT_THRESHOLD_OF_UNLIKE_FRAMES and is_unlike)


def _evenly_spaced(indices: list[int], max_count: int) -> list[int]:
    if len(indices) <= max_count:
        return indices
    return [indices[int(position)] for position in np.linspace(0, len(indices) - 1, max_count)]


def _stack_motion(
    fields: list[torch.Tensor], clip_starts: list[int], clip_lengths: list[int], num_frames: int
) -> torch.FloatTensor:
    motion = torch.zeros(len(clip_starts), num_frames, *fields[0].shape)  # (clips, frames, 2, height, width)
    for clip, start, length in zip(motion, clip_starts, clip_lengths):
        torch.stack(fields[start : start + length], out=clip[:length])
        # A keyframe has no motion of its own. Within a clip, its neighbours' mean stands in for it.
        clip[0] = 0
        for index in range(KEYFRAME_INTERVAL, min(length, num_frames - 1), KEYFRAME_INTERVAL):
            clip[index] = (clip[index - 1] + clip[index + 1]) / 2
    return motion.transpose(1, 2).contiguous()
