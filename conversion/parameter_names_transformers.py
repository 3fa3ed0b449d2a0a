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
Parameter names of the original checkpoint and of `VideoLaVITForCausalLM`, in both directions.

Each file of the original checkpoint has a list of pairs, the original name and ours, with `{}` for a layer's number;
either side serves as the pattern and the other as its replacement. Shapes and values are the same on both sides, so
converting is renaming, and converting there and back is the identity. What the original does
not have is the state of the codebooks' moving averages: it is added on the way to us and left out on the way back.
"""

import re
from collections.abc import Iterator, Mapping

import torch


LINEAR = ("weight", "bias")


def _pairs(old: str, new: str, kinds: tuple[str, ...] = LINEAR) -> list[tuple[str, str]]:
    return [(f"{old}.{kind}", f"{new}.{kind}") for kind in kinds]


def _under(old: str, new: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"{old}{old_name}", f"{new}{new_name}") for old_name, new_name in pairs]


# `qkv.weight` stays fused: the original has one matrix for queries, keys and values, with biases of q and v alone.
_ATTENTION = [
    ("q_bias", "q_bias"),
    ("v_bias", "v_bias"),
    ("qkv.weight", "qkv.weight"),
    *_pairs("proj", "out_proj"),
]
_MLP = [*_pairs("mlp.fc1", "mlp.fc1"), *_pairs("mlp.fc2", "mlp.fc2")]

_VISION_MODEL = [
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding"),
    *_pairs("patch_embed.proj", "embeddings.patch_embedding"),
    *_pairs("blocks.{}.norm1", "layers.{}.layer_norm1"),
    *_under("blocks.{}.attn.", "layers.{}.self_attn.", _ATTENTION),
    *_pairs("blocks.{}.norm2", "layers.{}.layer_norm2"),
    *_under("blocks.{}.", "layers.{}.", _MLP),
    *_pairs("norm", "layernorm"),
    *_pairs("head", "head"),
]

# Without the image encoder and the projection to the language model.
_KEYFRAME_TOKENIZER = [
    *_pairs("token_predictor.in_conv.0", "selector.layer_norm"),
    *_pairs("token_predictor.in_conv.1", "selector.proj_in"),
    *_pairs("token_predictor.out_conv.0", "selector.fc1"),
    *_pairs("token_predictor.out_conv.2", "selector.fc2"),
    *_pairs("token_predictor.out_conv.4", "selector.fc3"),
    *_pairs("causal_encoder.blocks.{}.norm0", "merger.layers.{}.layer_norm1"),
    *_pairs("causal_encoder.blocks.{}.token_causal_attn.qkv", "merger.layers.{}.self_attn.qkv"),
    *_pairs("causal_encoder.blocks.{}.token_causal_attn.proj", "merger.layers.{}.self_attn.out_proj"),
    *_pairs("causal_encoder.blocks.{}.norm1", "merger.layers.{}.layer_norm2"),
    *_pairs("causal_encoder.blocks.{}.token_cross_attn.query", "merger.layers.{}.cross_attn.q_proj"),
    *_pairs("causal_encoder.blocks.{}.token_cross_attn.key", "merger.layers.{}.cross_attn.k_proj"),
    *_pairs("causal_encoder.blocks.{}.token_cross_attn.value", "merger.layers.{}.cross_attn.v_proj"),
    *_pairs("causal_encoder.blocks.{}.token_cross_attn.proj", "merger.layers.{}.cross_attn.out_proj"),
    *_pairs("causal_encoder.blocks.{}.norm2", "merger.layers.{}.layer_norm3"),
    *_under("causal_encoder.blocks.{}.", "merger.layers.{}.", _MLP),
    *_pairs("causal_encoder.ln_vision", "merger.memory_layernorm"),
    *_pairs("causal_encoder.norm", "merger.layernorm"),
    *_pairs("encode_task_layer.0", "encoder_projection.fc1"),
    *_pairs("encode_task_layer.2", "encoder_projection.fc2"),
    ("quantize.embedding.weight", "quantizer.codebook"),
]

_MULTI_MODAL_PROJECTOR = _pairs("vit_proj", "multi_modal_projector")

_MOTION_LAYER = [
    *_pairs("norm0", "layer_norm1"),
    *_under("spatial_attention.", "spatial_attn.", _ATTENTION),
    *_pairs("norm1", "layer_norm2"),
    *_under("temporal_attention.", "temporal_attn.", _ATTENTION),
    *_pairs("norm2", "layer_norm3"),
    *_MLP,
]

_MOTION_TOKENIZER = [
    ("encoder.pos_embed", "encoder.spatial_position_embedding"),
    ("encoder.temp_pos", "encoder.temporal_position_embedding"),
    *_pairs("encoder.in_proj", "encoder.proj_in"),
    *_under("encoder.blocks.{}.", "encoder.layers.{}.", _MOTION_LAYER),
    *_pairs("encoder.down_sample_layers.{}.conv", "encoder.downsamplers.{}.conv"),
    *_pairs("encoder.norm", "encoder.layernorm"),
    *_pairs("encode_task_layer.0", "encoder_projection.fc1"),
    *_pairs("encode_task_layer.2", "encoder_projection.fc2"),
    ("quantize.embedding.weight", "quantizer.codebook"),
    *_pairs("decoder.in_proj", "decoder.proj_in"),
    *_under("decoder.blocks.{}.", "decoder.layers.{}.", _MOTION_LAYER),
    *_pairs("decoder.up_sample_layers.{}.conv", "decoder.upsamplers.{}.conv"),
    *_pairs("decoder.norm", "decoder.layernorm"),
    *_pairs("decode_task_layer.0", "decoder_projection.fc1"),
    *_pairs("decode_task_layer.2", "decoder_projection.fc2"),
]

_LLAMA_LAYER = [
    f"{name}.weight"
    for name in (
        *(f"self_attn.{part}_proj" for part in "qkvo"),
        *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
        "input_layernorm",
        "post_attention_layernorm",
    )
]

_LANGUAGE_MODEL = [
    ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
    *((f"model.layers.{{}}.{name}", f"model.language_model.layers.{{}}.{name}") for name in _LLAMA_LAYER),
    ("model.norm.weight", "model.language_model.norm.weight"),
    ("lm_head.weight", "lm_head.weight"),
]

_VISION_PREFIX = "model.keyframe_tokenizer.vision_model."
_KEYFRAME_PREFIX = "model.keyframe_tokenizer."
_MOTION_PREFIX = "model.motion_tokenizer."

# For each file of the original checkpoint: its names and those in `VideoLaVITForCausalLM`. `tokenizer_encoder.bin` of
# the released checkpoint has no `vit_proj`, which is in the instruction-tuned language model; a file that has it is read.
PARAMETER_NAMES: dict[str, list[tuple[str, str]]] = {
    "eva_vitg_psz14.bin": _under("", _VISION_PREFIX, _VISION_MODEL),
    "tokenizer_encoder.bin": [
        *_under("", _KEYFRAME_PREFIX, _KEYFRAME_TOKENIZER),
        *_under("", "model.", _MULTI_MODAL_PROJECTOR),
    ],
    "motion_tokenizer.bin": _under("", _MOTION_PREFIX, _MOTION_TOKENIZER),
    "language_model": _LANGUAGE_MODEL,
    "language_model_sft": [
        *_LANGUAGE_MODEL,
        *_under("model.visual_tokenizer.encoder.", _VISION_PREFIX, _VISION_MODEL),
        *_under("model.visual_tokenizer.", _KEYFRAME_PREFIX, _KEYFRAME_TOKENIZER),
        *_under("model.visual_tokenizer.", "model.", _MULTI_MODAL_PROJECTOR),
        *_under("model.motion_tokenizer.", _MOTION_PREFIX, _MOTION_TOKENIZER),
    ],
}

# Buffers of old checkpoints that newer versions of the libraries compute.
IGNORED_ORIGINAL_NAMES = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")

CODEBOOK_NAME = "quantizer.codebook"
CODEBOOK_STATE_NAMES = ("quantizer.cluster_size", "quantizer.is_initialized")
# The moving-average count a converted code starts with, were its training to go on. It keeps a code that is not used
# alive for ln(100) / -ln(decay) steps, 458 at the keyframe codebook's decay of 0.99.
INITIAL_CLUSTER_SIZE = 100.0


def _compile(pairs: list[tuple[str, str]], to_original: bool) -> list[tuple[re.Pattern, str]]:
    compiled = []
    for old, new in pairs:
        source, target = (new, old) if to_original else (old, new)
        compiled.append((re.compile(re.escape(source).replace(r"\{\}", r"(\d+)")), target.replace("{}", r"\1")))
    return compiled


def _rename(names: Iterator[str], file: str, to_original: bool) -> dict[str, str | None]:
    if file not in PARAMETER_NAMES:
        raise ValueError(f"`file` must be one of {sorted(PARAMETER_NAMES)}, not {file!r}.")
    pairs = _compile(PARAMETER_NAMES[file], to_original)
    renamed = {}
    for name in names:
        matches = [match.expand(target) for pattern, target in pairs if (match := pattern.fullmatch(name))]
        if len(matches) > 1:
            raise ValueError(f"Parameter {name!r} of {file!r} maps to {matches}: the mapping must be unique.")
        renamed[name] = matches[0] if matches else None
    return renamed


def convert_from_original(state_dict: Mapping[str, torch.Tensor], file: str) -> dict[str, torch.Tensor]:
    """
    Renames the parameters of a file of the original checkpoint.

    Args:
        state_dict (`Mapping[str, torch.Tensor]`): The file's parameters, or a shard of them.
        file (`str`): Key of `PARAMETER_NAMES`.

    Returns:
        `dict[str, torch.Tensor]`: Parameters of `VideoLaVITForCausalLM`, with the state of the codebooks' moving
        averages next to each codebook.

    Raises:
        ValueError: If `file` is unknown, or has a parameter that the model does not.
    """
    names = _rename((name for name in state_dict if not IGNORED_ORIGINAL_NAMES.fullmatch(name)), file, False)
    unknown = [name for name, new_name in names.items() if new_name is None]
    if unknown:
        raise ValueError(f"The model has no place for {len(unknown)} parameters of {file!r}: {unknown[:8]}.")
    converted = {}
    for name, new_name in names.items():
        converted[new_name] = state_dict[name]
        if new_name.endswith(CODEBOOK_NAME):
            prefix = new_name.removesuffix(CODEBOOK_NAME)
            codebook_size = state_dict[name].shape[0]
            converted[prefix + "quantizer.cluster_size"] = torch.full((codebook_size,), INITIAL_CLUSTER_SIZE)
            converted[prefix + "quantizer.is_initialized"] = torch.ones((), dtype=torch.bool)
    return converted


def convert_to_original(state_dict: Mapping[str, torch.Tensor], file: str) -> dict[str, torch.Tensor]:
    """
    The inverse of [`convert_from_original`].

    Args:
        state_dict (`Mapping[str, torch.Tensor]`): Parameters of `VideoLaVITForCausalLM`.
        file (`str`): Key of `PARAMETER_NAMES`.

    Returns:
        `dict[str, torch.Tensor]`: Those of the parameters that belong into `file`, with their original names.

    Raises:
        ValueError: If `file` is unknown.
    """
    names = _rename((name for name in state_dict if not name.endswith(CODEBOOK_STATE_NAMES)), file, True)
    return {old_name: state_dict[name] for name, old_name in names.items() if old_name is not None}
