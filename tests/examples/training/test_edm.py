"""The video detokenizer's objective, against other ways to compute it."""

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler


def test_the_loss_is_the_weighted_error_of_the_denoised_latents():
    """In double precision, and with loops in place of the preconditioning's formulas."""
    from training.edm import edm_loss, expand_as, precondition

    generator = torch.Generator().manual_seed(0)
    latents, noise, output = (torch.randn(3, 2, 4, 5, 6, generator=generator) for _ in range(3))
    sigmas = torch.tensor([0.02, 1.0, 30.0])
    noisy = latents + expand_as(sigmas, latents) * noise
    c_skip, c_out, c_in, c_noise = precondition(sigmas)
    loss = edm_loss(expand_as(c_skip, noisy) * noisy + expand_as(c_out, output) * output, latents, sigmas)

    expected = 0.0
    for index, sigma in enumerate(sigmas.double().tolist()):
        # The network's target, solved from the definition of the denoiser: its error weighs one at every noise level.
        x, y = noisy[index].double(), latents[index].double()
        target = (x / (sigma**2 + 1) - y) * math.sqrt(sigma**2 + 1) / sigma
        expected += float((output[index].double() - target).square().mean()) / 3
        assert c_in[index] == pytest.approx(1 / math.sqrt(sigma**2 + 1))
        assert c_noise[index] == pytest.approx(math.log(sigma) / 4, abs=1e-6)
    assert float(loss) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("step", [0, 3, 8])
def test_the_denoiser_is_what_the_sampler_takes_the_output_for(step):
    from train_video_detokenizer import SCHEDULER
    from training.edm import expand_as, precondition

    scheduler = EulerDiscreteScheduler(**SCHEDULER)
    scheduler.set_timesteps(10)
    sigma, timestep = scheduler.sigmas[step], scheduler.timesteps[step]
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 2, 4, 5, 6, generator=generator) * sigma
    output = torch.randn(1, 2, 4, 5, 6, generator=generator)
    c_skip, c_out, c_in, c_noise = precondition(sigma[None])
    assert float(c_noise) == pytest.approx(float(timestep), abs=1e-5)
    # Scaling sets the scheduler to the step.
    torch.testing.assert_close(expand_as(c_in, noisy) * noisy, scheduler.scale_model_input(noisy, timestep))
    denoised = expand_as(c_skip, noisy) * noisy + expand_as(c_out, output) * output
    expected = scheduler.step(output, timestep, noisy).pred_original_sample
    torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=1e-4 * float(sigma))


def test_noise_levels_are_log_normal():
    from training.edm import sample_sigmas

    torch.manual_seed(0)
    logarithms = sample_sigmas(20000, 1.0, 1.2, torch.device("cpu")).log()
    assert float(logarithms.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(logarithms.std()) == pytest.approx(1.2, abs=0.03)
