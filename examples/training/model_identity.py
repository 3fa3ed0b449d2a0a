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
"""What a model's name stands for: the contents of a folder, which training may change, or a commit of the Hub."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import snapshot_download


# What models, processors and pipelines are loaded from; a folder of training has more, such as its logs.
MODEL_FILES = (
    "*.safetensors",
    "*pytorch_model*.bin",
    "*config.json",
    "model_index.json",
    "tokenizer.json",
    "*.jinja",
)


def digest_files(paths: Iterable[Path]) -> str:
    """Hash of what files hold, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def identify_model(name: str, revision: str | None = None) -> str:
    """
    Tells a model or a pipeline from what the same name may stand for at another time.

    Args:
        name (`str`): Folder or repository.
        revision (`str`, *optional*): Revision of the repository.

    Returns:
        `str`: Hash of the weights and configurations of a folder, of a pipeline's with its parts, or the commit of a repository.
    """
    folder = Path(name)
    if not folder.is_dir():
        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json"])).name
    index = folder / "model_index.json"
    parts = sorted(json.loads(index.read_text())) if index.is_file() else []
    folders = [folder, *(folder / part for part in parts)]
    return digest_files(sorted({path for part in folders for pattern in MODEL_FILES for path in part.glob(pattern)}))
