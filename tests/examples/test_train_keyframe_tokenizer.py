"""Stage 1 of the keyframe tokenizer, in its two phases."""

import json

import numpy as np
import pytest
import torch
from training_media import write_images, write_videos
from training_runs import kill_when, logged, run, start

from transformers_videolavit import VideoLaVITKeyframeTokenizer


SIZES = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
        "projection_dim": 16,
    },
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "codebook_size": 16,
    "codebook_dim": 8,
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Folders of images and of videos."""
    folder = tmp_path_factory.mktemp("media")
    return write_images(folder / "images", 12), write_videos(folder / "videos", 4)


def arguments(media, output_dir, **kwargs):
    settings = {"train_images": media[0], "train_videos": media[1], "output_dir": output_dir, "phase": "features"}
    settings |= {"config_overrides": json.dumps(SIZES), "max_steps": 4, "per_device_train_batch_size": 4}
    settings |= {"learning_rate": 1e-3, "logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant"}
    settings |= {"disable_tqdm": True} | kwargs
    return ["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))]


@pytest.fixture(scope="module")
def trained(media, tmp_path_factory):
    """The output folders of both phases."""
    from train_keyframe_tokenizer import main

    folder = tmp_path_factory.mktemp("trained")
    evaluation = {"eval_images": media[0], "eval_strategy": "steps", "eval_steps": 4}
    main(arguments(media, folder / "features", **evaluation))
    main(
        arguments(media, folder / "quantizer", phase="quantizer", model_name_or_path=folder / "features", **evaluation)
    )
    return folder


def changed(before, after):
    before, after = (VideoLaVITKeyframeTokenizer.from_pretrained(folder) for folder in (before, after))
    parameters = dict(before.named_parameters())
    return {name for name, tensor in after.named_parameters() if not torch.equal(tensor, parameters[name])}


def test_both_phases_log_what_they_are_about(trained):
    for phase, names in (
        ("features", ("reconstruction_loss", "keep_rate", "keep_rate_loss")),
        ("quantizer", ("reconstruction_loss", "keep_rate", "commitment_loss", "perplexity", "codebook_usage")),
    ):
        for name in names:
            assert len(logged(trained / phase, name)) == 4 and logged(trained / phase, f"eval_{name}")
        assert list((trained / phase / "samples").glob("selection-0000004.png"))


def test_the_result_tokenizes(trained):
    model = VideoLaVITKeyframeTokenizer.from_pretrained(trained / "quantizer")
    codes = model.encode(torch.randn(2, 3, 56, 56))
    assert len(codes) == 2 and bool(model.quantizer.is_initialized)
    assert "dynamic visual tokenizer" in (trained / "quantizer" / "README.md").read_text()


@pytest.mark.parametrize("phase", ["features", "quantizer"])
def test_each_phase_trains_exactly_its_parameters(media, trained, tmp_path, phase):
    from train_keyframe_tokenizer import main

    settings = {"phase": phase, "model_name_or_path": trained / "quantizer", "max_steps": 2, "weight_decay": 0.0}
    main(arguments(media, tmp_path, **settings))
    names = {name for name, _ in VideoLaVITKeyframeTokenizer.from_pretrained(tmp_path).named_parameters()}
    frozen = ("vision_model.", "quantizer.") if phase == "features" else ("vision_model.", "selector.")
    assert changed(trained / "quantizer", tmp_path) == {name for name in names if not name.startswith(frozen)}


def test_a_killed_run_resumes_to_exactly_the_same_losses(media, trained, tmp_path):
    args = arguments(media, tmp_path, phase="quantizer", model_name_or_path=trained / "features")
    kill_when(start("train_keyframe_tokenizer", *args), tmp_path / "checkpoint-2" / "complete")
    run("train_keyframe_tokenizer", *args)
    assert logged(tmp_path) == logged(trained / "quantizer")


def test_features_are_restored_and_the_keep_rate_comes_near_a_third(media, tmp_path):
    from train_keyframe_tokenizer import main

    few = (write_images(tmp_path / "images", 2), write_videos(tmp_path / "videos", 1))
    settings = {"max_steps": 250, "learning_rate": 5e-3, "save_steps": 1000, "per_device_train_batch_size": 3}
    main(arguments(few, tmp_path / "out", **settings))
    losses, keep_rates = logged(tmp_path / "out", "reconstruction_loss"), logged(tmp_path / "out", "keep_rate")
    # From eight dimensions, and patches that are sampled anew in each step, it does not get to zero.
    assert losses[0] > 0.9 and np.mean(losses[-10:]) < 0.35
    assert abs(np.mean(keep_rates[-10:]) - 1 / 3) < 0.1


def test_an_unknown_phase_and_missing_data_are_refused():
    from train_keyframe_tokenizer import DataArguments, ModelArguments

    with pytest.raises(ValueError, match="'both'"):
        ModelArguments(phase="both")
    with pytest.raises(ValueError, match="train_images"):
        DataArguments()


def test_the_projection_starts_from_principal_components(trained, media):
    from train_keyframe_tokenizer import start_from_principal_components
    from training.clips import ImageDataset, find_media

    from transformers_videolavit import VideoLaVITImageProcessor

    model = VideoLaVITKeyframeTokenizer.from_pretrained(trained / "features").eval()
    dataset = ImageDataset(find_media([media[0]], "image"), VideoLaVITImageProcessor(size={"height": 56, "width": 56}))
    before = model.encoder_projection.fc1.weight.clone()
    start_from_principal_components(model, dataset, batch_size=5)
    pixel_values = torch.stack([dataset[index]["pixel_values"] for index in range(len(dataset))])
    with torch.no_grad():
        features = model.select_and_merge(pixel_values).features
        components = model.encoder_projection.fc1(features)[:, : SIZES["codebook_dim"]]
        assert not torch.equal(model.encoder_projection.fc1.weight, before)
        torch.testing.assert_close(model.encoder_projection(features), components.tanh())
    # They have nothing to do with each other, and are small enough for the tangent to be almost linear.
    covariance = torch.cov(components.T)
    torch.testing.assert_close(covariance, 0.4**2 * torch.eye(len(covariance)), atol=5e-3, rtol=0)
    # There are more codes than features here: each is one of them.
    assert model.quantizer.is_initialized
    with torch.no_grad():
        quantized, _, _ = model.quantizer(components.tanh())
    torch.testing.assert_close(quantized, torch.nn.functional.normalize(components.tanh(), dim=-1))


def test_a_new_codebook_is_trained_from_principal_components(trained, media, tmp_path):
    from train_keyframe_tokenizer import main

    settings = {"phase": "quantizer", "model_name_or_path": trained / "features", "max_steps": 1}
    main(arguments(media, tmp_path / "new", projection_start="principal_components", **settings))
    new = VideoLaVITKeyframeTokenizer.from_pretrained(tmp_path / "new")
    old = VideoLaVITKeyframeTokenizer.from_pretrained(trained / "features")
    assert not torch.allclose(new.encoder_projection.fc1.weight, old.encoder_projection.fc1.weight, atol=2e-3)
    with pytest.raises(ValueError, match="must be random or principal_components"):
        main(arguments(media, tmp_path / "wrong", projection_start="best"))


def test_the_codebook_is_trained_alone(trained, media, tmp_path):
    from train_keyframe_tokenizer import main

    settings = {"phase": "quantizer", "model_name_or_path": trained / "features", "train_merger": False}
    main(arguments(media, tmp_path / "new", **settings))
    new = VideoLaVITKeyframeTokenizer.from_pretrained(tmp_path / "new").state_dict()
    old = VideoLaVITKeyframeTokenizer.from_pretrained(trained / "features").state_dict()
    changed = {name.split(".")[0] for name, tensor in new.items() if not torch.equal(tensor, old[name])}
    assert changed == {"quantizer", "decoder"}
    with pytest.raises(ValueError, match="`train_merger` must be true"):
        main(arguments(media, tmp_path / "wrong", train_merger=False))
