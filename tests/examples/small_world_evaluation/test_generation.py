"""What generated videos are measured to show, on rendered ones, of which it is known."""

import numpy as np
import pytest


SIZE = (96, 96)


@pytest.fixture(scope="module")
def moving():
    """Captions and frames of a few scenes of one moving object."""
    from small_world.dataset import SmallWorldOptions, video_sample
    from small_world.language import write_caption
    from small_world.rendering import render_scene

    options = SmallWorldOptions(7, "test", (1, 1), 1, SIZE)
    samples = (video_sample(options, index) for index in range(40))
    chosen = [
        sample
        for sample in samples
        if sample.description.camera == "still" and sample.description.objects[0].motions[0].kind == "translation"
    ][:4]
    return [(write_caption(sample.description), render_scene(sample.scene, SIZE)) for sample in chosen]


def test_videos_that_show_what_was_asked_for_are_right(moving):
    from small_world_evaluation.generation import measure_text_to_video

    prompts, videos = zip(*moving)
    result = measure_text_to_video(videos, prompts)
    by_size = result.pop("by_size")
    right = dict.fromkeys(("colour", "shape", "direction", "speed", "all"), 1.0)
    assert {name: share["value"] for name, share in result.items()} == right
    for shares in by_size.values():
        assert {name: share["value"] for name, share in shares.items()} == right


def test_each_video_counts_for_the_size_of_its_object(moving):
    from small_world.language import parse_caption
    from small_world_evaluation.generation import measure_image_to_video, measure_text_to_video

    prompts, videos = zip(*moving)
    descriptions = [parse_caption(prompt) for prompt in prompts]
    sizes = [description.objects[0].size for description in descriptions]
    # Those of the first prompt's size stand still.
    videos = [frames[:1].repeat(len(frames), 0) if size == sizes[0] else frames for frames, size in zip(videos, sizes)]
    for result in (
        measure_text_to_video(videos, prompts),
        measure_image_to_video(videos, descriptions, videos),
    ):
        by_size = result["by_size"]
        assert {size: shares["direction"]["count"] for size, shares in by_size.items()} == {
            size: sizes.count(size) for size in ("small", "medium", "large") if size in sizes
        }
        assert len(by_size) > 1
        for size, shares in by_size.items():
            assert shares["direction"]["value"] == (size != sizes[0])


def test_videos_that_stand_still_or_are_empty_have_no_direction(moving):
    from small_world.language import parse_caption
    from small_world_evaluation.generation import check_video

    prompt, frames = moving[0]
    still = check_video(frames[:1].repeat(len(frames), axis=0), parse_caption(prompt))
    assert still["colour"] and still["shape"] and not still["direction"] and not still["all"]
    empty = check_video(np.full_like(frames, 110), parse_caption(prompt))
    assert not any(empty.values())


def test_a_video_played_backwards_goes_the_other_way(moving):
    from small_world.language import parse_caption
    from small_world_evaluation.generation import direction_error

    prompt, frames = moving[0]
    assert direction_error(frames, parse_caption(prompt)) < 15
    assert direction_error(frames[::-1], parse_caption(prompt)) > 165


def test_an_image_goes_on_as_the_same_object(moving):
    from small_world.language import parse_caption
    from small_world_evaluation.generation import measure_image_to_video

    prompts, videos = zip(*moving)
    descriptions = [parse_caption(prompt) for prompt in prompts]
    result = measure_image_to_video(videos, descriptions, videos)
    assert result["identity"]["value"] == result["direction"]["value"] == 1
    # Of other scenes neither the object nor, mostly, the direction is the same.
    shifted = measure_image_to_video(videos, descriptions, (*videos[1:], videos[0]))
    assert shifted["identity"]["value"] < 1


def test_long_videos_are_cut_where_their_clips_are_joined(moving):
    from small_world_evaluation.generation import measure_drift, split_clips

    frames = moving[0][1]
    long = np.concatenate([frames, frames[1:], frames[1:]])
    clips = split_clips(long)
    assert [len(clip) for clip in clips] == [24, 23, 23] and (clips[2] == frames[1:]).all()
    drift = measure_drift([long])
    assert list(drift) == ["clip 2", "clip 3"]
    assert drift["clip 2"]["background"]["value"] < 2 and drift["clip 3"]["same_object"]["value"] == 1
    darker = np.concatenate([frames, frames[1:] // 2])
    assert measure_drift([darker])["clip 2"]["background"]["value"] > 20
