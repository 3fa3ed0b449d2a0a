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
"""Videos in files as VBench (https://github.com/Vchitect/VBench) names them: `<prompt>-<number>.mp4`."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


# Of a file's name, in bytes, on common file systems.
_MAX_NAME_LENGTH = 255


def video_path(folder: Path, prompt: str, number: int) -> Path:
    """
    Where VBench looks for a video.

    Args:
        folder (`Path`): The folder of the videos.
        prompt (`str`): The prompt.
        number (`int`): Which of its videos.

    Raises:
        ValueError: If the prompt cannot be a file's name.
    """
    name = f"{prompt}-{number}.mp4"
    if "/" in prompt or "\0" in prompt or not prompt or len(name.encode()) > _MAX_NAME_LENGTH:
        raise ValueError(f"VBench names files by their prompts, but this cannot be a name: {prompt!r}.")
    return folder / name


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """
    Writes a video as H.264, almost without loss, at once or not at all.

    Args:
        path (`Path`): The file.
        frames (`np.ndarray` of shape (frames, height, width, 3)): Values from 0 to 1.
        fps (`float`): Frames per second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.round(255 * np.asarray(frames)).clip(0, 255).astype(np.uint8)
    temporary = path.with_name(f"{path.stem[:200]}.incomplete")
    with av.open(temporary, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
        stream.options = {"crf": "10"}
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    os.replace(temporary, path)
