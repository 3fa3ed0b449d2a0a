"""The benchmark of the keyframe tokenizer's merger runs, and its two ways agree."""

import subprocess
import sys
from pathlib import Path


def test_benchmark_runs_and_the_two_ways_agree():
    program = Path(__file__).parents[2] / "benchmarks" / "keyframe_tokenizer.py"
    sizes = ["--hidden-size", "32", "--num-layers", "1", "--batch-size", "2", "--repeats", "1"]
    result = subprocess.run([sys.executable, program, *sizes], capture_output=True, text=True, check=True)
    cells = result.stdout.splitlines()[-1].strip("| ").split(" | ")
    width, kept, full_rate, kept_rate, ratio, difference = map(float, cells)
    assert width == 32 and 40 < kept < 130
    assert full_rate > 0 and kept_rate > 0 and ratio > 0
    assert difference < 1e-4
