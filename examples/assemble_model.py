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
Puts a model for pre-training together: the two tokenizers of stage 1, and a LLaMA whose vocabulary is extended by their codes.

    python examples/assemble_model.py --keyframe_tokenizer outputs/keyframe_tokenizer \\
        --motion_tokenizer outputs/motion_tokenizer --language_model meta-llama/Llama-2-7b-hf --output_dir outputs/base

Without a LLaMA, `--language_model_config` describes a new one and `--text_files` are what its text tokenizer is trained on:

    python examples/assemble_model.py --keyframe_tokenizer outputs/keyframe_tokenizer \\
        --motion_tokenizer outputs/motion_tokenizer --output_dir outputs/base --text_files captions.csv \\
        --language_model_config '{"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}'
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn
from training.text_tokenizer import train_text_tokenizer
from training.trainer import save_at_once
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase, set_seed

from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITForCausalLM,
    VideoLaVITImageProcessor,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITMotionTokenizer,
    VideoLaVITProcessor,
    VideoLaVITVideoProcessor,
    build_videolavit_tokenizer,
    save_remote_code,
)


def vocabulary_layout(text_vocab_size: int, num_visual_codes: int, num_motion_codes: int) -> dict[str, int]:
    """
    Token ids of a vocabulary `text | [IMG] [/IMG] | visual codes | [MOV] [/MOV] | motion codes`.

    Args:
        text_vocab_size (`int`): Pieces of the text tokenizer.
        num_visual_codes (`int`): Size of the keyframe tokenizer's codebook.
        num_motion_codes (`int`): Size of the motion tokenizer's codebook.

    Returns:
        `dict[str, int]`: Arguments of [`VideoLaVITConfig`].
    """
    motion_start = text_vocab_size + 2 + num_visual_codes
    return {
        "image_start_token_id": text_vocab_size,
        "image_end_token_id": text_vocab_size + 1,
        "visual_code_offset": text_vocab_size + 2,
        "motion_start_token_id": motion_start,
        "motion_end_token_id": motion_start + 1,
        "motion_code_offset": motion_start + 2,
        "num_motion_codes": num_motion_codes,
    }


def assemble_model(
    keyframe_tokenizer: VideoLaVITKeyframeTokenizer,
    motion_tokenizer: VideoLaVITMotionTokenizer,
    language_model: nn.Module | LlamaConfig,
    text_tokenizer: PreTrainedTokenizerBase,
) -> tuple[VideoLaVITForCausalLM, VideoLaVITProcessor]:
    """
    Joins the parts into one model.

    The rows of new tokens are drawn from a normal distribution with the mean and the deviation of the rows that the
    language model had, as the maintainers of the reference advise.

    Args:
        keyframe_tokenizer ([`VideoLaVITKeyframeTokenizer`]): Trained in stage 1.
        motion_tokenizer ([`VideoLaVITMotionTokenizer`]): Trained in stage 1.
        language_model (`LlamaForCausalLM` or `LlamaConfig`): A LLaMA, or the configuration of a new one.
        text_tokenizer (`PreTrainedTokenizerBase`): A LLaMA tokenizer.

    Returns:
        `tuple[VideoLaVITForCausalLM, VideoLaVITProcessor]`: The model, in the precision of the LLaMA, and its processor.

    Raises:
        ValueError: If the LLaMA's vocabulary is not the text tokenizer's.
    """
    text_config = language_model if isinstance(language_model, LlamaConfig) else language_model.config
    if language_model is not text_config and text_config.vocab_size != len(text_tokenizer):
        raise ValueError(
            f"The language model has {text_config.vocab_size} tokens, but the text tokenizer has {len(text_tokenizer)}."
        )
    num_visual_codes = keyframe_tokenizer.config.codebook_size
    num_motion_codes = motion_tokenizer.config.codebook_size
    layout = vocabulary_layout(len(text_tokenizer), num_visual_codes, num_motion_codes)
    # Of stage 1 alone: what restores the encoder's features is no part of the model.
    keyframe_config = {**keyframe_tokenizer.config.to_dict(), "decoder_num_hidden_layers": 0}
    config = VideoLaVITConfig(
        text_config={**text_config.to_dict(), "vocab_size": layout["motion_code_offset"] + num_motion_codes},
        keyframe_tokenizer_config=keyframe_config,
        motion_tokenizer_config=motion_tokenizer.config.to_dict(),
        max_visual_tokens=keyframe_tokenizer.config.vision_config.num_patches,
        tie_word_embeddings=text_config.tie_word_embeddings,
        **layout,
    )
    model = VideoLaVITForCausalLM(config)
    if language_model is not text_config:
        _load_language_model(model, language_model)
    wanted = model.model.keyframe_tokenizer.state_dict()
    weights = {name: tensor for name, tensor in keyframe_tokenizer.state_dict().items() if name in wanted}
    model.model.keyframe_tokenizer.load_state_dict(weights)
    model.model.motion_tokenizer.load_state_dict(motion_tokenizer.state_dict())

    tokenizer = build_videolavit_tokenizer(text_tokenizer, config)
    image_size = config.vision_config.image_size
    size = {"height": image_size, "width": image_size}
    motion_config = config.motion_tokenizer_config
    processor = VideoLaVITProcessor(
        VideoLaVITImageProcessor(size=size),
        tokenizer,
        VideoLaVITVideoProcessor(
            size=size,
            num_frames=motion_config.num_frames,
            motion_height=motion_config.motion_height,
            motion_width=motion_config.motion_width,
        ),
        num_image_tokens=config.num_image_tokens,
        num_motion_tokens=motion_config.num_motion_tokens,
    )
    return model, processor


