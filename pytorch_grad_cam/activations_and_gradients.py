"""Where code written for grad-cam 1.x imports this name from."""

from pytorch_grad_cam._not_implemented import ActivationsAndGradients

__all__ = ["ActivationsAndGradients"]
