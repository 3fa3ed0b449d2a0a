"""The image encoder of the small world, and what its patches show."""

import json

import numpy as np
import pytest
import torch
from training_runs import logged

from transformers_videolavit import VideoLaVITVisionConfig, VideoLaVITVisionModel


ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from small_world.dataset import SmallWorldOptions, write_dataset

    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, SmallWorldOptions(frame_size=(64, 64)), num_videos=0, num_images=8)
    return folder


def test_patches_are_labelled_with_the_nearest_object():
    from small_world.patches import label_patches
    from small_world.scenes import COLOURS, SHAPES, SIZES, ObjectDescription, Scene, SceneDescription

    objects = (
        ObjectDescription("square", "red", "large", "plain"),
        ObjectDescription("circle", "blue", "small", "dotted"),
    )
    description = SceneDescription(objects, "cloudy", "olive")
    labels = label_patches(Scene(description, ((-0.25, -0.25), (0.3, 0.1)), 0), num_patches=4)
    # In units of the frame, the centres of the patches are at ±0.125 and ±0.375.
    red, blue = COLOURS.index("red"), COLOURS.index("blue")
    colours = labels["colour"].reshape(4, 4)
    assert (colours[:2, :2] == red).all() and (colours[2:, 2:] == blue).all()
    assert ((labels["shape"] == SHAPES.index("square")) == (labels["colour"] == red)).all()
    assert labels["background_pattern"].unique().numel() == 1 and len(labels["background_colour"]) == 16
    offset = labels["offset"].reshape(4, 4, 2)
    np.testing.assert_allclose(offset[2, 3], [(0.3 - 0.375) * 4, (0.1 - 0.125) * 4], atol=1e-6)
    np.testing.assert_allclose(labels["gap"].reshape(4, 4)[:2, :2], 4 * (2**0.5 / 8 - SIZES["large"]), atol=1e-6)
    # A large object is near where a small one's centre is as far.
    middle = Scene(description, ((-0.25, 0.0), (0.25, 0.0)), 0)
    assert (label_patches(middle, 3)["colour"].reshape(3, 3)[:, 1] == red).all()


def test_the_encoder_learns_and_is_saved_alone(data, tmp_path):
    from train_small_world_encoder import main

    settings = {"train_data": data, "eval_data": data, "output_dir": tmp_path, "max_steps": 60}
    settings |= {"vision_config": json.dumps({**ENCODER, "image_size": 32, "patch_size": 8, "projection_dim": 8})}
    settings |= {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 1, "save_steps": 1000}
    settings |= {"lr_scheduler_type": "constant", "disable_tqdm": True, "ema_decay": 0.5}
    main(["--use_cpu", *(str(item) for name, value in settings.items() for item in (f"--{name}", value))])
    losses = logged(tmp_path)
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert logged(tmp_path, "background_colour_accuracy")[-1] > 0.8
    encoder = VideoLaVITVisionModel.from_pretrained(tmp_path)
    assert encoder.config.hidden_size == 32 and "eval_offset_error" in (tmp_path / "all_results.json").read_text()


def test_neighbouring_patches_tell_of_different_attributes():
    from train_small_world_encoder import ATTRIBUTES, ImageEncoderForTraining, ObjectiveArguments

    torch.manual_seed(0)
    encoder = VideoLaVITVisionModel(VideoLaVITVisionConfig(**ENCODER, image_size=32, patch_size=8, projection_dim=8))
    model = ImageEncoderForTraining(encoder, 2, ObjectiveArguments()).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    labels = {name: torch.randint(len(values), (2, 16)) for name, values in ATTRIBUTES.items()}
    labels["offset"] = torch.randn(2, 16, 2)
    loss = model(pixel_values, **labels)["loss"]
    # The first patch is an even one, the second an odd one.
    for patch, name in ((0, "shape"), (1, "colour"), (0, "background_pattern"), (1, "background_colour")):
        changed = {**labels, name: labels[name].clone()}
        changed[name][:, patch] = (changed[name][:, patch] + 1) % 3
        assert model(pixel_values, **changed)["loss"] == loss
        changed[name][:, 1 - patch] = (changed[name][:, 1 - patch] + 1) % 3
        assert model(pixel_values, **changed)["loss"] != loss
    model.train()
    assert model(pixel_values, **labels)["loss"] != model(pixel_values, **labels)["loss"]


