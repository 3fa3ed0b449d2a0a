"""The tiny reference checkpoint in `tests/fixtures/tiny/checkpoint`, loaded into the models."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import torch

from transformers_videolavit.configuration_videolavit import VideoLaVITConfig
from transformers_videolavit.modeling_videolavit_keyframe_tokenizer import VideoLaVITKeyframeTokenizer
from transformers_videolavit.modeling_videolavit_motion_tokenizer import VideoLaVITMotionTokenizer
from transformers_videolavit.modeling_videolavit_vision import VideoLaVITVisionModel


FIXTURES = Path(__file__).parent / "fixtures"
CHECKPOINT = FIXTURES / "tiny" / "checkpoint"
# Files of the checkpoint by their key in `PARAMETER_NAMES`.
FILES = {
    "eva_vitg_psz14.bin": "visual_tokenizer/eva_vitg_psz14.bin",
    "tokenizer_encoder.bin": "visual_tokenizer/tokenizer_encoder.bin",
    "motion_tokenizer.bin": "motion_tokenizer.bin",
    "language_model": "language_model/pytorch_model.bin",
    "language_model_sft": "language_model_sft/pytorch_model.bin",
}


def load_parameter_names() -> ModuleType:
    """Imports `conversion/parameter_names_transformers.py`, which belongs to no package."""
    path = Path(__file__).parents[1] / "conversion" / "parameter_names_transformers.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_original(file: str) -> dict[str, torch.Tensor]:
    """The original parameters of a file of the tiny checkpoint, by its key in `PARAMETER_NAMES`."""
    return torch.load(CHECKPOINT / FILES[file], weights_only=True)


def load_converted(*files: str) -> dict[str, torch.Tensor]:
    """Parameters of the causal language model from files of the tiny checkpoint, in float32."""
    parameter_names = load_parameter_names()
    converted = {}
    for file in files:
        converted |= parameter_names.convert_from_original(load_original(file), file)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in converted.items()}


def tiny_config() -> VideoLaVITConfig:
    """The sizes of the tiny checkpoint."""
    sizes = json.loads((FIXTURES / "tiny" / "sizes.json").read_text())
    intermediate_size = int(sizes["width"] * 6144 / 1408)
    return VideoLaVITConfig(
        text_config={
            "hidden_size": sizes["llm"],
            "intermediate_size": 2 * sizes["llm"],
            "num_hidden_layers": 2,
            "num_attention_heads": sizes["llm_heads"],
        },
        keyframe_tokenizer_config={
            "vision_config": {
                "hidden_size": sizes["width"],
                "intermediate_size": intermediate_size,
                "num_hidden_layers": sizes["vdepth"],
                "num_attention_heads": sizes["vheads"],
                "image_size": sizes["img"],
                "projection_dim": 24,
            },
            "intermediate_size": intermediate_size,
            "num_hidden_layers": sizes["mdepth"],
            "num_attention_heads": sizes["vheads"],
            "codebook_size": sizes["ncode"],
            "codebook_dim": sizes["cdim"],
        },
        motion_tokenizer_config={
            "hidden_size": sizes["mdim"],
            "intermediate_size": 4 * sizes["mdim"],
            "num_attention_heads": sizes["mheads"],
            "codebook_size": sizes["mcode"],
            "codebook_dim": sizes["mcdim"],
        },
    )


def load_tiny_vision_model() -> VideoLaVITVisionModel:
    """The tiny image encoder, in evaluation mode."""
    model = VideoLaVITVisionModel(tiny_config().vision_config)
    return _load(model, load_converted("eva_vitg_psz14.bin"), "model.keyframe_tokenizer.vision_model.")


def load_tiny_keyframe_tokenizer() -> VideoLaVITKeyframeTokenizer:
    """The tiny keyframe tokenizer, in evaluation mode."""
    model = VideoLaVITKeyframeTokenizer(tiny_config().keyframe_tokenizer_config)
    state_dict = load_converted("eva_vitg_psz14.bin", "tokenizer_encoder.bin")
    return _load(model, state_dict, "model.keyframe_tokenizer.")


def load_tiny_motion_tokenizer() -> VideoLaVITMotionTokenizer:
    """The tiny motion tokenizer, in evaluation mode."""
    model = VideoLaVITMotionTokenizer(tiny_config().motion_tokenizer_config)
    return _load(model, load_converted("motion_tokenizer.bin"), "model.motion_tokenizer.")


def load_tiny_causal_lm(instruction_tuned: bool):
    """The tiny language model with its tokenizers, in evaluation mode: the one for understanding or for generation."""
    from transformers_videolavit.modeling_videolavit import VideoLaVITForCausalLM

    if instruction_tuned:
        state_dict = load_converted("language_model_sft")
    else:
        files = ("language_model", "eva_vitg_psz14.bin", "tokenizer_encoder.bin", "motion_tokenizer.bin")
        state_dict = load_converted(*files)
    return _load(VideoLaVITForCausalLM(tiny_config()), state_dict, "")


def _load(model, state_dict, prefix):
    own = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}
    model.load_state_dict(own)
    return model.eval()
