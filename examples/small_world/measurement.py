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
Reads what happens in a video of the small world from its pixels, by segmentation and tracking, without anything learnt:
how well generated videos show what they were asked to show.

Objects are saturated or white, and backgrounds are neither. An object's silhouette gives its shape by the strength of its
threefold, fourfold and fivefold symmetry, its spread and its hole; a line through its centroids gives its direction and
speed. All of it is measured relative to the background, which may move with the camera.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .rendering import OBJECT_RGB, inside_shape
from .scenes import (
    ANGULAR_SHAPES,
    DIRECTIONS,
    GROWTH_PER_FRAME,
    PAN_PER_FRAME,
    ROTATION_PER_FRAME,
    SHAPES,
    SIZES,
    SPEEDS,
    ZOOM_PER_FRAME,
    Motion,
)


# Half of what the slowest motion of each kind is: less is no motion.
_STILL_SPEED = SPEEDS["slow"] / 2
_STILL_GROWTH = np.log(GROWTH_PER_FRAME) / 2
_STILL_ROTATION = ROTATION_PER_FRAME / 2
_STILL_PAN = PAN_PER_FRAME / 2
_STILL_ZOOM = np.log(ZOOM_PER_FRAME) / 2

# Symmetries of the square and the cross, the triangle and the star.
_SHAPE_SYMMETRY = {"square": 4, "triangle": 3, "star": 5, "cross": 4}


@dataclass(frozen=True)
class CameraMeasurement:
    """
    Args:
        motion (`str`): One of `CAMERA_MOTIONS`.
        velocity (`tuple[float, float]`): Of the camera (x, y), per frame, in shares of the frame's shorter side.
        log_zoom (`float`): Natural logarithm of the zoom per frame.
    """

    motion: str
    velocity: tuple[float, float]
    log_zoom: float


@dataclass(frozen=True)
class ObjectMeasurement:
    """
    Args:
        colour, shape, size (`str`): As in `ObjectDescription`. The size is that in the first frame.
        motion (`Motion`): What it does, relative to the background.
        centers (`np.ndarray` of shape `(num_frames, 2)`): Centroid (x, y) in each frame, in shares of the frame's shorter
            side from the frame's centre; not a number where it is not seen.
        velocity (`tuple[float, float]`): Displacement (x, y) per frame, relative to the background, in the same unit.
        log_growth (`float`): Natural logarithm of the factor of its size per frame, relative to the background.
        rotation (`float`): Clockwise rotation per frame, in radians; 0 for circles and rings.
        radius (`float`): Radius in the first frame, in shares of the frame's shorter side, as in `SIZES`.
        rgb (`tuple[float, float, float]`): Its colour, without darker stripes or dots.
    """

    colour: str
    shape: str
    size: str
    motion: Motion
    centers: np.ndarray
    velocity: tuple[float, float]
    log_growth: float
    rotation: float
    radius: float
    rgb: tuple[float, float, float]


def measure_video(frames: np.ndarray, num_objects: int = 1) -> list[ObjectMeasurement]:
    """
    Measures the objects of a video of one clip.

    Args:
        frames (`np.ndarray`): Frames of shape `(num_frames, height, width, 3)`, dtype `uint8`, at least 4 of them.
        num_objects (`int`, defaults to 1): How many objects to look for, of different colours.

    Returns:
        `list[ObjectMeasurement]`: The objects, those that fill most pixels first: fewer than asked for, down to none,
        where there are no more.

    Raises:
        ValueError: If the frames have another shape or dtype, or there are too few.
    """
    frames = _check_frames(frames)
    smooth = _blur(frames.astype(np.float32), 0.6)
    objects = _segment(smooth, num_objects)
    if not objects:
        return []
    camera = _measure_camera(smooth, np.max([alpha for _, alpha, _ in objects], axis=0) > 0)
    return [_measure_object(colour, alpha, rgb, camera) for colour, alpha, rgb in objects]


def measure_camera(frames: np.ndarray) -> CameraMeasurement:
    """Measures what the camera does in a video of one clip. Arguments and errors are those of `measure_video`."""
    smooth = _blur(_check_frames(frames).astype(np.float32), 0.6)
    objects = _segment(smooth, len(OBJECT_RGB))
    occupied = np.zeros(frames.shape[:3], dtype=bool)
    for _, alpha, _ in objects:
        occupied |= alpha > 0
    return _measure_camera(smooth, occupied)


