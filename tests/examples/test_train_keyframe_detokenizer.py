"""Stage 1 of the keyframe detokenizer."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from training_media import write_images
from training_runs import kill_when, logged, run, start

from diffusers_videolavit import VideoLaVITKeyframePipeline
from transformers_videolavit import VideoLaVITKeyframeTokenizer, VideoLaVITKeyframeTokenizerConfig


SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
UNET = {
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": (2, 4),
    "cross_attention_dim": 32,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 16 + 6 * 8,
}
DECODER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_layers": 1,
    "num_attention_heads": 2,
    "out_channels": 16,
    "prompt_embed_dims": (16, 16),
    "pooled_embed_dim": 16,
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of images, a random autoencoder and a random keyframe tokenizer."""
    folder = tmp_path_factory.mktemp("parts")
    write_images(folder / "images", 4)
    torch.manual_seed(0)
    AutoencoderKL(block_out_channels=(32,), layers_per_block=1).save_pretrained(folder / "vae")
    config = VideoLaVITKeyframeTokenizerConfig(
        vision_config={**SIZES, "image_size": 56, "projection_dim": 8},
        codebook_size=16,
        codebook_dim=8,
        **{name: value for name, value in SIZES.items() if name != "hidden_size"},
    )
    tokenizer = VideoLaVITKeyframeTokenizer(config)
    tokenizer.quantizer.codebook.data.normal_()
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def arguments(parts, output_dir, **kwargs):
    settings = {"train_images": parts / "images", "vae": parts / "vae", "keyframe_tokenizer": parts / "tokenizer"}
    settings |= {
        "output_dir": output_dir,
        "unet_config": json.dumps(UNET),
        "token_decoder_config": json.dumps(DECODER),
    }
    settings |= {"height": 16, "width": 16, "max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
    settings |= {"logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant", "disable_tqdm": True}
    settings |= {"sample_steps": 2} | kwargs
    settings = {name: value for name, value in settings.items() if value is not None}
    return ["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))]


@pytest.fixture(scope="module")
def uninterrupted(parts, tmp_path_factory):
    from train_keyframe_detokenizer import main

    folder = tmp_path_factory.mktemp("uninterrupted")
    main(arguments(parts, folder, eval_images=parts / "images", eval_strategy="steps", eval_steps=4))
    return folder


def test_a_run_writes_a_pipeline_that_makes_images(parts, uninterrupted):
    pipe = VideoLaVITKeyframePipeline.from_pretrained(uninterrupted)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(torch.arange(5), height=16, width=16, num_inference_steps=2, output_type="pt").images
    assert images.shape == (1, 3, 16, 16)
    tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained(parts / "tokenizer")
    assert torch.equal(pipe.token_decoder.codebook, tokenizer.quantizer.codebook)
    assert list((uninterrupted / "samples").glob("keyframes-*.png")) and logged(uninterrupted, "eval_loss")
    assert "keyframe detokenizer" in (uninterrupted / "README.md").read_text()


def test_a_killed_run_resumes_to_exactly_the_same_losses_and_averages(parts, tmp_path):
    args = arguments(parts, tmp_path / "a")
    run("train_keyframe_detokenizer", *args)
    args = arguments(parts, tmp_path / "b")
    kill_when(start("train_keyframe_detokenizer", *args), tmp_path / "b" / "checkpoint-2" / "complete")
    run("train_keyframe_detokenizer", *args)
    assert logged(tmp_path / "a") == logged(tmp_path / "b")
    pipes = [VideoLaVITKeyframePipeline.from_pretrained(tmp_path / name) for name in ("a", "b")]
    for name, tensor in pipes[0].unet.state_dict().items():
        assert torch.equal(tensor, pipes[1].unet.state_dict()[name]), name


def make_model(parts, prediction_type="epsilon", token_decoder_config=DECODER, **kwargs):
    """A pipeline that is new, the tokenizer, and what is trained, with settings of the objective."""
    from train_keyframe_detokenizer import (
        KeyframeDetokenizerForTraining,
        ModelArguments,
        ObjectiveArguments,
        build_pipeline,
    )

    tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained(parts / "tokenizer")
    args = ModelArguments(
        keyframe_tokenizer="",
        vae=str(parts / "vae"),
        unet_config=UNET,
        token_decoder_config=token_decoder_config,
        prediction_type=prediction_type,
    )
    pipe = build_pipeline(args, tokenizer)
    return pipe, tokenizer, KeyframeDetokenizerForTraining(pipe, tokenizer, ObjectiveArguments(**kwargs))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_the_noise_or_of_the_velocity(parts, prediction_type):
    pipe, tokenizer, model = make_model(parts, prediction_type, condition_dropout=0.0)
    assert pipe.scheduler.config.prediction_type == prediction_type
    seen = {}

    def record(module, args, kwargs, output):
        seen.update(kwargs, noisy=args[0], timesteps=args[1], prediction=output.sample)

    pipe.unet.register_forward_hook(record, with_kwargs=True)
    generator = torch.Generator().manual_seed(0)
    image, pixel_values = torch.rand(2, 3, 16, 16, generator=generator), torch.randn(2, 3, 56, 56, generator=generator)
    torch.manual_seed(3)
    loss = model(image=image, pixel_values=pixel_values, original_size=torch.tensor([[40, 60], [16, 16]]))["loss"]

    # The same draws again, and the definition.
    torch.manual_seed(3)
    latents = pipe.vae.encode(image).latent_dist.sample() * pipe.vae.config.scaling_factor
    torch.rand(2)
    noise = torch.randn_like(latents, memory_format=torch.contiguous_format)
    alphas = model.scheduler.alphas_cumprod[seen["timesteps"]].reshape(-1, 1, 1, 1)
    torch.testing.assert_close(seen["noisy"], alphas.sqrt() * latents + (1 - alphas).sqrt() * noise)
    target = noise if prediction_type == "epsilon" else alphas.sqrt() * noise - (1 - alphas).sqrt() * latents
    torch.testing.assert_close(loss, (seen["prediction"] - target).square().mean())
    assert seen["added_cond_kwargs"]["time_ids"].tolist() == [[40, 60, 0, 0, 16, 16], [16, 16, 0, 0, 16, 16]]
    embeds = pipe.encode_codes(tokenizer.encode(pixel_values))
    torch.testing.assert_close(seen["encoder_hidden_states"], embeds[0])
    torch.testing.assert_close(seen["added_cond_kwargs"]["text_embeds"], embeds[1])


@pytest.mark.parametrize("train_token_decoder", [True, False])
def test_gradients_reach_the_u_net_and_the_decoder_if_it_is_to_be_trained(parts, tmp_path, train_token_decoder):
    from train_keyframe_detokenizer import main

    main(arguments(parts, tmp_path / "start", max_steps=1, ema_decay=0.0))
    settings = {"vae": None, "unet_config": None, "token_decoder_config": None, "max_steps": 2, "ema_decay": 0.0}
    settings |= {"pipeline_name_or_path": tmp_path / "start", "condition_dropout": 0.0}
    main(arguments(parts, tmp_path / "out", train_token_decoder=train_token_decoder, **settings))
    before, after = (VideoLaVITKeyframePipeline.from_pretrained(tmp_path / name) for name in ("start", "out"))
    changed = {
        f"{part}.{name}"
        for part in ("unet", "token_decoder", "vae")
        for name, tensor in getattr(after, part).named_parameters()
        if not torch.equal(tensor, dict(getattr(before, part).named_parameters())[name])
    }
    trained = ("unet", "token_decoder") if train_token_decoder else ("unet",)
    names = {f"{part}.{name}" for part in trained for name, _ in getattr(before, part).named_parameters()}
    # A constant that is added to all keys changes no softmax.
    assert changed <= names and all("to_k.bias" in name for name in names - changed)
    assert torch.equal(before.token_decoder.codebook, after.token_decoder.codebook)


def test_without_its_tokens_the_condition_is_zero(parts):
    pipe, _, model = make_model(parts, condition_dropout=1.0)
    seen = {}
    pipe.unet.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    model(torch.tensor([[16, 16]]), torch.zeros(1, 3, 16, 16), torch.randn(1, 3, 56, 56))
    assert not seen["encoder_hidden_states"].any() and not seen["added_cond_kwargs"]["text_embeds"].any()


def test_timesteps_with_most_noise_are_drawn_more_often(parts):
    from train_keyframe_detokenizer import ObjectiveArguments

    pipe, _, model = make_model(parts, timestep_bias_portion=0.25, timestep_bias_multiplier=9.0)
    seen = []
    pipe.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    codes = torch.zeros(512, 16, dtype=torch.long)
    latents = torch.zeros(512, 4, 2, 2)
    torch.manual_seed(0)
    with torch.no_grad():
        model(torch.full((512, 2), 16), latent_mean=latents, latent_std=latents, codes=codes)
    (timesteps,) = seen
    # A quarter that is drawn nine times as often is three quarters of all.
    assert abs((timesteps >= 750).float().mean() - 0.75) < 0.05 and timesteps.min() < 100
    assert "timestep_weights" not in model.state_dict()
    with pytest.raises(ValueError, match="`timestep_bias_portion` is from 0 to 1, but it is 1.5"):
        ObjectiveArguments(timestep_bias_portion=1.5)
    with pytest.raises(ValueError, match="`timestep_bias_multiplier` is positive, but it is 0"):
        ObjectiveArguments(timestep_bias_multiplier=0.0)


@pytest.mark.parametrize("feature_loss_weight", [0.0, 0.5])
def test_what_a_cache_keeps_of_an_image_gives_the_same_loss(parts, feature_loss_weight):
    from train_keyframe_detokenizer import collate, encode_images_and_codes

    pipe, tokenizer, model = make_model(parts, condition_dropout=0.0, feature_loss_weight=feature_loss_weight)
    generator = torch.Generator().manual_seed(0)
    items = [
        {
            "image": torch.rand(3, 16, 16, generator=generator),
            "pixel_values": torch.randn(3, 56, 56, generator=generator),
            "original_size": torch.tensor([16, 16]),
        }
        for _ in range(2)
    ]
    batch = collate(items)
    losses = []
    for inputs in (batch, encode_images_and_codes(pipe.vae, tokenizer, feature_loss_weight > 0, batch)):
        torch.manual_seed(1)
        losses.append(model(**inputs)["loss"])
    torch.testing.assert_close(*losses)


def test_the_token_decoder_also_learns_the_features_of_the_image_encoder(parts):
    weights = (0.0, 0.5)
    made = []
    for weight in weights:
        torch.manual_seed(0)
        made.append(make_model(parts, feature_loss_weight=weight))
    _, tokenizer, model = made[1]
    image, pixel_values = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 56, 56)
    losses = []
    for _, _, other in made:
        torch.manual_seed(1)
        losses.append(other(torch.full((2, 2), 16), image, pixel_values)["loss"])
    features = tokenizer.vision_model(pixel_values).last_hidden_state[:, 1:]
    decoded = model.token_decoder(tokenizer.encode(pixel_values)).features
    similarity = torch.nn.functional.cosine_similarity(decoded, features, dim=-1).mean()
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * (1 - similarity))


