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
Video-LaVIT in the browser: describe a video, ask about it, make one of a prompt, go on from an image, rebuild one from its tokens.

    python examples/app.py
    python examples/app.py --checkpoint outputs/tiny/videolavit-tiny --port 7861

A checkpoint is a folder with `video-lavit`, `video-lavit-sft` and `video-lavit-detokenizer`. It needs the `demo` extra.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from checkpoint_folder import CHECKPOINT, EXAMPLE_PROMPT, check_checkpoint, load_instruct_model, load_pipeline
from demo_media import resize_frames, write_video
from PIL import Image

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoDecodingError, VideoLaVITForCausalLM, VideoLaVITProcessor


EXAMPLE_QUESTION = "In which direction does the object move?"
# Small frames are shown enlarged.
DISPLAY_WIDTH = 384


@dataclass
class App:
    """
    The models, and what the buttons do.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): The detokenizer with the pre-trained language model and its processor.
        instruct_model ([`VideoLaVITForCausalLM`]): The instruction-tuned language model.
        instruct_processor ([`VideoLaVITProcessor`]): Its processor.
        folder (`Path`): Where videos are written.
    """

    pipe: VideoLaVITDetokenizerPipeline
    instruct_model: VideoLaVITForCausalLM
    instruct_processor: VideoLaVITProcessor
    folder: Path

    @property
    def size(self) -> int:
        """Height and width of the frames that the detokenizer makes."""
        return self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor

    @torch.no_grad()
    def describe(self, video: str | None) -> str:
        """What the pre-trained model goes on with after a video."""
        processor, model = self.pipe.processor, self.pipe.language_model
        inputs = _read(processor, text=processor.video_token, videos=_require(video, "a video"))
        ids = model.generate(**inputs.to(model.device, model.dtype), max_new_tokens=64, do_sample=False)
        return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

    @torch.no_grad()
    def ask(self, video: str | None, question: str) -> str:
        """The instruction-tuned model's answer to a question about a video."""
        content = [
            {"type": "video", "path": _require(video, "a video")},
            {"type": "text", "text": _require(question.strip(), "a question")},
        ]
        processor, model = self.instruct_processor, self.instruct_model
        try:
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(model.device, model.dtype)
        except VideoDecodingError as error:
            raise gr.Error(str(error)) from error
        ids = model.generate(**inputs, max_new_tokens=48, do_sample=False)
        return processor.post_process_image_text_to_text(ids[0, inputs["input_ids"].shape[1] :])

    def generate(self, prompt: str, image: Image.Image | None, num_clips: int, steps: int, seed: int) -> str:
        """The path of a video of a prompt, which goes on from an image if there is one."""
        inputs = {"prompt": _require(prompt.strip(), "a prompt"), "num_clips": int(num_clips)}
        if image is not None:
            inputs["image"] = image
        return self._write(self._run(inputs, steps, seed))

    def generate_from_image(self, prompt: str, image: Image.Image | None, steps: int, seed: int) -> str:
        """The path of a video that goes on from an image as a prompt tells."""
        return self.generate(prompt, _require(image, "an image"), 1, steps, seed)

    @torch.no_grad()
    def reconstruct(self, video: str | None, steps: int, seed: int) -> tuple[str, str]:
        """The path of a video's first clip, made of its tokens, and how many there are."""
        processor, model = self.pipe.processor, self.pipe.language_model.model
        inputs = _read(processor.video_processor, _require(video, "a video"), max_clips=1)
        inputs = inputs.to(self.pipe.unet.device)
        visual_codes = model.keyframe_tokenizer.encode(inputs["pixel_values_videos"][:1])
        motion_codes = model.motion_tokenizer.encode(inputs["motion_vectors"][:1])
        frames = self._run({"visual_codes": visual_codes, "motion_codes": motion_codes}, steps, seed)
        numbers = f"{len(visual_codes[0])} visual and {motion_codes.shape[1]} motion tokens for {len(frames)} frames"
        return self._write(frames), numbers

    def _run(self, inputs: dict, steps: int, seed: int) -> np.ndarray:
        (frames,) = self.pipe(
            **inputs,
            height=self.size,
            width=self.size,
            num_inference_steps=int(steps),
            keyframe_num_inference_steps=int(steps),
            generator=torch.Generator().manual_seed(int(seed)),
            output_type="np",
        ).frames
        return np.round(255 * np.asarray(frames)).astype(np.uint8)

    def _write(self, frames: np.ndarray) -> str:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        fps = self.pipe.processor.video_processor.fps
        return str(write_video(folder / "video", resize_frames(frames, DISPLAY_WIDTH, None), fps))


