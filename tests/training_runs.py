"""Training programs in processes of their own: one or several, killed or not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil


EXAMPLES = Path(__file__).parents[1] / "examples"


def start(program: str, *args: object, num_processes: int = 1, fsdp2: bool = False) -> subprocess.Popen:
    """Starts a program of `examples/`, in several processes under DDP, or sharded by FSDP2."""
    command = [sys.executable]
    if num_processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    command += [str(Path(__file__).with_name("fsdp2_on_cpu.py"))] if fsdp2 else []
    command += [str(EXAMPLES / f"{program}.py"), *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(program: str, *args: object, num_processes: int = 1, fsdp2: bool = False) -> str:
    """Runs a program of `examples/` to its end and returns what it printed."""
    process = start(program, *args, num_processes=num_processes, fsdp2=fsdp2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_when(process: subprocess.Popen, path: Path, timeout: float = 120) -> None:
    """Kills a program and its processes with SIGKILL as soon as a file exists."""
    deadline = time.monotonic() + timeout
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, f"the program ended before {path}: {process.communicate()[0]}"
    # A launcher's processes are in sessions of their own.
    for victim in (process, *psutil.Process(process.pid).children(recursive=True)):
        victim.kill()
    process.communicate()


def logged(output_dir: Path, name: str = "loss") -> list[float]:
    """A quantity of every step that the run has logged."""
    state = json.loads((output_dir / "trainer_state.json").read_text())
    return [log[name] for log in state["log_history"] if name in log]
