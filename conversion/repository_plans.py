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
"""What each repository of a conversion is made of: its models, where every parameter comes from, and the rest of its files."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, ModelMixin, UNet2DConditionModel
from original_checkpoint import TensorInfo, describe_tensors
from parameter_names_diffusers import (
    CODEBOOK_NAME,
    count_layers,
    keyframe_token_decoder_names,
    motion_encoder_names,
)
from parameter_names_transformers import IGNORED_ORIGINAL_NAMES, INITIAL_CLUSTER_SIZE, convert_from_original
from sharded_safetensors import Source
from torch import nn
from transformers import GenerationConfig, LlamaConfig, PreTrainedModel
from transformers.core_model_loading import dot_natural_key

from diffusers_videolavit import (
    KeyframeTokenDecoder,
    MotionConditionEncoder,
    UNetSpatioTemporalMotionConditionModel,
    VideoLaVITDetokenizerPipeline,
)
from transformers_videolavit import (
    VideoLaVITConfig,
    VideoLaVITForCausalLM,
    VideoLaVITImageProcessor,
    VideoLaVITMotionTokenizer,
    VideoLaVITMotionTokenizerConfig,
    VideoLaVITProcessor,
    VideoLaVITVideoProcessor,
    build_videolavit_tokenizer,
)


# Files of the original checkpoint, by their key in `PARAMETER_NAMES`.
VISUAL_FILES = {
    "eva_vitg_psz14.bin": "visual_tokenizer/eva_vitg_psz14.bin",
    "tokenizer_encoder.bin": "visual_tokenizer/tokenizer_encoder.bin",
    "motion_tokenizer.bin": "motion_tokenizer.bin",
}
TOKEN_DECODER_FILE = "visual_tokenizer/highres_tokenizer_decoder.bin"
VIDEO_UNET_FILE = "video_3d_unet.bin"
# What is not read, and why.
IGNORED_FILES = {"video_detokenizer/unet": f"superseded by the U-Net in {VIDEO_UNET_FILE}"}
# What each repository is made of.
REPOSITORIES = {
    "video-lavit": ["language_model", *VISUAL_FILES.values()],
    "video-lavit-sft": ["language_model_sft"],
    "video-lavit-detokenizer": [
        "image_detokenizer",
        "video_detokenizer",
        TOKEN_DECODER_FILE,
        VISUAL_FILES["tokenizer_encoder.bin"],
        VISUAL_FILES["motion_tokenizer.bin"],
        VIDEO_UNET_FILE,
    ],
}
# Sizes of attention that no shape of a weight tells. The default is the released checkpoint's.
NUM_ATTENTION_HEADS = ("vision", "keyframe_tokenizer", "motion_tokenizer", "motion_encoder", "keyframe_token_decoder")
PROJECTOR = "model.multi_modal_projector."
# Attention layers of an autoencoder, as diffusers named them before 0.18.
OLD_AUTOENCODER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass
class ModelPlan:
    """
    One model to write.

    Args:
        folder (`Path`): Where to.
        model (`nn.Module`): The model, on `meta`.
        sources (`dict[str, Source]`): Where each of its parameters comes from.
        infos (`dict[str, TensorInfo]`): What the sources are that are no constants.
    """

    folder: Path
    model: nn.Module
    sources: dict[str, Source]
    infos: dict[str, TensorInfo]

    @property
    def file_name(self) -> str:
        """Name of the weights, as the model's library has it."""
        return "diffusion_pytorch_model.safetensors" if isinstance(self.model, ModelMixin) else "model.safetensors"

    def parameters(self, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
        """
        The parameters on `meta`, in the type to write them in; by default each in the type it is stored in. They are in the order
        in which the model's library fills its files.
        """
        parameters = {}
        state_dict = self.model.state_dict()
        names = (
            sorted(state_dict, key=dot_natural_key) if isinstance(self.model, PreTrainedModel) else list(state_dict)
        )
        for name in names:
            tensor = state_dict[name]
            stored = self.infos[name].dtype if name in self.infos else tensor.dtype
            target = dtype if dtype is not None and stored.is_floating_point else stored
            parameters[name] = torch.empty(tensor.shape, dtype=target, device="meta")
        return parameters

    def save_config(self, dtype: torch.dtype | None) -> None:
        """Writes the configuration, as the model's `save_pretrained` does."""
        model = self.model
        if not isinstance(model, PreTrainedModel):
            model.save_config(self.folder)
            return
        dtype = dtype if dtype is not None else next(iter(self.parameters().values())).dtype
        model.config.architectures = [type(model).__name__]
        for config in (model.config, *(getattr(model.config, name) for name in model.config.sub_configs)):
            config.dtype = str(dtype).removeprefix("torch.")
        model.config.save_pretrained(self.folder)
        if model.can_generate():
            model.generation_config.save_pretrained(self.folder)


@dataclass
class RepositoryPlan:
    """
    One repository.

    Args:
        name (`str`): Its name.
        folder (`Path`): Where it is written.
        models (`list[ModelPlan]`): Its models.
        save_rest (`Callable[[Path], None]`): Writes what it holds besides.
        ignored (`dict[str, str]`): What of the source is not used, with the reason.
    """

    name: str
    folder: Path
    models: list[ModelPlan]
    save_rest: Callable[[Path], None]
    ignored: dict[str, str] = field(default_factory=dict)


def plan_language_model(source: Path, output: Path, name: str, heads: dict[str, int]) -> RepositoryPlan:
    """
    Plans `video-lavit` or `video-lavit-sft`.

    Args:
        source (`Path`): The original checkpoint.
        output (`Path`): Folder of the repository.
        name (`str`): Which of the two.
        heads (`dict[str, int]`): Attention heads that differ from the released checkpoint's.

    Raises:
        ValueError: If a parameter is missing, unknown or of another shape.
    """
    is_tuned = name == "video-lavit-sft"
    folder = source / REPOSITORIES[name][0]
    files = {"language_model_sft": folder} if is_tuned else {"language_model": folder}
    if not is_tuned:
        files |= {key: source / path for key, path in VISUAL_FILES.items()}
    infos, sources, ignored = _plan_parameters({key: describe_tensors(path) for key, path in files.items()})
    if not is_tuned:
        _add_projector(source, infos, sources)
    config = infer_config(json.loads((folder / "config.json").read_text()), infos, heads)
    with torch.device("meta"):
        model = VideoLaVITForCausalLM(config)
    model.generation_config = _read_generation_config(folder, model.generation_config)
    plan = ModelPlan(output, model, sources, infos)
    _check(plan, name)

    def save_rest(target: Path) -> None:
        size = {"height": config.vision_config.image_size, "width": config.vision_config.image_size}
        VideoLaVITProcessor(
            VideoLaVITImageProcessor(size=size),
            build_videolavit_tokenizer(folder, config),
            VideoLaVITVideoProcessor(size=size),
            num_image_tokens=config.num_image_tokens,
            num_motion_tokens=config.motion_tokenizer_config.num_motion_tokens,
        ).save_pretrained(target)

    return RepositoryPlan(name, output, [plan], save_rest, ignored)


def _plan_parameters(
    originals: dict[str, dict[str, TensorInfo]],
) -> tuple[dict[str, TensorInfo], dict[str, Source], dict[str, str]]:
    """Descriptions and sources by the names in `VideoLaVITForCausalLM`, and what is ignored, with the reason."""
    infos, sources, ignored = {}, {}, {}
    for key, tensors in originals.items():
        buffers = [name for name in tensors if IGNORED_ORIGINAL_NAMES.fullmatch(name)]
        ignored |= dict.fromkeys(buffers, "a buffer that the library computes")
        # Names stand for tensors: what the mapping gives a new name is the old one.
        stand_ins = {name: _OriginalName(name, info.shape) for name, info in tensors.items()}
        for name, stand_in in convert_from_original(stand_ins, key).items():
            if isinstance(stand_in, _OriginalName):
                infos[name] = tensors[stand_in.name]
                sources[name] = Source(tensors[stand_in.name].path, stand_in.name)
            else:
                sources[name] = Source(constant=INITIAL_CLUSTER_SIZE if name.endswith("cluster_size") else 1.0)
    return infos, sources, ignored


def _add_projector(source: Path, infos: dict[str, TensorInfo], sources: dict[str, Source]) -> None:
    """
    The released pre-trained checkpoint has no projection of visual features (`vit_proj`): it generates, and does not
    need it. It gets the instruction-tuned model's where there is one, else zeros.
    """
    names = {f"{PROJECTOR}{kind}": f"model.visual_tokenizer.vit_proj.{kind}" for kind in ("weight", "bias")}
    if sources.keys() & names.keys():
        return
    tuned = describe_tensors(source / "language_model_sft") if (source / "language_model_sft").is_dir() else {}
    for name, old_name in names.items():
        if old_name in tuned:
            infos[name] = tuned[old_name]
            sources[name] = Source(tuned[old_name].path, old_name)
        else:
            sources[name] = Source(constant=0.0)


@dataclass(frozen=True)
class _OriginalName:
    """Stands for a tensor where names are converted."""

    name: str
    shape: tuple[int, ...]


def infer_config(language_model: dict, infos: dict[str, TensorInfo], heads: dict[str, int]) -> VideoLaVITConfig:
    """
    The configuration, from the language model's and from the shapes of the tokenizers' weights.

    Args:
        language_model (`dict`): The original `config.json`.
        infos (`dict[str, TensorInfo]`): The weights by our names.
        heads (`dict[str, int]`): Attention heads that differ from the released checkpoint's.
    """

    keyframe = "model.keyframe_tokenizer."
    vision = f"{keyframe}vision_model."
    patch_size = _shape(infos, f"{vision}embeddings.patch_embedding.weight")[-1]
    num_patches = _shape(infos, f"{vision}embeddings.position_embedding")[-2] - 1
    # A LLaMA's own keys only: the original has some of its training code, too.
    not_text = ("architectures", "dtype", "model_type", "transformers_version")
    own_keys = LlamaConfig().to_dict().keys() - set(not_text)
    text_config = {key: value for key, value in language_model.items() if key in own_keys}
    return VideoLaVITConfig(
        text_config=text_config,
        tie_word_embeddings=bool(language_model.get("tie_word_embeddings", False)),
        keyframe_tokenizer_config={
            "vision_config": {
                "hidden_size": _shape(infos, f"{vision}embeddings.class_embedding")[-1],
                "intermediate_size": _shape(infos, f"{vision}layers.0.mlp.fc1.weight")[0],
                "num_hidden_layers": _count(infos, f"{vision}layers."),
                "image_size": round(num_patches**0.5) * patch_size,
                "patch_size": patch_size,
                "projection_dim": _shape(infos, f"{vision}head.weight")[0],
                **_heads(heads, "vision"),
            },
            "intermediate_size": _shape(infos, f"{keyframe}merger.layers.0.mlp.fc1.weight")[0],
            "num_hidden_layers": _count(infos, f"{keyframe}merger.layers."),
            "codebook_size": _shape(infos, f"{keyframe}quantizer.codebook")[0],
            "codebook_dim": _shape(infos, f"{keyframe}quantizer.codebook")[1],
            **_heads(heads, "keyframe_tokenizer"),
        },
        motion_tokenizer_config=infer_motion_tokenizer_config(infos, heads),
    )


def infer_motion_tokenizer_config(
    infos: dict[str, TensorInfo], heads: dict[str, int]
) -> VideoLaVITMotionTokenizerConfig:
    """The motion tokenizer's configuration, from the shapes of its weights by our names."""
    prefix = "model.motion_tokenizer."
    return VideoLaVITMotionTokenizerConfig(
        hidden_size=_shape(infos, f"{prefix}encoder.proj_in.weight")[0],
        intermediate_size=_shape(infos, f"{prefix}encoder.layers.0.mlp.fc1.weight")[0],
        num_layers_per_stage=_count(infos, f"{prefix}encoder.layers.")
        // _count(infos, f"{prefix}encoder.downsamplers."),
        codebook_size=_shape(infos, f"{prefix}quantizer.codebook")[0],
        codebook_dim=_shape(infos, f"{prefix}quantizer.codebook")[1],
        **_heads(heads, "motion_tokenizer"),
    )


def _count(infos: dict[str, TensorInfo], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in infos if name.startswith(prefix)})


