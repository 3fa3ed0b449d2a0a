"""Which clips are taken."""

import numpy as np
import pytest
import torch
from videos import encode_video, moving_frames

from transformers_videolavit.clip_sampling import alternate_clip_starts, extract_clips
from transformers_videolavit.video_decoding import ArrayFrames


@pytest.fixture(scope="module")
def three_shots():
    """Cuts at frames 30 and 41."""
    return np.concatenate([moving_frames(length, seed=seed) for seed, length in enumerate((30, 11, 27))])


@pytest.mark.parametrize(
    ("keyframes", "num_frames", "max_clips", "expected"),
    [
        ([0, 12, 24, 36, 48, 60, 72], 78, 8, [12, 36]),
        ([0, 12, 24, 36, 48, 60, 72], 84, 8, [12, 36, 60]),
        ([0], 5, 8, [0]),
        ([0, 12], 24, 8, [0]),
        ([0, 12, 24], 36, 8, [0]),
        ([0, 12, 24, 36], 48, 8, [12]),
        # Frame 12 has no regular distance to the keyframe that a cut put at frame 19.
        ([0, 12, 19, 31, 43, 55], 67, 8, [19, 43]),
        # Fewer than two regular ones: all are taken.
        ([0, 7, 15], 20, 8, [7]),
        (list(range(0, 480, 12)), 480, 4, [12, 156, 300, 444]),
    ],
)
def test_the_reference_rule(keyframes, num_frames, max_clips, expected):
    assert alternate_clip_starts(keyframes, num_frames, max_clips) == expected


def test_alternate_clips_of_a_video():
    frames = moving_frames(90)
    clips = extract_clips(ArrayFrames(frames, frame_rate=6))
    assert clips.clip_starts == alternate_clip_starts([0, 12, 24, 36, 48, 60, 72, 84], 90)
    assert clips.motion_vectors.shape == (len(clips.clip_starts), 2, 24, 20, 36)
    for keyframe, start in zip(clips.keyframes, clips.clip_starts):
        assert np.abs(keyframe.astype(int) - frames[start]).mean() < 12


def test_all_covers_every_frame_once():
    clips = extract_clips(ArrayFrames(moving_frames(60), frame_rate=6), clip_sampling="all", max_clips=1)
    assert clips.clip_starts == [0, 24, 48] and clips.clip_lengths == [24, 24, 12]
    assert clips.motion_vectors[2, :, 12:].abs().max() == 0
    assert clips.motion_vectors[2, :, 11].abs().max() > 0


def test_no_clip_of_shots_spans_a_cut(three_shots):
    clips = extract_clips(ArrayFrames(three_shots, frame_rate=6), clip_sampling="shots")
    assert clips.clip_starts == [0, 30, 41] and clips.clip_lengths == [24, 11, 24]
    for start, length in zip(clips.clip_starts, clips.clip_lengths):
        assert not any(start < cut < start + length for cut in (30, 41))
    few = extract_clips(ArrayFrames(three_shots, frame_rate=6), clip_sampling="shots", max_clips=2)
    assert few.clip_starts == [0, 41]


def test_shots_of_an_encoded_file(three_shots):
    clips = extract_clips(encode_video(three_shots), clip_sampling="shots")
    assert clips.clip_starts == [0, 30, 41]


def test_a_video_shorter_than_a_clip_is_padded():
    clips = extract_clips(ArrayFrames(moving_frames(7), frame_rate=6))
    assert clips.clip_starts == [0] and clips.clip_lengths == [7]
    assert clips.motion_vectors.shape == (1, 2, 24, 20, 36)
    assert clips.motion_vectors[0, :, 1:7].abs().amax(dim=(0, 2, 3)).min() > 0
    assert clips.motion_vectors[0, :, 7:].abs().max() == 0


def test_motion_at_any_grid():
    frames = ArrayFrames(moving_frames(24), frame_rate=6)
    assert extract_clips(frames, motion_size=(5, 7)).motion_vectors.shape == (1, 2, 24, 5, 7)
    native = extract_clips(frames, motion_size=None, motion_scale_factor=1.0)
    assert native.motion_vectors.shape == (1, 2, 24, 6, 8)
    scaled = extract_clips(frames, motion_size=None, motion_scale_factor=10.0)
    torch.testing.assert_close(native.motion_vectors * 10, scaled.motion_vectors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_sampling": "random"}, "clip_sampling.*'random'"),
        ({"fps": 0}, "fps"),
        ({"num_frames": 1}, "num_frames.* it is 1"),
        ({"max_clips": 0}, "max_clips.* it is 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        extract_clips(ArrayFrames(moving_frames(24), frame_rate=6), **arguments)
