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
"""The thirteen benchmarks of the paper (see `evaluate_benchmark.py`)."""

from .generation_tasks import GENERATION_TASKS
from .image_tasks import IMAGE_TASKS
from .questions import GenerationItem, GenerationTask, Item, QuestionTask
from .video_tasks import VIDEO_TASKS


TASKS: dict[str, QuestionTask | GenerationTask] = {
    task.name: task for task in (*IMAGE_TASKS, *VIDEO_TASKS, *GENERATION_TASKS)
}

__all__ = ["TASKS", "GenerationItem", "GenerationTask", "Item", "QuestionTask"]
