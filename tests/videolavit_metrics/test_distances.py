"""Fréchet distance and Inception score, of a stand-in for the networks."""

import numpy as np
import pytest
import torch
from torch import nn

from videolavit_metrics import FeatureProtocol, FrechetDistance, InceptionScore


class Means(nn.Module):
    """Mean, deviation and change of each channel: six features of a picture, nine of a video."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        features = torch.cat((flat.mean(dim=2), flat.std(dim=2)), dim=1)
        if x.dim() == 5:
            features = torch.cat((features, (x[:, :, -1] - x[:, :, 0]).flatten(2).mean(dim=2)), dim=1)
        return features


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "means.pt"
    torch.jit.script(Means()).save(str(path))
    return path


def make_protocol(weights, num_frames, size=(8, 8), **changes):
    standard = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "seed": 0}
    return FeatureProtocol("means", weights, size, num_frames, **(standard | changes))


def make_videos(count, seed, brightness=0, num_frames=4):
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, 128, (count, 1, 1, 1, 3))
    noise = generator.integers(0, 100, (count, num_frames, 8, 8, 3))
    return list((levels + noise + brightness).clip(0, 255).astype(np.uint8))


def test_the_distance_is_that_of_the_formula(weights):
    metric = FrechetDistance(make_protocol(weights, num_frames=4))
    sets = {True: make_videos(40, 0), False: make_videos(30, 1, brightness=20)}
    statistics = {}
    for real, videos in sets.items():
        metric.add(videos[:7], real=real)
        metric.add(videos[7:], real=real)
        features = metric.extract(videos).numpy().astype(np.float64)
        statistics[real] = features.mean(axis=0), np.cov(features, rowvar=False)
    (mean, covariance), (other_mean, other_covariance) = statistics[True], statistics[False]
    # The trace of a product's root is the sum of the roots of its eigenvalues.
    root_trace = np.sqrt(np.linalg.eigvals(covariance @ other_covariance).real.clip(min=0)).sum()
    expected = ((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance) - 2 * root_trace
    result = metric.compute()
    assert result["distance"] == pytest.approx(expected, rel=1e-3)
    assert result["real"] == 40 and result["generated"] == 30
    assert len(result["protocol"]["weights_sha256"]) == 64 and result["protocol"]["num_frames"] == 4


def test_a_set_is_nearer_to_its_like_than_to_a_damaged_one(weights):
    distances = []
    for brightness in (0, 10, 40):
        metric = FrechetDistance(make_protocol(weights, num_frames=1))
        metric.add([video[0] for video in make_videos(50, 0)], real=True)
        metric.add([video[0] for video in make_videos(50, 1, brightness)], real=False)
        distances.append(metric.compute()["distance"])
    assert distances == sorted(distances) and distances[2] > 5 * distances[0]


def test_frames_are_prepared_as_the_protocol_says(weights):
    metric = FrechetDistance(make_protocol(weights, num_frames=2, size=(4, 4)))
    video = np.full((3, 8, 8, 3), 255, dtype=np.uint8)
    # White is (1 - 0.5) / 0.25 = 2, without deviation or change.
    torch.testing.assert_close(metric.extract([video]), torch.tensor([[2.0] * 3 + [0.0] * 6]))


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), "1 frames, but the protocol wants 4"),
        (np.zeros((4, 8, 8, 3), np.float32), "uint8 of shape"),
        (np.zeros((4, 3, 8, 8), np.uint8), "uint8 of shape"),
    ],
)
def test_other_videos_are_refused(weights, video, message):
    with pytest.raises(ValueError, match=message):
        FrechetDistance(make_protocol(weights, num_frames=4)).add([video], real=True)


def test_too_few_samples_are_refused(weights):
    metric = FrechetDistance(make_protocol(weights, num_frames=4))
    metric.add(make_videos(3, 0), real=True)
    with pytest.raises(ValueError, match="At least two real and two generated"):
        metric.compute()
    with pytest.raises(ValueError, match="0 samples cannot be split into 2"):
        InceptionScore(make_protocol(weights, num_frames=4), splits=2).compute()


def test_the_inception_score_is_that_of_the_formula(weights):
    videos = make_videos(24, 0)
    metric = InceptionScore(make_protocol(weights, num_frames=4), splits=1)
    metric.add(videos[:10])
    metric.add(videos[10:])
    probabilities = metric.extract(videos).softmax(dim=1).double().numpy()
    divergence = (probabilities * np.log(probabilities / probabilities.mean(axis=0))).sum(axis=1)
    result = metric.compute()
    assert result["inception_score"] == pytest.approx(np.exp(divergence.mean()), rel=1e-4)
    assert result["count"] == 24 and result["splits"] == 1

    def split(seed):
        parts = InceptionScore(make_protocol(weights, num_frames=4, seed=seed), splits=4)
        parts.add(videos)
        return parts.compute()["inception_score"]

    state = torch.get_rng_state()
    assert split(0) == split(0) and split(0) != split(1)
    assert torch.equal(torch.get_rng_state(), state)
