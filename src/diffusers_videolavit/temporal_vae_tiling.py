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
"""Tiled decoding for the temporal VAE, which diffusers' own class does not offer."""

import torch
from diffusers import AutoencoderKLTemporalDecoder

from .pipeline_utils import num_pixels_a_latent


def _tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Evenly spaced starts of the fewest tiles that cover `size` and overlap by at least `overlap`."""
    if size <= tile:
        return [0]
    num_tiles = 1 + -(-(size - tile) // (tile - overlap))
    return [round(i * (size - tile) / (num_tiles - 1)) for i in range(num_tiles)]


def _ramp(size: int, overlap: int, device: torch.device) -> torch.Tensor:
    """Weights that rise from a tile's edge over `overlap` pixels, so that neighbours blend."""
    distance = torch.arange(1, size + 1, device=device)
    return torch.minimum(distance, distance.flip(0)).clamp(max=overlap) / overlap


def decode_tiled(
    vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor, num_frames: int, overlap_factor: float = 0.25
) -> torch.Tensor:
    """
    Decodes frames tile by tile, in space, and blends the tiles where they overlap.

    Args:
        vae ([`AutoencoderKLTemporalDecoder`]): Decodes tiles of its configuration's `sample_size` pixels.
        latents (`torch.Tensor` of shape `(num_frames, channels, height, width)`): Latents, unscaled.
        num_frames (`int`): Number of frames that the temporal layers see together.
        overlap_factor (`float`, *optional*, defaults to 0.25): The least part of a tile that overlaps with the next.

    Returns:
        `torch.Tensor` of shape `(num_frames, 3, height * factor, width * factor)`.
    """
    factor = num_pixels_a_latent(vae)
    height, width = latents.shape[-2:]
    tile = max(vae.config.sample_size // factor, 1)
    if height <= tile and width <= tile:
        return vae.decode(latents, num_frames=num_frames).sample
    overlap = max(int(tile * overlap_factor), 1)
    frames = weights = 0
    for top in _tile_starts(height, tile, overlap):
        for left in _tile_starts(width, tile, overlap):
            decoded = vae.decode(latents[..., top : top + tile, left : left + tile], num_frames=num_frames).sample
            if top == left == 0:
                frames = decoded.new_zeros(len(decoded), decoded.shape[1], height * factor, width * factor)
                weights = decoded.new_zeros(height * factor, width * factor)
            rows = slice(top * factor, top * factor + decoded.shape[-2])
            columns = slice(left * factor, left * factor + decoded.shape[-1])
            weight = _ramp(decoded.shape[-2], overlap * factor, decoded.device)[:, None]
            weight = (weight * _ramp(decoded.shape[-1], overlap * factor, decoded.device)).to(decoded.dtype)
            frames[..., rows, columns] += weight * decoded
            weights[rows, columns] += weight
    return frames / weights
