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
Runs one of the paper's thirteen benchmarks.

    accelerate launch examples/evaluate_benchmark.py --benchmark gqa --data GQA --model video-lavit-sft --output_dir outputs/gqa
    accelerate launch examples/evaluate_benchmark.py --benchmark msvd_qa --data MSVD-QA --model video-lavit-sft \\
        --judge_model meta-llama/Llama-3.1-8B-Instruct --output_dir outputs/msvd
    accelerate launch examples/evaluate_benchmark.py --benchmark msrvtt --data MSRVTT --model video-lavit \\
        --detokenizer video-lavit-detokenizer --clip openai/clip-vit-base-patch16 --fvd_protocol i3d.json --output_dir outputs/msrvtt

The folder of `--data` is in the layout in which the benchmark is published; VQAv2 is also read from the Hub. What is answered or generated is kept
in the output folder before it is scored: a run that was killed goes on, with any number of processes. `result.json` has the score, its
confidence interval, and all that it depends on; `submission.json` is what a server scores, where one does. A folder of other questions
or of a model that has changed is refused.
"""

import json
import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import accelerate
import av
import datasets
import diffusers
import numpy as np
import torch
import transformers
from accelerate import PartialState
from benchmark_tasks import TASKS, GenerationTask, QuestionTask
from benchmark_tasks.questions import write_json
from benchmark_tasks.runner import Predictions, answer, digest, generate, generated_path
from huggingface_hub import EvalResult, ModelCard
from training.arguments import parse_arguments
from training.model_identity import identify_model
from transformers import AutoModelForCausalLM, AutoProcessor
from transformers.image_utils import load_image
from transformers.utils import logging

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit.motion_vectors import codec_versions
from transformers_videolavit.video_decoding import VideoFileFrames, resample
from videolavit_metrics import (
    CLIPSimilarity,
    EndpointJudge,
    FeatureProtocol,
    FrechetDistance,
    InceptionScore,
    TransformersJudge,
)


logger = logging.get_logger(__name__)


@dataclass
class BenchmarkArguments:
    benchmark: str = field(metadata={"help": f"One of {', '.join(TASKS)}."})
    model: str = field(metadata={"help": "Folder or repository of the language model."})
    output_dir: str = field(metadata={"help": "Where to write."})
    data: str | None = field(
        default=None, metadata={"help": "Folder in the published layout, or a data set of the Hub."}
    )
    detokenizer: str | None = field(
        default=None, metadata={"help": "Folder or repository of the pipeline, to generate."}
    )
    revision: str | None = field(default=None, metadata={"help": "Revision of the model."})
    batch_size: int = field(
        default=8, metadata={"help": "Questions or prompts at a time. It changes nothing but rounding."}
    )
    limit: int | None = field(default=None, metadata={"help": "Only the first so many: no published number compares."})
    max_clips: int = field(default=8, metadata={"help": "Most clips of a video. Published: 8."})
    max_new_tokens: int | None = field(default=None, metadata={"help": "Longest answer, by default the benchmark's."})
    dtype: str = field(default="auto", metadata={"help": "Precision of the model."})
    device: str | None = field(default=None, metadata={"help": "By default the process's accelerator."})
    seed: int = field(default=0, metadata={"help": "Seed of captions that are drawn and of what is generated."})
    judge_model: str | None = field(default=None, metadata={"help": "Language model that judges open answers."})
    judge_url: str | None = field(
        default=None, metadata={"help": "Endpoint of the judge, in OpenAI's protocol; its key is in JUDGE_API_KEY."}
    )
    prompts: str | None = field(default=None, metadata={"help": "File of prompts, for UCF-101."})
    height: int | None = field(default=None, metadata={"help": "Height of what is generated."})
    width: int | None = field(default=None, metadata={"help": "Width of what is generated."})
    num_inference_steps: int | None = field(
        default=None, metadata={"help": "Denoising steps, by default the pipeline's."}
    )
    clip: str | None = field(
        default=None, metadata={"help": "CLIP model of CLIPSIM. Published: openai/clip-vit-base-patch16."}
    )
    fid_protocol: str | None = field(default=None, metadata={"help": "JSON file of FID's FeatureProtocol."})
    fvd_protocol: str | None = field(default=None, metadata={"help": "JSON file of FVD's FeatureProtocol."})
    inception_protocol: str | None = field(
        default=None, metadata={"help": "JSON file of the Inception score's FeatureProtocol."}
    )
    inception_splits: int = field(default=10, metadata={"help": "Parts of the Inception score."})
    model_card: str | None = field(default=None, metadata={"help": "README.md to write the score into."})

    def __post_init__(self):
        if self.benchmark not in TASKS:
            raise ValueError(f"`benchmark` must be one of {', '.join(TASKS)}, not {self.benchmark!r}.")
        if self.judge_url is not None and self.judge_model is None:
            raise ValueError("`judge_url` needs `judge_model`, the model's name there.")


ARGUMENTS = (BenchmarkArguments,)
# What has no influence on the result.
_IRRELEVANT = ("output_dir", "batch_size", "device", "model_card", "judge_url")
# What answers and generated pixels depend on.
_RELEVANT_TO_PREDICTIONS = (
    "benchmark",
    "model",
    "data",
    "detokenizer",
    "revision",
    "max_clips",
    "max_new_tokens",
    "dtype",
    "seed",
    "prompts",
    "height",
    "width",
    "num_inference_steps",
)


def run_questions(args: BenchmarkArguments, task: QuestionTask, state: PartialState) -> dict:
    """Answers a benchmark's questions and scores the answers."""
    if args.data is not None and not Path(args.data).is_dir():
        if task.read_hub is None:
            raise ValueError(f"`data` {args.data!r} is no folder, and {task.name} is read from a folder only.")
        items = task.read_hub(args.data)
    elif args.data is not None:
        items = task.read(Path(args.data))
    elif task.hub is not None:
        items = task.read_hub(task.hub)
    else:
        raise ValueError(f"{task.name} needs `data`, a folder in the published layout.")
    identity = identify(args, ((item.id, item.question) for item in items), state)
    items = items[: args.limit]
    predictions = Predictions(Path(args.output_dir), state, items)
    if predictions.todo:
        dtype = args.dtype if args.dtype == "auto" else getattr(torch, args.dtype)
        model = AutoModelForCausalLM.from_pretrained(args.model, revision=args.revision, dtype=dtype)
        processor = AutoProcessor.from_pretrained(args.model, revision=args.revision)
        answer(
            model.to(args.device or state.device).eval(),
            processor,
            predictions,
            task.media,
            args.batch_size,
            args.max_new_tokens or task.max_new_tokens,
            args.max_clips,
        )
    state.wait_for_everyone()
    if not state.is_main_process:
        return {}
    answers = predictions.collect()
    folder = Path(args.output_dir)
    lines = [
        json.dumps(
            {"id": item.id, "question": item.question, "answer": text, "reference": item.reference}, ensure_ascii=False
        )
        for item, text in zip(items, answers)
    ]
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if task.write_submission is not None:
        task.write_submission(items, answers, folder / "submission.json")
    known = [(text, item.reference) for item, text in zip(items, answers) if item.reference is not None]
    judge = build_judge(args) if task.needs_judge else None
    scores = task.score(*map(list, zip(*known)), judge=judge) if known else {}
    return {
        "scores": scores,
        "primary": task.primary,
        "count": len(items),
        "identity": identity,
        "scored": len(known),
        "data_sha256": digest((item.id, item.question, item.reference) for item in items),
        "predictions_sha256": digest(answers),
    }


