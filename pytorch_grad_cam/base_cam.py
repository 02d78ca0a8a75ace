"""The pipeline that every method shares; a method overrides `channel_weights`."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam._engine.blank_maps import warn_of_blank_maps
from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.explanation import Explanation
from pytorch_grad_cam._engine.forward import LayerEvidence, Observation, observe
from pytorch_grad_cam._engine.inputs import Inputs, prepare_inputs
from pytorch_grad_cam._engine.layer_selection import find_target_layer
from pytorch_grad_cam._engine.layers import TargetLayer, layer_name, resolve_layers
from pytorch_grad_cam._engine.layouts import find_transform
from pytorch_grad_cam._engine.model_state import inference_state, prepare_model
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in
from pytorch_grad_cam._engine.reductions import channel_sum, first_component, fuse
from pytorch_grad_cam._engine.smoothing import average_over_augmentations
from pytorch_grad_cam._engine.targets import Targets, materialize, score_outputs
from pytorch_grad_cam._not_implemented import NoHooks


class BaseCAM:
    """A class activation map; a subclass overrides `channel_weights`, and no more if it can.

        w   = channel_weights(evidence)
        m_l = reduce(w * activations_l)
        map = rescale(mean_l resize(rescale(relu(m_l))))

    Args:
        model: any network; it is left as it was found, also after an error.
        target_layers: one module or dotted name ("layer4.-1"), or a list; None takes, from the first call on, the last
            layer that keeps positions and that the score's gradient reaches there; in a Swin, unless the method
            `needs_normalized_activations` activations, what enters the last block. `list_layers` shows them all.
        older: reshape_transform may stand in third place; in releases before 1.5 use_cuda stood before it.
        reshape_transform: from what the layer returns to (B, C, *S); None recognises channels first, channels last and
            tokens, with others before them or not.
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
    replays: ClassVar[bool] = False
    # Whether the map may go astray where channels have any sign and scale, as between the blocks of a transformer.
    needs_normalized_activations: ClassVar[bool] = True
    reduce: Callable[[Tensor], Tensor] = staticmethod(channel_sum)
    activations_and_grads: Any = NoHooks()

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
        raise NotImplementedError(
            f"{type(self).__name__} must override channel_weights(evidence); get_cam_weights of grad-cam 1.x is not "
            "called"
        )

    def __call__(
        self,
        input_tensor: Any = None,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Any = None,
        **forward_kwargs: Any,
    ) -> NDArray[np.float32]:
        """The maps of a batch.

        Args:
            input_tensor: pictures (B, C, *S_in), preprocessed for the model. Several arguments of a model are a tuple
                that begins with them, or a dict of named ones with `pixel_values`.
            targets: None for the best class of each image; one class or callable for all; a list of B, each mapping one
                image's output to a scalar; a list of B lists of K, or a tensor of classes (B, K).
            aug_smooth: average over augmented copies of each image, six unless `tta_transforms` says otherwise.
            eigen_smooth: reduce by the first principal component instead of the method's own way.
            target_category: the same as targets.
            forward_kwargs: further arguments of the model, by name. Tensors with a first axis of length B hold
                something for each image, the others are for all.

        Returns:
            float32 (B, *S_in) in [0, 1], or (B, K, *S_in) if K targets were given for each image

        Warns:
            BlankMapWarning: once, saying why, if a map is 0 everywhere; one that would hold NaN is.

        Raises:
            TypeError, ValueError, IndexError: naming what was given and what was expected.
            RuntimeError: if the scores do not depend on a target layer.
        """
        targets = _either("targets", targets, "target_category", target_category)
        explanation = self._explain_all(input_tensor, targets, aug_smooth, eigen_smooth, forward_kwargs)
        maps = explanation.maps.float().cpu()
        warn_of_blank_maps(self.model, explanation, maps)
        several = explanation.targets is not None and explanation.targets.several
        return (maps if several else maps[:, 0]).numpy()

    def explain(
        self,
        input_tensor: Any = None,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Any = None,
        **forward_kwargs: Any,
    ) -> Explanation:
        """Maps as tensors, with the raw signed map of each layer, weights, scores and outputs.

        Takes what a call takes, and warns as it does; K is an axis of every result, also where it is 1.
        """
        targets = _either("targets", targets, "target_category", target_category)
        explanation = self._explain_all(input_tensor, targets, aug_smooth, eigen_smooth, forward_kwargs)
        warn_of_blank_maps(self.model, explanation, explanation.maps)
        return explanation

    def _explain_all(
        self, input_tensor: Any, targets: Any, aug_smooth: bool, eigen_smooth: bool, forward_kwargs: dict[str, Any]
    ) -> Explanation:
        with torch.inference_mode(False):
            inputs = prepare_inputs(input_tensor, forward_kwargs, self.model, "input_tensor")
        targets = materialize(targets)
        explain = partial(self._explain, eigen_smooth=eigen_smooth)
        if aug_smooth:
            explanation = average_over_augmentations(explain, inputs, targets, self.tta_transforms)
        else:
            explanation = explain(inputs, targets)
        self.outputs = explanation.outputs
        return explanation

    def _explain(self, inputs: Inputs, targets: Any, eigen_smooth: bool) -> Explanation:
        with inference_state(self.model), torch.no_grad():
            if self.target_layers is None:
                self.target_layers = [self._find_target_layer(inputs, targets)]
            score = partial(score_outputs, targets=targets, batch=len(inputs), needed=self.uses_scores)
            given = inputs.clone() if self.runs_again else inputs  # a model may change its input in place
            # Of several images or layers, what runs for one may leave something on the model that the next would read.
            taping = self.replays and len(inputs) == len(self.target_layers) == 1
            seen = observe(
                self.model, given, self.target_layers, score, differentiate=self.uses_gradients, taping=taping
            )
            explanation = self._explain_evidence(self._evidence(seen, inputs), seen.outputs, eigen_smooth)
            if seen.tape is not None:
                seen.tape.clear()  # who keeps an explanation keeps its evidence
            return explanation

    def _explain_evidence(self, evidence: tuple[LayerEvidence, ...], outputs: Any, eigen_smooth: bool) -> Explanation:
        weights = [self.channel_weights(e) for e in evidence]
        reduce = first_component if eigen_smooth else self.reduce
        layer_maps = [reduce(w * e.activations) for w, e in zip(weights, evidence, strict=True)]
        if (scores := evidence[0].scores) is not None:  # a method that ignores the target gives one map for all
            layer_maps = [m.expand(*scores.shape, *m.shape[2:]) for m in layer_maps]
        maps = fuse(layer_maps, evidence[0].inputs.shape[2:])
        return Explanation(maps, tuple(layer_maps), tuple(weights), evidence, outputs)

    def __enter__(self) -> "BaseCAM":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to release: hooks live for one call."""

    def _find_target_layer(self, inputs: Inputs, targets: Any) -> nn.Module:
        return find_target_layer(
            self.model,
            inputs,
            targets,
            self.reshape_transform,
            needs_scores=self.uses_scores,
            needs_gradients=self.uses_gradients,
            needs_normalized_activations=self.needs_normalized_activations,
        )

    def _evidence(self, seen: Observation, inputs: Inputs) -> tuple[LayerEvidence, ...]:
        scores: Any = None if seen.scores is None else _promote(seen.scores)
        targets: Any = seen.targets
        evidence = []
        for layer, (output, of) in zip(self.target_layers or (), seen.layers, strict=True):
            transform = self.transform(layer, output, inputs.pictures)
            activations = transform(output).unsqueeze(1)
            gradients: Any = _side_by_side([transform(g) for g in of]) if of else None
            returned = sum(tensor.numel() for tensor in tensors_in(output))
            if of and activations.numel() < returned and not gradients.any():
                self._check_reached(layer, of, activations.shape[3:], inputs, targets)
            evidence.append(LayerEvidence(layer, output, activations, inputs, gradients, targets, scores, seen.tape))
        return tuple(evidence)

    def _check_reached(
        self, layer: nn.Module, gradients: Sequence[Any], grid: Sequence[int], inputs: Inputs, targets: Targets
    ) -> None:
        """Refuse a layer if no gradient reaches its positions, but one reaches what it returned beside them."""
        if not any(tensor.any() for tensor in tensors_in(gradients)):
            return
        name = layer_name(self.model, layer)
        instead = layer_name(self.model, self._find_target_layer(inputs, targets))
        raise ValueError(
            f"no gradient reaches the {' x '.join(map(str, grid))} positions of target layer {name!r}, only what "
            f"it returned beside them, such as a class token: nothing after it reads the positions; take {instead!r}"
        )

    def transform(self, layer: nn.Module, output: Any, pictures: Tensor) -> Callable[[Any], Tensor]:
        """How what a layer returned, and its gradient, become (B, C, *S) in float32 or float64."""
        transform = find_transform(output, pictures, self.model, layer, self.reshape_transform)
        if transform is None:
            given = self.reshape_transform
            after = f" and {describe(given(output))} after reshape_transform" if given else ""
            axes = ", ".join("DHW"[-(pictures.ndim - 2) :])
            raise ValueError(
                f"target layer {layer_name(self.model, layer)!r} gives {describe(output)}{after} for an input "
                f"{tuple(pictures.shape)}; expected activations ({len(pictures)}, C, {axes}) with more than one "
                "position: take a layer before the pooling (list_layers shows which), or give a reshape_transform"
            )
        return lambda value: _promote(transform(value))


def explain_together(
    cams: Sequence[BaseCAM],
    input_tensor: Any,
    targets: Any = None,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
) -> list[Explanation]:
    """What several methods say about one batch; those that weight by gradients share one forward pass.

    Takes and raises what `BaseCAM.explain` does, and warns of nothing.
    """
    targets = materialize(targets)
    explanations: list[Explanation] = []
    seen: dict[Any, Explanation] = {}
    for cam in cams:
        key = _shared_pass_key(cam)
        shared = None if aug_smooth or key is None else seen.get(key)
        if shared is None:
            # A model may change its input in place, and the next method is to see what this one saw.
            own = map_tensors(torch.clone, input_tensor) if len(cams) > 1 else input_tensor
            explanation = cam._explain_all(own, targets, aug_smooth, eigen_smooth, {})
        else:
            cam.target_layers, cam.outputs = [evidence.layer for evidence in shared.evidence], shared.outputs
            with torch.inference_mode(False), torch.no_grad():
                explanation = cam._explain_evidence(shared.evidence, shared.outputs, eigen_smooth)
        seen[key] = explanation
        explanations.append(explanation)
    return explanations


def _shared_pass_key(cam: BaseCAM) -> Any:
    """The same for methods whose evidence is the same; None where it is of no use to another."""
    if cam.runs_again or not (cam.uses_gradients and cam.uses_scores):
        return None
    # Where no layer is given, the run chooses one, and the method keeps it.
    layers = cam.needs_normalized_activations if cam.target_layers is None else tuple(cam.target_layers)
    return id(cam.model), id(cam.reshape_transform), layers


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


def _side_by_side(gradients: Sequence[Tensor]) -> Tensor:
    """K gradients (B, C, *S) as (B, K, C, *S); of a single one nothing is copied."""
    return torch.stack(tuple(gradients), dim=1) if gradients[1:] else gradients[0].unsqueeze(1)


def _promote(tensor: Tensor) -> Tensor:
    """At least float32."""
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.dtype == torch.float64 else tensor.float()
