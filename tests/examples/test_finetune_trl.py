"""Stage 3 by TRL's trainer."""

import json

import torch
from training_media import write_images

from transformers_videolavit import VideoLaVITForCausalLM


def test_trl_takes_model_and_processor_as_they_are(tmp_path):
    from finetune_trl import main
    from small_random_model import build_language_model

    model, processor = build_language_model()
    # In half precision, as checkpoints are shared; compared with what that leaves of the weights.
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
    main([*map(str, args), "--report_to", "none"])
    trained = VideoLaVITForCausalLM.from_pretrained(tmp_path / "out")
    assert trained.dtype == torch.float32
    assert not torch.equal(trained.lm_head.weight, model.lm_head.weight)
    frozen = "model.keyframe_tokenizer.vision_model.layers.0.mlp.fc1.weight"
    assert torch.equal(trained.state_dict()[frozen], model.state_dict()[frozen])
