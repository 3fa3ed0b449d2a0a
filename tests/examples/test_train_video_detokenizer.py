"""Stage 1 of the video detokenizer."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from training_media import write_videos
from training_runs import kill_when, logged, run, start

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoLaVITMotionTokenizer, VideoLaVITMotionTokenizerConfig


UNET = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "num_attention_heads": (2, 4),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
MOTION_ENCODER = {"hidden_size": 16, "num_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of videos, a random autoencoder and a random motion tokenizer."""
    folder = tmp_path_factory.mktemp("parts")
    write_videos(folder / "videos", 4, num_frames=24, height=32, width=32)
    torch.manual_seed(0)
    AutoencoderKLTemporalDecoder(block_out_channels=(32,), layers_per_block=1).save_pretrained(folder / "vae")
    config = VideoLaVITMotionTokenizerConfig(
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=1,
        num_layers_per_stage=1,
        codebook_size=8,
        codebook_dim=4,
    )
    VideoLaVITMotionTokenizer(config).save_pretrained(folder / "motion_tokenizer")
    return folder


def arguments(parts, output_dir, **kwargs):
    settings = {"train_videos": parts / "videos", "vae": parts / "vae", "output_dir": output_dir}
    settings |= {"motion_tokenizer": parts / "motion_tokenizer", "unet_config": json.dumps(UNET)}
    settings |= {"motion_encoder_config": json.dumps(MOTION_ENCODER), "height": 16, "width": 16, "max_steps": 4}
    settings |= {"per_device_train_batch_size": 2, "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 2}
    settings |= {"lr_scheduler_type": "constant", "disable_tqdm": True, "sample_steps": 2} | kwargs
    settings = {name: value for name, value in settings.items() if value is not None}
    return ["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))]


@pytest.fixture(scope="module")
def uninterrupted(parts, tmp_path_factory):
    from train_video_detokenizer import main

    folder = tmp_path_factory.mktemp("uninterrupted")
    main(arguments(parts, folder))
    return folder


def make_model(parts, **kwargs):
    from train_video_detokenizer import ModelArguments, ObjectiveArguments, VideoDetokenizerForTraining, build_pipeline

    torch.manual_seed(0)
    args = ModelArguments(
        vae=str(parts / "vae"),
        unet_config=UNET,
        motion_encoder_config=MOTION_ENCODER,
        motion_tokenizer=str(parts / "motion_tokenizer"),
    )
    pipe = build_pipeline(args)
    return pipe, VideoDetokenizerForTraining(pipe, ObjectiveArguments(**kwargs), fps=6)


def test_a_run_writes_a_pipeline_that_makes_frames(uninterrupted):
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(uninterrupted)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    image, motion = torch.rand(3, 16, 16, generator=generator), torch.randn(1, 2, 24, 20, 36, generator=generator)
    size = {"height": 16, "width": 16, "num_inference_steps": 2, "output_type": "pt"}
    frames = pipe(image=image, motion_vectors=motion, generator=generator, **size).frames
    assert frames.shape == (1, 24, 3, 16, 16) and pipe.motion_tokenizer is not None
    assert "video detokenizer" in (uninterrupted / "README.md").read_text()


def test_the_pipeline_has_the_moving_average_of_the_weights(uninterrupted):
    from safetensors.torch import load_file

    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(uninterrupted)
    averages = torch.load(uninterrupted / "checkpoint-4" / "ema.pt", weights_only=True)["shadow_params"]
    assert all(torch.equal(left, right) for left, right in zip(pipe.unet.parameters(), averages))
    last = load_file(uninterrupted / "checkpoint-4" / "model.safetensors")
    assert not torch.equal(last["unet.conv_in.weight"], pipe.unet.conv_in.weight)
    # Frozen helpers are not in the checkpoints.
    assert {name.split(".")[0] for name in last} == {"unet", "motion_encoder"}


def test_a_killed_run_resumes_to_exactly_the_same_losses_and_averages(parts, uninterrupted, tmp_path):
    args = arguments(parts, tmp_path)
    kill_when(start("train_video_detokenizer", *args), tmp_path / "checkpoint-2" / "complete")
    run("train_video_detokenizer", *args)
    assert logged(tmp_path) == logged(uninterrupted)
    expected = VideoLaVITDetokenizerPipeline.from_pretrained(uninterrupted).unet.state_dict()
    for name, tensor in VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path).unet.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_motion_and_keyframe_are_left_out_together(parts):
    """With the conditions dropped, what they are makes no difference."""
    _, model = make_model(parts, condition_dropout=0.0, quantized_motion_probability=0.0)
    generator = torch.Generator().manual_seed(0)
    noisy, keyframe = (torch.randn(1, *shape, generator=generator) for shape in ((3, 4, 4, 4), (4, 4, 4)))
    sigmas, time_ids = torch.tensor([1.5]), torch.tensor([[6.0, 127.0, 0.02]])
    outputs = []
    with torch.no_grad():
        for keep in (0.0, 1.0):
            for scale in (1.0, 2.0):
                motion = scale * torch.ones(1, 2, 3, 4, 4)
                keep_mask = torch.tensor([keep])
                outputs.append(model.denoise(noisy, sigmas, scale * keyframe, motion, keep_mask, time_ids))
    assert torch.equal(outputs[0], outputs[1]) and not torch.allclose(outputs[2], outputs[3])


def test_a_step_of_training_sees_what_a_step_of_inference_sees(parts):
    """The denoiser's estimate is the sampler's, through the pipeline's own steps, for the same latents and conditions."""
    pipe, model = make_model(parts)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    latents, image = torch.randn(1, 24, 4, 16, 16, generator=generator), torch.rand(1, 3, 16, 16, generator=generator)
    motion = torch.randn(1, 2, 24, 16, 16, generator=generator)
    keyframe_latents = pipe.encode_keyframes(image, 0.0)
    time_ids = model.time_ids(torch.tensor([0.02]))
    pipe._guidance_scale = torch.ones(1)
    with torch.no_grad():
        # The last of one step: the sampler returns its estimate of the latents.
        expected = pipe.denoise(latents, motion, keyframe_latents, 1, time_ids)
        sigma = pipe.scheduler.sigmas[:1]
        noisy = latents * pipe.scheduler.init_noise_sigma
        denoised = model.denoise(noisy, sigma, keyframe_latents, motion, torch.ones(1), time_ids)
    torch.testing.assert_close(denoised, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("cached", [False, True])
def test_first_frames_of_clips_can_be_trained_on_alone(parts, cached):
    from train_video_detokenizer import ObjectiveArguments, collate, encode_clips

    pipe, model = make_model(parts, num_frames=5, quantized_motion_probability=0.5)
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(2, 2, 24, 20, 36, generator=generator)
    items = [
        {"frames": torch.rand(24, 3, 16, 16, generator=generator), "motion_vectors": motion[index]} for index in (0, 1)
    ]
    batch = encode_clips(pipe.vae, collate(items)) if cached else collate(items)
    seen = {}
    model.unet.register_forward_pre_hook(lambda module, args: seen.update(sample=args[0], features=args[2]))
    model(**batch)["loss"].backward()
    assert seen["sample"].shape[:2] == seen["features"].shape[:2] == (2, 5)
    with pytest.raises(ValueError, match="`num_frames` is at least 1, but it is 0"):
        ObjectiveArguments(num_frames=0)


def test_a_part_of_the_motion_goes_through_its_tokens(parts):
    _, model = make_model(parts, quantized_motion_probability=1.0)
    motion_vectors = torch.randn(2, 2, 24, 20, 36, generator=torch.Generator().manual_seed(0))
    tokenizer = model.helper("motion_tokenizer")
    expected = tokenizer.decode(tokenizer.encode(motion_vectors), height=4, width=4)
    torch.testing.assert_close(model.prepare_motion(motion_vectors, 4, 4), expected)
    model.args.quantized_motion_probability = 0.0
    fields = torch.nn.functional.interpolate(motion_vectors[:, :, 5], size=(4, 4), mode="bicubic") / 10
    torch.testing.assert_close(model.prepare_motion(motion_vectors, 4, 4)[:, :, 5], fields)


@pytest.mark.parametrize("trainable", ["all", "new", "temporal"])
def test_exactly_the_chosen_layers_are_trained(parts, tmp_path, trainable):
    from train_video_detokenizer import main

    pipe, _ = make_model(parts)
    pipe.save_pretrained(tmp_path / "start")
    settings = {"vae": None, "unet_config": None, "motion_encoder_config": None, "max_steps": 2, "ema_decay": 0.0}
    settings |= {"pipeline_name_or_path": tmp_path / "start", "condition_dropout": 0.0, "trainable": trainable}
    main(arguments(parts, tmp_path / "out", **settings))
    trained = VideoLaVITDetokenizerPipeline.from_pretrained(tmp_path / "out")
    changed = {
        f"{part}.{name}"
        for part in ("unet", "motion_encoder", "vae")
        for name, tensor in getattr(trained, part).named_parameters()
        if not torch.equal(tensor, dict(getattr(pipe, part).named_parameters())[name])
    }
    names = [
        f"{part}.{name}" for part in ("unet", "motion_encoder") for name, _ in getattr(pipe, part).named_parameters()
    ]
    new = {name for name in names if name.startswith(("motion_encoder.", "unet.conv_in.")) or ".attn2." in name}
    temporal = {name for name in names if "temporal" in name or "time_mix" in name}
    expected = {"all": set(names), "new": new, "temporal": new | temporal}[trainable]
    # Keys have no bias of which a softmax takes notice; a frame's number is one for the first.
    assert changed <= expected and len(expected - changed) <= 0.02 * len(expected)


def test_stable_video_diffusion_gives_all_but_the_new_layers(parts, tmp_path):
    import re

    from train_video_detokenizer import NEW_PARAMETERS, start_from_stable_video_diffusion

    torch.manual_seed(1)
    source = UNetSpatioTemporalConditionModel(**UNET | {"in_channels": 8})
    source.save_pretrained(tmp_path / "unet")
    unet = start_from_stable_video_diffusion(str(tmp_path))
    weights = source.state_dict()
    assert unet.conv_in.weight.shape[1] == 10
    for name, tensor in unet.state_dict().items():
        is_new = re.search(NEW_PARAMETERS, f"unet.{name}") is not None
        assert is_new or torch.equal(tensor, weights[name]), name


def test_two_clips_are_learned_by_heart(parts):
    """At fixed noise: the loss falls tenfold."""
    _, model = make_model(parts, condition_dropout=0.0, quantized_motion_probability=0.0)
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 4, 3, 8, 8, generator=generator) * 2 - 1
    motion_vectors = torch.randn(2, 2, 4, 20, 36, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        torch.manual_seed(0)
        loss = model(motion_vectors, frames)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


def test_pictures_are_drawn_in_evaluation(parts, tmp_path):
    from train_video_detokenizer import main

    main(arguments(parts, tmp_path, max_steps=1, eval_videos=parts / "videos", eval_strategy="steps", eval_steps=1))
    assert logged(tmp_path, "eval_loss") and list((tmp_path / "samples").glob("video-*.png"))


def test_gradient_checkpointing_changes_no_loss(parts, tmp_path):
    from train_video_detokenizer import main

    for name, is_used in (("without", False), ("with", True)):
        main(arguments(parts, tmp_path / name, max_steps=2, gradient_checkpointing=is_used))
    np.testing.assert_allclose(logged(tmp_path / "with"), logged(tmp_path / "without"), rtol=1e-5)


def test_pictures_have_the_averages_and_training_its_own_weights(parts, tmp_path):
    from training.arguments import VideoLaVITTrainingArguments
    from training.diffusion import MovingAverageTrainer

    _, model = make_model(parts)
    args = VideoLaVITTrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=1)
    trainer = MovingAverageTrainer(model=model, args=args, ema_decay=0.9)
    average = [shadow.clone() for shadow in trainer.ema.shadow_params]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    with trainer.moving_average():
        assert all(torch.equal(left, right) for left, right in zip(model.parameters(), average))
    assert all(torch.equal(left, right) for left, right in zip(model.parameters(), trained))
    with pytest.raises(ValueError, match="`ema_decay`"):
        MovingAverageTrainer(model=model, args=args, ema_decay=1.0)


def test_each_process_draws_noise_of_its_own(parts, tmp_path):
    """Of two processes that see the same clip, the first draws what one process draws; the second must not."""
    from train_video_detokenizer import main

    video = (parts / "videos" / "0.mp4").read_bytes()
    (tmp_path / "videos").mkdir()
    for index in range(2):
        (tmp_path / "videos" / f"{index}.mp4").write_bytes(video)
    settings = {"train_videos": tmp_path / "videos", "max_steps": 1, "per_device_train_batch_size": 1}
    main(arguments(parts, tmp_path / "1", **settings))
    run("train_video_detokenizer", *arguments(parts, tmp_path / "2", **settings), num_processes=2)
    (one,), (two,) = logged(tmp_path / "1"), logged(tmp_path / "2")
    assert abs(one - two) > 1e-3


@pytest.mark.parametrize("engine", ["fsdp", "deepspeed"])
def test_engines_that_shard_weights_are_refused_before_training(parts, tmp_path, monkeypatch, engine):
    from training import diffusion
    from training.arguments import VideoLaVITTrainingArguments

    if engine == "fsdp":
        is_enabled = property(lambda trainer: True, lambda trainer, value: None)
        monkeypatch.setattr(diffusion.MovingAverageTrainer, "is_fsdp_enabled", is_enabled, raising=False)
        # What the trainer itself asks of the plugin.
        monkeypatch.setattr(diffusion.VideoLaVITTrainer, "__init__", lambda self, **kwargs: None)
    else:
        monkeypatch.setattr(diffusion, "is_deepspeed_zero3_enabled", lambda: True)
    args = VideoLaVITTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="under DDP"):
        diffusion.MovingAverageTrainer(model=make_model(parts)[1], args=args, ema_decay=0.0)


