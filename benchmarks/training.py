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
Speed of training steps: tokens per second, peak memory, and the share of the device's matrix throughput that the model's
own operations use (model-FLOPs utilisation).

    python benchmarks/training.py                                    # tiny sizes, on a CPU
    python benchmarks/training.py --scale full --device cuda --tasks lora full unet --dtype bfloat16

The tasks are a step of LoRA and of full tuning of the language model on one packed row, and a step of the video U-Net.
Utilisation counts the operations of the model's forward and backward pass, without what gradient checkpointing repeats,
against the throughput of a large matrix product in the same run; `--peak-tflops` sets another reference, such as the data sheet's.
Random weights and tokens: neither changes the speed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import set_seed


sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from finetune_lora import ModelArguments, build_lora_config
from peft import get_peft_model
from training.language_modeling import freeze_tokenizers

from diffusers_videolavit import MotionConditionEncoder, UNetSpatioTemporalMotionConditionModel
from transformers_videolavit import VideoLaVITConfig, VideoLaVITForCausalLM


# Tokenizers as small as they can be: the batches are tokens.
TINY_TOKENIZERS = {
    "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
    "keyframe_tokenizer_config": {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
    "motion_tokenizer_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 1,
        "num_layers_per_stage": 1,
    },
}
TEXT_CONFIGS = {
    "tiny": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 2},
    "full": {},
}
UNET_CONFIGS = {
    "tiny": {
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        "num_attention_heads": (2, 2),
        "layers_per_block": 1,
        "cross_attention_dim": 64,
    },
    "full": {"num_attention_heads": (5, 10, 20, 20)},
}
MOTION_ENCODER_CONFIGS = {
    "tiny": {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "cross_attention_dim": 64},
    "full": {},
}


def build_language_model(scale: str) -> VideoLaVITForCausalLM:
    """A language model of random weights, on the default device."""
    model = VideoLaVITForCausalLM(VideoLaVITConfig(text_config=TEXT_CONFIGS[scale], **TINY_TOKENIZERS))
    freeze_tokenizers(model, train_merger=False)
    return model


