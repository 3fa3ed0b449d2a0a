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
"""Next-token objectives of pre-training and instruction tuning, and which parameters they train."""

import os
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import ProcessorMixin, TrainerCallback
from transformers.utils import ModelOutput

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from training import document_attention  # noqa: F401
from training.packing import IGNORED_LABEL
from training.pictures import contact_sheet, log_samples, to_picture
from training.trainer import VideoLaVITTrainer
from transformers_videolavit import VideoLaVITConfig, save_remote_code


@dataclass
class LanguageModelArguments:
    """Which model to train, and how it is loaded."""

    model_name_or_path: str = field(metadata={"help": "Folder or repository of the model to train."})
    attn_implementation: str = field(
        default="sdpa",
        metadata={
            "help": "`sdpa`, `sdpa_documents` (fast on CPUs), `flex_attention`, `flash_attention_2` or `eager`."
        },
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Precision of the weights; half precision loses small updates. With `bf16`, computing is in bfloat16 anyway."
        },
    )


class LanguageModelTrainer(VideoLaVITTrainer):
    """Trains the language model on flattened batches; logs the loss of each modality as the mean over its tokens."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, compute_loss_func=self.next_token_loss, **kwargs)
        self._unscored: torch.LongTensor | None = None

    def compute_loss(self, model, inputs, *args, **kwargs):
        # No input of the model. What computes the loss is given outputs and labels alone.
        self._unscored = inputs.get("unscored")
        inputs = {name: value for name, value in inputs.items() if name != "unscored"}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        # Adapters have no configuration of a model.
        if self.args.should_save and os.path.isfile(os.path.join(output_dir, "config.json")):
            save_remote_code(output_dir)

    def next_token_loss(
        self, outputs: ModelOutput, labels: torch.LongTensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """
        Cross-entropy of the next token (Video-LaVIT, Eq. 5).

        Args:
            outputs (`ModelOutput`): With `logits` of shape (1, num_labels, vocab_size), of the places that predict a token with
                a label.
            labels (`torch.LongTensor` of shape (1, total_length)): Labels, not shifted.
            num_items_in_batch (`torch.Tensor` or `int`, *optional*): Labels of the whole batch, over processes and
                accumulated steps. By default those of `labels`.

        Returns:
            `torch.Tensor`: Sum of the losses divided by `num_items_in_batch`.
        """
        labels = labels[0, 1:]
        labels = labels[labels != IGNORED_LABEL]
        logits = outputs["logits"][0].float()
        if self._unscored is not None:
            logits = logits.index_put(tuple(self._unscored), logits.new_tensor(-torch.inf))
        losses = F.cross_entropy(logits, labels, reduction="none")
        self.record_metrics(*modality_means(losses.detach(), labels, self._model_config()))
        return losses.sum() / (num_items_in_batch if num_items_in_batch is not None else max(labels.numel(), 1))

    def _model_config(self) -> VideoLaVITConfig:
        return self.accelerator.unwrap_model(self.model).config


class GenerationCallback(TrainerCallback):
    """
    Has the language model answer or continue prompts after each evaluation.

    Args:
        processor ([`VideoLaVITProcessor`]): Prepares the prompts.
        prompts (`list[str]`): Questions, or descriptions of videos.
        generation_mode (`str`): `"text"` for answers, `"video"` for clips.
        detokenizer (`str`, *optional*): Folder or repository of the pipeline that shows the clips.
        size (`tuple[int, int]`, *optional*): Height and width of the frames.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        prompts: list[str],
        generation_mode: str,
        detokenizer: str | None = None,
        size: tuple[int, int] | None = None,
    ):
        self.processor = processor
        self.prompts = prompts
        self.generation_mode = generation_mode
        self.detokenizer = detokenizer
        self.size = size

    @torch.no_grad()
    def on_evaluate(self, args, state, control, model=None, **kwargs):
        if not self.prompts:
            return
        # All processes generate: the weights can be sharded over them.
        training = model.training
        model.eval()
        if self.generation_mode == "text":
            messages = [[{"role": "user", "content": prompt}] for prompt in self.prompts]
            inputs = self.processor.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        else:
            inputs = self.processor(text=self.prompts, generation_mode=self.generation_mode, return_tensors="pt")
        limit = {"max_new_tokens": 64} if self.generation_mode == "text" else {}
        ids = model.generate(**inputs.to(args.device), generation_mode=self.generation_mode, do_sample=False, **limit)
        model.train(training)
        if not state.is_world_process_zero:
            return
        if self.generation_mode == "text":
            answers = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            lines = [f"{prompt}\n{answer.strip()}\n" for prompt, answer in zip(self.prompts, answers)]
            log_samples(args, state.global_step, texts={"answers": "\n".join(lines)})
            return
        clips = [
            [codes.cpu() for kind, codes in sample if kind != "text"]
            for sample in self.processor.post_process_multimodal_output(ids)
        ]
        lines = [f"{prompt}\n{len(keyframe)} visual tokens\n" for prompt, (keyframe, _) in zip(self.prompts, clips)]
        pictures = {"videos": self._draw(clips)} if self.detokenizer is not None else {}
        log_samples(args, state.global_step, pictures, texts={"videos": "\n".join(lines)})

    def _draw(self, clips: list[list[torch.Tensor]]) -> Image.Image:
        pipe = VideoLaVITDetokenizerPipeline.from_pretrained(self.detokenizer)
        pipe.set_progress_bar_config(disable=True)
        height, width = self.size if self.size is not None else (None, None)
        rows = []
        for keyframe, motion in clips:
            generator = torch.Generator().manual_seed(0)
            size = {} if height is None else {"height": height, "width": width}
            frames = pipe(
                visual_codes=[keyframe], motion_codes=motion[None], generator=generator, output_type="pt", **size
            ).frames[0]
            rows.append([to_picture(frames[index]) for index in range(0, len(frames), 6)])
        return contact_sheet(rows)


