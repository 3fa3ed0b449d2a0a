"""The video processor: every kind of video, the same result whatever the way, clear refusals, nothing left open."""

import http.server
import io
import os
import subprocess
import sys
import threading
import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoVideoProcessor
from transformers.video_utils import VideoMetadata
from videos import encode_video, moving_frames, turn_video

from transformers_videolavit import VideoDecodingError, VideoLaVITVideoProcessor


FIXTURES = Path(__file__).parents[1] / "fixtures"
CITY = FIXTURES / "videos" / "city_timelapse.mp4"


@pytest.fixture(scope="module")
def processor():
    return VideoLaVITVideoProcessor()


@pytest.fixture(scope="module")
def city(processor):
    return processor(str(CITY), clip_sampling="all", return_tensors="pt")


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


# Every way in


def test_kinds_of_files_agree(processor, city):
    for video in (CITY, CITY.read_bytes(), io.BytesIO(CITY.read_bytes())):
        assert_equal(processor(video, clip_sampling="all", return_tensors="pt"), city)
    with open(CITY, "rb") as file:
        assert_equal(processor(file, clip_sampling="all", return_tensors="pt"), city)
        assert not file.closed


def test_url(processor, city, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=CITY.parent)
    handler.log_message = lambda *arguments: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}"
            assert_equal(processor(f"{address}/{CITY.name}", clip_sampling="all", return_tensors="pt"), city)
            with pytest.raises(VideoDecodingError, match="missing.mp4"):
                processor(f"{address}/missing.mp4")
        finally:
            server.shutdown()


def test_decoded_frames_of_every_form_agree(processor):
    frames = moving_frames(24)
    metadata = {"fps": 6.0, "total_num_frames": 24}
    expected = processor(frames, video_metadata=metadata, return_tensors="pt")
    assert expected["pixel_values_videos"].shape == (1, 3, 224, 224)
    forms = [
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        [Image.fromarray(frame) for frame in frames],
        list(frames),
        frames.astype(np.float32) / 255,
        np.concatenate([frames, np.full((*frames.shape[:3], 1), 255, np.uint8)], axis=-1),
    ]
    for form in forms:
        assert_equal(processor([form], video_metadata=[metadata], return_tensors="pt"), expected)
    assert_equal(processor(frames, video_metadata=[VideoMetadata(**metadata)], return_tensors="pt"), expected)
    assert_equal(processor(frames, do_sample_frames=False, return_tensors="pt"), expected)


def test_frames_are_sampled_by_their_frame_rate(processor):
    frames = moving_frames(48, shift=1)
    sampled = processor(frames, video_metadata={"fps": 12.0, "total_num_frames": 48}, return_tensors="pt")
    assert_equal(sampled, processor(frames[::2], video_metadata={"fps": 6.0}, return_tensors="pt"))


def test_batch_of_any_mix_equals_singles(processor, city):
    frames = moving_frames(30)
    videos = [str(CITY), frames, encode_video(frames)]
    metadata = [{}, {"fps": 6.0}, {}]
    batch = processor(videos, video_metadata=metadata, clip_sampling="all", return_tensors="pt")
    assert batch["num_clips"].tolist() == [2, 2, 2]
    start = 0
    for video, known, count in zip(videos, metadata, batch["num_clips"].tolist()):
        single = processor([video], video_metadata=[known], clip_sampling="all", return_tensors="pt")
        for name in ("pixel_values_videos", "motion_vectors"):
            assert torch.equal(batch[name][start : start + count], single[name])
        start += count


# The same result always


