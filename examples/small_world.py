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
A small world with real codec motion: objects of different shapes and colours move, rotate, grow or shrink over textured
backgrounds, and the camera pans and zooms. Videos and images have captions, and questions with answers: about appearance,
which a still image answers, and about motion, which it does not. The test split shows combinations that training never
shows: a shape in its one held-out colour, or moving in its one held-out direction.

    python examples/small_world.py --output_dir small-world/train --num_videos 1000 --num_images 200 --num_workers 2
    python examples/small_world.py --output_dir small-world/test --split test --num_videos 200 --num_images 50
    python examples/small_world.py --output_dir small-world/long --split test --num_videos 20 --num_clips 4 --num_objects 1

A run that was interrupted continues where it stopped. What it writes: `small_world/dataset.py`, `write_dataset`.
"""

import argparse
from pathlib import Path

# The package of the same name, beside this file: Python prefers packages.
from small_world.dataset import SmallWorldOptions, write_dataset
from small_world.scenes import SPLITS


def number_range(text: str) -> tuple[int, int]:
    """Reads "2" or "1-3"."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write to")
    parser.add_argument("--num_videos", type=int, default=1000, help="number of videos (default: %(default)s)")
    parser.add_argument("--num_images", type=int, default=0, help="number of still images (default: %(default)s)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="only test shows held-out combinations")
    parser.add_argument("--seed", type=int, default=0, help="number of the data set (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        default=[128],
        metavar="PIXELS",
        help="height and width of the frames, or one number for both (default: 128)",
    )
    parser.add_argument("--num_objects", type=number_range, default=(1, 3), help="2, or a range (default: 1-3)")
    parser.add_argument("--num_clips", type=int, default=1, help="clips of 4 seconds in a video (default: 1)")
    parser.add_argument(
        "--questions",
        choices=("some", "all"),
        default="some",
        help="all asks everything about each object, and where it is, to train on (default: %(default)s)",
    )
    parser.add_argument("--num_workers", type=int, default=1, help="processes that render (default: %(default)s)")
    arguments = parser.parse_args(args)
    if len(arguments.size) > 2:
        parser.error("argument --size: one or two numbers are expected")
    try:
        options = SmallWorldOptions(
            seed=arguments.seed,
            split=arguments.split,
            num_objects=arguments.num_objects,
            num_clips=arguments.num_clips,
            frame_size=(arguments.size[0], arguments.size[-1]),
            questions=arguments.questions,
        )
        write_dataset(arguments.output_dir, options, arguments.num_videos, arguments.num_images, arguments.num_workers)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
