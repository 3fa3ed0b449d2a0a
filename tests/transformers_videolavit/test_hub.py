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
"""Checkpoints in the Hub's cache, uploads, and models whose code is in their repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor

from transformers_videolavit import VideoLaVITForCausalLM, VideoLaVITProcessor, save_remote_code


VIDEO = Path(__file__).parents[2] / "examples" / "media" / "big_buck_bunny.mp4"
# Imports of this package fail in a process that starts with this.
WITHOUT_PACKAGE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transformers_videolavit", "diffusers_videolavit"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def small():
    from small_random_model import build_language_model

    return build_language_model()


@pytest.fixture(scope="module")
def cache(small, tmp_path_factory):
    """A cache of the Hub as a download leaves it: two revisions of `someone/video-lavit`, the second in a subfolder, too."""
    cache = tmp_path_factory.mktemp("cache")
    repository = cache / "models--someone--video-lavit"
    (repository / "refs").mkdir(parents=True)
    model, processor = small
    for commit, revision, scale in (("a" * 40, "main", 1.0), ("b" * 40, "v2", 2.0)):
        snapshot = repository / "snapshots" / commit
        with torch.no_grad():
            model.lm_head.weight.mul_(scale)
        model.save_pretrained(snapshot)
        processor.save_pretrained(snapshot)
        with torch.no_grad():
            model.lm_head.weight.div_(scale)
        (repository / "refs" / revision).write_text(commit)
    for path in list(snapshot.iterdir()):
        (snapshot / "inner").mkdir(exist_ok=True)
        shutil.copyfile(path, snapshot / "inner" / path.name)
    return cache


@pytest.mark.parametrize(
    ("kwargs", "scale"), [({}, 1.0), ({"revision": "v2"}, 2.0), ({"revision": "v2", "subfolder": "inner"}, 2.0)]
)
def test_models_and_processors_load_from_the_cache_by_revision_and_subfolder(small, cache, kwargs, scale):
    kwargs = {"cache_dir": cache, "local_files_only": True, "token": "hf_unused", **kwargs}
    for model_class in (AutoModelForCausalLM, VideoLaVITForCausalLM):
        model = model_class.from_pretrained("someone/video-lavit", **kwargs)
        assert torch.equal(model.lm_head.weight, small[0].lm_head.weight * scale)
    for processor_class in (AutoProcessor, VideoLaVITProcessor):
        processor = processor_class.from_pretrained("someone/video-lavit", **kwargs)
        assert processor(text="a sailboat")["input_ids"] == small[1](text="a sailboat")["input_ids"]


def test_what_is_not_in_the_cache_is_missing_offline(cache):
    with pytest.raises(OSError, match="cached files"):
        AutoModelForCausalLM.from_pretrained("someone/other", cache_dir=cache, local_files_only=True)


def test_push_to_hub_uploads_weights_configuration_and_processor(small, monkeypatch):
    from huggingface_hub import HfApi

    uploads, repositories = [], []

    class Created:
        def __init__(self, repo_id):
            self.repo_id = repo_id

    def create_repo(self, repo_id, **kwargs):
        repositories.append((repo_id, kwargs.get("private")))
        return Created(repo_id)

    def create_commit(self, repo_id, operations, **kwargs):
        uploads.append((repo_id, kwargs.get("revision"), {operation.path_in_repo for operation in operations}))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    monkeypatch.setattr(HfApi, "create_branch", lambda *args, **kwargs: None)
    model, processor = small
    model.push_to_hub("someone/video-lavit", private=True, revision="v2")
    processor.push_to_hub("someone/video-lavit")
    assert {name for name, _ in repositories} == {"someone/video-lavit"} and (repositories[0][1] is True)
    assert uploads[0][1] == "v2" and {"config.json", "generation_config.json", "model.safetensors"} <= uploads[0][2]
    assert {"processor_config.json", "tokenizer.json", "chat_template.jinja"} <= uploads[1][2]


@pytest.fixture(scope="module")
def with_code(small, tmp_path_factory):
    """A repository with its own copy of the code."""
    folder = tmp_path_factory.mktemp("with_code")
    small[0].save_pretrained(folder)
    small[1].save_pretrained(folder)
    save_remote_code(folder)
    return folder


def test_code_in_the_repository_works_where_the_package_is_not_installed(small, with_code, tmp_path):
    program = (
        WITHOUT_PACKAGE
        + f"""
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoProcessor, AutoVideoProcessor

folder, trusted = {str(with_code)!r}, dict(trust_remote_code=True)
assert AutoConfig.from_pretrained(folder, **trusted).model_type == "videolavit"
assert type(AutoModel.from_pretrained(folder, **trusted)).__name__ == "VideoLaVITModel"
assert type(AutoImageProcessor.from_pretrained(folder, **trusted)).__name__ == "VideoLaVITImageProcessor"
assert type(AutoVideoProcessor.from_pretrained(folder, **trusted)).__name__ == "VideoLaVITVideoProcessor"
model = AutoModelForCausalLM.from_pretrained(folder, **trusted)
processor = AutoProcessor.from_pretrained(folder, **trusted)
content = [{{"type": "video", "path": {str(VIDEO)!r}}}, {{"type": "text", "text": "What?"}}]
inputs = processor.apply_chat_template(
    [{{"role": "user", "content": content}}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
with torch.no_grad():
    logits = model(**inputs).logits
ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)
video = processor(text="a sailboat", generation_mode="video", return_tensors="pt")
clip = model.generate(**video, generation_mode="video", do_sample=False, max_new_tokens=8)
assert "transformers_videolavit" not in sys.modules
model.save_pretrained({str(tmp_path / "again")!r})
torch.save({{"inputs": dict(inputs), "logits": logits, "ids": ids, "clip": clip}}, {str(tmp_path / "result.pt")!r})
"""
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = torch.load(tmp_path / "result.pt")
    model, processor = small
    with torch.no_grad():
        torch.testing.assert_close(model(**result["inputs"]).logits, result["logits"])
    assert torch.equal(model.generate(**result["inputs"], max_new_tokens=4, do_sample=False), result["ids"])
    video = processor(text="a sailboat", generation_mode="video", return_tensors="pt")
    clip = model.generate(**video, generation_mode="video", do_sample=False, max_new_tokens=8)
    assert torch.equal(clip, result["clip"])
    # A model of a repository's code takes the code along.
    assert (tmp_path / "again" / "modeling_videolavit.py").is_file()


def test_with_the_package_the_code_in_the_repository_is_not_used(with_code):
    assert type(AutoModelForCausalLM.from_pretrained(with_code)) is VideoLaVITForCausalLM
    assert type(AutoProcessor.from_pretrained(with_code)) is VideoLaVITProcessor


def test_code_is_saved_next_to_a_checkpoint_only(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        save_remote_code(tmp_path)
    assert list(tmp_path.iterdir()) == []
