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
Stage 3: instruction tuning (Video-LaVIT, section 4.1) by low-rank adapters of the language model; merger and projector are trained in full.

    accelerate launch examples/finetune_lora.py --config examples/configs/finetune_lora_tiny.yaml \\
        --model_name_or_path outputs/pretrained --output_dir outputs/lora \\
        --conversations '[{"format": "video_chatgpt", "path": "conversations_video.json", "media_root": "videos"}]'

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml examples/finetune_lora.py \\
        --config examples/configs/finetune_lora_7b.yaml

The output folder holds the adapter, which PEFT loads; `merge_lora.py` makes a model of its own of it. Killed and started again
with the same arguments, it goes on from its last checkpoint.
"""

from dataclasses import dataclass, field

from peft import LoraConfig, get_peft_model
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.conversations import ConversationArguments, build_conversation_datasets
from training.language_modeling import GenerationCallback, LanguageModelArguments, LanguageModelTrainer
from training.packing import FlatteningCollator
from training.trainer import prepare_run, train_and_save
from transformers import AutoModelForCausalLM, AutoProcessor

import transformers_videolavit  # noqa: F401


DESCRIPTION = """Adapters for a Video-LaVIT, tuned on conversations with images and videos (stage 3, arXiv 2402.03161, section 4.1):
low-rank adapters of the language model's linear layers, and the merger and the projector in full."""
USAGE = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoProcessor

import transformers_videolavit

base_model = "..."  # what the adapters were trained on, see above
processor = AutoProcessor.from_pretrained(base_model)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_model), "{model}")"""


@dataclass
class ModelArguments(LanguageModelArguments):
    dtype: str = field(default="auto", metadata={"help": "Precision of the frozen weights."})
    lora_rank: int = field(default=64, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=128, metadata={"help": "Scale of the adapters, times their rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    train_embeddings: bool = field(
        default=False, metadata={"help": "Whether input and output embeddings are trained in full, too."}
    )


ARGUMENTS = (ModelArguments, ConversationArguments, VideoLaVITTrainingArguments)


def build_lora_config(model_args: ModelArguments) -> LoraConfig:
    """Adapters on all linear layers of the language model; the merger and the projector are trained in full."""
    modules_to_save = ["merger", "multi_modal_projector"]
    if model_args.train_embeddings:
        modules_to_save += ["embed_tokens", "lm_head"]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=model_args.lora_rank,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
        modules_to_save=modules_to_save,
    )


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_name_or_path, dtype=model_args.dtype, attn_implementation=model_args.attn_implementation
    )
    config = model.config
    model = get_peft_model(model, build_lora_config(model_args))
    # What is trained in full has to be in full precision; the adapters are.
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()

    train_dataset, eval_dataset = build_conversation_datasets(data_args, processor, model_args.attn_implementation)
    trainer = LanguageModelTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=FlatteningCollator(config, always_image=True),
        processing_class=processor,
        callbacks=[GenerationCallback(processor, data_args.sample_prompts or [], "text")],
    )
    train_and_save(
        trainer,
        checkpoint,
        tags=["video-text-to-text", "lora"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


if __name__ == "__main__":
    main()
