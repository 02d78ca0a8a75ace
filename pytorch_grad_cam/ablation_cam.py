"""Ablation-CAM."""

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam.evidence import LayerEvidence
from pytorch_grad_cam.perturbation import PerturbationCAM, most_varied, scores_in_chunks
from pytorch_grad_cam.replay import one_of, tail_of
from pytorch_grad_cam.silencing import SilencedCopies


class AblationCAM(PerturbationCAM):
    r"""Ablation-CAM: weight a channel by how much the score falls when it is silenced; no gradients.

        w_c = (y - y_c) / |y|        (eq. 5, y_c the score with channel c silenced)

    Desai and Ramaswamy, 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Desai_Ablation-CAM_WACV_2020_paper.html

    Only what comes after the target layer is computed for each channel, where that is proved to give the same scores.

    Differs from the paper: the fall is divided by |y|, not y, or every weight would change its sign with that of y.

    Args:
        silence: the value that a silenced channel has everywhere.
        ratio_channels_to_ablate: another way to give `channels`, as a share of them.
        ablation_layer: taken and not needed: which values belong to a channel is found from the layer's output.
        others: as PerturbationCAM takes them.

    Example:
        >>> AblationCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def __init__(
        self,
        *others: Any,
        silence: float = 0.0,
        ratio_channels_to_ablate: float = 1.0,
        ablation_layer: Any = None,
        **named: Any,
    ) -> None:
        super().__init__(*others, **named)
        if not 0 < ratio_channels_to_ablate <= 1:
            raise ValueError(f"ratio_channels_to_ablate is {ratio_channels_to_ablate}, expected a share in (0, 1]")
        self.silence = silence
        self.ratio_channels_to_ablate = ratio_channels_to_ablate

    def image_weights(self, evidence: LayerEvidence, image: int, advance: Callable[[int], Any]) -> Tensor:
        """The relative fall of each score, channel by channel, (K, C)."""
        inputs, before = evidence.inputs[image : image + 1], evidence.scores[image]
        output = one_of(evidence.output, image, len(evidence.inputs))
        copies = SilencedCopies(output, self._transform(evidence.layer, output, inputs), self.silence)
        activations = evidence.activations[image]
        weights = before.new_zeros(len(before), activations.shape[1])
        count = ceil(self.ratio_channels_to_ablate * len(copies.live)) if self.channels is None else self.channels
        channels = most_varied(activations, copies.live, count)
        if not len(channels):
            return weights

        def score(outputs: Any, number: int) -> Tensor:
            return evidence.targets.of_copies(image, number).scores(outputs).to(before.dtype)

        tail = tail_of(self.model, evidence.layer, inputs, output, score, before)

        def silenced_scores(channels: Tensor) -> Tensor:
            with copies.silenced(channels) as changed:
                return tail(changed, len(channels))

        after = scores_in_chunks(silenced_scores, channels, self.chunk(copies.nbytes, inputs.device), advance)
        weights[:, channels] = ((before - after) / torch.where(before == 0, 1, before.abs())).mT
        return weights