def test_one_thing_to_start_from_is_asked_for():
    from train_video_detokenizer import ModelArguments

    with pytest.raises(ValueError, match="Give one of"):
        ModelArguments()
    with pytest.raises(ValueError, match="'some'"):
        ModelArguments(vae="vae", trainable="some")


def test_a_run_on_cached_latents_learns_from_the_same_clips(parts, tmp_path, monkeypatch):
    import train_video_detokenizer
    from train_video_detokenizer import encode_clips, main

    settings = {"cache_dir": tmp_path / "cache", "max_steps": 3}
    main(arguments(parts, tmp_path / "out", **settings))
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 4 and len(logged(tmp_path / "out")) == 3
    # A second run makes nothing again, and one with another autoencoder is refused.
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    main(arguments(parts, tmp_path / "again", **settings))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == changed
    assert logged(tmp_path / "again") == logged(tmp_path / "out")
    torch.manual_seed(1)
    AutoencoderKLTemporalDecoder(block_out_channels=(32,), layers_per_block=1).save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match="a cache of other files or settings"):
        main(arguments(parts, tmp_path / "other", vae=tmp_path / "vae", **settings))

    # The loss is that of the frames themselves, when both draw the same noise.
    pipe, model = make_model(parts, condition_dropout=0.0, quantized_motion_probability=0.0)
    generator = torch.Generator().manual_seed(0)
    frames = (torch.rand(24, 3, 16, 16, generator=generator) * 255).round() / 127.5 - 1
    batch = {"frames": frames[None], "motion_vectors": torch.randn(1, 2, 24, 20, 36, generator=generator)}
    encoded = encode_clips(pipe.vae, batch)
    with torch.no_grad():
        expected = pipe.vae.encode(frames).latent_dist
    torch.testing.assert_close(encoded["latent_mean"][0], expected.mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoded["latent_std"][0], expected.std, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoded["keyframe"][0] / 127.5 - 1, frames[0], atol=1e-6, rtol=0)

    def encode(vae, images, sample=True):
        distribution = vae.encode(images).latent_dist
        return (
            distribution.mean + distribution.std * torch.randn_like(distribution.mean) if sample else distribution.mean
        )

    monkeypatch.setattr(train_video_detokenizer, "encode_images", encode)
    losses = []
    for inputs in (encoded, batch):
        torch.manual_seed(0)
        losses.append(float(model(**inputs)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_part_of_the_videos_can_be_trained_on(parts, tmp_path):
    from safetensors.torch import load_file
    from train_video_detokenizer import DataArguments, main

    keyframes = {}
    for name, number in (("all", None), ("part", 2)):
        main(
            arguments(
                parts, tmp_path / name, max_steps=1, cache_dir=tmp_path / f"{name}-cache", max_train_samples=number
            )
        )
        files = sorted((tmp_path / f"{name}-cache").glob("*.safetensors"))
        keyframes[name] = [load_file(file)["keyframe"] for file in files]
    assert len(keyframes["all"]) == 4 and len(keyframes["part"]) == 2
    for kept, index in zip(keyframes["part"], (0, 2)):
        torch.testing.assert_close(kept, keyframes["all"][index], rtol=0, atol=0)
    assert not torch.equal(keyframes["all"][1], keyframes["all"][2])
    with pytest.raises(ValueError, match="`max_train_samples` is at least 1, but it is 0"):
        DataArguments(train_videos=["videos"], max_train_samples=0)


@pytest.mark.parametrize("source", ["vae", "stable_video_diffusion"])
def test_motion_can_begin_with_more_weight_in_a_new_model(parts, tmp_path, source):
    from train_video_detokenizer import ModelArguments, build_pipeline

    shutil.copytree(parts / "vae", tmp_path / "vae")
    UNetSpatioTemporalConditionModel(**UNET | {"in_channels": 8}).save_pretrained(tmp_path / "unet")
    sources = {"vae": {"vae": str(tmp_path / "vae"), "unet_config": UNET}}
    sources["stable_video_diffusion"] = {"stable_video_diffusion": str(tmp_path)}
    pipelines = []
    for scale in (1.0, 10.0):
        torch.manual_seed(0)
        args = ModelArguments(**sources[source], motion_encoder_config=MOTION_ENCODER, motion_input_scale=scale)
        pipelines.append(build_pipeline(args))
    channels = [pipe.unet.conv_in.weight for pipe in pipelines]
    torch.testing.assert_close(channels[1][:, 8:], 10 * channels[0][:, 8:])
    assert torch.equal(channels[1][:, :8], channels[0][:, :8])
    encoders = [pipe.motion_encoder.state_dict() for pipe in pipelines]
    torch.testing.assert_close(encoders[1].pop("proj_in.weight"), 10 * encoders[0].pop("proj_in.weight"))
    torch.testing.assert_close(encoders[1], encoders[0], rtol=0, atol=0)
