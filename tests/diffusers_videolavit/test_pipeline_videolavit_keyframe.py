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
"""The keyframe pipeline against the reference's images and the behaviours of diffusers' own pipelines."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from diffusers.callbacks import SDCFGCutoffCallback
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tiny_diffusers_models import expected, visual_codes
from tiny_pipelines import generators, load_keyframe_pipeline

from diffusers_videolavit import pipeline_videolavit_keyframe
from diffusers_videolavit.pipeline_output import VideoLaVITKeyframePipelineOutput


torch.set_num_threads(1)

SIZE = {"height": 32, "width": 32}
FAST = {**SIZE, "num_inference_steps": 2, "output_type": "pt"}


@pytest.fixture(scope="module")
def golden():
    return expected()


@pytest.fixture(scope="module")
def codes(golden):
    return visual_codes(golden)


@pytest.fixture(scope="module")
def pipe():
    return load_keyframe_pipeline()


@pytest.fixture
def own_pipe():
    return load_keyframe_pipeline()


def test_images_equal_the_reference(pipe, golden, codes):
    images = pipe(
        codes, height=64, width=64, num_inference_steps=5, latents=golden["keyframe/latents"], output_type="np"
    ).images
    np.testing.assert_allclose(images, golden["keyframe/images"].numpy(), atol=1e-4)


def test_announced_arguments():
    parameters = inspect.signature(pipeline_videolavit_keyframe.VideoLaVITKeyframePipeline.__call__).parameters
    for name in ("height", "width", "num_inference_steps", "generator", "latents", "output_type", "return_dict"):
        assert parameters[name].default is not inspect.Parameter.empty
    assert parameters["height"].default == parameters["width"].default == 1024
    assert parameters["num_inference_steps"].default == 50 and parameters["guidance_scale"].default == 7.0


def test_batch_equals_singles(pipe, codes):
    batch = pipe(codes, **FAST, generator=generators(0, 1, 2)).images
    assert batch.shape == (3, 3, 32, 32)
    for i in range(3):
        single = pipe(codes[i], **FAST, generator=generators(i)[0]).images
        torch.testing.assert_close(batch[i : i + 1], single, atol=1e-4, rtol=0)


def test_several_images_a_keyframe(pipe, codes):
    images = pipe(codes[:2], **FAST, num_images_per_prompt=2, generator=generators(0, 1, 2, 3)).images
    single = pipe(codes[1], **FAST, generator=generators(2)).images
    torch.testing.assert_close(images[2:3], single, atol=1e-4, rtol=0)


def test_same_seed_same_image(pipe, codes):
    first = pipe(codes[0], **FAST, generator=generators(0)[0]).images
    assert torch.equal(first, pipe(codes[0], **FAST, generator=generators(0)[0]).images)
    assert not torch.equal(first, pipe(codes[0], **FAST, generator=generators(1)[0]).images)


def test_dict_equals_tuple_and_output_types(pipe, codes):
    call = {**SIZE, "num_inference_steps": 2}
    output = pipe(codes[0], **call, output_type="np", generator=generators(0))
    images = pipe(codes[0], **call, output_type="np", generator=generators(0), return_dict=False)
    assert isinstance(output, VideoLaVITKeyframePipelineOutput) and isinstance(images, tuple)
    np.testing.assert_array_equal(output.images, images[0])
    tensor = pipe(codes[0], **call, output_type="pt", generator=generators(0)).images
    np.testing.assert_allclose(tensor.movedim(1, -1).numpy(), output.images, atol=1e-6)
    picture = pipe(codes[0], **call, generator=generators(0)).images[0]
    assert picture.size == (32, 32)
    np.testing.assert_allclose(np.asarray(picture) / 255, output.images[0], atol=1 / 255)
    latents = pipe(codes[0], **call, output_type="latent", generator=generators(0)).images
    assert latents.shape == (1, 4, 4, 4)
    np.testing.assert_allclose(
        (pipe.decode_latents(latents) / 2 + 0.5).clamp(0, 1).detach().numpy(), tensor.numpy(), atol=1e-5
    )


def test_codes_as_tensor_list_and_integers(pipe, codes):
    images = pipe(codes[0], **FAST, generator=generators(0)).images
    for same in (codes[0][None], [codes[0]], codes[0].tolist(), codes[0].numpy(), [codes[0].tolist()]):
        assert torch.equal(images, pipe(same, **FAST, generator=generators(0)).images)


def test_guidance_changes_the_output(pipe, codes):
    images = [
        pipe(codes[0], **FAST, guidance_scale=scale, generator=generators(0)).images for scale in (1.0, 3.0, 7.0)
    ]
    assert not torch.allclose(images[0], images[1]) and not torch.allclose(images[1], images[2])
    assert pipe.guidance_scale == 7.0 and pipe.num_timesteps == 2


def test_callback_sees_and_replaces_tensors(pipe, codes):
    seen = []

    def zero_at_the_end(pipe, step, timestep, tensors):
        assert pipe.current_timestep == timestep
        seen.append((step, int(timestep), sorted(tensors)))
        if step == pipe.num_timesteps - 1:
            tensors["latents"] = torch.zeros_like(tensors["latents"])
        return tensors

    names = pipe._callback_tensor_inputs
    latents = pipe(
        codes[0],
        **{**FAST, "output_type": "latent"},
        callback_on_step_end=zero_at_the_end,
        callback_on_step_end_tensor_inputs=names,
    ).images
    assert latents.abs().sum() == 0
    assert seen == [(0, 501, sorted(names)), (1, 1, sorted(names))]


def test_callback_changes_the_guidance_scale(pipe, codes):
    def increase(pipe, step, timestep, tensors):
        pipe._guidance_scale += 1.0
        return tensors

    pipe(codes[0], **FAST, guidance_scale=2.0, callback_on_step_end=increase)
    assert pipe.guidance_scale == 2.0 + pipe.num_timesteps


def test_callback_turns_guidance_off(own_pipe, codes):
    def turn_off(pipe, step, timestep, tensors):
        pipe._guidance_scale = 0.0
        return tensors

    def turn_off_and_halve(pipe, step, timestep, tensors):
        if step == 0:
            pipe._guidance_scale = 0.0
            tensors = {name: tensor.chunk(2)[-1] if "embeds" in name else tensor for name, tensor in tensors.items()}
        return tensors

    def ignore_the_unconditional_branch(pipe, step, timestep, tensors):
        pipe._guidance_scale = 1 + 1e-6
        return tensors

    batch_sizes = []
    own_pipe.unet.register_forward_pre_hook(lambda module, inputs: batch_sizes.append(len(inputs[0])))
    names = own_pipe._callback_tensor_inputs
    call = {**FAST, "num_inference_steps": 3, "callback_on_step_end_tensor_inputs": names}
    conditional, *images = (
        own_pipe(codes[:2], **call, callback_on_step_end=callback, generator=generators(0, 1)).images
        for callback in (ignore_the_unconditional_branch, turn_off, turn_off_and_halve)
    )
    assert batch_sizes == [4, 4, 4] + 2 * [4, 2, 2]
    torch.testing.assert_close(images[0], conditional, atol=1e-4, rtol=0)
    assert torch.equal(*images)

    # One of diffusers' own.
    call["callback_on_step_end_tensor_inputs"] = ["prompt_embeds"]
    cut_off = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
    image = own_pipe(codes[1], **call, callback_on_step_end=cut_off, generator=generators(1)).images
    torch.testing.assert_close(image, conditional[1:], atol=1e-4, rtol=0)


def test_euler_ancestral_scheduler_draws_from_the_generators(own_pipe, codes):
    own_pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(own_pipe.scheduler.config)
    batch = own_pipe(codes[:2], **FAST, generator=generators(0, 1)).images
    single = own_pipe(codes[1], **FAST, generator=generators(1)).images
    torch.testing.assert_close(batch[1:], single, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(own_pipe, codes, dtype):
    reference = own_pipe(codes, **FAST, generator=generators(0, 1, 2)).images
    images = own_pipe.to(dtype)(codes, **FAST, generator=generators(0, 1, 2)).images
    assert own_pipe.vae.dtype == dtype
    assert torch.isfinite(images).all()
    assert (images - reference).abs().mean() < 0.05


def test_a_data_type_a_component(own_pipe, codes):
    reference = own_pipe(codes[:1], **FAST, generator=generators(0)).images
    own_pipe.token_decoder.to(torch.float16)
    own_pipe.unet.to(torch.bfloat16)
    images = own_pipe(codes[:1], **FAST, generator=generators(0)).images
    assert (images - reference).abs().mean() < 0.05


def test_model_offload_gives_the_same(own_pipe, codes):
    reference = own_pipe(codes, **FAST, generator=generators(0, 1, 2)).images
    own_pipe.enable_model_cpu_offload(device="cpu")
    for _ in range(2):
        assert torch.equal(reference, own_pipe(codes, **FAST, generator=generators(0, 1, 2)).images)


def test_vae_slicing_and_tiling(own_pipe, codes):
    call = {**FAST, "height": 128, "width": 64}
    reference = own_pipe(codes[:2], **call, generator=generators(0, 1)).images
    own_pipe.enable_vae_slicing()
    sliced = own_pipe(codes[:2], **call, generator=generators(0, 1)).images
    torch.testing.assert_close(sliced, reference, atol=1e-5, rtol=0)
    own_pipe.disable_vae_slicing()
    own_pipe.enable_vae_tiling()
    assert own_pipe.vae.use_tiling
    tiled = own_pipe(codes[:2], **call, generator=generators(0, 1)).images
    assert tiled.shape == reference.shape and not torch.equal(tiled, reference)
    own_pipe.disable_vae_tiling()
    assert torch.equal(reference, own_pipe(codes[:2], **call, generator=generators(0, 1)).images)


def test_lora_of_the_unet(own_pipe, codes, tmp_path):
    reference = own_pipe(codes[0], **FAST, generator=generators(0)).images
    own_pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    adapted = own_pipe(codes[0], **FAST, generator=generators(0)).images
    own_pipe.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(own_pipe.unet))

    other = load_keyframe_pipeline()
    other.load_lora_weights(tmp_path, adapter_name="style")
    assert other.get_active_adapters() == ["style"]
    torch.testing.assert_close(other(codes[0], **FAST, generator=generators(0)).images, adapted)
    other.fuse_lora()
    torch.testing.assert_close(other(codes[0], **FAST, generator=generators(0)).images, adapted, atol=1e-4, rtol=0)
    other.unfuse_lora()
    other.unload_lora_weights()
    torch.testing.assert_close(other(codes[0], **FAST, generator=generators(0)).images, reference, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="Invalid LoRA checkpoint"):
        other.load_lora_weights({"unet.conv_in.weight": torch.zeros(1)})


@pytest.fixture(scope="module")
def frames(golden):
    return golden["keyframe/images"].movedim(-1, 1)


@pytest.mark.parametrize("scheduler_class", [None, EulerDiscreteScheduler])
@pytest.mark.parametrize("with_codes", [True, False])
def test_inversion_and_denoising_return_the_frame(own_pipe, codes, frames, scheduler_class, with_codes):
    if scheduler_class is not None:
        own_pipe.scheduler = scheduler_class.from_config(own_pipe.scheduler.config)
    latents = own_pipe.encode_image(frames)

    def get_error(num_inference_steps):
        if with_codes:
            returned = own_pipe(
                codes,
                height=64,
                width=64,
                num_inference_steps=num_inference_steps,
                guidance_scale=1.0,
                image=frames,
                image_visual_codes=codes,
                inversion_strength=0.6,
                output_type="latent",
            ).images
        else:  # the unconditional branch in both directions
            returned = own_pipe.invert(frames, None, 64, 64, num_inference_steps, 0.6)
            zeros = [torch.zeros_like(embeds) for embeds in own_pipe.encode_codes(codes)]
            for t in own_pipe.get_timesteps(num_inference_steps, 0.6):
                model_input = own_pipe.scheduler.scale_model_input(returned, t)
                with torch.no_grad():
                    noise = own_pipe.predict_noise(model_input, t, *zeros, own_pipe.get_time_ids(64, 64, 3))
                returned = own_pipe.scheduler.step(noise, t, returned, return_dict=False)[0]
        return (returned - latents).square().mean().sqrt().item()

    errors = [get_error(num_inference_steps) for num_inference_steps in (10, 40, 160)]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_inversion_is_the_same_by_the_noise_and_by_the_velocity(own_pipe, codes, frames, monkeypatch):
    own_pipe.scheduler.register_to_config(set_alpha_to_one=False)
    expected = own_pipe.invert(frames, codes, 64, 64, num_inference_steps=5)
    predict_noise = own_pipe.predict_noise

    def predict_velocity(latents, timestep, *conditions):
        # As v = √ᾱ ε − √(1 − ᾱ) x₀ and x = √ᾱ x₀ + √(1 − ᾱ) ε.
        alpha = own_pipe.scheduler.alphas_cumprod[timestep.long()]
        return (predict_noise(latents, timestep, *conditions) - (1 - alpha).sqrt() * latents) / alpha.sqrt()

    monkeypatch.setattr(own_pipe, "predict_noise", predict_velocity)
    own_pipe.scheduler.register_to_config(prediction_type="v_prediction")
    inverted = own_pipe.invert(frames, codes, 64, 64, num_inference_steps=5)
    torch.testing.assert_close(inverted, expected, atol=3e-4, rtol=0)


def test_inversion_is_deterministic_and_a_batch_equals_its_members(pipe, own_pipe, codes, frames):
    inverted = pipe.invert(frames, codes, 64, 64, num_inference_steps=5)
    assert torch.equal(inverted, pipe.invert(frames, codes, 64, 64, num_inference_steps=5))
    # In single precision, sums that processors order differently would hide what a batch has to do with it.
    own_pipe.to(torch.float64)
    inverted, single = (
        own_pipe.invert(frames[chosen].double(), codes_of_them, 64, 64, num_inference_steps=5)
        for chosen, codes_of_them in ((slice(None), codes), (1, codes[1]))
    )
    torch.testing.assert_close(inverted[1:2], single, atol=1e-6, rtol=0)


@pytest.mark.parametrize("noise_constraint", ["ddim_inversion", "add_noise"])
def test_inversion_strength(pipe, codes, frames, noise_constraint):
    call = {"height": 64, "width": 64, "num_inference_steps": 4, "output_type": "pt"}
    constrained = {**call, "image": frames[:1], "noise_constraint": noise_constraint}
    free = pipe(codes[1], **call, generator=generators(0)).images

    same = pipe(codes[1], **constrained, inversion_strength=0.0, generator=generators(0)).images
    assert torch.equal(same, frames[:1])
    noise = pipe(codes[1], **constrained, inversion_strength=1.0, generator=generators(0)).images
    assert torch.equal(noise, free)
    unconstrained = {**constrained, "noise_constraint": None}
    assert torch.equal(free, pipe(codes[1], **unconstrained, generator=generators(0)).images)

    between = pipe(codes[1], **constrained, inversion_strength=0.5, generator=generators(0)).images
    assert pipe.num_timesteps == 2
    assert not torch.allclose(between, free) and not torch.allclose(between, frames[:1])
    repeated = pipe(codes[1], **constrained, inversion_strength=0.5, generator=generators(7)).images
    # Inversion draws no noise.
    assert torch.equal(between, repeated) == (noise_constraint == "ddim_inversion")


@pytest.mark.parametrize("noise_constraint", ["ddim_inversion", "add_noise"])
def test_constrained_batch_equals_singles(pipe, codes, frames, noise_constraint):
    call = {**FAST, "height": 64, "width": 64, "noise_constraint": noise_constraint, "inversion_strength": 0.5}
    batch = pipe(codes, **call, image=frames, image_visual_codes=codes[::-1], generator=generators(0, 1, 2)).images
    single = pipe(codes[2], **call, image=frames[2], image_visual_codes=codes[0], generator=generators(2)).images
    torch.testing.assert_close(batch[2:], single, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 40}, r"`height` has to be divisible by 16, but is 40: the nearest is 32 or 48"),
        ({"width": 8}, r"`width` has to be divisible by 16, but is 8: the nearest is 16"),
        ({"visual_codes": []}, "at least one keyframe"),
        ({"visual_codes": torch.zeros(0, dtype=torch.long)}, "A keyframe has 1 to 16 codes, but keyframe 0 .* has 0"),
        ({"visual_codes": [torch.tensor([1]), torch.zeros(17, dtype=torch.long)]}, "keyframe 1 .* has 17"),
        ({"visual_codes": torch.tensor([3, 64])}, "Visual codes are from 0 to 63, but keyframe 0 .* holds 3 to 64"),
        ({"visual_codes": torch.tensor([-1])}, "holds -1 to -1"),
        ({"visual_codes": torch.tensor([0.5])}, "has to hold integers"),
        ({"visual_codes": "codes"}, "has to be a tensor or a list"),
        ({"num_inference_steps": 0}, "`num_inference_steps` has to be a positive integer"),
        ({"num_images_per_prompt": 0}, "`num_images_per_prompt` has to be a positive integer"),
        ({"generator": generators(0, 1)}, "2 generators for a batch of 1"),
        ({"latents": torch.zeros(1, 4, 8, 8)}, r"`latents` have to be of shape \(1, 4, 4, 4\)"),
        ({"output_type": "jpeg"}, "`output_type` has to be"),
        ({"noise_constraint": "ddpm"}, "`noise_constraint` has to be None or one of"),
        ({"inversion_strength": 1.5}, "`inversion_strength` has to be from 0 to 1"),
        ({"image": torch.zeros(2, 3, 32, 32)}, "`image` holds 2 images for 1 keyframes"),
        ({"image": torch.full((3, 32, 32), -1.0)}, "values of `image` have to be from 0 to 1"),
        ({"image": torch.zeros(1, 32, 32)}, "`image` has to be a PIL image"),
        ({"image_visual_codes": torch.tensor([1])}, "`image`, which is not given"),
        ({"image": torch.zeros(3, 8, 8), "image_visual_codes": [[1], [2]]}, "codes of 2 images, but `image` 1"),
        ({"callback_on_step_end_tensor_inputs": ["noise_pred"]}, r"holds \['noise_pred'\]"),
    ],
)
def test_bad_inputs_are_refused_before_anything_is_computed(pipe, codes, arguments, message, monkeypatch):
    def compute(*args, **kwargs):
        raise AssertionError("computed something")

    for name in ("token_decoder", "unet", "vae"):
        monkeypatch.setattr(getattr(pipe, name), "forward", compute)
    with pytest.raises(ValueError, match=message):
        pipe(**{"visual_codes": codes[0], **SIZE, **arguments})


def test_inversion_refuses_what_it_cannot_do(own_pipe, codes, frames):
    with pytest.raises(ValueError, match="codes of 1 images, but `image` 3"):
        own_pipe.invert(frames, codes[:1], 64, 64)
    own_pipe.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(ValueError, match="prediction type `epsilon` or `v_prediction`, but it is `sample`"):
        own_pipe.invert(frames, codes, 64, 64)
