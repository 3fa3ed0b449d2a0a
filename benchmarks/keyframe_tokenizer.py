"""
The keyframe tokenizer's merger on the rows of kept patches alone, against the same layers on all rows with masks.

    python benchmarks/keyframe_tokenizer.py
    python benchmarks/keyframe_tokenizer.py --hidden-size 1408 --batch-size 64 --device cuda --dtype bfloat16
"""

import argparse
import statistics
import time

import torch
from transformers import set_seed

from transformers_videolavit import VideoLaVITKeyframeTokenizer, VideoLaVITKeyframeTokenizerConfig


def build_tokenizer(hidden_size: int, num_layers: int) -> VideoLaVITKeyframeTokenizer:
    """A random tokenizer in the released proportions, with the smallest image encoder; that one plays no part here."""
    sizes = {"num_attention_heads": max(hidden_size // 88, 1)}
    config = VideoLaVITKeyframeTokenizerConfig(
        vision_config={**sizes, "hidden_size": hidden_size, "intermediate_size": 16, "num_hidden_layers": 1},
        **sizes,
        intermediate_size=hidden_size * 6144 // 1408,
        num_hidden_layers=num_layers,
    )
    return VideoLaVITKeyframeTokenizer(config).eval()


def merge_full_rows(tokenizer: VideoLaVITKeyframeTokenizer, features: torch.Tensor, keep_mask: torch.Tensor):
    """The merger on all rows: causal attention to kept patches and the row itself, then attention to dropped ones."""
    num_patches = features.shape[1]
    causal = torch.ones(num_patches, num_patches, dtype=torch.bool, device=features.device).tril()
    itself = torch.eye(num_patches, dtype=torch.bool, device=features.device)
    attention_mask = (causal & keep_mask[:, None] | itself)[:, None]
    memory_mask = ~keep_mask[:, None, None].expand(-1, -1, num_patches, -1)
    memory = tokenizer.merger.memory_layernorm(features)
    return tokenizer.merger(features, memory, attention_mask, memory_mask)


def measure(functions, repeats: int, device: torch.device) -> list[float]:
    """Median seconds of each function; the functions take turns, so that a busy machine slows all of them."""
    seconds = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, measured in zip(functions, seconds):
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat > 0:  # the first turn warms up
                measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in seconds]


@torch.no_grad()
def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, nargs="+", default=[176, 704, 1408], help="widths to measure")
    parser.add_argument("--num-layers", type=int, default=2, help="layers of the merger; the released one has 12")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--keep-rate", type=float, default=1 / 3)
    parser.add_argument("--repeats", type=int, default=5, help="measured runs; the median is shown")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args(arguments)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)

    print("| width | kept of 256 | full rows, images/s | kept rows, images/s | ratio | largest difference |")
    print("|---|---|---|---|---|---|")
    for hidden_size in arguments.hidden_size:
        set_seed(0)
        tokenizer = build_tokenizer(hidden_size, arguments.num_layers).to(device, dtype)
        num_patches = tokenizer.config.vision_config.num_patches
        features = torch.randn(arguments.batch_size, num_patches, hidden_size, device=device, dtype=dtype)
        keep_mask = torch.rand(arguments.batch_size, num_patches, device=device) < arguments.keep_rate
        keep_mask[:, 0] = True

        def merge_kept(tokenizer=tokenizer, features=features, keep_mask=keep_mask):
            merged, is_kept, _ = tokenizer.merge_kept(features, keep_mask)
            return merged[is_kept]

        def merge_full(tokenizer=tokenizer, features=features, keep_mask=keep_mask):
            return merge_full_rows(tokenizer, features, keep_mask)[keep_mask]

        difference = float((merge_kept() - merge_full()).abs().max())
        full, kept = measure((merge_full, merge_kept), arguments.repeats, device)
        mean_kept = keep_mask.sum() / arguments.batch_size
        print(
            f"| {hidden_size} | {mean_kept:.0f} | {arguments.batch_size / full:.2f} | {arguments.batch_size / kept:.2f} "
            f"| {full / kept:.2f} | {difference:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
