"""The pipeline that every method shares; a method overrides `channel_weights`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pytorch_grad_cam.evidence import LayerEvidence, Observation, observe
from pytorch_grad_cam.hooks import eval_mode
from pytorch_grad_cam.preparation import prepare_input, prepare_model
from pytorch_grad_cam.reductions import channel_sum, first_component, fuse
from pytorch_grad_cam.smoothing import average_over_augmentations
from pytorch_grad_cam.utils.find_layers import TargetLayer, find_target_layer, layer_name, resolve_layers
from pytorch_grad_cam.utils.model_targets import Targets, class_scores, describe, resolve_targets
from pytorch_grad_cam.utils.reshape_transforms import find_layout


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says about one batch, tensors on the model's device.

    Attributes:
        maps: (B, K, *S_in) in [0, 1], the mean over layers.
        layer_maps: for each target layer its raw signed map (B, K, *S), before the ReLU.
        weights: for each target layer (B, K, C, 1, 1) or (B, K, C, *S).
        evidence: for each target layer what the weights were computed from.
        outputs: as the model returned them.
    """

    maps: Tensor
    layer_maps: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    evidence: tuple[LayerEvidence, ...]
    outputs: Any

    @property
    def scores(self) -> Tensor:
        """(B, K), or None where no target was needed, given or found."""
        return self.evidence[0].scores

    @property
    def targets(self) -> Targets:
        """What was explained, B x K, or None as scores."""
        return self.evidence[0].targets


