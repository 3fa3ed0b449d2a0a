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
Stand-ins for the networks that benchmarks measure with, which know nothing of the small world: a small CLIP that is trained here, and
features of videos that need no training. Numbers that are measured with them compare with each other, with no published ones.
"""

import json
from pathlib import Path

import torch
from small_world.dataset import SmallWorldOptions, image_sample
from small_world.rendering import render_scene
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer


IMAGE_SIZE = 64
VIDEO_NETWORK = "stand-in: means and changes of colours, not I3D"


def _build_clip(texts: list[str], folder: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """A small CLIP, whose words are those of texts."""
    words = sorted({word for text in texts for word in text.lower().replace(",", " , ").split()})
    letters = sorted({letter for word in words for letter in word})
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in words:
        # Each word grows letter by letter from its end, so that it becomes one token.
        piece = f"{word[-1]}</w>"
        for letter in reversed(word[:-1]):
            merges.append(f"{letter} {piece}")
            piece = letter + piece
            vocabulary.append(piece)
    vocabulary = list(dict.fromkeys(vocabulary))
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )
    size = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**size, **text},
        vision_config={**size, "image_size": IMAGE_SIZE, "patch_size": 8},
        projection_dim=64,
    )
    images = CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=IMAGE_SIZE)
    return CLIPModel(config), CLIPProcessor(images, tokenizer)


def train_clip(folder: Path, num_images: int = 2000, num_steps: int = 400, batch_size: int = 64) -> Path:
    """
    Trains a small CLIP on images of the small world and their captions.

    Args:
        folder (`Path`): Where to write it, as [`~transformers.CLIPModel.from_pretrained`] reads it. One that is there is kept.
        num_images (`int`, defaults to 2000): Images of the training split.
        num_steps (`int`, defaults to 400): Steps.
        batch_size (`int`, defaults to 64): Images in a step.

    Returns:
        `Path`: The folder.
    """
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    options = SmallWorldOptions(0, "train", (1, 1), 1, (IMAGE_SIZE, IMAGE_SIZE))
    samples = [image_sample(options, index) for index in range(num_images)]
    captions = [sample.caption for sample in samples]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = _build_clip(captions, folder)
        pixels = processor.image_processor(
            [render_scene(sample.scene, options.frame_size)[0] for sample in samples], return_tensors="pt"
        )["pixel_values"]
        texts = processor.tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=num_steps)
        model.train()
        for _ in tqdm(range(num_steps), desc="Training a stand-in for CLIP"):
            chosen = torch.randperm(num_images)[:batch_size]
            batch = {name: values[chosen] for name, values in texts.items()}
            model(pixel_values=pixels[chosen], **batch, return_loss=True).loss.backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    processor.save_pretrained(folder)
    # The configuration comes last: it tells that all is there.
    model.eval().save_pretrained(folder)
    return folder


class VideoFeatures(nn.Module):
    """What stands in for I3D: the mean colours of the quarters of a video, and how much they change from frame to frame."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        """
        Args:
            videos (`torch.Tensor` of shape (batch_size, 3, num_frames, height, width)): Pixels of 0 to 1.

        Returns:
            `torch.Tensor` of shape (batch_size, 16).
        """
        colours = F.adaptive_avg_pool2d(videos.mean(2), 2)
        changes = (videos[:, :, 1:] - videos[:, :, :-1]).abs().mean(dim=(1, 2))
        return torch.cat((colours.flatten(1), 10 * F.adaptive_avg_pool2d(changes[:, None], 2).flatten(1)), dim=1)


def write_video_protocol(folder: Path, num_frames: int) -> Path:
    """Writes [`VideoFeatures`] as a TorchScript file and the protocol of a Fréchet distance with it, and returns the protocol's path."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(VideoFeatures()).save(str(folder / "video_features.pt"))
    protocol = {
        "network": VIDEO_NETWORK,
        "weights": "video_features.pt",
        "size": [IMAGE_SIZE, IMAGE_SIZE],
        "num_frames": num_frames,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "seed": 0,
    }
    path = folder / "fvd.json"
    path.write_text(json.dumps(protocol, indent=2) + "\n")
    return path
