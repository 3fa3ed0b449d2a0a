"""What `checkpoints/` holds: the model of the small world."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transformers_videolavit import VideoLaVITForCausalLM, VideoLaVITProcessor


FOLDER = Path(__file__).parents[1] / "checkpoints" / "videolavit-tiny"
FRAME_SIZE = (192, 192)


@pytest.fixture(scope="module")
def model():
    return VideoLaVITForCausalLM.from_pretrained(FOLDER / "video-lavit", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def processor():
    return VideoLaVITProcessor.from_pretrained(FOLDER / "video-lavit")


@pytest.fixture(scope="module")
def samples():
    """Scenes of combinations that training never showed, of one object that moves in front of a still camera."""
    from small_world.dataset import SmallWorldOptions, moving_samples

    return moving_samples(SmallWorldOptions(5, "test", (1, 1), 1, FRAME_SIZE), 10)


def render(sample, num_frames=None):
    from small_world.rendering import render_scene

    return render_scene(sample.scene, FRAME_SIZE, num_frames)


def extract_motion(processor, samples):
    return processor.video_processor(
        [render(sample) for sample in samples],
        video_metadata=[{"fps": 6.0}] * len(samples),
        do_sample_frames=False,
        return_tensors="pt",
    )["motion_vectors"]


def off_by_degrees(field, sample, number=0, weights=None):
    """
    The angle between a motion field of shape (2, frames, height, width) and the direction of one of a sample's objects. By default,
    motion counts by its length.
    """
    from small_world.scenes import DIRECTIONS

    weights = field.norm(dim=0) if weights is None else weights
    x, y = (field * weights).sum(dim=(1, 2, 3)).tolist()
    wanted = DIRECTIONS[sample.description.objects[number].motions[0].direction]
    difference = np.degrees(np.arctan2(y, x) - np.arctan2(wanted[1], wanted[0]))
    return abs((difference + 180) % 360 - 180)


def object_mask(sample, number, size):
    """The share of each cell of a motion field of this size that one of a sample's objects covers, of shape (frames, size, size)."""
    from small_world.scenes import CLIP_LENGTH, object_path

    path = object_path(sample.description.objects[number], sample.scene.positions[number], CLIP_LENGTH)
    axis = (torch.arange(size * 8) + 0.5) / (size * 8) - 0.5
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    distances = (places - torch.tensor(path["center"])[:, None, None]).norm(dim=-1)
    inside = distances < torch.tensor(path["radius"])[:, None, None]
    return torch.nn.functional.avg_pool2d(inside.float(), 8)


def test_all_weights_together_take_less_than_60_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) < 60e6


def test_visual_tokens_tell_colours_and_shapes_and_are_fewer_than_patches(model, processor):
    from small_world.dataset import SmallWorldOptions, image_sample
    from small_world.rendering import render_scene

    tokenizer = model.model.keyframe_tokenizer
    # A linear model learns from what training showed, and tells of combinations that it did not.
    samples = {}
    for split, number in (("train", 400), ("test", 100)):
        options = SmallWorldOptions(5, split, (1, 1), 1, FRAME_SIZE)
        samples[split] = [image_sample(options, index) for index in range(number)]
    images = [
        Image.fromarray(render_scene(sample.scene, FRAME_SIZE, 1)[0])
        for sample in (*samples["train"], *samples["test"])
    ]
    with torch.no_grad():
        codes = tokenizer.encode(processor.image_processor(images, return_tensors="pt")["pixel_values"])
    assert all(4 <= len(each) <= 40 for each in codes)
    vectors = torch.stack([tokenizer.quantizer.codebook[each].double().mean(dim=0) for each in codes])
    vectors = torch.cat((vectors, torch.ones(len(vectors), 1, dtype=torch.double)), dim=1)
    for attribute in ("colour", "shape"):
        values = [getattr(sample.description.objects[0], attribute) for part in samples.values() for sample in part]
        labels = torch.tensor([sorted(set(values)).index(value) for value in values])
        wanted = torch.nn.functional.one_hot(labels).double()
        weights = torch.linalg.lstsq(vectors[:400], wanted[:400]).solution
        right = (vectors[400:] @ weights).argmax(dim=1) == labels[400:]
        assert right.double().mean() > 0.9, attribute


