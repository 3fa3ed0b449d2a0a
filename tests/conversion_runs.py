"""The conversion programs, which belong to no package, run on the tiny checkpoint."""

import sys
from pathlib import Path

from tiny_models import CHECKPOINT


sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))

TINY_HEADS = "vision=2,keyframe_tokenizer=2,motion_tokenizer=2,motion_encoder=2,keyframe_token_decoder=2"


def convert(output, *args, source=CHECKPOINT):
    """Converts the tiny checkpoint, or another one of its sizes, into `output`."""
    from convert_original_checkpoint import main

    main(["--source", str(source), "--output", str(output), "--num-attention-heads", TINY_HEADS, *map(str, args)])
    return output
