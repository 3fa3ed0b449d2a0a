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
"""What generated videos show, measured in their pixels, against what was asked for."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from small_world.language import parse_caption
from small_world.measurement import background_drift, measure_video, object_identity
from small_world.scenes import CLIP_LENGTH, DIRECTIONS, SIZES, SceneDescription
from tqdm.auto import tqdm

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from videolavit_metrics import mean, proportion


ATTRIBUTES = ("colour", "shape", "direction", "speed")
NOISE_CONSTRAINTS = {"DDIM inversion": "ddim_inversion", "added noise": "add_noise", "none": None}


def generate_videos(
    pipe: VideoLaVITDetokenizerPipeline,
    prompts: Sequence[str],
    images: Sequence[Image.Image] | None = None,
    motion_tokens: bool = True,
    seed: int = 0,
    batch_size: int = 8,
    description: str = "Generating videos",
    **pipe_kwargs,
) -> list[np.ndarray]:
    """
    Generates one video for each prompt.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): The detokenizer with a language model.
        prompts (`Sequence[str]`): What to show. Prompt `i` has the seed `seed + i`, whatever the batch.
        images (`Sequence[PIL.Image.Image]`, *optional*): Keyframes to go on from.
        motion_tokens (`bool`, defaults to `True`): Whether the language model has motion tokens; else it makes keyframes, and
            nothing is known of their motion.
        seed (`int`, defaults to 0): Seed of the first video.
        batch_size (`int`, defaults to 8): Videos at a time.
        description (`str`): Of the progress bar.
        pipe_kwargs: Other arguments of the pipeline.

    Returns:
        `list[np.ndarray]`: Frames of shape (num_frames, height, width, 3), `uint8`.
    """
    videos = []
    for start in tqdm(range(0, len(prompts), batch_size), desc=description):
        batch = list(prompts[start : start + batch_size])
        generators = [torch.Generator().manual_seed(seed + start + index) for index in range(len(batch))]
        inputs = {} if images is None else {"image": list(images[start : start + batch_size])}
        if motion_tokens:
            inputs["prompt"] = batch
        else:
            if images is None:
                codes, _ = pipe.generate_tokens(batch, generation_mode="image", generator=generators)
                inputs["visual_codes"] = [visual for (visual,) in codes]
            inputs["motion_vectors"] = torch.zeros(len(batch), 2, pipe.unet.config.num_frames, 8, 8)
        frames = pipe(**inputs, generator=generators, output_type="np", **pipe_kwargs).frames
        videos.extend(np.round(255 * np.asarray(video)).astype(np.uint8) for video in frames)
    return videos


def check_video(frames: np.ndarray, description: SceneDescription) -> dict[str, bool]:
    """
    Whether a video of one object that moves shows what it should.

    Args:
        frames (`np.ndarray` of shape (num_frames, height, width, 3)): The video, `uint8`.
        description (`SceneDescription`): What was asked for: one object, in translation.

    Returns:
        `dict[str, bool]`: "colour", "shape", "direction" (of eight) and "speed" (of three), and "all" of them. Nothing is
        right about an object that is not found.
    """
    (described,) = description.objects
    (motion,) = described.motions
    objects = measure_video(frames)
    measured = objects[0] if objects else None
    moves = measured is not None and measured.motion.kind == "translation"
    right = {
        "colour": measured is not None and measured.colour == described.colour,
        "shape": measured is not None and measured.shape == described.shape,
        "direction": moves and measured.motion.direction == motion.direction,
        "speed": moves and measured.motion.speed == motion.speed,
    }
    return {**right, "all": all(right.values())}


def measure_text_to_video(videos: Sequence[np.ndarray], prompts: Sequence[str]) -> dict:
    """How many videos show what their prompts tell, by attribute, of all videos and of those of each size of object ("by_size")."""
    descriptions = [parse_caption(prompt) for prompt in prompts]
    outcomes = [check_video(frames, description) for frames, description in zip(videos, descriptions)]
    return {**_proportions(outcomes), "by_size": _by_size(outcomes, descriptions)}


def measure_image_to_video(
    videos: Sequence[np.ndarray], descriptions: Sequence[SceneDescription], originals: Sequence[np.ndarray]
) -> dict:
    """
    How many videos that go on from an image move as the prompt tells, and still show the object of the image, of all videos and
    of those of each size of object ("by_size"); and how far directions are off, in degrees.

    Args:
        videos (`Sequence[np.ndarray]`): Generated frames.
        descriptions (`Sequence[SceneDescription]`): What the prompts tell.
        originals (`Sequence[np.ndarray]`): Frames of the real videos that the images are from, of the same size.
    """
    outcomes, angles = [], []
    for frames, description, original in zip(videos, descriptions, originals):
        right = check_video(frames, description)
        identity = object_identity(frames, original)
        same = identity is not None and identity.same_colour and identity.same_shape
        outcomes.append({"direction": right["direction"], "speed": right["speed"], "identity": same})
        angles.append(direction_error(frames, description))
    return {**_proportions(outcomes), "direction_error": mean(angles), "by_size": _by_size(outcomes, descriptions)}


def _proportions(outcomes: Sequence[dict[str, bool]]) -> dict[str, dict]:
    return {name: proportion([outcome[name] for outcome in outcomes]) for name in outcomes[0]}


def _by_size(outcomes: Sequence[dict[str, bool]], descriptions: Sequence[SceneDescription]) -> dict[str, dict]:
    sizes = [description.objects[0].size for description in descriptions]
    return {
        size: _proportions([outcome for outcome, own in zip(outcomes, sizes) if own == size])
        for size in SIZES
        if size in sizes
    }


def direction_error(frames: np.ndarray, description: SceneDescription) -> float:
    """Angle between the way an object moves and the way it should, 0 to 180 degrees; not a number where it does not move."""
    objects = measure_video(frames)
    if not objects or not any(objects[0].velocity):
        return float("nan")
    measured = np.arctan2(*objects[0].velocity[::-1])
    wanted = np.arctan2(*DIRECTIONS[description.objects[0].motions[0].direction][::-1])
    return float(abs((np.degrees(measured - wanted) + 180) % 360 - 180))


def split_clips(frames: np.ndarray) -> list[np.ndarray]:
    """The clips of a long video, of whose first frames all but the very first are left out: 24 frames, then 23 each."""
    borders = range(CLIP_LENGTH, len(frames), CLIP_LENGTH - 1)
    return np.split(frames, list(borders))


def measure_drift(videos: Sequence[np.ndarray]) -> dict:
    """
    What changes from the first clip of long videos to each later one.

    Args:
        videos (`Sequence[np.ndarray]`): Long videos, of a still camera.

    Returns:
        `dict`: For each later clip, "clip 2" and so on, the "background" (root mean square difference, 0 to 255), "colour"
        (distance in sRGB, 0 to 442) and "same_object", how often colour and shape are the same.
    """
    measured: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for frames in videos:
        first, *later = split_clips(frames)
        for number, clip in enumerate(later, start=2):
            values = measured[f"clip {number}"]
            values["background"].append(background_drift(clip, first))
            identity = object_identity(clip, first)
            values["colour"].append(identity.colour_distance if identity is not None else float("nan"))
            values["same_object"].append(identity is not None and identity.same_colour and identity.same_shape)
    return {
        name: {
            "background": mean(values["background"]),
            "colour": mean(values["colour"]),
            "same_object": proportion(values["same_object"]),
        }
        for name, values in measured.items()
    }
