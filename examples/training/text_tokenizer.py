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
"""A text tokenizer of LLaMA's shape, for models that start without LLaMA's own."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast


def train_text_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """
    Trains a tokenizer of LLaMA's shape: byte pair encoding with byte fallback, ids 0...2 `<unk> <s> </s>`, then 256 bytes.

    Args:
        texts (`Iterable[str]`): What to learn the merges from.
        vocab_size (`int`): Pieces, the 259 special ones included.

    Returns:
        `PreTrainedTokenizerFast`: The tokenizer; it has fewer pieces where the texts do not hold enough different ones.
    """
    backend = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = (word for text in texts for word in text.split())
    backend.train_from_iterator(words, BpeTrainer(vocab_size=vocab_size, special_tokens=pieces, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
