"""Where code written for grad-cam 1.x imports this name from."""

from pytorch_grad_cam.not_here import ActivationsAndGradients

__all__ = ["ActivationsAndGradients"]
