"""The tiny instruction-tuned model and inputs of every modality."""

from pathlib import Path

import pytest
import torch
from multimodal_inputs import clip_block, image_block
from safetensors.torch import load_file
from tiny_models import load_tiny_causal_lm


@pytest.fixture(scope="session")
def expected():
    """Inputs and outputs of the reference model for the tiny checkpoint."""
    return load_file(Path(__file__).parents[1] / "fixtures" / "tiny" / "expected.safetensors")


@pytest.fixture(scope="module")
def model():
    return load_tiny_causal_lm(instruction_tuned=True).eval()


@pytest.fixture(scope="session")
def visuals(expected):
    return {
        "pixel_values": expected["visual/pixel_values"][:2],
        "pixel_values_videos": expected["understanding/keyframes"],
        "motion_vectors": expected["understanding/motion_vectors"],
        "num_clips": torch.tensor([2]),
    }


@pytest.fixture(scope="module")
def mixed(model, visuals):
    """Three sequences, with an image, with text alone, with a two-clip video and an image; and what each needs alone."""
    config = model.config
    sequences = [
        [1, 5, 6, *image_block(config), 7, 8, 9],
        [1, 11, 12, 13, 14],
        [1, *clip_block(config), *clip_block(config), 5, 6, *image_block(config), 9],
    ]
    alone = [
        {"pixel_values": visuals["pixel_values"][:1]},
        {},
        {**visuals, "pixel_values": visuals["pixel_values"][1:]},
    ]
    return sequences, alone
