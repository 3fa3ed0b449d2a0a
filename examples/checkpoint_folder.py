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
Loads a checkpoint as `train_tiny.py` releases it: a folder with `video-lavit` (pre-trained, generates), `video-lavit-sft`
(instruction-tuned, answers) and `video-lavit-detokenizer` (tokens to pixels).
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoProcessor

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoLaVITForCausalLM, VideoLaVITProcessor


# The one that is in the box, and a prompt in its words.
CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "videolavit-tiny"
EXAMPLE_PROMPT = "a large red circle moves right fast over a cloudy grey background"


def check_checkpoint(checkpoint: Path) -> None:
    """
    Looks for the parts of a checkpoint, before anything is loaded.

    Raises:
        ValueError: If one is missing.
    """
    for name in ("video-lavit", "video-lavit-sft", "video-lavit-detokenizer"):
        if not (checkpoint / name).is_dir():
            raise ValueError(f"{checkpoint} has no {name}")


def default_dtype(device: str) -> torch.dtype:
    """Single precision on CPUs, else bfloat16."""
    return torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16


def load_instruct_model(
    checkpoint: Path, device: str, dtype: torch.dtype | None = None
) -> tuple[VideoLaVITForCausalLM, VideoLaVITProcessor]:
    """
    The language model that answers, and its processor.

    Args:
        checkpoint (`Path`): The folder.
        device (`str`): Where to compute.
        dtype (`torch.dtype`, *optional*): Its precision, by default [`default_dtype`].
    """
    folder = checkpoint / "video-lavit-sft"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or default_dtype(device)).eval().to(device)
    return model, AutoProcessor.from_pretrained(folder)


def load_pipeline(
    checkpoint: Path, device: str, dtype: torch.dtype | None = None, language_model: Path | None = None
) -> VideoLaVITDetokenizerPipeline:
    """
    The detokenizer with the language model that generates, and its processor.

    Args:
        checkpoint (`Path`): The folder.
        device (`str`): Where to compute.
        dtype (`torch.dtype`, *optional*): Their precision, by default [`default_dtype`].
        language_model (`Path`, *optional*): Folder of another checkpoint, whose `video-lavit` is to generate.
    """
    dtype = dtype or default_dtype(device)
    name = (language_model or checkpoint) / "video-lavit"
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(
        checkpoint / "video-lavit-detokenizer",
        language_model=AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval(),
        processor=AutoProcessor.from_pretrained(name),
        dtype=dtype,
    ).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe
