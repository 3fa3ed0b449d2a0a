"""The names of the original checkpoint and ours: each maps to exactly one parameter of its shape, and back."""

import json
import re

import pytest
import torch
from tiny_models import FIXTURES, load_original, load_parameter_names
from transformers import LlamaConfig

from transformers_videolavit.configuration_videolavit import VideoLaVITConfig
from transformers_videolavit.modeling_videolavit import VideoLaVITForCausalLM


parameter_names = load_parameter_names()
FILES = list(parameter_names.PARAMETER_NAMES)
# Two files of the full-size list, without the folder they are in.
FULL_SIZE_FILES = ["eva_vitg_psz14.bin", "tokenizer_encoder.bin", "motion_tokenizer.bin"]


@pytest.fixture(scope="module")
def full_size_state_dict():
    with torch.device("meta"):
        config = VideoLaVITConfig(text_config=LlamaConfig(vocab_size=49412, num_hidden_layers=2))
        return VideoLaVITForCausalLM(config).state_dict()


@pytest.fixture(scope="module")
def original_shapes():
    shapes = json.loads((FIXTURES / "original_parameters.json").read_text())
    return {path.rsplit("/", 1)[-1]: value for path, value in shapes.items()}


@pytest.mark.parametrize("file", FULL_SIZE_FILES)
def test_full_size_names_and_shapes(file, original_shapes, full_size_state_dict):
    original = {name: torch.empty(shape, device="meta") for name, shape in original_shapes[file].items()}
    converted = parameter_names.convert_from_original(original, file)
    for name, tensor in converted.items():
        assert full_size_state_dict[name].shape == tensor.shape, name
    back = parameter_names.convert_to_original(full_size_state_dict, file)
    assert {name: list(tensor.shape) for name, tensor in back.items()} == original_shapes[file]


def test_full_size_files_cover_the_model(original_shapes, full_size_state_dict):
    names = set()
    for file in FULL_SIZE_FILES:
        original = {name: torch.empty(shape, device="meta") for name, shape in original_shapes[file].items()}
        converted = parameter_names.convert_from_original(original, file)
        assert not names & converted.keys()
        names |= converted.keys()
    language_model = re.compile(r"lm_head\.weight|model\.language_model\..*")
    assert names == {name for name in full_size_state_dict if not language_model.fullmatch(name)}


@pytest.mark.parametrize("file", FILES)
def test_there_and_back_is_the_identity(file):
    original = load_original(file)
    back = parameter_names.convert_to_original(parameter_names.convert_from_original(original, file), file)
    assert back.keys() == original.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in original.items())


def test_instruction_tuned_checkpoint_is_the_whole_model():
    converted = parameter_names.convert_from_original(load_original("language_model_sft"), "language_model_sft")
    parts = {}
    for file in FILES[:4]:
        parts |= parameter_names.convert_from_original(load_original(file), file)
    assert converted.keys() == parts.keys()
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in parts.items()
    }


def test_projector_is_optional():
    original = load_original("tokenizer_encoder.bin")
    without = {name: tensor for name, tensor in original.items() if not name.startswith("vit_proj")}
    assert len(original) - len(without) == 2
    converted = parameter_names.convert_from_original(without, "tokenizer_encoder.bin")
    assert not any("multi_modal_projector" in name for name in converted)


def test_converted_codebook_is_kept_by_training():
    converted = parameter_names.convert_from_original(load_original("motion_tokenizer.bin"), "motion_tokenizer.bin")
    prefix = "model.motion_tokenizer.quantizer."
    assert bool(converted[prefix + "is_initialized"])
    assert converted[prefix + "cluster_size"].shape == converted[prefix + "codebook"].shape[:1]
    assert (converted[prefix + "cluster_size"] > 1).all()


def test_computed_buffers_of_old_checkpoints_are_left_out():
    original = {"model.layers.3.self_attn.rotary_emb.inv_freq": torch.ones(2), "lm_head.weight": torch.ones(2, 2)}
    assert list(parameter_names.convert_from_original(original, "language_model")) == ["lm_head.weight"]


def test_unknown_parameter():
    with pytest.raises(ValueError, match=r"no place for 1 parameters of 'language_model': \['model.extra.weight'\]"):
        parameter_names.convert_from_original({"model.extra.weight": torch.ones(1)}, "language_model")


def test_unknown_file():
    with pytest.raises(ValueError, match=r"must be one of .*, not 'unet.bin'"):
        parameter_names.convert_to_original({}, "unet.bin")
    with pytest.raises(ValueError, match=r"must be one of .*, not 'unet.bin'"):
        parameter_names.convert_from_original({}, "unet.bin")