def _heads(heads: dict[str, int], part: str) -> dict[str, int]:
    return {"num_attention_heads": heads[part]} if part in heads else {}


def plan_detokenizer(source: Path, output: Path, heads: dict[str, int]) -> RepositoryPlan:
    """Plans `video-lavit-detokenizer`; as [`plan_language_model`]."""
    video, image = source / "video_detokenizer", source / "image_detokenizer"
    models: dict[str, ModelPlan] = {}

    def add(
        name: str, build: Callable[[], nn.Module], infos: dict[str, TensorInfo], sources: dict[str, Source]
    ) -> None:
        with torch.device("meta"):
            model = build()
        models[name] = ModelPlan(output / name, model, sources, infos)
        _check(models[name], f"video-lavit-detokenizer/{name}")

    tensors = describe_tensors(source / VIDEO_UNET_FILE)
    parts: dict[str, dict[str, TensorInfo]] = {"motion_encoder": {}, "unet": {}}
    for name, info in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{VIDEO_UNET_FILE}: {name!r} is neither of the motion encoder nor of the U-Net.")
        parts[part][rest] = info
    encoder = parts["motion_encoder"]
    names = motion_encoder_names(count_layers(encoder))
    encoder_config = {
        "hidden_size": _shape(encoder, "pos_embed")[-1],
        "num_layers": count_layers(encoder),
        "cross_attention_dim": _shape(encoder, "out_proj.weight")[0],
        **_heads(heads, "motion_encoder"),
    }
    add(
        "motion_encoder", lambda: MotionConditionEncoder(**encoder_config), *_rename(encoder, names, "motion_encoder.")
    )
    unet_config = _read_config(video / "unet") | {"in_channels": _shape(parts["unet"], "conv_in.weight")[1]}
    names = {name: name for name in parts["unet"]}
    unet = UNetSpatioTemporalMotionConditionModel
    add("unet", lambda: unet(**unet_config), *_rename(parts["unet"], names, "unet."))

    decoder = describe_tensors(source / TOKEN_DECODER_FILE)
    codebook = describe_tensors(source / VISUAL_FILES["tokenizer_encoder.bin"])
    names = keyframe_token_decoder_names(count_layers(decoder))
    infos, sources = _rename(decoder, names)
    codebook_infos, codebook_sources = _rename({CODEBOOK_NAME: codebook[CODEBOOK_NAME]}, {CODEBOOK_NAME: "codebook"})
    decoder_config = {
        "codebook_size": _shape(codebook, CODEBOOK_NAME)[0],
        "codebook_dim": _shape(codebook, CODEBOOK_NAME)[1],
        "num_positions": _shape(decoder, "pos_embed")[1],
        "hidden_size": _shape(decoder, "pos_embed")[-1],
        "intermediate_size": _shape(decoder, "blocks.0.mlp.fc1.weight")[0],
        "num_layers": count_layers(decoder),
        "out_channels": _shape(decoder, "decode_task_layer.2.weight")[0],
        "prompt_embed_dims": tuple(_shape(decoder, f"unet_proj_{part}.weight")[0] for part in (1, 2)),
        "pooled_embed_dim": _shape(decoder, "unet_attnpool.c_proj.weight")[0],
        **_heads(heads, "keyframe_token_decoder"),
    }
    add(
        "keyframe_token_decoder",
        lambda: KeyframeTokenDecoder(**decoder_config),
        infos | codebook_infos,
        sources | codebook_sources,
    )

    for name, folder, model_class in (
        ("vae", video / "vae", AutoencoderKLTemporalDecoder),
        ("keyframe_vae", image / "vae", AutoencoderKL),
        ("keyframe_unet", image / "unet", UNet2DConditionModel),
    ):
        tensors = describe_tensors(folder)
        names = {old_name: _modern_name(old_name) for old_name in tensors}
        config = _read_config(folder)
        add(
            name,
            lambda model_class=model_class, config=config: model_class.from_config(config),
            *_rename(tensors, names),
        )

    motion = describe_tensors(source / VISUAL_FILES["motion_tokenizer.bin"])
    infos, sources = _plan_parameters({"motion_tokenizer.bin": motion})[:2]
    config = infer_motion_tokenizer_config(infos, heads)
    prefix = "model.motion_tokenizer."
    add(
        "motion_tokenizer",
        lambda: VideoLaVITMotionTokenizer(config),
        {name.removeprefix(prefix): info for name, info in infos.items()},
        {name.removeprefix(prefix): info for name, info in sources.items()},
    )
    schedulers = {"scheduler": _load_scheduler(video), "keyframe_scheduler": _load_scheduler(image)}

    def save_rest(target: Path) -> None:
        for name, scheduler in schedulers.items():
            scheduler.save_pretrained(target / name)
        components = {name: plan.model for name, plan in models.items()}
        VideoLaVITDetokenizerPipeline(**components, **schedulers).save_config(target)

    return RepositoryPlan("video-lavit-detokenizer", output, list(models.values()), save_rest, dict(IGNORED_FILES))


