"""Configurations: defaults, round trips, overrides, nested objects."""

import json
import logging

import pytest
from transformers import AutoConfig
from transformers import logging as transformers_logging

from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITKeyframeTokenizerConfig,
    VideoLaVITMotionTokenizerConfig,
    VideoLaVITVisionConfig,
)


CONFIGS = [
    VideoLaVITConfig,
    VideoLaVITKeyframeTokenizerConfig,
    VideoLaVITMotionTokenizerConfig,
    VideoLaVITVisionConfig,
]


@pytest.mark.parametrize("config_class", CONFIGS)
def test_default_construction_warns_of_nothing(config_class, caplog):
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        config_class()
    assert caplog.records == []


@pytest.mark.parametrize("config_class", CONFIGS)
def test_round_trips(config_class, tmp_path):
    config = config_class()
    config.save_pretrained(tmp_path / "repository" / "sub")
    loaded_configs = [
        config_class.from_pretrained(tmp_path / "repository" / "sub"),
        config_class.from_pretrained(tmp_path / "repository", subfolder="sub"),
        AutoConfig.from_pretrained(tmp_path / "repository" / "sub"),
        config_class.from_dict(json.loads(config.to_json_string(use_diff=False))),
    ]
    for loaded in loaded_configs:
        assert type(loaded) is config_class
        assert {**loaded.to_dict(), "_name_or_path": ""} == {**config.to_dict(), "_name_or_path": ""}
    assert json.loads(config.to_json_string())["model_type"] == config_class.model_type


def test_released_sizes():
    config = VideoLaVITConfig()
    assert (config.text_config.vocab_size, config.text_config.max_position_embeddings) == (49412, 4096)
    assert (config.num_image_tokens, config.motion_tokenizer_config.num_motion_tokens) == (256, 135)
    assert config.num_visual_codes == config.keyframe_tokenizer_config.codebook_size == 16384
    assert config.num_motion_codes == config.motion_tokenizer_config.codebook_size == 1024
    assert config.motion_code_offset + config.num_motion_codes == config.text_config.vocab_size


def test_token_ids_and_cache_have_defaults_at_the_top():
    config = VideoLaVITConfig()
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert config.use_cache is True and config.tie_word_embeddings is False


def test_sub_configs_load_alone(tmp_path):
    config = VideoLaVITConfig(
        vision_config={"num_hidden_layers": 3},
        keyframe_tokenizer_config={"codebook_dim": 7},
        motion_tokenizer_config={"codebook_dim": 9},
    )
    config.save_pretrained(tmp_path)
    assert VideoLaVITVisionConfig.from_pretrained(tmp_path).num_hidden_layers == 3
    keyframe_config = VideoLaVITKeyframeTokenizerConfig.from_pretrained(tmp_path)
    assert (keyframe_config.codebook_dim, keyframe_config.vision_config.num_hidden_layers) == (7, 3)
    assert VideoLaVITMotionTokenizerConfig.from_pretrained(tmp_path).codebook_dim == 9


def test_overrides_change_one_key_only(tmp_path):
    VideoLaVITConfig(text_config={"hidden_size": 64, "num_attention_heads": 4}).save_pretrained(tmp_path)
    config = VideoLaVITConfig.from_pretrained(tmp_path, text_config={"vocab_size": 20})
    assert (config.text_config.vocab_size, config.text_config.hidden_size) == (20, 64)
    # A partial dictionary means LLaMA-2 with these changes.
    assert VideoLaVITConfig(text_config={"num_hidden_layers": 2}).text_config.vocab_size == 49412


def test_one_vision_config():
    given = VideoLaVITConfig(
        vision_config={"image_size": 28}, keyframe_tokenizer_config={"vision_config": {"image_size": 56}}
    )
    assert given.vision_config is given.keyframe_tokenizer_config.vision_config
    assert given.vision_config.image_size == 28
    nested = VideoLaVITConfig(keyframe_tokenizer_config={"vision_config": {"image_size": 56}})
    assert nested.vision_config is nested.keyframe_tokenizer_config.vision_config
    assert nested.vision_config.image_size == 56
    assert nested.keyframe_tokenizer_config.hidden_size == nested.vision_config.hidden_size


def test_attention_implementation_reaches_every_nested_config():
    config = VideoLaVITConfig(attn_implementation="eager")
    nested = [
        config.text_config,
        config.vision_config,
        config.keyframe_tokenizer_config,
        config.keyframe_tokenizer_config.vision_config,
        config.motion_tokenizer_config,
    ]
    assert {sub_config._attn_implementation for sub_config in nested} == {"eager"}
    config._attn_implementation = "sdpa"
    assert {sub_config._attn_implementation for sub_config in nested} == {"sdpa"}
    config._attn_implementation = {"vision_config": "eager"}
    assert config.vision_config._attn_implementation == "eager"
    assert config.text_config._attn_implementation == config.motion_tokenizer_config._attn_implementation == "sdpa"


def test_configs_share_no_state():
    first, second = VideoLaVITConfig(), VideoLaVITConfig()
    first.vision_config.image_size = 1
    first.text_config.vocab_size = 2
    assert second.vision_config.image_size == 224 and second.text_config.vocab_size == 49412


def test_motion_codes_that_the_vocabulary_does_not_hold_are_refused():
    message = "`num_motion_codes` 1024 .*`motion_code_offset` 48388 .*`text_config.vocab_size` is 49411"
    with pytest.raises(ValueError, match=message):
        VideoLaVITConfig(text_config={"vocab_size": 49411})
    with pytest.raises(ValueError, match="`num_motion_codes` 1025"):
        VideoLaVITConfig(num_motion_codes=1025)
    assert VideoLaVITConfig(text_config={"vocab_size": 49413}).num_motion_codes == 1024


def test_wrong_types_are_refused():
    with pytest.raises(Exception, match="image_token_id"):
        VideoLaVITConfig(image_token_id="<image>")
    with pytest.raises(Exception, match="vision_config"):
        VideoLaVITConfig(vision_config=5)
