"""Clips of videos and images as training data."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from training_media import textured_frames, write_damaged_png, write_images, write_videos

from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITVideoProcessor


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), 4, num_frames=40)


def make_dataset(folder, **kwargs):
    from training.clips import VideoClipDataset, find_media

    return VideoClipDataset(find_media([str(folder)], "video"), VideoLaVITVideoProcessor(), **kwargs)


def test_a_clip_has_keyframe_motion_and_frames(videos):
    item = make_dataset(videos, frame_size=(32, 48))[0]
    assert item["pixel_values"].shape == (3, 224, 224) and item["motion_vectors"].shape == (2, 24, 20, 36)
    assert item["frames"].shape == (24, 3, 32, 48) and item["frames"].min() >= -1 and item["frames"].max() <= 1
    assert not item["motion_vectors"][:, 0].any()
    # The texture moves right and down.
    assert item["motion_vectors"][0, 5].median() > 0 and item["motion_vectors"][1, 5].median() > 0


def test_the_clip_at_the_beginning_is_what_the_video_processor_makes_of_the_video(tmp_path):
    from training.clips import read_frames

    folder = write_videos(tmp_path, 1, num_frames=24)
    frames = read_frames(str(folder / "0.mp4"), 6, 24, 0.99)
    assert frames.shape == (24, 64, 96, 3)
    item = make_dataset(folder)[0]
    video = VideoLaVITVideoProcessor()(str(folder / "0.mp4"), clip_sampling="all", return_tensors="pt")
    difference = (item["motion_vectors"] - video["motion_vectors"][0]).abs()
    # Frames go through RGB once more than in the processor: a few vectors differ.
    assert (difference > 0.1).float().mean() < 0.05
    assert (item["pixel_values"] - video["pixel_values_videos"][0]).abs().mean() < 0.05


def test_the_place_depends_on_seed_epoch_and_index_only(videos):
    dataset = make_dataset(videos, frame_size=(32, 48))
    first = [dataset[index]["frames"] for index in range(4)]
    again = [dataset[index]["frames"] for index in (3, 2, 1, 0)][::-1]
    assert all(torch.equal(left, right) for left, right in zip(first, again))
    dataset.set_epoch(1)
    assert any(not torch.equal(left, dataset[index]["frames"]) for index, left in enumerate(first))
    other = make_dataset(videos, frame_size=(32, 48), seed=1)
    assert any(not torch.equal(left, other[index]["frames"]) for index, left in enumerate(first))


def test_a_short_video_ends_in_still_frames(tmp_path):
    item = make_dataset(write_videos(tmp_path, 1, num_frames=10), frame_size=(32, 48))[0]
    assert (item["frames"][10:] == item["frames"][9]).all() and not item["motion_vectors"][:, 10:].any()


def test_frames_are_cut_to_the_aspect_ratio_before_they_are_resized():
    from training.clips import crop_to_aspect, resize_frames

    frames = textured_frames(0, num_frames=2, height=60, width=100)
    wide, tall = crop_to_aspect(frames, (10, 40)), crop_to_aspect(frames, (40, 20))
    assert wide.shape[1:3] == (25, 100) and tall.shape[1:3] == (60, 30)
    assert np.array_equal(wide, frames[:, 17:42])
    assert resize_frames(tall, (40, 20)).shape == (2, 3, 40, 20)


def test_an_unreadable_video_is_named_and_replaced_in_the_same_way_each_time(videos, tmp_path, caplog):
    from transformers.utils import logging

    for path in videos.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "2.mp4").write_bytes(b"broken")
    logging.enable_propagation()
    dataset = make_dataset(tmp_path)
    assert torch.equal(dataset[2]["motion_vectors"], dataset[2]["motion_vectors"])
    assert "2.mp4' is left out" in caplog.text


@pytest.mark.parametrize("damage", ["chunk", "size", "decoder"])
def test_whatever_is_wrong_with_an_image_it_is_named_and_replaced(tmp_path, caplog, monkeypatch, damage):
    from training import clips
    from transformers.utils import logging

    files = [str(write_images(tmp_path, 3) / f"{index}.png") for index in range(3)]
    if damage == "chunk":
        write_damaged_png(tmp_path / "1.png")
    elif damage == "size":
        Image.new("RGB", (300, 300)).save(tmp_path / "1.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    else:
        load_image = clips.load_image

        def load(file):
            if file == files[1]:
                raise av.error.ExternalError(1, "no memory")
            return load_image(file)

        monkeypatch.setattr(clips, "load_image", load)
    logging.enable_propagation()
    item = clips.ImageDataset(files, VideoLaVITImageProcessor())[1]
    assert item["pixel_values"].shape == (3, 224, 224)
    assert "1.png' is left out" in caplog.text


def test_a_clip_is_within_the_video_where_the_sound_is_longer(tmp_path):
    from training.clips import read_frames

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=6), container.add_stream("aac", rate=16000)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for frame in textured_frames(0, num_frames=30, height=64, width=96):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(video.encode())
        for index in range(20 * 16000 // 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts, silence.time_base = 16000, 1024 * index, Fraction(1, 16000)
            container.mux(sound.encode(silence))
        container.mux(sound.encode())
    assert all(len(read_frames(str(path), 6, 24, place)) == 24 for place in np.linspace(0, 0.999, 5))


def test_when_nothing_can_be_read_it_ends(tmp_path):
    for index in range(2):
        (tmp_path / f"{index}.mp4").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot be read"):
        make_dataset(tmp_path)[0]
    with pytest.raises(ValueError, match="no videos"):
        make_dataset(tmp_path / "nowhere")


def test_media_are_found_in_folders_files_and_tables(videos, tmp_path):
    from training.clips import find_media

    table = tmp_path / "table.csv"
    table.write_text("path,name\n" + "".join(f"{videos}/{index}.mp4,clip {index}\n" for index in range(4)))
    expected = [str(videos / f"{index}.mp4") for index in range(4)]
    assert find_media([str(videos)], "video") == find_media([str(table)], "video") == expected
    assert find_media(expected[:1], "video") == expected[:1]


def test_images_come_with_and_without_the_detokenizers_picture(tmp_path):
    from training.clips import ImageDataset, find_media

    files = find_media([str(write_images(tmp_path, 3))], "image")
    plain = ImageDataset(files, VideoLaVITImageProcessor())[0]
    assert plain.keys() == {"pixel_values"} and plain["pixel_values"].shape == (3, 224, 224)
    item = ImageDataset(files, VideoLaVITImageProcessor(), frame_size=(32, 32))[0]
    assert item["image"].shape == (3, 32, 32) and item["original_size"].tolist() == [40, 40]
    # The tokens are those of the picture that is to be made of them.
    square = ImageDataset(files, VideoLaVITImageProcessor(size={"height": 32, "width": 32}), frame_size=(32, 32))[0]
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (VideoLaVITImageProcessor.image_mean, VideoLaVITImageProcessor.image_std)
    )
    assert (square["pixel_values"] * std + mean - (square["image"] / 2 + 0.5)).abs().mean() < 0.005
