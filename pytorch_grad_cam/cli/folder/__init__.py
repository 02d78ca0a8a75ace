"""Folder runs: image discovery, decoding, a journal of finished images, and the results tables."""
