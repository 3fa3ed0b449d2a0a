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
import re
import subprocess
import sys
from pathlib import Path


def test_benchmark_measures_every_kind_of_step():
    program = Path(__file__).parents[2] / "benchmarks" / "training.py"
    size = ["--length", "32", "--height", "32", "--width", "32", "--num-frames", "2", "--repeats", "1"]
    result = subprocess.run([sys.executable, program, *size], capture_output=True, text=True, check=True)
    for task in ("lora", "full", "unet"):
        tokens, seconds, speed, _, utilisation = re.search(
            rf"\| {task} \| (\d+) \| (\S+) \| (\d+) \| (\S+) \| (\S+)% \|", result.stdout
        ).groups()
        assert int(tokens) > 0 and float(seconds) > 0 and int(speed) > 0 and 0 < float(utilisation) < 150
