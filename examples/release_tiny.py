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
Puts what `train_tiny.py` has trained into one folder, as small as does no harm: `video-lavit` (pre-trained), `video-lavit-sft`
(instruction-tuned) and `video-lavit-detokenizer` (tokens to pixels), in half precision but for the codebooks.

    python examples/release_tiny.py --pretrained outputs/tiny/pretrained --instruct outputs/tiny/instruct \\
        --detokenizer outputs/tiny/video_detokenizer --keyframe_detokenizer outputs/tiny/keyframe_detokenizer \\
        --output_dir outputs/tiny/videolavit-tiny
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from torch import nn
from training.trainer import save_at_once
from transformers import AutoModelForCausalLM, AutoProcessor, GenerationConfig, ProcessorMixin
from transformers.hf_argparser import string_to_bool

from diffusers_videolavit import VideoLaVITDetokenizerPipeline, VideoLaVITKeyframePipeline
from transformers_videolavit.generation_videolavit import PUBLISHED_GENERATION
from transformers_videolavit.vector_quantization import VectorQuantizer


# What a pipeline's configuration has for its calls.
PIPELINE_SETTINGS = {
    "max_guidance_scale": float,
    "keyframe_guidance_scale": float,
    "continuous_keyframe": string_to_bool,
}


def halve(model: nn.Module) -> nn.Module:
    """Half precision for a model's weights, but for codebooks: of rounded ones, other codes could be the nearest."""
    model.half()
    for module in model.modules():
        if isinstance(module, VectorQuantizer):
            module.float()
    return model


def load_language_model(source: Path) -> tuple[nn.Module, ProcessorMixin]:
    """Loads a model in half precision, and its processor."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    return halve(model), AutoProcessor.from_pretrained(source)


def save_language_model(model: nn.Module, processor: ProcessorMixin, target: Path) -> None:
    """Saves a model and its processor."""

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        forget_sources(folder)

    save_at_once(target, save)


def save_detokenizer(pipe: VideoLaVITDetokenizerPipeline, target: Path) -> None:
    """Saves a pipeline."""

    def save(folder: Path) -> None:
        pipe.save_pretrained(folder)
        forget_sources(folder)

    save_at_once(target, save)


def forget_sources(folder: Path) -> None:
    """
    Removes from configurations the folders that their parts were loaded from, which mean nothing on another machine, and the code
    that they were saved with: a release lies beside the package, of which a copy would grow old. `save_remote_code` puts it back.
    """

    def without_sources(value):
        if isinstance(value, dict):
            kept = {name: each for name, each in value.items() if name not in ("_name_or_path", "auto_map")}
            return {name: without_sources(each) for name, each in kept.items()}
        return value

    for path in (*folder.rglob("*config.json"), *folder.rglob("model_index.json")):
        path.write_text(json.dumps(without_sources(json.loads(path.read_text())), indent=2) + "\n")


def load_detokenizer(source: Path, keyframe_source: Path | None) -> VideoLaVITDetokenizerPipeline:
    """Loads a pipeline in half precision, with the keyframe detokenizer that was trained beside it."""
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(source, dtype=torch.float32)
    if keyframe_source is not None:
        keyframe = VideoLaVITKeyframePipeline.from_pretrained(keyframe_source, dtype=torch.float32)
        pipe.register_modules(
            keyframe_token_decoder=keyframe.token_decoder,
            keyframe_unet=keyframe.unet,
            keyframe_vae=keyframe.vae,
            keyframe_scheduler=keyframe.scheduler,
        )
    for model in models_of(pipe):
        halve(model)
    return pipe


def models_of(pipe: VideoLaVITDetokenizerPipeline) -> list[nn.Module]:
    """The components of a pipeline that have weights."""
    return [component for component in pipe.components.values() if isinstance(component, nn.Module)]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, required=True, help="folder of the pre-trained language model")
    parser.add_argument("--instruct", type=Path, required=True, help="folder of the instruction-tuned language model")
    parser.add_argument("--detokenizer", type=Path, required=True, help="folder of the detokenizer pipeline")
    parser.add_argument("--keyframe_detokenizer", type=Path, help="folder of the keyframe pipeline, if it is another")
    for name, value in PUBLISHED_GENERATION.items():
        parser.add_argument(f"--{name}", type=type(value), help=f"for `generate`, in place of the published {value}")
    for name, value_type in PIPELINE_SETTINGS.items():
        parser.add_argument(f"--{name}", type=value_type, help="for the pipeline, in place of what is published")
    parser.add_argument("--times", type=Path, help="JSON file of the steps' seconds, to go with the model")
    parser.add_argument("--output_dir", type=Path, required=True, help="where to write the three repositories")
    parser.add_argument(
        "--max_megabytes", type=float, default=60, help="largest size of all weights together (default: %(default)s)"
    )
    arguments = parser.parse_args(args)
    pretrained, instruct = load_language_model(arguments.pretrained), load_language_model(arguments.instruct)
    pipe = load_detokenizer(arguments.detokenizer, arguments.keyframe_detokenizer)
    settings = {name: getattr(arguments, name) for name in PIPELINE_SETTINGS}
    pipe.register_to_config(**{name: value for name, value in settings.items() if value is not None})
    models = (pretrained[0], instruct[0], *models_of(pipe))
    given = {name: getattr(arguments, name) for name in PUBLISHED_GENERATION if getattr(arguments, name) is not None}
    for model in models[:2]:
        # One that counts as derived from the model's configuration would lose what transformers does not know.
        source = {**model.generation_config.to_dict(), "_from_model_config": False, **given}
        model.generation_config = GenerationConfig.from_dict(source)
    size = sum(weight.nbytes for model in models for weight in model.parameters()) / 1e6
    if size > arguments.max_megabytes:
        parser.error(f"the weights take {size:.1f} MB, more than `--max_megabytes` {arguments.max_megabytes:g}")
    save_language_model(*pretrained, arguments.output_dir / "video-lavit")
    save_language_model(*instruct, arguments.output_dir / "video-lavit-sft")
    save_detokenizer(pipe, arguments.output_dir / "video-lavit-detokenizer")
    if arguments.times is not None:
        shutil.copyfile(arguments.times, arguments.output_dir / "times.json")
    print(f"{arguments.output_dir}: {size:.1f} MB of weights")


if __name__ == "__main__":
    main()