def test_turning_colours_keeps_their_differences():
    from train_small_world_encoder import turn_colours

    torch.manual_seed(0)
    pixel_values = torch.randn(2, 3, 32, 32)
    turned = turn_colours(pixel_values)
    assert not torch.allclose(turned, pixel_values)
    for left, right in zip(pixel_values.flatten(2), turned.flatten(2)):
        torch.testing.assert_close(right.T @ right, left.T @ left, rtol=1e-4, atol=1e-4)


def test_colours_are_told_from_own_colours_and_shapes_from_turned_ones():
    from train_small_world_encoder import ATTRIBUTES, ImageEncoderForTraining, ObjectiveArguments

    torch.manual_seed(0)
    encoder = VideoLaVITVisionModel(VideoLaVITVisionConfig(**ENCODER, image_size=32, patch_size=8, projection_dim=8))
    weights = {"feature_noise": 0.0, "offset_weight": 0.0, "pixel_weight": 0.0}
    model = ImageEncoderForTraining(encoder, 2, ObjectiveArguments(**weights, alike_weight=0.0))
    pixel_values = torch.randn(2, 3, 32, 32)
    labels = {name: torch.randint(len(values), (2, 16)) for name, values in ATTRIBUTES.items()}
    labels["offset"] = torch.randn(2, 16, 2)
    own = model.eval()(pixel_values, **labels)
    trained = model.train()(pixel_values, **labels)
    for name in ("colour", "background_colour"):
        assert trained[f"{name}_accuracy"] == own[f"{name}_accuracy"]

    def loss(name, value, colours_turn):
        """The loss where one attribute has a value everywhere, with one of two turns of the colours."""
        torch.manual_seed(1 + colours_turn)
        return float(model(pixel_values, **{**labels, name: torch.full_like(labels[name], value)})["loss"].detach())

    # What one value costs more than another depends on the turned colours for shapes, but not for colours.
    for name, depends in (("colour", False), ("background_colour", False), ("shape", True), ("texture", True)):
        difference, other = (loss(name, 1, turn) - loss(name, 0, turn) for turn in (0, 1))
        assert (abs(difference - other) > 1e-4) == depends, name


def test_patches_that_tell_of_shapes_are_to_look_alike_in_all_colours(monkeypatch):
    import train_small_world_encoder as program
    from train_small_world_encoder import ATTRIBUTES, ImageEncoderForTraining, ObjectiveArguments

    torch.manual_seed(0)
    encoder = VideoLaVITVisionModel(VideoLaVITVisionConfig(**ENCODER, image_size=32, patch_size=8, projection_dim=8))
    labels = {name: torch.randint(len(values), (2, 16)) for name, values in ATTRIBUTES.items()}
    labels["offset"] = torch.randn(2, 16, 2)
    pixel_values = torch.randn(2, 3, 32, 32)

    model = ImageEncoderForTraining(encoder, 2, ObjectiveArguments(feature_noise=0.0)).train()

    def alike():
        """What the weight of the difference adds to the loss."""
        losses = []
        for model.args.alike_weight in (0.0, 1.0):
            torch.manual_seed(1)
            losses.append(float(model(pixel_values, **labels)["loss"].detach()))
        return losses[1] - losses[0]

    assert alike() > 1e-3
    monkeypatch.setattr(program, "turn_colours", lambda images: images.clone())
    assert abs(alike()) < 1e-6


def test_images_that_are_not_square_are_refused(tmp_path):
    from small_world.dataset import SmallWorldOptions, write_dataset
    from train_small_world_encoder import LabelledImages

    write_dataset(tmp_path, SmallWorldOptions(frame_size=(48, 64)), num_videos=0, num_images=1)
    with pytest.raises(ValueError, match="must be square, not 48 x 64"):
        LabelledImages(str(tmp_path), None, 4, 0)
