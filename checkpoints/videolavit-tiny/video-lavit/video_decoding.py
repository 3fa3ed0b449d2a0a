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
"""Decoding of videos with PyAV: upright frames of 8-bit 4:2:0 pixels at a fixed frame rate."""

import io
import os
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from typing import BinaryIO, Protocol, runtime_checkable

import av
import numpy as np
from av.video.reformatter import ColorRange


# FFmpeg filters that undo a display matrix ((a, b), (c, d)) which maps (x, y) to (a x + c y, b x + d y), by whether it
# swaps the axes and by the signs of its two non-zero entries (a, d), or (b, c) where it swaps the axes.
_ORIENTATION_FILTERS = {
    (False, True, True): [],
    (False, False, True): [("hflip", None)],
    (False, True, False): [("vflip", None)],
    (False, False, False): [("hflip", None), ("vflip", None)],
    (True, True, True): [("transpose", "cclock_flip")],
    (True, True, False): [("transpose", "clock")],
    (True, False, True): [("transpose", "cclock")],
    (True, False, False): [("transpose", "clock_flip")],
}

# A macroblock is 16 x 16 pixels.
MIN_FRAME_SIZE = 16

# How much of its announced duration a complete file may lack, in seconds: rounding, and tracks that end apart.
_DURATION_TOLERANCE = 0.5

# Containers whose header announces the duration. Of others, FFmpeg estimates it from what is there.
_CONTAINERS_WITH_DURATION = {"mov", "matroska", "avi", "flv", "asf"}


class VideoDecodingError(ValueError):
    """A video can't be decoded, or has nothing that could be tokenized. The message names the video and the reason."""


@runtime_checkable
class BinaryFile(Protocol):
    """A file object opened in binary mode."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes."""


