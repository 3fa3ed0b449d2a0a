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
Measures a model of the small world on held-out combinations, with confidence intervals, and writes the results into its card.

    python examples/evaluate_tiny.py --checkpoint checkpoints/videolavit-tiny --output_dir outputs/evaluation --write_card
    python examples/evaluate_tiny.py --checkpoint outputs/tiny/release --without_motion outputs/tiny/release_without_motion \\
        --output_dir outputs/evaluation --parts questions text_to_video

The checkpoint is what `train_tiny.py` releases: a folder with `video-lavit`, `video-lavit-sft` and `video-lavit-detokenizer`. Of
`--without_motion`, a model that was trained alike but without motion tokens, the first two. Parts that are measured already, with the same
weights and arguments that they depend on, are left out; `results.json` has what was measured, and the pictures are beside it. Processes with the same
arguments but for `--parts` may run side by side, where one has all parts that read videos (`reconstruction`, `questions`, `token_rates`, `benchmarks`).
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from checkpoint_folder import load_instruct_model, load_pipeline
from PIL import Image
from small_world.dataset import SmallWorldOptions, SmallWorldSample, moving_samples, video_sample, write_dataset
from small_world.language import write_caption
from small_world.rendering import render_scene, write_video
from small_world.scenes import CLIP_LENGTH
from small_world_evaluation import benchmarks, card, generation, questions, reconstruction, token_rates
from training.clips import VideoClipDataset
from training.pictures import contact_sheet

from transformers_videolavit import VideoLaVITMotionTokenizer


FRAME_SIZE = 192
# Scenes that training never shows, and other ones than those of any test data on disk.
SEED = 1000
SHEET_VIDEOS = 16
SHEET_FRAMES = 8