def background_drift(frames: np.ndarray, reference: np.ndarray) -> float:
    """
    How much the background of a clip differs from that of another clip, with a still camera.

    Args:
        frames (`np.ndarray`): Frames of shape `(num_frames, height, width, 3)`, dtype `uint8`.
        reference (`np.ndarray`): Those of the other clip, of the same height and width.

    Returns:
        `float`: Root mean square difference, between 0 and 255, of the places' median colours, where both clips show the
        background in some frames; not a number where there is no such place.

    Raises:
        ValueError: If the frames have another shape or dtype, or differ in size.
    """
    backgrounds = []
    for clip in (frames, reference):
        smooth = _check_frames(clip, min_frames=1).astype(np.float32)
        occupied = np.zeros(clip.shape[:3], dtype=bool)
        for _, alpha, _ in _segment(smooth, len(OBJECT_RGB)):
            occupied |= _dilate(alpha > 0, 2)
        shown = np.where(occupied[..., None], np.nan, smooth)
        visible = ~occupied.all(axis=0)
        median = np.full(smooth.shape[1:], np.nan, dtype=np.float32)
        median[visible] = np.nanmedian(shown[:, visible], axis=0)
        backgrounds.append(median)
    if backgrounds[0].shape != backgrounds[1].shape:
        raise ValueError(f"The clips have different sizes: {backgrounds[0].shape[:2]} and {backgrounds[1].shape[:2]}.")
    difference = backgrounds[0] - backgrounds[1]
    known = np.isfinite(difference)
    return float(np.sqrt(np.mean(difference[known] ** 2))) if known.any() else float("nan")


@dataclass(frozen=True)
class ObjectIdentity:
    """
    What of an object is the same in another clip.

    Args:
        same_colour (`bool`), same_shape (`bool`): Whether colour and shape have the same names.
        colour_distance (`float`): Distance of the colours in sRGB, 0 to 442.
        size_ratio (`float`): Radius at the clip's start, over that in the other clip.
    """

    same_colour: bool
    same_shape: bool
    colour_distance: float
    size_ratio: float


def object_identity(frames: np.ndarray, reference: np.ndarray) -> ObjectIdentity | None:
    """
    Compares the largest object of a clip with that of another clip. Arguments and errors are those of `measure_video`.

    Returns:
        `ObjectIdentity`, or `None` where one of the clips shows no object.
    """
    measured, expected = measure_video(frames), measure_video(reference)
    if not measured or not expected:
        return None
    measured, expected = measured[0], expected[0]
    return ObjectIdentity(
        same_colour=measured.colour == expected.colour,
        same_shape=measured.shape == expected.shape,
        colour_distance=float(np.linalg.norm(np.subtract(measured.rgb, expected.rgb))),
        size_ratio=measured.radius / expected.radius,
    )


def _check_frames(frames: np.ndarray, min_frames: int = 4) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"`frames` must be uint8 of shape (num_frames, height, width, 3), not {frames.dtype} of {frames.shape}."
        )
    if len(frames) < min_frames:
        raise ValueError(f"`frames` must be at least {min_frames}, not {len(frames)}.")
    return frames