def _rename(
    tensors: dict[str, TensorInfo], names: dict[str, str], prefix: str = ""
) -> tuple[dict[str, TensorInfo], dict[str, Source]]:
    """Descriptions and sources by our names."""
    infos, sources = {}, {}
    for old_name, name in names.items():
        if old_name not in tensors:
            raise ValueError(f"Parameter {prefix + old_name!r} is missing.")
        infos[name] = tensors[old_name]
        sources[name] = Source(tensors[old_name].path, prefix + old_name)
    unknown = sorted(tensors.keys() - names.keys())
    if unknown:
        raise ValueError(
            f"The model has no place for {len(unknown)} parameters: {[prefix + name for name in unknown[:8]]}."
        )
    return infos, sources


def _shape(tensors: dict[str, TensorInfo], name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"Parameter {name!r} is missing.")
    return tensors[name].shape


def _modern_name(name: str) -> str:
    for old, new in OLD_AUTOENCODER_NAMES.items():
        name = re.sub(rf"(attentions\.\d+)\.{old}\.", rf"\1.{new}.", name)
    return name


def _read_config(folder: Path) -> dict:
    config = json.loads((folder / "config.json").read_text())
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _load_scheduler(part: Path) -> diffusers.SchedulerMixin:
    folder = part / "scheduler"
    class_name = json.loads((folder / "scheduler_config.json").read_text())["_class_name"]
    return getattr(diffusers, class_name).from_pretrained(folder)


