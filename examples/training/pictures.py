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
"""Samples of what a model in training does: drawn, saved, and shown in TensorBoard and Weights & Biases."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import TrainerCallback, TrainingArguments


class PictureCallback(TrainerCallback):
    """
    Draws pictures after each evaluation: into `samples/` of the output folder, and to the run's trackers.

    Args:
        draw (`Callable[[torch.nn.Module], dict[str, Image.Image]]`): Draws pictures of a model, in evaluation mode, by name.
    """

    def __init__(self, draw: Callable[[torch.nn.Module], dict[str, Image.Image]]):
        self.draw = draw

    @torch.no_grad()
    def on_evaluate(self, args, state, control, model=None, **kwargs):
        if not state.is_world_process_zero:
            return
        training = model.training
        pictures = self.draw(model.eval())
        model.train(training)
        log_samples(args, state.global_step, pictures=pictures)


def log_samples(
    args: TrainingArguments,
    step: int,
    pictures: dict[str, Image.Image] | None = None,
    texts: dict[str, str] | None = None,
) -> None:
    """Writes samples into `samples/` of a run's output folder, and to its trackers."""
    folder = Path(args.output_dir) / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (pictures or {}).items():
        picture.save(folder / f"{name}-{step:07d}.png")
    for name, text in (texts or {}).items():
        (folder / f"{name}-{step:07d}.txt").write_text(text, encoding="utf-8")
    if "tensorboard" in args.report_to:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(Path(args.output_dir) / "runs" / "samples") as writer:
            for name, picture in (pictures or {}).items():
                writer.add_image(name, np.asarray(picture), step, dataformats="HWC")
            for name, text in (texts or {}).items():
                writer.add_text(name, text, step)
    if "wandb" in args.report_to:
        import wandb

        shown = {name: wandb.Image(picture) for name, picture in (pictures or {}).items()}
        wandb.log(shown | {name: wandb.Html(f"<pre>{text}</pre>") for name, text in (texts or {}).items()}, step=step)


def draw_motion(motion: torch.Tensor, scale: float | None = None) -> np.ndarray:
    """
    Draws a motion field: the direction is the hue, the length the saturation.

    Args:
        motion (`torch.Tensor` of shape (2, height, width)): Motion (x, y).
        scale (`float`, *optional*): Length of full saturation, by default the longest.

    Returns:
        `np.ndarray` of shape (height, width, 3): RGB, 0 ... 255.
    """
    x, y = motion.float().cpu().numpy()
    length = np.hypot(x, y)
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1.0
    saturation = (length / max(scale if scale is not None else float(length.max()), 1e-6)).clip(0, 1)
    hsv = np.stack((hue, saturation, np.ones_like(hue)), axis=-1)
    return np.asarray(Image.fromarray((255 * hsv).astype(np.uint8), mode="HSV").convert("RGB"))


def contact_sheet(rows: list[list[np.ndarray]], scale: int = 1, gap: int = 2) -> Image.Image:
    """
    Arranges pictures of one size in rows.

    Args:
        rows (`list[list[np.ndarray]]`): Pictures of shape (height, width, 3), 0 ... 255.
        scale (`int`, defaults to 1): How many pixels wide each pixel is drawn.
        gap (`int`, defaults to 2): White pixels between pictures.
    """
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (height + gap), columns * (width + gap), 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    return Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1))


def to_picture(image: torch.Tensor) -> np.ndarray:
    """An image of shape (3, height, width), 0 ... 1, as (height, width, 3), 0 ... 255."""
    return (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
