"""Compatibility with grad-cam 1.x."""
