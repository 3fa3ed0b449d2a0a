"""The benchmark of questions about one image runs, and its two ways agree."""

import subprocess
import sys
from pathlib import Path


def test_benchmark_compares_conversations_with_independent_turns():
    program = Path(__file__).parents[2] / "benchmarks" / "independent_turns.py"
    command = [sys.executable, program, "--questions", "3", "--repeats", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    ((number, tokens, _, shared_tokens, *_),) = [
        line.strip("| ").split(" | ") for line in result.stdout.splitlines()[2:]
    ]
    assert number == "3" and int(shared_tokens) < int(tokens) / 2
