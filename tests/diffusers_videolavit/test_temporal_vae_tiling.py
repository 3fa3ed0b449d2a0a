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
"""Tiled decoding of the temporal VAE."""

import itertools

import pytest
import torch
from tiny_diffusers_models import load_video_vae

from diffusers_videolavit.temporal_vae_tiling import _ramp, _tile_starts, decode_tiled


torch.set_num_threads(1)


@pytest.mark.parametrize(("size", "tile", "overlap"), [(5, 8, 2), (8, 8, 2), (9, 8, 2), (33, 8, 2), (100, 16, 4)])
def test_tiles_cover_and_overlap(size, tile, overlap):
    starts = _tile_starts(size, tile, overlap)
    assert starts[0] == 0 and starts[-1] == max(size - tile, 0)
    assert all(0 < right - left <= tile - overlap for left, right in itertools.pairwise(starts))


def test_ramp_rises_from_both_edges():
    assert _ramp(6, 2, torch.device("cpu")).tolist() == [0.5, 1.0, 1.0, 1.0, 1.0, 0.5]


class ScalingVae:
    """Decodes each latent position to a square of its value, so that tiles do not depend on their surroundings."""

    def __init__(self, vae):
        self.config = vae.config
        self.num_frames = []

    def decode(self, latents, num_frames):
        self.num_frames.append(num_frames)
        sample = latents[:, :3].repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        return type("Output", (), {"sample": sample})


def test_tiles_of_a_local_decoder_blend_without_seams():
    vae = ScalingVae(load_video_vae())
    latents = torch.randn(3, 4, 20, 41, generator=torch.Generator().manual_seed(0))
    frames = decode_tiled(vae, latents, num_frames=3)
    torch.testing.assert_close(frames, vae.decode(latents, 3).sample)
    assert set(vae.num_frames) == {3} and len(vae.num_frames) == 2 * 4 + 1


@torch.no_grad()
def test_tiles_of_the_vae_are_close_to_the_whole():
    vae = load_video_vae()
    latents = torch.randn(4, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = vae.decode(latents, num_frames=4).sample
    tiled = decode_tiled(vae, latents, num_frames=4)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.2 * whole.std()
    assert torch.equal(decode_tiled(vae, latents[..., :16], num_frames=4), vae.decode(latents[..., :16], 4).sample)
