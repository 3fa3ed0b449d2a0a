"""Rows of token shards, made of noise."""

import io

import numpy as np
import torch
from PIL import Image

from transformers_videolavit import VideoLaVITImageProcessor


def make_sample(model, generator, kind, text="a red circle moves to the left"):
    """A row of a token shard, whose visual codes are those of its keyframe, as tokenize_dataset.py makes it."""
    num_clips = {"text": 0, "image": 1, "video": 2}[kind]
    keyframes, visual_codes = [], []
    for _ in range(num_clips):
        pixels = generator.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        keyframes.append(buffer.getvalue())
        pixel_values = VideoLaVITImageProcessor()(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            visual_codes.append(model.model.keyframe_tokenizer.encode(pixel_values)[0].tolist())
    motion_codes = generator.integers(0, 256, (num_clips, 135)).tolist() if kind == "video" else []
    num_tokens = sum(len(codes) + 2 for codes in [*visual_codes, *motion_codes])
    return {
        "kind": kind,
        "text": text,
        "visual_codes": visual_codes,
        "motion_codes": motion_codes,
        "keyframes": keyframes,
        "num_tokens": num_tokens,
    }


def make_samples(model, kinds: list[str], seed: int = 0) -> list[dict]:
    """Rows of the given kinds, each with a text of its own."""
    generator = np.random.default_rng(seed)
    return [make_sample(model, generator, kind, f"sample {index} of {kind}") for index, kind in enumerate(kinds)]
