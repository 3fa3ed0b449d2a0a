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
"""Video-LaVIT (https://arxiv.org/abs/2402.03161) for transformers. Importing it registers it with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoVideoProcessor,
)
from transformers.utils import is_torchvision_available

from .configuration_videolavit import (
    VideoLaVITConfig,
    VideoLaVITKeyframeTokenizerConfig,
    VideoLaVITMotionTokenizerConfig,
    VideoLaVITVisionConfig,
)
from .image_processing_pil_videolavit import VideoLaVITImageProcessorPil
from .image_processing_videolavit import VideoLaVITImageProcessor
from .modeling_videolavit import VideoLaVITForCausalLM, VideoLaVITModel
from .modeling_videolavit_base import VideoLaVITPreTrainedModel
from .modeling_videolavit_keyframe_tokenizer import VideoLaVITKeyframeTokenizer
from .modeling_videolavit_motion_tokenizer import VideoLaVITMotionTokenizer
from .modeling_videolavit_vision import VideoLaVITVisionModel
from .processing_videolavit import VideoLaVITProcessor
from .remote_code import save_remote_code
from .tokenization_videolavit import build_videolavit_tokenizer
from .video_decoding import VideoDecodingError
from .video_processing_videolavit import VideoLaVITVideoProcessor


__all__ = [
    "VideoDecodingError",
    "VideoLaVITConfig",
    "VideoLaVITForCausalLM",
    "VideoLaVITImageProcessor",
    "VideoLaVITImageProcessorPil",
    "VideoLaVITKeyframeTokenizer",
    "VideoLaVITKeyframeTokenizerConfig",
    "VideoLaVITModel",
    "VideoLaVITMotionTokenizer",
    "VideoLaVITMotionTokenizerConfig",
    "VideoLaVITPreTrainedModel",
    "VideoLaVITProcessor",
    "VideoLaVITVideoProcessor",
    "VideoLaVITVisionConfig",
    "VideoLaVITVisionModel",
    "build_videolavit_tokenizer",
    "save_remote_code",
]

for model_class in (
    VideoLaVITModel,
    VideoLaVITVisionModel,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITMotionTokenizer,
):
    AutoConfig.register(model_class.config_class.model_type, model_class.config_class)
    AutoModel.register(model_class.config_class, model_class)
for auto_class in (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    auto_class.register(VideoLaVITConfig, VideoLaVITForCausalLM)
AutoProcessor.register(VideoLaVITConfig, VideoLaVITProcessor)
AutoImageProcessor.register(
    VideoLaVITConfig,
    image_processor_classes={"torchvision": VideoLaVITImageProcessor, "pil": VideoLaVITImageProcessorPil},
)
if is_torchvision_available():  # without it the library has no video processors
    AutoVideoProcessor.register(VideoLaVITConfig, VideoLaVITVideoProcessor)
del model_class, auto_class
