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
"""Drawings and playable media for the demo: motion as arrows and colours, kept patches, video files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw


def color_wheel(num_hues: int = 256) -> np.ndarray:
    """Colours of the directions, (num_hues, 3) in 0...1: right is red, down yellow-green, left cyan, up violet."""
    hues = np.linspace(0, 6, num_hues, endpoint=False)
    distance = np.abs((hues[:, None] - np.array([0, 2, 4]) + 3) % 6 - 3)
    return np.clip(2 - distance, 0, 1)


def motion_to_rgb(motion: np.ndarray, maximum: float) -> np.ndarray:
    """
    Motion as colours: the hue is the direction, the saturation the speed.

    Args:
        motion: (2, height, width), rightward and downward displacement.
        maximum: the speed of full saturation, in the unit of `motion`.

    Returns:
        uint8 (height, width, 3).
    """
    speed = np.clip(np.hypot(motion[0], motion[1]) / max(maximum, 1e-6), 0, 1)[..., None]
    wheel = color_wheel()
    angle = np.arctan2(motion[1], motion[0]) / (2 * np.pi)
    hue = wheel[(np.round(angle * len(wheel)).astype(int)) % len(wheel)]
    return np.round(255 * (1 - speed * (1 - hue))).astype(np.uint8)


def color_wheel_image(size: int = 160) -> Image.Image:
    """The legend of `motion_to_rgb`: a transparent disc whose rim is the fastest motion."""
    axis = np.linspace(-1, 1, 2 * size)
    x, y = np.meshgrid(axis, axis)
    colors = motion_to_rgb(np.stack([x, y]), maximum=1.0)
    alpha = np.where(np.hypot(x, y) <= 1, 255, 0).astype(np.uint8)[..., None]
    return Image.fromarray(np.concatenate([colors, alpha], -1)).resize((size, size), Image.Resampling.LANCZOS)


def draw_arrows(frame: np.ndarray, motion: np.ndarray, maximum: float, columns: int = 20) -> np.ndarray:
    """
    Draws motion over a frame, as arrows coloured like `motion_to_rgb`.

    Args:
        frame: uint8 (height, width, 3).
        motion: (2, grid height, grid width), rightward and downward displacement in pixels of the frame.
        maximum: the speed of full saturation, in pixels.
        columns: arrows in a row, at most the grid's width.

    Returns:
        uint8 (height, width, 3).
    """
    height, width = frame.shape[:2]
    grid_height, grid_width = motion.shape[1:]
    step = -(-grid_width // columns)
    oversampling = 2
    image = Image.fromarray((frame * 0.62 + 20).astype(np.uint8)).resize((width * oversampling, height * oversampling))
    draw = ImageDraw.Draw(image)
    colors = motion_to_rgb(motion, maximum)
    for row in range(step // 2, grid_height, step):
        for column in range(step // 2, grid_width, step):
            x = (column + 0.5) * width / grid_width * oversampling
            y = (row + 0.5) * height / grid_height * oversampling
            dx, dy = motion[:, row, column] * oversampling
            length = float(np.hypot(dx, dy))
            if length < oversampling:
                draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(210, 210, 210))
                continue
            # Short motion is drawn longer than it is, or its direction could not be seen.
            scale = max(length, 11.0 * oversampling) / length
            dx, dy, color = dx * scale, dy * scale, tuple(int(value) for value in colors[row, column])
            tip = (x + dx / 2, y + dy / 2)
            draw.line((x - dx / 2, y - dy / 2, *tip), fill=color, width=2 * oversampling)
            head = 5.0 * oversampling / float(np.hypot(dx, dy))
            back = (tip[0] - dx * head, tip[1] - dy * head)
            side = (-dy * head * 0.5, dx * head * 0.5)
            draw.polygon([tip, (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])], color)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def draw_kept_patches(frame: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Darkens the patches that the selector drops. `frame` is uint8 (height, width, 3), `keep` a boolean grid."""
    height, width = frame.shape[:2]
    mask = np.asarray(Image.fromarray(keep).resize((width, height), Image.Resampling.NEAREST))[..., None]
    gray = frame.mean(-1, keepdims=True)
    return np.where(mask, frame, 0.25 * gray + 12).astype(np.uint8)


def motion_compensate(keyframe: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """
    Moves the blocks of a keyframe along, frame after frame, as a video decoder does before it adds the residual.

    Args:
        keyframe: uint8 (height, width, 3).
        motion: (frames, 2, grid height, grid width), displacement in pixels of each block since the frame before.

    Returns:
        uint8 (frames, height, width, 3); the first is the keyframe.
    """
    height, width = keyframe.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    block_rows = rows * motion.shape[2] // height
    block_columns = columns * motion.shape[3] // width
    frames = [keyframe]
    for dx, dy in motion[1:]:
        x = np.clip(np.round(columns - dx[block_rows, block_columns]), 0, width - 1).astype(int)
        y = np.clip(np.round(rows - dy[block_rows, block_columns]), 0, height - 1).astype(int)
        frames.append(frames[-1][y, x])
    return np.stack(frames)


def resize_frames(frames: np.ndarray, width: int, aspect_ratio: float | None = None) -> np.ndarray:
    """Resizes uint8 (frames, height, width, 3) to a width, keeping its aspect ratio unless another is given."""
    aspect_ratio = aspect_ratio if aspect_ratio is not None else frames.shape[2] / frames.shape[1]
    height = round(width / aspect_ratio / 2) * 2  # video files need an even height
    if frames.shape[1:3] == (height, width):
        return frames
    images = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(image) for image in images])


def write_video(path: Path, frames: np.ndarray, fps: float) -> Path:
    """
    Writes uint8 (frames, height, width, 3) as a file that browsers play.

    Returns:
        The file: H.264 in MP4, or an animated WebP where PyAV was built without libx264.
    """
    if "libx264" not in av.codecs_available:
        path = path.with_suffix(".webp")
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, quality=80)
        return path
    path = path.with_suffix(".mp4")
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for frame in frames:
            frame = np.ascontiguousarray(frame[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
