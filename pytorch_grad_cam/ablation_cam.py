"""Ablation-CAM."""

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.batching import fitting
from pytorch_grad_cam._engine.channel_ablation import AblatedCopies
from pytorch_grad_cam._engine.forward import LayerEvidence
from pytorch_grad_cam._engine.inputs import Inputs
from pytorch_grad_cam._engine.precision import at_least_float32, in_float32
from pytorch_grad_cam._engine.replay import LayerTail, ModuleTrace, record
from pytorch_grad_cam.perturbation_cam import PerturbationCAM, scores_in_chunks, top_channels_by_variance


class AblationCAM(PerturbationCAM):
    r"""Ablation-CAM: weight a channel by how much the score falls when it is silenced; no gradients.

        w_c = (y - y_c) / |y|        (eq. 5, y_c the score with channel c silenced)

    Desai and Ramaswamy, 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Desai_Ablation-CAM_WACV_2020_paper.html

    Only what comes after the target layer is computed for each channel, where that is proved to give the same scores.

    Differs from the paper: the fall is divided by |y|, not y, or every weight would change its sign with that of y.

    Args:
        model: as BaseCAM takes it, like target_layers, older and the further options.
        silence: the value that a silenced channel has everywhere.
        ratio_channels_to_ablate: another way to give `channels`, as a share of them.
        ablation_layer: taken and not needed: which values belong to a channel is found from the layer's output.

    Example:
        >>> AblationCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    replays = True

    def __init__(
        self,
        model: nn.Module,
        target_layers: Any = None,
        *older: Any,
        silence: float = 0.0,
        ratio_channels_to_ablate: float = 1.0,
        ablation_layer: Any = None,
        **options: Any,
    ) -> None:
        # By position, after what every method takes: ablation_layer, batch_size, ratio_channels_to_ablate.
        common = 2 if older and isinstance(older[0], bool) else 1
        if len(older) > common + 1:
            options["batch_size"] = older[common + 1]
        if len(older) > common + 2:
            ratio_channels_to_ablate = older[common + 2]
        super().__init__(model, target_layers, *older[:common], *older[common + 3 :], **options)
        if not 0 < ratio_channels_to_ablate <= 1:
            raise ValueError(f"ratio_channels_to_ablate is {ratio_channels_to_ablate}, expected a share in (0, 1]")
        if self.channels is not None and ratio_channels_to_ablate != 1:
            raise ValueError("channels and ratio_channels_to_ablate are two ways to say the same, and both were given")
        self.silence = float(silence)
        self.ratio_channels_to_ablate = ratio_channels_to_ablate

    def image_weights(self, evidence: LayerEvidence, image: int, advance: Callable[[int], Any]) -> Tensor:
        """The relative fall of each score, channel by channel, (K, C)."""
        inputs, before = evidence.given.image(image), evidence.scores[image]
        activations = evidence.activations[image]
        weights = before.new_zeros(len(before), activations.shape[1])

        if not activations.isfinite().all():
            return weights.fill_(torch.nan)  # to silence a channel says nothing then

        def score(outputs: Any, copies: int) -> Tensor:
            return evidence.targets.of_copies(image, copies).scores(outputs)

        tail = LayerTail(self.model, evidence.layer, inputs, self._tapes(evidence, inputs), score, before)
        copies = AblatedCopies(tail.output, self.transform(evidence.layer, tail.output, inputs.pictures), self.silence)
        count = ceil(self.ratio_channels_to_ablate * len(copies.live)) if self.channels is None else self.channels
        channels = top_channels_by_variance(activations, copies.live, count)
        if not len(channels):
            return weights

        device = inputs.pictures.device
        scores = partial(_precise_scores, tail, device) if copies.half_precision else tail
        if copies.half_precision:
            before = scores(tail.output, 1)[0].to(before.dtype)

        def silenced_scores(some: Tensor) -> Tensor:
            with copies.silenced(some) as changed:
                return scores(changed, len(some)).to(before.dtype)

        chunk = tail.most_copies or self.chunk(fitting(copies.nbytes, device))
        after = scores_in_chunks(silenced_scores, channels, chunk, advance)
        weights[:, channels] = ((before - after) / torch.where(before == 0, 1, before.abs())).mT
        return weights

    def _tapes(self, evidence: LayerEvidence, inputs: Inputs) -> Iterator[ModuleTrace]:
        """Of the pass that was seen, if it was of this image alone; then of one of its own."""
        # A target of the user's own may run the model, which may then hold something that is not of this image.
        if evidence.tape is not None and evidence.targets.classes is not None:
            yield evidence.tape
            evidence.tape.clear()  # it could not be replayed
        yield record(self.model, evidence.layer, inputs.clone())[1]


def _precise_scores(tail: LayerTail, device: torch.device, changed: Any, copies: int) -> Tensor:
    """What `tail` gives, in float32: one channel of many moves the score by less than the last bit of a half."""
    with in_float32(device):
        return tail(at_least_float32(changed), copies)
