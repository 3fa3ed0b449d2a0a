"""What the programs that train the language model log."""

import torch


def test_losses_are_apart_by_modality_and_added_tokens_are_text():
    from small_random_model import small_config
    from training.language_modeling import modality_means

    config = small_config()
    added = config.motion_code_offset + config.num_motion_codes
    labels = [5, added, config.image_start_token_id, config.visual_code_offset, config.image_end_token_id]
    labels += [config.motion_start_token_id, config.motion_code_offset, added - 1]
    means, counts = modality_means(torch.arange(8.0), torch.tensor(labels), config)
    assert {name: float(mean) for name, mean in means.items()} == {
        "loss_text": 0.5,
        "loss_visual": 3.0,
        "loss_motion": 6.0,
    }
    assert {name: int(count) for name, count in counts.items()} == {
        "loss_text": 2,
        "loss_visual": 3,
        "loss_motion": 3,
    }
    means, _ = modality_means(torch.ones(1), torch.tensor([5]), config)
    assert means["loss_motion"].isnan() and means["loss_text"] == 1
