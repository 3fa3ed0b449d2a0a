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
"""Saving and loading of the pipelines, and what they share."""

import json
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, EulerDiscreteScheduler
from diffusers.pipelines.pipeline_loading_utils import _get_custom_components_and_folders
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tiny_diffusers_models import expected, load_video_unet, visual_codes
from tiny_pipelines import generators, load_detokenizer_pipeline, load_keyframe_pipeline

from diffusers_videolavit import VideoLaVITDetokenizerPipeline, VideoLaVITKeyframePipeline
from diffusers_videolavit.pipeline_utils import check_size, resize_images


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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline with all components, the folder it was saved to, and what it generates."""
    pipe = load_detokenizer_pipeline(with_language_model=True)
    folder = tmp_path_factory.mktemp("pipeline")
    pipe.save_pretrained(folder)
    return pipe, folder, generate(pipe)


def align_weights(pipe):
    """
    Copies weights to where PyTorch would put them. In a file they lie anywhere, which decides on some processors which kernel
    computes, and so on the last bits.
    """
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            for tensor in (*component.parameters(), *component.buffers()):
                tensor.data = tensor.data.clone()
    return pipe


def generate(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe("A boat", **FAST, generator=generators(0)).frames


def test_saved_pipeline_generates_the_same(saved, tmp_path):
    pipe, folder, frames = saved
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(folder)
    assert {name: type(component) for name, component in loaded.components.items()} == {
        name: type(component) for name, component in pipe.components.items()
    }
    assert torch.equal(generate(align_weights(loaded)), frames)
    loaded.save_pretrained(tmp_path)
    index, saved_again = (json.loads((path / "model_index.json").read_text()) for path in (folder, tmp_path))
    assert saved_again.pop("_name_or_path") == str(folder)
    assert saved_again == index
    assert all(not list(path.rglob("*.bin")) for path in (folder, tmp_path))


def test_diffusion_pipeline_loads_it(saved):
    _, folder, frames = saved
    loaded = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(loaded) is VideoLaVITDetokenizerPipeline
    assert torch.equal(generate(align_weights(loaded)), frames)
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(folder)


def test_a_fresh_process_loads_it(saved):
    _, folder, _ = saved
    # Nothing of ours is imported before: the saved files lead to both packages.
    code = f"from diffusers import DiffusionPipeline as P; P.from_pretrained({str(folder)!r}, trust_remote_code=True)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_pixels_do_not_import_the_language_models_package(tmp_path):
    load_detokenizer_pipeline(with_motion_tokenizer=False).save_pretrained(tmp_path)
    code = (
        "import sys; from diffusers_videolavit import VideoLaVITDetokenizerPipeline as P; "
        f"P.from_pretrained({str(tmp_path)!r}); assert 'transformers_videolavit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_hub_has_all_files_that_the_index_names(saved):
    _, folder, _ = saved
    index = json.loads((folder / "model_index.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert f"{index['_class_name'][0]}.py" in files
    components, _ = _get_custom_components_and_folders("owner/name", index, files)
    assert set(components) == {
        "keyframe_token_decoder",
        "language_model",
        "motion_encoder",
        "motion_tokenizer",
        "processor",
        "unet",
    }
    # Whatever module the class is defined in.
    assert index["unet"] == ["videolavit", "UNetSpatioTemporalMotionConditionModel"]


def test_missing_optional_components_stay_missing(tmp_path):
    pipe = load_detokenizer_pipeline(with_keyframes=False, with_motion_tokenizer=False)
    pipe.save_pretrained(tmp_path)
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path)
    for name in VideoLaVITDetokenizerPipeline._optional_components:
        assert loaded.components[name] is None
    call = {"image": torch.zeros(3, 16, 16), "motion_vectors": expected()["motion/motion_vectors"][0], **FAST}
    assert torch.equal(pipe(**call, generator=generators(0)).frames, loaded(**call, generator=generators(0)).frames)


def test_components_can_be_passed_or_left_out(saved):
    _, folder, _ = saved
    unet = load_video_unet()
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(folder, language_model=None, processor=None, unet=unet)
    assert loaded.language_model is None and loaded.processor is None and loaded.unet is unet


def test_a_data_type_a_component(saved):
    _, folder, _ = saved
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert {component.dtype for component in loaded.components.values() if isinstance(component, torch.nn.Module)} == {
        torch.bfloat16
    }
    assert torch.isfinite(generate(loaded)).all()
    dtypes = {"vae": torch.float32, "language_model": torch.float16, "default": torch.bfloat16}
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(folder, torch_dtype=dtypes)
    assert loaded.vae.dtype == torch.float32 and loaded.language_model.dtype == torch.float16
    assert loaded.unet.dtype == loaded.keyframe_unet.dtype == torch.bfloat16
    assert torch.isfinite(generate(loaded)).all()


def test_variants(tmp_path):
    pipe = load_detokenizer_pipeline()
    pipe.save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    assert (tmp_path / "motion_tokenizer" / "model.fp16.safetensors").is_file()
    loaded = VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path, variant="fp16")
    for (name, weight), (_, other) in zip(pipe.unet.named_parameters(), loaded.unet.named_parameters(), strict=True):
        assert torch.equal(weight, other), name
    with pytest.raises(ValueError, match="variant=bf16"):
        VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path, variant="bf16")
    with pytest.raises(OSError):
        VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path)


def test_keyframe_pipeline_saves_and_loads(tmp_path):
    pipe = load_keyframe_pipeline()
    codes = visual_codes(expected())
    call = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "pt"}
    images = pipe(codes, **call, generator=generators(0, 1, 2)).images
    pipe.save_pretrained(tmp_path)
    for loaded in (
        VideoLaVITKeyframePipeline.from_pretrained(tmp_path),
        DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True),
    ):
        assert type(loaded) is VideoLaVITKeyframePipeline
        loaded.set_progress_bar_config(disable=True)
        assert torch.equal(images, loaded(codes, **call, generator=generators(0, 1, 2)).images)


def test_replaced_component_is_saved(tmp_path):
    pipe = load_keyframe_pipeline()
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(tmp_path)
    loaded = VideoLaVITKeyframePipeline.from_pretrained(tmp_path)
    assert type(loaded.scheduler) is EulerDiscreteScheduler and type(loaded.vae) is AutoencoderKL


def test_lora_of_the_video_unet():
    unet = load_video_unet()
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_k", "to_v"], init_lora_weights=False))
    weights = {f"unet.{name}": weight for name, weight in get_peft_model_state_dict(unet).items()}
    pipe = load_detokenizer_pipeline(with_keyframes=False, with_motion_tokenizer=False)
    call = {"image": torch.zeros(3, 16, 16), "motion_vectors": expected()["motion/motion_vectors"][0], **FAST}
    frames = pipe(**call, generator=generators(0)).frames
    pipe.load_lora_weights(weights)
    adapted = pipe(**call, generator=generators(0)).frames
    assert not torch.allclose(frames, adapted, atol=1e-3)
    pipe.disable_lora()
    torch.testing.assert_close(pipe(**call, generator=generators(0)).frames, frames, atol=1e-4, rtol=0)
    pipe.enable_lora()
    pipe.unet = unet
    torch.testing.assert_close(pipe(**call, generator=generators(0)).frames, adapted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((100, 64), "`height` has to be divisible by 64, but is 100: the nearest is 64 or 128"),
        ((64, 7), "`width` has to be divisible by 64, but is 7: the nearest is 64"),
        ((0, 64), "`height` has to be divisible by 64, but is 0: the nearest is 64"),
        ((64, 64.0), "`width` has to be divisible by 64, but is 64.0"),
    ],
)
def test_sizes_that_cannot_be_halved_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        check_size(*size, multiple=64)
    check_size(64, 128, multiple=64)


def test_resized_images_stay_images():
    images = torch.zeros(2, 3, 8, 8)
    images[:, :, 4:] = 1.0
    resized = resize_images(images, 16, 4)
    assert resized.shape == (2, 3, 16, 4) and resized.min() == 0 and resized.max() == 1
    assert resize_images(images, 8, 8) is images
