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
"""The video detokenizer pipeline with the language model: prompts and images to images and videos."""

import doctest

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_diffusers_models import expected
from tiny_pipelines import generators, load_detokenizer_pipeline

from diffusers_videolavit import pipeline_videolavit_detokenizer, pipeline_videolavit_keyframe


torch.set_num_threads(1)

FAST = {
    "height": 16,
    "width": 16,
    "num_inference_steps": 1,
    "keyframe_height": 32,
    "keyframe_width": 32,
    "keyframe_num_inference_steps": 2,
    "output_type": "pt",
}
PROMPTS = ["A boat", "Two horses on a wide green field", "Rain"]


@pytest.fixture(scope="module")
def pipe():
    return load_detokenizer_pipeline(with_motion_tokenizer=False, with_language_model=True)


@pytest.fixture(scope="module")
def image():
    return (expected()["video/keyframes"][0] / 2 + 0.5).mul(255).round().to(torch.uint8)


def test_prompts_of_different_lengths_become_videos(pipe):
    batch = pipe(PROMPTS, **FAST, generator=generators(0, 1, 2)).frames
    assert batch.shape == (3, 24, 3, 16, 16)
    for i, prompt in enumerate(PROMPTS):
        single = pipe(prompt, **FAST, generator=generators(i)).frames
        torch.testing.assert_close(batch[i : i + 1], single, atol=1e-3, rtol=0)
    # Sampling of the tokens leaves the noise as it is.
    assert torch.equal(single, pipe(prompt, **FAST, generator=generators(2)[0]).frames)


def test_tokens_of_a_prompt_are_the_language_models(pipe):
    generate_kwargs = {"do_sample": False, "min_new_tokens": 3}
    visual_codes, motion_codes = pipe.generate_tokens(PROMPTS[:1], num_clips=2, **generate_kwargs)
    inputs = pipe.processor(text=PROMPTS[:1], generation_mode="video", return_tensors="pt")
    # The tiny decoders know fewer codes than the vocabulary has.
    limits = {"max_new_tokens": 16, "num_visual_codes": 64, "num_motion_codes": 48}
    ids = pipe.language_model.generate(**inputs, generation_mode="video", num_clips=2, **limits, **generate_kwargs)
    (segments,) = pipe.processor.post_process_multimodal_output(ids)
    expected_codes = [codes for kind, codes in segments if kind != "text"]
    actual_codes = [visual_codes[0][0], motion_codes[0][0], visual_codes[0][1], motion_codes[0][1]]
    assert all(torch.equal(actual, expected) for actual, expected in zip(actual_codes, expected_codes, strict=True))
    assert max(codes.max() for codes in visual_codes[0]) < 64 and max(codes.max() for codes in motion_codes[0]) < 48
    for name in ("num_visual_codes", "num_motion_codes"):
        with pytest.raises(ValueError, match=f"`{name}` is from 1 to"):
            pipe.language_model.generate(**inputs, generation_mode="video", **{name: 20000})

    frames = pipe(PROMPTS[0], num_clips=2, **FAST, generate_kwargs=generate_kwargs, generator=generators(0)).frames
    generator = generators(0)
    torch.randint(2**62, (1,), generator=generator[0])  # the seed of the tokens
    from_tokens = pipe(visual_codes=visual_codes, motion_codes=motion_codes, **FAST, generator=generator).frames
    assert frames.shape == (1, 47, 3, 16, 16) and torch.equal(frames, from_tokens)


def test_seed_decides_what_is_sampled(pipe):
    seeds = (0, 0, 1)
    tokens = [pipe.generate_tokens(PROMPTS[:1], generator=generators(seed), num_clips=1)[0][0][0] for seed in seeds]
    assert torch.equal(tokens[0], tokens[1]) and not torch.equal(tokens[0], tokens[2])


def test_several_videos_of_a_prompt_differ(pipe):
    frames = pipe(PROMPTS[:1], num_videos_per_prompt=2, **FAST, generator=generators(0, 1)).frames
    single = pipe(PROMPTS[0], **FAST, generator=generators(1)).frames
    torch.testing.assert_close(frames[1:], single, atol=1e-3, rtol=0)
    assert not torch.allclose(frames[0], frames[1], atol=1e-2)