def _blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of height and width of `(num_images, height, width, ...)`, with the border repeated."""
    radius = max(1, int(np.ceil(3 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (1, 2):
        padding = [(radius, radius) if index == axis else (0, 0) for index in range(images.ndim)]
        padded = np.pad(images, padding, mode="edge")
        size = images.shape[axis]
        windows = [padded[(slice(None),) * axis + (slice(shift, shift + size),)] for shift in range(len(weights))]
        images = weights[radius] * windows[radius]
        for shift in range(radius):
            images += weights[shift] * (windows[shift] + windows[-1 - shift])
    return images


def _dilate(masks: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        grown = masks.copy()
        grown[:, 1:] |= masks[:, :-1]
        grown[:, :-1] |= masks[:, 1:]
        grown[:, :, 1:] |= masks[:, :, :-1]
        grown[:, :, :-1] |= masks[:, :, 1:]
        masks = grown
    return masks


def _largest_components(masks: np.ndarray) -> np.ndarray:
    """The largest four-connected component of each mask: `(num_masks, height, width)`, bool."""
    height, width = masks.shape[1:]
    labels = np.where(masks, np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width), 0)
    while True:
        # Each pixel takes the largest label of the run of pixels that it belongs to, along rows, then along columns.
        spread = labels
        for axis in (2, 1):
            for reverse in (False, True):
                swept = np.moveaxis(spread, axis, 0)
                swept = (swept[::-1] if reverse else swept).copy()
                for index in range(1, len(swept)):
                    np.maximum(swept[index], np.where(swept[index] > 0, swept[index - 1], 0), out=swept[index])
                spread = np.moveaxis(swept[::-1] if reverse else swept, 0, axis)
        if np.array_equal(spread, labels):
            break
        labels = spread
    largest = np.zeros_like(masks)
    for index, frame_labels in enumerate(labels):
        counts = np.bincount(frame_labels.reshape(-1))
        counts[0] = 0
        if counts.any():
            largest[index] = frame_labels == counts.argmax()
    return largest


def _hue(rgb: np.ndarray) -> np.ndarray:
    """Hue in degrees, as the angle of the colour's projection along the grey axis."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360


_HUES = {name: float(_hue(np.array(rgb, dtype=np.float32))) for name, rgb in OBJECT_RGB.items() if name != "white"}


def _hue_distance(hue: np.ndarray | float, other: float) -> np.ndarray:
    return np.abs((hue - other + 180) % 360 - 180)


