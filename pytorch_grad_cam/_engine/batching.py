"""How many copies run at once, where a method or a smoothing looks at many."""

import torch
from torch import Tensor

# Enough work for one pass, and little enough for the cache of a CPU: more is slower there.
_BYTES = {"cpu": 16 * 2**20, "cuda": 512 * 2**20}


def fitting(bytes_per_copy: int, device: torch.device) -> int:
    """How many copies of that size."""
    return max(1, _BYTES.get(device.type, _BYTES["cuda"]) // bytes_per_copy)


def copies_per_pass(pictures: Tensor) -> int:
    """How many copies of pictures, with room for what becomes of them."""
    return fitting(4 * pictures.nbytes, pictures.device)
