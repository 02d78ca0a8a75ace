"""Run subclasses that override the methods of grad-cam 1.x, in NumPy, as that release calls them.

A subclass that overrides one of them is called as `forward` says below; every other one never comes here.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam._engine.arguments import either
from pytorch_grad_cam._engine.explanation import ForwardPass, LayerEvidence
from pytorch_grad_cam._engine.maps import resize
from pytorch_grad_cam._engine.model_state import inference_state
from pytorch_grad_cam._engine.reductions import first_component
from pytorch_grad_cam._engine.smoothing import smoothing_transforms
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import BaseCAM

Array = NDArray[Any]


class LegacySubclasses:
    """Methods of grad-cam 1.x that subclasses override, or call by `super()`; B images, C channels, S spatial axes."""

    _recorded: ActivationsAndGradients | None = None
    _evidence_of: dict[nn.Module, LayerEvidence]

    def __init_subclass__(cls, **options: Any) -> None:
        """Have a class that overrides a method of grad-cam 1.x called as that release does."""
        super().__init_subclass__(**options)
        overridden = [name for name in _POINTS if getattr(cls, name) is not vars(LegacySubclasses)[name]]
        if not overridden:
            return

        def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(overridden)} of grad-cam 1.x, which give a finished map only; "
                "call the object itself, or override channel_weights(evidence) instead"
            )

        if "__call__" not in vars(cls):
            setattr(cls, "__call__", LegacySubclasses._call)  # noqa: B010
        setattr(cls, "_explain_all", refuse)  # noqa: B010

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _POINTS:
            raise AttributeError(f"{name} of one object would never be called; override it in a subclass")
        super().__setattr__(name, value)

    def _set_legacy_options(self, options: dict[str, Any]) -> None:
        """Take constructor arguments of grad-cam 1.x that are for subclasses.

        Raises:
            TypeError: if one is given that nothing would read.
        """
        own_forward = type(self).forward is not LegacySubclasses.forward
        if (options["compute_input_gradient"] or options["detach"] is False) and not own_forward:
            raise TypeError(
                "compute_input_gradient and detach are for subclasses with a forward of their own; leave them out"
            )
        self.compute_input_gradient = bool(options["compute_input_gradient"])
        self.detach = options["detach"] is not False
        if options["uses_gradients"] is False:
            setattr(self, "derivatives", 0)  # noqa: B010
        self.uses_gradients = cast("BaseCAM", self).derivatives > 0

    @property
    def activations_and_grads(self) -> ActivationsAndGradients:
        """The recorder that a `forward` of one's own calls."""
        if self._recorded is None or not self._recorded.target_layers:  # the first call may choose the layer
            cam = cast("BaseCAM", self)
            self._recorded = ActivationsAndGradients(
                cam.model, cam.target_layers or [], cam.reshape_transform, self.detach
            )
        return self._recorded

    @activations_and_grads.setter
    def activations_and_grads(self, recorder: ActivationsAndGradients) -> None:
        self._recorded = recorder

    @cached_property
    def device(self) -> torch.device:
        """Device of the model's first parameter."""
        return next(cast("BaseCAM", self).model.parameters()).device

    def _call(
        self,
        input_tensor: Any = None,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Any = None,
    ) -> Array:
        targets = either("targets", targets, "target_category", target_category)
        run = self.forward_augmentation_smoothing if aug_smooth else self.forward
        with inference_state(cast("BaseCAM", self).model):  # a forward of one's own runs the model itself
            return run(input_tensor, targets, eigen_smooth)

    def forward(self, input_tensor: Any, targets: Any, eigen_smooth: bool = False) -> Array:
        """Compute maps (B, *S_in) of images (B, C, *S_in)."""
        cam = cast("BaseCAM", self)
        inputs, parsed = cam._parse(input_tensor, targets, {})
        with inference_state(cam.model), torch.no_grad():
            forward, evidence = cam._observe(inputs, parsed)
        if forward.targets is not None and len(forward.targets.rows[0]) > 1:
            raise ValueError(f"{type(self).__name__} in the manner of grad-cam 1.x takes one target for each image")
        cam.outputs = forward.outputs
        hooks = self.activations_and_grads
        hooks.activations = [layer.activations[:, 0].cpu() for layer in evidence]
        hooks.gradients = [g[:, 0].cpu() for layer in evidence if (g := layer.maybe_gradients) is not None]
        self._evidence_of = {layer.layer: layer for layer in evidence}
        callables = [row[0] for row in forward.targets.rows] if forward.targets is not None else None
        try:
            return self.aggregate_multi_layers(self.compute_cam_per_layer(inputs.images, callables, eigen_smooth))
        finally:
            hooks.clear()
            del self._evidence_of

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool) -> list[Array]:
        """Compute the map of each target layer, (B, 1, *S_in) in [0, 1]."""
        hooks, layers = self.activations_and_grads, cast("BaseCAM", self).target_layers or []
        size = self.get_target_width_height(input_tensor)
        gradients: Sequence[Tensor | None] = hooks.gradients or [None] * len(layers)
        maps = []
        for layer, activation, gradient in zip(layers, hooks.activations, gradients, strict=True):
            arrays = activation.detach().numpy(), None if gradient is None else gradient.detach().numpy()
            image = self.get_cam_image(input_tensor, layer, targets, *arrays, eigen_smooth)
            maps.append(_scaled(np.maximum(image, 0), size)[:, None])
        return maps

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: Any,
        activations: Array,
        grads: Array | None,
        eigen_smooth: bool = False,
    ) -> Array:
        """Compute the signed map (B, *S) of one layer from its activations and gradients (B, C, *S)."""
        weights = np.asarray(self.get_cam_weights(input_tensor, target_layer, targets, activations, grads))
        if weights.shape[:2] != activations.shape[:2] or weights.ndim > activations.ndim:
            raise ValueError(
                f"get_cam_weights of {type(self).__name__} returned {weights.shape} for activations "
                f"{activations.shape}; expected {activations.shape[:2]}"
            )
        weights = weights.reshape(weights.shape + (1,) * (activations.ndim - weights.ndim))
        reduce = first_component if eigen_smooth else cast("BaseCAM", self).reduce
        reduced = reduce(torch.from_numpy(weights * activations).unsqueeze(1))
        return reduced[:, 0].numpy()

    def get_cam_weights(
        self, input_tensor: Tensor, target_layers: Any, targets: Any, activations: Array, grads: Array | None
    ) -> Array:
        """Compute the weights of the channels, (B, C) or (B, C, *S), by the method's `channel_weights`."""
        cam = cast("BaseCAM", self)
        layers = target_layers if isinstance(target_layers, Sequence) else [target_layers]
        tensor = torch.as_tensor(activations).unsqueeze(1)
        gradients = None if grads is None else torch.as_tensor(grads).unsqueeze(1)
        evidence = getattr(self, "_evidence_of", {}).get(layers[0])
        if evidence is None:  # a forward of one's own ran the model
            forward = ForwardPass(cam.outputs, cam._parse(input_tensor, None, {})[0], None, None, ())
            evidence = LayerEvidence(layers[0], activations, tensor, forward, torch.as_tensor)
        device = evidence.activations.device
        gradients = None if gradients is None else gradients.to(device)
        evidence = replace(evidence, activations=tensor.to(device), maybe_gradients=gradients)
        with torch.no_grad():
            weights = cam.channel_weights(evidence)[:, 0].cpu().numpy()
        return weights.reshape(weights.shape[:2]) if weights[0, 0].size == 1 else weights

    def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, ...]:
        """Return the size of the maps, as `cv2.resize` takes it: (W, H), or the reverse of (D, H, W)."""
        return tuple(reversed(input_tensor.shape[2:]))

    def aggregate_multi_layers(self, cam_per_target_layer: Sequence[Array]) -> Array:
        """Average the maps (B, 1, *S_in) of the layers to (B, *S_in) in [0, 1]."""
        together = np.maximum(np.concatenate(cam_per_target_layer, axis=1), 0)
        return _scaled(together.mean(axis=1))

    def forward_augmentation_smoothing(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool = False) -> Array:
        """Average the maps of augmented copies, (B, *S_in)."""
        maps = []
        for transform in smoothing_transforms(cast("BaseCAM", self).tta_transforms):
            image_map = self.forward(transform.augment_image(input_tensor), targets, eigen_smooth)
            maps.append(transform.deaugment_mask(torch.from_numpy(image_map[:, None]))[:, 0].numpy())
        return cast(Array, np.float32(np.mean(maps, axis=0)))


def _scaled(maps: Array, size: Sequence[int] | None = None) -> Array:
    """Rescale maps (B, *S) to [0, 1] with the epsilon of grad-cam 1.x, then resize them to size, last axis first."""
    tensor = torch.as_tensor(np.asarray(maps, dtype=np.float32))
    space = tuple(range(1, tensor.ndim))
    tensor = tensor - tensor.amin(space, keepdim=True)
    tensor = tensor / (1e-7 + tensor.amax(space, keepdim=True))
    if size is not None:
        tensor = resize(tensor.unsqueeze(1), tuple(reversed(size)))[:, 0]
    return tensor.numpy()


_POINTS = (
    "forward",
    "forward_augmentation_smoothing",
    "get_cam_weights",
    "get_cam_image",
    "compute_cam_per_layer",
    "aggregate_multi_layers",
    "get_target_width_height",
)
