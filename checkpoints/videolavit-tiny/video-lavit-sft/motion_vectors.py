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
Motion vectors of a video, as MPEG-4 Part 2 encodes them (Video-LaVIT, https://arxiv.org/abs/2402.03161, section 3.1).

The codec needs PyAV and torch alone. What it finds depends on the encoder: its number of threads changes the vectors,
so there is always one, and [`codec_versions`] names the libraries, which belong beside tokens that are kept.
"""

from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import PictureType

from .video_decoding import VideoDecodingError, to_fraction


# The released tokenizers saw frames of this encoding.
BIT_RATE = 8_000_000  # bits per second
KEYFRAME_INTERVAL = 12  # frames
MACROBLOCK_SIZE = 16  # pixels

# Standard deviation of (x, y) displacements between frames, as shares of the frame's width and height. Means are 0.
MOTION_STD = (0.0993703, 0.1130276)


class MotionCodec:
    """
    Encodes frames as MPEG-4 Part 2 and decodes them again, in memory, with one thread and without B frames.

    Args:
        width (`int`): Width of the frames, in pixels.
        height (`int`): Height of the frames, in pixels.
        fps (`float`): Frames per second.
        keyframe_interval (`int`, defaults to 12): Frames from one keyframe (I frame) to the next.
        detect_scene_cuts (`bool`, defaults to `True`): Whether the encoder places keyframes at scene cuts of its own
            accord, as it does by default.

    Raises:
        `VideoDecodingError`: if MPEG-4 can't encode frames of this size.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: float,
        keyframe_interval: int = KEYFRAME_INTERVAL,
        detect_scene_cuts: bool = True,
    ):
        rate = to_fraction(fps)
        encoder = av.CodecContext.create("mpeg4", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.framerate, encoder.time_base = rate, 1 / rate
        encoder.bit_rate = BIT_RATE
        encoder.gop_size = keyframe_interval
        encoder.max_b_frames = 0
        encoder.thread_count = 1
        # MPEG-4 asks for a keyframe every 600 frames, which the encoder grants unless told otherwise.
        encoder.options = {"strict": "experimental"} if keyframe_interval > 600 else {}
        if not detect_scene_cuts:
            encoder.options = {**encoder.options, "sc_threshold": str(2**30)}
        try:
            encoder.open()
        except av.FFmpegError as error:
            raise VideoDecodingError(
                f"MPEG-4 can't encode frames of {width} x {height} pixels at {fps} frames per second: {error.strerror}."
            ) from error
        decoder = av.CodecContext.create("mpeg4", "r")
        decoder.options = {"flags2": "+export_mvs"}
        decoder.thread_count = 1
        self._encoder, self._decoder = encoder, decoder
        self._time_base: Fraction = encoder.time_base
        self._num_frames = 0

    def encode(self, frame: av.VideoFrame, force_keyframe: bool = False) -> av.VideoFrame:
        """
        Encodes the next frame and decodes it. Without B frames and threads, it comes back at once.

        Args:
            frame (`av.VideoFrame`): The frame, in `yuv420p`. Its time stamp and picture type are overwritten.
            force_keyframe (`bool`, defaults to `False`): Whether the frame must become a keyframe. Otherwise the encoder
                decides, whatever the frame was in its original file.

        Returns:
            `av.VideoFrame`: The frame with its motion vectors, for [`macroblock_motion`].
        """
        frame.pts, frame.time_base = self._num_frames, self._time_base
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        self._num_frames += 1
        (packet,) = self._encoder.encode(frame)
        (decoded,) = self._decoder.decode(packet)
        return decoded


def macroblock_motion(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    """
    The motion field of a frame decoded by [`MotionCodec`].

    A macroblock holds one vector or four (one for each 8 x 8 block), of which the larger x and the larger y count.

    Args:
        frame (`av.VideoFrame`): The frame.

    Returns:
        `np.ndarray` of shape `(2, ceil(height / 16), ceil(width / 16))`, dtype `float64`: Displacement (x, y) in pixels
        from the place in the previous frame that predicts the macroblock; 0 without a vector. `np.ndarray` of shape
        `(ceil(height / 16), ceil(width / 16))`, dtype `bool`: Whether the macroblock has a vector; it has none where it
        was encoded on its own, without the previous frame.
    """
    width, height = frame.width, frame.height
    grid_height, grid_width = -(-height // MACROBLOCK_SIZE), -(-width // MACROBLOCK_SIZE)
    field = np.zeros((2, grid_height, grid_width))
    has_vector = np.zeros((grid_height, grid_width), dtype=bool)
    # `frame.side_data` and its frame would hold on to each other until the next garbage collection, some 500 MB later.
    side_data = SideDataContainer(frame).get("MOTION_VECTORS")
    if side_data is None:
        return field, has_vector
    vectors = side_data.to_ndarray()
    x = vectors["dst_x"].clip(0, width - 1).astype(np.int64)
    y = vectors["dst_y"].clip(0, height - 1).astype(np.int64)
    if width % MACROBLOCK_SIZE or height % MACROBLOCK_SIZE:
        # Vectors outside the frame are clipped into it: of several at one pixel, the last one counts.
        _, last = np.unique((y * width + x)[::-1], return_index=True)
        kept = len(vectors) - 1 - last
        vectors, x, y = vectors[kept], x[kept], y[kept]
    block = (y // MACROBLOCK_SIZE) * grid_width + x // MACROBLOCK_SIZE
    has_vector.reshape(-1)[block] = True
    for component, name in zip(field.reshape(2, -1), ("motion_x", "motion_y")):
        component[has_vector.reshape(-1)] = -np.inf
        np.maximum.at(component, block, vectors["source"] * vectors[name] / vectors["motion_scale"])
    return field, has_vector


def normalize_motion(
    field: np.ndarray, width: int, height: int, motion_size: tuple[int, int] | None, motion_scale_factor: float
) -> torch.FloatTensor:
    """
    A motion field in the units of the models: displacements as shares of the frame's size, divided by their standard
    deviation, on the grid of the models.

    Args:
        field (`np.ndarray` of shape `(..., 2, grid_height, grid_width)`): Displacements in pixels.
        width (`int`): Width of the frame, in pixels.
        height (`int`): Height of the frame, in pixels.
        motion_size (`tuple[int, int]`, *optional*): Height and width of the result. `None` keeps the macroblocks.
        motion_scale_factor (`float`): 1 for standard deviations, 10 for the tenths of it that the motion tokenizer takes.

    Returns:
        `torch.FloatTensor` of shape `(..., 2, *motion_size)`.
    """
    units = np.array([width * MOTION_STD[0], height * MOTION_STD[1]]) / motion_scale_factor
    motion = torch.from_numpy((field / units[:, None, None]).astype(np.float32))
    if motion_size is None or tuple(motion.shape[-2:]) == tuple(motion_size):
        return motion
    # Without antialiasing: the released weights were trained with fields resized so.
    fields = motion.reshape(-1, *motion.shape[-3:])
    fields = F.interpolate(fields, size=tuple(motion_size), mode="bicubic", align_corners=False)
    return fields.reshape(*motion.shape[:-2], *motion_size)


def codec_versions() -> dict[str, str | int]:
    """What the motion vectors, and so the tokens, depend on beside the video: libraries and encoder settings."""
    libraries = {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    return {
        "pyav": av.__version__,
        **{name: libraries[name] for name in ("libavcodec", "libavfilter", "libavformat", "libswscale")},
        "encoder": "mpeg4",
        "encoder_threads": 1,
        "bit_rate": BIT_RATE,
        "keyframe_interval": KEYFRAME_INTERVAL,
        "max_b_frames": 0,
    }
