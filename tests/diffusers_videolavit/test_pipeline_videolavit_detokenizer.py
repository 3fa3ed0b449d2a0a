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
"""The video detokenizer pipeline against the reference's frames and the behaviours of diffusers' own pipelines."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.utils import export_to_gif
from PIL import Image
from tiny_diffusers_models import expected, visual_codes
from tiny_pipelines import generators, load_detokenizer_pipeline

from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel, VideoLaVITDetokenizerPipeline
from diffusers_videolavit.pipeline_output import VideoLaVITDetokenizerPipelineOutput
from transformers_videolavit import VideoLaVITVideoProcessor


torch.set_num_threads(1)

VIDEO = str(Path(__file__).parents[1] / "fixtures" / "videos" / "city_timelapse.mp4")
SIZE = {"height": 16, "width": 16}
KEYFRAME = {"keyframe_height": 32, "keyframe_width": 32, "keyframe_num_inference_steps": 2}
FAST = {**SIZE, **KEYFRAME, "num_inference_steps": 2, "output_type": "pt"}


@pytest.fixture(scope="module")
def golden():
    return expected()


@pytest.fixture(scope="module")
def tokens(golden):
    """Visual codes and motion codes of three clips."""
    return visual_codes(golden), list(golden["motion/token_ids"])


@pytest.fixture(scope="module")
def images(golden):
    return golden["video/keyframes"] / 2 + 0.5


@pytest.fixture(scope="module")
def motion(golden):
    return golden["motion/motion_vectors"]


@pytest.fixture(scope="module")
def pipe():
    return load_detokenizer_pipeline()


@pytest.fixture
def own_pipe():
    return load_detokenizer_pipeline()


@pytest.mark.parametrize("from_codes", [False, True])
def test_frames_equal_the_reference(pipe, golden, images, from_codes):
    if from_codes:
        # The reference decoded these codes to the motion below.
        motion = {"motion_codes": golden["motion/token_ids"][:2]}
        torch.testing.assert_close(
            pipe.motion_tokenizer.decode(motion["motion_codes"], 16, 32),
            golden["video/motion_latents"],
            atol=1e-4,
            rtol=0,
        )
    else:
        motion = {"motion_vectors": 10 * golden["video/motion_latents"]}
    frames = pipe(
        image=images,
        **motion,
        height=32,
        width=64,
        num_inference_steps=4,
        min_guidance_scale=1.0,
        max_guidance_scale=3.0,
        latents=golden["video/latents"],
        keyframe_noise=golden["video/keyframe_noise"][:, None],
        output_type="pt",
    ).frames
    reference = (golden["video/frames"] / 2 + 0.5).clamp(0, 1).transpose(1, 2)
    torch.testing.assert_close(frames, reference, atol=1e-3, rtol=0)


def test_announced_arguments():
    parameters = inspect.signature(VideoLaVITDetokenizerPipeline.__call__).parameters
    names = """
        prompt image visual_codes motion_codes motion_vectors height width num_inference_steps
        keyframe_num_inference_steps min_guidance_scale max_guidance_scale keyframe_guidance_scale fps noise_aug_strength
        decode_chunk_size num_clips noise_constraint inversion_strength generator latents output_type return_dict
        callback_on_step_end callback_on_step_end_tensor_inputs num_videos_per_prompt
    """
    for name in names.split():
        assert parameters[name].default is not inspect.Parameter.empty
    streamed = inspect.signature(VideoLaVITDetokenizerPipeline.generate_clips).parameters
    assert set(parameters) - set(streamed) == {"return_dict", "callback_on_clip_end"}
    for name, parameter in streamed.items():
        assert parameter.default == parameters[name].default


def test_components_are_complete(pipe):
    assert set(pipe.components) == {
        "vae",
        "unet",
        "scheduler",
        "motion_encoder",
        "keyframe_token_decoder",
        "keyframe_unet",
        "keyframe_vae",
        "keyframe_scheduler",
        "motion_tokenizer",
        "language_model",
        "processor",
    }
    models = {name for name, component in pipe.components.items() if isinstance(component, torch.nn.Module)}
    assert models | {"language_model"} == set(pipe.model_cpu_offload_seq.split("->"))


def test_batch_of_different_lengths_equals_singles(pipe, tokens):
    codes, motions = tokens
    batch = pipe(visual_codes=codes, motion_codes=motions, **FAST, generator=generators(0, 1, 2)).frames
    assert batch.shape == (3, 24, 3, 16, 16)
    for i in range(3):
        single = pipe(visual_codes=codes[i], motion_codes=motions[i], **FAST, generator=generators(i)).frames
        torch.testing.assert_close(batch[i : i + 1], single, atol=1e-3, rtol=0)


def test_several_videos_a_prompt(pipe, tokens):
    codes, motions = tokens
    call = {**FAST, "num_videos_per_prompt": 2}
    frames = pipe(visual_codes=codes[:2], motion_codes=motions[:2], **call, generator=generators(0, 1, 2, 3)).frames
    single = pipe(visual_codes=codes[1], motion_codes=motions[1], **FAST, generator=generators(2)).frames
    torch.testing.assert_close(frames[2:3], single, atol=1e-3, rtol=0)


def test_same_seed_same_video(pipe, images, motion):
    call = {**FAST, "image": images[0], "motion_vectors": motion[0]}
    frames = pipe(**call, generator=generators(0)[0]).frames
    assert torch.equal(frames, pipe(**call, generator=generators(0)[0]).frames)
    assert not torch.equal(frames, pipe(**call, generator=generators(1)[0]).frames)


def test_dict_equals_tuple_and_output_types(pipe, images, motion, tmp_path):
    call = {**FAST, "image": images[0], "motion_vectors": motion[0]}
    output = pipe(**call, generator=generators(0))
    frames = pipe(**call, generator=generators(0), return_dict=False)
    assert isinstance(output, VideoLaVITDetokenizerPipelineOutput) and isinstance(frames, tuple)
    assert torch.equal(output.frames, frames[0])
    array = pipe(**{**call, "output_type": "np"}, generator=generators(0)).frames
    assert array.shape == (1, 24, 16, 16, 3)
    np.testing.assert_allclose(array, output.frames.movedim(2, -1).numpy(), atol=1e-6)
    pictures = pipe(**{**call, "output_type": "pil"}, generator=generators(0)).frames[0]
    assert len(pictures) == 24 and pictures[0].size == (16, 16)
    np.testing.assert_allclose(np.asarray(pictures[5]) / 255, array[0, 5], atol=1 / 255)
    assert export_to_gif(pictures, str(tmp_path / "video.gif"), fps=6)
    assert Image.open(tmp_path / "video.gif").n_frames > 1
    latents = pipe(**{**call, "output_type": "latent"}, generator=generators(0)).frames
    assert latents.shape == (1, 24, 4, 8, 8)
    with torch.no_grad():
        decoded = (pipe.decode_latents(latents, 8).transpose(1, 2) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, output.frames, atol=1e-5, rtol=0)


def test_frames_are_decoded_in_chunks_of_one_video(pipe, images, motion):
    call = {**FAST, "motion_vectors": motion[:2]}
    batch = pipe(image=images, **call, decode_chunk_size=5, generator=generators(0, 1)).frames
    single = pipe(
        image=images[1], **{**call, "motion_vectors": motion[1]}, decode_chunk_size=5, generator=generators(1)
    ).frames
    torch.testing.assert_close(batch[1:], single, atol=1e-3, rtol=0)
    # The temporal layers of the decoder see the frames of a chunk.
    other = pipe(image=images, **call, decode_chunk_size=24, generator=generators(0, 1)).frames
    assert not torch.allclose(batch, other, atol=1e-4)


def test_guidance_rises_over_the_frames(pipe, images, motion):
    call = {**FAST, "image": images[0], "motion_vectors": motion[0]}
    guided = pipe(**call, min_guidance_scale=1.0, max_guidance_scale=4.0, generator=generators(0)).frames
    assert pipe.guidance_scale.shape == (1, 24, 1, 1, 1) and pipe.num_timesteps == 2
    assert pipe.guidance_scale.flatten()[[0, -1]].tolist() == [1.0, 4.0]
    assert pipe.do_classifier_free_guidance
    unguided = pipe(**call, min_guidance_scale=1.0, max_guidance_scale=1.0, generator=generators(0)).frames
    assert not pipe.do_classifier_free_guidance
    assert not torch.allclose(guided, unguided, atol=1e-3)
    falling = pipe(**call, min_guidance_scale=4.0, max_guidance_scale=1.0, generator=generators(0)).frames
    assert not torch.allclose(falling, unguided, atol=1e-3) and not torch.allclose(falling, guided, atol=1e-3)


def test_guidance_is_by_default_that_of_the_configuration(own_pipe, images, motion, tmp_path):
    assert own_pipe.config.max_guidance_scale == 3.0 and own_pipe.config.keyframe_guidance_scale == 7.0
    call = {**FAST, "image": images[0], "motion_vectors": motion[0]}
    own_pipe(**call, generator=generators(0))
    assert own_pipe.guidance_scale.max() == 3.0

    own_pipe.register_to_config(max_guidance_scale=1.0, keyframe_guidance_scale=2.0)
    own_pipe.save_pretrained(tmp_path)
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    loaded(**call, generator=generators(0))
    assert not loaded.do_classifier_free_guidance
    loaded(**call, max_guidance_scale=2.0, generator=generators(0))
    assert loaded.guidance_scale.max() == 2.0

    codes = [torch.arange(5)]
    size = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "np"}
    ours = loaded.keyframe(visual_codes=codes, **size, generator=generators(0)).images
    same = loaded.keyframe(visual_codes=codes, **size, guidance_scale=2.0, generator=generators(0)).images
    published = loaded.keyframe(visual_codes=codes, **size, guidance_scale=7.0, generator=generators(0)).images
    np.testing.assert_array_equal(ours, same)
    assert not np.allclose(ours, published, atol=1e-3)


def test_what_the_motion_alone_decides_is_computed_once(own_pipe, images, motion, monkeypatch):
    calls = []
    unet = own_pipe.unet
    original = unet.precompute_motion_contexts

    def count(features, **kwargs):
        calls.append((tuple(features.shape), kwargs["num_unconditional"]))
        return original(features, **kwargs)

    monkeypatch.setattr(unet, "precompute_motion_contexts", count)
    projections = []
    for name, module in unet.named_modules():
        if name.endswith("attn2.to_k"):
            module.register_forward_hook(lambda module, inputs, output: projections.append(inputs[0].shape))
    encoder_calls = []
    own_pipe.motion_encoder.register_forward_hook(lambda module, inputs, output: encoder_calls.append(inputs[0].shape))

    own_pipe(image=images, motion_vectors=motion[:2], **{**FAST, "num_inference_steps": 3})
    assert len(encoder_calls) == 1 and encoder_calls[0][0] == 2
    assert calls == [((2, 24, 256, 16), 2)]
    num_attentions = sum(name.endswith("attn2.to_k") for name, _ in unet.named_modules())
    assert len(projections) == num_attentions
    # Nothing is projected for the two unconditional videos.
    assert {shape[0] for shape in projections} == {2, 2 * 24}


def test_callback_replaces_latents(pipe, images, motion):
    seen = []

    def zero_at_the_end(pipe, step, timestep, tensors):
        assert pipe.current_timestep == timestep
        seen.append((step, sorted(tensors)))
        if step == pipe.num_timesteps - 1:
            tensors["latents"] = torch.zeros_like(tensors["latents"])
        return tensors

    latents = pipe(
        image=images[0],
        motion_vectors=motion[0],
        **{**FAST, "output_type": "latent"},
        callback_on_step_end=zero_at_the_end,
        callback_on_step_end_tensor_inputs=pipe._callback_tensor_inputs,
    ).frames
    assert latents.abs().sum() == 0
    assert seen == [(0, ["latents"]), (1, ["latents"])] and pipe.current_timestep is None


def test_callback_changes_the_guidance_scale(pipe, images, motion):
    def increase(pipe, step, timestep, tensors):
        pipe._guidance_scale = pipe._guidance_scale + 1.0
        return {}

    call = {**FAST, "image": images[0], "motion_vectors": motion[0]}
    reference = pipe(**call, generator=generators(0)).frames
    frames = pipe(**call, callback_on_step_end=increase, generator=generators(0)).frames
    assert pipe.guidance_scale.flatten()[0] == 1.0 + pipe.num_timesteps
    assert not torch.allclose(frames, reference, atol=1e-3)


@pytest.mark.parametrize("with_group_offload", [False, True])
def test_callback_turns_guidance_off(own_pipe, images, motion, with_group_offload):
    if with_group_offload:
        own_pipe.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)

    def turn_off(pipe, step, timestep, tensors):
        pipe._guidance_scale = 0.0
        return tensors

    def ignore_the_unconditional_branch(pipe, step, timestep, tensors):
        pipe._guidance_scale = torch.ones_like(pipe.guidance_scale).index_fill(1, torch.tensor(0), 1 + 1e-6)
        return tensors

    batch_sizes = []
    own_pipe.unet.register_forward_pre_hook(lambda module, inputs: batch_sizes.append(len(inputs[0])))
    call = {**FAST, "image": images, "motion_vectors": motion[:2], "num_inference_steps": 3}
    conditional, frames = (
        own_pipe(**call, callback_on_step_end=callback, generator=generators(0, 1)).frames
        for callback in (ignore_the_unconditional_branch, turn_off)
    )
    assert batch_sizes == [4, 4, 4, 4, 2, 2]
    torch.testing.assert_close(frames, conditional, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(own_pipe, tokens, dtype):
    codes, motions = tokens
    call = {**FAST, "visual_codes": [codes[:2]], "motion_codes": [motions[:2]]}
    reference = own_pipe(**call, generator=generators(0)).frames
    frames = own_pipe.to(dtype)(**call, generator=generators(0)).frames
    assert own_pipe.vae.dtype == own_pipe.keyframe_vae.dtype == dtype
    assert torch.isfinite(frames).all()
    assert (frames - reference).abs().mean() < 0.1


def test_a_data_type_a_component(own_pipe, images, tokens):
    call = {**FAST, "image": images[0], "motion_codes": tokens[1][0]}
    reference = own_pipe(**call, generator=generators(0)).frames
    own_pipe.unet.to(torch.bfloat16)
    own_pipe.motion_encoder.to(torch.float16)
    own_pipe.vae.to(torch.float16)
    frames = own_pipe(**call, generator=generators(0)).frames
    assert (frames - reference).abs().mean() < 0.1


def test_offload_gives_the_same(own_pipe, tokens):
    codes, motions = tokens
    call = {**FAST, "visual_codes": [codes[:2]], "motion_codes": [motions[:2]]}
    reference = own_pipe(**call, generator=generators(0)).frames
    own_pipe.enable_model_cpu_offload(device="cpu")
    for _ in range(2):
        assert torch.equal(reference, own_pipe(**call, generator=generators(0)).frames)


@pytest.mark.parametrize("offload_type", ["leaf_level", "block_level"])
def test_group_offload_gives_the_same(own_pipe, tokens, offload_type, monkeypatch):
    codes, motions = tokens
    call = {**FAST, "visual_codes": codes[:2], "motion_codes": motions[:2]}
    reference = own_pipe(**call, generator=generators(0, 1)).frames
    own_pipe.enable_group_offload(torch.device("cpu"), offload_type=offload_type, num_blocks_per_group=1)
    # Whose layers are not on the accelerator before their block runs.
    monkeypatch.setattr(own_pipe.unet, "precompute_motion_contexts", None)
    frames = own_pipe(**call, generator=generators(0, 1)).frames
    torch.testing.assert_close(frames, reference, atol=1e-3, rtol=0)


def test_vae_tiling_and_slicing(own_pipe, images, motion):
    call = {"image": images[0], "motion_vectors": motion[0], "num_inference_steps": 1, "output_type": "pt"}
    small = own_pipe(**call, height=32, width=32, generator=generators(0)).frames
    large = own_pipe(**call, height=32, width=48, generator=generators(0)).frames
    own_pipe.enable_vae_tiling()
    assert own_pipe.keyframe_vae.use_tiling
    # One tile is 32 pixels wide.
    assert torch.equal(small, own_pipe(**call, height=32, width=32, generator=generators(0)).frames)
    tiled = own_pipe(**call, height=32, width=48, generator=generators(0)).frames
    assert tiled.shape == large.shape and not torch.equal(tiled, large)
    own_pipe.disable_vae_tiling()
    assert not own_pipe.keyframe_vae.use_tiling
    assert torch.equal(large, own_pipe(**call, height=32, width=48, generator=generators(0)).frames)
    own_pipe.enable_vae_slicing()
    assert own_pipe.keyframe_vae.use_slicing
    own_pipe.disable_vae_slicing()
    assert not own_pipe.keyframe_vae.use_slicing


def test_vae_tiling_and_slicing_need_no_keyframe_components():
    pipe = load_detokenizer_pipeline(with_keyframes=False, with_motion_tokenizer=False)
    for name in ("vae_tiling", "vae_slicing"):
        getattr(pipe, f"enable_{name}")()
        getattr(pipe, f"disable_{name}")()


def test_long_video_joins_its_clips(pipe, tokens):
    codes, motions = tokens
    call = {**FAST, "visual_codes": [codes], "motion_codes": [motions]}
    frames = pipe(**call, generator=generators(0)).frames
    assert frames.shape == (1, 24 + 23 + 23, 3, 16, 16)
    clips = list(pipe.generate_clips(**call, generator=generators(0)))
    assert [clip.shape[1] for clip in clips] == [24, 23, 23]
    assert torch.equal(frames, torch.cat(clips, dim=1))
    # The first clip does not know of the others.
    alone = pipe(**{**call, "visual_codes": codes[0], "motion_codes": motions[0]}, generator=generators(0)).frames
    assert torch.equal(frames[:, :24], alone)
    latents = pipe(**{**call, "output_type": "latent"}, generator=generators(0)).frames
    assert latents.shape == (1, 70, 4, 8, 8)
    with torch.no_grad():
        last_frame = pipe.decode_latents(latents[:, 16:24], 8)[:, :, -1]
    torch.testing.assert_close((last_frame / 2 + 0.5).clamp(0, 1), frames[:, 23], atol=1e-5, rtol=0)
    pictures = pipe(**{**call, "output_type": "pil"}, generator=generators(0)).frames
    assert len(pictures) == 1 and len(pictures[0]) == 70


def test_batch_of_long_videos_equals_singles(pipe, tokens):
    codes, motions = tokens
    videos = {"visual_codes": [codes[:2], codes[1:]], "motion_codes": [motions[:2], motions[1:]]}
    batch = pipe(**videos, **FAST, generator=generators(0, 1)).frames
    single = pipe(
        visual_codes=codes[1:], motion_codes=motions[1:], num_clips=2, **FAST, generator=generators(1)
    ).frames
    assert batch.shape == (2, 47, 3, 16, 16)
    torch.testing.assert_close(batch[1:], single, atol=1e-3, rtol=0)


def test_noise_constraints_of_a_long_video(pipe, tokens):
    codes, motions = tokens
    call = {**FAST, "visual_codes": [codes[:2]], "motion_codes": [motions[:2]]}
    videos = {
        constraint: pipe(**call, noise_constraint=constraint, inversion_strength=0.5, generator=generators(0)).frames
        for constraint in ("ddim_inversion", "add_noise", None)
    }
    for frames in videos.values():
        assert torch.equal(frames[:, :24], videos[None][:, :24])
    assert not torch.allclose(videos["ddim_inversion"][:, 24:], videos["add_noise"][:, 24:], atol=1e-3)
    assert not torch.allclose(videos["ddim_inversion"][:, 24:], videos[None][:, 24:], atol=1e-3)

    as_noise = pipe(**call, noise_constraint="ddim_inversion", inversion_strength=1.0, generator=generators(0)).frames
    assert torch.equal(as_noise, videos[None])
    # The last frame is the next keyframe, as without codes for it.
    as_frame = pipe(**call, noise_constraint="ddim_inversion", inversion_strength=0.0, generator=generators(0)).frames
    without_codes = pipe(**{**call, "visual_codes": codes[0]}, generator=generators(0)).frames
    assert torch.equal(as_frame, without_codes)


def test_frame_is_inverted_under_the_codes_of_its_clip(own_pipe, tokens, monkeypatch):
    codes, motions = tokens
    seen = []
    keyframe_class = type(own_pipe.keyframe_pipeline)
    original = keyframe_class._invert_latents

    def record(self, latents, visual_codes, *args):
        seen.append(visual_codes)
        return original(self, latents, visual_codes, *args)

    monkeypatch.setattr(keyframe_class, "_invert_latents", record)
    own_pipe(visual_codes=[codes], motion_codes=[motions], **FAST)
    assert [[c.tolist() for c in visual_codes] for visual_codes in seen] == [[codes[0].tolist()], [codes[1].tolist()]]


def test_clips_are_handed_over_as_they_are_made(pipe, images, motion):
    call = {**FAST, "image": images[0], "motion_vectors": motion}
    frames = pipe(**call, generator=generators(0)).frames
    steps = []

    def count(pipe, step, timestep, tensors):
        steps.append(step)
        return {}

    clips = pipe.generate_clips(**call, callback_on_step_end=count, generator=generators(0))
    assert steps == []
    first = next(clips)
    assert steps == [0, 1]
    assert not first.requires_grad
    torch.testing.assert_close(first, frames[:, :24])
    clips.close()

    handed = []

    def take(pipe, index, frames):
        handed.append((index, frames))
        return frames[:, :1] if index == 1 else None

    kept = pipe(**call, callback_on_clip_end=take, generator=generators(0)).frames
    assert [index for index, _ in handed] == [0, 1, 2]
    assert torch.equal(torch.cat([clip for _, clip in handed], dim=1), frames)
    assert torch.equal(kept, frames[:, 24:25])
    assert pipe(**call, callback_on_clip_end=lambda pipe, index, frames: None).frames == []


def test_closing_the_iterator_restores_the_offloaded_models(own_pipe, images, motion):
    own_pipe.enable_model_cpu_offload(device="cpu")
    clips = own_pipe.generate_clips(image=images[0], motion_vectors=motion, **FAST)
    next(clips)
    hooks = own_pipe._all_hooks
    clips.close()
    assert own_pipe._all_hooks is not hooks and len(own_pipe._all_hooks) == len(hooks)


def test_latents_of_all_clips(pipe, images, motion):
    latents = torch.randn(1, 48, 4, 8, 8, generator=generators(3)[0])
    noise = torch.randn(1, 2, 3, 16, 16, generator=generators(4)[0])
    call = {**FAST, "image": images[0], "motion_vectors": motion[:2], "latents": latents, "keyframe_noise": noise}
    assert torch.equal(pipe(**call, generator=generators(0)).frames, pipe(**call, generator=generators(1)).frames)


def test_motion_vectors_on_any_grid(pipe, images, motion):
    call = {**FAST, "image": images[0], "generator": None, "latents": torch.zeros(1, 24, 4, 8, 8)}
    call["keyframe_noise"] = torch.zeros(1, 1, 3, 16, 16)
    frames = pipe(**call, motion_vectors=motion[0]).frames
    for same in (motion[:1], motion[None, :1], [motion[0]], [[motion[0]]], motion[0].numpy()):
        assert torch.equal(frames, pipe(**call, motion_vectors=same).frames)
    resized = torch.nn.functional.interpolate(motion[0].transpose(0, 1), size=(8, 8), mode="bicubic").transpose(0, 1)
    torch.testing.assert_close(pipe(**call, motion_vectors=resized).frames, frames, atol=1e-4, rtol=0)


def test_motion_of_a_video_is_the_same_with_and_without_its_keyframes(own_pipe, monkeypatch):
    processor = VideoLaVITVideoProcessor()
    (clips,) = processor.extract_keyframes_and_motion(VIDEO, motion_height=20, motion_width=36)
    inputs = processor(VIDEO, return_tensors="pt")
    seen = []
    original = own_pipe.denoise

    def record(latents, motion, *args, **kwargs):
        seen.append(motion)
        return original(latents, motion, *args, **kwargs)

    monkeypatch.setattr(own_pipe, "denoise", record)
    for motion_vectors in (clips.motion_vectors, inputs["motion_vectors"]):
        own_pipe(image=clips.keyframes[0], motion_vectors=motion_vectors, **{**FAST, "num_inference_steps": 1})
    assert seen[0].abs().max() > 0 and torch.equal(*seen)


def test_images_of_any_kind_and_size(pipe, motion):
    pixels = torch.randint(0, 256, (3, 20, 40), dtype=torch.uint8, generator=generators(0)[0])
    call = {**FAST, "motion_vectors": motion[0]}
    frames = pipe(image=pixels, **call, generator=generators(0)).frames
    array = pixels.movedim(0, -1).numpy()
    for same in (pixels / 255, pixels[None], array, array / 255, Image.fromarray(array), [Image.fromarray(array)]):
        torch.testing.assert_close(pipe(image=same, **call, generator=generators(0)).frames, frames, atol=1e-4, rtol=0)
    mixed = pipe(
        image=[Image.fromarray(array), Image.fromarray(array[:16, :16]).convert("L")],
        motion_vectors=[motion[0], motion[1]],
        **FAST,
        generator=generators(0, 1),
    ).frames
    torch.testing.assert_close(mixed[:1], frames, atol=1e-3, rtol=0)


def test_image_takes_the_place_of_a_decoded_keyframe(pipe, tokens):
    codes, motions = tokens
    keyframe = pipe.keyframe(
        visual_codes=codes[0], height=32, width=32, num_inference_steps=2, output_type="pt", generator=generators(5)
    ).images
    call = {**FAST, "motion_codes": motions[:2], "num_clips": 2}
    frames = pipe(image=keyframe, visual_codes=codes[:2], **call, generator=generators(0)).frames
    other = pipe(image=1 - keyframe, visual_codes=codes[:2], **call, generator=generators(0)).frames
    assert frames.shape == (1, 47, 3, 16, 16) and not torch.allclose(frames[:, 0], other[:, 0], atol=1e-2)


def test_keyframe_is_the_keyframe_pipelines_call(pipe, tokens):
    codes, _ = tokens
    call = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "pt"}
    images = pipe.keyframe(visual_codes=codes, **call, generator=generators(0, 1, 2)).images
    assert torch.equal(images, pipe.keyframe_pipeline(codes, **call, generator=generators(0, 1, 2)).images)
    parameters = inspect.signature(pipe.keyframe).parameters
    assert list(parameters)[:10] == [
        "prompt",
        "visual_codes",
        "height",
        "width",
        "num_inference_steps",
        "guidance_scale",
        "generator",
        "latents",
        "output_type",
        "return_dict",
    ]


def test_sizes_at_full_size():
    with torch.device("meta"):
        pipe = VideoLaVITDetokenizerPipeline(
            vae=AutoencoderKLTemporalDecoder(
                block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4
            ),
            unet=UNetSpatioTemporalMotionConditionModel(sample_size=96),
            scheduler=None,
            motion_encoder=None,
        )
    assert pipe.size_multiple == 64
    # Every size that was used passes: what is missing then is the keyframe.
    for height, width in ((320, 576), (512, 896), (768, 768), (512, 512)):
        with pytest.raises(ValueError, match="`language_model` and `processor`"):
            pipe(image=torch.zeros(3, 8, 8), height=height, width=width)
    with pytest.raises(ValueError, match="`height` has to be divisible by 64, but is 360: the nearest is 320 or 384"):
        pipe(image=torch.zeros(3, 8, 8), height=360, width=640)


def test_keyframes_are_generated_near_the_area_of_training(pipe):
    assert pipe.size_multiple == 4 and pipe.keyframe_pipeline.size_multiple == 16
    assert pipe.get_keyframe_size(16, 16) == (128, 128)
    assert pipe.get_keyframe_size(32, 64) == (96, 176)
    assert pipe.get_keyframe_size(256, 512) == (256, 512)


def test_missing_components(tokens, images, motion):
    pipe = load_detokenizer_pipeline(with_keyframes=False, with_motion_tokenizer=False)
    codes, motions = tokens
    assert pipe(image=images[0], motion_vectors=motion[0], **FAST).frames.shape == (1, 24, 3, 16, 16)
    with pytest.raises(ValueError, match="`motion_tokenizer`, which this pipeline was loaded without"):
        pipe(image=images[0], motion_codes=motions[0], **FAST)
    with pytest.raises(ValueError, match=r"\['keyframe_token_decoder', .*\], which this pipeline was loaded without"):
        pipe(visual_codes=codes[0], motion_vectors=motion[0], **FAST)
    for call in ({"image": images[0]}, {"prompt": "A boat", "image": images[0]}):
        with pytest.raises(
            ValueError, match="`language_model` and `processor`, which this pipeline was loaded without"
        ):
            pipe(**call, **FAST)
    with pytest.raises(ValueError, match="keyframe_unet"):
        pipe.keyframe(visual_codes=codes[0])
    pipe = load_detokenizer_pipeline(with_motion_tokenizer=False)
    with pytest.raises(ValueError, match="generated from a `prompt` by `language_model`"):
        pipe.keyframe("A boat")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 18}, "`height` has to be divisible by 4, but is 18: the nearest is 16 or 20"),
        ({"width": 2.5}, "`width` has to be divisible by 4"),
        ({"keyframe_width": 24}, "`keyframe_width` has to be divisible by 16, but is 24: the nearest is 16 or 32"),
        ({"visual_codes": [torch.tensor([64])]}, "Visual codes are from 0 to 63"),
        ({"visual_codes": torch.zeros(17, dtype=torch.long)}, "A keyframe has 1 to 16 codes"),
        ({"visual_codes": torch.tensor([True])}, "`visual_codes` has to hold integers"),
        ({"motion_codes": torch.zeros(134, dtype=torch.long)}, "The motion of a clip has 135 codes, .* one of 134"),
        ({"motion_codes": torch.full((135,), 48)}, "Motion codes are from 0 to 47, but `motion_codes` hold 48 to 48"),
        ({"motion_codes": torch.zeros(3, 135, dtype=torch.long), "num_clips": 2}, "`motion_codes` has"),
        ({"motion_codes": None, "motion_vectors": torch.zeros(2, 23, 4, 4)}, r"of shape \(2, 24, height, width\)"),
        ({"motion_codes": None, "motion_vectors": torch.full((2, 24, 4, 4), torch.nan)}, "not finite"),
        ({"motion_codes": None, "motion_vectors": torch.zeros(24, 4, 4)}, "`motion_vectors` has to be of 4 to 6"),
        ({"motion_vectors": torch.zeros(2, 24, 4, 4)}, "either `motion_codes` or `motion_vectors`"),
        ({"visual_codes": None}, "`motion_codes` need a keyframe"),
        ({"visual_codes": None, "motion_codes": None}, "Pass a `prompt`, an `image`, or `visual_codes`"),
        ({"visual_codes": [[[1]], [[2]], [[3]]]}, "`motion_codes` has"),
        ({"visual_codes": [[1], [[2]]]}, "`visual_codes` has to be one item, a list of items, or a list of clips"),
        ({"image": []}, "`image` has to hold at least one item"),
        ({"image": torch.zeros(2, 3, 8, 8), "prompt": "A boat"}, "`image` has"),
        ({"prompt": ["A boat", "A tree"], "visual_codes": [[[1]]]}, "`prompt` holds 2 prompts for 1 videos"),
        ({"prompt": 3}, "`prompt` has to be a string or a list of strings"),
        ({"num_clips": 0}, "`num_clips` has to be a positive integer"),
        ({"num_videos_per_prompt": 0}, "`num_videos_per_prompt` has to be a positive integer"),
        ({"num_inference_steps": 0}, "`num_inference_steps` has to be a positive integer"),
        ({"keyframe_num_inference_steps": 0}, "`keyframe_num_inference_steps` has to be a positive integer"),
        ({"decode_chunk_size": 0}, "`decode_chunk_size` has to be a positive integer"),
        ({"fps": 0}, "`fps` has to be positive"),
        ({"noise_aug_strength": -0.1}, "`noise_aug_strength` not negative"),
        ({"noise_constraint": "ddpm"}, "`noise_constraint` has to be None or one of ddim_inversion, add_noise"),
        ({"inversion_strength": -0.1}, "`inversion_strength` has to be from 0 to 1"),
        ({"generator": generators(0, 1)}, "2 generators for a batch of 1"),
        ({"latents": torch.zeros(1, 24, 4, 4, 4)}, r"`latents` have to be of shape \(1, 24, 4, 8, 8\)"),
        ({"keyframe_noise": torch.zeros(1, 3, 16, 16)}, r"`keyframe_noise` has to be of shape \(1, 1, 3, 16, 16\)"),
        ({"output_type": "mp4"}, "`output_type` has to be"),
        ({"callback_on_step_end_tensor_inputs": ["motion"]}, r"holds \['motion'\]"),
    ],
)
def test_bad_inputs_are_refused_before_anything_is_computed(pipe, tokens, arguments, message, monkeypatch):
    def compute(*args, **kwargs):
        raise AssertionError("computed something")

    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            monkeypatch.setattr(component, "forward", compute)
    codes, motions = tokens
    with pytest.raises(ValueError, match=message):
        pipe(**{"visual_codes": codes[0], "motion_codes": motions[0], **FAST, **arguments})
    # The iterator is refused when it is asked for, not when it is first used.
    with pytest.raises(ValueError, match=message):
        pipe.generate_clips(**{"visual_codes": codes[0], "motion_codes": motions[0], **FAST, **arguments})
