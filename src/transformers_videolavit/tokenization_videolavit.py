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
"""The fast tokenizer of Video-LaVIT: LLaMA's vocabulary, then visual tokens, then motion tokens."""

import json
import os

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SentencePieceExtractor

from .configuration_videolavit import MOTION_CODE_TOKEN, VideoLaVITConfig


UNK_TOKEN = "<unk>"
BOS_TOKEN = "<s>"
EOS_TOKEN = "</s>"
IMAGE_TOKEN = "<image>"
VIDEO_TOKEN = "<video>"
IMAGE_START_TOKEN = "[IMG]"
IMAGE_END_TOKEN = "[/IMG]"
MOTION_START_TOKEN = "[MOV]"
MOTION_END_TOKEN = "[/MOV]"
VISUAL_CODE_TOKEN = "<visual_{}>"

# SentencePiece's number for byte pair encoding (`TrainerSpec.ModelType.BPE`).
SENTENCEPIECE_BPE = 2
WORD_BOUNDARY = "▁"


def build_videolavit_tokenizer(
    source: str | os.PathLike | PreTrainedTokenizerBase, config: VideoLaVITConfig | None = None
) -> PreTrainedTokenizerFast:
    """
    Builds Video-LaVIT's tokenizer from LLaMA's.

    - Text is split as LLaMA's *legacy* SentencePiece tokenizer does: the text between two special tokens starts with a
      word-boundary piece. Video-LaVIT was trained so.
    - The byte pieces `<0xFE>` and `<0xFF>`, which valid UTF-8 never produces, become the placeholders `<image>` and
      `<video>`. Their ids, and the size of the vocabulary, stay.
    - The special tokens `[IMG] [/IMG] <visual_0> ... [MOV] [/MOV] <motion_0> ...` follow LLaMA's vocabulary.
    - Padding is `<unk>`, on the left.

    The result is a generic fast tokenizer: once saved, `AutoTokenizer` loads it without this package.

    Args:
        source (`str`, `os.PathLike` or `PreTrainedTokenizerBase`):
            A SentencePiece `tokenizer.model` file; a directory or Hub repository with a LLaMA tokenizer; or a fast
            LLaMA tokenizer.
        config (`VideoLaVITConfig`, *optional*):
            Gives the token-id layout. The number of visual tokens is `motion_start_token_id - visual_code_offset`, the
            number of motion tokens `num_motion_codes`. The released checkpoint's layout by default.

    Returns:
        `PreTrainedTokenizerFast`: the tokenizer, whose last token is that of the last motion code, with the attributes
        `image_token`, `video_token`, `image_start_token`, `image_end_token`, `motion_start_token`, `motion_end_token`
        and their `_id` counterparts.

    Raises:
        `ValueError`: if `source` is not a LLaMA tokenizer (byte pair encoding with byte fallback), or if its vocabulary
            does not fit the layout.

    Example:

    ```python
    >>> from transformers_videolavit.tokenization_videolavit import build_videolavit_tokenizer

    >>> tokenizer = build_videolavit_tokenizer("tests/fixtures/tiny/checkpoint/language_model")
    >>> tokenizer.convert_tokens_to_ids(["[IMG]", "<visual_0>", "[MOV]", "<motion_0>"])
    [32000, 32002, 48386, 48388]
    ```"""
    config = config if config is not None else VideoLaVITConfig()
    vocabulary, merges = _read_llama_vocabulary(source)
    _check_layout(config, vocabulary, source)

    pieces = {token_id: piece for piece, token_id in vocabulary.items()}
    for token_id, placeholder in ((config.image_token_id, IMAGE_TOKEN), (config.video_token_id, VIDEO_TOKEN)):
        vocabulary[placeholder] = vocabulary.pop(pieces[token_id])

    backend = Tokenizer(BPE(vocab=vocabulary, merges=merges, unk_token=UNK_TOKEN, fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend(WORD_BOUNDARY), normalizers.Replace(" ", WORD_BOUNDARY)]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace(WORD_BOUNDARY, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    num_visual_tokens = config.motion_start_token_id - config.visual_code_offset
    special_tokens = [UNK_TOKEN, BOS_TOKEN, EOS_TOKEN, IMAGE_TOKEN, VIDEO_TOKEN]
    special_tokens += [IMAGE_START_TOKEN, IMAGE_END_TOKEN]
    special_tokens += [VISUAL_CODE_TOKEN.format(code) for code in range(num_visual_tokens)]
    special_tokens += [MOTION_START_TOKEN, MOTION_END_TOKEN]
    special_tokens += [MOTION_CODE_TOKEN.format(code) for code in range(config.num_motion_codes)]
    # Unlike a normalized one, a token that is matched in the raw text leaves the word boundary to the text after it.
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special_tokens])

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNK_TOKEN,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        pad_token=UNK_TOKEN,
        padding_side="left",
        add_bos_token=True,
        clean_up_tokenization_spaces=False,
        model_specific_special_tokens={
            "image_token": IMAGE_TOKEN,
            "video_token": VIDEO_TOKEN,
            "image_start_token": IMAGE_START_TOKEN,
            "image_end_token": IMAGE_END_TOKEN,
            "motion_start_token": MOTION_START_TOKEN,
            "motion_end_token": MOTION_END_TOKEN,
        },
    )


