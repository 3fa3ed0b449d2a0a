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
"""
Video-LaVIT's real classes at a small size, with seeded random weights and a tokenizer made on the spot: everything runs,
nothing is downloaded, and what comes out means nothing.

    python examples/small_random_model.py --output_dir small-random-video-lavit
"""

import argparse
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
)
from training.text_tokenizer import train_text_tokenizer

from diffusers_videolavit import (
    KeyframeTokenDecoder,
    MotionConditionEncoder,
    UNetSpatioTemporalMotionConditionModel,
    VideoLaVITDetokenizerPipeline,
)
from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITForCausalLM,
    VideoLaVITImageProcessor,
    VideoLaVITProcessor,
    VideoLaVITVideoProcessor,
    build_videolavit_tokenizer,
)


SEED = 0
TEXT_VOCAB_SIZE = 640
NUM_VISUAL_CODES = 1024
NUM_MOTION_CODES = 256


def small_config() -> VideoLaVITConfig:
    """A configuration of about a million parameters: 256 patches an image and 135 motion tokens a clip, as full size."""
    image_start = TEXT_VOCAB_SIZE
    motion_start = image_start + 2 + NUM_VISUAL_CODES
    return VideoLaVITConfig(
        text_config={
            "vocab_size": motion_start + 2 + NUM_MOTION_CODES,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "projection_dim": 32,
        },
        keyframe_tokenizer_config={
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "codebook_size": NUM_VISUAL_CODES,
        },
        motion_tokenizer_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_layers_per_stage": 1,
            "codebook_size": NUM_MOTION_CODES,
        },
        image_start_token_id=image_start,
        image_end_token_id=image_start + 1,
        visual_code_offset=image_start + 2,
        motion_start_token_id=motion_start,
        motion_end_token_id=motion_start + 1,
        motion_code_offset=motion_start + 2,
        num_motion_codes=NUM_MOTION_CODES,
    )


def build_processor(config: VideoLaVITConfig) -> VideoLaVITProcessor:
    """The processor that belongs to a model of `config`, with a tokenizer trained on this repository's README."""
    readme = Path(__file__).parents[1] / "README.md"
    tokenizer = build_videolavit_tokenizer(
        train_text_tokenizer([readme.read_text(encoding="utf-8")], TEXT_VOCAB_SIZE), config
    )
    return VideoLaVITProcessor(VideoLaVITImageProcessor(), tokenizer, VideoLaVITVideoProcessor())


def build_language_model(seed: int = SEED) -> tuple[VideoLaVITForCausalLM, VideoLaVITProcessor]:
    """The language model with both tokenizers, and its processor."""
    config = small_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VideoLaVITForCausalLM(config).eval()
    return model, build_processor(config)


def build_detokenizer(
    model: VideoLaVITForCausalLM, processor: VideoLaVITProcessor, seed: int = SEED
) -> VideoLaVITDetokenizerPipeline:
    """The pipeline from the tokens of `model` to pixels, with the released checkpoint's schedulers."""
    config = model.config.keyframe_tokenizer_config
    cross_attention_dim, pooled_embed_dim, addition_time_embed_dim = 64, 32, 8
    vae_blocks = {"block_out_channels": (32,) * 4, "layers_per_block": 1}
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoLaVITDetokenizerPipeline(
            vae=AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * 4, **vae_blocks),
            unet=UNetSpatioTemporalMotionConditionModel(
                sample_size=8,
                block_out_channels=(32, 32, 64, 64),
                layers_per_block=1,
                num_attention_heads=(2, 2, 4, 4),
                cross_attention_dim=cross_attention_dim,
                addition_time_embed_dim=32,
                projection_class_embeddings_input_dim=96,
                num_frames=model.config.motion_tokenizer_config.num_frames,
            ),
            scheduler=EulerDiscreteScheduler(
                prediction_type="v_prediction",
                timestep_type="continuous",
                timestep_spacing="leading",
                use_karras_sigmas=True,
                sigma_min=0.002,
                sigma_max=700.0,
                **noise,
            ),
            motion_encoder=MotionConditionEncoder(
                hidden_size=32, num_layers=2, num_attention_heads=4, cross_attention_dim=cross_attention_dim
            ),
            keyframe_token_decoder=KeyframeTokenDecoder(
                codebook_size=config.codebook_size,
                codebook_dim=config.codebook_dim,
                num_positions=model.config.num_image_tokens,
                hidden_size=64,
                intermediate_size=128,
                num_layers=2,
                num_attention_heads=4,
                out_channels=64,
                prompt_embed_dims=(32, cross_attention_dim - 32),
                pooled_embed_dim=pooled_embed_dim,
            ),
            keyframe_unet=UNet2DConditionModel(
                sample_size=8,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                block_out_channels=(32, 64),
                layers_per_block=1,
                attention_head_dim=(2, 4),
                cross_attention_dim=cross_attention_dim,
                addition_embed_type="text_time",
                addition_time_embed_dim=addition_time_embed_dim,
                projection_class_embeddings_input_dim=pooled_embed_dim + 6 * addition_time_embed_dim,
                use_linear_projection=True,
            ),
            keyframe_vae=AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                scaling_factor=0.13025,
                **vae_blocks,
            ),
            keyframe_scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **noise),
            language_model=model,
            processor=processor,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="where to save the checkpoints")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the weights")
    arguments = parser.parse_args()
    model, processor = build_language_model(arguments.seed)
    model.save_pretrained(arguments.output_dir / "video-lavit")
    processor.save_pretrained(arguments.output_dir / "video-lavit")
    build_detokenizer(model, processor, arguments.seed).save_pretrained(
        arguments.output_dir / "video-lavit-detokenizer"
    )
    print(f"saved to {arguments.output_dir}: video-lavit, video-lavit-detokenizer")


if __name__ == "__main__":
    main()