def _check(plan: ModelPlan, name: str) -> None:
    """Every parameter of the model has one source, of its shape, and there are no more."""
    expected = {key: tuple(tensor.shape) for key, tensor in plan.model.state_dict().items()}
    missing = [f"{key!r} {shape} is missing" for key, shape in expected.items() if key not in plan.sources]
    extra = [f"{key!r} has no place" for key in plan.sources if key not in expected]
    misshapen = [
        f"{key!r} has shape {plan.infos[key].shape} instead of {shape}"
        for key, shape in expected.items()
        if key in plan.infos and plan.infos[key].shape != shape
    ]
    if problems := missing + extra + misshapen:
        raise ValueError(f"{name}: {len(problems)} parameters do not fit: {'; '.join(problems[:8])}.")
    used = [(source.path, source.name) for source in plan.sources.values() if source.path is not None]
    if len(set(used)) != len(used):
        raise ValueError(f"{name}: a parameter of the source is used twice.")


def _read_generation_config(folder: Path, default: GenerationConfig) -> GenerationConfig:
    path = folder / "generation_config.json"
    if not path.is_file():
        return default
    original = {
        name: value
        for name, value in json.loads(path.read_text()).items()
        if not name.startswith(("_", "transformers"))
    }
    return GenerationConfig.from_dict({**default.to_dict(), **original})


# How each repository is planned: from the source, the output folder and the attention heads.
PLANS: dict[str, Callable[[Path, Path, dict[str, int]], RepositoryPlan]] = {
    "video-lavit": lambda source, output, heads: plan_language_model(source, output, "video-lavit", heads),
    "video-lavit-sft": lambda source, output, heads: plan_language_model(source, output, "video-lavit-sft", heads),
    "video-lavit-detokenizer": plan_detokenizer,
}
