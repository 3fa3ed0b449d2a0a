"""The causal language model under what the libraries around it do: adapters, offload, compilation, tying, parallelism."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import load_tiny_causal_lm, tiny_config

from transformers_videolavit import VideoLaVITForCausalLM


@pytest.fixture
def inputs(mixed):
    (sequence, _, _), (alone, _, _) = mixed
    return {"input_ids": torch.tensor([sequence]), **alone}


def assert_close(actual, expected, tolerance=1e-4):
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@torch.no_grad()
def test_lora_merges_and_round_trips_with_the_enlarged_vocabulary(inputs, tmp_path):
    torch.manual_seed(0)
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    base_logits = model(**inputs).logits
    config = LoraConfig(
        r=4,
        target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)",
        modules_to_save=["embed_tokens", "lm_head"],
    )
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    logits = adapted(**inputs).logits
    assert (logits - base_logits).abs().max() > 0.1
    ids = adapted.generate(inputs["input_ids"][:, :3], generation_mode="video", min_new_tokens=3, max_new_tokens=3)
    assert ids.shape == (1, 3 + 5 + 137)

    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(load_tiny_causal_lm(instruction_tuned=True).eval(), tmp_path)
    assert_close(loaded(**inputs).logits, logits, 1e-6)
    adapted.merge_adapter()
    assert_close(adapted(**inputs).logits, logits)
    adapted.unmerge_adapter()
    assert_close(adapted(**inputs).logits, logits)
    merged = adapted.merge_and_unload()
    assert isinstance(merged, VideoLaVITForCausalLM)
    assert_close(merged(**inputs).logits, logits)


@pytest.mark.parametrize("offloaded", ["model.language_model", "model.keyframe_tokenizer", "lm_head"])
def test_disk_offload(inputs, offloaded, tmp_path):
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    arguments = {"generation_mode": "video", "do_sample": False, "min_new_tokens": 3, "max_new_tokens": 3}
    logits, ids = model(**inputs).logits, model.generate(**inputs, **arguments)
    model.save_pretrained(tmp_path / "model")
    device_map = {
        name: "disk" if name == offloaded else "cpu"
        for name in (
            "model.language_model",
            "model.keyframe_tokenizer",
            "model.motion_tokenizer",
            "model.multi_modal_projector",
            "lm_head",
        )
    }
    loaded = VideoLaVITForCausalLM.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
    ).eval()
    assert_close(loaded(**inputs).logits, logits, 1e-6)
    assert torch.equal(loaded.generate(**inputs, **arguments), ids)


def test_automatic_device_map_within_a_small_budget(inputs, tmp_path):
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    logits = model(**inputs).logits
    model.save_pretrained(tmp_path / "model")
    loaded = VideoLaVITForCausalLM.from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": "4MB"}, offload_folder=tmp_path / "offload"
    ).eval()
    assert "disk" in loaded.hf_device_map.values() and "cpu" in map(str, loaded.hf_device_map.values())
    assert_close(loaded(**inputs).logits, logits, 1e-6)


@torch.no_grad()
def test_text_compiles_to_one_graph():
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    input_ids = torch.tensor([[1, 5, 6, 7]])
    expected = model(input_ids, use_cache=False).logits
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(input_ids, use_cache=False).logits, expected)


def test_tied_embeddings(tmp_path):
    config = tiny_config()
    config.tie_word_embeddings = True
    model = VideoLaVITForCausalLM(config)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded = VideoLaVITForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    torch.testing.assert_close(loaded.lm_head.weight, model.lm_head.weight)
    assert not VideoLaVITForCausalLM(tiny_config()).config.tie_word_embeddings


def test_parallel_plans_and_modules_that_stay_whole_exist():
    model = VideoLaVITForCausalLM(tiny_config())
    names = {name for name, _ in model.named_modules()}
    assert model.tp_plan
    for pattern in model.tp_plan:
        assert any(pattern.replace("*", "0") == name for name in names), pattern
    classes = {type(module).__name__ for module in model.modules()}
    assert set(model._no_split_modules) <= classes


@torch.no_grad()
def test_attention_switches_after_loading(inputs):
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    expected = model(**inputs).logits
    model.set_attn_implementation("eager")
    assert_close(model(**inputs).logits, expected, 1e-5)
    model.set_attn_implementation({"vision_config": "sdpa", "text_config": "eager"})
    assert model.config.text_config._attn_implementation == "eager"
    assert model.config.vision_config._attn_implementation == "sdpa"
    assert_close(model(**inputs).logits, expected, 1e-5)
