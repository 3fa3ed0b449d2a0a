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


def test_the_loss_is_the_weighted_error_of_the_denoised_estimate():
    """Sample by sample, in float64, as the equations are printed."""
    from training.edm import edm_losses

    generator = np.random.default_rng(0)
    clean, noise, output = generator.standard_normal((3, len(SIGMAS), 4, 2, 5))
    expected = []
    for index, sigma in enumerate(SIGMAS):
        noisy = clean[index] + sigma * noise[index]
        estimate = noisy / (sigma**2 + 1) + output[index] * -sigma / np.sqrt(sigma**2 + 1)
        weight = (sigma**2 + 1) / sigma**2
        expected.append(weight * np.mean((estimate - clean[index]) ** 2))
    tensors = [torch.tensor(array, dtype=torch.float64) for array in (output, clean, noise, SIGMAS)]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(edm_losses(*tensors), expected, rtol=1e-9, atol=0)
    losses = edm_losses(*[tensor.float() for tensor in tensors])
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=0)


def test_the_loss_is_zero_for_a_perfect_denoiser_and_its_gradient_that_of_the_definition():
    from training.edm import denoise, edm_losses, edm_scalings

    generator = torch.Generator().manual_seed(0)
    clean, noise, output = torch.randn(3, len(SIGMAS), 7, generator=generator, dtype=torch.float64)
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)
    noisy = clean + sigma[:, None] * noise
    scalings = edm_scalings(sigma[:, None])
    perfect = (clean - scalings.c_skip * noisy) / scalings.c_out
    assert edm_losses(perfect, clean, noise, sigma).max() < 1e-18

    output.requires_grad_(True)
    (gradient,) = torch.autograd.grad(edm_losses(output, clean, noise, sigma).sum(), output)
    weights = 1 + 1 / sigma.square()
    by_definition = weights[:, None] * (denoise(output, noisy, sigma) - clean).square()
    (expected,) = torch.autograd.grad(by_definition.mean(dim=1).sum(), output)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("step", [0, 3, 9])
def test_the_denoised_estimate_is_that_of_the_sampler(step):
    from training.edm import denoise, edm_scalings

    scheduler = euler_scheduler(10)
    sigma, timestep = scheduler.sigmas[step], scheduler.timesteps[step]
    generator = torch.Generator().manual_seed(step)
    sample = sigma * torch.randn(2, 3, 4, generator=generator)
    output = torch.randn(2, 3, 4, generator=generator)

    scalings = edm_scalings(sigma)
    torch.testing.assert_close(scalings.c_noise, timestep)
    torch.testing.assert_close(scalings.c_in * sample, scheduler.scale_model_input(sample, timestep))
    expected = scheduler.step(output, timestep, sample).pred_original_sample
    torch.testing.assert_close(denoise(output, sample, sigma.expand(2)), expected)


def test_noise_levels_follow_the_log_normal_distribution():
    from training.edm import LogNormal

    normal = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logarithms = LogNormal(1.0, 1.2).level(normal).log()
    assert logarithms.mean() == pytest.approx(1.0, abs=0.02) and logarithms.std() == pytest.approx(1.2, abs=0.02)
    assert LogNormal(-3.0, 0.0).level(normal).unique() == pytest.approx(np.exp(-3))
    with pytest.raises(ValueError, match="`std`"):
        LogNormal(0.0, -1.0)
