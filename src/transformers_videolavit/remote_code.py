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
"""Puts the model's code into a checkpoint, so that it loads where this package is not installed."""

import json
import os
import shutil
from pathlib import Path


# The classes that each Auto class loads, by the file that names them.
AUTO_MAP = {
    "AutoConfig": "configuration_videolavit.VideoLaVITConfig",
    "AutoModel": "modeling_videolavit.VideoLaVITModel",
    "AutoModelForCausalLM": "modeling_videolavit.VideoLaVITForCausalLM",
    "AutoModelForImageTextToText": "modeling_videolavit.VideoLaVITForCausalLM",
    "AutoModelForMultimodalLM": "modeling_videolavit.VideoLaVITForCausalLM",
}
PROCESSOR_AUTO_MAP = {
    "AutoProcessor": "processing_videolavit.VideoLaVITProcessor",
    "AutoImageProcessor": "image_processing_videolavit.VideoLaVITImageProcessor",
    "AutoVideoProcessor": "video_processing_videolavit.VideoLaVITVideoProcessor",
}


def save_remote_code(folder: str | os.PathLike) -> None:
    """
    Adds to a saved model or processor what loading it with `trust_remote_code=True` needs: the package's modules, and an
    `auto_map` in its configurations. With the package installed nothing changes.

    Args:
        folder (`str` or `os.PathLike`): Where `save_pretrained` of the model, of the processor or of both has written.

    Raises:
        ValueError: If there is neither of them.

    Example:

    ```python
    >>> model.save_pretrained("video-lavit")  # doctest: +SKIP
    >>> processor.save_pretrained("video-lavit")  # doctest: +SKIP
    >>> save_remote_code("video-lavit")  # doctest: +SKIP
    ```"""
    folder = Path(folder)
    config, processor_config = folder / "config.json", folder / "processor_config.json"
    if not config.is_file() and not processor_config.is_file():
        raise ValueError(f"{folder} has neither a `config.json` nor a `processor_config.json`.")
    for module in Path(__file__).parent.glob("*_videolavit*.py"):
        shutil.copyfile(module, folder / module.name)
    for name in ("vector_quantization.py", "video_decoding.py", "motion_vectors.py", "clip_sampling.py"):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    if config.is_file():
        _update_json(config, AUTO_MAP)
    if processor_config.is_file():
        _update_json(processor_config, PROCESSOR_AUTO_MAP)


def _update_json(path: Path, auto_map: dict[str, str]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["auto_map"] = auto_map
    for part, auto_class in (("image_processor", "AutoImageProcessor"), ("video_processor", "AutoVideoProcessor")):
        if isinstance(content.get(part), dict):
            content[part]["auto_map"] = {auto_class: auto_map[auto_class]}
    temporary = path.with_name(f"{path.name}.incomplete")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)
