"""Choose how many copies of an image run at once, and run them; fewer where memory runs out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Enough work for one pass, and little enough for the cache of a CPU: more is slower there.
_BYTES = {"cpu": 16 * 2**20, "cuda": 512 * 2**20}


def max_copies(bytes_per_copy: int, device: torch.device) -> int:
    """Number of copies of that size to run at once."""
    return max(1, _BYTES.get(device.type, _BYTES["cuda"]) // bytes_per_copy)


def copies_per_pass(images: Tensor) -> int:
    """Number of copies of images to run at once, with room for activations."""
    return max_copies(4 * images.nbytes, images.device)


def scores_in_chunks(
    score: Callable[[Tensor], Tensor], channels: Tensor, chunk: int, update_progress: Callable[[int], Any]
) -> Tensor:
    """Score copies that were changed in n channels, one each, (n, K).

    Args:
        score: from m of the channels to the scores (m, K) of the copies changed there.
        channels: (n,)
        chunk: the largest m; it is halved where memory runs out.
        update_progress: called with m.
    """
    parts: list[Tensor] = []
    done = 0
    while done < len(channels):
        part = channels[done : done + chunk]
        try:
            parts.append(score(part))
        except RuntimeError as error:
            if chunk == 1 or not _out_of_memory(error):
                raise
            chunk //= 2
        else:
            done += len(part)
            update_progress(len(part))
    return torch.cat(parts)


def top_channels_by_variance(activations: Tensor, candidates: Tensor, count: int | None) -> Tensor:
    """Choose the channels of one image (1, C, *S) that vary most over space.

    Args:
        activations: (1, C, *S)
        candidates: indices of channels.
        count: the largest number of them to keep; None keeps all.
    """
    if count is None or count >= len(candidates):
        return candidates
    spread = activations[0, candidates].flatten(1).std(dim=1, correction=0)
    return candidates[spread.topk(count).indices]


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