def test_features_of_another_size_or_a_decoder_that_is_not_trained_are_refused(parts, tmp_path):
    from train_keyframe_detokenizer import ObjectiveArguments, main

    with pytest.raises(
        ValueError, match="features, 16 of 16 channels, but its `num_positions` and `out_channels` are 16 and 32"
    ):
        make_model(parts, token_decoder_config=DECODER | {"out_channels": 32}, feature_loss_weight=1.0)
    with pytest.raises(ValueError, match="`feature_loss_weight` is not negative, but it is -1.0"):
        ObjectiveArguments(feature_loss_weight=-1.0)
    with pytest.raises(ValueError, match="wants `train_token_decoder`"):
        main(arguments(parts, tmp_path, feature_loss_weight=1.0, train_token_decoder=False))


@pytest.mark.parametrize("feature_loss_weight", [0.0, 0.5])
def test_a_run_on_cached_latents_makes_them_once(parts, tmp_path, feature_loss_weight):
    from train_keyframe_detokenizer import main

    settings = {"cache_dir": tmp_path / "cache", "max_steps": 2, "feature_loss_weight": feature_loss_weight}
    main(arguments(parts, tmp_path / "out", **settings))
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.safetensors")}
    main(arguments(parts, tmp_path / "again", **settings))
    assert len(changed) == 4 and all(path.stat().st_mtime_ns == time for path, time in changed.items())
    assert logged(tmp_path / "out") == logged(tmp_path / "again")


def test_a_few_images_are_learned(parts, tmp_path):
    from train_keyframe_detokenizer import main

    settings = {"max_steps": 200, "learning_rate": 3e-3, "condition_dropout": 0.0, "save_steps": 1000}
    main(arguments(parts, tmp_path, per_device_train_batch_size=4, **settings))
    losses = logged(tmp_path)
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:3])


def test_one_thing_to_start_from_is_asked_for():
    from train_keyframe_detokenizer import ModelArguments

    with pytest.raises(ValueError, match="Give one of"):
        ModelArguments(keyframe_tokenizer="tokenizer")
