"""The demo: its drawings, and its page at a small size."""

import importlib
import json
import re

import av
import numpy as np
import pytest
from PIL import Image
from small_checkpoint import write_small_release

from diffusers_videolavit import VideoLaVITDetokenizerPipeline


@pytest.fixture
def media():
    return importlib.import_module("demo_media")


@pytest.fixture
def run_demo(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["demo.py", *map(str, arguments)])
        importlib.import_module("demo").main()

    return run


def test_colors_tell_direction_and_speed(media):
    motion = np.array([[1.0, -1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])[:, None]  # right, left, still, slowly right
    right, left, still, slow = media.motion_to_rgb(motion, maximum=1.0)[0].tolist()
    assert right == [255, 0, 0]
    assert left == [0, 255, 255]
    assert still == [255, 255, 255]
    assert slow == [255, 128, 128]


def test_arrows_point_along_the_motion(media):
    frame = np.zeros((64, 64, 3), np.uint8)
    still = media.draw_arrows(frame, np.zeros((2, 1, 1)), maximum=20.0)
    moved = media.draw_arrows(frame, np.array([[[40.0]], [[0.0]]]), maximum=20.0)
    rows, columns = np.nonzero(np.abs(moved.astype(int) - still).max(-1) > 60)
    assert columns.max() - columns.min() > 30 and rows.max() - rows.min() < 16
    # The head is at the right end, where the arrow is thicker.
    assert np.ptp(rows[columns > 44]) > np.ptp(rows[columns < 20])


def test_blocks_move_along(media):
    keyframe = np.zeros((32, 48, 3), np.uint8)
    keyframe[:16, :16] = 200
    motion = np.zeros((3, 2, 2, 3))
    motion[1, 0, 0, 1] = motion[2, 0, 0, 2] = 16.0  # what is in the first block comes to the second, then to the third
    frames = media.motion_compensate(keyframe, motion)
    assert frames.shape == (3, 32, 48, 3)
    assert (frames[0] == keyframe).all()
    assert (frames[1, :16, 16:32] == 200).all() and (frames[1, 16:] == 0).all()
    assert (frames[2, :16] == 200).all()


def test_dropped_patches_are_dark(media):
    frame = np.full((28, 28, 3), 180, np.uint8)
    drawn = media.draw_kept_patches(frame, np.array([[True, False], [False, True]]))
    assert (drawn[:14, :14] == 180).all() and (drawn[14:, 14:] == 180).all()
    assert drawn[:14, 14:].max() < 80


@pytest.mark.parametrize(("codecs", "suffix"), [(av.codecs_available, ".mp4"), (frozenset(), ".webp")])
def test_videos_are_playable(media, monkeypatch, tmp_path, codecs, suffix):
    monkeypatch.setattr("av.codecs_available", codecs)
    frames = np.zeros((5, 33, 47, 3), np.uint8)
    frames[3:] = 220
    file = media.write_video(tmp_path / "video", frames, fps=6)
    assert file.suffix == suffix
    if suffix == ".webp":
        with Image.open(file) as image:
            assert image.n_frames == 2  # equal frames are shown longer
        return
    with av.open(file) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, float(stream.average_rate)) == ("h264", "yuv420p", 6.0)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 5
    assert decoded[0].mean() < 10 and decoded[4].mean() > 200


