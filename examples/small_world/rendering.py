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
"""Draws the scenes of the small world, antialiased, and writes them to files."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .scenes import CLIP_LENGTH, FPS, ObjectDescription, Scene, camera_path, object_path


# sRGB. Objects are saturated or white; backgrounds are neither, so that colour alone tells them apart.
OBJECT_RGB = {
    "red": (222, 38, 38),
    "green": (40, 176, 58),
    "blue": (42, 74, 228),
    "yellow": (240, 234, 48),
    "magenta": (224, 48, 206),
    "cyan": (46, 212, 222),
    "orange": (246, 130, 22),
    "white": (246, 246, 246),
}
BACKGROUND_RGB = {
    "grey": (112, 112, 112),
    "brown": (122, 104, 88),
    "slate": (90, 104, 122),
    "olive": (104, 112, 84),
    "purple": (112, 94, 118),
}
BACKGROUND_CONTRAST = 0.28
GRAIN_CONTRAST = 0.07

MIN_FRAME_SIZE = 48  # pixels: a small object is seven pixels wide there

_NUM_OUTLINE_ANGLES = 1440
_LATTICE_SIZE = 64


def _polygon_outline(vertices: np.ndarray) -> np.ndarray:
    """Distance of a star-shaped polygon's outline from the origin at `_NUM_OUTLINE_ANGLES` angles."""
    angles = np.arange(_NUM_OUTLINE_ANGLES) * 2 * np.pi / _NUM_OUTLINE_ANGLES
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    start, edge = vertices, np.roll(vertices, -1, axis=0) - vertices
    determinant = rays[:, None, 0] * edge[:, 1] - rays[:, None, 1] * edge[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]) / determinant
        along = (start[:, 0] * rays[:, None, 1] - start[:, 1] * rays[:, None, 0]) / determinant
    hit = (distance > 0) & (along >= -1e-9) & (along <= 1 + 1e-9)
    return np.where(hit, distance, np.inf).min(axis=1)


def _outlines() -> dict[str, np.ndarray]:
    def corners(number, radii, first=-np.pi / 2):
        angles = first + np.arange(number) * 2 * np.pi / number
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1) * np.resize(radii, number)[:, None]

    arm, half_width = 1.1, 0.37
    quarter = np.array([(half_width, -arm), (half_width, -half_width), (arm, -half_width)])
    turns = [np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), turn) for turn in range(4)]
    cross = np.concatenate([quarter @ turn.T for turn in turns])
    return {
        "circle": np.full(_NUM_OUTLINE_ANGLES, 1.0),
        "ring": np.full(_NUM_OUTLINE_ANGLES, 1.08),
        "square": _polygon_outline(corners(4, [1.2], first=-np.pi / 4)),
        "triangle": _polygon_outline(corners(3, [1.25])),
        "star": _polygon_outline(corners(10, [1.3, 0.58])),
        "cross": _polygon_outline(cross),
    }


OUTLINES = _outlines()
RING_HOLE_RADIUS = 0.56


