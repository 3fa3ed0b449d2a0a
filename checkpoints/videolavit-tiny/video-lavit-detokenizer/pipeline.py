"""Lets `diffusers.DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` find the class."""

from diffusers_videolavit import VideoLaVITDetokenizerPipeline


__all__ = ["VideoLaVITDetokenizerPipeline"]
