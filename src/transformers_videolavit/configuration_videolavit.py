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
"""Configuration of Video-LaVIT (https://arxiv.org/abs/2402.03161)."""

import math

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring


# Name of a motion code in the tokenizer's vocabulary.
MOTION_CODE_TOKEN = "<motion_{}>"


@auto_docstring(
    custom_intro="""
    Configuration of [`VideoLaVITVisionModel`], the EVA-CLIP ViT-g/14 image encoder. The defaults are those of
    the released checkpoint.
    """
)
@strict
class VideoLaVITVisionConfig(PreTrainedConfig):
    r"""
    hidden_size (`int`, defaults to 1408):
        Width of the encoder.
    intermediate_size (`int`, defaults to 6144):
        Width of the feed-forward layers.
    num_hidden_layers (`int`, defaults to 40):
        Number of transformer layers.
    num_attention_heads (`int`, defaults to 16):
        Number of attention heads.
    num_channels (`int`, defaults to 3):
        Channels of the input image.
    image_size (`int`, defaults to 224):
        Height and width of the input image, in pixels.
    patch_size (`int`, defaults to 14):
        Height and width of a patch, in pixels.
    hidden_act (`str`, defaults to `"gelu"`):
        Activation of the feed-forward layers.
    layer_norm_eps (`float`, defaults to 1e-6):
        Epsilon of the layer norms.
    attention_dropout (`float`, defaults to 0.0):
        Dropout of the attention probabilities.
    projection_dim (`int`, defaults to 1024):
        Width of EVA-CLIP's image-text space, the output of the encoder's head.
        Video-LaVIT itself uses the patch features and not this head.
    initializer_range (`float`, defaults to 0.02):
        Standard deviation of the weight initialisation.

    Example:

    ```python
    >>> from transformers_videolavit import VideoLaVITVisionConfig

    >>> config = VideoLaVITVisionConfig()
    >>> config.num_patches
    256
    ```"""

    model_type = "videolavit_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 1408
    intermediate_size: int = 6144
    num_hidden_layers: int = 40
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    projection_dim: int = 1024
    initializer_range: float = 0.02

    @property
    def num_patches(self) -> int:
        """Patches of one image, in raster order."""
        return (self.image_size // self.patch_size) ** 2


@auto_docstring(
    custom_intro="""
    Configuration of [`VideoLaVITKeyframeTokenizer`], LaVIT's dynamic visual tokenizer
    (https://arxiv.org/abs/2309.04669, section 3.1). The defaults are those of the released checkpoint.
    """
)
@strict
class VideoLaVITKeyframeTokenizerConfig(PreTrainedConfig):
    r"""
    vision_config (`dict` or `VideoLaVITVisionConfig`, *optional*):
        Configuration of the frozen image encoder. The
        selector and the merger have its width.
    intermediate_size (`int`, defaults to 6144):
        Width of the merger's feed-forward layers.
    num_hidden_layers (`int`, defaults to 12):
        Number of merger layers.
    num_attention_heads (`int`, defaults to 16):
        Number of attention heads of the merger.
    decoder_num_hidden_layers (`int`, defaults to 0):
        Number of layers of the decoder that reconstructs the encoder's
        features from the codes in stage-1 training (12 in the paper). The released checkpoints were stripped of
        that decoder: 0 builds the tokenizer without it.
    hidden_act (`str`, defaults to `"gelu"`):
        Activation of the selector and of the feed-forward layers.
    layer_norm_eps (`float`, defaults to 1e-5):
        Epsilon of the layer norms.
    attention_dropout (`float`, defaults to 0.0):
        Dropout of the attention probabilities.
    codebook_size (`int`, defaults to 16384):
        Number of visual codes.
    codebook_dim (`int`, defaults to 32):
        Dimension of a code.
    codebook_decay (`float`, defaults to 0.99):
        Decay of the codebook's exponential moving average.
    codebook_revival_threshold (`float`, defaults to 1.0):
        A code whose moving-average count falls below this is
        replaced by a feature of the current batch.
    keep_rate (`float`, defaults to 1/3):
        Target share of kept patches (LaVIT, equation 4).
    keep_rate_loss_weight (`float`, defaults to 2.0):
        Weight of the keep-rate loss (LaVIT, equation 4).
    commitment_loss_weight (`float`, defaults to 1.0):
        Weight of the commitment loss.
    gumbel_temperature (`float`, defaults to 1.0):
        Temperature of the Gumbel-softmax keep decisions in training.
    initializer_range (`float`, defaults to 0.02):
        Standard deviation of the weight initialisation.

    Example:

    ```python
    >>> from transformers_videolavit import VideoLaVITKeyframeTokenizerConfig

    >>> config = VideoLaVITKeyframeTokenizerConfig(vision_config={"image_size": 448})
    >>> config.vision_config.num_patches
    1024
    ```"""

    model_type = "videolavit_keyframe_tokenizer"
    base_config_key = "keyframe_tokenizer_config"
    sub_configs_defaults = {"vision_config": VideoLaVITVisionConfig}

    vision_config: dict | PreTrainedConfig | None = None
    intermediate_size: int = 6144
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    decoder_num_hidden_layers: int = 0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float | int = 0.0
    codebook_size: int = 16384
    codebook_dim: int = 32
    codebook_decay: float = 0.99
    codebook_revival_threshold: float | int = 1.0
    keep_rate: float = 1 / 3
    keep_rate_loss_weight: float | int = 2.0
    commitment_loss_weight: float | int = 1.0
    gumbel_temperature: float | int = 1.0
    initializer_range: float = 0.02

    @property
    def hidden_size(self) -> int:
        """Width of the selector and the merger: the encoder's."""
        return self.vision_config.hidden_size


@auto_docstring(
    custom_intro="""
    Configuration of [`VideoLaVITMotionTokenizer`], the spatio-temporal VQ-VAE of Video-LaVIT (section 3.1). The
    defaults are those of the released checkpoint.
    """
)
@strict
class VideoLaVITMotionTokenizerConfig(PreTrainedConfig):
    r"""
    hidden_size (`int`, defaults to 512):
        Width of encoder and decoder.
    intermediate_size (`int`, defaults to 2048):
        Width of the feed-forward layers.
    num_attention_heads (`int`, defaults to 8):
        Number of attention heads.
    num_layers_per_stage (`int`, defaults to 3):
        Number of spatio-temporal blocks in each stage.
    downsampling_strides (`list[list[int]]`, defaults to `[[1, 2, 2], [2, 1, 1], [2, 1, 1], [2, 2, 2]]`):
        Stride
        (time, height, width) of the convolution after each stage of the encoder. The decoder mirrors it.
    num_channels (`int`, defaults to 2):
        Components of a motion vector, horizontal and vertical.
    num_frames (`int`, defaults to 24):
        Frames of a clip.
    motion_height (`int`, defaults to 20):
        Height of the motion field.
    motion_width (`int`, defaults to 36):
        Width of the motion field.
    motion_scale_factor (`float`, defaults to 10.0):
        The tokenizer reads and writes motion in units of a tenth of its
        standard deviation. Decoded motion at a requested size is divided by this factor.
    hidden_act (`str`, defaults to `"gelu"`):
        Activation of the feed-forward layers.
    layer_norm_eps (`float`, defaults to 1e-5):
        Epsilon of the layer norms.
    attention_dropout (`float`, defaults to 0.0):
        Dropout of the attention probabilities.
    codebook_size (`int`, defaults to 1024):
        Number of motion codes.
    codebook_dim (`int`, defaults to 32):
        Dimension of a code.
    codebook_decay (`float`, defaults to 0.995):
        Decay of the codebook's exponential moving average.
    codebook_revival_threshold (`float`, defaults to 1.0):
        A code whose moving-average count falls below this is
        replaced by a feature of the current batch.
    commitment_loss_weight (`float`, defaults to 1.0):
        Weight of the commitment loss.
    initializer_range (`float`, defaults to 0.02):
        Standard deviation of the weight initialisation.

    Example:

    ```python
    >>> from transformers_videolavit import VideoLaVITMotionTokenizerConfig

    >>> config = VideoLaVITMotionTokenizerConfig()
    >>> config.latent_shape, config.num_motion_tokens
    ((3, 5, 9), 135)
    ```"""

    model_type = "videolavit_motion_tokenizer"
    base_config_key = "motion_tokenizer_config"

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    num_layers_per_stage: int = 3
    downsampling_strides: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (1, 2, 2),
        (2, 1, 1),
        (2, 1, 1),
        (2, 2, 2),
    )
    num_channels: int = 2
    num_frames: int = 24
    motion_height: int = 20
    motion_width: int = 36
    motion_scale_factor: float | int = 10.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float | int = 0.0
    codebook_size: int = 1024
    codebook_dim: int = 32
    codebook_decay: float = 0.995
    codebook_revival_threshold: float | int = 1.0
    commitment_loss_weight: float | int = 1.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if any(len(stride) != 3 or not set(stride) <= {1, 2} for stride in self.downsampling_strides):
            raise ValueError(
                "`downsampling_strides` must be triples (time, height, width) of 1 and 2, not "
                f"{self.downsampling_strides}."
            )
        if self.motion_shape != tuple(size * factor for size, factor in zip(self.latent_shape, self._strides)):
            raise ValueError(
                f"`num_frames`, `motion_height` and `motion_width` {self.motion_shape} must be multiples of the "
                f"total strides {self._strides}: the decoder could not restore them."
            )

    @property
    def motion_shape(self) -> tuple[int, int, int]:
        """Size (time, height, width) of the motion field."""
        return (self.num_frames, self.motion_height, self.motion_width)

    @property
    def _strides(self) -> tuple[int, ...]:
        return tuple(math.prod(steps) for steps in zip(*self.downsampling_strides))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Size (time, height, width) of the grid of motion codes."""
        return tuple(size // stride for size, stride in zip(self.motion_shape, self._strides))

    @property
    def num_motion_tokens(self) -> int:
        """Motion tokens of one clip."""
        time, height, width = self.latent_shape
        return time * height * width


@auto_docstring(
    custom_intro="""
    Configuration of [`VideoLaVITModel`] and [`VideoLaVITForCausalLM`]: a LLaMA whose vocabulary holds text,
    visual tokens and motion tokens, with the two tokenizers. The defaults are those of the released 7B
    checkpoint. The vocabulary is `text | [IMG] [/IMG] | visual codes | [MOV] [/MOV] | motion codes`, in this
    order; tokens that are added behind the motion codes are text.
    """
)
@strict
class VideoLaVITConfig(PreTrainedConfig):
    r"""
    text_config (`dict` or `LlamaConfig`, *optional*):
        Configuration of the language model; LLaMA-2-7B with 49412
        tokens by default.
    vision_config (`dict` or `VideoLaVITVisionConfig`, *optional*):
        Configuration of the image encoder. It is the
        same object as `keyframe_tokenizer_config.vision_config`, and wins over it where both are given.
    keyframe_tokenizer_config (`dict` or `VideoLaVITKeyframeTokenizerConfig`, *optional*):
        Configuration of the
        keyframe tokenizer.
    motion_tokenizer_config (`dict` or `VideoLaVITMotionTokenizerConfig`, *optional*):
        Configuration of the motion
        tokenizer.
    image_token_id (`int`, defaults to 257):
        Placeholder of an image's features. LLaMA's byte token `<0xFE>`, which
        no UTF-8 text contains.
    video_token_id (`int`, defaults to 258):
        Placeholder of a video's features, byte token `<0xFF>`.
    image_start_token_id (`int`, defaults to 32000):
        `[IMG]`.
    image_end_token_id (`int`, defaults to 32001):
        `[/IMG]`.
    visual_code_offset (`int`, defaults to 32002):
        Token id of visual code 0.
    motion_start_token_id (`int`, defaults to 48386):
        `[MOV]`.
    motion_end_token_id (`int`, defaults to 48387):
        `[/MOV]`.
    motion_code_offset (`int`, defaults to 48388):
        Token id of motion code 0.
    num_motion_codes (`int`, defaults to 1024):
        Number of motion codes, all of which the vocabulary has to hold. Visual codes fill the ids from
        `visual_code_offset` to `motion_start_token_id`.
    max_visual_tokens (`int`, defaults to 256):
        Most visual tokens of a generated image; the keyframe decoder has as
        many positions.
    pad_token_id (`int`, *optional*, defaults to 0):
        Padding token.
    bos_token_id (`int`, *optional*, defaults to 1):
        Beginning of a text sequence.
    eos_token_id (`int` or `list[int]`, *optional*, defaults to 2):
        End of a text sequence.
    use_cache (`bool`, defaults to `True`):
        Whether the model returns its key-value cache.
    tie_word_embeddings (`bool`, defaults to `False`):
        Whether input and output embeddings are one matrix.

    Example:

    ```python
    >>> from transformers_videolavit import VideoLaVITConfig

    >>> config = VideoLaVITConfig(text_config={"num_hidden_layers": 2})
    >>> config.text_config.vocab_size, config.num_clip_tokens
    (49412, 391)
    ```"""

    model_type = "videolavit"
    sub_configs_defaults = {
        "text_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="llama",
            init_kwargs={"vocab_size": 49412, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        ),
        "keyframe_tokenizer_config": VideoLaVITKeyframeTokenizerConfig,
        "vision_config": VideoLaVITVisionConfig,
        "motion_tokenizer_config": VideoLaVITMotionTokenizerConfig,
    }
    keys_to_ignore_at_inference = ["past_key_values"]

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    keyframe_tokenizer_config: dict | PreTrainedConfig | None = None
    motion_tokenizer_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 257
    video_token_id: int = 258
    image_start_token_id: int = 32000
    image_end_token_id: int = 32001
    visual_code_offset: int = 32002
    motion_start_token_id: int = 48386
    motion_end_token_id: int = 48387
    motion_code_offset: int = 48388
    num_motion_codes: int = 1024
    max_visual_tokens: int = 256
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    use_cache: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        own_vision_config = self.vision_config is not None
        if isinstance(self.text_config, dict):
            # A partial dictionary means LLaMA-2 with these changes, not transformers' LLaMA-1 defaults.
            self.text_config = {**self.sub_configs_defaults["text_config"].init_kwargs, **self.text_config}
        super().__post_init__(**kwargs)
        if own_vision_config:
            self.keyframe_tokenizer_config.vision_config = self.vision_config
        else:
            self.vision_config = self.keyframe_tokenizer_config.vision_config
        if self.motion_code_offset + self.num_motion_codes > self.text_config.vocab_size:
            raise ValueError(
                f"`num_motion_codes` {self.num_motion_codes} from `motion_code_offset` {self.motion_code_offset} on do not "
                f"fit the vocabulary: `text_config.vocab_size` is {self.text_config.vocab_size}."
            )

    @property
    def num_visual_codes(self) -> int:
        """Number of visual codes in the vocabulary."""
        return self.motion_start_token_id - self.visual_code_offset

    @property
    def num_image_tokens(self) -> int:
        """Placeholders of one image or keyframe: its patches, of which the model keeps those the selector chooses."""
        return self.vision_config.num_patches

    @property
    def num_clip_tokens(self) -> int:
        """Placeholders of one clip: the patches of its keyframe and its motion tokens."""
        return self.num_image_tokens + self.motion_tokenizer_config.num_motion_tokens


__all__ = [
    "VideoLaVITConfig",
    "VideoLaVITKeyframeTokenizerConfig",
    "VideoLaVITMotionTokenizerConfig",
    "VideoLaVITVisionConfig",
]
