"""Stage 1 of the motion tokenizer."""

import json

import numpy as np
import pytest
import torch
from training_media import write_videos
from training_runs import kill_when, logged, run, start

from transformers_videolavit import VideoLaVITMotionTokenizer


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_layers_per_stage": 1,
    "codebook_size": 16,
    "codebook_dim": 8,
    "initializer_range": 0.1,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), 8)


def arguments(videos, output_dir, **kwargs):
    settings = {"train_videos": videos, "output_dir": output_dir, "config_overrides": json.dumps(SIZES)}
    settings |= {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1}
    settings |= {"save_steps": 2, "lr_scheduler_type": "constant", "disable_tqdm": True} | kwargs
    return ["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))]


@pytest.fixture(scope="module")
def uninterrupted(videos, tmp_path_factory):
    from train_motion_tokenizer import main

    folder = tmp_path_factory.mktemp("uninterrupted")
    main(arguments(videos, folder, eval_videos=videos, eval_strategy="steps", eval_steps=4, report_to="tensorboard"))
    return folder


def test_a_run_writes_a_tokenizer_its_card_and_pictures(uninterrupted):
    model = VideoLaVITMotionTokenizer.from_pretrained(uninterrupted)
    codes = model.encode(torch.randn(1, 2, 24, 20, 36))
    assert model.decode(codes).shape == (1, 2, 24, 20, 36) and bool(model.quantizer.is_initialized)
    assert "motion tokenizer" in (uninterrupted / "README.md").read_text()
    assert list((uninterrupted / "samples").glob("motion-0000004.png"))
    assert list(uninterrupted.rglob("events.out.tfevents*"))


def test_reconstruction_commitment_and_use_of_the_codebook_are_logged(uninterrupted):
    for name in ("reconstruction_loss", "commitment_loss", "perplexity", "codebook_usage"):
        assert len(logged(uninterrupted, name)) == 4 and logged(uninterrupted, f"eval_{name}")


def test_a_killed_run_resumes_to_exactly_the_same_losses(videos, uninterrupted, tmp_path):
    args = arguments(videos, tmp_path)
    kill_when(start("train_motion_tokenizer", *args), tmp_path / "checkpoint-2" / "complete")
    run("train_motion_tokenizer", *args)
    assert logged(tmp_path) == logged(uninterrupted)
    expected = VideoLaVITMotionTokenizer.from_pretrained(uninterrupted).state_dict()
    for name, tensor in VideoLaVITMotionTokenizer.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_two_processes_give_the_loss_curve_and_the_codebook_of_one(videos, uninterrupted, tmp_path):
    """From a codebook that has begun: where k-means starts is drawn by each process from its own vectors."""
    args = {"model_name_or_path": uninterrupted}
    run("train_motion_tokenizer", *arguments(videos, tmp_path / "one", **args))
    args |= {"per_device_train_batch_size": 2}
    run("train_motion_tokenizer", *arguments(videos, tmp_path / "two", **args), num_processes=2)
    np.testing.assert_allclose(logged(tmp_path / "two"), logged(tmp_path / "one"), rtol=0, atol=1e-4)
    one, two = (VideoLaVITMotionTokenizer.from_pretrained(tmp_path / name).quantizer for name in ("one", "two"))
    torch.testing.assert_close(one.cluster_size, two.cluster_size, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.codebook, two.codebook, rtol=0, atol=1e-4)


def test_gradients_reach_everything_but_the_codebook(videos, tmp_path):
    from train_motion_tokenizer import main

    settings = {"max_steps": 1, "weight_decay": 0.0}
    main(arguments(videos, tmp_path / "a", **settings))
    main(arguments(videos, tmp_path / "b", model_name_or_path=tmp_path / "a", save_steps=1, **settings))
    before, after = (VideoLaVITMotionTokenizer.from_pretrained(tmp_path / name) for name in ("a", "b"))
    parameters = dict(before.named_parameters())
    assert not [name for name, tensor in after.named_parameters() if torch.equal(tensor, parameters[name])]
    optimizer = torch.load(tmp_path / "b" / "checkpoint-1" / "optimizer.pt")
    assert len(optimizer["state"]) == len(parameters) - 1


def test_the_codebook_follows_its_vectors_by_the_moving_average(videos, tmp_path):
    """One step of the program against the closed form: e <- normalize(d e + (1 - d) m), n <- d n + (1 - d) c."""
    from train_motion_tokenizer import collate, main
    from training.clips import VideoClipDataset, find_media

    from transformers_videolavit import VideoLaVITVideoProcessor

    sizes = json.dumps(SIZES | {"codebook_revival_threshold": 0.0})
    main(arguments(videos, tmp_path / "a", max_steps=1, config_overrides=sizes))
    settings = {"max_steps": 1, "per_device_train_batch_size": 8, "model_name_or_path": tmp_path / "a"}
    main(arguments(videos, tmp_path / "b", **settings))
    before, after = (VideoLaVITMotionTokenizer.from_pretrained(tmp_path / name) for name in ("a", "b"))

    dataset = VideoClipDataset(find_media([str(videos)], "video"), VideoLaVITVideoProcessor(), seed=42)
    with torch.no_grad():
        motion = collate([dataset[index] for index in range(8)])["motion_vectors"]
        vectors = torch.nn.functional.normalize(before.encoder_projection(before.encoder(motion)), dim=-1).flatten(
            0, -2
        )
        codebook, decay = before.quantizer.codebook, before.config.codebook_decay
        codes = torch.cdist(vectors, codebook).argmin(dim=1)
        for code in range(len(codebook)):
            chosen = vectors[codes == code]
            count = decay * before.quantizer.cluster_size[code] + (1 - decay) * len(chosen)
            torch.testing.assert_close(after.quantizer.cluster_size[code], count, rtol=1e-4, atol=1e-4)
            expected = codebook[code]
            if len(chosen) > 0:
                mean = torch.nn.functional.normalize(chosen.mean(dim=0), dim=0)
                expected = torch.nn.functional.normalize(decay * expected + (1 - decay) * mean, dim=0)
            torch.testing.assert_close(after.quantizer.codebook[code], expected, rtol=0, atol=1e-4)


def test_a_few_clips_are_learned_by_heart(tmp_path):
    from train_motion_tokenizer import main

    videos = write_videos(tmp_path / "videos", 1, num_frames=24)
    settings = {"max_steps": 60, "per_device_train_batch_size": 1, "learning_rate": 1e-2, "save_steps": 1000}
    main(arguments(videos, tmp_path / "out", **settings))
    losses = logged(tmp_path / "out", "reconstruction_loss")
    assert np.mean(losses[-5:]) < losses[0] / 10
