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
Metrics of the benchmarks that Video-LaVIT is measured with, as modules of the `evaluate` library.

    from videolavit_metrics import VQAAccuracy

    VQAAccuracy().compute(predictions=["Two."], references=[["2"] * 7 + ["3"] * 3])
"""

from .choices import CircularAccuracy, MultipleChoiceAccuracy, read_choice
from .confidence import mean, proportion
from .distances import FeatureProtocol, FrechetDistance, InceptionScore
from .exact_match import GQAAccuracy, OpenEndedAccuracy
from .judge import EndpointJudge, JudgedAccuracy, TransformersJudge
from .mme import MMEScore
from .similarity import CLIPSimilarity
from .vqa_accuracy import VQAAccuracy, normalize_answer


__all__ = [
    "CLIPSimilarity",
    "CircularAccuracy",
    "EndpointJudge",
    "FeatureProtocol",
    "FrechetDistance",
    "GQAAccuracy",
    "InceptionScore",
    "JudgedAccuracy",
    "MMEScore",
    "MultipleChoiceAccuracy",
    "OpenEndedAccuracy",
    "TransformersJudge",
    "VQAAccuracy",
    "mean",
    "normalize_answer",
    "proportion",
    "read_choice",
]
