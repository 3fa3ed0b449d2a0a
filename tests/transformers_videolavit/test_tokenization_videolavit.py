"""The fast tokenizer against the reference's ids, SentencePiece itself, and its own saved files."""

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer, LlamaTokenizer

from transformers_videolavit.configuration_videolavit import VideoLaVITConfig
from transformers_videolavit.tokenization_videolavit import build_videolavit_tokenizer


TINY = Path(__file__).parents[1] / "fixtures" / "tiny"
LANGUAGE_MODEL = TINY / "checkpoint" / "language_model"
CONVERSATIONS = json.loads((TINY / "conversations.json").read_text())
TEXTS = [
    "What is the man doing?",
    " leading and trailing ",
    "   three   spaces\tand a tab",
    "\n\nnew lines\n",
    "naïve café, 世界, 🙂🏳️‍🌈, Ω≈ç√",
    "a literal \\n and <0x0A> and <0xFE> and ▁",
    "x" * 300,
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_videolavit_tokenizer(LANGUAGE_MODEL / "tokenizer.model")


@pytest.fixture(scope="module")
def sentencepiece_model():
    return sentencepiece.SentencePieceProcessor(model_file=str(LANGUAGE_MODEL / "tokenizer.model"))


def small_llama_tokenizer():
    """LLaMA's kind of tokenizer with a vocabulary of 273 pieces."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "b", "c", "d", "e", "ab", "▁ab", "cd", "▁e", "de", "abc", "▁abc", "▁a"]
    merges = [("a", "b"), ("▁", "ab"), ("c", "d"), ("▁", "e"), ("d", "e"), ("ab", "c"), ("▁ab", "c"), ("▁", "a")]
    return LlamaTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges)


def small_config(**changes):
    layout = {
        "image_start_token_id": 273,
        "image_end_token_id": 274,
        "visual_code_offset": 275,
        "motion_start_token_id": 283,
        "motion_end_token_id": 284,
        "motion_code_offset": 285,
        "num_motion_codes": 4,
        "text_config": {"vocab_size": 289},
    }
    return VideoLaVITConfig(**{**layout, **changes})


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation["kind"])
def test_conversations_have_the_reference_ids(tokenizer, conversation):
    ids = tokenizer(conversation["prompt"], add_special_tokens=conversation["kind"] != "generation")["input_ids"]
    marks = {tokenizer.image_token_id: -200, tokenizer.video_token_id: -201}
    assert [marks.get(token_id, token_id) for token_id in ids] == conversation["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_split_as_sentencepiece_does(tokenizer, sentencepiece_model, text):
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == sentencepiece_model.encode(text)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text.replace("▁", " ")


def test_every_chunk_between_special_tokens_is_split_alone(tokenizer, sentencepiece_model):
    first, second, third = "ends here ", "\nbegins", "  spaces"
    ids = tokenizer(f"{first}<video>{second}</s>{third}<image>")["input_ids"]
    encode = sentencepiece_model.encode
    assert ids == [1, *encode(first), 258, *encode(second), 2, *encode(third), 257]


def test_layout_is_that_of_the_released_checkpoint(tokenizer):
    tokens = ["<unk>", "<s>", "</s>", "<image>", "<video>", "[IMG]", "[/IMG]", "<visual_0>", "<visual_16383>"]
    tokens += ["[MOV]", "[/MOV]", "<motion_0>", "<motion_1023>"]
    ids = [0, 1, 2, 257, 258, 32000, 32001, 32002, 48385, 48386, 48387, 48388, 49411]
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    assert len(tokenizer) == 49412
    assert tokenizer("".join(tokens), add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == ""
    assert (tokenizer.pad_token_id, tokenizer.padding_side) == (0, "left")
    config = VideoLaVITConfig()
    for name in ("image_token", "video_token", "image_start_token", "image_end_token"):
        assert getattr(tokenizer, f"{name}_id") == getattr(config, f"{name}_id")
    assert tokenizer.motion_start_token_id == config.motion_start_token_id
    assert tokenizer.motion_end_token_id == config.motion_end_token_id


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert loaded.padding_side == "left"
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_sources_are_equivalent(tokenizer, tmp_path):
    expected = tokenizer.backend_tokenizer.to_str()
    llama = LlamaTokenizer.from_pretrained(LANGUAGE_MODEL)
    llama.save_pretrained(tmp_path)
    for source in (LANGUAGE_MODEL, llama, tmp_path, tokenizer):
        assert build_videolavit_tokenizer(source).backend_tokenizer.to_str() == expected


def test_sizes_follow_the_config():
    tokenizer = build_videolavit_tokenizer(small_llama_tokenizer(), small_config())
    assert len(tokenizer) == 289
    assert tokenizer("abc cd<visual_7>[MOV]<motion_3>")["input_ids"] == [1, 271, 259, 267, 282, 283, 288]
    assert "<visual_8>" not in tokenizer.get_vocab()
    assert "<motion_4>" not in tokenizer.get_vocab()
    larger = build_videolavit_tokenizer(small_llama_tokenizer(), small_config(text_config={"vocab_size": 320}))
    assert larger.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_start_token_id": 280}, "273 pieces.*280"),
        ({"image_token_id": 256}, "<0xFE> at id 256.*<0xFD>"),
        ({"bos_token_id": 2}, "<s> at id 2.*</s> there"),
        ({"motion_start_token_id": 284}, "in this order and without gaps.*284, 284"),
        ({"visual_code_offset": 276}, "in this order and without gaps.*276"),
        ({"num_motion_codes": 0}, "in this order and without gaps.*0 motion codes"),
    ],
)
def test_layout_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_videolavit_tokenizer(small_llama_tokenizer(), small_config(**changes))


def test_source_that_is_no_llama_tokenizer_is_refused(tmp_path):
    not_a_model = tmp_path / "tokenizer.model"
    not_a_model.write_bytes(b"not a SentencePiece model")
    with pytest.raises(ValueError, match="tokenizer.model is not a SentencePiece model"):
        build_videolavit_tokenizer(not_a_model)

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(TEXTS[0].split() * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "unigram"), vocab_size=24, hard_vocab_limit=False, minloglevel=2
    )
    with pytest.raises(ValueError, match="unigram.model must be a byte pair encoding"):
        build_videolavit_tokenizer(tmp_path / "unigram.model")
