"""The autoencoder of those who start from nothing."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from training_media import write_images, write_videos
from training_runs import logged


SIZES = {
    "block_out_channels": (16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}


@pytest.mark.parametrize(("kind", "model_class"), [("image", AutoencoderKL), ("video", AutoencoderKLTemporalDecoder)])
def test_it_learns_to_restore_and_scales_its_latents(tmp_path, kind, model_class):
    from train_autoencoder import main

    write_images(tmp_path / "images", 2)
    write_videos(tmp_path / "videos", 2, num_frames=24, height=32, width=32)
    sizes = SIZES if kind == "image" else {name: value for name, value in SIZES.items() if name != "norm_num_groups"}
    sizes = sizes if kind == "image" else sizes | {"block_out_channels": (32, 32)}
    settings = {"kind": kind, "train_images": tmp_path / "images", "train_videos": tmp_path / "videos"}
    settings |= {"autoencoder_config": json.dumps(sizes), "height": 16, "width": 16, "frames_of_clip": 2}
    settings |= {"max_steps": 60, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "logging_steps": 1}
    settings |= {"lr_scheduler_type": "constant", "save_steps": 1000, "disable_tqdm": True, "ema_decay": 0.9}
    settings |= {"output_dir": tmp_path / "out", "eval_videos": tmp_path / "videos"}
    main(["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))])
    errors = logged(tmp_path / "out", "absolute_error")
    assert np.mean(errors[-5:]) < 0.6 * errors[0]
    vae = model_class.from_pretrained(tmp_path / "out")
    assert 0.01 < vae.config.scaling_factor < 100 and vae.config.scaling_factor != model_class().config.scaling_factor
    assert list((tmp_path / "out" / "samples").glob("autoencoder-*.png"))
    assert vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.mode().shape == (1, 4, 8, 8)


def test_an_unknown_kind_is_refused():
    from train_autoencoder import ModelArguments

    with pytest.raises(ValueError, match="'sound'"):
        ModelArguments(kind="sound")


def image_autoencoder(**changes):
    torch.manual_seed(0)
    sizes = {**SIZES, "block_out_channels": (32, 32), "layers_per_block": 2, "norm_num_groups": 32}
    return AutoencoderKL(**{**sizes, "use_post_quant_conv": False, "scaling_factor": 0.5, **changes}).eval()


def test_an_autoencoder_of_videos_starts_as_one_of_images(tmp_path):
    from train_autoencoder import extend_to_videos

    image_vae = image_autoencoder()
    vae = extend_to_videos(image_vae).eval()
    frames = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents, expected = (model.encode(frames).latent_dist.mode() for model in (vae, image_vae))
        assert torch.equal(latents, expected)
        decoded = vae.decode(latents, num_frames=3).sample
        torch.testing.assert_close(decoded, image_vae.decode(expected).sample, atol=1e-5, rtol=0)
    assert vae.config.scaling_factor == 0.5
    trained = {name.split(".")[0] for name, parameter in vae.named_parameters() if parameter.requires_grad}
    assert trained == {"decoder"}


@pytest.mark.parametrize("changes", [{"layers_per_block": 1}, {"use_post_quant_conv": True}])
def test_an_image_autoencoder_with_other_layers_is_refused(changes):
    from train_autoencoder import extend_to_videos

    with pytest.raises(ValueError, match="does not fit one of videos"):
        extend_to_videos(image_autoencoder(**changes))


def test_the_encoder_and_the_scale_of_an_image_autoencoder_are_kept(tmp_path):
    from train_autoencoder import main

    write_videos(tmp_path / "videos", 2, num_frames=24, height=32, width=32)
    image_autoencoder().save_pretrained(tmp_path / "image")
    settings = {"kind": "video", "train_videos": tmp_path / "videos", "image_autoencoder": tmp_path / "image"}
    settings |= {"height": 16, "width": 16, "frames_of_clip": 2, "crop_size": 8, "max_steps": 2, "disable_tqdm": True}
    settings |= {"per_device_train_batch_size": 2, "save_steps": 1000, "output_dir": tmp_path / "out"}
    main(["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))])
    before, after = image_autoencoder(), AutoencoderKLTemporalDecoder.from_pretrained(tmp_path / "out")
    assert after.config.scaling_factor == 0.5
    for name, tensor in before.encoder.state_dict().items():
        assert torch.equal(after.encoder.state_dict()[name], tensor), name
    assert not torch.equal(after.decoder.conv_in.weight, before.decoder.conv_in.weight)


def test_an_image_autoencoder_is_for_videos():
    from train_autoencoder import ModelArguments

    with pytest.raises(ValueError, match="`image_autoencoder` is for"):
        ModelArguments(kind="image", image_autoencoder="vae")
