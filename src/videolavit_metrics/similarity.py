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
"""How well the frames of a video fit its prompt."""

import datasets
import evaluate
import numpy as np
import torch
from transformers import CLIPModel, CLIPProcessor

from .confidence import mean


class CLIPSimilarity(evaluate.Metric):
    """
    CLIPSIM (https://arxiv.org/abs/2104.14806): the cosine similarity of CLIP's embeddings of a prompt and of a frame, as the mean over
    a video's frames, then over the videos. The paper's is of ViT-B/16 at 224 x 224 pixels.

    Predictions are videos, `uint8` arrays of shape (frames, height, width, 3), and references their prompts. They are taken by
    [`~CLIPSimilarity.add`], one video at a time, since all together would not fit into memory.

    Args:
        model (`str` or `CLIPModel`, defaults to `"openai/clip-vit-base-patch16"`): The model, or its folder or repository.
        processor (`CLIPProcessor`, *optional*): Its processor, with a model that is given.
        device (`str`, defaults to `"cpu"`): Where to compute.

    Returns:
        `dict`: "clipsim", with "low" and "high" of its 95 % interval over the videos, and "count".
    """

    def __init__(
        self,
        model: str | CLIPModel = "openai/clip-vit-base-patch16",
        processor: CLIPProcessor | None = None,
        device: str = "cpu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(model, str):
            processor = CLIPProcessor.from_pretrained(model)
            model = CLIPModel.from_pretrained(model)
        if processor is None:
            raise ValueError("A `model` that is given needs its `processor`.")
        self.model = model.to(device).eval()
        self.processor = processor

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__class__.__doc__,
            citation="https://arxiv.org/abs/2104.14806",
            inputs_description="predictions: similarities of videos, which `add` computes",
            features=datasets.Features({"predictions": datasets.Value("float64")}),
        )

    @torch.no_grad()
    def measure(self, frames: np.ndarray, prompt: str) -> float:
        """
        The similarity of one video.

        Args:
            frames (`np.ndarray` of shape (frames, height, width, 3)): The video, `uint8`.
            prompt (`str`): What it should show; what is longer than CLIP's text is cut off.
        """
        inputs = self.processor(
            text=[prompt], images=list(frames), return_tensors="pt", padding=True, truncation=True
        ).to(self.model.device)
        outputs = self.model(**inputs)
        image = torch.nn.functional.normalize(outputs.image_embeds, dim=-1)
        text = torch.nn.functional.normalize(outputs.text_embeds, dim=-1)
        return float((image @ text.T).mean())

    def add(self, *, prediction: np.ndarray, reference: str, **kwargs):
        """Measures one video and keeps its similarity."""
        super().add(prediction=self.measure(prediction, reference), **kwargs)

    def _compute(self, predictions):
        result = mean(predictions)
        return {"clipsim": result.pop("value"), **result}
