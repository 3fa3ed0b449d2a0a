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
"""Video processor of Video-LaVIT: from videos to keyframes and motion vectors."""

import io
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from huggingface_hub.utils import get_session, httpx
from PIL import Image
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
    SizeDict,
    infer_channel_dimension_format,
)
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.utils import TensorType, auto_docstring
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoInput, VideoMetadata, VideoMetadataType, load_video

from .clip_sampling import VideoClips, alternate_clip_starts, extract_clips
from .image_processing_pil_videolavit import VideoLaVITImageProcessorPil
from .motion_vectors import KEYFRAME_INTERVAL, codec_versions
from .video_decoding import ArrayFrames, BinaryFile, VideoDecodingError, VideoFileFrames, blend_over_white, to_fraction


# More threads hardly speed up the decoding of one video, and each of them holds frames.
_MAX_DECODER_THREADS = 4

# Bytes of a video on a web server that are read at once.
_DOWNLOAD_CHUNK_SIZE = 2**22


class VideoLaVITVideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    max_clips (`int`, *optional*, defaults to `self.max_clips`):
        Largest number of clips of a video; of more, an evenly spaced choice is taken. `clip_sampling="all"` takes no
        notice of it.
    clip_sampling (`str`, *optional*, defaults to `self.clip_sampling`):
        Which clips to take. `"alternate"`: every second keyframe of an undisturbed encoding starts a clip, as in the
        reference implementation. `"shots"`: the video is cut into shots, and a clip never spans a cut. `"all"`: every
        sampled frame is in exactly one clip.
    motion_height (`int`, *optional*, defaults to `self.motion_height`):
        Height of the motion field.
    motion_width (`int`, *optional*, defaults to `self.motion_width`):
        Width of the motion field.
    motion_scale_factor (`float`, *optional*, defaults to `self.motion_scale_factor`):
        Motion is given in standard deviations times this factor: 10 for the motion tokenizer.
    """

    max_clips: int
    clip_sampling: str
    motion_height: int
    motion_width: int
    motion_scale_factor: int | float


@dataclass
class VideoLaVITVideoMetadata(VideoMetadata):
    """
    What is known about a video after it was processed: the fields of `VideoMetadata`, with the original frame of every
    sampled frame in `frames_indices`, and

    Args:
        clip_starts (`list[int]`, *optional*): First frame of each clip, as a position in `frames_indices`.
        clip_lengths (`list[int]`, *optional*): Frames of each clip that are not padding.
        codec (`dict`, *optional*): What the tokens depend on beside the video: versions of the libraries and settings
            of the encoder, from [`~motion_vectors.codec_versions`].
    """

    clip_starts: list[int] | None = None
    clip_lengths: list[int] | None = None
    codec: dict[str, str | int | float] | None = None


@dataclass
class _VideoInput:
    """A file (path, URL, bytes, file object), or sampled frames; with what is to be found out about it."""

    file: str | os.PathLike | bytes | BinaryFile | None
    frames: np.ndarray | torch.Tensor | list | None
    metadata: VideoLaVITVideoMetadata
    do_sample_frames: bool


@auto_docstring
class VideoLaVITVideoProcessor(BaseVideoProcessor):
    resample = PILImageResampling.BICUBIC
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    size = {"height": 224, "width": 224}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_sample_frames = True
    fps = 6
    num_frames = 24
    max_clips = 8
    clip_sampling = "alternate"
    motion_height = 20
    motion_width = 36
    motion_scale_factor = 10.0
    valid_kwargs = VideoLaVITVideoProcessorKwargs
    model_input_names = ["pixel_values_videos", "motion_vectors", "num_clips"]

    def __init__(self, **kwargs: Unpack[VideoLaVITVideoProcessorKwargs]):
        super().__init__(**kwargs)

    @auto_docstring
    def preprocess(self, videos: VideoInput, **kwargs: Unpack[VideoLaVITVideoProcessorKwargs]) -> BatchFeature:
        r"""
        videos (path, URL, `bytes`, binary file object, decoded frames, or list of these):
            The videos, in any mix. Decoded frames are an array or tensor of shape `(num_frames, height, width, channels)`
            or `(num_frames, channels, height, width)` with 1, 3 or 4 channels and values 0…255 or 0.0…1.0, or a list of
            images; they are sampled by the `fps` in `video_metadata`, or taken as they are if `do_sample_frames=False`.

        Returns:
            [`BatchFeature`]: with the clips of all videos one after another:

            - **pixel_values_videos** -- keyframes of shape `(num_clips, 3, height, width)`, normalized.
            - **motion_vectors** -- motion (x, y) of shape `(num_clips, 2, num_frames, motion_height, motion_width)`.
            - **num_clips** -- number of clips of each video, of shape `(num_videos,)`, dtype `int64`.
            - **video_metadata** -- list of [`VideoLaVITVideoMetadata`], if `return_metadata=True`.

        Raises:
            `VideoDecodingError` (a `ValueError`): if a video can't be read; the message names it and the reason.
            `ValueError`: if decoded frames come without their frame rate, or an argument is out of range.

        Example:

        ```python
        >>> from transformers_videolavit import VideoLaVITVideoProcessor

        >>> processor = VideoLaVITVideoProcessor()
        >>> inputs = processor("tests/fixtures/videos/city_timelapse.mp4", clip_sampling="shots", return_tensors="pt")
        >>> inputs["pixel_values_videos"].shape, inputs["num_clips"]
        (torch.Size([2, 3, 224, 224]), tensor([2]))
        ```"""
        if kwargs.get("do_convert_rgb") is False:
            raise ValueError("`do_convert_rgb` can't be turned off: the codec encodes colour.")
        return super().preprocess(videos, **kwargs)

    def extract_keyframes_and_motion(
        self,
        videos: VideoInput,
        motion_height: int | None = None,
        motion_width: int | None = None,
        motion_scale_factor: float | None = None,
        video_metadata: VideoMetadataType | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs,
    ) -> list[VideoClips]:
        """
        Keyframes at full resolution and motion on any grid, for reconstructing videos with the video detokenizer.

        Args:
            videos: As in [`~VideoLaVITVideoProcessor.preprocess`].
            motion_height (`int`, *optional*): Height of the motion field: the latents' for the detokenizer, an eighth
                of the height of the video to be made. The codec's own grid of 16 x 16 pixels by default.
            motion_width (`int`, *optional*): Width of the motion field.
            motion_scale_factor (`float`, *optional*): Motion is given in standard deviations times this factor; by
                default the processor's, with which it goes into the detokenizer pipeline as it is.
            video_metadata: As in [`~VideoLaVITVideoProcessor.preprocess`].
            input_data_format: As in [`~VideoLaVITVideoProcessor.preprocess`].
            **kwargs: `fps`, `num_frames`, `max_clips`, `clip_sampling`, `do_sample_frames`; by default the processor's.

        Returns:
            `list[VideoClips]`: For each video its clips, with keyframes as `PIL.Image.Image`.

        Raises:
            `ValueError`: as in [`~VideoLaVITVideoProcessor.preprocess`].

        Example:

        ```python
        >>> from transformers_videolavit import VideoLaVITVideoProcessor

        >>> processor = VideoLaVITVideoProcessor()
        >>> (clips,) = processor.extract_keyframes_and_motion(
        ...     "tests/fixtures/videos/city_timelapse.mp4", motion_height=40, motion_width=72
        ... )
        >>> clips.keyframes[0].size, clips.motion_vectors.shape
        ((480, 270), torch.Size([1, 2, 24, 40, 72]))
        ```"""
        if (motion_height is None) != (motion_width is None):
            raise ValueError("`motion_height` and `motion_width` must be given together.")
        arguments = {
            "fps": self.fps,
            "num_frames": self.num_frames,
            "max_clips": self.max_clips,
            "clip_sampling": self.clip_sampling,
        }
        do_sample_frames = kwargs.pop("do_sample_frames", self.do_sample_frames)
        if unknown := kwargs.keys() - arguments.keys():
            raise ValueError(f"Unknown arguments: {sorted(unknown)}.")
        arguments.update(kwargs)
        inputs, _ = self._decode_and_sample_videos(
            videos,
            video_metadata=video_metadata,
            do_sample_frames=do_sample_frames,
            sample_indices_fn=lambda metadata: self.sample_frames(metadata, fps=arguments["fps"]),
        )
        inputs = self._prepare_input_videos(inputs, input_data_format=input_data_format)
        return self._extract(
            inputs,
            keyframe_transform=Image.fromarray,
            motion_size=None if motion_height is None else (motion_height, motion_width),
            motion_scale_factor=self.motion_scale_factor if motion_scale_factor is None else motion_scale_factor,
            **arguments,
        )

    def sample_frames(
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: int | float | None = None,
        **kwargs,
    ) -> np.ndarray:
        """
        Chooses from decoded frames at a constant rate as FFmpeg's `fps` filter does from a file: the last frame that is
        not nearer to the next sampling time.

        Args:
            metadata (`VideoMetadata`):
                Metadata of the video; `fps` and `total_num_frames` are needed.
            num_frames (`int`, *optional*):
                Not used: it is the length of a clip.
            fps (`int` or `float`, *optional*):
                Sampled frames per second. Defaults to `self.fps`.

        Returns:
            `np.ndarray`: Indices of the sampled frames; some repeat if the video has fewer frames per second.
        """
        if metadata.fps is None:
            raise ValueError(
                "Decoded frames are sampled by time, but their frame rate is missing: pass "
                "`video_metadata={'fps': ...}`, or `do_sample_frames=False` if they are at the right rate already."
            )
        fps = fps if fps is not None else self.fps
        if not (math.isfinite(metadata.fps) and metadata.fps > 0):
            raise ValueError(f"`fps` in `video_metadata` must be positive, but it is {metadata.fps}.")
        step = to_fraction(metadata.fps) / to_fraction(fps)
        half = Fraction(1, 2)
        num_sampled = math.floor(metadata.total_num_frames / step + half)
        indices = [math.ceil((index + half) * step) - 1 for index in range(num_sampled)]
        return np.array(indices, dtype=int).clip(0, metadata.total_num_frames - 1)

    def get_num_of_clips(self, num_frames: int, videos_kwargs: dict[str, Any] | None = None) -> int:
        """
        The number of clips of a video without scene cuts.

        Args:
            num_frames (`int`):
                Frames of the video at `fps`.
            videos_kwargs (`dict`, *optional*):
                `clip_sampling`, `max_clips` and `num_frames` (of a clip) that differ from the processor's.
        """
        videos_kwargs = videos_kwargs or {}
        clip_sampling = videos_kwargs.get("clip_sampling", self.clip_sampling)
        max_clips = videos_kwargs.get("max_clips", self.max_clips)
        clip_length = videos_kwargs.get("num_frames", self.num_frames)
        if clip_sampling == "alternate":
            keyframe_indices = list(range(0, num_frames, KEYFRAME_INTERVAL))
            return len(alternate_clip_starts(keyframe_indices, num_frames, max_clips, clip_length))
        if clip_sampling == "shots":
            return min(max_clips, max(1, num_frames // clip_length))
        return -(-num_frames // clip_length)

    def fetch_videos(self, video_url_or_urls: str | list[str] | list[list[str]], sample_indices_fn=None):
        """
        Decodes videos into arrays of frames with PyAV.

        Args:
            video_url_or_urls (`str`, `list[str]` or `list[list[str]]`):
                Paths or URLs.
            sample_indices_fn (`Callable`, *optional*):
                Chooses the indices of the frames from a `VideoMetadata`. All frames by default.

        Returns:
            `tuple`: frames of shape `(num_frames, height, width, 3)` and `VideoMetadata`, or a list of each.
        """
        if isinstance(video_url_or_urls, list):
            return list(zip(*[self.fetch_videos(url, sample_indices_fn) for url in video_url_or_urls]))
        return load_video(video_url_or_urls, backend="pyav", sample_indices_fn=sample_indices_fn)

    def _decode_and_sample_videos(
        self,
        videos: VideoInput,
        video_metadata: VideoMetadataType | None,
        do_sample_frames: bool | None = None,
        sample_indices_fn: Callable | None = None,
    ) -> tuple[list[_VideoInput], list[VideoLaVITVideoMetadata]]:
        # Files are not decoded here: that and the extraction of the clips go together, frame by frame.
        inputs = []
        videos = _flatten_videos(videos)
        for video, known in zip(videos, _flatten_metadata(video_metadata, len(videos))):
            if isinstance(video, str | os.PathLike | bytes | bytearray | memoryview | BinaryFile):
                metadata = VideoLaVITVideoMetadata(total_num_frames=0)
                inputs.append(_VideoInput(video, None, metadata, bool(do_sample_frames)))
                continue
            if isinstance(video, list) and isinstance(video[0], str):
                if do_sample_frames:
                    raise ValueError(
                        "Frames can't be sampled from a list of image files, whose times are not known: pass "
                        "`do_sample_frames=False` to take all of them."
                    )
                video = [self.process_image(image) for image in self.fetch_images(video)]
            metadata = VideoLaVITVideoMetadata(**{"total_num_frames": len(video), **known})
            metadata.frames_indices = np.arange(len(video))
            if do_sample_frames:
                metadata.total_num_frames = len(video)
                metadata.frames_indices = sample_indices_fn(metadata=metadata)
                is_list = isinstance(video, list)
                video = [video[i] for i in metadata.frames_indices] if is_list else video[metadata.frames_indices]
            inputs.append(_VideoInput(None, video, metadata, False))
        return inputs, [video.metadata for video in inputs]

    def _prepare_input_videos(
        self,
        videos: list[_VideoInput],
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        device: str | None = None,
    ) -> list[_VideoInput]:
        # The codec works on RGB frames in main memory, whatever `do_convert_rgb` and `device` are.
        return [
            video
            if video.frames is None
            else _VideoInput(None, _to_rgb_frames(video.frames, input_data_format), video.metadata, False)
            for video in videos
        ]

    def _preprocess(
        self,
        videos: list[_VideoInput],
        do_resize: bool | None,
        size: SizeDict | None,
        resample: PILImageResampling | int | None,
        do_center_crop: bool | None,
        crop_size: SizeDict | None,
        do_rescale: bool | None,
        rescale_factor: float | None,
        do_normalize: bool | None,
        image_mean: float | list[float] | None,
        image_std: float | list[float] | None,
        fps: float,
        num_frames: int,
        max_clips: int,
        clip_sampling: str,
        motion_height: int,
        motion_width: int,
        motion_scale_factor: float,
        return_tensors: str | TensorType | None = None,
        **kwargs,
    ) -> BatchFeature:
        pillow = VideoLaVITImageProcessorPil()

        def transform_keyframe(frame: np.ndarray) -> torch.Tensor:
            frame = np.moveaxis(frame, -1, 0)
            if do_resize:
                frame = pillow.resize(frame, size, resample)
            if do_center_crop:
                frame = pillow.center_crop(frame, crop_size)
            return torch.from_numpy(np.array(frame))

        videos_clips = self._extract(
            videos,
            keyframe_transform=transform_keyframe,
            fps=fps,
            num_frames=num_frames,
            max_clips=max_clips,
            clip_sampling=clip_sampling,
            motion_size=(motion_height, motion_width),
            motion_scale_factor=motion_scale_factor,
        )
        keyframes = [keyframe for clips in videos_clips for keyframe in clips.keyframes]
        if len(sizes := {tuple(keyframe.shape[1:]) for keyframe in keyframes}) > 1:
            raise ValueError(f"Videos of different sizes {sorted(sizes)} can't be batched without `do_resize=True`.")
        pixel_values = self.rescale_and_normalize(
            torch.stack(keyframes), do_rescale, rescale_factor, do_normalize, image_mean, image_std
        )
        motion_vectors = [clips.motion_vectors for clips in videos_clips]
        data = {
            "pixel_values_videos": pixel_values,
            "motion_vectors": motion_vectors[0] if len(motion_vectors) == 1 else torch.cat(motion_vectors),
            "num_clips": torch.tensor([len(clips.clip_starts) for clips in videos_clips]),
        }
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _extract(self, videos: list[_VideoInput], **arguments) -> list[VideoClips]:
        num_workers = min(len(videos), os.cpu_count() or 1)
        num_decoder_threads = max(1, min(_MAX_DECODER_THREADS, (os.cpu_count() or 1) // num_workers))
        if num_workers == 1:
            return [_extract_video(video, num_decoder_threads, arguments) for video in videos]
        with ThreadPoolExecutor(num_workers) as pool:
            futures = [pool.submit(_extract_video, video, num_decoder_threads, arguments) for video in videos]
            try:
                return [future.result() for future in futures]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _extract_video(video: _VideoInput, num_decoder_threads: int, arguments: dict[str, Any]) -> VideoClips:
    metadata = video.metadata
    if video.frames is not None:
        source = nullcontext(ArrayFrames(video.frames, frame_rate=arguments["fps"]))
    elif isinstance(video.file, str) and video.file.startswith(("http://", "https://")):
        source = _open_url(video.file)
    else:
        source = nullcontext(video.file)
    with source as opened:
        if video.frames is None:
            name = f"Video {video.file!r}" if opened is not video.file else None
            opened = VideoFileFrames(opened, name=name, num_threads=num_decoder_threads)
        clips = extract_clips(opened, do_sample_frames=video.do_sample_frames, **arguments)
    if video.frames is None:
        metadata.total_num_frames, metadata.fps = clips.num_source_frames, clips.source_fps
        metadata.duration, metadata.frames_indices = clips.duration, clips.source_indices
        metadata.video_backend = "pyav"
    else:
        metadata.frames_indices = [int(index) for index in metadata.frames_indices]
        clips.source_indices, clips.num_source_frames = metadata.frames_indices, metadata.total_num_frames
        clips.source_fps = metadata.fps
        if metadata.fps is not None:
            metadata.duration = clips.duration = metadata.total_num_frames / metadata.fps
    metadata.width, metadata.height = clips.width, clips.height
    metadata.clip_starts, metadata.clip_lengths = clips.clip_starts, clips.clip_lengths
    metadata.codec = {**codec_versions(), "fps": arguments["fps"]}
    return clips


class _RangeFile(io.RawIOBase):
    """A file on a web server that is read in ranges, so that a long video is never in memory as a whole."""

    def __init__(self, url: str, size: int):
        self._url, self._size, self._position = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def readinto(self, buffer) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        content = _download(self._url, self._position, end).content
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _open_url(url: str) -> io.BytesIO | io.BufferedReader:
    response = _download(url, 0, _DOWNLOAD_CHUNK_SIZE)
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return io.BytesIO(response.content)  # the server doesn't know ranges
    size = int(response.headers["Content-Range"].rpartition("/")[2])
    return io.BufferedReader(_RangeFile(url, size), _DOWNLOAD_CHUNK_SIZE)


def _download(url: str, start: int, end: int):
    try:
        response = get_session().get(url, headers={"Range": f"bytes={start}-{end - 1}"}, follow_redirects=True)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise VideoDecodingError(f"Video {url!r} can't be fetched: {error}.") from error
    return response


def _is_frame(value) -> bool:
    return isinstance(value, Image.Image) or (isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 3)


def _flatten_videos(videos) -> list:
    """A flat list of the videos: paths, URLs, bytes, file objects, 4-D arrays and lists of frames."""
    if isinstance(videos, str | os.PathLike | bytes | bytearray | memoryview | BinaryFile):
        return [videos]
    if isinstance(videos, np.ndarray | torch.Tensor) and videos.ndim == 4:
        return [videos]
    if isinstance(videos, np.ndarray | torch.Tensor) and videos.ndim == 5:
        return list(videos)
    if _is_frame(videos):
        return [[videos]]
    if not isinstance(videos, list | tuple):
        raise ValueError(f"`videos` must be paths, URLs, bytes, file objects or frames, but there is {_kind(videos)}.")
    if len(videos) == 0:
        raise ValueError("`videos` has an empty list.")
    if all(_is_frame(item) for item in videos):
        return [list(videos)]
    # The libraries' convention: batch of samples, each a list of videos, each a list of image files.
    if all(_is_nested_list(item) for item in videos):
        return [
            video if isinstance(video[0], str) else flat
            for sample in videos
            for video in sample
            for flat in ([video] if isinstance(video[0], str) else _flatten_videos(video))
        ]
    return [video for item in videos for video in _flatten_videos(item)]


def _is_nested_list(value) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, list) and len(item) > 0 for item in value)
    )


def _kind(value) -> str:
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"an array of shape {tuple(value.shape)}"
    return f"{type(value).__name__}"


def _flatten_metadata(video_metadata: VideoMetadataType | None, num_videos: int) -> list[dict]:
    if video_metadata is None:
        return [{}] * num_videos
    if not isinstance(video_metadata, list | tuple):
        video_metadata = [video_metadata]
    flat = []
    for metadata in video_metadata:
        flat.extend(metadata if isinstance(metadata, list | tuple) else [metadata])
    if len(flat) != num_videos:
        raise ValueError(f"There are {num_videos} videos, but `video_metadata` describes {len(flat)}.")
    return [dict(metadata) if metadata is not None else {} for metadata in flat]


def _to_rgb_frames(
    frames: np.ndarray | torch.Tensor | list, input_data_format: str | ChannelDimension | None
) -> np.ndarray:
    """Decoded frames as an array of shape (num_frames, height, width, 3) with values 0…255."""
    if isinstance(frames, list):
        if len(frames) > 0 and isinstance(frames[0], Image.Image):
            input_data_format = ChannelDimension.LAST
        frames = [_to_array(frame) for frame in frames]
        if len(shapes := {frame.shape for frame in frames}) > 1:
            raise ValueError(f"The frames of a video must have one shape, but they have {sorted(shapes)}.")
        frames = np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)
    frames = _to_array(frames)
    if input_data_format is None:
        input_data_format = infer_channel_dimension_format(frames, num_channels=(1, 3, 4))
    if input_data_format == ChannelDimension.FIRST:
        frames = np.moveaxis(frames, 1, -1)
    if frames.shape[-1] not in (1, 3, 4):
        raise ValueError(f"Frames must have 1, 3 or 4 channels, but they have {frames.shape[-1]}.")
    if frames.dtype != np.uint8 and frames.size > 0:
        low, high = frames.min(), frames.max()
        if not (low >= 0 and high <= 255):  # also refuses what is not a number
            raise ValueError(f"The values of frames must be in 0.0…1.0 or 0…255, but they are in {low}…{high}.")
        is_unit_range = np.issubdtype(frames.dtype, np.floating) and high <= 1
        frames = np.rint(frames * 255 if is_unit_range else frames).astype(np.uint8)
    if frames.shape[-1] == 4:
        return blend_over_white(frames)
    return np.broadcast_to(frames, (*frames.shape[:-1], 3))


def _to_array(frames: np.ndarray | torch.Tensor | Image.Image) -> np.ndarray:
    if isinstance(frames, Image.Image):
        return np.asarray(frames.convert("RGBA" if frames.has_transparency_data else "RGB"))
    if isinstance(frames, torch.Tensor):
        frames = frames.detach().cpu()
        return (frames.float() if frames.is_floating_point() else frames).numpy()
    return frames


__all__ = ["VideoLaVITVideoProcessor"]
