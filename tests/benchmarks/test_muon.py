"""The benchmark of Muon's step runs."""

import subprocess
import sys
from pathlib import Path


def test_benchmark_times_matrices_and_kernels():
    program = Path(__file__).parents[2] / "benchmarks" / "muon.py"
    sizes = ["--widths", "8", "--num-weights", "2", "--repeats", "1"]
    result = subprocess.run([sys.executable, program, *sizes], capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["2 of 8 × 8", "2 of 8 × 72"]
    assert all(float(number) > 0 for row in rows for number in row[1:3])
