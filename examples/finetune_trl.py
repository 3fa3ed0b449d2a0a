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
Stage 3 with TRL: instruction tuning on images by `trl.SFTTrainer`, which takes the model and the processor as they are.

    pip install trl
    accelerate launch examples/finetune_trl.py --model_name_or_path outputs/pretrained --conversations llava.json --media_root images \\
        --output_dir outputs/instruct --max_steps 1000 --per_device_train_batch_size 8 --learning_rate 2e-5

TRL's collator knows images; for videos, and for packed batches without padding, use `finetune_full.py` or `finetune_lora.py`.
"""

from dataclasses import dataclass, field

import datasets
from training.language_modeling import LanguageModelArguments, freeze_tokenizers
from training.sources import load_llava_instruct
from transformers import AutoModelForCausalLM, AutoProcessor
from trl import SFTConfig, SFTTrainer, TrlParser

import transformers_videolavit  # noqa: F401


@dataclass(kw_only=True)
class ScriptArguments(LanguageModelArguments):
    conversations: str = field(metadata={"help": "Conversations in the layout of LLaVA-1.5."})
    media_root: str | None = field(default=None, metadata={"help": "Folder of the images; by default the file's."})


@dataclass
class TrainingArguments(SFTConfig):
    assistant_only_loss: bool = field(
        default=True, metadata={"help": "Whether only the assistant's turns are learnt, as published."}
    )


def load_images_and_messages(path: str, media_root: str | None) -> datasets.Dataset:
    """Conversations in TRL's layout: the images in a column of their own, in the order of their marks."""
    conversations = load_llava_instruct(path, media_root)

    def split(row: dict) -> dict:
        blocks = [block for message in row["messages"] for block in message["content"]]
        messages = [
            {
                "role": message["role"],
                "content": [{"type": block["type"], "text": block["text"]} for block in message["content"]],
            }
            for message in row["messages"]
        ]
        return {"images": [block["path"] for block in blocks if block["type"] == "image"], "messages": messages}

    rows = [split(row) for row in conversations]
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "messages": datasets.List(
                {
                    "role": datasets.Value("string"),
                    "content": datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")}),
                }
            ),
        }
    )
    return datasets.Dataset.from_list(rows, features=features)


def main(args: list[str] | None = None):
    script_args, training_args = TrlParser((ScriptArguments, TrainingArguments)).parse_args_and_config(args)
    processor = AutoProcessor.from_pretrained(script_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(
        script_args.model_name_or_path,
        dtype=script_args.dtype,
        attn_implementation=script_args.attn_implementation,
    )
    freeze_tokenizers(model)
    # Placeholders are cut by no length: a conversation keeps its images.
    training_args.max_length = None
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=load_images_and_messages(script_args.conversations, script_args.media_root),
        processing_class=processor,
    )
    # TRL leaves it to the template to write `<s>`, which the processor adds when it answers. The template that is saved stays as it is.
    trainer.data_collator.chat_template = "{{ bos_token }}" + (trainer.chat_template or processor.chat_template)
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
