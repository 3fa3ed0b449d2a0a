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
"""Pipelines in the Hub's cache, and their upload."""

import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import HfApi
from tiny_pipelines import load_detokenizer_pipeline

from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel, VideoLaVITDetokenizerPipeline


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of the Hub as a download leaves it: two revisions, the second with another first bias of the U-Net."""
    cache = tmp_path_factory.mktemp("cache")
    repository = cache / "models--someone--video-lavit-detokenizer"
    (repository / "refs").mkdir(parents=True)
    pipe = load_detokenizer_pipeline(with_keyframes=False)
    for commit, revision, bias in (("a" * 40, "main", 1.0), ("b" * 40, "v2", 2.0)):
        with torch.no_grad():
            pipe.unet.conv_in.bias.fill_(bias)
        pipe.save_pretrained(repository / "snapshots" / commit)
        (repository / "refs" / revision).write_text(commit)
    return cache


@pytest.mark.parametrize(("revision", "bias"), [("main", 1.0), ("v2", 2.0)])
@pytest.mark.parametrize("pipeline_class", [VideoLaVITDetokenizerPipeline, DiffusionPipeline])
def test_pipelines_load_from_the_cache_by_revision(cache, pipeline_class, revision, bias):
    trust = {"trust_remote_code": True} if pipeline_class is DiffusionPipeline else {}
    pipe = pipeline_class.from_pretrained(
        "someone/video-lavit-detokenizer",
        revision=revision,
        cache_dir=cache,
        local_files_only=True,
        token="hf_x",
        **trust,
    )
    assert isinstance(pipe, VideoLaVITDetokenizerPipeline) and (pipe.unet.conv_in.bias == bias).all()


def test_components_load_from_their_subfolders(cache):
    unet = UNetSpatioTemporalMotionConditionModel.from_pretrained(
        "someone/video-lavit-detokenizer", subfolder="unet", revision="v2", cache_dir=cache, local_files_only=True
    )
    assert (unet.conv_in.bias == 2).all()


def test_what_is_not_in_the_cache_is_missing_offline(cache):
    with pytest.raises(OSError):
        VideoLaVITDetokenizerPipeline.from_pretrained("someone/other", cache_dir=cache, local_files_only=True)


def test_push_to_hub_uploads_every_component(monkeypatch):
    uploads = []

    class Created:
        repo_id = "someone/video-lavit-detokenizer"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **kwargs: Created)
    monkeypatch.setattr(
        HfApi,
        "create_commit",
        lambda self, repo_id, operations, **kwargs: uploads.append(
            (repo_id, {item.path_in_repo for item in operations})
        ),
    )
    import diffusers.pipelines.pipeline_utils
    import diffusers.utils.hub_utils

    for module in (diffusers.pipelines.pipeline_utils, diffusers.utils.hub_utils):
        if "create_repo" in vars(module):
            monkeypatch.setattr(module, "create_repo", lambda repo_id, **kwargs: Created)

    def upload_folder(repo_id, folder_path, **kwargs):
        from pathlib import Path

        paths = {str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*") if path.is_file()}
        uploads.append((repo_id, paths))

    monkeypatch.setattr(diffusers.utils.hub_utils, "upload_folder", upload_folder)
    load_detokenizer_pipeline(with_keyframes=False).push_to_hub("someone/video-lavit-detokenizer")
    ((repo_id, files),) = [upload for upload in uploads if "model_index.json" in upload[1]]
    assert repo_id == "someone/video-lavit-detokenizer"
    assert {"pipeline.py", "unet/diffusion_pytorch_model.safetensors", "motion_encoder/videolavit.py"} <= files
