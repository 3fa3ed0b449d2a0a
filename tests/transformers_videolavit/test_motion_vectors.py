"""The codec's motion vectors, against the reference's fields and computations written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from videos import moving_frames

from transformers_videolavit.clip_sampling import _stack_motion
from transformers_videolavit.motion_vectors import (
    MOTION_STD,
    MotionCodec,
    codec_versions,
    macroblock_motion,
    normalize_motion,
)
from transformers_videolavit.video_decoding import ArrayFrames, VideoDecodingError, resample


FIXTURES = Path(__file__).parents[1] / "fixtures" / "tiny"


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURES / "preprocessing.safetensors") | load_file(FIXTURES / "macroblock_motion.safetensors")


def encode(frames, **arguments):
    codec = MotionCodec(frames.shape[2], frames.shape[1], 6, **arguments)
    return [codec.encode(frame) for frame in resample(ArrayFrames(frames, frame_rate=6), None)]


@pytest.mark.parametrize("name", ["31200691", "video7013"])
def test_golden_motion_of_real_videos(golden, name):
    width, height = golden[f"{name}/size"].tolist()
    fields = [
        normalize_motion(field.double().numpy() / 4, width, height, (20, 36), 10.0)
        for field in golden[f"{name}/macroblock_motion"]
    ]
    motion = _stack_motion(fields, [0], [24], 24)
    torch.testing.assert_close(motion[0], golden[f"{name}/motion_vectors"][0], rtol=0, atol=1e-5)
    assert motion[0, :, 0].abs().max() == 0
    torch.testing.assert_close(motion[0, :, 12], (motion[0, :, 11] + motion[0, :, 13]) / 2)


@pytest.mark.parametrize("size", [(96, 128), (100, 130), (90, 122)])
def test_macroblock_motion_equals_the_rule_written_out(size):
    generator = np.random.default_rng(0)
    frames = moving_frames(4, *size, shift=3)
    frames[2:, : size[0] // 2] = generator.integers(0, 256, (2, size[0] // 2, size[1], 3))
    for decoded in encode(frames, detect_scene_cuts=False):
        vectors = decoded.side_data.get("MOTION_VECTORS")
        at_pixel = {}
        for vector in [] if vectors is None else vectors.to_ndarray():
            x = min(max(int(vector["dst_x"]), 0), size[1] - 1)
            y = min(max(int(vector["dst_y"]), 0), size[0] - 1)
            scale = int(vector["source"]) / int(vector["motion_scale"])
            at_pixel[y, x] = (scale * int(vector["motion_x"]), scale * int(vector["motion_y"]))
        expected = np.zeros((2, -(-size[0] // 16), -(-size[1] // 16)))
        is_covered = np.zeros(expected.shape[1:], dtype=bool)
        for (y, x), displacement in at_pixel.items():
            block = (y // 16, x // 16)
            for component in range(2):
                known = expected[component][block] if is_covered[block] else -np.inf
                expected[component][block] = max(known, displacement[component])
            is_covered[block] = True
        field, has_vector = macroblock_motion(decoded)
        np.testing.assert_array_equal(field, expected)
        np.testing.assert_array_equal(has_vector, is_covered)


def test_motion_of_a_moving_texture():
    first, *others = encode(moving_frames(6, shift=4))
    assert first.key_frame and not macroblock_motion(first)[1].any()
    for decoded in others:
        field, has_vector = macroblock_motion(decoded)
        assert has_vector.mean() > 0.5
        assert np.median(field[0][has_vector]) == 4 and np.median(field[1][has_vector]) == 0


def test_units():
    field = np.ones((2, 6, 8))
    motion = normalize_motion(field, 128, 96, None, 10.0)
    assert motion.dtype == torch.float32
    torch.testing.assert_close(motion[0, 0, 0], torch.tensor(10 / (128 * MOTION_STD[0])))
    torch.testing.assert_close(motion[1, 0, 0], torch.tensor(10 / (96 * MOTION_STD[1])))
    torch.testing.assert_close(normalize_motion(field, 128, 96, (20, 36), 1.0)[:, 3, 3] * 10, motion[:, 0, 0])


def test_keyframe_interval_and_forced_keyframes():
    frames = moving_frames(26)
    assert [index for index, frame in enumerate(encode(frames)) if frame.key_frame] == [0, 12, 24]
    codec = MotionCodec(128, 96, 6, detect_scene_cuts=False)
    sampled = resample(ArrayFrames(frames[:10], frame_rate=6), None)
    keyframes = [codec.encode(frame, force_keyframe=index == 5).key_frame for index, frame in enumerate(sampled)]
    assert [index for index, is_keyframe in enumerate(keyframes) if is_keyframe] == [0, 5]


def test_sizes_that_mpeg4_cannot_encode_are_refused():
    with pytest.raises(VideoDecodingError, match="9000 x 96"):
        MotionCodec(9000, 96, 6)


def test_codec_versions_tell_what_tokens_depend_on():
    versions = codec_versions()
    assert versions["encoder_threads"] == 1 and versions["keyframe_interval"] == 12
    assert {"pyav", "libavcodec", "libswscale"} <= versions.keys()
