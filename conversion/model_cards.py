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
"""Model cards of the converted repositories, from the templates in `model_cards/`."""

import os
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData


TEMPLATES = Path(__file__).parents[1] / "model_cards"
SOURCE_REPOSITORY = "rain1011/Video-LaVIT-v1"
# What the Hub's search knows of each repository.
METADATA = {
    "video-lavit": {
        "library_name": "transformers",
        "pipeline_tag": "any-to-any",
        "tags": ["video-lavit", "text-to-video", "text-to-image", "custom_code"],
        "datasets": ["TempoFunk/webvid-10M", "pixparse/cc3m-wds", "pixparse/cc12m-wds"],
    },
    "video-lavit-sft": {
        "library_name": "transformers",
        "pipeline_tag": "video-text-to-text",
        "tags": ["video-lavit", "image-text-to-text", "custom_code"],
        "datasets": ["liuhaotian/LLaVA-Instruct-150K", "MBZUAI/VideoInstruct-100K"],
    },
    "video-lavit-detokenizer": {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-video",
        "tags": ["video-lavit", "image-to-video", "text-to-image"],
        "datasets": ["TempoFunk/webvid-10M"],
    },
}


def write_model_card(
    name: str, folder: Path, repo_id: str, results: list[EvalResult] | None = None, evaluation: str = ""
) -> Path:
    """
    Writes `README.md` into a repository.

    Args:
        name (`str`): Which of the repositories: a key of `METADATA`.
        folder (`Path`): The repository.
        repo_id (`str`): What its snippets load.
        results (`list[EvalResult]`, *optional*): Measured results, for the metadata's `model-index`.
        evaluation (`str`, *optional*): The section on them, in Markdown.

    Returns:
        `Path`: The card.
    """
    data = ModelCardData(
        license="llama2",
        language="en",
        base_model=SOURCE_REPOSITORY,
        model_name=repo_id.split("/")[-1] if results else None,
        eval_results=results,
        **METADATA[name],
    )
    owner = repo_id.rpartition("/")[0]
    prefix = f"{owner}/" if owner else ""
    card = ModelCard.from_template(
        data, template_path=str(TEMPLATES / f"{name}.md"), repo_id=repo_id, prefix=prefix, evaluation=evaluation
    )
    path = folder / "README.md"
    temporary = path.with_suffix(".incomplete")
    card.save(temporary)
    os.replace(temporary, path)
    return path
