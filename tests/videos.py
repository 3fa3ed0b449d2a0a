"""Small videos made for the tests."""

import io
import struct
from fractions import Fraction

import av
import numpy as np


def moving_frames(num_frames, height=96, width=128, shift=2, seed=0):
    """A random texture that moves `shift` pixels to the right with each frame: `(num_frames, height, width, 3)`."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (-(-height // 8), (width + shift * num_frames) // 8 + 1, 3), dtype=np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    offset = shift * num_frames
    return np.stack(
        [texture[:height, offset - shift * index : offset - shift * index + width] for index in range(num_frames)]
    )


def encode_video(frames, fps=6, codec="mpeg4", pixel_format="yuv420p", container="mp4", time_stamps=None):
    """The bytes of a video file; `time_stamps` in milliseconds make the frame rate variable."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        if time_stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, array in enumerate(frames):
            kinds = {2: "gray", 3: "rgb24", 4: "rgba"}
            frame = av.VideoFrame.from_ndarray(array, format=kinds[2 if array.ndim == 2 else array.shape[-1]])
            frame = frame.reformat(format=pixel_format)
            if time_stamps is not None:
                frame.pts, frame.time_base = time_stamps[index], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def turn_video(file):
    """The bytes of an MP4 file, with metadata that make players turn it by 90 degrees, as of a phone held upright."""
    # The display matrix stands 40 bytes behind the name of the track header.
    start = file.index(b"tkhd") + 44
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return file[:start] + matrix + file[start + len(matrix) :]
