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
Parameter names of the original video detokenizer and keyframe token decoder, in both directions.

`video_3d_unet.bin` holds the motion encoder (`motion_encoder.*`) and the video U-Net (`unet.*`, diffusers' own names);
`highres_tokenizer_decoder.bin` holds the keyframe token decoder, which is joined by the codebook of
`tokenizer_encoder.bin`. One mapping serves both directions, so that one is the other's inverse.
"""

import torch


CODEBOOK_NAME = "quantize.embedding.weight"


def motion_encoder_names(num_layers: int) -> dict[str, str]:
    """
    Names of the motion encoder's parameters.

    Args:
        num_layers (`int`): Number of blocks.

    Returns:
        `dict[str, str]`: For every original name the name in `MotionConditionEncoder`.
    """
    names = {"pos_embed": "pos_embed"}
    names |= _linear("in_proj", "proj_in") | _linear("norm", "norm_out") | _linear("out_proj", "proj_out")
    for i in range(num_layers):
        old, new = f"blocks.{i}", f"transformer_blocks.{i}"
        for kind in ("spatial", "temporal"):
            attention = f"{new}.{kind}_attn"
            names[f"{old}.{kind}_attention.qkv.weight"] = f"{attention}.to_qkv.weight"
            names |= {f"{old}.{kind}_attention.{bias}": f"{attention}.{bias}" for bias in ("q_bias", "v_bias")}
            names |= _linear(f"{old}.{kind}_attention.proj", f"{attention}.to_out.0")
        names |= _norms_and_mlp(old, new)
    return names


def keyframe_token_decoder_names(num_layers: int) -> dict[str, str]:
    """Names of the keyframe token decoder's parameters in `KeyframeTokenDecoder`; as [`motion_encoder_names`]."""
    names = {name: name for name in ("pos_embed", "query_embed")}
    names |= _linear("in_proj", "proj_in") | _linear("norm", "norm_out")
    names |= _linear("decode_task_layer.0", "proj_out_1") | _linear("decode_task_layer.2", "proj_out_2")
    names |= _linear("unet_proj_1", "prompt_proj_1") | _linear("unet_proj_2", "prompt_proj_2")
    names["unet_attnpool.positional_embedding"] = "pooling.pos_embed"
    for old, new in {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "c_proj": "to_out.0"}.items():
        names |= _linear(f"unet_attnpool.{old}", f"pooling.attn.{new}")
    for i in range(num_layers):
        old, new = f"blocks.{i}", f"transformer_blocks.{i}"
        names |= _linear(f"{old}.self_attn.qkv", f"{new}.attn1.to_qkv")
        names |= _linear(f"{old}.self_attn.proj", f"{new}.attn1.to_out.0")
        for part in ("query", "key", "value"):
            names |= _linear(f"{old}.cross_attn.{part}", f"{new}.attn2.to_{part[0]}")
        names |= _linear(f"{old}.cross_attn.proj", f"{new}.attn2.to_out.0")
        names |= _norms_and_mlp(old, new)
    return names


def convert_video_3d_unet(
    state_dict: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """
    Splits the weights of `video_3d_unet.bin`.

    Args:
        state_dict (`dict[str, torch.Tensor]`): The content of the file.

    Returns:
        `tuple` of the weights of `MotionConditionEncoder` and of `UNetSpatioTemporalMotionConditionModel`.

    Raises:
        ValueError: If a name is unknown or missing.
    """
    parts = {"motion_encoder": {}, "unet": {}}
    for name, tensor in state_dict.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"`{name}` is neither of the motion encoder nor of the U-Net.")
        parts[part][rest] = tensor
    motion_encoder = _convert(parts["motion_encoder"], motion_encoder_names(count_layers(parts["motion_encoder"])))
    return motion_encoder, parts["unet"]


def revert_video_3d_unet(
    motion_encoder: dict[str, torch.Tensor], unet: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The inverse of [`convert_video_3d_unet`]."""
    motion_encoder = _revert(motion_encoder, motion_encoder_names(count_layers(motion_encoder)))
    state_dict = {f"motion_encoder.{name}": tensor for name, tensor in motion_encoder.items()}
    return state_dict | {f"unet.{name}": tensor for name, tensor in unet.items()}


def convert_keyframe_token_decoder(
    state_dict: dict[str, torch.Tensor], codebook: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    Renames the weights of `highres_tokenizer_decoder.bin` and adds the codebook.

    Args:
        state_dict (`dict[str, torch.Tensor]`): The content of the file.
        codebook (`torch.Tensor`): `quantize.embedding.weight` of `tokenizer_encoder.bin`.

    Returns:
        `dict[str, torch.Tensor]`: The weights of `KeyframeTokenDecoder`.

    Raises:
        ValueError: If a name is unknown or missing.
    """
    converted = _convert(state_dict, keyframe_token_decoder_names(count_layers(state_dict)))
    return {"codebook": codebook} | converted


def revert_keyframe_token_decoder(
    state_dict: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The inverse of [`convert_keyframe_token_decoder`]: the original weights and the codebook."""
    weights = {name: tensor for name, tensor in state_dict.items() if name != "codebook"}
    return _revert(weights, keyframe_token_decoder_names(count_layers(weights))), state_dict["codebook"]


def _linear(old: str, new: str) -> dict[str, str]:
    return {f"{old}.{kind}": f"{new}.{kind}" for kind in ("weight", "bias")}


def _norms_and_mlp(old: str, new: str) -> dict[str, str]:
    names = _linear(f"{old}.mlp.fc1", f"{new}.ff.net.0.proj") | _linear(f"{old}.mlp.fc2", f"{new}.ff.net.2")
    for i in range(3):
        names |= _linear(f"{old}.norm{i}", f"{new}.norm{i + 1}")
    return names


def count_layers(state_dict: dict[str, torch.Tensor]) -> int:
    """Number of blocks, in `blocks.<i>.` or `transformer_blocks.<i>.`."""
    return len({name.split(".")[1] for name in state_dict if name.split(".")[0].endswith("blocks")})


def _check_names(expected: set[str], actual: set[str]) -> None:
    if expected != actual:
        raise ValueError(
            f"Unknown names: {sorted(actual - expected)[:5]}; missing names: {sorted(expected - actual)[:5]}."
        )


def _convert(state_dict: dict[str, torch.Tensor], names: dict[str, str]) -> dict[str, torch.Tensor]:
    _check_names(set(names), set(state_dict))
    return {new: state_dict[old] for old, new in names.items()}


def _revert(state_dict: dict[str, torch.Tensor], names: dict[str, str]) -> dict[str, torch.Tensor]:
    _check_names(set(names.values()), set(state_dict))
    return {old: state_dict[new] for old, new in names.items()}