class VideoFileFrames:
    """
    The frames of a video file, in display order, with time stamps relative to the start of the file.

    Iterating decodes the file from where it stands, one frame at a time, and closes it at the end, on an error and when
    the iteration is given up. The other attributes are complete then.

    Args:
        video (`str`, `os.PathLike`, `bytes` or binary file object): The video. A file object is read from its current
            position and stays open.
        name (`str`, *optional*): What error messages call the video; by default its path or what kind of object it is.
        num_threads (`int`, defaults to 1): Threads of the decoder. They change nothing but the speed.

    Attributes:
        name (`str`): What error messages call the video.
        num_frames (`int`): Frames decoded so far.
        frame_rate (`float` or `None`): Average frames per second the file announces.
        duration (`float`): End of the last decoded frame, in seconds.

    Raises:
        `VideoDecodingError`: if there is no such file, it is no video, has no video stream, is truncated or broken.
    """

    def __init__(self, video: str | os.PathLike | bytes | BinaryFile, name: str | None = None, num_threads: int = 1):
        self.name = name if name is not None else describe_video(video)
        self.num_frames = 0
        self.frame_rate = None
        self.duration = 0.0
        self._video = video
        self._num_threads = num_threads

    def __iter__(self) -> Iterator[av.VideoFrame]:
        if isinstance(self._video, str | os.PathLike):
            try:
                file = open(self._video, "rb")  # noqa: SIM115 (closed below, on every way out)
            except OSError as error:
                raise VideoDecodingError(f"{self.name} can't be read: {error.strerror}.") from error
            with file:
                yield from self._decode(file)
        elif isinstance(self._video, bytes | bytearray | memoryview):
            yield from self._decode(io.BytesIO(self._video))
        else:
            yield from self._decode(self._video)

    def _decode(self, file: BinaryIO) -> Iterator[av.VideoFrame]:
        try:
            # Only the file itself is read: a playlist can't make FFmpeg open other files or addresses.
            container = av.open(file, mode="r", options={"protocol_whitelist": "none"}, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise VideoDecodingError(f"{self.name} is not a readable video: {_reason(error)}.") from error
        with container:
            streams = [
                stream
                for stream in container.streams.video
                # The cover picture of an audio file is a video stream of one frame.
                if not stream.disposition & av.stream.Disposition.attached_pic
            ]
            if not streams:
                raise VideoDecodingError(
                    f"{self.name} has no video stream, only {[stream.type for stream in container.streams]}."
                )
            stream = streams[0]
            self.frame_rate = float(stream.average_rate) if stream.average_rate else None
            self._check_size(container, stream)
            stream.codec_context.thread_count = self._num_threads
            stream.codec_context.thread_type = "AUTO"
            try:
                yield from self._decode_stream(container, stream)
            except av.FFmpegError as error:
                raise VideoDecodingError(
                    f"{self.name} can't be decoded beyond {self.duration:.2f} s: {_reason(error)}."
                ) from error

    def _decode_stream(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        time_base = stream.time_base
        # FFmpeg's command line also counts from the start of the file, which is its earliest stream's.
        start_time = round(Fraction(container.start_time or 0, av.time_base) / time_base)
        frame_duration = round(1 / (stream.average_rate or 25) / time_base)
        packet_end, longest_gap = (container.start_time or 0) / av.time_base, 0.0
        next_time = 0
        for packet in container.demux():
            if packet.size == 0:  # an empty packet repeats the last frame, which the frame rate filter does anyway
                continue
            if packet.is_corrupt:
                raise VideoDecodingError(f"{self.name} is truncated or broken after {self.duration:.2f} s.")
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                longest_gap = max(longest_gap, end - packet_end if packet.stream_index == stream.index else 0.0)
                packet_end = max(packet_end, end)
            if packet.stream_index != stream.index:
                continue
            try:
                frames = stream.codec_context.decode(packet)
            except av.InvalidDataError:
                if self.num_frames == 0:  # a recording that starts between two keyframes
                    continue
                raise
            for frame in frames:
                next_time = self._count(frame, next_time, start_time, frame_duration, time_base)
                yield frame
        for frame in stream.codec_context.decode(None):
            next_time = self._count(frame, next_time, start_time, frame_duration, time_base)
            yield frame

        if self.num_frames == 0:
            raise VideoDecodingError(f"{self.name} has no frame that can be decoded.")
        announced = (container.duration or 0) / av.time_base
        decoded = packet_end - (container.start_time or 0) / av.time_base
        if container.format.name.split(",")[0] in _CONTAINERS_WITH_DURATION and (
            decoded + longest_gap + _DURATION_TOLERANCE < announced
        ):
            raise VideoDecodingError(f"{self.name} is truncated: {decoded:.2f} of {announced:.2f} s are there.")

    def _count(
        self, frame: av.VideoFrame, next_time: int, start_time: int, frame_duration: int, time_base: Fraction
    ) -> int:
        frame.time_base = time_base
        frame.pts = next_time if frame.pts is None else frame.pts - start_time
        frame.opaque = self.num_frames
        self.num_frames += 1
        end = frame.pts + (frame.duration or frame_duration)
        self.duration = float(end * time_base)
        return end

    def _check_size(self, container: av.container.InputContainer, stream: av.VideoStream):
        # The index of a file that was cut off names data behind its end: no need to decode up to there.
        if 0 < container.size < max((entry.pos + entry.size for entry in stream.index_entries), default=0):
            raise VideoDecodingError(f"{self.name} is truncated: it ends after {container.size} bytes.")


class ArrayFrames:
    """
    Decoded frames as a source of frames, with the interface of [`VideoFileFrames`].

    Args:
        frames (`np.ndarray` of shape `(num_frames, height, width, 3)`, dtype `uint8`): RGB frames, values 0…255.
        frame_rate (`float`): Frames per second.
        name (`str`, defaults to `"the decoded frames"`): What error messages call the video.

    Raises:
        `ValueError`: if `frames` or `frame_rate` is not as described.
    """

    def __init__(self, frames: np.ndarray, frame_rate: float, name: str = "the decoded frames"):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"{name} must be uint8 of shape (num_frames, height, width, 3), not {frames.dtype} of {frames.shape}."
            )
        check_frame_rate(frame_rate, f"The frame rate of {name}")
        self.name = name
        self.num_frames = len(frames)
        self.frame_rate = frame_rate
        self.duration = len(frames) / frame_rate
        self._frames = frames

    def __iter__(self) -> Iterator[av.VideoFrame]:
        if self.num_frames == 0:
            raise VideoDecodingError(f"{self.name} are empty.")
        time_base = 1 / to_fraction(self.frame_rate)
        for index, array in enumerate(self._frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.time_base, frame.pts, frame.duration, frame.opaque = time_base, index, 1, index
            yield frame


def resample(frames: VideoFileFrames | ArrayFrames, fps: float | None) -> Iterator[av.VideoFrame]:
    """
    Brings frames to a fixed rate with FFmpeg's `fps` filter, upright (the display matrix is applied) and to 8-bit
    4:2:0 pixels of limited range; transparent ones are put over white.

    Args:
        frames ([`VideoFileFrames`] or [`ArrayFrames`]): The frames.
        fps (`float` or `None`): Frames per second. `None` takes every frame.

    Yields:
        `av.VideoFrame`: Frames in `yuv420p` of one size, whose `opaque` is the index of the original frame.

    Raises:
        `VideoDecodingError`: if the frames are smaller than 16 x 16 pixels, or can't be decoded.
    """
    graph = template = None
    with closing(iter(frames)) as source:
        for frame in source:
            if graph is None:
                if min(frame.width, frame.height) < MIN_FRAME_SIZE:
                    raise VideoDecodingError(
                        f"{frames.name} has frames of {frame.width} x {frame.height} pixels: the motion codec needs at "
                        f"least {MIN_FRAME_SIZE} x {MIN_FRAME_SIZE}."
                    )
                graph, template = _build_graph(frame, fps), (frame.width, frame.height, frame.format.name)
            elif (frame.width, frame.height, frame.format.name) != template:
                # Recordings of a network stream change their size midway.
                frame = _reformat(frame, *template)
            graph.push(frame)
            yield from _pull(graph)
        graph.push(None)
        yield from _pull(graph)


def _reformat(frame: av.VideoFrame, width: int, height: int, pixel_format: str) -> av.VideoFrame:
    reformatted = frame.reformat(width, height, pixel_format, interpolation="BICUBIC")
    reformatted.time_base, reformatted.pts, reformatted.opaque = frame.time_base, frame.pts, frame.opaque
    reformatted.duration = frame.duration
    return reformatted


def _build_graph(frame: av.VideoFrame, fps: float | None) -> av.filter.Graph:
    filters = [("fps", str(to_fraction(fps)))] if fps is not None else []
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(matrix, np.int32, count=5)
        swaps_axes = abs(b) > abs(a)
        first, second = (b, c) if swaps_axes else (a, d)
        filters += _ORIENTATION_FILTERS[bool(swaps_axes), bool(first > 0), bool(second > 0)]
    graph = av.filter.Graph()
    graph.threads = 1
    node = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    for name, arguments in [*filters, ("buffersink", None)]:
        following = graph.add(name, arguments)
        node.link_to(following)
        node = following
    graph.configure()
    return graph


def _pull(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        source_index = frame.opaque
        if any(component.is_alpha for component in frame.format.components):
            pixels = blend_over_white(frame.to_ndarray(format="rgba"))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if frame.format.name != "yuv420p" or frame.color_range == ColorRange.JPEG:
            frame = frame.reformat(format="yuv420p", interpolation="BICUBIC", dst_color_range="MPEG")
        frame.opaque = source_index
        yield frame


def blend_over_white(pixels: np.ndarray) -> np.ndarray:
    """RGBA pixels of shape `(..., 4)` and dtype `uint8` as RGB pixels of shape `(..., 3)`, over a white background."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def describe_video(video) -> str:
    """What error messages call a video: its path or address, or what kind of object it is."""
    if isinstance(video, str | os.PathLike):
        return f"Video {os.fspath(video)!r}"
    if isinstance(video, bytes | bytearray | memoryview):
        return f"The video of {len(video)} bytes"
    return f"The video in {video!r}"


def check_frame_rate(fps: float, name: str):
    """Refuses a frame rate that is not a positive number, or one that MPEG-4 has no time base for."""
    if fps is None or not 1e-3 <= fps <= 65535:
        raise ValueError(f"{name} must be between 0.001 and 65535 frames per second, but it is {fps}.")


def to_fraction(fps: float) -> Fraction:
    """A frame rate as a fraction with a denominator that MPEG-4 can write, exact for rates such as 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def _reason(error: Exception) -> str:
    return error.strerror or str(error)
