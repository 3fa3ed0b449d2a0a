"""Stage 3 by TRL's trainer."""

import json

import pytest
import torch
from training_media import write_images

from transformers_videolavit import VideoLaVITForCausalLM, VideoLaVITProcessor


@pytest.fixture
def prepared(tmp_path):
    """A model in half precision, as checkpoints are shared, what that leaves of its weights, its processor, and the arguments."""
    from small_random_model import build_language_model

    model, processor = build_language_model()
    model.half().save_pretrained(tmp_path / "model")
    model.float()
    processor.save_pretrained(tmp_path / "model")
    write_images(tmp_path / "images", 4)
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Blocks."}]
    rows = [{"id": str(index), "image": f"{index}.png", "conversations": turns} for index in range(4)]
    (tmp_path / "conversations.json").write_text(json.dumps(rows))
    args = ["--model_name_or_path", tmp_path / "model", "--conversations", tmp_path / "conversations.json"]
    args += ["--media_root", tmp_path / "images", "--output_dir", tmp_path / "out", "--max_steps", 2]
    args += ["--per_device_train_batch_size", 2, "--learning_rate", 1e-3, "--use_cpu", "true", "--bf16", "false"]
    return model, processor, [*map(str, args), "--report_to", "none"]


def test_trl_takes_model_and_processor_as_they_are(prepared, tmp_path):
    from finetune_trl import main

    model, processor, args = prepared
    main(args)
    trained = VideoLaVITForCausalLM.from_pretrained(tmp_path / "out")
    assert trained.dtype == torch.float32
    assert not torch.equal(trained.lm_head.weight, model.lm_head.weight)
    frozen = "model.keyframe_tokenizer.vision_model.layers.0.mlp.fc1.weight"
    assert torch.equal(trained.state_dict()[frozen], model.state_dict()[frozen])
    assert VideoLaVITProcessor.from_pretrained(tmp_path / "out").chat_template == processor.chat_template


@pytest.mark.parametrize("assistant_only", [True, False])
def test_the_answer_is_learnt_after_the_prompt_that_it_is_given_to(prepared, tmp_path, monkeypatch, assistant_only):
    from finetune_trl import main
    from transformers.image_utils import load_image
    from trl import SFTTrainer

    _, processor, args = prepared
    batches = []
    monkeypatch.setattr(SFTTrainer, "train", lambda self: batches.extend(self.get_train_dataloader()))
    monkeypatch.setattr(SFTTrainer, "save_model", lambda self: None)
    main(args if assistant_only else [*args, "--assistant_only_loss", "false"])
    content = [{"type": "image", "image": load_image(str(tmp_path / "images" / "0.png"))}]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": "What?"}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    (prompt_ids,) = prompt["input_ids"]
    assert prompt_ids[0] == processor.tokenizer.bos_token_id
    for ids, labels in zip(batches[0]["input_ids"].tolist(), batches[0]["labels"].tolist()):
        assert ids[: len(prompt_ids)] == prompt_ids
        assert processor.tokenizer.decode(ids[len(prompt_ids) :]) == "Blocks. \\n </s>"
        if assistant_only:
            assert labels == [-100] * len(prompt_ids) + ids[len(prompt_ids) :]
        else:
            assert labels == ids
