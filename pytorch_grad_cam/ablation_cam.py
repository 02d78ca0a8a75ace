"""Ablation-CAM."""

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.arguments import legacy_positional
from pytorch_grad_cam._engine.batching import max_copies, scores_in_chunks, top_channels_by_variance
from pytorch_grad_cam._engine.channel_ablation import AblatedCopies
from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.layers import TargetLayers
from pytorch_grad_cam._engine.precision import at_least_float32, in_float32
from pytorch_grad_cam._engine.replay import LayerTail, ModuleTrace, record
from pytorch_grad_cam.perturbation_cam import PerturbationCAM

# Of the pass with these inputs, so that threads can share a method; gone with the inputs.
_traces: WeakKeyDictionary[ModelInputs, ModuleTrace] = WeakKeyDictionary()


class AblationCAM(PerturbationCAM):
    r"""Ablation-CAM: weight a channel by how much the score falls when it is ablated; no gradients.

        w_c = (y - y_c) / |y|        (eq. 5, y_c the score with channel c ablated)

    Desai and Ramaswamy, 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Desai_Ablation-CAM_WACV_2020_paper.html

    Only what comes after the target layer is computed for each channel, where that is proved to give the same scores.

    Differs from the paper: the fall is divided by |y|, not y, or every weight would change its sign with that of y.

    Args:
        model: any network; its state is restored after each call.
        target_layers: one module or dotted name, or a list; None picks a layer, see `BaseCAM`.
        legacy: positional arguments of grad-cam 1.x: reshape_transform, ablation_layer, batch_size,
            ratio_channels_to_ablate.
        ablated_value: the value that an ablated channel has everywhere.
        ratio_channels_to_ablate: share of the channels to use, in (0, 1]; another way to give `channels`.
        ablation_layer: accepted and not needed: the values of a channel are found from the layer's output.
        options: further arguments of `PerturbationCAM` and `BaseCAM`.

    Example:
        >>> AblationCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: TargetLayers | None = None,
        *legacy: Any,
        ablated_value: float = 0.0,
        ratio_channels_to_ablate: float = 1.0,
        ablation_layer: Any = None,
        **options: Any,
    ) -> None:
        order = ["reshape_transform", "ablation_layer", "batch_size", "ratio_channels_to_ablate"]
        options = legacy_positional(type(self).__name__, legacy, order, options)
        options.pop("ablation_layer", None)
        ratio = options.pop("ratio_channels_to_ablate", ratio_channels_to_ablate)
        super().__init__(model, target_layers, **options)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio_channels_to_ablate is {ratio}, expected a share in (0, 1]")
        if self.channels is not None and ratio != 1:
            raise ValueError("channels and ratio_channels_to_ablate are two ways to say the same, and both were given")
        self.ablated_value = float(ablated_value)
        self.ratio_channels_to_ablate = ratio

    def run(self, inputs: ModelInputs) -> Any:
        """Call the model, and record what it does up to the layer."""
        # With several images or layers, one replay could change a stateful model, and the next would read it.
        layers = self.target_layers or ()
        if not len(inputs) == len(layers) == 1:
            return super().run(inputs)
        outputs, _traces[inputs] = record(self.model, layers[0], inputs.clone())
        return outputs

    def image_weights(self, evidence: LayerEvidence, image: int, update_progress: Callable[[int], Any]) -> Tensor:
        """Relative fall of each score, channel by channel, (K, C)."""
        inputs, before = evidence.forward.inputs.image(image), evidence.scores[image]
        trace = _traces.pop(evidence.forward.inputs, None)
        activations = evidence.activations[image]
        weights = before.new_zeros(len(before), activations.shape[1])

        if not activations.isfinite().all():
            return weights.fill_(torch.nan)  # to ablate a channel says nothing then

        def score(outputs: Any, copies: int) -> Tensor:
            return evidence.targets.of_copies(image, copies).scores(outputs)

        traces = self._usable_traces(trace, evidence, inputs)
        tail = LayerTail(self.model, evidence.layer, inputs, traces, score, before)
        copies = AblatedCopies(tail.output, evidence.transform, self.ablated_value)
        count = ceil(self.ratio_channels_to_ablate * len(copies.live)) if self.channels is None else self.channels
        channels = top_channels_by_variance(activations, copies.live, count)
        if not len(channels):
            return weights

        device = inputs.images.device
        scores = partial(_precise_scores, tail, device) if copies.half_precision else tail
        if copies.half_precision:
            before = scores(tail.output, 1)[0].to(before.dtype)

        def ablated_scores(chunk_of_channels: Tensor) -> Tensor:
            with copies.ablated(chunk_of_channels) as changed:
                return scores(changed, len(chunk_of_channels)).to(before.dtype)

        chunk = tail.most_copies or self.chunk(max_copies(copies.nbytes, device))
        after = scores_in_chunks(ablated_scores, channels, chunk, update_progress)
        weights[:, channels] = ((before - after) / torch.where(before == 0, 1, before.abs())).mT
        return weights

    def _usable_traces(
        self, trace: ModuleTrace | None, evidence: LayerEvidence, inputs: ModelInputs
    ) -> Iterator[ModuleTrace]:
        """Yield the trace of the pass that was seen, if it was of this image alone; then one of a pass of its own."""
        # A target of the user's own may run the model, which may then hold something that is not of this image.
        if trace is not None and evidence.targets.classes is not None:
            yield trace
            trace.clear()  # it could not be replayed
        yield record(self.model, evidence.layer, inputs.clone())[1]


def _precise_scores(tail: LayerTail, device: torch.device, changed: Any, copies: int) -> Tensor:
    """Scores in float32: one channel of many moves the score by less than the last bit of a half."""
    with in_float32(device):
        return tail(at_least_float32(changed), copies)
