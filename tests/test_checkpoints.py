"""What `checkpoints/` holds: the small world's trained tokenizers and autoencoders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transformers_videolavit import (
    VideoLaVITImageProcessor,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITMotionTokenizer,
    VideoLaVITVideoProcessor,
)


FOLDER = Path(__file__).parents[1] / "checkpoints" / "videolavit-tiny-tokenizers"
FRAME_SIZE = (192, 192)


@pytest.fixture(scope="module")
def samples():
    """Scenes that training never showed, of one object that moves in front of a still camera."""
    from small_world.dataset import SmallWorldOptions, video_sample

    options = SmallWorldOptions(5, "test", (1, 1), 1, FRAME_SIZE)
    found = [video_sample(options, index) for index in range(40)]
    return [
        sample
        for sample in found
        if sample.description.camera == "still" and sample.description.objects[0].motions[0].kind == "translation"
    ][:10]


def render(sample, num_frames=None):
    from small_world.rendering import render_scene

    return render_scene(sample.scene, FRAME_SIZE, num_frames)


def test_visual_tokens_tell_colours_and_are_fewer_than_patches():
    from small_world.dataset import SmallWorldOptions, image_sample
    from small_world.rendering import render_scene
    from small_world.scenes import COLOURS

    tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained(FOLDER / "keyframe_tokenizer").float().eval()
    size = tokenizer.config.vision_config.image_size
    processor = VideoLaVITImageProcessor(size={"height": size, "width": size})
    # Held-out combinations, of which a linear model learns from some what it tells of the others.
    options = SmallWorldOptions(5, "test", (1, 1), 1, FRAME_SIZE)
    samples = [image_sample(options, index) for index in range(300)]
    images = [Image.fromarray(render_scene(sample.scene, FRAME_SIZE, 1)[0]) for sample in samples]
    with torch.no_grad():
        codes = tokenizer.encode(processor(images, return_tensors="pt")["pixel_values"])
    assert all(4 <= len(each) <= 40 for each in codes)
    vectors = torch.stack([tokenizer.quantizer.codebook[each].double().mean(dim=0) for each in codes])
    vectors = torch.cat((vectors, torch.ones(len(vectors), 1, dtype=torch.double)), dim=1)
    colours = torch.tensor([COLOURS.index(sample.description.objects[0].colour) for sample in samples])
    wanted = torch.nn.functional.one_hot(colours).double()
    weights = torch.linalg.lstsq(vectors[:200], wanted[:200]).solution
    right = (vectors[200:] @ weights).argmax(dim=1) == colours[200:]
    assert right.double().mean() > 0.9


def test_motion_tokens_keep_where_objects_move(samples):
    from small_world.scenes import DIRECTIONS

    tokenizer = VideoLaVITMotionTokenizer.from_pretrained(FOLDER / "motion_tokenizer").float().eval()
    processor = VideoLaVITVideoProcessor(num_frames=24, motion_height=8, motion_width=8)
    frames = [render(sample) for sample in samples]
    metadata = [{"fps": 6.0}] * len(frames)
    motion = processor(frames, video_metadata=metadata, do_sample_frames=False, return_tensors="pt")["motion_vectors"]
    codes = tokenizer.encode(motion)
    assert codes.shape == (len(samples), 48)
    restored = tokenizer.decode(codes).detach()
    cosines = []
    for sample, field in zip(samples, restored):
        mean = field.double().sum(dim=(1, 2, 3)).numpy()
        wanted = np.array(DIRECTIONS[sample.description.objects[0].motions[0].direction])
        cosines.append(mean @ wanted / np.linalg.norm(mean))
    assert np.min(cosines) > 0.9


@pytest.mark.parametrize("name", ["keyframe_vae", "vae"])
def test_autoencoders_restore_frames(samples, name):
    from diffusers import AutoModel
    from training.clips import resize_frames

    vae = AutoModel.from_pretrained(str(FOLDER / name)).float()
    kwargs = {} if name == "keyframe_vae" else {"num_frames": 2}
    for sample in samples[:3]:
        frames = resize_frames(render(sample, 2), (64, 64))
        with torch.no_grad():
            restored = vae.decode(vae.encode(frames).latent_dist.mode(), **kwargs).sample
        decibels = -10 * torch.log10(((restored - frames) / 2).square().mean())
        assert decibels > 27
