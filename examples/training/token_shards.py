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
Shards of token ids: Parquet files that `datasets` reads, one row for each sample.

Their schema's metadata say what made them, under the key `videolavit`: what reproduces the tokens, and what became of the unit of
work that the shard is of.
"""

import glob
import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq


SCHEMA = pa.schema(
    {
        "id": pa.string(),
        # "video", "image" or "text".
        "kind": pa.string(),
        # Caption or text, empty if there is none.
        "text": pa.string(),
        # For the keyframe of each clip, or the image, its codes: 0 ... 16383.
        "visual_codes": pa.list_(pa.list_(pa.int32())),
        # For each clip its motion's codes: 0 ... 1023.
        "motion_codes": pa.list_(pa.list_(pa.int16())),
        # The keyframes or the image at the encoder's size, as PNG or JPEG files.
        "keyframes": pa.list_(pa.binary()),
        # Seconds at which the clips start.
        "start_times": pa.list_(pa.float64()),
        # Where the sample comes from.
        "source": pa.string(),
        # Visual and motion tokens, with the two marks of each block.
        "num_tokens": pa.int32(),
    }
)
METADATA_KEY = b"videolavit"


def write_shard(path: Path, rows: list[dict], metadata: dict) -> None:
    """
    Writes a shard at once or not at all.

    Args:
        path (`Path`): The file.
        rows (`list[dict]`): Samples, with the columns of `SCHEMA`.
        metadata (`dict`): What can be written as JSON.
    """
    schema = SCHEMA.with_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    temporary = path.with_suffix(".incomplete")
    table = pa.Table.from_pylist(rows, schema=schema)
    with pq.ParquetWriter(temporary, schema) as writer:
        # `datasets` cannot read an empty row group, but it can read a file without one.
        if rows:
            writer.write_table(table)
    os.replace(temporary, path)


def read_metadata(path: Path) -> dict:
    """What [`write_shard`] was given as `metadata`."""
    return json.loads(pq.read_schema(path).metadata[METADATA_KEY])


def load_mixture(mixture: list[dict], seed: int = 0) -> datasets.Dataset:
    """
    Loads sets of shards, and mixes several of them.

    Args:
        mixture (`list[dict]`): For each set its `path`, a file, a pattern or a list of them, and its `weight`, the share of the
            samples that are drawn from it, in proportion to the others'. Smaller sets are repeated until the last is used up.
        seed (`int`, defaults to 0): Seed of the order of the sets.

    Returns:
        `datasets.Dataset`: Samples, with the columns of `SCHEMA`.

    Raises:
        ValueError: If a pattern finds no file, or a weight is not positive.
    """
    parts, weights = [], []
    for entry in mixture:
        patterns = [entry["path"]] if isinstance(entry["path"], (str, os.PathLike)) else entry["path"]
        files = sorted(file for pattern in patterns for file in glob.glob(os.fspath(pattern)))
        if not files:
            raise ValueError(f"There are no shards {patterns}.")
        weights.append(float(entry.get("weight", 1.0)))
        if weights[-1] <= 0:
            raise ValueError(f"`weight` of {patterns} must be positive, not {weights[-1]}.")
        parts.append(datasets.load_dataset("parquet", data_files=files, split="train"))
    if len(parts) == 1:
        return parts[0]
    probabilities = [weight / sum(weights) for weight in weights]
    return datasets.interleave_datasets(parts, probabilities, seed=seed, stopping_strategy="all_exhausted")
