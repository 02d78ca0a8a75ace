"""What methods share that score many changed copies of an image: chunks that fit the device, a progress bar."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.forward import LayerEvidence
from pytorch_grad_cam._engine.progress import progress_bar
from pytorch_grad_cam.base_cam import BaseCAM, check_count


class PerturbationCAM(BaseCAM):
    """A method that weights a channel by the scores of copies of the image that were changed there; no gradients.

    Args:
        model: as BaseCAM takes it, like target_layers, older and the further options; batch_size is how many copies run
            at once, None suits the device. Where memory runs out the number is halved.
        channels: how many of the most varied channels to use; the others weigh 0. None uses all.
        progress: show a progress bar; None shows it on a terminal.
    """

    uses_gradients = False
    needs_normalized_activations = False
    runs_again = True

    def __init__(
        self,
        model: nn.Module,
        target_layers: Any = None,
        *older: Any,
        channels: int | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, target_layers, *older, **options)
        self.channels = check_count("channels", channels, "for all")
        self.progress = progress

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """The weights of each image in turn, (B, K, C, 1, 1)."""
        images, channels = len(evidence.inputs), evidence.activations.shape[2]
        with progress_bar(type(self).__name__, images * channels, "it", self.progress) as advance:
            weights = torch.stack([self.image_weights(evidence, image, advance) for image in range(images)])
        return weights.reshape(*weights.shape, *[1] * len(evidence.spatial))

    def image_weights(self, evidence: LayerEvidence, image: int, advance: Callable[[int], Any]) -> Tensor:
        """The weights (K, C) of one image of the batch; `advance` moves the progress bar by some channels."""
        raise NotImplementedError

    def chunk(self, otherwise: int) -> int:
        """How many copies to run at once, where the user does not say."""
        return check_count("batch_size", self.batch_size, "to choose") or otherwise


def scores_in_chunks(
    score: Callable[[Tensor], Tensor], channels: Tensor, chunk: int, advance: Callable[[int], Any]
) -> Tensor:
    """The scores (n, K) of copies that were changed in n channels, one each.

    Args:
        score: some of the channels, (m,), to the scores (m, K) of the copies changed there.
        channels: (n,)
        chunk: m at most; where memory runs out it is halved.
        advance: is told m.
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
            advance(len(part))
    return torch.cat(parts)


def top_channels_by_variance(activations: Tensor, candidates: Tensor, count: int | None) -> Tensor:
    """Those of some channels of one image (1, C, *S) that vary most over space, at most `count`; None is all."""
    if count is None or count >= len(candidates):
        return candidates
    spread = activations[0, candidates].flatten(1).std(dim=1, correction=0)
    return candidates[spread.topk(count).indices]


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
