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
"""The models that lmms-eval runs."""

import json
from pathlib import Path

import torch
from accelerate import PartialState
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoProcessor

from diffusers_videolavit import VideoLaVITDetokenizerPipeline

from .vbench import video_path, write_video


class _VideoLaVITBase(lmms):
    is_simple = False

    def __init__(self, pretrained: str, dtype: str, batch_size: int | str, device: str | None):
        super().__init__()
        state = PartialState()
        self._rank, self._world_size = state.process_index, state.num_processes
        self._device = torch.device(device) if device is not None else state.device
        self.batch_size = int(batch_size)
        dtype = dtype if dtype == "auto" else getattr(torch, dtype)
        self.processor = AutoProcessor.from_pretrained(pretrained)
        self.model = AutoModelForCausalLM.from_pretrained(pretrained, dtype=dtype).eval().to(self._device)

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size

    def _read(self, request: Instance) -> tuple[dict, list[dict], dict]:
        """A request's document, its messages as chat templates take them, and its settings."""
        _, doc_to_messages, settings, number, task, split = request.arguments
        doc = self.task_dict[task][split][number]
        return doc, ChatMessages(messages=doc_to_messages(doc)).to_hf_messages(), settings

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise TypeError(
            "Video-LaVIT answers and generates: tasks by likelihood are not for it. Choose a generative variant."
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise TypeError("Video-LaVIT takes one round of a conversation at a time. Choose a task of one round.")


class VideoLaVIT(_VideoLaVITBase):
    """
    Answers questions about images and videos.

    Args:
        pretrained (`str`): Folder or repository of the instruction-tuned model.
        dtype (`str`, defaults to `"auto"`): Its precision.
        batch_size (`int` or `str`, defaults to 1): Questions at a time.
        device (`str`, *optional*): By default the process's accelerator.
        max_clips (`int` or `str`, defaults to 8): Most clips of a video.
    """

    def __init__(
        self,
        pretrained: str,
        dtype: str = "auto",
        batch_size: int | str = 1,
        device: str | None = None,
        max_clips: int | str = 8,
    ):
        super().__init__(pretrained, dtype, batch_size, device)
        self.max_clips = int(max_clips)

    @torch.no_grad()
    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answers, in the order of the requests."""
        answers: list[str | None] = [None] * len(requests)
        read = [self._read(request)[1:] for request in requests]
        # Only questions with the same settings go together.
        order = sorted(range(len(read)), key=lambda index: json.dumps(read[index][1], sort_keys=True, default=str))
        progress = tqdm(total=len(order), desc="Answering", disable=self.rank != 0)
        while order:
            settings = read[order[0]][1]
            batch = [index for index in order[: self.batch_size] if read[index][1] == settings]
            order = order[len(batch) :]
            for index, answer in zip(batch, self._answer([read[index][0] for index in batch], settings)):
                answers[index] = answer
                self.cache_hook.add_partial("generate_until", requests[index].arguments, answer)
            progress.update(len(batch))
        return answers

    def _answer(self, conversations: list[list[dict]], settings: dict) -> list[str]:
        has_video = any(
            block["type"] == "video"
            for messages in conversations
            for message in messages
            for block in message["content"]
        )
        videos_kwargs = {"videos_kwargs": {"max_clips": self.max_clips}} if has_video else {}
        inputs = self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, **videos_kwargs},
        ).to(self._device, self.model.dtype)
        sampling = {"do_sample": False}
        if settings.get("temperature"):
            sampling = {
                "do_sample": True,
                "temperature": settings["temperature"],
                "top_p": settings.get("top_p") or 1.0,
            }
        ids = self.model.generate(**inputs, max_new_tokens=settings.get("max_new_tokens", 128), **sampling)
        texts = self.processor.post_process_image_text_to_text(ids[:, inputs["input_ids"].shape[1] :])
        for stop in settings.get("until") or ():
            texts = [text.split(stop)[0] if stop else text for text in texts]
        return texts


class VideoLaVITGeneration(_VideoLaVITBase):
    """
    Makes videos of prompts, in files as VBench names them.

    Args:
        pretrained (`str`): Folder or repository of the pre-trained model.
        detokenizer (`str`): Folder or repository of the pipeline.
        output_dir (`str`): Where the videos go.
        dtype (`str`, defaults to `"auto"`): Precision of the model.
        batch_size (`int` or `str`, defaults to 1): Videos at a time.
        device (`str`, *optional*): By default the process's accelerator.
        seed (`int` or `str`, defaults to 0): Seed of prompts that have none of their own.
        height, width (`int` or `str`, *optional*): Size of the frames, by default the detokenizer's.
        num_clips (`int` or `str`, defaults to 1): Clips of four seconds.
        num_inference_steps (`int` or `str`, defaults to 25): Denoising steps.
    """

    def __init__(
        self,
        pretrained: str,
        detokenizer: str,
        output_dir: str,
        dtype: str = "auto",
        batch_size: int | str = 1,
        device: str | None = None,
        seed: int | str = 0,
        height: int | str | None = None,
        width: int | str | None = None,
        num_clips: int | str = 1,
        num_inference_steps: int | str = 25,
    ):
        super().__init__(pretrained, dtype, batch_size, device)
        self.pipe = VideoLaVITDetokenizerPipeline.from_pretrained(
            detokenizer, language_model=self.model, processor=self.processor, dtype=self.model.dtype
        ).to(self._device)
        self.pipe.set_progress_bar_config(disable=True)
        self.output_dir = Path(output_dir)
        self.seed = int(seed)
        self.settings = {"num_clips": int(num_clips), "num_inference_steps": int(num_inference_steps)}
        self.settings |= {name: int(value) for name, value in (("height", height), ("width", width)) if value}

    @torch.no_grad()
    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The videos' paths, as JSON: {"text": "", "videos": [path]}. Files that are there are not made again."""
        prepared = []
        for request in requests:
            doc, messages, _ = self._read(request)
            prompt = " ".join(
                block["text"] for message in messages for block in message["content"] if block["type"] == "text"
            )
            path = video_path(self.output_dir, prompt, int(doc.get("sample_index", 0)))
            prepared.append((prompt, path, int(doc.get("seed", self.seed))))
        missing = [entry for entry in prepared if not entry[1].exists()]
        progress = tqdm(total=len(missing), desc="Generating", disable=self.rank != 0)
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            videos = self.pipe(
                [prompt for prompt, _, _ in batch],
                generator=[torch.Generator().manual_seed(seed) for _, _, seed in batch],
                output_type="np",
                **self.settings,
            ).frames
            for (_, path, _), frames in zip(batch, videos):
                write_video(path, frames, self.processor.video_processor.fps)
            progress.update(len(batch))
        return [json.dumps({"text": "", "videos": [str(path)]}) for _, path, _ in prepared]
