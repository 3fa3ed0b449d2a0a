"""The selector of the small world's keyframe tokenizer."""

import pytest
import torch
from training_runs import logged

from transformers_videolavit import VideoLaVITKeyframeTokenizer, VideoLaVITKeyframeTokenizerConfig


ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from small_world.dataset import SmallWorldOptions, write_dataset

    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, SmallWorldOptions(frame_size=(64, 64)), num_videos=0, num_images=8)
    return folder


@pytest.fixture
def tokenizer(tmp_path):
    torch.manual_seed(0)
    config = VideoLaVITKeyframeTokenizerConfig(
        vision_config={**ENCODER, "image_size": 32, "patch_size": 8, "projection_dim": 8},
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        decoder_num_hidden_layers=1,
        codebook_size=16,
        codebook_dim=4,
    )
    VideoLaVITKeyframeTokenizer(config).save_pretrained(tmp_path / "features")
    return tmp_path / "features"


def test_it_keeps_the_patches_near_objects_and_changes_nothing_else(data, tokenizer, tmp_path):
    from train_small_world_selector import main

    settings = {"model_name_or_path": tokenizer, "train_data": data, "eval_data": data, "output_dir": tmp_path / "out"}
    settings |= {"max_steps": 150, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 1}
    settings |= {"lr_scheduler_type": "constant", "disable_tqdm": True, "save_steps": 1000}
    main(["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))])
    assert logged(tmp_path / "out", "accuracy")[-1] > 0.95
    before, after = (VideoLaVITKeyframeTokenizer.from_pretrained(path) for path in (tokenizer, tmp_path / "out"))
    changed = {
        name.partition(".")[0]
        for (name, old), new in zip(before.state_dict().items(), after.state_dict().values())
        if not torch.equal(old, new)
    }
    assert changed == {"selector"}


def test_the_gap_is_the_one_within_which_that_share_of_patches_lies(data):
    from small_world.dataset import image_sample
    from small_world.patches import label_patches
    from train_small_world_selector import LabelledImages, find_max_gap

    dataset = LabelledImages(str(data), None, 4, 0)
    gap = find_max_gap(dataset, 0.3)
    gaps = torch.stack([label_patches(image_sample(dataset.options, index).scene, 4)["gap"] for index in range(500)])
    assert (gaps <= gap).float().mean() == pytest.approx(0.3, abs=0.03)