def build_judge(args: BenchmarkArguments) -> TransformersJudge | EndpointJudge | None:
    """The judge that was asked for."""
    if args.judge_model is None:
        return None
    if args.judge_url is not None:
        return EndpointJudge(args.judge_model, args.judge_url, os.environ.get("JUDGE_API_KEY"))
    return TransformersJudge(args.judge_model)


def run_generation(args: BenchmarkArguments, task: GenerationTask, state: PartialState) -> dict:
    """Generates what a benchmark's prompts ask for and measures it."""
    if args.detokenizer is None or args.data is None:
        raise ValueError(f"{task.name} needs `data`, a folder in the published layout, and `detokenizer`.")
    metrics = build_metrics(args, task)
    items = task.read(Path(args.data), args.seed, Path(args.prompts) if args.prompts else None)
    identity = identify(args, ((item.id, item.prompt) for item in items), state)
    items = items[: args.limit]
    folder = Path(args.output_dir) / "generated"
    dtype = torch.float32 if args.dtype == "auto" else getattr(torch, args.dtype)
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(
        args.detokenizer,
        language_model=AutoModelForCausalLM.from_pretrained(args.model, revision=args.revision, dtype=dtype).eval(),
        processor=AutoProcessor.from_pretrained(args.model, revision=args.revision),
        dtype=dtype,
    ).to(args.device or state.device)
    pipe.set_progress_bar_config(disable=True)
    size = pipe.unet.config.sample_size * pipe.vae_scale_factor if pipe.unet.config.sample_size else None
    settings = {"height": args.height or size, "width": args.width or size}
    if args.num_inference_steps is not None:
        settings["num_inference_steps"] = args.num_inference_steps
        if task.media == "video":
            settings["keyframe_num_inference_steps"] = args.num_inference_steps
    generate(pipe, state, items, folder, task.media, args.batch_size, args.seed, **settings)
    state.wait_for_everyone()
    if not state.is_main_process:
        return {}
    fps = pipe.processor.video_processor.fps
    return {
        "scores": score_generated(args, task, items, folder, metrics, fps),
        "primary": task.primary,
        "count": len(items),
        "identity": identity,
        "generation": {**settings, "frames_per_second": fps} if task.media == "video" else settings,
        "data_sha256": digest((item.id, item.prompt) for item in items),
    }


