"""Base of the methods that score changed copies of an image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.arguments import check_count
from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.layers import TargetLayers
from pytorch_grad_cam._engine.progress import progress_bar
from pytorch_grad_cam.base_cam import BaseCAM


class PerturbationCAM(BaseCAM):
    """A method that weights a channel by the scores of copies of the image that were changed there; no gradients.

    Args:
        model: any network; its state is restored after each call.
        target_layers: one module or dotted name, or a list; None picks a layer, see `BaseCAM`.
        legacy: positional arguments of grad-cam 1.x, see `BaseCAM`.
        channels: number of channels to use, those with the highest variance over space; the others get the weight 0.
            None uses all.
        progress: show a progress bar; None shows it on a terminal.
        options: further arguments of `BaseCAM`; batch_size is the number of copies that run at once, halved where
            memory runs out.
    """

    derivatives = 0
    needs_normalized_activations = False

    def __init__(
        self,
        model: nn.Module,
        target_layers: TargetLayers | None = None,
        *legacy: Any,
        channels: int | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, target_layers, *legacy, **options)
        self.channels = check_count("channels", channels, "for all")
        self.progress = progress

    def run(self, inputs: ModelInputs) -> Any:
        """Call the model with a clone of the inputs, which are needed again and which a model may change in-place."""
        return super().run(inputs.clone())

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """Weights of each image in turn, (B, K, C, 1, 1)."""
        batch, channels = len(evidence.forward.inputs), evidence.activations.shape[2]
        with progress_bar(type(self).__name__, batch * channels, "it", self.progress) as update_progress:
            weights = torch.stack([self.image_weights(evidence, image, update_progress) for image in range(batch)])
        return weights.reshape(*weights.shape, *[1] * len(evidence.spatial))

    def image_weights(self, evidence: LayerEvidence, image: int, update_progress: Callable[[int], Any]) -> Tensor:
        """Weights (K, C) of one image of the batch; `update_progress` takes the number of channels that are done."""
        raise NotImplementedError(
            f"{type(self).__name__} must override image_weights(evidence, image, update_progress)"
        )

    def chunk(self, default: int) -> int:
        """Number of copies to run at once: `batch_size`, or the default where it is None."""
        return check_count("batch_size", self.batch_size, "to choose") or default