@pytest.mark.parametrize("prompt", [None, "A boat"])
def test_motion_of_a_given_image_is_generated(pipe, image, prompt, monkeypatch):
    given = []
    original = pipe.generate_tokens

    def record(prompts, visual_codes, **kwargs):
        given.append((prompts, visual_codes))
        return original(prompts, visual_codes, **kwargs)

    monkeypatch.setattr(pipe, "generate_tokens", record)
    frames = pipe(prompt, image=image, num_clips=2, **FAST, generator=generators(0)).frames
    assert frames.shape == (1, 47, 3, 16, 16)
    ((prompts, visual_codes),) = given
    assert prompts == (None if prompt is None else [prompt])

    picture = Image.fromarray(image.movedim(0, -1).numpy())
    pixel_values = pipe.processor.image_processor(picture, return_tensors="pt")["pixel_values"]
    assert torch.equal(visual_codes[0], pipe.language_model.model.keyframe_tokenizer.encode(pixel_values)[0])
    (codes, _), (motion, _) = (clips[0] for clips in original(prompts, visual_codes, num_clips=2))
    assert torch.equal(codes, visual_codes[0]) and motion.shape == (135,)
    # The image itself is the first keyframe.
    call = {**FAST, "latents": torch.zeros(1, 24, 4, 8, 8), "keyframe_noise": torch.zeros(1, 1, 3, 16, 16)}
    from_tokens = pipe(image=picture, motion_codes=motion, **call).frames
    assert torch.equal(pipe(prompt, image=image, **call).frames, from_tokens)


def test_motion_of_given_codes_is_generated(pipe):
    codes = torch.tensor([3, 1, 4, 1, 5])
    visual_codes, motion_codes = pipe.generate_tokens(["A boat"], [codes], num_clips=1)
    assert torch.equal(visual_codes[0][0], codes) and len(motion_codes[0]) == 1
    frames = pipe("A boat", visual_codes=codes, **FAST, generator=generators(0)).frames
    assert frames.shape == (1, 24, 3, 16, 16)
    with pytest.raises(ValueError, match="either `image` or `visual_codes`"):
        pipe("A boat", visual_codes=codes, image=torch.zeros(3, 8, 8), **FAST)


@pytest.mark.parametrize("prompt", [None, "A boat"])
def test_motion_of_a_continuous_keyframe_is_the_language_models(pipe, image, prompt):
    call = {"latents": torch.zeros(1, 24, 4, 8, 8), "keyframe_noise": torch.zeros(1, 1, 3, 16, 16)}
    text = (prompt or pipe.processor.tokenizer.bos_token) + "<image>"
    inputs = pipe.processor(text=text, images=image, generation_mode="video", return_tensors="pt")
    ids = pipe.language_model.generate(**inputs, generation_mode="video", num_motion_codes=48)
    (motion,) = (codes for kind, codes in pipe.processor.post_process_multimodal_output(ids)[0] if kind == "motion")
    frames = pipe(prompt, image=image, continuous_keyframe=True, **FAST, **call).frames
    assert torch.equal(frames, pipe(image=image, motion_codes=motion, **FAST, **call).frames)


def test_the_decoded_keyframe_of_a_prompt_is_read_as_its_image(pipe):
    frames = pipe(PROMPTS, num_clips=2, continuous_keyframe=True, **FAST, generator=generators(0, 1, 2)).frames
    assert frames.shape == (3, 47, 3, 16, 16)
    single = pipe(PROMPTS[1], num_clips=2, continuous_keyframe=True, **FAST, generator=generators(1)).frames
    torch.testing.assert_close(frames[1:2], single, atol=1e-3, rtol=0)

    # Step by step: codes, their image, and its motion
    (generator,) = generators(1)
    ((codes,),), _ = pipe.generate_tokens(PROMPTS[1:2], generation_mode="image", generator=generator)
    sizes = {"height": FAST["keyframe_height"], "width": FAST["keyframe_width"]}
    steps = FAST["keyframe_num_inference_steps"]
    keyframe = pipe.keyframe(
        visual_codes=[codes], num_inference_steps=steps, **sizes, output_type="pt", generator=generator
    ).images
    keyframe = torch.nn.functional.interpolate(keyframe, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    later, motion = pipe.generate_tokens(PROMPTS[1:2], images=keyframe, generator=generator, num_clips=2)
    expected = pipe(
        image=[[keyframe[0]]], visual_codes=[[codes, *later[0]]], motion_codes=motion, **FAST, generator=generator
    ).frames
    torch.testing.assert_close(single, expected, atol=1e-3, rtol=0)


def test_a_continuous_keyframe_is_what_the_configuration_has(image):
    pipe = load_detokenizer_pipeline(with_motion_tokenizer=False, with_language_model=True)
    call = {**FAST, "latents": torch.zeros(1, 24, 4, 8, 8), "keyframe_noise": torch.zeros(1, 1, 3, 16, 16)}
    discrete, continuous = (pipe(image=image, continuous_keyframe=flag, **call).frames for flag in (False, True))
    assert not torch.equal(discrete, continuous) and torch.equal(pipe(image=image, **call).frames, discrete)
    pipe.register_to_config(continuous_keyframe=True)
    assert torch.equal(pipe(image=image, **call).frames, continuous)


def test_keyframes_of_later_clips_are_refused_where_the_language_model_makes_them(pipe, image):
    for keyframes in ({"visual_codes": [[[3, 1], [4, 1]]]}, {"image": [[image, image]]}):
        (name,) = keyframes
        with pytest.raises(ValueError, match=f"`{name}` holds 2 keyframes a video, .* makes the keyframes of later"):
            pipe("A boat", num_clips=2, **keyframes, **FAST)


def test_prompts_become_images(pipe):
    call = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "np"}
    batch = pipe.keyframe(PROMPTS, **call, generator=generators(0, 1, 2)).images
    assert batch.shape == (3, 32, 32, 3)
    (single,) = pipe.keyframe(PROMPTS[1], **call, generator=generators(1), return_dict=False)
    np.testing.assert_allclose(batch[1:2], single, atol=1e-3)