def _read_llama_vocabulary(
    source: str | os.PathLike | PreTrainedTokenizerBase,
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary (piece → id) and merges, in order of rank, of a LLaMA tokenizer."""
    if not isinstance(source, PreTrainedTokenizerBase):
        if os.path.isfile(source):
            return _read_sentencepiece_model(os.fspath(source))
        source = LlamaTokenizer.from_pretrained(source)
    model = json.loads(source.backend_tokenizer.to_str())["model"]
    if model["type"] != "BPE" or not model["byte_fallback"]:
        raise ValueError(
            f"`source` must be a LLaMA tokenizer, byte pair encoding with byte fallback, but it is {model['type']} "
            f"with byte_fallback={model.get('byte_fallback', False)}."
        )
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _read_sentencepiece_model(path: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    # Only this conversion needs protobuf.
    from google.protobuf.message import DecodeError

    try:
        extractor = SentencePieceExtractor(path)
    except DecodeError as error:
        raise ValueError(f"{path} is not a SentencePiece model: {error}") from error
    trainer, normalizer = extractor.proto.trainer_spec, extractor.proto.normalizer_spec
    if trainer.model_type != SENTENCEPIECE_BPE or not trainer.byte_fallback:
        raise ValueError(f"{path} must be a byte pair encoding with byte fallback, as LLaMA's is.")
    if normalizer.precompiled_charsmap or normalizer.remove_extra_whitespaces:
        raise ValueError(f"{path} normalizes its text ({normalizer.name}), which LLaMA's tokenizer does not do.")
    extracted = extractor.extract(BPE)
    return extracted["vocab"], extracted["merges"]


def _check_layout(
    config: VideoLaVITConfig, vocabulary: dict[str, int], source: str | os.PathLike | PreTrainedTokenizerBase
) -> None:
    name = source.name_or_path if isinstance(source, PreTrainedTokenizerBase) else source
    if len(vocabulary) != config.image_start_token_id:
        raise ValueError(
            f"The vocabulary of `source` ({name}) has {len(vocabulary)} pieces, but `config.image_start_token_id` says "
            f"that text has {config.image_start_token_id}."
        )
    eos_token_ids = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    allowed_pieces = [(config.bos_token_id, (BOS_TOKEN,)), (config.pad_token_id, (UNK_TOKEN,))]
    allowed_pieces += [(token_id, (EOS_TOKEN,)) for token_id in eos_token_ids]
    allowed_pieces.append((config.image_token_id, ("<0xFE>", IMAGE_TOKEN)))
    allowed_pieces.append((config.video_token_id, ("<0xFF>", VIDEO_TOKEN)))
    pieces = {token_id: piece for piece, token_id in vocabulary.items()}
    for token_id, allowed in allowed_pieces:
        if pieces.get(token_id) not in allowed:
            raise ValueError(
                f"`config` expects the piece {allowed[0]} at id {token_id}, but `source` ({name}) has "
                f"{pieces.get(token_id)} there."
            )
    layout = (
        config.image_start_token_id,
        config.image_end_token_id,
        config.visual_code_offset,
        config.motion_start_token_id,
        config.motion_end_token_id,
        config.motion_code_offset,
    )
    image_start, motion_start = layout[0], layout[3]
    expected_layout = (image_start, image_start + 1, image_start + 2)
    expected_layout += (motion_start, motion_start + 1, motion_start + 2)
    if layout != expected_layout or not image_start + 2 < motion_start or config.num_motion_codes < 1:
        raise ValueError(
            "The vocabulary must be text, [IMG], [/IMG], visual codes, [MOV], [/MOV], motion codes, in this order and "
            f"without gaps, but `config` places them at {layout} with {config.num_motion_codes} motion codes."
        )


__all__ = ["build_videolavit_tokenizer"]
