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
"""The cards of converted repositories: their metadata, and their snippets, which are run."""

import re
import shutil
from pathlib import Path

import pytest
from conversion_runs import convert  # noqa: F401
from huggingface_hub import EvalResult, ModelCard
from PIL import Image


VIDEO = Path(__file__).parents[2] / "examples" / "media" / "big_buck_bunny.mp4"
NAMES = ("video-lavit", "video-lavit-sft", "video-lavit-detokenizer")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """Small random repositories under the names that the cards use, a video and a picture, with the cards."""
    from small_random_model import build_detokenizer, build_language_model

    from model_cards import write_model_card

    folder = tmp_path_factory.mktemp("repositories")
    model, processor = build_language_model()
    for name in NAMES[:2]:
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    pipe = build_detokenizer(model, processor)
    pipe.register_modules(language_model=None, processor=None, motion_tokenizer=model.model.motion_tokenizer)
    pipe.save_pretrained(folder / NAMES[2])
    shutil.copyfile(VIDEO, folder / "clip.mp4")
    Image.new("RGB", (64, 48), "red").save(folder / "picture.png")
    for name in NAMES:
        write_model_card(name, folder / name, name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_snippet_runs(repositories, monkeypatch, name):
    monkeypatch.chdir(repositories)
    snippets = re.findall(r"```python\n(.*?)```", (repositories / name / "README.md").read_text(), flags=re.DOTALL)
    assert len(snippets) == 3
    namespace = {}
    for snippet in snippets:
        # The package's own classes are loaded: the test environment has it. Small sizes and few steps keep it quick.
        code = snippet.replace(", trust_remote_code=True", "").replace("torch.bfloat16", "torch.float32")
        code = code.replace("max_new_tokens=64", "max_new_tokens=4").replace("top_k=50", "top_k=50, max_new_tokens=8")
        sizes = "height=64, width=64, num_inference_steps=1, keyframe_height=64, keyframe_width=64"
        sizes += ", keyframe_num_inference_steps=1"
        code = re.sub(r"(pipe\((?:[^()]|\([^()]*\))*)\)\.frames", rf"\1, {sizes}).frames", code)
        exec(compile("import transformers_videolavit\n" + code, name, "exec"), namespace)
    if name == "video-lavit-detokenizer":
        assert len(namespace["frames"]) == 24
    elif name == "video-lavit-sft":
        assert namespace["ids"].shape[0] == 2
    else:
        assert namespace["motion"].shape == (len(namespace["motion_codes"]), 2, 24, 40, 72)
        assert [kind for kind, _ in namespace["segments"]] == ["text", "image", "motion"]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_are_valid(repositories, name):
    card = ModelCard.load(repositories / name / "README.md")
    data = card.data
    assert data.license == "llama2" and data.base_model == "rain1011/Video-LaVIT-v1" and data.language == "en"
    assert data.library_name == ("diffusers" if name.endswith("detokenizer") else "transformers")
    assert data.pipeline_tag in ("any-to-any", "video-text-to-text", "text-to-video") and data.datasets
    for word in ("Intended use", "Licence and limits", "improve any other large language model", "Out of scope"):
        assert word in card.text
    assert "{{" not in card.text and "{%" not in card.text


def test_results_are_written_into_the_model_index(tmp_path):
    from model_cards import write_model_card

    result = EvalResult("visual-question-answering", "gqa", "GQA", "exact_match", 0.5, metric_name="exact match")
    path = write_model_card(
        "video-lavit-sft", tmp_path, "someone/video-lavit-sft", [result], "Exact match on GQA: 0.5."
    )
    card = ModelCard.load(path)
    assert card.data.eval_results[0].metric_value == 0.5 and card.data.model_name == "video-lavit-sft"
    assert "## Evaluation" in card.text and "someone/video-lavit)" in card.text
