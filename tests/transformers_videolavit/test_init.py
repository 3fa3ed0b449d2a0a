"""Importing the package: what it registers, what it leaves alone, and how quick it is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoVideoProcessor,
)

import transformers_videolavit
from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITForCausalLM,
    VideoLaVITImageProcessor,
    VideoLaVITImageProcessorPil,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITModel,
    VideoLaVITMotionTokenizer,
    VideoLaVITVideoProcessor,
    VideoLaVITVisionModel,
)


VIDEO = Path(__file__).parents[1] / "fixtures" / "videos" / "city_timelapse.mp4"


def run_python(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *options, "-c", code], check=True, capture_output=True, text=True)


def test_import_is_quick_and_leaves_the_other_package_and_the_network_alone():
    code = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import transformers_videolavit
print(sorted({"diffusers", "diffusers_videolavit", "datasets", "peft", "matplotlib"} & set(sys.modules)))
"""
    result = run_python(code, "-X", "importtime")
    assert result.stdout.strip() == "[]"

    # Rows are "import time: self [us] | cumulative | module"; what transformers and torch take is not ours.
    rows = [line.split(":", 1)[1].split("|") for line in result.stderr.splitlines() if line.startswith("import time:")]
    own = {row[2].strip(): int(row[0]) for row in rows if row[2].strip().startswith("transformers_videolavit")}
    assert len(own) > 10
    assert sum(own.values()) < 2_000_000


def test_codec_works_without_torchvision():
    code = f"""
import sys

sys.modules["torchvision"] = None
from transformers_videolavit.clip_sampling import extract_clips

print(tuple(extract_clips({str(VIDEO)!r}).motion_vectors.shape))
"""
    assert run_python(code).stdout.strip().endswith("2, 24, 20, 36)")


@pytest.mark.parametrize(
    ("model_type", "model_class"),
    [
        ("videolavit", VideoLaVITModel),
        ("videolavit_vision_model", VideoLaVITVisionModel),
        ("videolavit_keyframe_tokenizer", VideoLaVITKeyframeTokenizer),
        ("videolavit_motion_tokenizer", VideoLaVITMotionTokenizer),
    ],
)
def test_auto_config_and_auto_model(model_type, model_class):
    config = AutoConfig.for_model(model_type)
    assert type(config) is model_class.config_class
    with torch.device("meta"):
        assert type(AutoModel.from_config(config)) is model_class


@pytest.mark.parametrize("auto_class", [AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM])
def test_auto_models_that_generate(auto_class):
    with torch.device("meta"):
        assert type(auto_class.from_config(VideoLaVITConfig())) is VideoLaVITForCausalLM


def test_auto_processors_of_a_checkpoint_that_names_only_its_model_type(tmp_path):
    VideoLaVITConfig().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "video_preprocessor_config.json").write_text("{}")
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is VideoLaVITImageProcessor
    assert type(AutoImageProcessor.from_pretrained(tmp_path, backend="pil")) is VideoLaVITImageProcessorPil
    assert type(AutoVideoProcessor.from_pretrained(tmp_path)) is VideoLaVITVideoProcessor


def test_public_names():
    names = transformers_videolavit.__all__
    assert sorted(names) == sorted(set(names))
    assert all(hasattr(transformers_videolavit, name) for name in names)
    assert issubclass(transformers_videolavit.VideoDecodingError, ValueError)
