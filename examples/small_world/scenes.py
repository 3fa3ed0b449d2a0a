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
What there is in the small world: objects that move over a background, in front of a camera.

Lengths are shares of a frame's shorter side, x points right and y down, and the origin is the centre of the first frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np


FPS = 6
CLIP_LENGTH = 24  # frames: 4 seconds

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
ANGULAR_SHAPES = ("square", "triangle", "star", "cross")  # one can see these rotate
COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan", "orange", "white")
TEXTURES = ("plain", "striped", "dotted")
SIZES = {"small": 0.075, "medium": 0.105, "large": 0.15}  # radius of a circle
# Unit vectors, in the order of their angles: an object at rest has none.
DIRECTIONS = {
    "right": (1.0, 0.0),
    "lower right": (0.5**0.5, 0.5**0.5),
    "down": (0.0, 1.0),
    "lower left": (-(0.5**0.5), 0.5**0.5),
    "left": (-1.0, 0.0),
    "upper left": (-(0.5**0.5), -(0.5**0.5)),
    "up": (0.0, -1.0),
    "upper right": (0.5**0.5, -(0.5**0.5)),
}
SPEEDS = {"slow": 0.0042, "medium": 0.0073, "fast": 0.0125}  # per frame
ROTATION_PER_FRAME = np.deg2rad(3.5)
GROWTH_PER_FRAME = 1.02

BACKGROUND_PATTERNS = ("gradient", "striped", "checkered", "cloudy")
BACKGROUND_COLOURS = ("grey", "brown", "slate", "olive", "purple")
CAMERA_MOTIONS = ("still", "pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out")
PAN_PER_FRAME = 0.007
ZOOM_PER_FRAME = 1.015

# The longest distance from the centre to the outline, in radii of the object.
SHAPE_EXTENTS = {"circle": 1.0, "square": 1.2, "triangle": 1.25, "star": 1.3, "ring": 1.08, "cross": 1.16}

MOTION_KINDS = {"translation": 0.55, "rotation": 0.15, "growth": 0.15, "still": 0.15}  # with their probabilities
MOVING_CAMERA_PROBABILITY = 0.2

Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")

# Combinations that only the test split shows, one sixth of all: each colour lacks one shape, and each direction too.
HELD_OUT_SHAPE_OF_COLOUR = {colour: SHAPES[(5 * index + 3) % len(SHAPES)] for index, colour in enumerate(COLOURS)}
HELD_OUT_SHAPE_OF_DIRECTION = {name: SHAPES[(index + 2) % len(SHAPES)] for index, name in enumerate(DIRECTIONS)}


@dataclass(frozen=True)
class Motion:
    """
    What an object does during one clip.

    Args:
        kind (`str`): "translation", "rotation", "growth" or "still".
        direction (`str`, *optional*): One of `DIRECTIONS` for a translation, "clockwise" or "counterclockwise" for a
            rotation, "grows" or "shrinks" for growth.
        speed (`str`, *optional*): One of `SPEEDS` for a translation.
    """

    kind: str
    direction: str | None = None
    speed: str | None = None

    def velocity(self) -> np.ndarray:
        """Displacement (x, y) per frame."""
        if self.kind != "translation":
            return np.zeros(2)
        return SPEEDS[self.speed] * np.array(DIRECTIONS[self.direction])

    def rotation(self) -> float:
        """Clockwise rotation per frame, in radians."""
        if self.kind != "rotation":
            return 0.0
        return ROTATION_PER_FRAME if self.direction == "clockwise" else -ROTATION_PER_FRAME

    def growth(self) -> float:
        """Factor of the object's size per frame."""
        if self.kind != "growth":
            return 1.0
        return GROWTH_PER_FRAME if self.direction == "grows" else 1 / GROWTH_PER_FRAME


@dataclass(frozen=True)
class ObjectDescription:
    """An object as a caption tells it: `motions` has one `Motion` for each clip, and a still image has none."""

    shape: str
    colour: str
    size: str
    texture: str
    motions: tuple[Motion, ...] = ()

    @property
    def is_held_out(self) -> bool:
        """Whether it has a colour or a direction that this shape never has in training."""
        directions = [motion.direction for motion in self.motions if motion.kind == "translation"]
        return HELD_OUT_SHAPE_OF_COLOUR[self.colour] == self.shape or any(
            HELD_OUT_SHAPE_OF_DIRECTION[direction] == self.shape for direction in directions
        )


