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
Stage 3: instruction tuning (Video-LaVIT, section 4.1) of the language model, the merger and the projector.

    accelerate launch examples/finetune_full.py --config examples/configs/finetune_full_tiny.yaml \\
        --model_name_or_path outputs/pretrained --output_dir outputs/instruct \\
        --conversations '[{"format": "video_chatgpt", "path": "conversations_video.json", "media_root": "videos"}]'

    accelerate launch --config_file examples/accelerate_configs/fsdp2.yaml examples/finetune_full.py \\
        --config examples/configs/finetune_full_7b.yaml

Killed and started again with the same arguments, it goes on from its last checkpoint.
"""

from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.conversations import ConversationArguments, build_conversation_datasets
from training.language_modeling import (
    GenerationCallback,
    LanguageModelArguments,
    LanguageModelTrainer,
    freeze_tokenizers,
)
from training.packing import FlatteningCollator
from training.trainer import prepare_run, train_and_save
from transformers import AutoModelForCausalLM, AutoProcessor

import transformers_videolavit  # noqa: F401


DESCRIPTION = """Video-LaVIT, tuned on conversations with images and videos (stage 3, arXiv 2402.03161, section 4.1): the
language model, the merger and the projector were trained, on the assistant's turns."""
USAGE = """import torch
from transformers import AutoModelForCausalLM, AutoProcessor

import transformers_videolavit

processor = AutoProcessor.from_pretrained("{model}")
model = AutoModelForCausalLM.from_pretrained("{model}")
messages = [
    {"role": "user", "content": [{"type": "video", "path": "clip.mp4"}, {"type": "text", "text": "What happens?"}]}
]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
print(processor.decode(model.generate(**inputs, max_new_tokens=64)[0], skip_special_tokens=True))"""


ARGUMENTS = (LanguageModelArguments, ConversationArguments, VideoLaVITTrainingArguments)


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_name_or_path, dtype=model_args.dtype, attn_implementation=model_args.attn_implementation
    )
    freeze_tokenizers(model)

    train_dataset, eval_dataset = build_conversation_datasets(data_args, processor, model_args.attn_implementation)
    trainer = LanguageModelTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=FlatteningCollator(model.config, always_image=True),
        processing_class=processor,
        callbacks=[GenerationCallback(processor, data_args.sample_prompts or [], "text")],
    )
    train_and_save(
        trainer,
        checkpoint,
        tags=["video-text-to-text"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


if __name__ == "__main__":
    main()
