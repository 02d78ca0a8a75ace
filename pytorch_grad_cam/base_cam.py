"""The pipeline that every method shares; a method overrides `channel_weights`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam._compat.subclasses import LegacySubclasses
from pytorch_grad_cam._engine.arguments import check_count, either, legacy_positional
from pytorch_grad_cam._engine.blank_maps import warn_of_blank_maps
from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.explanation import Explanation, ForwardPass, LayerEvidence, LayerRecord
from pytorch_grad_cam._engine.forward import forward_pass
from pytorch_grad_cam._engine.inputs import ModelInput, ModelInputs, prepare_inputs
from pytorch_grad_cam._engine.layer_selection import find_target_layer
from pytorch_grad_cam._engine.layers import TargetLayers, layer_name, resolve_layers
from pytorch_grad_cam._engine.layouts import find_transform
from pytorch_grad_cam._engine.model_state import inference_state, prepare_model
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in
from pytorch_grad_cam._engine.reductions import channel_sum, check_map, check_weights, first_component, mean_of_layers
from pytorch_grad_cam._engine.smoothing import average_over_augmentations
from pytorch_grad_cam._engine.targets import Targets, TargetsLike, best_class, parse_targets, score_outputs


class BaseCAM(LegacySubclasses):
    """A class activation map: one pipeline, of which a method overrides `channel_weights`, or one other step.

        w   = channel_weights(evidence)
        m_l = layer_map(evidence) = reduce(w * activations_l)
        map = fuse(m_1, ..., m_L) = rescale(mean_l resize(rescale(relu(m_l))))

    Args:
        model: any network; its state is restored after each call, also after an error.
        target_layers: one module or dotted name ("layer4.-1"), or a list. None picks, in the first call, the last
            layer that still has a spatial grid and gets a gradient from the score. In a Swin, methods without
            `needs_normalized_activations` take the input of the last block. `list_layers` shows all candidates.
        legacy: positional arguments of grad-cam 1.x after target_layers: reshape_transform, with use_cuda before it in
            releases before 1.5.
        reshape_transform: from what the layer returns to (B, C, *S). None recognizes channels first, channels last
            and tokens.
        target_layer: another name of target_layers.
        use_cuda: move the model to the GPU; otherwise the input follows the model.
        batch_size: number of copies of an image that a perturbation method runs at once; None chooses.
        tta_transforms: a `ttach.Compose` for aug_smooth; None is horizontal flip x brightness 0.9, 1, 1.1.
        uses_gradients: of grad-cam 1.x; False has the same effect as `derivatives = 0`.
        compute_input_gradient: of grad-cam 1.x, for subclasses with a `forward` of their own; so is detach.

    Raises:
        TypeError: if model is no nn.Module whose layers can be observed.
        ValueError: if a layer is no part of the model.
        RuntimeError: if use_cuda is given and there is no GPU.
    """

    derivatives: ClassVar[int] = 1
    """0: the method needs no gradients; 1: it needs the gradients of the scores at the target layers."""
    needs_targets: ClassVar[bool] = True
    """False where the map is the same for every target."""
    needs_normalized_activations: ClassVar[bool] = True
    """True where the map goes astray if channels differ in sign and scale, as between the blocks of a transformer."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: TargetLayers | None = None,
        *legacy: Any,
        reshape_transform: Callable[[Any], Tensor] | None = None,
        target_layer: TargetLayers | None = None,
        use_cuda: bool = False,
        batch_size: int | None = None,
        tta_transforms: Iterable[Any] | None = None,
        uses_gradients: bool | None = None,
        compute_input_gradient: bool = False,
        detach: bool | None = None,
    ) -> None:
        by_name = {
            "reshape_transform": reshape_transform,
            "use_cuda": use_cuda,
            "tta_transforms": tta_transforms,
            "uses_gradients": uses_gradients,
            "compute_input_gradient": compute_input_gradient,
            "detach": detach,
        }
        order = ["reshape_transform", "compute_input_gradient", "uses_gradients", "tta_transforms", "detach"]
        named = legacy_positional(type(self).__name__, legacy, order, by_name)
        self._set_legacy_options(named)
        tta_transforms = named["tta_transforms"]
        self.reshape_transform: Callable[[Any], Tensor] | None = named["reshape_transform"]
        if not (self.reshape_transform is None or callable(self.reshape_transform)):
            raise TypeError(f"reshape_transform is {self.reshape_transform!r}, expected a function of a layer's output")
        self.model = prepare_model(model, named["use_cuda"])
        layers = either("target_layers", target_layers, "target_layer", target_layer)
        self.target_layers = None if layers is None else resolve_layers(self.model, layers)
        self.batch_size = check_count("batch_size", batch_size, "to choose")
        self.tta_transforms = None if tta_transforms is None else list(tta_transforms)
        self.outputs: Any = None

    # The steps of the pipeline: a method overrides one of them.

    def default_targets(self, outputs: Any) -> Any:
        """Choose what is explained where `targets` is None: the best class of each image.

        Args:
            outputs: what the model returned for B images.

        Returns:
            targets in any spelling that a call takes
        """
        return best_class(outputs)

    def run(self, inputs: ModelInputs) -> Any:
        """Call the model once with the inputs and return its outputs."""
        return inputs.run(self.model)

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """Weight each channel: (B, K, C, 1, 1) or (B, K, C, *S), axes of 1 where weights do not differ."""
        raise NotImplementedError(f"{type(self).__name__} must override channel_weights(evidence), or layer_map")

    def reduce(self, weighted: Tensor) -> Tensor:
        """Reduce weighted activations (B, K, C, *S) to a signed map (B, K, *S): their sum over channels."""
        return channel_sum(weighted)

    def layer_map(self, evidence: LayerEvidence, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """Make the signed map (B, K, *S) of one layer.

        Args:
            evidence: of the layer.
            reduce: from weighted activations (B, K, C, *S) to (B, K, *S): the method's own `reduce`, or the first
                principal component with eigen_smooth.
        """
        evidence.weights = self.channel_weights(evidence)
        check_weights(type(self).__name__, evidence.weights, evidence.activations)
        return reduce(evidence.weights * evidence.activations)

    def fuse(self, layer_maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Fuse signed maps (B, K, *S), one for each layer, into one (B, K, *size) in [0, 1]."""
        return mean_of_layers(layer_maps, size)

    def __call__(
        self,
        input_tensor: ModelInput | None = None,
        targets: TargetsLike = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: TargetsLike = None,
        **forward_kwargs: Any,
    ) -> NDArray[np.float32]:
        """Compute the maps of a batch.

        Args:
            input_tensor: images (B, C, *S_in), preprocessed for the model; a tuple of arguments that begins with them;
                or a dict of named arguments with `pixel_values`.
            targets: None for the best class of each image; one class or callable for all; a list of B, each mapping one
                image's output to a scalar; a list of B lists of K, or a tensor of classes (B, K).
            aug_smooth: average over augmented copies of each image, six unless `tta_transforms` says otherwise.
            eigen_smooth: reduce by the first principal component instead of the method's own way.
            target_category: another name of targets.
            forward_kwargs: extra keyword arguments for `model.forward`. A tensor whose first dimension is B is split
                per image; anything else is shared by the batch.

        Returns:
            float32 (B, *S_in) in [0, 1], or (B, K, *S_in) if K targets were given for each image

        Warns:
            BlankMapWarning: once, with the cause, if a map is 0 everywhere. A map that would hold NaN is.

        Raises:
            TypeError, ValueError, IndexError: naming what was given and what was expected.
            RuntimeError: if the scores do not depend on a target layer.
        """
        targets = either("targets", targets, "target_category", target_category)
        inputs, parsed = self._parse(input_tensor, targets, forward_kwargs)
        explanation = self._explain_all(inputs, parsed, aug_smooth, eigen_smooth)
        maps = explanation.maps.float().cpu()
        warn_of_blank_maps(self.model, explanation, maps)
        has_target_axis = explanation.targets is not None and explanation.targets.has_target_axis
        return (maps if has_target_axis else maps[:, 0]).numpy()

    def explain(
        self,
        input_tensor: ModelInput | None = None,
        targets: TargetsLike = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: TargetsLike = None,
        **forward_kwargs: Any,
    ) -> Explanation:
        """Compute maps as tensors, with the signed map of each layer, weights, scores and outputs.

        Takes the arguments of a call, and warns as it does. K is an axis of every result, also where it is 1.
        """
        targets = either("targets", targets, "target_category", target_category)
        inputs, parsed = self._parse(input_tensor, targets, forward_kwargs)
        explanation = self._explain_all(inputs, parsed, aug_smooth, eigen_smooth)
        warn_of_blank_maps(self.model, explanation, explanation.maps)
        return explanation

    def __enter__(self) -> "BaseCAM":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to release: hooks live for one call."""

    def _parse(
        self, input_tensor: Any, targets: Any, forward_kwargs: dict[str, Any]
    ) -> tuple[ModelInputs, Targets | None]:
        with torch.inference_mode(False):
            inputs = prepare_inputs(input_tensor, forward_kwargs, self.model, "input_tensor")
        return inputs, parse_targets(targets, len(inputs))

    def _explain_all(
        self, inputs: ModelInputs, targets: Targets | None, aug_smooth: bool, eigen_smooth: bool
    ) -> Explanation:
        explain = partial(self._explain, eigen_smooth=eigen_smooth)
        if aug_smooth:
            explanation = average_over_augmentations(explain, inputs, targets, self.tta_transforms)
        else:
            explanation = explain(inputs, targets)
        self.outputs = explanation.outputs
        return explanation

    def _explain(self, inputs: ModelInputs, targets: Targets | None, eigen_smooth: bool) -> Explanation:
        with inference_state(self.model), torch.no_grad():
            forward, evidence = self._observe(inputs, targets)
            return self._explain_evidence(forward, evidence, eigen_smooth)

    def _observe(self, inputs: ModelInputs, targets: Targets | None) -> tuple[ForwardPass, tuple[LayerEvidence, ...]]:
        """Run the model, in its inference state, and collect the evidence of the target layers."""
        if self.target_layers is None:
            self.target_layers = [self._find_target_layer(inputs, targets)]
        score = partial(self._score, targets=targets, batch=len(inputs))
        differentiate = self.derivatives > 0
        forward = forward_pass(self.run, self.model, inputs, self.target_layers, score, differentiate=differentiate)
        return forward, tuple(self._evidence(record, forward) for record in forward.layers)

    def _explain_evidence(
        self, forward: ForwardPass, evidence: tuple[LayerEvidence, ...], eigen_smooth: bool
    ) -> Explanation:
        reduce = first_component if eigen_smooth else self.reduce
        layer_maps = []
        for layer_evidence in evidence:
            layer_map = self.layer_map(layer_evidence, reduce)
            check_map(type(self).__name__, layer_map, layer_evidence.activations)
            if forward.scores is not None:  # a method that ignores the target gives one map for all
                layer_map = layer_map.expand(*forward.scores.shape, *layer_map.shape[2:])
            layer_maps.append(layer_map)
        maps = self.fuse(layer_maps, forward.inputs.images.shape[2:])
        return Explanation(maps, tuple(layer_maps), evidence, forward)

    def _score(self, outputs: Any, targets: Targets | None, batch: int) -> tuple[Targets | None, Tensor | None]:
        """Score targets, by default `default_targets`; None where there are none and the method needs none."""
        # The best class needs scores for this number of images, which the outputs alone do not tell.
        overridden = type(self).default_targets is not BaseCAM.default_targets
        default = self.default_targets if overridden else None
        return score_outputs(outputs, targets, batch, needed=self.needs_targets, default=default)

    def _find_target_layer(self, inputs: ModelInputs, targets: Targets | None) -> nn.Module:
        return find_target_layer(
            self.model,
            inputs,
            partial(self._score, targets=targets and targets.of_copies(0, 1), batch=1),
            self.reshape_transform,
            needs_gradients=self.derivatives > 0,
            needs_normalized_activations=self.needs_normalized_activations,
        )

    def _evidence(self, record: LayerRecord, forward: ForwardPass) -> LayerEvidence:
        layer, output = record.layer, record.output
        transform = self._transform(layer, output, forward.inputs.images)
        activations = transform(output).unsqueeze(1)
        gradients = _stack([transform(gradient) for gradient in record.gradients]) if record.gradients else None
        returned = sum(tensor.numel() for tensor in tensors_in(output))
        if gradients is not None and activations.numel() < returned and not gradients.any():
            self._check_reached(record, activations.shape[3:], forward)
        return LayerEvidence(layer, output, activations, forward, transform, gradients)

    def _check_reached(self, record: LayerRecord, grid: Sequence[int], forward: ForwardPass) -> None:
        """Refuse a layer if no gradient reaches its positions, but one reaches what it returned beside them."""
        if not any(tensor.any() for tensor in tensors_in(record.gradients)):
            return
        name = layer_name(self.model, record.layer)
        instead = layer_name(self.model, self._find_target_layer(forward.inputs, forward.targets))
        raise ValueError(
            f"no gradient reaches the {' x '.join(map(str, grid))} positions of target layer {name!r}, only what "
            f"it returned beside them, such as a class token: nothing after it reads the positions; take {instead!r}"
        )

    def _transform(self, layer: nn.Module, output: Any, images: Tensor) -> Callable[[Any], Tensor]:
        """Find how an output of the layer, or its gradient, becomes (B, C, *S) in float32 or float64."""
        transform = find_transform(output, images, self.model, layer, self.reshape_transform)
        if transform is None:
            given = self.reshape_transform
            after = f" and {describe(given(output))} after reshape_transform" if given else ""
            axes = ", ".join("DHW"[-(images.ndim - 2) :])
            raise ValueError(
                f"target layer {layer_name(self.model, layer)!r} gives {describe(output)}{after} for an input "
                f"{tuple(images.shape)}; expected activations ({len(images)}, C, {axes}) with more than one "
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
    """Explain one batch by several methods of one model; those that weight by gradients share one forward pass.

    Takes the arguments of `BaseCAM.explain`, raises as it does, and does not warn.
    """
    explanations: list[Explanation] = []
    passes: dict[Any, Explanation] = {}
    parsed = targets
    for cam in cams:
        key = _shared_pass_key(cam)
        shared = None if aug_smooth or key is None else passes.get(key)
        if shared is None:
            # A model may change its input in-place, and the next method is to get what this one got.
            given = map_tensors(torch.clone, input_tensor) if len(cams) > 1 else input_tensor
            inputs, parsed = cam._parse(given, parsed, {})  # a generator of targets is read once
            explanation = cam._explain_all(inputs, parsed, aug_smooth, eigen_smooth)
        else:
            forward = shared.forward
            cam.target_layers, cam.outputs = [record.layer for record in forward.layers], forward.outputs
            evidence = tuple(replace(layer_evidence, weights=None) for layer_evidence in shared.evidence)
            with torch.inference_mode(False), torch.no_grad():
                explanation = cam._explain_evidence(forward, evidence, eigen_smooth)
        passes[key] = explanation
        explanations.append(explanation)
    return explanations


def _shared_pass_key(cam: BaseCAM) -> Any:
    """Equal for methods whose evidence is the same; None where it is of no use to another."""
    method = type(cam)
    if cam.derivatives == 0 or not cam.needs_targets or method.run is not BaseCAM.run:
        return None
    # Where no layer is given, the pass chooses one, and the method keeps it.
    layers = cam.needs_normalized_activations if cam.target_layers is None else tuple(cam.target_layers)
    return id(cam.model), id(cam.reshape_transform), layers, method.default_targets


def _stack(gradients: Sequence[Tensor]) -> Tensor:
    """K gradients (B, C, *S) as (B, K, C, *S); a single one is not copied."""
    return torch.stack(tuple(gradients), dim=1) if gradients[1:] else gradients[0].unsqueeze(1)


def _promote(tensor: Tensor) -> Tensor:
    """Convert to at least float32."""
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.dtype == torch.float64 else tensor.float()