@torch.no_grad()
def _load_language_model(model: VideoLaVITForCausalLM, language_model: nn.Module) -> None:
    model.to(language_model.dtype)
    # The codebooks stay in float32: in half precision other codes can be the nearest.
    for quantizer in (model.model.keyframe_tokenizer.quantizer, model.model.motion_tokenizer.quantizer):
        quantizer.float()
    weights = language_model.model.state_dict()
    embeddings = weights.pop("embed_tokens.weight")
    model.model.language_model.load_state_dict(weights, strict=False)
    _extend(model.get_input_embeddings().weight, embeddings)
    if not model.config.tie_word_embeddings:
        _extend(model.lm_head.weight, language_model.lm_head.weight)


def _extend(rows: torch.Tensor, given: torch.Tensor) -> None:
    given_float = given.float()
    mean, deviation = given_float.mean(dim=0), given_float.std(dim=0)
    rows[: len(given)] = given
    rows[len(given) :] = mean + deviation * torch.randn(len(rows) - len(given), len(mean))


def main(args: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyframe_tokenizer", required=True, help="folder or repository of the keyframe tokenizer")
    parser.add_argument("--motion_tokenizer", required=True, help="folder or repository of the motion tokenizer")
    parser.add_argument("--language_model", help="folder or repository of a LLaMA and its tokenizer")
    parser.add_argument(
        "--language_model_config", type=json.loads, help="JSON of a new LLaMA, with the arguments of LlamaConfig"
    )
    parser.add_argument("--text_files", nargs="+", type=Path, default=[], help="what a new text tokenizer learns from")
    parser.add_argument("--text_vocab_size", type=int, default=1024, help="pieces of a new text tokenizer")
    parser.add_argument("--output_dir", type=Path, required=True, help="where to save model and processor")
    parser.add_argument("--seed", type=int, default=0, help="seed of the new weights")
    arguments = parser.parse_args(args)
    if (arguments.language_model is None) == (arguments.language_model_config is None):
        parser.error("give either --language_model or --language_model_config")
    if arguments.language_model_config is not None and not arguments.text_files:
        parser.error("--language_model_config needs --text_files to train a text tokenizer on")

    set_seed(arguments.seed)
    if arguments.language_model is not None:
        language_model = AutoModelForCausalLM.from_pretrained(arguments.language_model)
        text_tokenizer = AutoTokenizer.from_pretrained(arguments.language_model)
    else:
        texts = (path.read_text(encoding="utf-8") for path in arguments.text_files)
        text_tokenizer = train_text_tokenizer(texts, arguments.text_vocab_size)
        language_model = LlamaConfig(**arguments.language_model_config)
    model, processor = assemble_model(
        VideoLaVITKeyframeTokenizer.from_pretrained(arguments.keyframe_tokenizer),
        VideoLaVITMotionTokenizer.from_pretrained(arguments.motion_tokenizer),
        language_model,
        text_tokenizer,
    )

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        save_remote_code(folder)

    save_at_once(arguments.output_dir, save)


if __name__ == "__main__":
    main()