def test_several_images_of_a_prompt(pipe):
    call = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "np"}
    images = pipe.keyframe(PROMPTS[:2], num_images_per_prompt=2, **call, generator=generators(0, 1, 2, 3)).images
    single = pipe.keyframe(PROMPTS[1], **call, generator=generators(2)).images
    assert images.shape == (4, 32, 32, 3)
    np.testing.assert_allclose(images[2:3], single, atol=1e-3)
    assert not np.allclose(images[2], images[3], atol=1e-2)
    latents = torch.randn(2, 4, 4, 4, generator=generators(0)[0])
    images = pipe.keyframe(PROMPTS[0], num_images_per_prompt=2, **call, latents=latents).images
    assert images.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 40}, "`height` has to be divisible by 16"),
        ({"visual_codes": [1]}, "either a `prompt` or `visual_codes`"),
        ({"prompt": []}, "`prompt` has to be a string"),
        ({"generator": generators(0, 1)}, "2 generators for a batch of 1"),
        ({"latents": torch.zeros(2)}, "`latents` have to be of shape"),
        ({"num_images_per_prompt": 2, "generator": generators(0)}, "1 generators for a batch of 2"),
        ({"num_images_per_prompt": 0}, "`num_images_per_prompt` has to be a positive integer"),
    ],
)
def test_bad_inputs_are_refused_before_tokens_are_generated(pipe, arguments, message, monkeypatch):
    def generate(*args, **kwargs):
        raise AssertionError("generated something")

    monkeypatch.setattr(pipe.language_model, "generate", generate)
    with pytest.raises(ValueError, match=message):
        pipe.keyframe(**{"prompt": "A boat", "height": 32, "width": 32, **arguments})
    with pytest.raises(ValueError, match="`height` has to be divisible by 4"):
        pipe("A boat", height=18)


def test_offloaded_language_model_gives_the_same(image):
    pipe = load_detokenizer_pipeline(with_language_model=True)
    call = {"prompt": "A boat", "image": image, **FAST}
    reference = pipe(**call, generator=generators(0)).frames
    pipe.enable_model_cpu_offload(device="cpu")
    onloaded = []
    hook = pipe.language_model._hf_hook
    original = hook.pre_forward
    hook.pre_forward = lambda module, *args, **kwargs: onloaded.append(module) or original(module, *args, **kwargs)
    assert torch.equal(reference, pipe(**call, generator=generators(0)).frames)
    assert onloaded and all(module is pipe.language_model for module in onloaded)


@pytest.mark.parametrize("module", [pipeline_videolavit_keyframe, pipeline_videolavit_detokenizer])
def test_examples(module, image, tmp_path, monkeypatch):
    load_detokenizer_pipeline(with_language_model=True).save_pretrained(tmp_path / "pipeline")
    Image.fromarray(image.movedim(0, -1).numpy()).save(tmp_path / "keyframe.png")
    monkeypatch.chdir(tmp_path)
    examples = module.EXAMPLE_DOC_STRING
    # As written, but for the number of steps and the size, which a test has no time for.
    examples = examples.replace("height=576, width=1024", "height=32, width=32, num_inference_steps=1")
    steps = "num_inference_steps=1, keyframe_num_inference_steps=2, height=16, width=16"
    examples = examples.replace("generator=generator)", f"generator=generator, {steps})")
    test = doctest.DocTestParser().get_doctest(examples, {"repo": "pipeline"}, module.__name__, None, None)
    results = doctest.DocTestRunner().run(test)
    assert results.attempted > 0 and results.failed == 0