def language_model_step(model: nn.Module, length: int, num_documents: int = 4) -> Callable[[], torch.Tensor]:
    """The loss of one packed row; without memory, of its documents as a batch, whose operations are the same."""
    device = next(model.parameters()).device
    ids = torch.randint(3, 49412, (num_documents, length // num_documents), device=device)
    if device.type == "meta":
        mask = torch.zeros(num_documents, 1, *(2 * ids.shape[1:]), dtype=torch.bool, device=device)
        return lambda: model(input_ids=ids, labels=ids, attention_mask=mask, use_cache=False).loss
    positions = torch.arange(length // num_documents, device=device).repeat(num_documents)[None]
    ids = ids.reshape(1, -1)
    return lambda: model(input_ids=ids, labels=ids, position_ids=positions, use_cache=False).loss


class VideoDetokenizer(nn.Module):
    """The U-Net with its motion encoder."""

    def __init__(self, scale: str):
        super().__init__()
        self.unet = UNetSpatioTemporalMotionConditionModel(**UNET_CONFIGS[scale])
        self.motion_encoder = MotionConditionEncoder(**MOTION_ENCODER_CONFIGS[scale])


def unet_step(model: VideoDetokenizer, height: int, width: int, num_frames: int) -> Callable[[], torch.Tensor]:
    """The squared error of one clip's noise."""
    parameter = next(model.parameters())
    kwargs = {"device": parameter.device, "dtype": parameter.dtype}
    sample = torch.randn(1, num_frames, 10, height // 8, width // 8, **kwargs)
    motion = torch.randn(1, 2, num_frames, height // 8, width // 8, **kwargs)
    target = torch.randn(1, num_frames, 4, height // 8, width // 8, **kwargs)
    time_ids = torch.tensor([[6.0, 127.0, 0.02]], **kwargs)

    def compute_loss() -> torch.Tensor:
        context = model.motion_encoder(motion)
        output = model.unet(sample, torch.tensor(1.0, device=parameter.device), context, time_ids).sample
        return nn.functional.mse_loss(output.float(), target.float())

    return compute_loss


def enable_checkpointing(model: nn.Module) -> None:
    """Gradient checkpointing, by the name that each library has for it."""
    if isinstance(model, VideoDetokenizer):
        model.unet.enable_gradient_checkpointing()
        model.motion_encoder.enable_gradient_checkpointing()
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})


def count_flops(build: Callable[[], tuple[nn.Module, Callable[[], torch.Tensor]]]) -> int:
    """Operations of the forward and the backward pass, counted on a model without memory."""
    with torch.device("meta"):
        _, compute_loss = build()
    with FlopCounterMode(display=False) as counter:
        compute_loss().backward()
    return counter.get_total_flops()


def matrix_throughput(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    seconds = measure(lambda: matrix @ matrix, 5, device)
    return 2 * size**3 / seconds


def measure(function: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after two to warm up."""
    seconds = []
    for _ in range(repeats + 2):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=("lora", "full", "unet"), default=["lora", "full", "unet"])
    parser.add_argument("--scale", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--length", type=int, help="tokens of the packed row (default: 4096, tiny: 512)")
    parser.add_argument("--height", type=int, help="of the video (default: 320, tiny: 64)")
    parser.add_argument("--width", type=int, help="of the video (default: 576, tiny: 64)")
    parser.add_argument("--num-frames", type=int, help="of the video (default: 24, tiny: 4)")
    parser.add_argument("--no-gradient-checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true", help="compile the model")
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps; the median is shown")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--peak-tflops", type=float, help="reference of the utilisation (default: a measured product's)"
    )
    arguments = parser.parse_args()
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    is_tiny = arguments.scale == "tiny"
    length = arguments.length or (512 if is_tiny else 4096)
    height, width = arguments.height or (64 if is_tiny else 320), arguments.width or (64 if is_tiny else 576)
    num_frames = arguments.num_frames or (4 if is_tiny else 24)

    def build(task: str):
        if task == "unet":
            # diffusers makes some parameters on the CPU, whatever the default device.
            model = VideoDetokenizer(arguments.scale).to(torch.get_default_device())
            return model, unet_step(model, height, width, num_frames)
        model = build_language_model(arguments.scale)
        if task == "lora":
            lora = build_lora_config(ModelArguments(model_name_or_path=""))
            lora.modules_to_save = None
            model = get_peft_model(model, lora)
        return model, language_model_step(model, length)

    peak = arguments.peak_tflops * 1e12 if arguments.peak_tflops else matrix_throughput(device, dtype)
    print(f"reference: {peak / 1e12:.2f} TFLOP/s")
    print(
        "| step | tokens | seconds | tokens/s | TFLOP | utilisation | peak memory, GiB |\n|---|---|---|---|---|---|---|"
    )
    for task in arguments.tasks:
        set_seed(0)
        flops = count_flops(lambda task=task: build(task))
        torch.set_default_dtype(dtype)
        with device:
            model, compute_loss = build(task)
        torch.set_default_dtype(torch.float32)
        if not arguments.no_gradient_checkpointing:
            enable_checkpointing(model)
        model.train()
        if arguments.compile:
            model.compile()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer_class = torch.optim.AdamW if arguments.optimizer == "adamw" else torch.optim.SGD
        optimizer = optimizer_class(trainable, lr=1e-5, fused=True)

        def step(compute_loss=compute_loss, optimizer=optimizer):
            compute_loss().backward()
            optimizer.step()
            optimizer.zero_grad()

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = measure(step, arguments.repeats, device)
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if device.type == "cuda" else "not measured"
        tokens = num_frames * (height // 8) * (width // 8) if task == "unet" else length
        print(
            f"| {task} | {tokens} | {seconds:.3f} | {tokens / seconds:.0f} | {flops / 1e12:.3f} | "
            f"{flops / seconds / peak:.1%} | {memory} |",
            flush=True,
        )
        del model, compute_loss, optimizer, trainable, step
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
