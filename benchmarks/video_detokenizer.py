"""
One guided denoising step of the video U-Net: with the motion's keys and values computed once per generation, with them
computed in place, and diffusers' own `UNetSpatioTemporalConditionModel` of the same size; same weights, same run.

    python benchmarks/video_detokenizer.py
    python benchmarks/video_detokenizer.py --base-channels 320 --height 320 --width 576 --device cuda --dtype bfloat16

The second line is the released model's size. The three take turns in every round, and medians over the rounds are given.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import UNetSpatioTemporalConditionModel

from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel


def unet_config(base_channels: int) -> dict:
    """The released U-Net's proportions (320 base channels), heads of 64 channels."""
    channels = [base_channels * factor for factor in (1, 2, 4, 4)]
    return {
        "in_channels": 10,
        "block_out_channels": channels,
        "num_attention_heads": [width // 64 for width in channels],
        "cross_attention_dim": 1024 * base_channels // 320,
    }


def measure(functions: dict[str, Callable], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each function, called in turn."""
    seconds = {name: [] for name in functions}
    for i in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i > 0:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def num_bytes(contexts) -> int:
    return sum(
        part.key.nbytes + part.value.nbytes
        for layer in contexts.layers.values()
        for spatial, temporal in layer
        for part in (spatial, temporal)
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-channels", type=int, default=64, help="channels of the first level; a multiple of 64")
    parser.add_argument("--height", type=int, default=192, help="height of the video in pixels")
    parser.add_argument("--width", type=int, default=320, help="width of the video in pixels")
    parser.add_argument("--num-frames", type=int, default=24)
    parser.add_argument("--num-inference-steps", type=int, default=25, help="steps a generation takes, for the total")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-threads", type=int, default=1, help="threads on the CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(args.num_threads)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    height, width = args.height // 8, args.width // 8
    config = unet_config(args.base_channels)
    unet = UNetSpatioTemporalMotionConditionModel(**config).eval().to(device=device, dtype=dtype)
    diffusers_unet = UNetSpatioTemporalConditionModel(**config).eval().to(device=device, dtype=dtype)
    diffusers_unet.load_state_dict(unet.state_dict())

    def randn(*shape):
        return torch.randn(*shape, device=device, dtype=dtype)

    sample = randn(2, args.num_frames, 10, height, width)
    features = randn(1, args.num_frames, 256, config["cross_attention_dim"])
    guided_features = torch.cat([torch.zeros_like(features), features])
    image_embedding = randn(2, 1, config["cross_attention_dim"])
    timestep = torch.tensor(1.0, device=device)
    added_time_ids = torch.tensor([[6.0, 127.0, 0.02]] * 2, device=device, dtype=dtype)

    def precompute():
        return unet.precompute_motion_contexts(features, height, width, num_unconditional=1)

    contexts = precompute()
    precomputed_output = unet(sample, timestep, None, added_time_ids, motion_contexts=contexts).sample
    in_place_output = unet(sample, timestep, guided_features, added_time_ids).sample
    medians = measure(
        {
            "precompute": precompute,
            "precomputed": lambda: unet(sample, timestep, None, added_time_ids, motion_contexts=contexts),
            "in place": lambda: unet(sample, timestep, guided_features, added_time_ids),
            "diffusers": lambda: diffusers_unet(sample, timestep, image_embedding, added_time_ids),
        },
        args.rounds,
        device,
    )

    steps = args.num_inference_steps
    total = medians["precompute"] + steps * medians["precomputed"]
    print(
        f"{args.base_channels} base channels, {args.num_frames} frames of {args.width}x{args.height}, guided; {args.dtype}"
    )
    print(f"largest difference of the outputs        {(precomputed_output - in_place_output).abs().max():.1e}")
    print(f"precomputing, once per generation        {medians['precompute'] * 1e3:10.1f} ms")
    print(f"  keys and values held                   {num_bytes(contexts) / 2**20:10.1f} MiB")
    print(f"step, motion contexts precomputed        {medians['precomputed'] * 1e3:10.1f} ms")
    print(f"step, motion contexts in place           {medians['in place'] * 1e3:10.1f} ms")
    print(f"step, diffusers' U-Net (one image token) {medians['diffusers'] * 1e3:10.1f} ms")
    print(f"{steps} steps, precomputed / in place          {total / (steps * medians['in place']):10.3f}")
    print(f"{steps} steps, precomputed / diffusers         {total / (steps * medians['diffusers']):10.3f}")


if __name__ == "__main__":
    main()