class BaseCAM:
    """A class activation map; a subclass overrides `channel_weights`, and no more if it can.

        w   = channel_weights(evidence)
        m_l = reduce(w * activations_l)
        map = rescale(mean_l resize(rescale(relu(m_l))))

    Args:
        model: any network; it is left as it was found, also after an error.
        target_layers: one module or dotted name ("layer4.-1"), or a list; None picks, at the first call, the last layer
            that keeps positions and that a gradient reaches.
        older: reshape_transform may stand in third place; in releases before 1.5 use_cuda stood before it.
        reshape_transform: from what the layer returns to (B, C, *S); None recognises channels first, channels last and
            tokens.
        target_layer: the same as target_layers.
        use_cuda: move the model to the GPU; otherwise the input follows the model.
        batch_size: how many copies of an image a method that needs many runs at once; None chooses.
        tta_transforms: a `ttach.Compose` for aug_smooth; None is horizontal flip x brightness 0.9, 1, 1.1.

    Raises:
        TypeError: if model is no nn.Module whose layers can be observed.
        ValueError: if a layer is no part of the model.
        RuntimeError: if use_cuda is given and there is no GPU.
    """

    uses_gradients: ClassVar[bool] = True
    uses_scores: ClassVar[bool] = True
    runs_again: ClassVar[bool] = False
    reduce: Callable[[Tensor], Tensor] = staticmethod(channel_sum)

    def __init__(
        self,
        model: nn.Module,
        target_layers: TargetLayer | Sequence[TargetLayer] | None = None,
        *older: Any,
        reshape_transform: Callable[[Any], Tensor] | None = None,
        target_layer: TargetLayer | None = None,
        use_cuda: bool = False,
        batch_size: int | None = None,
        tta_transforms: Iterable[Any] | None = None,
    ) -> None:
        if older and isinstance(older[0], bool):
            use_cuda, *older = older  # type: ignore[assignment]
        if len(older) > 1:
            raise TypeError(f"{type(self).__name__} takes model, target_layers and reshape_transform by position")
        by_position = older[0] if older else None
        self.reshape_transform = _either("reshape_transform", reshape_transform, "the third argument", by_position)
        if not (self.reshape_transform is None or callable(self.reshape_transform)):
            raise TypeError(f"reshape_transform is {self.reshape_transform!r}, expected a function of a layer's output")
        self.model = prepare_model(model, use_cuda)
        layers = _either("target_layers", target_layers, "target_layer", target_layer)
        self.target_layers = None if layers is None else resolve_layers(self.model, layers)
        self.batch_size = check_count("batch_size", batch_size, "to choose")
        self.tta_transforms = None if tta_transforms is None else list(tta_transforms)
        self.outputs: Any = None

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """How much each channel counts: (B, K, C, 1, 1) or (B, K, C, *S), axes of 1 where they do not differ."""
        raise NotImplementedError

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Any = None,
    ) -> NDArray[np.float32]:
        """The maps of a batch.

        Args:
            input_tensor: (B, C, *S_in), preprocessed for the model.
            targets: None for the best class of each image; one class or callable for all; a list of B, each mapping one
                image's output to a scalar; a list of B lists of K, or a tensor of classes (B, K).
            aug_smooth: average over augmented copies of each image, six unless `tta_transforms` says otherwise.
            eigen_smooth: reduce by the first principal component instead of the method's own way.
            target_category: the same as targets.

        Returns:
            float32 (B, *S_in) in [0, 1], or (B, K, *S_in) if K targets were given for each image

        Raises:
            TypeError, ValueError, IndexError: naming what was given and what was expected.
            RuntimeError: if the scores do not depend on a target layer.
        """
        explanation = self.explain(input_tensor, targets, aug_smooth, eigen_smooth, target_category=target_category)
        several = explanation.targets is not None and explanation.targets.several
        maps = explanation.maps if several else explanation.maps[:, 0]
        return maps.float().cpu().numpy()

    def explain(
        self,
        input_tensor: Tensor,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Any = None,
    ) -> Explanation:
        """Maps as tensors, with the raw signed map of each layer, weights, scores and outputs.

        Takes what a call takes; K is an axis of every result, also where it is 1.
        """
        targets = _either("targets", targets, "target_category", target_category)
        if aug_smooth:
            explain = partial(self.explain, eigen_smooth=eigen_smooth)
            averaged = average_over_augmentations(explain, input_tensor, targets, self.tta_transforms)
            self.outputs = averaged.outputs
            return averaged
        # Tensors made in inference mode cannot be differentiated; autocast stays as the caller has it.
        with eval_mode(self.model), torch.inference_mode(False), torch.no_grad():
            inputs = prepare_input(input_tensor, self.model, "input_tensor")
            if self.target_layers is None:
                self.target_layers = [find_target_layer(self.model, inputs)]
            score = partial(self._score, targets=targets, batch=len(inputs))
            given = inputs.clone() if self.runs_again else inputs  # a model may change its input in place
            seen = observe(self.model, given, self.target_layers, score, differentiate=self.uses_gradients)
            evidence = self._evidence(seen, inputs)
            weights = [self.channel_weights(e) for e in evidence]
            reduce = first_component if eigen_smooth else self.reduce
            layer_maps = [reduce(w * e.activations) for w, e in zip(weights, evidence, strict=True)]
            if seen.scores is not None:  # a method that ignores the target gives one map for all
                layer_maps = [m.expand(*seen.scores.shape, *m.shape[2:]) for m in layer_maps]
            maps = fuse(layer_maps, inputs.shape[2:])
        self.outputs = seen.outputs
        return Explanation(maps, tuple(layer_maps), tuple(weights), evidence, seen.outputs)

    def __enter__(self) -> "BaseCAM":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to release: hooks live for one call."""

    def _score(self, outputs: Any, targets: Any, batch: int) -> tuple[Targets | None, Tensor | None]:
        if targets is None and not self.uses_scores and class_scores(outputs, batch) is None:
            return None, None
        resolved = resolve_targets(targets, outputs, batch)
        return resolved, resolved.scores(outputs)

    def _evidence(self, seen: Observation, inputs: Tensor) -> tuple[LayerEvidence, ...]:
        scores: Any = None if seen.scores is None else _promote(seen.scores)
        targets: Any = seen.targets
        evidence = []
        for layer, (output, of) in zip(self.target_layers or (), seen.layers, strict=True):
            transform = self.transform(layer, output, inputs)
            activations = transform(output).unsqueeze(1)
            gradients: Any = torch.stack([transform(g) for g in of], dim=1) if of else None
            evidence.append(LayerEvidence(layer, output, activations, inputs, gradients, targets, scores))
        return tuple(evidence)

    def transform(self, layer: nn.Module, output: Any, inputs: Tensor) -> Callable[[Any], Tensor]:
        """How what a layer returned, and its gradient, become (B, C, *S) in float32 or float64."""
        transform = self.reshape_transform or partial(_first_in_layout, find_layout(_first_tensor(output), inputs))
        activations = transform(output)
        if (
            not isinstance(activations, Tensor)
            or activations.ndim != inputs.ndim
            or len(activations) != len(inputs)
            or activations[0, 0].numel() == 1
        ):
            after = " after reshape_transform" if self.reshape_transform else ""
            axes = ", ".join("DHW"[-(inputs.ndim - 2) :])
            raise ValueError(
                f"target layer {layer_name(self.model, layer)!r} gives {describe(activations)}{after} for an input "
                f"{tuple(inputs.shape)}; expected activations ({len(inputs)}, C, {axes}) with more than one position: "
                "take a layer before the pooling, or give a reshape_transform"
            )
        return lambda value: _promote(transform(value))


def check_count(name: str, value: Any, meaning: str) -> int | None:
    """A whole number of at least 1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1, or None {meaning}")
    return int(value)


def _either(name: str, value: Any, other_name: str, other: Any) -> Any:
    """The value of an argument that has two names."""
    if value is not None and other is not None:
        raise TypeError(f"{name} and {other_name} are the same argument, and both were given")
    return other if value is None else value


def _first_tensor(output: Any) -> Any:
    return next((leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), output)


def _first_in_layout(layout: Callable[[Tensor], Tensor] | None, output: Any) -> Any:
    tensor = _first_tensor(output)
    return layout(tensor) if layout else tensor


def _promote(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