def test_golden_keyframe(processor):
    golden = load_file(FIXTURES / "tiny" / "macroblock_motion.safetensors")["video7013/keyframe"].numpy()
    expected = load_file(FIXTURES / "tiny" / "preprocessing.safetensors")["video7013/pixel_values"][0]
    image = torch.from_numpy(np.array(Image.fromarray(golden).resize((224, 224), Image.Resampling.BICUBIC)))
    pixel_values = processor.rescale_and_normalize(
        image.permute(2, 0, 1)[None], True, 1 / 255, True, processor.image_mean, processor.image_std
    )
    torch.testing.assert_close(pixel_values[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cores", ["1", "2"])
def test_cores_and_repetition_change_nothing(city, cores, tmp_path):
    program = (
        "import os, sys, torch; os.sched_setaffinity(0, range(min(int(sys.argv[1]), os.cpu_count())));"
        "os.cpu_count = lambda: int(sys.argv[1]);"
        "from transformers_videolavit import VideoLaVITVideoProcessor as Processor;"
        "outputs = [Processor()(sys.argv[2], clip_sampling='all', return_tensors='pt') for _ in range(3)];"
        "torch.save([dict(output) for output in outputs], sys.argv[3])"
    )
    subprocess.run([sys.executable, "-c", program, cores, str(CITY), str(tmp_path / "outputs.pt")], check=True)
    for output in torch.load(tmp_path / "outputs.pt"):
        assert_equal(output, dict(city))


def test_regression_values_of_the_city(city):
    assert city["num_clips"].tolist() == [2]
    statistics = [city["motion_vectors"].abs().mean().item(), city["pixel_values_videos"].mean().item()]
    assert statistics == pytest.approx([0.5765, -0.0417], abs=0.005)


# What videos are like


def test_rotation_metadata(processor):
    frames = moving_frames(24, height=96, width=128)
    upright = processor(encode_video(frames), return_metadata=True)["video_metadata"][0]
    assert (upright.width, upright.height) == (128, 96)
    (clips,) = processor.extract_keyframes_and_motion(turn_video(encode_video(frames)), motion_scale_factor=1.0)
    assert (clips.width, clips.height) == clips.keyframes[0].size == (96, 128)
    # What moved to the right moves down.
    displacement = clips.motion_vectors[0, :, 1:12].flatten(1).median(dim=1).values
    assert displacement[1] > 0.01 and displacement[0].abs() < 1e-6
    difference = np.asarray(clips.keyframes[0]).astype(int) - np.rot90(frames[0], -1)
    assert np.abs(difference).mean() < 12


def test_variable_frame_rate(processor):
    frames = moving_frames(24, shift=1)
    # The first half at 24 frames per second, the second at 3.
    times = [round(1000 * index / 24) for index in range(12)] + [500 + round(1000 * index / 3) for index in range(12)]
    metadata = processor(encode_video(frames, fps=24, time_stamps=times), return_metadata=True)["video_metadata"][0]
    indices = metadata.frames_indices
    assert abs(len(indices) - 27) <= 2
    assert indices[1] - indices[0] >= 3, "frames that follow fast are skipped"
    assert indices[-3] == indices[-4] or indices[-3] == indices[-2], "frames that follow slowly are repeated"


@pytest.mark.parametrize("size", [(97, 131), (18, 50), (16, 16), (100, 34)])
def test_odd_sizes(processor, size):
    frames = moving_frames(24, *size)
    output = processor(frames, video_metadata={"fps": 6.0}, return_tensors="pt")
    assert output["pixel_values_videos"].shape == (1, 3, 224, 224)
    assert output["motion_vectors"].shape == (1, 2, 24, 20, 36)
    assert output["motion_vectors"].isfinite().all()


@pytest.mark.parametrize(
    ("codec", "pixel_format", "container", "channels"),
    [
        ("libx264", "yuv420p10le", "mp4", 3),
        ("ffv1", "gray", "matroska", 3),
        ("ffv1", "gray10le", "matroska", 3),
        ("png", "rgba", "mov", 4),
        ("libx264", "yuv444p", "matroska", 3),
    ],
)
def test_pixel_formats(processor, codec, pixel_format, container, channels):
    frames = moving_frames(24)
    if channels == 4:
        frames = np.concatenate([frames, np.full((*frames.shape[:3], 1), 255, np.uint8)], axis=-1)
    output = processor(
        encode_video(frames, codec=codec, pixel_format=pixel_format, container=container), return_tensors="pt"
    )
    plain = frames[..., :3]
    if "gray" in pixel_format:
        plain = np.stack([np.asarray(Image.fromarray(frame).convert("L").convert("RGB")) for frame in plain])
    expected = processor(plain, video_metadata={"fps": 6.0}, return_tensors="pt")
    difference = (output["pixel_values_videos"] - expected["pixel_values_videos"]).abs().mean()
    assert difference < 0.15


def test_transparent_frames_are_shown_over_white(processor):
    frames = np.zeros((24, 64, 64, 4), np.uint8)
    output = processor(frames, video_metadata={"fps": 6.0}, do_normalize=False, return_tensors="pt")
    assert output["pixel_values_videos"].min() > 0.95


def test_full_resolution_keyframes_and_motion_for_reconstruction(processor):
    (clips,) = processor.extract_keyframes_and_motion(str(CITY), motion_height=34, motion_width=60)
    assert clips.keyframes[0].size == (480, 270)
    assert clips.motion_vectors.shape == (1, 2, 24, 34, 60)
    with pytest.raises(ValueError, match="together"):
        processor.extract_keyframes_and_motion(str(CITY), motion_height=34)


def test_metadata_says_what_tokens_depend_on(processor):
    metadata = processor(str(CITY), return_metadata=True)["video_metadata"][0]
    assert metadata.codec["encoder_threads"] == 1 and metadata.codec["fps"] == 6
    assert metadata.clip_starts == [0] and metadata.clip_lengths == [24]
    assert (metadata.width, metadata.height) == (480, 270)


# Refusals


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((1, 2, 8000, 0, "NONE", ""))
        output.writeframes(b"\0\0" * 8000)
    return file.getvalue()


def bad_videos():
    city = CITY.read_bytes()
    return {
        "not a video": (b"this is no video" * 100, "not a readable video"),
        "audio only": (sound(), "no video stream"),
        "zero bytes": (b"", "not a readable video"),
        "truncated in the header": (city[:300], "not a readable video|truncated|no video stream"),
        "truncated in the middle": (
            encode_video(moving_frames(60), container="matroska")[:20000],
            "truncated|decoded",
        ),
        "truncated mp4": (city[: len(city) // 2], "truncated|not a readable video"),
        "one frame": (encode_video(moving_frames(1)), "at least 2"),
        "tiny frames": (encode_video(moving_frames(24, 8, 8), codec="ffv1", container="matroska"), "16"),
    }


@pytest.mark.parametrize("kind", bad_videos().keys())
@pytest.mark.parametrize("as_path", [False, True])
def test_bad_videos_are_refused_by_name(processor, kind, as_path, tmp_path):
    video, message = bad_videos()[kind]
    if as_path:
        path = tmp_path / "broken.mp4"
        path.write_bytes(video)
        video, message = path, f"broken.mp4.*({message})"
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VideoDecodingError, match=message):
        processor(video, clip_sampling="all")
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert os.listdir(tmp_path) == (["broken.mp4"] if as_path else [])


def test_missing_file(processor):
    with pytest.raises(VideoDecodingError, match=r"nowhere/clip\.mp4.*No such file"):
        processor("nowhere/clip.mp4")


def test_a_short_video_is_padded(processor):
    output = processor(encode_video(moving_frames(5)), return_tensors="pt")
    assert output["num_clips"].tolist() == [1]
    assert output["motion_vectors"][0, :, 5:].abs().max() == 0


@pytest.mark.parametrize(
    ("video", "arguments", "message"),
    [
        (moving_frames(24), {}, "fps"),
        (moving_frames(24), {"video_metadata": {"fps": 6.0}, "clip_sampling": "some"}, "clip_sampling.*'some'"),
        (moving_frames(24), {"video_metadata": {"fps": 6.0}, "max_clips": 0}, "max_clips"),
        (moving_frames(24), {"video_metadata": [{"fps": 6.0}] * 2}, "1 videos, but `video_metadata` describes 2"),
        (moving_frames(24).astype(np.float32) * 9, {"video_metadata": {"fps": 6.0}}, "0…255"),
        (
            moving_frames(24)[..., :2],
            {"video_metadata": {"fps": 6.0}, "input_data_format": "channels_last"},
            "channels",
        ),
        (["frame_0.png", "frame_1.png"], {}, "No such file|sampled|do_sample_frames"),
        (moving_frames(24), {"video_metadata": {"fps": 6.0}, "do_convert_rgb": False}, "do_convert_rgb"),
    ],
)
def test_bad_arguments_are_refused(processor, video, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor([video] if isinstance(video, list) else video, **arguments)


# As a processor of transformers


def test_round_trips(tmp_path):
    processor = VideoLaVITVideoProcessor(max_clips=3, clip_sampling="shots", size={"height": 32, "width": 40})
    processor.save_pretrained(tmp_path)
    for loaded in (
        VideoLaVITVideoProcessor.from_pretrained(tmp_path),
        AutoVideoProcessor.from_pretrained(tmp_path),
        VideoLaVITVideoProcessor.from_dict(processor.to_dict()),
    ):
        assert type(loaded) is VideoLaVITVideoProcessor
        assert loaded.to_dict() == processor.to_dict()
    frames = moving_frames(24)
    output = loaded(frames, video_metadata={"fps": 6.0}, return_tensors="pt")
    assert output["pixel_values_videos"].shape == (1, 3, 32, 40)


def test_outputs_are_the_announced_ones(processor, city):
    assert set(city.keys()) == set(processor.model_input_names)


def test_calls_leave_the_processor_as_it_was(processor):
    before = processor.to_dict()
    processor(moving_frames(24), video_metadata={"fps": 3.0}, fps=3, max_clips=1, do_normalize=False)
    assert processor.to_dict() == before


def test_explicit_none_survives():
    assert VideoLaVITVideoProcessor(max_clips=None).max_clips is None


def test_to_casts_floats_only(city):
    cast = city.to(torch.float16)
    assert cast["pixel_values_videos"].dtype == cast["motion_vectors"].dtype == torch.float16
    assert cast["num_clips"].dtype == torch.int64


def test_numpy_and_lists(processor):
    output = processor(moving_frames(24), video_metadata={"fps": 6.0}, return_tensors="np")
    assert isinstance(output["motion_vectors"], np.ndarray)
    assert output["motion_vectors"].shape == (1, 2, 24, 20, 36)