@dataclass(frozen=True)
class SceneDescription:
    """Everything that a caption tells of a scene, and nothing else."""

    objects: tuple[ObjectDescription, ...]
    background_pattern: str
    background_colour: str
    camera: str = "still"

    def without_motion(self) -> "SceneDescription":
        """What a still image of the scene shows."""
        objects = tuple(replace(described, motions=()) for described in self.objects)
        return replace(self, objects=objects, camera="still")


@dataclass(frozen=True)
class Scene:
    """
    A scene to be rendered.

    Args:
        description (`SceneDescription`): What it shows.
        positions (`tuple[tuple[float, float], ...]`): The centre of each object in the first frame.
        appearance_seed (`int`): Where the pattern of the background lies, and everything else that no caption tells.
    """

    description: SceneDescription
    positions: tuple[tuple[float, float], ...]
    appearance_seed: int

    @property
    def num_clips(self) -> int:
        return len(self.description.objects[0].motions)


def object_path(described: ObjectDescription, position: tuple[float, float], num_frames: int) -> dict[str, np.ndarray]:
    """
    Where an object is in each frame, without the camera's motion.

    Returns:
        `dict`: "center" of shape `(num_frames, 2)`, "radius" and "angle" (clockwise, in radians) of shape `(num_frames,)`.
    """
    center, log_radius, angle = np.zeros((num_frames, 2)), np.zeros(num_frames), np.zeros(num_frames)
    for index in range(1, num_frames):
        motion = described.motions[(index - 1) // CLIP_LENGTH]
        center[index] = center[index - 1] + motion.velocity()
        log_radius[index] = log_radius[index - 1] + np.log(motion.growth())
        angle[index] = angle[index - 1] + motion.rotation()
    return {"center": center + position, "radius": SIZES[described.size] * np.exp(log_radius), "angle": angle}


def camera_path(camera: str, num_frames: int) -> dict[str, np.ndarray]:
    """What the camera points at ("center" of shape `(num_frames, 2)`) and its "zoom" of shape `(num_frames,)`."""
    time = np.arange(num_frames)
    center, zoom = np.zeros((num_frames, 2)), np.ones(num_frames)
    if camera.startswith("pans"):
        center = time[:, None] * PAN_PER_FRAME * np.array(DIRECTIONS[camera.removeprefix("pans ")])
    elif camera.startswith("zooms"):
        zoom = ZOOM_PER_FRAME ** (time if camera == "zooms in" else -time)
    return {"center": center, "zoom": zoom}


def sample_scene(
    seed: int,
    split: Split,
    index: int,
    num_objects: tuple[int, int] = (1, 3),
    num_clips: int = 1,
    frame_size: tuple[int, int] = (128, 128),
    still: bool = False,
) -> Scene:
    """
    The scene with a number, which depends on the arguments alone.

    In the first clip of a scene, neither the place of an object nor anything else that the first frame shows depends on
    how it is going to move: from its place, an object could move in every direction without leaving the frame. The
    exceptions are that circles and rings don't rotate, that of several objects none is fast, and that one of eight
    directions is held out for most shapes.

    The camera moves in one fifth of the scenes of one clip, and all objects are still then. In the later clips of longer
    scenes, every object goes on from where it has arrived.

    Args:
        seed (`int`): Number of the data set.
        split (`str`): "train" and "validation" show no held-out combination; in "test", every object is one.
        index (`int`): Number of the scene in its split.
        num_objects (`tuple[int, int]`, defaults to `(1, 3)`): Smallest and largest number of objects, of different colours
            and shapes.
        num_clips (`int`, defaults to 1): Clips of 24 frames.
        frame_size (`tuple[int, int]`, defaults to `(128, 128)`): Height and width, of which only the ratio matters.
        still (`bool`, defaults to `False`): Whether nothing moves: what a still image shows, whose held-out combinations
            are those of colour and shape alone.

    Raises:
        ValueError: If an argument is out of range.
    """
    fewest, most = num_objects
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {SPLITS}, not {split!r}.")
    if not 1 <= fewest <= most <= 3:
        raise ValueError(f"`num_objects` must be a range within 1 to 3, not {num_objects}.")
    if num_clips < 1 or index < 0 or seed < 0:
        raise ValueError(
            f"`num_clips` must be at least 1, `index` and `seed` at least 0, not {num_clips}, {index} and {seed}."
        )
    if min(frame_size) < 1:
        raise ValueError(f"`frame_size` must be a positive height and width, not {frame_size}.")
    generator = np.random.default_rng([seed, SPLITS.index(split), index])
    half_frame = np.array(frame_size[::-1]) / min(frame_size) / 2
    number = int(generator.integers(fewest, most + 1))
    moving = not still and num_clips == 1 and generator.random() < MOVING_CAMERA_PROBABILITY
    camera = choose(generator, CAMERA_MOTIONS[1:]) if moving else "still"
    pattern, colour = choose(generator, BACKGROUND_PATTERNS), choose(generator, BACKGROUND_COLOURS)
    while True:
        objects = [_sample_object(generator, split, single=number == 1, still=still or moving) for _ in range(number)]
        if len({described.shape for described in objects}) < number:
            continue
        if len({described.colour for described in objects}) < number:
            continue
        positions = _sample_positions(generator, objects, half_frame)
        if positions is not None:
            break
    if still:
        num_clips = 1
    objects = [
        _sample_later_motions(generator, split, described, position, half_frame, num_clips, single=number == 1)
        for described, position in zip(objects, positions)
    ]
    return Scene(
        description=SceneDescription(tuple(objects), pattern, colour, camera),
        positions=positions,
        appearance_seed=int(generator.integers(2**31)),
    )


def choose(generator: np.random.Generator, names: Sequence[str], probabilities: Sequence[float] | None = None) -> str:
    # `Generator.choice` makes an array of the names each time, which takes longer than all the rest.
    if probabilities is None:
        return names[generator.integers(len(names))]
    return names[int(np.searchsorted(np.cumsum(probabilities[:-1]), generator.random(), side="right"))]


def _sample_object(generator: np.random.Generator, split: Split, single: bool, still: bool) -> ObjectDescription:
    colour = choose(generator, COLOURS)
    motion = Motion("still") if still else _sample_motion(generator, single)
    # Colour and direction come first, so that each is as frequent as the others in every split.
    held_out = {HELD_OUT_SHAPE_OF_COLOUR[colour]}
    if motion.kind == "translation":
        held_out.add(HELD_OUT_SHAPE_OF_DIRECTION[motion.direction])
    shapes = [shape for shape in SHAPES if (shape in held_out) == (split == "test")]
    if motion.kind == "rotation":
        shapes = [shape for shape in shapes if shape in ANGULAR_SHAPES]
    if not shapes:
        return _sample_object(generator, split, single, still)
    return ObjectDescription(
        shape=choose(generator, shapes),
        colour=colour,
        size=choose(generator, list(SIZES)),
        texture=choose(generator, TEXTURES),
        motions=(motion,),
    )


def _sample_motion(generator: np.random.Generator, single: bool) -> Motion:
    kind = choose(generator, list(MOTION_KINDS), list(MOTION_KINDS.values()))
    if kind == "translation":
        speeds = list(SPEEDS) if single else ["slow", "medium"]
        return Motion(kind, choose(generator, list(DIRECTIONS)), choose(generator, speeds))
    if kind == "rotation":
        return Motion(kind, choose(generator, ["clockwise", "counterclockwise"]))
    if kind == "growth":
        return Motion(kind, choose(generator, ["grows", "shrinks"]))
    return Motion(kind)


def _sample_positions(
    generator: np.random.Generator, objects: list[ObjectDescription], half_frame: np.ndarray
) -> tuple[tuple[float, float], ...] | None:
    """Places from where every object could move in all directions, or `None` if some lie too close to each other."""
    farthest = CLIP_LENGTH * (SPEEDS["fast"] if len(objects) == 1 else SPEEDS["medium"])
    extents = np.array([SIZES[described.size] * SHAPE_EXTENTS[described.shape] for described in objects])
    room = half_frame - farthest - extents[:, None]
    positions = generator.uniform(-room, room)
    for index in range(len(objects)):
        distances = np.linalg.norm(positions[:index] - positions[index], axis=-1)
        if np.any(distances < extents[:index] + extents[index] + 0.02):
            return None
    return tuple((float(x), float(y)) for x, y in positions)


def _sample_later_motions(
    generator: np.random.Generator,
    split: Split,
    described: ObjectDescription,
    position: tuple[float, float],
    half_frame: np.ndarray,
    num_clips: int,
    single: bool,
) -> ObjectDescription:
    while len(described.motions) < num_clips:
        longer = replace(described, motions=(*described.motions, _sample_motion(generator, single)))
        last = longer.motions[-1]
        if last.kind == "rotation" and described.shape not in ANGULAR_SHAPES:
            continue
        if longer.is_held_out != (split == "test"):
            continue
        path = object_path(longer, position, CLIP_LENGTH * len(longer.motions) + 1)
        extent = path["radius"][-1] * SHAPE_EXTENTS[longer.shape]
        # Within two steps of growth in either direction, an object stays visible and inside the frame.
        if not 0.6 < path["radius"][-1] / SIZES[longer.size] < 1.7:
            continue
        if np.all(np.abs(path["center"][-1]) + extent <= half_frame):
            described = longer
    return described
