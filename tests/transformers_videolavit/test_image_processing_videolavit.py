"""The image processors: both backends, the inputs of the libraries' users, round trips."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITImageProcessorPil


BACKENDS = [VideoLaVITImageProcessor, VideoLaVITImageProcessorPil]


@pytest.fixture(scope="module")
def image():
    """A smooth picture: the backends round differently at hard edges."""
    y, x = np.mgrid[0:90, 0:130] / 20
    channels = [np.sin(x + y), np.cos(x), np.sin(y) * np.cos(x)]
    return Image.fromarray(np.stack([127 + 127 * channel for channel in channels], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_pillow_written_out(backend, image):
    pixel_values = backend()(image, return_tensors="pt")["pixel_values"]
    resized = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) / 255
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    expected = torch.from_numpy((resized - mean) / std).permute(2, 0, 1)[None].float()
    # Pillow's is the reference; torchvision's may round another way, by two levels of 255 at most.
    tolerance = 1e-5 if backend is VideoLaVITImageProcessorPil else 2.01 / 255 / min(std)
    torch.testing.assert_close(pixel_values, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_of_every_form_agree(backend, image):
    processor = backend()
    expected = processor(image, return_tensors="pt")["pixel_values"]
    array = np.asarray(image)
    for form in ([image], array, torch.tensor(array).permute(2, 0, 1), image.convert("RGBA")):
        assert torch.equal(processor(form, return_tensors="pt")["pixel_values"], expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_of_mixed_sizes_equals_singles(backend, image):
    processor = backend()
    images = [image, image.resize((50, 40)), image.convert("L")]
    batch = processor(images, return_tensors="pt")["pixel_values"]
    assert batch.shape == (3, 3, 224, 224)
    for row, one in zip(batch, images):
        torch.testing.assert_close(row, processor(one, return_tensors="pt")["pixel_values"][0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_round_trips(backend, tmp_path):
    processor = backend(size={"height": 56, "width": 56})
    processor.save_pretrained(tmp_path)
    assert backend.from_pretrained(tmp_path).to_dict() == processor.to_dict()
    assert backend.from_dict(processor.to_dict()).to_dict() == processor.to_dict()
    name = "torchvision" if backend is VideoLaVITImageProcessor else "pil"
    assert type(AutoImageProcessor.from_pretrained(tmp_path, backend=name)) is backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_the_announced_ones(backend, image):
    processor = backend()
    output = processor(image, return_tensors="pt")
    assert set(output.keys()) == set(processor.model_input_names) == {"pixel_values"}
    assert output.to(torch.float16)["pixel_values"].dtype == torch.float16


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_image_is_refused(backend):
    with pytest.raises(ValueError):
        backend()("no/such/image")
