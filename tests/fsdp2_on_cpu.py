"""
Runs a program of `examples/` under FSDP2 on CPUs: python -m torch.distributed.run ... fsdp2_on_cpu.py PROGRAM ARGUMENTS.

accelerate shards over accelerators only; PyTorch's `fully_shard` does so over CPUs, too. So here accelerate is told that the processes it
finds are to be sharded over, and all the rest is its own.
"""

import gc
import os
import runpy
import sys

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule


# What `accelerate launch` makes of its configuration.
os.environ.update(
    {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    }
)
initialize = AcceleratorState.__init__


def initialize_with_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    initialize(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = initialize_with_fsdp

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    # Its names keep its model until the modules are counted.
    names = runpy.run_path(sys.argv[0], run_name="__main__")
    sharded = [module for module in gc.get_objects() if isinstance(module, FSDPModule)]
    print(f"FSDP2 sharded {len(sharded)} modules")  # noqa: T201
