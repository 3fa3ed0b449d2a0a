"""Folders of small videos and images."""

import io

import numpy as np
from PIL import Image
from videos import encode_video


def textured_frames(seed, num_frames=8, height=32, width=48):
    """Frames of a random texture that moves by two pixels to the right and one pixel down with each."""
    rows, columns = -(-(height + num_frames) // 8), -(-(width + 2 * num_frames) // 8)
    texture = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    offsets = range(num_frames - 1, -1, -1)
    return np.stack([texture[offset : offset + height, 2 * offset : 2 * offset + width] for offset in offsets])


def write_videos(folder, count, num_frames=30, height=64, width=96):
    """Videos of that many frames at six a second."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        content = encode_video(textured_frames(index, num_frames, height, width), fps=6)
        (folder / f"{index}.mp4").write_bytes(content)
    return folder


def write_images(folder, count, size=(60, 40)):
    """Images of noise in blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        blocks = np.random.default_rng(index).integers(0, 256, (5, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(folder / f"{index}.png")
    return folder


def write_damaged_png(path):
    """An image of noise whose pixels are followed by a chunk of no name."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG")
    content = buffer.getvalue()
    path.write_bytes(content[: content.rindex(b"IDAT")] + bytes(4) + content[content.rindex(b"IDAT") + 4 :])
