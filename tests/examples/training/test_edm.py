"""The EDM objective, against its definition and against what samples."""

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler


SIGMAS = [0.002, 0.05, 1.0, 2.7, 40.0, 700.0]


def euler_scheduler(num_steps):
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_type="continuous",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    scheduler.set_timesteps(num_steps)
    return scheduler


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-3), (torch.float32, 1e-3)])
def test_the_loss_of_a_network_is_the_weighted_error_of_the_denoised_estimate(dtype, rtol):
    """Sample by sample, in float64, as the equations are printed."""
    from training.edm import edm_loss, expand_as, precondition

    generator = np.random.default_rng(0)
    clean, noise, output = generator.standard_normal((3, len(SIGMAS), 4, 2, 5))
    expected = []
    for index, sigma in enumerate(SIGMAS):
        noisy = clean[index] + sigma * noise[index]
        estimate = noisy / (sigma**2 + 1) + output[index] * -sigma / np.sqrt(sigma**2 + 1)
        weight = (sigma**2 + 1) / sigma**2
        expected.append(weight * np.mean((estimate - clean[index]) ** 2))
    expected = torch.tensor(expected, dtype=dtype)

    clean, noise, output, sigmas = (torch.tensor(array, dtype=dtype) for array in (clean, noise, output, SIGMAS))
    c_skip, c_out, _, _ = (expand_as(values, clean) for values in precondition(sigmas))
    denoised = c_skip * (clean + expand_as(sigmas, clean) * noise) + c_out * output
    for index, loss in enumerate(expected):
        sample = slice(index, index + 1)
        actual = edm_loss(denoised[sample], clean[sample], sigmas[sample])
        torch.testing.assert_close(actual.to(dtype), loss, rtol=rtol, atol=0)
    actual = edm_loss(denoised, clean, sigmas).to(dtype)
    torch.testing.assert_close(actual, expected.mean(), rtol=rtol, atol=0)


def test_every_noise_level_weighs_the_error_of_the_network_alike():
    """λ(σ) c_out² = 1: the loss is the squared error of the network's output against the velocity."""
    from training.edm import edm_loss, expand_as, precondition

    generator = torch.Generator().manual_seed(0)
    clean, noise, output = torch.randn(3, len(SIGMAS), 7, generator=generator, dtype=torch.float64)
    sigmas = torch.tensor(SIGMAS, dtype=torch.float64)
    level = expand_as(sigmas, clean)
    velocity = (noise - level * clean) / (level**2 + 1).sqrt()
    c_skip, c_out, _, _ = precondition(level)
    denoised = c_skip * (clean + level * noise) + c_out * output
    expected = (output - velocity).square().mean()
    torch.testing.assert_close(edm_loss(denoised, clean, sigmas).double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("step", [0, 3, 9])
def test_the_denoised_estimate_is_that_of_the_sampler(step):
    from training.edm import precondition

    scheduler = euler_scheduler(10)
    sigma, timestep = scheduler.sigmas[step], scheduler.timesteps[step]
    generator = torch.Generator().manual_seed(step)
    sample = sigma * torch.randn(2, 3, 4, generator=generator)
    output = torch.randn(2, 3, 4, generator=generator)

    c_skip, c_out, c_in, c_noise = precondition(sigma)
    torch.testing.assert_close(c_noise, timestep)
    torch.testing.assert_close(c_in * sample, scheduler.scale_model_input(sample, timestep))
    expected = scheduler.step(output, timestep, sample).pred_original_sample
    torch.testing.assert_close(c_skip * sample + c_out * output, expected)


def test_noise_levels_follow_the_log_normal_distribution():
    from training.edm import sample_sigmas

    torch.manual_seed(0)
    logarithms = sample_sigmas(100_000, 1.0, 1.2, torch.device("cpu")).log()
    assert logarithms.mean() == pytest.approx(1.0, abs=0.02) and logarithms.std() == pytest.approx(1.2, abs=0.02)
    assert sample_sigmas(3, -3.0, 0.0, torch.device("cpu")).tolist() == pytest.approx([np.exp(-3)] * 3)