def build_metrics(args: BenchmarkArguments, task: GenerationTask) -> dict:
    """
    The metrics that a benchmark reports and whose networks were given.

    Raises:
        ValueError: If none was given, or a protocol lacks something.
    """
    device = args.device or "cpu"
    metrics = {}
    if "clipsim" in task.metrics and args.clip is not None:
        metrics["clipsim"] = CLIPSimilarity(args.clip, device=device)
    for name, path in (("fid", args.fid_protocol), ("fvd", args.fvd_protocol)):
        if name in task.metrics and path is not None:
            metrics[name] = FrechetDistance(read_protocol(path), device)
    if "inception_score" in task.metrics and args.inception_protocol is not None:
        metrics["inception_score"] = InceptionScore(
            read_protocol(args.inception_protocol), args.inception_splits, device
        )
    if not metrics:
        raise ValueError(
            f"{task.name} reports {', '.join(task.metrics)}: give the network of at least one (`clip`, `fid_protocol`, "
            "`fvd_protocol`, `inception_protocol`)."
        )
    return metrics


def read_protocol(path: str) -> FeatureProtocol:
    """
    Reads a protocol: a JSON file with all arguments of [`FeatureProtocol`]. The path of the weights is relative to it.

    Raises:
        ValueError: If one is missing or unknown.
    """
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    expected = set(FeatureProtocol.__dataclass_fields__)
    if set(values) != expected:
        raise ValueError(
            f"{path!r} must have exactly {sorted(expected)}: {sorted(expected - set(values))} are missing, "
            f"{sorted(set(values) - expected)} unknown."
        )
    values["weights"] = Path(path).parent / values["weights"]
    return FeatureProtocol(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def score_generated(
    args: BenchmarkArguments, task: GenerationTask, items: list, folder: Path, metrics: dict, fps: float
) -> dict:
    """Measures what was generated, one item at a time; `fps` is its rate, which real videos are brought to."""
    for item in items:
        frames = np.load(generated_path(folder, item))["frames"]
        real = None
        if item.real is not None and metrics.keys() & {"fid", "fvd"}:
            real = read_real(item.real, task.media, fps)
        if "clipsim" in metrics:
            metrics["clipsim"].add(prediction=frames, reference=item.prompt)
        if "inception_score" in metrics:
            metrics["inception_score"].add([frames])
        if "fvd" in metrics:
            metrics["fvd"].add([frames], real=False)
            num_frames = metrics["fvd"].protocol.num_frames
            if real is not None and len(real) < num_frames:
                # The result says how many real ones there were.
                logger.warning(
                    f"{str(item.real)!r} is left out of FVD: at {fps} frames per second it has {len(real)} frames, but the protocol "
                    f"wants {num_frames}."
                )
            elif real is not None:
                metrics["fvd"].add([real], real=True)
        if "fid" in metrics:
            metrics["fid"].add(list(frames), real=False)
            if real is not None:
                metrics["fid"].add(list(real), real=True)
    return {name: metric.compute() for name, metric in metrics.items()}


def read_real(path: Path, media: str, fps: float) -> np.ndarray:
    """
    Frames of a real video, all of them at the rate of generated ones, or of an image: (frames, height, width, 3), `uint8`. At another
    rate, as many frames would be another length of time.
    """
    if media == "image":
        return np.array(load_image(str(path)).convert("RGB"))[None]
    with closing(resample(VideoFileFrames(str(path)), fps)) as frames:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def write_into_card(path: Path, task: QuestionTask | GenerationTask, result: dict) -> None:
    """Writes the benchmark's number into the metadata of a model card, in the place of an older one."""
    card = ModelCard.load(path)
    scores = result["scores"]
    value = scores.get(task.primary)
    if isinstance(value, dict):
        value = value.get("distance", value.get(task.primary))
    if value is None:
        raise ValueError(f"There is no {task.primary!r} to write into {str(path)!r}: {sorted(scores)} were measured.")
    metric = "judged_accuracy" if isinstance(task, QuestionTask) and task.needs_judge else task.primary
    new = EvalResult(
        task_type="visual-question-answering" if isinstance(task, QuestionTask) else f"text-to-{task.media}",
        dataset_type=task.name,
        dataset_name=task.name,
        metric_type=metric,
        metric_name=task.primary,
        metric_value=round(float(value), 4),
    )
    older = [
        entry
        for entry in card.data.eval_results or []
        if (entry.dataset_type, entry.metric_type) != (task.name, metric)
    ]
    card.data.eval_results = [*older, new]
    card.data.model_name = card.data.model_name or path.resolve().parent.name
    temporary = path.with_name(f"{path.name}.incomplete")
    card.save(temporary)
    os.replace(temporary, path)


def identify(
    args: BenchmarkArguments, questions: Iterable[tuple[str, str]], state: PartialState
) -> dict[str, str | None]:
    """
    What the names of a run stand for, noted in its folder: the contents of its models and its questions.

    Args:
        args ([`BenchmarkArguments`]): The arguments.
        questions (`Iterable[tuple[str, str]]`): Names and texts of all questions or prompts, whatever the limit.
        state (`PartialState`): The processes.

    Returns:
        `dict[str, str | None]`: Hashes or commits by their names; nothing but in the main process.

    Raises:
        ValueError: If the folder has the predictions of another run.
    """
    identity = {}
    with state.main_process_first():
        # Weights are read from one end to the other: once is enough.
        if state.is_main_process:
            identity = {
                "model_identity": identify_model(args.model, args.revision),
                "detokenizer_identity": identify_model(args.detokenizer) if args.detokenizer is not None else None,
                "questions_sha256": digest(questions),
            }
            check_settings(Path(args.output_dir), args, identity)
    return identity


def check_settings(folder: Path, args: BenchmarkArguments, identity: dict[str, str | None]) -> None:
    """
    Notes what is run in a folder.

    Raises:
        ValueError: If the folder has the predictions of another run.
    """
    settings = {name: getattr(args, name) for name in _RELEVANT_TO_PREDICTIONS} | identity
    path = folder / "settings.json"
    if path.exists():
        found = json.loads(path.read_text())
        other = {name: found.get(name) for name, value in settings.items() if found.get(name) != value}
        if other:
            raise ValueError(f"{str(folder)!r} has predictions of a run with {other}: choose another folder.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)


def versions() -> dict[str, str]:
    """Of all that a result depends on."""
    modules = (torch, transformers, diffusers, accelerate, datasets, av)
    return {**{module.__name__: module.__version__ for module in modules}, "codec": codec_versions()}


def main(args: list[str] | None = None) -> None:
    (arguments,) = parse_arguments(ARGUMENTS, args, description=__doc__)
    task, state = TASKS[arguments.benchmark], PartialState(cpu=arguments.device == "cpu")
    run = run_questions if isinstance(task, QuestionTask) else run_generation
    result = run(arguments, task, state)
    if not state.is_main_process:
        return
    settings = {name: value for name, value in asdict(arguments).items() if name not in _IRRELEVANT}
    result = {"benchmark": task.name, **result, "settings": settings, "versions": versions()}
    write_json(Path(arguments.output_dir) / "result.json", result)
    print(json.dumps(result["scores"], indent=2))
    if arguments.model_card is not None:
        write_into_card(Path(arguments.model_card), task, result)


if __name__ == "__main__":
    main()
