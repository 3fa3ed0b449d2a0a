"""Similarity of frames and prompts."""

import json

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from videolavit_metrics import CLIPSimilarity


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    pieces = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **size,
            "vocab_size": len(pieces),
            "max_position_embeddings": 16,
            "eos_token_id": 1,
            "bos_token_id": 0,
        },
        vision_config={**size, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    processor = CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16), tokenizer)
    return CLIPModel(config).eval(), processor


def test_it_is_the_mean_cosine_over_frames_then_over_videos(clip):
    model, processor = clip
    metric = CLIPSimilarity(model, processor)
    generator = np.random.default_rng(0)
    videos = [generator.integers(0, 256, (frames, 20, 24, 3), dtype=np.uint8) for frames in (2, 5)]
    prompts = ["a red cat", "a very long prompt that is longer than the text that the model reads at once"]
    expected = []
    for frames, prompt in zip(videos, prompts):
        text = processor(text=[prompt], return_tensors="pt", truncation=True)
        images = processor(images=list(frames), return_tensors="pt")
        with torch.no_grad():
            first = model.get_text_features(**text).pooler_output
            second = model.get_image_features(**images).pooler_output
        expected.append(float(torch.cosine_similarity(first, second).mean()))
        metric.add(prediction=frames, reference=prompt)
    result = metric.compute()
    assert result["clipsim"] == pytest.approx(np.mean(expected), abs=1e-6) and result["count"] == 2


def test_a_model_needs_its_processor(clip):
    with pytest.raises(ValueError, match="needs its `processor`"):
        CLIPSimilarity(clip[0])