class Evaluation:
    """
    Holds the models and makes the parts of the evaluation.

    Args:
        arguments (`argparse.Namespace`): The command line.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.folder = arguments.output_dir
        self.dtype = getattr(torch, arguments.dtype)
        self.pipe = load_pipeline(arguments.checkpoint, arguments.device, self.dtype)
        self.processor = self.pipe.processor
        self.size = self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor
        self.pipe_kwargs = {
            "height": self.size,
            "width": self.size,
            "num_inference_steps": arguments.num_inference_steps,
            "keyframe_num_inference_steps": arguments.num_inference_steps,
            "fps": self.processor.video_processor.fps,
        }

    def models(self) -> dict[str, Path]:
        """The checkpoints to compare, by name."""
        models = {"with motion tokens": self.arguments.checkpoint}
        if self.arguments.without_motion is not None:
            models["without motion tokens"] = self.arguments.without_motion
        return models

    def moving_samples(self, number: int, num_clips: int = 1) -> list[SmallWorldSample]:
        """The first samples of the test split that show one object in translation, in front of a camera that is still."""
        options = SmallWorldOptions(SEED, "test", (1, 1), num_clips, (FRAME_SIZE, FRAME_SIZE))
        return moving_samples(options, number)

    def clips(self, number: int) -> list[dict[str, torch.Tensor]]:
        """Held-out clips with frames of the detokenizer's size, by way of video files."""
        folder = self.folder / "videos"
        write_dataset(folder, SmallWorldOptions(SEED, "test", (1, 3), 1, (FRAME_SIZE, FRAME_SIZE)), number)
        files = sorted(map(str, (folder / "videos").glob("*.mp4")))[:number]
        dataset = VideoClipDataset(files, self.processor.video_processor, (self.size, self.size))
        return [dataset[index] for index in range(number)]

    def reconstruction(self) -> dict:
        """Keyframe and motion tokens to video, against the keyframe repeated and the codec's own motion."""
        return reconstruction.measure_reconstruction(
            self.pipe,
            self.pipe.language_model.model.keyframe_tokenizer,
            self.processor.video_processor,
            self.clips(self.arguments.num_reconstructions),
            self.arguments.num_inference_steps,
        )

    def questions(self) -> dict:
        """Questions about appearance and about motion, with and without motion tokens."""
        options = SmallWorldOptions(SEED, "test", (1, 3), 1, (FRAME_SIZE, FRAME_SIZE))
        number = self.arguments.num_question_videos
        write_dataset(self.folder / "videos", options, number)
        samples = [video_sample(options, index) for index in range(number)]
        paths = [str(self.folder / "videos" / "videos" / f"{sample.id}.mp4") for sample in samples]
        training = SmallWorldOptions(0, "train", (1, 3), 1, (FRAME_SIZE, FRAME_SIZE))
        guesses = questions.guess_questions([video_sample(training, index) for index in range(2000)], samples)
        results = {"most frequent answer": guesses.result()}
        for name, checkpoint in self.models().items():
            model, processor = load_instruct_model(checkpoint, self.arguments.device, self.dtype)
            tally = questions.answer_questions(
                model, processor, list(zip(samples, paths)), motion_tokens=name == "with motion tokens"
            )
            results[name] = tally.result()
        return results

    def text_to_video(self) -> dict:
        """Videos of captions, with and without motion tokens; the first 16 are drawn."""
        prompts = [write_caption(sample.description) for sample in self.moving_samples(self.arguments.num_generations)]
        results = {}
        for name, checkpoint in self.models().items():
            pipe = self.pipe
            if checkpoint != self.arguments.checkpoint:
                pipe = load_pipeline(self.arguments.checkpoint, self.arguments.device, self.dtype, checkpoint)
            has_motion = name == "with motion tokens"
            videos = generation.generate_videos(
                pipe, prompts, motion_tokens=has_motion, description=f"Text to video, {name}", **self.pipe_kwargs
            )
            results[name] = generation.measure_text_to_video(videos, prompts)
            if has_motion:
                self.draw("text_to_video", videos, prompts)
        return results

    def image_to_video(self) -> dict:
        """Videos that go on from a held-out image as a caption tells."""
        samples = self.moving_samples(self.arguments.num_generations)
        originals = [render_scene(sample.scene, (FRAME_SIZE, FRAME_SIZE)) for sample in samples]
        images = [Image.fromarray(frames[0]) for frames in originals]
        prompts = [write_caption(sample.description) for sample in samples]
        videos = generation.generate_videos(
            self.pipe, prompts, images, description="Image to video", **self.pipe_kwargs
        )
        self.draw("image_to_video", videos, prompts)
        resized = [resize(frames, self.size) for frames in originals]
        return generation.measure_image_to_video(videos, [sample.description for sample in samples], resized)

    def long_video(self) -> dict:
        """Videos of four clips: what drifts from clip to clip, by the noise that a keyframe starts from."""
        samples = self.moving_samples(self.arguments.num_long_videos, num_clips=4)
        prompts = [write_caption(sample.description) for sample in samples]
        results = {}
        for name, constraint in generation.NOISE_CONSTRAINTS.items():
            videos = generation.generate_videos(
                self.pipe,
                prompts,
                description=f"Long videos, {name}",
                num_clips=4,
                noise_constraint=constraint,
                **self.pipe_kwargs,
            )
            results[name] = generation.measure_drift(videos)
            if constraint == "ddim_inversion":
                self.draw("long_video", videos, prompts)
        return results

    def token_rates(self) -> dict:
        """Tokens for each second of video, against pictures with tokens of their own, and against other numbers of them."""
        tokenizer = self.pipe.language_model.model.keyframe_tokenizer
        fps = self.processor.video_processor.fps
        clips = self.clips(self.arguments.num_token_rate_clips)
        others = [VideoLaVITMotionTokenizer.from_pretrained(path) for path in self.arguments.motion_tokenizers]
        codes = tokenizer.encode(torch.stack([item["pixel_values"] for item in clips]).to(self.pipe.unet.device))
        motion_tokens = self.pipe.motion_tokenizer.config.num_motion_tokens
        per_clip = [len(visual) + 2 + motion_tokens + 2 for visual in codes]
        return {
            "tokens_per_second": token_rates.mean([count * fps / CLIP_LENGTH for count in per_clip]),
            "visual_tokens": token_rates.mean([len(visual) for visual in codes]),
            "motion_tokens": token_rates.measure_motion_tokens(
                self.pipe, [self.pipe.motion_tokenizer, *others], clips, self.arguments.num_inference_steps
            ),
            "frame_by_frame": token_rates.measure_frame_tokens(
                self.pipe, tokenizer, self.processor.image_processor, clips, fps, self.arguments.num_inference_steps
            ),
        }

    def benchmarks(self) -> dict:
        """The benchmarks' own program on the small world, with the checkpoint and with a damaged copy."""
        options = SmallWorldOptions(SEED, "test", (1, 3), 1, (FRAME_SIZE, FRAME_SIZE))
        number = self.arguments.num_benchmark_videos
        write_dataset(self.folder / "videos", options, number)
        samples = [video_sample(options, index) for index in range(number)]
        return benchmarks.measure_benchmarks(
            self.arguments.checkpoint,
            self.folder / "benchmarks" / card.fingerprint(self.arguments.checkpoint)[:12],
            [(sample, str(self.folder / "videos" / "videos" / f"{sample.id}.mp4")) for sample in samples],
            self.moving_samples(number),
            FRAME_SIZE,
            self.arguments.num_inference_steps,
            self.arguments.device,
            self.arguments.dtype,
            self.arguments.num_clip_steps,
        )

    def draw(self, name: str, videos: list[np.ndarray], prompts: list[str]) -> None:
        """Draws the first videos, none of them chosen, as rows of frames, and writes one that plays."""
        rows = [
            [frames[index] for index in np.linspace(0, len(frames) - 1, SHEET_FRAMES).astype(int)]
            for frames in videos[:SHEET_VIDEOS]
        ]
        contact_sheet(rows, scale=1).save(self.folder / f"{name}.png", optimize=True)
        lines = "".join(f"{number}. {prompt}\n" for number, prompt in enumerate(prompts[:SHEET_VIDEOS], start=1))
        (self.folder / f"{name}.txt").write_text(lines, encoding="utf-8")
        write_video(self.folder / f"{name}.mp4", tile_videos(videos[:SHEET_VIDEOS]))


