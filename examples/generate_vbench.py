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
Makes the videos that VBench (https://github.com/Vchitect/VBench) scores, in one folder, named as it expects.

    accelerate launch examples/generate_vbench.py --prompts VBench_full_info.json --model video-lavit \\
        --detokenizer video-lavit-detokenizer --output_dir vbench

Then, in VBench's own environment, whose pins conflict with this package's: `vbench evaluate --videos_path vbench --dimension ...`. The prompts
are VBench's `VBench_full_info.json`, or a text file with a prompt on each line. Videos that are there are not made again; any number of
processes make the same ones.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm.auto import tqdm
from training.arguments import parse_arguments
from transformers import AutoModelForCausalLM, AutoProcessor

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from videolavit_lmms_eval.vbench import video_path, write_video


@dataclass
class VBenchArguments:
    prompts: str = field(metadata={"help": "VBench_full_info.json, or a text file with a prompt on each line."})
    model: str = field(metadata={"help": "Folder or repository of the pre-trained language model."})
    detokenizer: str = field(metadata={"help": "Folder or repository of the pipeline."})
    output_dir: str = field(metadata={"help": "Where the videos go."})
    videos_per_prompt: int = field(default=5, metadata={"help": "Videos of each prompt. VBench: 5."})
    flickering_videos_per_prompt: int = field(
        default=25, metadata={"help": "Videos of the prompts of `temporal_flickering`. VBench: 25."}
    )
    batch_size: int = field(default=4, metadata={"help": "Videos at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the first video of a prompt; the next has the next."})
    height: int | None = field(default=None, metadata={"help": "Height of the frames, by default the detokenizer's."})
    width: int | None = field(default=None, metadata={"help": "Width of the frames."})
    num_inference_steps: int = field(default=25, metadata={"help": "Denoising steps."})
    dtype: str = field(default="auto", metadata={"help": "Precision."})
    device: str | None = field(default=None, metadata={"help": "By default the process's accelerator."})


ARGUMENTS = (VBenchArguments,)


def read_prompts(args: VBenchArguments) -> list[tuple[str, int]]:
    """
    Prompts, each once, with the number of their videos.

    Raises:
        ValueError: If the file has none.
    """
    path = Path(args.prompts)
    if path.suffix == ".json":
        numbers: dict[str, int] = {}
        for entry in json.loads(path.read_text(encoding="utf-8")):
            is_flickering = "temporal_flickering" in entry.get("dimension", ())
            number = args.flickering_videos_per_prompt if is_flickering else args.videos_per_prompt
            numbers[entry["prompt_en"]] = max(number, numbers.get(entry["prompt_en"], 0))
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        numbers = {line.strip(): args.videos_per_prompt for line in lines if line.strip()}
    if not numbers:
        raise ValueError(f"{args.prompts!r} has no prompts.")
    return list(numbers.items())


@torch.no_grad()
def main(args: list[str] | None = None) -> None:
    (arguments,) = parse_arguments(ARGUMENTS, args, description=__doc__)
    folder, state = Path(arguments.output_dir), PartialState(cpu=arguments.device == "cpu")
    wanted = [
        (prompt, video_path(folder, prompt, number), arguments.seed + number)
        for prompt, count in read_prompts(arguments)
        for number in range(count)
    ]
    missing = [entry for entry in wanted if not entry[1].exists()]
    state.wait_for_everyone()
    todo = missing[state.process_index :: state.num_processes]
    if not todo:
        return
    dtype = arguments.dtype if arguments.dtype == "auto" else getattr(torch, arguments.dtype)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
    processor = AutoProcessor.from_pretrained(arguments.model)
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(
        arguments.detokenizer, language_model=model, processor=processor, dtype=model.dtype
    ).to(arguments.device or state.device)
    pipe.set_progress_bar_config(disable=True)
    size = {name: value for name, value in (("height", arguments.height), ("width", arguments.width)) if value}
    progress = tqdm(total=len(todo), desc="Generating", disable=not state.is_main_process)
    for start in range(0, len(todo), arguments.batch_size):
        batch = todo[start : start + arguments.batch_size]
        videos = pipe(
            [prompt for prompt, _, _ in batch],
            num_inference_steps=arguments.num_inference_steps,
            generator=[torch.Generator().manual_seed(seed) for _, _, seed in batch],
            output_type="np",
            **size,
        ).frames
        for (_, path, _), frames in zip(batch, videos):
            write_video(path, frames, processor.video_processor.fps)
        progress.update(len(batch))


if __name__ == "__main__":
    main()
