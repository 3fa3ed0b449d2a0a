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
"""The tiny reference checkpoint in `tests/fixtures/tiny/checkpoint`, loaded into the diffusers models and schedulers."""

import importlib.util
import json
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, SchedulerMixin, UNet2DConditionModel
from safetensors.torch import load_file

from diffusers_videolavit import (
    KeyframeTokenDecoder,
    MotionConditionEncoder,
    UNetSpatioTemporalMotionConditionModel,
)


FIXTURES = Path(__file__).parent / "fixtures"
TINY = FIXTURES / "tiny"
CHECKPOINT = TINY / "checkpoint"

# Ids of the language model's vocabulary around the visual codes.
IMAGE_START_TOKEN_ID = 32000
IMAGE_END_TOKEN_ID = 32001
VISUAL_CODE_OFFSET = 32002


def load_conversion_module(name: str):
    """Imports `conversion/<name>.py`, which belongs to no package."""
    path = Path(__file__).parents[1] / "conversion" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the reference model for the tiny checkpoint."""
    return load_file(TINY / "expected.safetensors")


def sizes() -> dict:
    """The sizes of the tiny checkpoint."""
    return json.loads((TINY / "sizes.json").read_text())


def visual_codes(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The visual codes of the reference's three keyframes, without their start and end tokens."""
    codes = []
    for i in range(3):
        ids = tensors[f"visual/token_ids.{i}"]
        assert ids[0] == IMAGE_START_TOKEN_ID and ids[-1] == IMAGE_END_TOKEN_ID
        codes.append(ids[1:-1] - VISUAL_CODE_OFFSET)
    return codes


def load_pickle(path: Path | str) -> dict[str, torch.Tensor]:
    """The weights of a `.bin` file of the tiny checkpoint."""
    return dict(torch.load(CHECKPOINT / path, weights_only=True))


def motion_encoder_config() -> dict:
    size = sizes()
    return {
        "hidden_size": size["mdim"],
        "num_layers": 2,
        "num_attention_heads": size["mheads"],
        "cross_attention_dim": size["cad"],
    }


def keyframe_token_decoder_config() -> dict:
    size = sizes()
    return {
        "codebook_size": size["ncode"],
        "codebook_dim": size["cdim"],
        "num_positions": (size["img"] // 14) ** 2,
        "hidden_size": size["width"],
        "intermediate_size": int(size["width"] * 4.3637),
        "num_layers": 2,
        "num_attention_heads": size["dec_h"],
        "out_channels": size["dec_out"],
        "prompt_embed_dims": (size["p1"], size["p2"]),
        "pooled_embed_dim": size["p2"],
    }


def video_unet_config() -> dict:
    config = json.loads((CHECKPOINT / "video_detokenizer" / "unet" / "config.json").read_text())
    return {name: value for name, value in config.items() if not name.startswith("_")}


def load_motion_encoder() -> MotionConditionEncoder:
    weights, _ = load_conversion_module("parameter_names_diffusers").convert_video_3d_unet(
        load_pickle("video_3d_unet.bin")
    )
    model = MotionConditionEncoder(**motion_encoder_config())
    model.load_state_dict(weights)
    return model.eval()


def load_video_unet() -> UNetSpatioTemporalMotionConditionModel:
    _, weights = load_conversion_module("parameter_names_diffusers").convert_video_3d_unet(
        load_pickle("video_3d_unet.bin")
    )
    model = UNetSpatioTemporalMotionConditionModel(**video_unet_config())
    model.load_state_dict(weights)
    return model.eval()


def load_keyframe_token_decoder() -> KeyframeTokenDecoder:
    conversion = load_conversion_module("parameter_names_diffusers")
    weights = conversion.convert_keyframe_token_decoder(
        load_pickle("visual_tokenizer/highres_tokenizer_decoder.bin"),
        load_pickle("visual_tokenizer/tokenizer_encoder.bin")[conversion.CODEBOOK_NAME],
    )
    model = KeyframeTokenDecoder(**keyframe_token_decoder_config())
    model.load_state_dict(weights)
    return model.eval()


def load_keyframe_unet() -> UNet2DConditionModel:
    folder = Path("image_detokenizer") / "unet"
    model = UNet2DConditionModel.from_config(json.loads((CHECKPOINT / folder / "config.json").read_text()))
    model.load_state_dict(load_pickle(folder / "diffusion_pytorch_model.bin"))
    return model.eval()


def load_keyframe_vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(CHECKPOINT / "image_detokenizer" / "vae").eval()


def load_video_vae() -> AutoencoderKLTemporalDecoder:
    return AutoencoderKLTemporalDecoder.from_pretrained(CHECKPOINT / "video_detokenizer" / "vae").eval()


def load_keyframe_scheduler() -> SchedulerMixin:
    return _load_scheduler("image_detokenizer")


def load_video_scheduler() -> SchedulerMixin:
    return _load_scheduler("video_detokenizer")


def _load_scheduler(part: str) -> SchedulerMixin:
    folder = CHECKPOINT / part / "scheduler"
    name = json.loads((folder / "scheduler_config.json").read_text())["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder)
