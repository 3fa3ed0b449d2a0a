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


def test_benchmark_runs_and_the_two_ways_agree():
    program = Path(__file__).parents[2] / "benchmarks" / "video_detokenizer.py"
    size = ["--height", "64", "--width", "64", "--num-frames", "2", "--rounds", "1"]
    result = subprocess.run([sys.executable, program, *size], capture_output=True, text=True, check=True)
    assert float(re.search(r"difference of the outputs +(\S+)", result.stdout)[1]) < 1e-4
    for name in ("once per generation", "contexts precomputed", "contexts in place", "one image token"):
        assert float(re.search(rf"{name}\S* +(\S+) ms", result.stdout)[1]) > 0