def inside_shape(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points belong to an upright shape of radius 1 around the origin."""
    radius = np.hypot(x, y)
    position = np.arctan2(y, x) * (_NUM_OUTLINE_ANGLES / (2 * np.pi))
    outline = OUTLINES[shape][np.round(position).astype(np.int32) % _NUM_OUTLINE_ANGLES]
    inside = radius <= outline
    return inside & (radius >= RING_HOLE_RADIUS) if shape == "ring" else inside


class _Noise:
    """Smooth random values between 0 and 1 everywhere in the plane, which change over a distance of 1."""

    def __init__(self, generator: np.random.Generator):
        self._lattice = generator.random((_LATTICE_SIZE, _LATTICE_SIZE), dtype=np.float32)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values at places whose coordinates are of the same shape, or one row of x and one column of y, of all their pairs."""
        column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
        along_x, along_y = x - column, y - row
        along_x, along_y = along_x**2 * (3 - 2 * along_x), along_y**2 * (3 - 2 * along_y)
        column, row = column % _LATTICE_SIZE, row % _LATTICE_SIZE
        next_column, next_row = (column + 1) % _LATTICE_SIZE, (row + 1) % _LATTICE_SIZE
        lattice = self._lattice
        if x.shape[0] == 1 and y.shape[1] == 1:
            rows = lattice[row[:, 0]] * (1 - along_y) + lattice[next_row[:, 0]] * along_y
            return rows[:, column[0]] * (1 - along_x) + rows[:, next_column[0]] * along_x
        upper = lattice[row, column] * (1 - along_x) + lattice[row, next_column] * along_x
        lower = lattice[next_row, column] * (1 - along_x) + lattice[next_row, next_column] * along_x
        return upper * (1 - along_y) + lower * along_y


class _Background:
    """The world behind the objects: one colour, and how bright it is at each place."""

    def __init__(self, pattern: str, colour: str, generator: np.random.Generator):
        self.colour = np.array(BACKGROUND_RGB[colour], dtype=np.float32)
        self._pattern = pattern
        angle = generator.uniform(0, np.pi)
        self._axis = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
        self._offset = generator.uniform(-1, 1, 2).astype(np.float32)
        self._period = generator.uniform(0.16, 0.26)
        self._clouds, self._grain = _Noise(generator), _Noise(generator)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Brightness, about 1."""
        u = (x - self._offset[0]) * self._axis[0] + (y - self._offset[1]) * self._axis[1]
        v = (y - self._offset[1]) * self._axis[0] - (x - self._offset[0]) * self._axis[1]
        phase = 2 * np.pi / self._period
        if self._pattern == "gradient":
            tone = np.sin(2.2 * (x * self._axis[0] + y * self._axis[1]))
        elif self._pattern == "striped":
            # Nothing would tell motion along straight stripes.
            tone = np.clip(np.sin((u + 0.02 * np.sin(v * 24)) * phase) * 5, -1, 1)
        elif self._pattern == "checkered":
            tone = np.clip(np.sin(u * phase) * np.sin(v * phase) * 8, -1, 1)
        else:
            tone = np.clip(3 * (self._clouds(x * 7, y * 7) + 0.5 * self._clouds(x * 14 + 9, y * 14)) - 2.25, -1, 1)
        # Nor in a gradient without grain.
        grain = self._grain(x * 28, y * 28) + self._grain(x * 11, y * 11) - 1
        return 1 + BACKGROUND_CONTRAST * tone + GRAIN_CONTRAST * grain


class _Object:
    """An object: one colour, how bright it is at each place, and whether it is there."""

    def __init__(self, described: ObjectDescription, generator: np.random.Generator):
        self.colour = np.array(OBJECT_RGB[described.colour], dtype=np.float32)
        self._described = described
        # A darker white would be grey, which is a background.
        self._shade = 0.8 if described.colour == "white" else 0.62
        self._grain = _Noise(generator)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Brightness, at most 1, and the boolean shape of the object, at places in units of its radius."""
        if self._described.texture == "striped":
            dark = np.sin((x + y) * (2 * np.pi / 0.95)) > 0
        elif self._described.texture == "dotted":
            dark = np.hypot((x / 0.66 + 0.5) % 1 - 0.5, (y / 0.66 + 0.5) % 1 - 0.5) < 0.3
        else:
            dark = False
        tone = np.where(dark, np.float32(self._shade), np.float32(1))
        brightness = tone * (1 + GRAIN_CONTRAST * (self._grain(x * 4, y * 4) - 1))
        return brightness, inside_shape(self._described.shape, x, y)


def check_frame_size(frame_size: tuple[int, int]) -> None:
    """Raises a ValueError if frames of this height and width can't show the objects, or can't be encoded."""
    if frame_size[0] % 2 or frame_size[1] % 2:
        raise ValueError(f"`frame_size` must be an even height and width, not {frame_size}.")
    if min(frame_size) < MIN_FRAME_SIZE:
        raise ValueError(f"`frame_size` must be at least {MIN_FRAME_SIZE} pixels in each direction, not {frame_size}.")


def render_scene(
    scene: Scene, frame_size: tuple[int, int] = (128, 128), num_frames: int | None = None, oversampling: int = 3
) -> np.ndarray:
    """
    Renders a scene.

    Args:
        scene (`Scene`): The scene.
        frame_size (`tuple[int, int]`, defaults to `(128, 128)`): Height and width in pixels.
        num_frames (`int`, *optional*): How many frames, by default 24 for each clip.
        oversampling (`int`, defaults to 3): Points in each direction whose mean is a pixel.

    Returns:
        `np.ndarray`: Frames of shape `(num_frames, height, width, 3)`, dtype `uint8`, sRGB.

    Raises:
        ValueError: If frames are too small, or more of them are asked for than the scene has.
    """
    check_frame_size(frame_size)
    available = CLIP_LENGTH * scene.num_clips
    num_frames = available if num_frames is None else num_frames
    if not 1 <= num_frames <= available:
        raise ValueError(f"`num_frames` must be between 1 and the scene's {available}, not {num_frames}.")
    height, width = frame_size
    description = scene.description
    generator = np.random.default_rng(scene.appearance_seed)
    background = _Background(description.background_pattern, description.background_colour, generator)
    objects = [_Object(described, generator) for described in description.objects]
    paths = [
        object_path(described, position, num_frames)
        for described, position in zip(description.objects, scene.positions)
    ]
    camera = camera_path(description.camera, num_frames)
    world = None
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    for index in range(num_frames):
        pixel = 1 / (min(frame_size) * camera["zoom"][index])
        origin = camera["center"][index] - pixel * np.array([width, height]) / 2
        if world is None or description.camera != "still":
            x, y = _sample_points(origin, pixel, (0, 0, width, height), 2)
            world = _pixel_means(background(x, y), 2)[..., None] * background.colour
        frame = world.copy()
        for drawn, described, path in zip(objects, description.objects, paths):
            _draw_object(frame, drawn, described.shape, path, index, origin, pixel, oversampling)
        frames[index] = np.round(frame).clip(0, 255)
    return frames


def _sample_points(
    origin: np.ndarray, pixel: float, box: tuple[int, int, int, int], oversampling: int
) -> tuple[np.ndarray, np.ndarray]:
    """World coordinates of the points in the pixels of a box (left, top, right, bottom): a row of x and a column of y."""
    left, top, right, bottom = box
    x = origin[0] + pixel * (left + (np.arange((right - left) * oversampling) + 0.5) / oversampling)
    y = origin[1] + pixel * (top + (np.arange((bottom - top) * oversampling) + 0.5) / oversampling)
    return x.astype(np.float32)[None], y.astype(np.float32)[:, None]


def _pixel_means(points: np.ndarray, oversampling: int) -> np.ndarray:
    places = range(oversampling)
    rows = sum(points[place::oversampling] for place in places)
    return sum(rows[:, place::oversampling] for place in places) / oversampling**2


def _draw_object(
    frame: np.ndarray,
    drawn: _Object,
    shape: str,
    path: dict[str, np.ndarray],
    index: int,
    origin: np.ndarray,
    pixel: float,
    oversampling: int,
) -> None:
    """Draws an object over a frame, in place."""
    center, radius, angle = (path[name][index] for name in ("center", "radius", "angle"))
    extent = radius * OUTLINES[shape].max()
    left, top = np.maximum(np.floor((center - extent - origin) / pixel), 0).astype(int)
    right, bottom = np.ceil((center + extent - origin) / pixel).astype(int)
    box = (left, top, min(right, frame.shape[1]), min(bottom, frame.shape[0]))
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    x, y = _sample_points(origin, pixel, box, oversampling)
    x, y = ((x - center[0]) / radius).astype(np.float32), ((y - center[1]) / radius).astype(np.float32)
    if angle:
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = x * cosine + y * sine, y * cosine - x * sine
    brightness, inside = drawn(x, y)
    coverage = _pixel_means(inside.astype(np.float32), oversampling)
    target = frame[box[1] : box[3], box[0] : box[2]]
    target *= 1 - coverage[..., None]
    target += _pixel_means(brightness * inside, oversampling)[..., None] * drawn.colour


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: float = FPS) -> None:
    """
    Writes frames to a file, which is there whole or not at all.

    Args:
        path (`str` or `os.PathLike`): The MP4 file: H.264, or MPEG-4 Part 2 where PyAV has no libx264.
        frames (`np.ndarray`): Frames of shape `(num_frames, height, width, 3)`, dtype `uint8`, sRGB. The same frames
            always make the same file.
        fps (`float`, defaults to 6): Frames per second.

    Raises:
        ValueError: If the frames have an odd height or width, which these codecs can't encode, or another shape or dtype.
    """
    path = Path(path)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(
            f"`frames` must be uint8 of shape (num_frames, height, width, 3), not {frames.dtype} of {frames.shape}."
        )
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"`frames` must have an even height and width, not {frames.shape[1]} x {frames.shape[2]}.")
    temporary = path.with_name(path.name + ".incomplete")
    with av.open(temporary, "w", format="mp4") as container:
        has_h264 = "libx264" in av.codecs_available
        stream = container.add_stream("libx264" if has_h264 else "mpeg4", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        if has_h264:
            # x264's assembly code makes a file that differs a little every now and then, depending on what memory held.
            stream.options = {"crf": "12", "preset": "veryfast", "x264-params": "no-asm=1"}
        else:
            stream.bit_rate = 8_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    os.replace(temporary, path)