def resize(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames of shape (num_frames, height, width, 3), `uint8`, as squares of another size."""
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC)) for frame in frames]
    )


def tile_videos(videos: list[np.ndarray]) -> np.ndarray:
    """Videos of one length beside and above each other, in a square if there are enough."""
    columns = int(np.ceil(np.sqrt(len(videos))))
    empty = np.zeros_like(videos[0])
    rows = [videos[start : start + columns] for start in range(0, len(videos), columns)]
    rows[-1] = rows[-1] + [empty] * (columns - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=2) for row in rows], axis=1)


def as_json(values: dict) -> dict:
    """Values as JSON holds them, to compare with what a file has."""
    return json.loads(json.dumps(values, default=str))


@dataclass
class Part:
    """
    A part of the evaluation.

    Args:
        measure (`Callable[[Evaluation], dict]`): Measures it.
        repositories (`tuple[str, ...]`): Folders of the checkpoint whose weights it depends on.
        arguments (`tuple[str, ...]`): Names of the arguments that it depends on, beside those that all parts do.
    """

    measure: Callable[[Evaluation], dict]
    repositories: tuple[str, ...]
    arguments: tuple[str, ...]

    def settings(self, arguments: argparse.Namespace) -> dict:
        """What its results depend on, as JSON holds it: arguments, and digests of weights by their folder."""
        values = {name: getattr(arguments, name) for name in self.arguments}
        folders = [arguments.checkpoint / name for name in self.repositories]
        for value in values.values():
            folders += [path for path in (value if isinstance(value, list) else [value]) if isinstance(path, Path)]
        weights = {str(folder): card.fingerprint(folder) for folder in folders}
        return as_json({**values, "weights": weights})


# Which of the checkpoint's repositories answer, and which generate.
ANSWERS, GENERATES = ("video-lavit-sft",), ("video-lavit", "video-lavit-detokenizer")
PARTS = {
    "reconstruction": Part(Evaluation.reconstruction, GENERATES, ("num_reconstructions",)),
    "questions": Part(Evaluation.questions, ANSWERS, ("num_question_videos", "without_motion")),
    "text_to_video": Part(Evaluation.text_to_video, GENERATES, ("num_generations", "without_motion")),
    "image_to_video": Part(Evaluation.image_to_video, GENERATES, ("num_generations",)),
    "long_video": Part(Evaluation.long_video, GENERATES, ("num_long_videos",)),
    "token_rates": Part(Evaluation.token_rates, GENERATES, ("num_token_rate_clips", "motion_tokenizers")),
    "benchmarks": Part(Evaluation.benchmarks, ANSWERS + GENERATES, ("num_benchmark_videos", "num_clip_steps")),
}
COMMON_SETTINGS = ("checkpoint", "dtype", "num_inference_steps")


def parse_arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the model's three repositories")
    parser.add_argument("--without_motion", type=Path, help="folder of a model that was trained without motion tokens")
    parser.add_argument(
        "--motion_tokenizers", type=Path, nargs="*", default=[], help="motion tokenizers with other numbers of tokens"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="where to write results and pictures")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure; by default all"
    )
    parser.add_argument("--write_card", action="store_true", help="write the results into the checkpoint's card")
    parser.add_argument("--num_inference_steps", type=int, default=12, help="denoising steps (default: %(default)s)")
    parser.add_argument("--num_reconstructions", type=int, default=100, help="clips to rebuild (default: %(default)s)")
    parser.add_argument(
        "--num_question_videos", type=int, default=300, help="videos to ask about (default: %(default)s)"
    )
    parser.add_argument("--num_generations", type=int, default=100, help="videos to generate (default: %(default)s)")
    parser.add_argument("--num_long_videos", type=int, default=24, help="videos of four clips (default: %(default)s)")
    parser.add_argument(
        "--num_token_rate_clips", type=int, default=24, help="clips for token rates (default: %(default)s)"
    )
    parser.add_argument(
        "--num_benchmark_videos", type=int, default=48, help="videos of each benchmark (default: %(default)s)"
    )
    parser.add_argument(
        "--num_clip_steps",
        type=int,
        default=400,
        help="training steps of what stands in for CLIP (default: %(default)s)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument("--dtype", default="float32", help="precision of the models (default: %(default)s)")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    arguments = parse_arguments(args)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "results.json"
    common = as_json({name: getattr(arguments, name) for name in COMMON_SETTINGS} | {"versions": card.versions()})

    def is_current(name: str, settings: dict) -> bool:
        """Whether a part was measured with the weights that the checkpoint has now."""
        folders = (arguments.checkpoint / repository for repository in PARTS[name].repositories)
        return all(settings["weights"].get(str(folder)) == card.fingerprint(folder) for folder in folders)

    def read_results() -> dict:
        """What was measured of the same weights; of others, nothing is kept."""
        results = json.loads(path.read_text()) if path.exists() else {}
        if results.get("common") != common:
            return {"common": common, "settings": {}, "parts": {}, "seconds": {}}
        current = {name for name, settings in results["settings"].items() if is_current(name, settings)}
        kept = {
            key: {name: value for name, value in results[key].items() if name in current}
            for key in ("settings", "parts", "seconds")
        }
        return {"common": common, **kept}

    results = read_results()
    evaluation = None
    for name in arguments.parts:
        settings = PARTS[name].settings(arguments)
        if results["settings"].get(name) == settings:
            print(f"{name}: measured already")
            continue
        evaluation = evaluation if evaluation is not None else Evaluation(arguments)
        start = time.monotonic()
        measured = PARTS[name].measure(evaluation)
        # With what another process has measured in the meantime.
        results = read_results()
        results["parts"][name] = measured
        results["settings"][name] = settings
        results["seconds"][name] = round(time.monotonic() - start, 1)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.incomplete")
        temporary.write_text(json.dumps(results, indent=2) + "\n")
        os.replace(temporary, path)
    print(card.describe_results(results["parts"]))
    if arguments.write_card:
        card.write_card(arguments.checkpoint, results, arguments.output_dir)


if __name__ == "__main__":
    main()
