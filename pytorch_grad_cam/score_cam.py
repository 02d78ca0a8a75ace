"""Score-CAM."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam._engine.batching import copies_per_pass, scores_in_chunks, top_channels_by_variance
from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam._engine.maps import rescale, resize
from pytorch_grad_cam.perturbation_cam import PerturbationCAM


class ScoreCAM(PerturbationCAM):
    r"""Score-CAM: weight a channel by the score of the image seen through it; no gradients.

        H_c = rescale(resize(A_c)),    w = softmax_c y(X * H_c)        (eq. 5 to 7 and algorithm 1)

    Wang et al., 2020, https://arxiv.org/abs/1910.01279

    Differs from the paper: nothing; a baseline score, the same for every channel, cancels in the softmax.

    Example:
        >>> ScoreCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def image_weights(self, evidence: LayerEvidence, image: int, update_progress: Callable[[int], Any]) -> Tensor:
        """Softmax over channels of the scores of the masked images, (K, C)."""
        activations, inputs = evidence.activations[image], evidence.forward.inputs.image(image)
        pixels = inputs.images

        def run(channels: Tensor) -> Any:
            masks = rescale(resize(activations[:, channels], pixels.shape[2:]))[0].unsqueeze(1)
            copies = (pixels * masks).to(pixels.dtype)
            if copies.device.type == "cpu" and copies.ndim == 4:  # the faster order for convolutions there
                copies = copies.contiguous(memory_format=torch.channels_last)
            return inputs.copies(len(channels)).with_images(copies).run(self.model)

        values = activations[0].flatten(1)
        varies = values.amax(dim=1) > values.amin(dim=1)
        varied, flat = varies.nonzero().flatten(), (~varies).nonzero().flatten()
        if self.channels is not None and len(varied):
            varied, flat = top_channels_by_variance(activations, varied, self.channels), flat[:0]
        # The mask of a flat channel is 0 everywhere: one score stands for all of them.
        scored = torch.cat([varied, flat[:1]])
        chunk = self.chunk(copies_per_pass(pixels))

        def score(channels: Tensor) -> Tensor:
            return evidence.targets.of_copies(image, len(channels)).scores(run(channels)).to(activations.dtype)

        scores = scores_in_chunks(score, scored, chunk, update_progress).mT
        every = scores.new_full((len(scores), activations.shape[1]), -torch.inf)
        every[:, flat] = scores[:, -1:]
        every[:, scored] = scores
        return every.softmax(dim=1)