def _require(value, name: str):
    if not value:
        raise gr.Error(f"Give {name} first.")
    return value


def _read(processor, *args, **kwargs):
    try:
        return processor(*args, return_tensors="pt", **kwargs)
    except VideoDecodingError as error:
        raise gr.Error(str(error)) from error


def load(checkpoint: Path, folder: Path, device: str) -> App:
    """
    Loads the models.

    Args:
        checkpoint (`Path`): Folder with `video-lavit`, `video-lavit-sft` and `video-lavit-detokenizer`.
        folder (`Path`): Where videos are to be written.
        device (`str`): Where to compute.
    """
    return App(load_pipeline(checkpoint, device), *load_instruct_model(checkpoint, device), folder)


def build(app: App) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Video-LaVIT") as page:
        gr.Markdown("# Video-LaVIT\nOne language model that reads and writes text, images and video.")

        def settings() -> tuple[gr.Slider, gr.Number]:
            with gr.Accordion("Settings", open=False):
                steps = gr.Slider(1, 50, value=12, step=1, label="Denoising steps")
                seed = gr.Number(0, precision=0, label="Seed")
            return steps, seed

        with gr.Tab("Describe"), gr.Row():
            with gr.Column():
                described = gr.Video(label="Video to describe")
                describe = gr.Button("Describe", variant="primary", elem_id="describe")
            description = gr.Textbox(label="Description", elem_id="description")
            describe.click(app.describe, described, description)
        with gr.Tab("Ask"), gr.Row():
            with gr.Column():
                asked = gr.Video(label="Video to ask about")
                question = gr.Textbox(EXAMPLE_QUESTION, label="Question")
                ask = gr.Button("Ask", variant="primary", elem_id="ask")
            answer = gr.Textbox(label="Answer", elem_id="answer")
            ask.click(app.ask, [asked, question], answer)
        with gr.Tab("Text to video"), gr.Row():
            with gr.Column():
                prompt = gr.Textbox(EXAMPLE_PROMPT, label="Prompt")
                num_clips = gr.Slider(1, 4, value=1, step=1, label="Clips of four seconds")
                steps, seed = settings()
                make = gr.Button("Generate", variant="primary", elem_id="generate")
            made = gr.Video(label="Generated video", autoplay=True, loop=True, elem_id="generated")
            no_image = gr.State(None)
            make.click(app.generate, [prompt, no_image, num_clips, steps, seed], made)
        with gr.Tab("Image to video"), gr.Row():
            with gr.Column():
                image = gr.Image(type="pil", label="First frame")
                image_prompt = gr.Textbox(EXAMPLE_PROMPT, label="Prompt")
                steps, seed = settings()
                move = gr.Button("Generate", variant="primary", elem_id="animate")
            moved = gr.Video(label="Video that goes on from it", autoplay=True, loop=True, elem_id="animated")
            move.click(app.generate_from_image, [image_prompt, image, steps, seed], moved)
        with gr.Tab("Reconstruct"), gr.Row():
            with gr.Column():
                original = gr.Video(label="Video to rebuild")
                steps, seed = settings()
                rebuild = gr.Button("Rebuild", variant="primary", elem_id="rebuild")
            with gr.Column():
                rebuilt = gr.Video(label="Its first clip, made of tokens", autoplay=True, loop=True, elem_id="rebuilt")
                numbers = gr.Textbox(label="Tokens", elem_id="tokens")
            rebuild.click(app.reconstruct, [original, steps, seed], [rebuilt, numbers])
    return page


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="the model (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")
    arguments = parser.parse_args(args)
    try:
        check_checkpoint(arguments.checkpoint)
    except ValueError as error:
        parser.error(f"--checkpoint: {error}")
    with tempfile.TemporaryDirectory() as folder:
        page = build(load(arguments.checkpoint, Path(folder), arguments.device))
        page.launch(server_name=arguments.host, server_port=arguments.port, allowed_paths=[folder])


if __name__ == "__main__":
    main()
