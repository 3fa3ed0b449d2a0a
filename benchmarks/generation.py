"""
Guided generation of a clip's tokens: `VideoLaVITForCausalLM.generate(generation_mode="video")` against transformers' own
LLaMA `generate` with `guidance_scale` and `suppress_tokens`, same weights, same run.

    python benchmarks/generation.py
    python benchmarks/generation.py --hidden-size 512 --num-layers 8 --batch-size 4 --device cuda --dtype bfloat16
"""

import argparse
import statistics
import time

import torch
from transformers import LlamaForCausalLM, set_seed

from transformers_videolavit import VideoLaVITConfig, VideoLaVITForCausalLM


def build_model(hidden_size: int, num_layers: int) -> VideoLaVITForCausalLM:
    """A random model with the full vocabulary; the tokenizers play no part here and are as small as they can be."""
    config = VideoLaVITConfig(
        text_config={
            "hidden_size": hidden_size,
            "intermediate_size": hidden_size * 11 // 4,
            "num_hidden_layers": num_layers,
            "num_attention_heads": max(hidden_size // 64, 1),
        },
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
        keyframe_tokenizer_config={"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
        motion_tokenizer_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_attention_heads": 1,
            "num_layers_per_stage": 1,
        },
    )
    return VideoLaVITForCausalLM(config).eval()


def generate_with_llama(model: VideoLaVITForCausalLM, llama: LlamaForCausalLM, prompt, num_visual_tokens: int):
    """One clip through `LlamaForCausalLM.generate`, as the reference does: two calls, forbidden ids as lists."""
    config = model.config
    ids = prompt
    motion_ids = config.motion_tokenizer_config.num_motion_tokens
    for start, end, guidance, length, do_sample, allowed in (
        (
            config.image_start_token_id,
            config.image_end_token_id,
            4.0,
            num_visual_tokens,
            True,
            (config.visual_code_offset, config.motion_start_token_id),
        ),
        (
            config.motion_start_token_id,
            config.motion_end_token_id,
            7.0,
            motion_ids,
            False,
            (config.motion_code_offset, config.text_config.vocab_size),
        ),
    ):
        suppressed = [*range(3, allowed[0]), *range(allowed[1], config.text_config.vocab_size)]
        ids = torch.cat((ids, torch.full_like(ids[:, :1], start)), dim=1)
        ids = llama.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            negative_prompt_ids=torch.full_like(ids[:, :1], start),
            guidance_scale=guidance,
            suppress_tokens=[0, 1, 2, *suppressed],
            eos_token_id=end,
            pad_token_id=0,
            min_new_tokens=length,
            max_new_tokens=length,
            do_sample=do_sample,
            top_k=50,
        )
    return ids


def measure(function, repeats: int, device: torch.device) -> float:
    function()
    seconds = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, nargs="+", default=[64, 256, 512], help="widths to measure")
    parser.add_argument("--num-layers", type=int, nargs="+", default=[2, 4, 8], help="depths, one for each width")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--num-visual-tokens", type=int, default=90, help="visual tokens of the keyframe")
    parser.add_argument("--repeats", type=int, default=3, help="measured runs; the median is shown")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    print("| width | layers | ours, tokens/s | transformers, tokens/s | ratio |\n|---|---|---|---|---|")
    for hidden_size, num_layers in zip(arguments.hidden_size, arguments.num_layers, strict=True):
        set_seed(0)
        model = build_model(hidden_size, num_layers).to(device, getattr(torch, arguments.dtype))
        llama = LlamaForCausalLM(model.config.text_config).eval()
        llama.model, llama.lm_head = model.model.language_model, model.lm_head
        prompt = torch.randint(3, 32000, (arguments.batch_size, 20), device=device)
        num_tokens = arguments.num_visual_tokens
        total = arguments.batch_size * (num_tokens + model.config.motion_tokenizer_config.num_motion_tokens)

        def generate_ours(model=model, prompt=prompt, num_tokens=num_tokens):
            return model.generate(
                prompt, generation_mode="video", min_new_tokens=num_tokens, max_new_tokens=num_tokens
            )

        def generate_theirs(model=model, llama=llama, prompt=prompt, num_tokens=num_tokens):
            return generate_with_llama(model, llama, prompt, num_tokens)

        ours = total / measure(generate_ours, arguments.repeats, device)
        theirs = total / measure(generate_theirs, arguments.repeats, device)
        print(f"| {hidden_size} | {num_layers} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
