"""Compatibility with grad-cam 1.x: not implemented yet; calling it raises NotImplementedError."""

from pytorch_grad_cam._compat.not_implemented import SESS, sliding_window, window_starts

__all__ = ["SESS", "sliding_window", "window_starts"]
