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
How often the measurement is right, on held-out videos of one object, as they are rendered and as a model might blur them.

    cd examples && python -m small_world.accuracy --num_videos 300
"""

import argparse
import io
from collections import Counter
from collections.abc import Callable

import numpy as np
from PIL import Image
from tqdm import tqdm

from .measurement import measure_camera, measure_video
from .rendering import render_scene
from .scenes import SceneDescription, sample_scene


def blur(frames: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Blurs frames with a Gaussian of `sigma` pixels."""
    offsets = np.arange(-4, 5)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    blurred = frames.astype(np.float64)
    for axis in (1, 2):
        padded = np.pad(blurred, [(4, 4) if index == axis else (0, 0) for index in range(4)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(offsets), axis=axis)
        blurred = windows @ (weights / weights.sum())
    return np.round(blurred).astype(np.uint8)


def add_noise_and_compress(frames: np.ndarray, sigma: float = 8.0, quality: int = 50) -> np.ndarray:
    """Adds Gaussian noise of `sigma` (of 255) to frames, and stores each as a JPEG file."""
    generator = np.random.default_rng(0)
    compressed = []
    for frame in frames:
        noisy = np.clip(frame + generator.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, format="JPEG", quality=quality)
        compressed.append(np.asarray(Image.open(file)))
    return np.stack(compressed)


def shrink_and_enlarge(frames: np.ndarray, factor: int = 4) -> np.ndarray:
    """Makes frames `factor` times smaller and as large as before again."""
    height, width = frames.shape[1:3]
    small = (max(1, width // factor), max(1, height // factor))
    images = [Image.fromarray(frame).resize(small, Image.Resampling.BOX) for frame in frames]
    return np.stack([np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in images])


DEGRADATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as rendered": lambda frames: frames,
    "blurred, sigma 1": blur,
    "noise 8, JPEG 50": add_noise_and_compress,
    "4 times smaller": shrink_and_enlarge,
}


def compare(description: SceneDescription, frames: np.ndarray) -> dict[str, bool]:
    """
    Whether each attribute that a scene of one object has is measured right in its video.

    Returns:
        `dict[str, bool]`: "colour", "shape", "size", "motion kind" and "camera"; of objects that move also "direction" and
        "speed", of others "rotation" or "growth".
    """
    (described,) = description.objects
    (motion,) = described.motions
    objects = measure_video(frames)
    # Nothing is right about an object that is not found.
    measured = objects[0] if objects else None
    found = measured is not None
    right = {
        "camera": measure_camera(frames).motion == description.camera,
        "colour": found and measured.colour == described.colour,
        "shape": found and measured.shape == described.shape,
        "size": found and measured.size == described.size,
        "motion kind": found and measured.motion.kind == motion.kind,
    }
    if motion.kind != "still":
        name = "direction" if motion.kind == "translation" else motion.kind
        right[name] = found and measured.motion.direction == motion.direction
    if motion.kind == "translation":
        right["speed"] = found and measured.motion.speed == motion.speed
    return right


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_videos", type=int, default=300, help="number of videos (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="number of the data set (default: %(default)s)")
    arguments = parser.parse_args(args)
    size = (arguments.size, arguments.size)
    right, asked = Counter(), Counter()
    for index in tqdm(range(arguments.num_videos)):
        scene = sample_scene(arguments.seed, "test", index, num_objects=(1, 1), frame_size=size)
        frames = render_scene(scene, size)
        for degradation, degrade in DEGRADATIONS.items():
            for attribute, is_right in compare(scene.description, degrade(frames)).items():
                right[degradation, attribute] += is_right
                asked[degradation, attribute] += 1
    attributes = list(dict.fromkeys(attribute for _, attribute in asked))
    print(f"{'':18}" + "".join(f"{attribute:>14}" for attribute in attributes))
    for degradation in DEGRADATIONS:
        cells = [f"{right[degradation, name]}/{asked[degradation, name]}" for name in attributes]
        print(f"{degradation:18}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
