"""Compatibility with grad-cam 1.x: not implemented yet; calling it raises NotImplementedError."""

from pytorch_grad_cam._compat.not_implemented import GradCAMElementWise

__all__ = ["GradCAMElementWise"]