def test_page(run_demo, tmp_path):
    folder = tmp_path / "outputs" / "demo"
    arguments = ["--random_weights", "--output_dir", folder, "--height", 64, "--width", 64, "--num_inference_steps", 1]
    run_demo(*arguments, "--max_new_tokens", 2, "--questions", "Is <this> a test?", "What is it?")
    page = (folder / "index.html").read_text(encoding="utf-8")

    assert "small models of the real classes with random weights" in page and "videolavit-tiny" not in page
    assert "Is &lt;this&gt; a test?" in page and "What is it?" in page
    assert page.count("Answer, random weights") == 2
    assert "Blender Foundation" in page
    assert not re.search(r"(src|href)=\"(https?:|/)", page)
    sources = re.findall(r'src="([^"]+)"', page)
    assert sorted(f"media/{file.name}" for file in (folder / "media").iterdir()) == sorted(sources)
    lengths = {}
    for source in sources:
        if source.endswith(".mp4"):
            with av.open(folder / source) as container:
                lengths[source] = sum(1 for _ in container.decode(video=0))
    assert (
        lengths["media/clip_codec.mp4"] == lengths["media/clip_tokens.mp4"] == lengths["media/clip_original.mp4"] == 24
    )
    assert lengths["media/prompt_one_clip.mp4"] == 24
    assert lengths["media/prompt_two_clips.mp4"] == 47

    # 256 patches × 6 frames a second against the counted tokens of a 4-second clip.
    visual, motion, marks = map(int, re.search(r"(\d+) visual \+ (\d+) motion \+ (\d+) marks", page).groups())
    assert (motion, marks) == (135, 4)
    rates = [int(value.replace(",", "")) for value in re.findall(r'class="value">([\d,]+)<', page)]
    assert rates[0] == 256 * 6 and rates[2] == round((visual + motion + marks) / 4)
    assert [child.name for child in folder.parent.iterdir()] == ["demo"]


@pytest.mark.parametrize("continuous_keyframe", [False, True])
def test_page_of_a_checkpoint(run_demo, tmp_path, monkeypatch, continuous_keyframe):
    generate_tokens = VideoLaVITDetokenizerPipeline.generate_tokens
    reads_images = []

    def record(pipe, *args, images=None, **kwargs):
        reads_images.append(images is not None)
        return generate_tokens(pipe, *args, images=images, **kwargs)

    monkeypatch.setattr(VideoLaVITDetokenizerPipeline, "generate_tokens", record)
    checkpoint = write_small_release(tmp_path)
    index = checkpoint / "video-lavit-detokenizer" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "continuous_keyframe": continuous_keyframe}))
    folder = tmp_path / "demo"
    run_demo("--checkpoint", checkpoint, "--output_dir", folder, "--num_inference_steps", 1, "--max_new_tokens", 2)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "random weights" not in page and "Blender" not in page
    assert ("reads the keyframe as an image" in page) is continuous_keyframe
    # The tokens that are shown, and the video of two clips
    assert reads_images == ([False, True] * 2 if continuous_keyframe else [False] * 2)
    assert "In which direction does the object move?" in page and "a large red circle moves right fast" in page
    with av.open(folder / "media" / "original.mp4") as container:  # the scene of the small world, enlarged
        assert sum(1 for _ in container.decode(video=0)) == 24


def test_an_incomplete_checkpoint_is_refused(run_demo, tmp_path, capsys):
    (tmp_path / "video-lavit").mkdir()
    with pytest.raises(SystemExit):
        run_demo("--checkpoint", tmp_path)
    assert "has no video-lavit-sft" in capsys.readouterr().err


def test_a_failure_leaves_the_old_page_alone(run_demo, tmp_path, capsys):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "index.html").write_text("old")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    with pytest.raises(SystemExit, match="broken.mp4"):
        run_demo("--random_weights", "--video", broken, "--output_dir", folder)
    assert (folder / "index.html").read_text() == "old"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["broken.mp4", "demo"]

    (folder / "index.html").unlink()
    with pytest.raises(SystemExit):
        run_demo("--random_weights", "--output_dir", folder)
    assert "is not replaced" in capsys.readouterr().err


def test_the_example_shows_what_the_questions_ask_about(tmp_path):
    from small_world.dataset import SmallWorldOptions, video_sample

    demo = importlib.import_module("demo")
    path = demo.render_example(tmp_path)
    options = SmallWorldOptions(demo.EXAMPLE_SEED, "test", (1, 1), 1, (192, 192))
    sample = video_sample(options, int(path.stem.rpartition("_")[2]))
    asked = {question.question for question in sample.questions if question.type == "motion"}
    assert set(demo.QUESTIONS[2:]) <= asked and path.stat().st_size > 0
