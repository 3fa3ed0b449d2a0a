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
Shows what Video-LaVIT does on one page: a video becomes tokens and is rebuilt, questions are asked, a prompt becomes a video.

    make demo
    python examples/demo.py --prompt "a small blue star moves up slowly over a striped white background"
    python examples/demo.py --checkpoint CHECKPOINT --video clip.mp4 --questions "What is the man doing?" --prompt "Sailboat on a lake"
    python examples/demo.py --random_weights

By default it uses the model in the box, which was trained on a small world of moving shapes, and shows it a scene of that world which
training has not shown; with `--random_weights`, small models that know nothing (`small_random_model.py`), and a real video.
"""

import argparse
import platform
import shutil
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import demo_page as html
import diffusers
import numpy as np
import small_random_model
import torch
import transformers
from checkpoint_folder import CHECKPOINT, EXAMPLE_PROMPT, check_checkpoint, load_instruct_model, load_pipeline
from demo_media import (
    color_wheel_image,
    draw_arrows,
    draw_kept_patches,
    motion_compensate,
    motion_to_rgb,
    resize_frames,
    write_video,
)
from PIL import Image
from small_world.dataset import SmallWorldOptions, moving_samples
from small_world.rendering import render_scene
from small_world.rendering import write_video as write_small_world_video

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoDecodingError, VideoLaVITForCausalLM, VideoLaVITProcessor
from transformers_videolavit.clip_sampling import CLIP_SAMPLINGS, VideoClips
from transformers_videolavit.motion_vectors import MOTION_STD
from transformers_videolavit.video_decoding import VideoFileFrames, resample


QUESTIONS = [
    "What colour is the object?",
    "What shape is the object?",
    "In which direction does the object move?",
    "How fast does the object move?",
]
EXAMPLE_SEED = 2000
MEDIA = Path(__file__).parent / "media"
DISPLAY_WIDTH = 480
WHEEL_CAPTION = "Hue is the direction of motion, saturation its speed; what stands still is white."
# LaVIT trains its selector to keep a third of the patches (https://arxiv.org/abs/2309.04669, equation 4).
TRAINED_KEEP_RATE = 1 / 3


@dataclass
class Demo:
    """What the parts of the demo share."""

    arguments: argparse.Namespace
    folder: Path
    model: VideoLaVITForCausalLM
    processor: VideoLaVITProcessor
    instruct_model: VideoLaVITForCausalLM
    instruct_processor: VideoLaVITProcessor
    pipe: VideoLaVITDetokenizerPipeline
    sections: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        return self.processor.video_processor.fps

    @property
    def weights_note(self) -> str:
        """What to say below everything that is painted, if anything."""
        return "random weights" if self.arguments.random_weights else ""

    def caption(self, text: str) -> str:
        """A caption of what comes out of a network."""
        return f"{text}; {self.weights_note}" if self.weights_note else text

    @property
    def is_small_world(self) -> bool:
        """Whether it is the model in the box that is shown."""
        return not self.arguments.random_weights and self.arguments.checkpoint == CHECKPOINT

    @property
    def num_parameters(self) -> int:
        parts = [part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module)]
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    @property
    def generator(self) -> torch.Generator:
        """A generator that every part of the demo starts anew, so that one part does not change the next."""
        return torch.Generator(self.model.device).manual_seed(self.arguments.seed)

    @contextmanager
    def step(self, name: str):
        """Says what is going on and how long it took."""
        print(f"{name} ...", end=" ", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        print(f"{self.seconds[name]:.1f} s", flush=True)

    def run_pipeline(self, **inputs) -> np.ndarray:
        """Runs the detokenizer and returns the frames of one video, uint8 (frames, height, width, 3)."""
        steps = self.arguments.num_inference_steps
        (frames,) = self.pipe(
            **inputs,
            height=self.arguments.height,
            width=self.arguments.width,
            num_inference_steps=steps,
            keyframe_num_inference_steps=steps,
            fps=self.fps,
            generator=self.generator,
            output_type="np",
        ).frames
        return np.round(255 * frames).astype(np.uint8)

    def add_section(self, title: str, *content: str):
        self.sections.append(html.section(len(self.sections) + 1, title, *content))

    def video(
        self, name: str, frames: np.ndarray, title: str, caption: str = "", aspect_ratio: float | None = None
    ) -> str:
        """Writes frames as a file and returns its figure."""
        frames = resize_frames(frames, DISPLAY_WIDTH, aspect_ratio)
        file = write_video(self.folder / "media" / name, frames, self.fps)
        return html.figure(file, self.folder, title, caption)

    def image(self, name: str, frame: np.ndarray | Image.Image, title: str, caption: str = "") -> str:
        file = self.folder / "media" / f"{name}.png"
        (Image.fromarray(frame) if isinstance(frame, np.ndarray) else frame).save(file)
        return html.figure(file, self.folder, title, caption)


@dataclass
class TokenizedVideo:
    """The clips of the real video: what the codec found (lists over clips) and the tokens it became."""

    clips: VideoClips
    frames: list[np.ndarray]  # (frames, height, width, 3)
    motion: list[np.ndarray]  # (frames, 2, grid height, grid width), in pixels
    keep_masks: torch.BoolTensor  # (clips, patches)
    visual_codes: list[torch.LongTensor]
    motion_codes: torch.LongTensor  # (clips, motion tokens)

    @property
    def seconds(self) -> float:
        return sum(self.clips.clip_lengths) / self.clips.fps


def to_pixels(motion: torch.Tensor, width: int, height: int) -> np.ndarray:
    """Motion in standard deviations, (2, frames, h, w), as displacements in pixels, (frames, 2, h, w)."""
    units = np.array([MOTION_STD[0] * width, MOTION_STD[1] * height]).reshape(2, 1, 1, 1)
    return (motion.float().cpu().numpy() * units).swapaxes(0, 1)


def top_speed(*fields: np.ndarray) -> float:
    """The speed that is drawn in full colour: a twentieth of all motion is faster."""
    speeds = np.concatenate([np.hypot(motion[:, 0], motion[:, 1]).ravel() for motion in fields])
    return float(np.quantile(speeds[speeds > 0], 0.95)) if (speeds > 0).any() else 1.0


def tokenize(demo: Demo) -> TokenizedVideo:
    """Video file → clips → tokens."""
    video, model = demo.arguments.video, demo.model.model
    video_processor = demo.processor.video_processor
    sampling = {"clip_sampling": demo.arguments.clip_sampling, "max_clips": demo.arguments.max_clips}
    with demo.step("Reading the video and encoding its motion"):
        (clips,) = video_processor.extract_keyframes_and_motion(video, **sampling)
        inputs = video_processor(video, return_tensors="pt", **sampling).to(model.device, model.dtype)
        with closing(resample(VideoFileFrames(video), demo.fps)) as sampled:
            frames = [frame.to_ndarray(format="rgb24") for frame in sampled]
    with demo.step("Turning it into tokens"), torch.no_grad():
        selection = model.keyframe_tokenizer.select_and_merge(inputs["pixel_values_videos"])
        visual_codes = model.keyframe_tokenizer.encode(inputs["pixel_values_videos"])
        motion_codes = model.motion_tokenizer.encode(inputs["motion_vectors"])
    spans = list(zip(clips.clip_starts, clips.clip_lengths))
    return TokenizedVideo(
        clips=clips,
        frames=[np.stack(frames[start : start + length]) for start, length in spans],
        motion=[
            to_pixels(motion[:, :length] / video_processor.motion_scale_factor, clips.width, clips.height)
            for motion, (_, length) in zip(clips.motion_vectors, spans)
        ],
        keep_masks=selection.keep_mask.cpu(),
        visual_codes=visual_codes,
        motion_codes=motion_codes,
    )


def show_tokens(demo: Demo, video: TokenizedVideo):
    """The video, its clips, and what they cost in tokens."""
    config, clips = demo.model.config, video.clips
    num_clips = len(clips.clip_starts)
    num_visual = sum(len(codes) for codes in video.visual_codes)
    num_motion = video.motion_codes.numel()
    num_marks = 4 * num_clips  # [IMG] [/IMG] [MOV] [/MOV]
    side = int(config.num_image_tokens**0.5)
    figures = []
    for index, (keyframe, mask, codes) in enumerate(zip(clips.keyframes, video.keep_masks, video.visual_codes)):
        drawn = draw_kept_patches(np.asarray(keyframe), mask.view(side, side).numpy())
        start, length = clips.clip_starts[index], clips.clip_lengths[index]
        caption = (
            f"{start / demo.fps:.1f} to {(start + length) / demo.fps:.1f} s: {len(codes)} of {mask.numel()} patches kept, "
            f"and {video.motion_codes.shape[1]} motion tokens for the {length - 1} frames that follow."
        )
        figures.append(demo.image(f"clip_{index}", drawn, f"Keyframe of clip {index + 1}", caption))
    original = demo.video(
        "original", np.concatenate(video.frames), "The video", f"{demo.arguments.video.name}, at {demo.fps} frames/s"
    )
    trained = round(config.num_image_tokens * TRAINED_KEEP_RATE) + video.motion_codes.shape[1] + 4
    clip_seconds = config.motion_tokenizer_config.num_frames / demo.fps
    statistics = [
        (
            "A token for every patch of every frame",
            f"{config.num_image_tokens} patches × {demo.fps} frames/s, the same patches as the keyframes'",
            config.num_image_tokens * demo.fps,
            False,
        ),
        (
            "A token for every patch of one frame a second",
            "cheaper, but blind to what moves in between",
            config.num_image_tokens,
            False,
        ),
        (
            "Video-LaVIT, counted on this video",
            f"{num_visual} visual + {num_motion} motion + {num_marks} marks for {video.seconds:.1f} s",
            (num_visual + num_motion + num_marks) / video.seconds,
            True,
        ),
    ]
    if demo.arguments.random_weights:
        statistics.append(
            (
                "Video-LaVIT at the keep rate it is trained for",
                "calculated, not measured: a third of the patches kept",
                trained / clip_seconds,
                True,
            )
        )
    demo.add_section(
        "A video becomes tokens",
        html.paragraph(
            "The video is cut into clips. The first frame of a clip is its keyframe; the frames after it are told by their "
            "motion alone, as an MPEG-4 encoder finds it. A selector keeps the patches of the keyframe that say something "
            "(the others are dark below)."
        ),
        html.facts(
            {
                f"seconds in {num_clips} clip{'s' if num_clips > 1 else ''}": f"{video.seconds:.1f}",
                "visual tokens": str(num_visual),
                "motion tokens": str(num_motion),
                "tokens in all": str(num_visual + num_motion + num_marks),
            }
        ),
        html.grid([original, *figures]),
        html.paragraph("Tokens for each second of video:"),
        html.bars(statistics),
    )


def show_motion(demo: Demo, video: TokenizedVideo):
    """What the codec found, and what is left of it after the motion tokens."""
    with demo.step("Drawing the motion"), torch.no_grad():
        clips = video.clips
        grid = video.motion[0].shape[-2:]
        config = demo.model.config.motion_tokenizer_config
        motion_size = (config.num_frames, config.motion_height, config.motion_width)
        decoded = demo.model.model.motion_tokenizer.decode(video.motion_codes[:1], height=grid[0], width=grid[1])[0]
        decoded = to_pixels(decoded, clips.width, clips.height)[: clips.clip_lengths[0]]
        speed, decoded_speed = top_speed(video.motion[0]), top_speed(decoded)
        arrows = np.stack([draw_arrows(*pair, speed) for pair in zip(video.frames[0], video.motion[0])])
        size = (clips.width, clips.height)
        colors = np.stack([_enlarge(motion_to_rgb(motion, speed), size) for motion in video.motion[0]])
        decoded_colors = np.stack([_enlarge(motion_to_rgb(motion, decoded_speed), size) for motion in decoded])
        wheel = demo.folder / "media" / "color_wheel.png"
        color_wheel_image().save(wheel)
        figures = [
            demo.video("arrows", arrows, "Motion vectors over the frames", "found for blocks of 16 × 16 pixels"),
            demo.video("motion", colors, "The same motion as colours", f"full colour: {speed:.2g} pixels a frame"),
            demo.video(
                "motion_decoded",
                decoded_colors,
                f"Decoded from {video.motion_codes.shape[1]} motion tokens",
                demo.caption(f"full colour: {decoded_speed:.2g} pixels a frame"),
            ),
        ]
    demo.add_section(
        "Its motion",
        html.paragraph(
            f"Clip 1. The codec's motion field becomes {' × '.join(map(str, motion_size))} vectors, these become motion tokens, "
            "and the tokens can be decoded to a field again."
        ),
        html.grid([*figures, html.legend(wheel, demo.folder, WHEEL_CAPTION)], wide=True),
        html.tokens("[MOV]", video.motion_codes[0].tolist(), "[/MOV]"),
    )


def show_answers(demo: Demo):
    """Questions about the video, all in one batch."""
    questions, processor, model = demo.arguments.questions, demo.instruct_processor, demo.instruct_model
    conversations = [
        [
            {
                "role": "user",
                "content": [{"type": "video", "path": str(demo.arguments.video)}, {"type": "text", "text": question}],
            }
        ]
        for question in questions
    ]
    with demo.step("Asking questions"):
        inputs = processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        ).to(model.device, model.dtype)
        ids = model.generate(**inputs, max_new_tokens=demo.arguments.max_new_tokens, do_sample=False)
        answers = processor.post_process_image_text_to_text(ids[:, inputs["input_ids"].shape[1] :])
    quotes = []
    for question, answer in zip(questions, answers):
        speaker = f"Answer, {demo.weights_note}" if demo.weights_note else "Answer"
        quotes += [html.quote("Question", question), html.quote(speaker, answer or "(nothing)", is_answer=True)]
    demo.add_section(
        "Questions",
        html.paragraph(
            "The language model reads the kept patches as continuous features and the motion as tokens, then the question."
        ),
        *quotes,
    )


def show_generated_tokens(demo: Demo) -> dict[str, torch.Tensor]:
    """A prompt becomes visual and motion tokens, whose motion is drawn. Returns what the pipeline makes a video of."""
    prompt, pipe = demo.arguments.prompt, demo.pipe
    with demo.step("Generating visual and motion tokens"), torch.no_grad():
        if pipe.config.continuous_keyframe:
            ((visual_codes,),), _ = pipe.generate_tokens([prompt], generation_mode="image", generator=demo.generator)
            image = decode_keyframe(demo, visual_codes)
            _, ((motion_codes,),) = pipe.generate_tokens([prompt], images=image, generator=demo.generator)
            keyframe = {"image": image}
            reads = "As it was trained to, it reads the keyframe as an image before it writes the motion."
        else:
            ((visual_codes,),), ((motion_codes,),) = pipe.generate_tokens([prompt], generator=demo.generator)
            keyframe = {"visual_codes": visual_codes}
            reads = ""
        config = demo.model.config.motion_tokenizer_config
        height, width = config.motion_height, config.motion_width
        motion = demo.model.model.motion_tokenizer.decode(motion_codes[None], height=height, width=width)[0]
        motion = to_pixels(motion, 16 * width, 16 * height)
        speed = top_speed(motion)
        colors = np.stack([_enlarge(motion_to_rgb(frame, speed), (16 * width, 16 * height)) for frame in motion])
        canvas = np.full((16 * height, 16 * width, 3), 60, np.uint8)
        # Only the directions and how they compare can be seen on an empty canvas: the longest arrows fill their cell.
        enlargement = 24 / speed
        arrows = np.stack([draw_arrows(canvas, frame * enlargement, 24.0, columns=18) for frame in motion])
        figures = [
            demo.video(
                "generated_motion",
                colors,
                "The generated motion",
                demo.caption(f"full colour: {speed:.2g} pixels a frame"),
            ),
            demo.video(
                "generated_arrows", arrows, "The same as arrows", demo.caption(f"enlarged {enlargement:.3g} times")
            ),
        ]
    demo.add_section(
        "A prompt becomes tokens",
        html.paragraph(
            f"The language model writes a clip: one to {demo.model.config.num_image_tokens} visual tokens for the keyframe, then "
            f"exactly {config.num_motion_tokens} motion tokens, each under classifier-free guidance. {reads}".rstrip()
        ),
        html.quote("Prompt", prompt),
        html.tokens("[IMG]", visual_codes.tolist(), "[/IMG]"),
        html.tokens("[MOV]", motion_codes.tolist(), "[/MOV]"),
        html.grid(figures, wide=True),
    )
    return {**keyframe, "motion_codes": motion_codes}


def decode_keyframe(demo: Demo, visual_codes: torch.LongTensor) -> torch.Tensor:
    """The keyframe of visual codes, of shape (1, 3, height, width), values from 0 to 1, at the size that the pipeline decodes it at."""
    pipe, arguments = demo.pipe, demo.arguments
    height, width = pipe.get_keyframe_size(arguments.height or pipe.default_size, arguments.width or pipe.default_size)
    return pipe.keyframe(
        visual_codes=[visual_codes],
        height=height,
        width=width,
        num_inference_steps=arguments.num_inference_steps,
        generator=demo.generator,
        output_type="pt",
    ).images


def _enlarge(colors: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.NEAREST))


def show_rebuilt_video(demo: Demo, video: TokenizedVideo):
    """The first clip rebuilt from its keyframe and motion, beside the original."""
    clips = video.clips
    length = clips.clip_lengths[0]
    keyframe = clips.keyframes[0]
    aspect_ratio = clips.width / clips.height
    with demo.step("Rebuilding the video from its keyframe and the codec's motion"):
        from_codec = demo.run_pipeline(image=keyframe, motion_vectors=clips.motion_vectors[:1])[:length]
    with demo.step("Rebuilding the video from its keyframe and motion tokens"):
        from_tokens = demo.run_pipeline(image=keyframe, motion_codes=video.motion_codes[:1])[:length]
    moved_blocks = motion_compensate(np.asarray(keyframe), video.motion[0])
    demo.add_section(
        "The video rebuilt",
        html.paragraph(
            "Clip 1 again, from its first frame and its motion. The second one needs no network: each block of the frame "
            "before is moved along, as a video decoder does before it corrects the result. The video detokenizer is to paint "
            "what moving blocks alone cannot."
        ),
        html.grid(
            [
                demo.video("clip_original", video.frames[0], "Original"),
                demo.video(
                    "clip_moved", moved_blocks, "Keyframe, its blocks moved", "by the codec's motion, no network"
                ),
                demo.video(
                    "clip_codec",
                    from_codec,
                    "Detokenizer: keyframe + codec motion",
                    demo.weights_note,
                    aspect_ratio,
                ),
                demo.video(
                    "clip_tokens",
                    from_tokens,
                    "Detokenizer: keyframe + motion tokens",
                    demo.weights_note,
                    aspect_ratio,
                ),
            ]
        ),
    )


def show_generated_videos(demo: Demo, generated: dict[str, torch.Tensor]):
    """A prompt becomes a video, of what [`show_generated_tokens`] returns, and one of two clips."""
    with demo.step("Decoding the generated tokens to a video"):
        one_clip = demo.run_pipeline(**generated)
    with demo.step("Turning the prompt into a video of two clips"):
        two_clips = demo.run_pipeline(prompt=demo.arguments.prompt, num_clips=2)
    demo.add_section(
        "A prompt becomes a video",
        html.paragraph(
            "The visual tokens become a keyframe, the motion tokens move it. A longer video continues from the tokens so far, and "
            "each new keyframe starts from the last frame before it, carried back to noise by DDIM inversion."
        ),
        html.quote("Prompt", demo.arguments.prompt),
        html.grid(
            [
                demo.video("prompt_one_clip", one_clip, f"One clip, {len(one_clip)} frames", demo.weights_note),
                demo.video("prompt_two_clips", two_clips, f"Two clips, {len(two_clips)} frames", demo.weights_note),
            ],
            wide=True,
        ),
    )


def write_page(demo: Demo):
    """Puts the sections together."""
    introduction = [
        html.paragraph("One language model that reads and writes text, images and video.", kind="lead"),
    ]
    if demo.is_small_world:
        introduction.append(
            html.paragraph(
                "Everything on this page was made by videolavit-tiny, the model in the box "
                f"({demo.num_parameters / 1e6:.1f} million parameters): trained from nothing, through all three stages, on a small "
                "world of moving shapes, and on nothing else. The video is a scene of that world which training has not shown. How "
                "often the model is right, and what it cannot do, is measured in its card, "
                "checkpoints/videolavit-tiny/README.md.",
                kind="note",
            )
        )
    if demo.weights_note:
        introduction.append(
            html.paragraph(
                "This page was made by small models of the real classes with random weights "
                f"({demo.num_parameters / 1e6:.1f} million parameters). What is real here: the video, its motion, the number of "
                "tokens it takes, and that every step runs. What is noise: which patches are kept, the answer, the generated "
                "tokens, and everything painted from tokens.",
                kind="note",
            )
        )
    credit = MEDIA / "README.md"
    versions = {"PyTorch": torch, "transformers": transformers, "diffusers": diffusers, "PyAV": av}
    footer = (
        f"{sum(demo.seconds.values()):.0f} s on {platform.machine()}, {demo.model.device}, seed {demo.arguments.seed}; "
        + ", ".join(f"{name} {module.__version__}" for name, module in versions.items())
        + "."
    )
    if demo.arguments.video.resolve().parent == credit.parent.resolve():
        footer += " Video: Big Buck Bunny, © 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0."
    text = html.page("Video-LaVIT", *introduction, *demo.sections, f"<footer>{html.paragraph(footer)}</footer>")
    (demo.folder / "index.html").write_text(text, encoding="utf-8")


def load(arguments: argparse.Namespace, folder: Path) -> Demo:
    """The models that were asked for, or small random ones."""
    if arguments.random_weights:
        model, processor = small_random_model.build_language_model()
        pipe = small_random_model.build_detokenizer(model.eval(), processor).to(arguments.device)
        pipe.set_progress_bar_config(disable=True)
        instruct = (model, processor)
    else:
        pipe = load_pipeline(arguments.checkpoint, arguments.device)
        instruct = load_instruct_model(arguments.checkpoint, arguments.device)
    return Demo(arguments, folder, pipe.language_model, pipe.processor, *instruct, pipe)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="the models (default: the one in the box)")
    parser.add_argument(
        "--random_weights", action="store_true", help="small models with random weights in their place"
    )
    parser.add_argument("--video", type=Path, help="the video to tokenize; by default a scene of the small world")
    parser.add_argument("--prompt", default=EXAMPLE_PROMPT, help="what to generate a video of (default: %(default)s)")
    parser.add_argument("--questions", nargs="+", default=QUESTIONS, metavar="QUESTION", help="what to ask about it")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/demo"), help="folder of the page, replaced")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument("--clip_sampling", default="shots", choices=CLIP_SAMPLINGS, help="how clips are chosen")
    parser.add_argument("--max_clips", type=int, default=4, help="most clips of the video")
    parser.add_argument("--max_new_tokens", type=int, default=48, help="longest answer")
    parser.add_argument("--height", type=int, help="height of the painted videos in pixels; by default the model's")
    parser.add_argument("--width", type=int, help="width of the painted videos in pixels; by default the model's")
    parser.add_argument("--num_inference_steps", type=int, help="denoising steps; 25, or 4 with random weights")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is sampled")
    arguments = parser.parse_args()
    if arguments.random_weights:
        # More pixels and steps would not make noise any better.
        arguments.height = arguments.height or 128
        arguments.width = arguments.width or 192
        arguments.video = arguments.video or MEDIA / "big_buck_bunny.mp4"
    else:
        try:
            check_checkpoint(arguments.checkpoint)
        except ValueError as error:
            parser.error(f"--checkpoint: {error}")
    arguments.num_inference_steps = arguments.num_inference_steps or (4 if arguments.random_weights else 25)
    if arguments.video is not None and not arguments.video.is_file():
        parser.error(f"--video: there is no file {arguments.video}")
    if arguments.output_dir.exists() and not (arguments.output_dir / "index.html").is_file():
        parser.error(
            f"--output_dir: {arguments.output_dir} exists and is not a page of this demo, so it is not replaced"
        )
    return arguments


def render_example(folder: Path) -> Path:
    """
    Renders a scene of the small world, with a combination of shape, colour and direction that training never shows: the first in
    which the object moves and the camera does not, as the questions have it.
    """
    options = SmallWorldOptions(EXAMPLE_SEED, "test", (1, 1), 1, (192, 192))
    (sample,) = moving_samples(options, 1)
    path = folder / f"{sample.id}.mp4"
    write_small_world_video(path, render_scene(sample.scene, options.frame_size))
    return path


def main():
    arguments = parse_arguments()
    arguments.output_dir.parent.mkdir(parents=True, exist_ok=True)
    # The page appears as a whole or not at all.
    with tempfile.TemporaryDirectory(
        prefix=f".{arguments.output_dir.name}-", dir=arguments.output_dir.parent
    ) as folder:
        folder = Path(folder) / "page"
        (folder / "media").mkdir(parents=True)
        if arguments.video is None:
            arguments.video = render_example(folder.parent)
        demo = load(arguments, folder)
        try:
            video = tokenize(demo)
        except VideoDecodingError as error:
            sys.exit(f"demo.py: {error}")
        show_tokens(demo, video)
        show_motion(demo, video)
        show_rebuilt_video(demo, video)
        show_answers(demo)
        generated = show_generated_tokens(demo)
        show_generated_videos(demo, generated)
        write_page(demo)
        if arguments.output_dir.exists():
            shutil.rmtree(arguments.output_dir)
        folder.rename(arguments.output_dir)
    print(f"Open {(arguments.output_dir / 'index.html').resolve()}")


if __name__ == "__main__":
    main()
