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
Speed of an instruction tuning step on several questions about one image: each as a conversation of its own, against
`independent_turns`, which computes the image once. Both give the same loss.

    python benchmarks/independent_turns.py
    python benchmarks/independent_turns.py --model video-lavit --questions 10 --device cuda

Shown for each number of questions: tokens with placeholders, and milliseconds of the forward and backward pass.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from keyframe_tokenizer import measure
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor


sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from training.conversations import ConversationDataset, load_conversations
from training.document_attention import NAME
from training.language_modeling import freeze_tokenizers
from training.packing import IGNORED_LABEL, FlatteningCollator

import transformers_videolavit  # noqa: F401


CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "videolavit-tiny" / "video-lavit-sft"


def build_batches(model, processor, num_questions: int) -> tuple[dict, dict]:
    """The questions as conversations of their own, and as independent turns of one."""
    turns = [
        {"from": sender, "value": text}
        for number in range(num_questions)
        for sender, text in (("human", f"What colour is object {number}?"), ("gpt", "It is red."))
    ]
    collate = FlatteningCollator(model.config)
    batches = []
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"{folder}/image.png")
        for number, groups in enumerate(([turns[i : i + 2] for i in range(0, len(turns), 2)], [turns])):
            rows = []
            for group in groups:
                first, *others = group
                first = {**first, "value": f"<image>\n{first['value']}"}
                rows.append({"image": "image.png", "conversations": [first, *others]})
            path = Path(folder) / f"{number}.json"
            path.write_text(json.dumps(rows))
            entry = {"format": "llava", "path": str(path), "media_root": folder, "independent_turns": number == 1}
            dataset = ConversationDataset(load_conversations([entry]), processor, max_length=2**20)
            batches.append(collate([dataset[index] for index in range(len(dataset))]))
    return tuple(batches)


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(CHECKPOINT), help="folder or repository (default: videolavit-tiny)")
    parser.add_argument("--questions", type=int, nargs="+", default=[2, 4, 8], help="numbers of questions")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps; the median is shown")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(arguments)

    processor = AutoProcessor.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.float32, attn_implementation=NAME, device_map=arguments.device
    )
    freeze_tokenizers(model)

    def compute_loss(batch: dict) -> torch.Tensor:
        labels = batch["labels"][0, 1:]
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0]
        return torch.nn.functional.cross_entropy(logits, labels[labels != IGNORED_LABEL])

    print("| questions | tokens | ms | tokens, independent turns | ms, independent turns | ratio |")
    print("|---|---|---|---|---|---|")
    for number in arguments.questions:
        batches = [
            {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
            for batch in build_batches(model, processor, number)
        ]
        with torch.no_grad():
            torch.testing.assert_close(*(compute_loss(batch) for batch in batches), rtol=1e-3, atol=1e-3)
        steps = [lambda batch=batch: compute_loss(batch).backward() for batch in batches]
        plain, shared = measure(steps, arguments.repeats, model.device)
        tokens = [batch["input_ids"].shape[1] for batch in batches]
        print(
            f"| {number} | {tokens[0]} | {1000 * plain:.0f} | {tokens[1]} | {1000 * shared:.0f} | {plain / shared:.1f} |"
        )


if __name__ == "__main__":
    main()
