"""Lets `diffusers.DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` find the class."""

from diffusers_videolavit.component_classes import MotionConditionEncoder


__all__ = ["MotionConditionEncoder"]