def test_motion_tokens_keep_where_objects_move(model, processor, samples):
    tokenizer = model.model.motion_tokenizer
    codes = tokenizer.encode(extract_motion(processor, samples))
    assert codes.shape == (len(samples), 48)
    with torch.no_grad():
        restored = tokenizer.decode(codes)
    assert max(off_by_degrees(field, sample) for field, sample in zip(restored, samples)) < 25


def test_motion_tokens_keep_where_each_of_several_objects_moves(model, processor):
    from small_world.dataset import SmallWorldOptions, moving_samples

    tokenizer = model.model.motion_tokenizer
    samples = moving_samples(SmallWorldOptions(5, "test", (2, 3), 1, FRAME_SIZE), 70)
    with torch.no_grad():
        restored = tokenizer.decode(tokenizer.encode(extract_motion(processor, samples)))
    right = [
        off_by_degrees(field, sample, number, object_mask(sample, number, field.shape[-1])) < 22.5
        for field, sample in zip(restored, samples)
        for number, described in enumerate(sample.description.objects)
        if described.motions[0].kind == "translation"
    ]
    # The tokenizer before its training with such videos had 83 %.
    assert len(right) > 100 and np.mean(right) > 0.88


@pytest.mark.parametrize("is_keyframe_given", [False, True])
def test_generated_motion_has_the_direction_of_the_prompt(model, processor, samples, is_keyframe_given):
    from small_world.language import write_caption

    prompts = [write_caption(sample.description) for sample in samples]
    images = {}
    if is_keyframe_given:
        # As continuous features
        prompts = [prompt + processor.image_token for prompt in prompts]
        images = {"images": [Image.fromarray(render(sample, 1)[0]) for sample in samples]}
    inputs = processor(text=prompts, **images, generation_mode="video", padding=True, return_tensors="pt")
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(samples))]
    ids = model.generate(**inputs, generation_mode="video", do_sample=True, generator=generators)
    codes = [
        content
        for parts in processor.post_process_multimodal_output(ids)
        for kind, content in parts
        if kind == "motion"
    ]
    with torch.no_grad():
        fields = model.model.motion_tokenizer.decode(torch.stack(codes))
    right = [off_by_degrees(field, sample) < 22.5 for field, sample in zip(fields, samples)]
    assert np.mean(right) >= 0.8


def test_the_tuned_model_answers(processor, tmp_path):
    from small_world.dataset import SmallWorldOptions, video_sample, write_dataset
    from small_world_evaluation.questions import answer_questions

    model = VideoLaVITForCausalLM.from_pretrained(FOLDER / "video-lavit-sft", dtype=torch.float32).eval()
    options = SmallWorldOptions(5, "test", (1, 1), 1, FRAME_SIZE)
    write_dataset(tmp_path, options, 8)
    samples = [video_sample(options, index) for index in range(8)]
    paths = [str(tmp_path / "videos" / f"{sample.id}.mp4") for sample in samples]
    tally = answer_questions(model, processor, list(zip(samples, paths)))
    # By chance, a quarter.
    assert np.mean([*tally.by_type["appearance"], *tally.by_type["motion"]]) > 0.6


@pytest.mark.parametrize("name", ["keyframe_vae", "vae"])
def test_autoencoders_restore_frames(samples, name):
    from diffusers import AutoModel
    from training.clips import resize_frames

    vae = AutoModel.from_pretrained(str(FOLDER / "video-lavit-detokenizer" / name)).float()
    kwargs = {} if name == "keyframe_vae" else {"num_frames": 2}
    for sample in samples[:3]:
        frames = resize_frames(render(sample, 2), (64, 64))
        with torch.no_grad():
            restored = vae.decode(vae.encode(frames).latent_dist.mode(), **kwargs).sample
        decibels = -10 * torch.log10(((restored - frames) / 2).square().mean())
        assert decibels > 27
