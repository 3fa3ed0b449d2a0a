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
import shutil
from pathlib import Path

import torch
from torch import nn
from training.trainer import save_at_once
from transformers import AutoModelForCausalLM, AutoProcessor

from diffusers_videolavit import VideoLaVITDetokenizerPipeline, VideoLaVITKeyframePipeline
from transformers_videolavit import save_remote_code
from transformers_videolavit.vector_quantization import VectorQuantizer


def halve(model: nn.Module) -> nn.Module:
    """Half precision for a model's weights, but for codebooks: of rounded ones, other codes could be the nearest."""
    model.half()
    for module in model.modules():
        if isinstance(module, VectorQuantizer):
            module.float()
    return model


def release_language_model(source: Path, target: Path) -> None:
    """Saves a model and its processor in half precision."""
    model = halve(AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32))
    processor = AutoProcessor.from_pretrained(source)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        save_remote_code(folder)

    save_at_once(target, save)


def release_detokenizer(source: Path, keyframe_source: Path | None, target: Path) -> None:
    """Saves a pipeline in half precision, with the keyframe detokenizer that was trained beside it."""
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(source, dtype=torch.float32)
    if keyframe_source is not None:
        keyframe = VideoLaVITKeyframePipeline.from_pretrained(keyframe_source, dtype=torch.float32)
        pipe.register_modules(
            keyframe_token_decoder=keyframe.token_decoder,
            keyframe_unet=keyframe.unet,
            keyframe_vae=keyframe.vae,
            keyframe_scheduler=keyframe.scheduler,
        )
    for component in pipe.components.values():
        if isinstance(component, nn.Module):
            halve(component)
    save_at_once(target, pipe.save_pretrained)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, required=True, help="folder of the pre-trained language model")
    parser.add_argument("--instruct", type=Path, required=True, help="folder of the instruction-tuned language model")
    parser.add_argument("--detokenizer", type=Path, required=True, help="folder of the detokenizer pipeline")
    parser.add_argument("--keyframe_detokenizer", type=Path, help="folder of the keyframe pipeline, if it is another")
    parser.add_argument("--times", type=Path, help="JSON file of the steps' seconds, to go with the model")
    parser.add_argument("--output_dir", type=Path, required=True, help="where to write the three repositories")
    parser.add_argument(
        "--max_megabytes", type=float, default=60, help="largest size of all weights together (default: %(default)s)"
    )
    arguments = parser.parse_args(args)
    release_language_model(arguments.pretrained, arguments.output_dir / "video-lavit")
    release_language_model(arguments.instruct, arguments.output_dir / "video-lavit-sft")
    release_detokenizer(
        arguments.detokenizer, arguments.keyframe_detokenizer, arguments.output_dir / "video-lavit-detokenizer"
    )
    if arguments.times is not None:
        shutil.copyfile(arguments.times, arguments.output_dir / "times.json")
    size = sum(path.stat().st_size for path in arguments.output_dir.rglob("*.safetensors")) / 1e6
    if size > arguments.max_megabytes:
        shutil.rmtree(arguments.output_dir)
        parser.error(f"the weights take {size:.1f} MB, more than `--max_megabytes` {arguments.max_megabytes:g}")
    print(f"{arguments.output_dir}: {size:.1f} MB of weights")


if __name__ == "__main__":
    main()
