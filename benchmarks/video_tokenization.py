"""
From video files to keyframes and motion: `VideoLaVITVideoProcessor` against plainly decoding, encoding and decoding the
same frames with FFmpeg's libraries, which any extraction of MPEG-4 motion vectors has to do, in the same run.

    python benchmarks/video_tokenization.py
    python benchmarks/video_tokenization.py --videos clips/*.mp4 --repeats 5
"""

import argparse
import statistics
import time
from pathlib import Path

import av
import torch

from transformers_videolavit import VideoLaVITVideoProcessor


ROOT = Path(__file__).parents[1]
DEFAULT_VIDEOS = [
    ROOT / "tests" / "fixtures" / "videos" / "city_timelapse.mp4",
    ROOT / "examples" / "media" / "big_buck_bunny.mp4",
]


def decode_encode_decode(path: Path, num_threads: int) -> int:
    """The codec work alone, with the processor's settings; returns the number of frames."""
    num_frames = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count, stream.codec_context.thread_type = num_threads, "AUTO"
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        rate, sink = graph.add("fps", "6"), graph.add("buffersink")
        source.link_to(rate)
        rate.link_to(sink)
        graph.configure()
        encoder = av.CodecContext.create("mpeg4", "w")
        encoder.width, encoder.height, encoder.pix_fmt = stream.width, stream.height, "yuv420p"
        encoder.framerate, encoder.bit_rate, encoder.gop_size, encoder.max_b_frames = 6, 8_000_000, 12, 0
        encoder.thread_count = 1
        decoder = av.CodecContext.create("mpeg4", "r")
        decoder.options = {"flags2": "+export_mvs"}
        decoder.thread_count = 1

        def pull():
            nonlocal num_frames
            while True:
                try:
                    frame = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    return
                frame.pict_type = av.video.frame.PictureType.NONE
                for packet in encoder.encode(frame):
                    num_frames += len(decoder.decode(packet))

        for frame in container.decode(stream):
            graph.push(frame)
            pull()
        graph.push(None)
        pull()
    return num_frames


def measure(function, repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", default=DEFAULT_VIDEOS)
    parser.add_argument("--repeats", type=int, default=7, help="measured runs of each, in turn; the median is shown")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processor = VideoLaVITVideoProcessor()

    print("| video | frames/s, plain | frames/s, keyframes and motion | ratio of times |\n|---|---|---|---|")
    for path in arguments.videos:
        num_frames = decode_encode_decode(path, num_threads=2)
        processor(str(path), return_tensors="pt")
        plain, ours = [], []
        for _ in range(arguments.repeats):
            plain += measure(lambda path=path: decode_encode_decode(path, num_threads=2), 1)
            ours += measure(lambda path=path: processor(str(path), return_tensors="pt"), 1)
        plain, ours = statistics.median(plain), statistics.median(ours)
        print(f"| {path.name} | {num_frames / plain:.0f} | {num_frames / ours:.0f} | {ours / plain:.2f} |")


if __name__ == "__main__":
    main()
