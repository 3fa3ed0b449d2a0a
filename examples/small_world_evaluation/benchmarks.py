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
The paper's benchmarks on the small world: its scenes in the published layouts of MSVD-QA and MSR-VTT, through `evaluate_benchmark.py`,
with a model and with a damaged copy of it, which the benchmarks are to rank below it.
"""

import json
from pathlib import Path

import evaluate_benchmark
import torch
from small_world.dataset import SmallWorldSample
from small_world.language import write_caption
from small_world.rendering import render_scene, write_video
from small_world.scenes import CLIP_LENGTH
from transformers import AutoModelForCausalLM, AutoProcessor

from .stand_ins import train_clip, write_video_protocol


DAMAGE = 1.0  # noise in each weight matrix of the language model, in units of its standard deviation


def write_question_layout(folder: Path, samples: list[tuple[SmallWorldSample, str]]) -> None:
    """Questions about videos as MSVD-QA has them; the videos are where the samples' paths say."""
    questions, answers = [], []
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for sample, path in samples:
        link = folder / "videos" / Path(path).name
        if not link.exists():
            link.symlink_to(Path(path).resolve())
        for number, question in enumerate(sample.questions):
            name = f"{sample.id}_{number}"
            questions.append({"video_name": link.stem, "question": question.question, "question_id": name})
            answers.append({"answer": question.answer, "question_id": name})
    (folder / "test_q.json").write_text(json.dumps(questions))
    (folder / "test_a.json").write_text(json.dumps(answers))


def write_caption_layout(folder: Path, samples: list[SmallWorldSample], frame_size: int) -> None:
    """Videos and their captions as MSR-VTT has them."""
    (folder / "TestVideo").mkdir(parents=True, exist_ok=True)
    for sample in samples:
        path = folder / "TestVideo" / f"{sample.id}.mp4"
        if not path.exists():
            write_video(path, render_scene(sample.scene, (frame_size, frame_size)))
    content = {
        "videos": [{"video_id": sample.id, "split": "test"} for sample in samples],
        "sentences": [{"video_id": sample.id, "caption": write_caption(sample.description)} for sample in samples],
    }
    (folder / "test_videodatainfo.json").write_text(json.dumps(content))


@torch.no_grad()
def damage(source: Path, target: Path, strength: float = DAMAGE) -> Path:
    """
    Writes a copy of a checkpoint's language model with noise in its weights.

    Args:
        source (`Path`): Folder of the model and its processor.
        target (`Path`): Where to write.
        strength (`float`): Deviation of the noise, in units of each matrix's own.

    Returns:
        `Path`: The folder.
    """
    if not (target / "config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        for weight in model.model.language_model.parameters():
            if weight.ndim == 2:
                weight += strength * weight.std() * torch.randn(weight.shape, generator=generator)
        AutoProcessor.from_pretrained(source).save_pretrained(target)
        model.save_pretrained(target)
    return target


def measure_benchmarks(
    checkpoint: Path,
    folder: Path,
    asked: list[tuple[SmallWorldSample, str]],
    captioned: list[SmallWorldSample],
    frame_size: int,
    num_inference_steps: int,
    device: str,
    dtype: str,
    num_clip_steps: int,
) -> dict:
    """
    Runs both benchmarks with a checkpoint and with a damaged copy.

    Args:
        checkpoint (`Path`): Folder of the model's three repositories.
        folder (`Path`): Where data, copies and results are written.
        asked (`list[tuple[SmallWorldSample, str]]`): Samples to ask about, with the paths of their videos.
        captioned (`list[SmallWorldSample]`): Samples whose captions are prompts.
        frame_size (`int`): Height and width of their videos.
        num_inference_steps (`int`): Denoising steps.
        device (`str`): Where to compute.
        dtype (`str`): Precision of the models.
        num_clip_steps (`int`): Steps of the training of the stand-in for CLIP.

    Returns:
        `dict`: By "checkpoint" and "damaged": "accuracy", "clipsim" and "fvd", each with "value", "low", "high".
    """
    write_question_layout(folder / "questions", asked)
    write_caption_layout(folder / "captions", captioned, frame_size)
    clip = train_clip(folder / "clip", num_steps=num_clip_steps)
    protocol = write_video_protocol(folder, CLIP_LENGTH)
    results = {}
    for name in ("checkpoint", "damaged"):
        instruct, pretrained = checkpoint / "video-lavit-sft", checkpoint / "video-lavit"
        if name == "damaged":
            instruct, pretrained = damage(instruct, folder / "damaged-sft"), damage(pretrained, folder / "damaged")
        common = {"dtype": dtype, "device": device}
        answers = {"benchmark": "msvd_qa", "data": folder / "questions", "model": instruct, "max_new_tokens": 16}
        videos = {
            "benchmark": "msrvtt",
            "data": folder / "captions",
            "model": pretrained,
            "detokenizer": checkpoint / "video-lavit-detokenizer",
            "num_inference_steps": num_inference_steps,
            "clip": clip,
            "fvd_protocol": protocol,
        }
        scores = {
            **_run({**answers, **common, "output_dir": folder / f"{name}-questions"}),
            **_run({**videos, **common, "output_dir": folder / f"{name}-videos"}),
        }
        results[name] = {
            "accuracy": {"value": scores["exact_match"], "low": scores["low"], "high": scores["high"]},
            "clipsim": {**scores["clipsim"], "value": scores["clipsim"]["clipsim"]},
            "fvd": {**scores["fvd"], "value": scores["fvd"]["distance"]},
        }
    return results


def _run(arguments: dict) -> dict:
    evaluate_benchmark.main([item for name, value in arguments.items() for item in (f"--{name}", str(value))])
    return json.loads((Path(arguments["output_dir"]) / "result.json").read_text())["scores"]