def _segment(smooth: np.ndarray, num_objects: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The name, the silhouettes (float, 0 to 1) and the colour of the objects that fill most pixels, the largest first."""
    red, green, blue = np.moveaxis(smooth, -1, 0)
    brightest, lightness = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = brightest - lightness
    # The light parts of a pattern come close to white.
    background_chroma, background_lightness = np.median(chroma), np.quantile(lightness, 0.85)
    # Only what is saturated has a hue.
    saturated = chroma - background_chroma > 24
    hue = np.full(chroma.shape, np.nan, dtype=np.float32)
    hue[saturated] = _hue(smooth[saturated])
    names = list(_HUES)
    nearest = np.full(chroma.shape, -1, dtype=np.int8)
    nearest[saturated] = np.argmin([_hue_distance(hue[saturated], _HUES[name]) for name in names], axis=0)
    candidates = []
    for name in OBJECT_RGB:
        if name == "white":
            score, mine, least = lightness - background_lightness, chroma < 0.35 * brightest, 60
        else:
            score, mine, least = chroma - background_chroma, nearest == names.index(name), 50
        seeds = mine & (score > least)
        if np.count_nonzero(seeds) < 3 * len(smooth):
            continue
        if name != "white":
            # Blur mixes hues at the outline: there, neighbouring ones belong to the object as well.
            mine = _hue_distance(hue, float(np.median(hue[seeds]))) < 30
        peak = np.quantile(score[seeds], 0.85)
        alpha = np.where(mine, _silhouette(score / peak), 0)
        component = _largest_components(alpha > 0)
        if not component.any():
            continue
        alpha = np.where(component, alpha, 0)
        core = component & (score > 0.85 * peak)
        rgb = np.median(smooth[core], axis=0) if core.any() else np.median(smooth[component], axis=0)
        # A colour that lies between two names has seeds of both.
        if name != "white":
            name = min(_HUES, key=lambda other: _hue_distance(_hue(rgb), _HUES[other]))
        candidates.append((int(np.count_nonzero(seeds)), name, alpha, rgb))
    candidates.sort(key=lambda candidate: -candidate[0])
    chosen = []
    for _, name, alpha, rgb in candidates:
        # What lies inside of a larger object's outline is its fringe.
        overlap = sum(np.count_nonzero((alpha > 0) & (other > 0)) for _, other, _ in chosen)
        if overlap < 0.4 * np.count_nonzero(alpha) and len(chosen) < num_objects:
            chosen.append((name, alpha, rgb))
    return chosen


def _silhouette(presence: np.ndarray) -> np.ndarray:
    # Darker stripes and dots, at half of an object's strength, belong to it like all the rest.
    return np.clip((presence - 0.22) / 0.28, 0, 1)


def _symmetries(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Describes silhouettes of shape `(num_frames, height, width)`.

    Returns:
        Area in pixels `(num_frames,)`, centroid (x, y) in pixels `(num_frames, 2)`, the complex strength of the symmetries
        of order 3, 4 and 5 `(num_frames, 3)`, and spread and hole `(num_frames, 2)`.
    """
    num_frames, height, width = alpha.shape
    area = alpha.sum(axis=(1, 2))
    seen = np.where(area > 0, area, np.nan)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    center = np.stack([alpha.sum(axis=1) @ x / seen, alpha.sum(axis=2) @ y / seen], axis=-1)
    harmonics = np.full((num_frames, 3), np.nan + 0j)
    form = np.full((num_frames, 2), np.nan)
    for index in np.flatnonzero(area > 0):
        rows, columns = np.nonzero(alpha[index])
        weights = alpha[index][rows, columns] / area[index]
        offset = (x[columns] - center[index, 0]) + 1j * (y[rows] - center[index, 1])
        radius = np.abs(offset) / np.sqrt(area[index] / np.pi)
        turn = offset / np.maximum(np.abs(offset), 1e-9)
        for position, order in enumerate((3, 4, 5)):
            harmonics[index, position] = np.sum(weights * radius**3 * turn**order)
        form[index] = np.sum(weights * radius**2), np.sum(weights * (radius < 0.45))
    return area, center, harmonics, form


@lru_cache
def _templates() -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """What all shapes look like, sharp and blurred: features, names, and area over that of a circle of the same radius."""
    resolution = 32  # pixels per radius
    coordinates = (np.arange(4 * resolution) + 0.5) / resolution - 2
    x, y = np.meshgrid(coordinates, coordinates)
    features, names, areas = [], [], []
    for shape in SHAPES:
        sharp = inside_shape(shape, x, y).astype(np.float32)[None]
        for blur in (0.05, 0.12, 0.18, 0.24):
            alpha = _silhouette(_blur(sharp, blur * resolution))
            area, _, harmonics, form = _symmetries(alpha)
            features.append(np.concatenate([np.abs(harmonics[0]), form[0]]))
            names.append(shape)
            areas.append(area[0] / (np.pi * resolution**2))
    return np.array(features), tuple(names), np.array(areas)


def _line(values: np.ndarray, usable: np.ndarray) -> tuple[float, float]:
    """Start and slope of the line through the usable values, without those that lie far off."""
    time = np.arange(len(values))
    for _ in range(2):
        slope, start = np.polyfit(time[usable], values[usable], 1)
        error = np.abs(values - start - slope * time)
        spread = np.median(error[usable])
        kept = usable & (error <= 4 * spread + 1e-6)
        if np.count_nonzero(kept) < 4:
            break
        usable = kept
    return float(start), float(slope)


def _measure_object(colour: str, alpha: np.ndarray, rgb: np.ndarray, camera: CameraMeasurement) -> ObjectMeasurement:
    num_frames, height, width = alpha.shape
    unit = min(height, width)
    area, center, harmonics, form = _symmetries(alpha)
    # Where an object is hidden or breaks up, its area tells nothing.
    usable = area > 0.3 * np.median(area[area > 0])
    if np.count_nonzero(usable) < 4:
        usable = area > 0
    centers = (center - np.array([width, height]) / 2) / unit
    if np.count_nonzero(usable) < 4:
        velocity, log_growth, start_radius = np.zeros(2), 0.0, float(np.sqrt(np.median(area[usable]) / np.pi))
    else:
        time = np.arange(num_frames)[:, None]
        # A zoom moves everything away from the centre, a pan moves everything against its direction.
        relative = centers * np.exp(-camera.log_zoom * time) + time * np.array(camera.velocity)
        velocity = np.array([_line(relative[:, axis], usable)[1] for axis in range(2)])
        log_radius = 0.5 * np.log(np.where(area > 0, area, 1) / np.pi)
        start, slope = _line(log_radius, usable)
        log_growth, start_radius = slope - camera.log_zoom, float(np.exp(start))
    features, names, areas = _templates()
    mean = np.concatenate([np.mean(np.abs(harmonics[usable]), axis=0), np.mean(form[usable], axis=0)])
    scale = features.std(axis=0)
    best = int(np.argmin(np.sum(((features - mean) / scale) ** 2, axis=1)))
    shape = names[best]
    radius = float(start_radius / np.sqrt(areas[best]) / unit)
    rotation = 0.0
    if shape in ANGULAR_SHAPES and np.count_nonzero(usable) >= 4:
        order = _SHAPE_SYMMETRY[shape]
        signal = harmonics[usable, order - 3]
        phase = np.unwrap(np.angle(signal)) / order
        rotation = float(np.polyfit(np.flatnonzero(usable), phase, 1)[0])
    return ObjectMeasurement(
        colour=colour,
        shape=shape,
        size=_nearest(radius, SIZES),
        motion=_classify_motion(velocity, log_growth, rotation),
        centers=centers,
        velocity=(float(velocity[0]), float(velocity[1])),
        log_growth=log_growth,
        rotation=rotation,
        radius=radius,
        rgb=tuple(float(value) for value in rgb),
    )


def _nearest(value: float, classes: dict[str, float]) -> str:
    return min(classes, key=lambda name: abs(np.log(max(value, 1e-6) / classes[name])))


def _nearest_direction(velocity: np.ndarray, names) -> str:
    return max(names, key=lambda name: float(np.dot(velocity, DIRECTIONS[name])))


def _classify_motion(velocity: np.ndarray, log_growth: float, rotation: float) -> Motion:
    speed = float(np.linalg.norm(velocity))
    # How clearly there is each kind of motion: above 1, there is.
    evidence = {
        "translation": speed / _STILL_SPEED,
        "growth": abs(log_growth) / _STILL_GROWTH,
        "rotation": abs(rotation) / _STILL_ROTATION,
    }
    kind = max(evidence, key=evidence.get)
    if evidence[kind] < 1:
        return Motion("still")
    if kind == "translation":
        return Motion(kind, _nearest_direction(velocity, DIRECTIONS), _nearest(speed, SPEEDS))
    if kind == "growth":
        return Motion(kind, "grows" if log_growth > 0 else "shrinks")
    return Motion(kind, "clockwise" if rotation > 0 else "counterclockwise")


def _measure_camera(smooth: np.ndarray, occupied: np.ndarray) -> CameraMeasurement:
    """Fits a shift and a zoom to the differences of successive frames, outside of the objects."""
    height, width = smooth.shape[1:3]
    unit = min(height, width)
    gray = _blur(smooth.mean(axis=-1), 2.0 * unit / 128)
    usable = ~_dilate(occupied, 4)
    usable = usable[1:] & usable[:-1]
    usable[:, :3] = usable[:, -3:] = usable[:, :, :3] = usable[:, :, -3:] = False
    x = (np.arange(width) + 0.5 - width / 2) / unit
    y = (np.arange(height) + 0.5 - height / 2) / unit
    middle = (gray[1:] + gray[:-1]) / 2
    gradient_x, gradient_y = np.gradient(middle, axis=2) * unit, np.gradient(middle, axis=1) * unit
    columns = np.stack([gradient_x, gradient_y, gradient_x * x + gradient_y * y[:, None]], axis=-1)[usable]
    change = (gray[:-1] - gray[1:])[usable]
    if len(change) < 100:
        return CameraMeasurement("still", (0.0, 0.0), 0.0)
    # Places without any texture must not decide: a little ridge keeps the solution at rest there.
    normal = columns.T.astype(np.float64) @ columns
    ridge = (1e-4 * np.trace(normal) + 1e-9) * np.eye(3)
    shift_x, shift_y, log_zoom = np.linalg.solve(normal + ridge, columns.T.astype(np.float64) @ change)
    velocity = -np.array([shift_x, shift_y])
    motion = "still"
    pan, zoom = np.linalg.norm(velocity) / _STILL_PAN, abs(log_zoom) / _STILL_ZOOM
    if max(pan, zoom) >= 1:
        if pan >= zoom:
            motion = f"pans {_nearest_direction(velocity, ('left', 'right', 'up', 'down'))}"
        else:
            motion = "zooms in" if log_zoom > 0 else "zooms out"
    if motion == "still":
        return CameraMeasurement(motion, (0.0, 0.0), 0.0)
    return CameraMeasurement(motion, (float(velocity[0]), float(velocity[1])), float(log_zoom))