def modality_means(
    losses: torch.Tensor, labels: torch.LongTensor, config: VideoLaVITConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """
    Means of the losses of text, visual and motion tokens; a start and an end token count as what they enclose.

    Args:
        losses (`torch.Tensor` of shape (num_labels,)): Loss of each token.
        labels (`torch.LongTensor` of shape (num_labels,)): The tokens.
        config ([`VideoLaVITConfig`]): Gives the layout of the vocabulary.

    Returns:
        `tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]`: `loss_text`, `loss_visual` and `loss_motion`, NaN for a
        modality without tokens, and the number of tokens of each.
    """
    # Tokens that were added behind the motion codes are text.
    end_of_codes = config.motion_code_offset + config.num_motion_codes
    is_text = (labels < config.image_start_token_id) | (labels >= end_of_codes)
    is_visual = ~is_text & (labels < config.motion_start_token_id)
    masks = {"loss_text": is_text, "loss_visual": is_visual, "loss_motion": ~is_text & ~is_visual}
    counts = {name: mask.sum() for name, mask in masks.items()}
    # Without sizes that depend on values, for which the host would wait.
    means = {name: torch.where(mask, losses, 0.0).sum() / counts[name] for name, mask in masks.items()}
    return means, counts


def freeze_tokenizers(model: nn.Module, train_merger: bool = True, train_projector: bool = True) -> None:
    """
    Leaves the language model, the merger and the projector to be trained and freezes the rest: image encoder, selector,
    both quantizers and the motion tokenizer (Video-LaVIT, section 3.3).

    Args:
        model (`VideoLaVITForCausalLM`): The model.
        train_merger (`bool`, defaults to `True`): Whether the merger is trained, too.
        train_projector (`bool`, defaults to `True`): Whether the projector is trained, too.
    """
    model.model.keyframe_tokenizer.requires_grad_(False)
    model.model.motion_tokenizer.requires_grad_(False)
    model.model.keyframe_tokenizer.merger.requires_grad_(train_merger)
    model.model.multi_modal_projector.requires_grad_(train_projector)
