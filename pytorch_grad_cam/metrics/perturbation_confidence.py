"""Compatibility with grad-cam 1.x: changes of scores when images are perturbed, at their old path.

`metric(input_tensor, maps, targets, model)` returns the scores after the perturbation minus those before.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam._engine.inputs import prepare_inputs
from pytorch_grad_cam._engine.model_state import inference_state
from pytorch_grad_cam._engine.outputs import per_image
from pytorch_grad_cam._engine.targets import Targets, resolve_targets
from pytorch_grad_cam.metrics._validation import as_maps
from pytorch_grad_cam.metrics.removal import PERCENTAGES, pixel_counts, rank_pixels

Perturbation = Callable[[Tensor, Tensor], Tensor]


class PerturbationConfidenceMetric:
    """Change of the score when images are perturbed by their maps.

    Differs from grad-cam 1.5.7: targets may be class indices or None; the model runs in eval mode.

    Args:
        perturbation: function from an image (C, H, W) and its map (H, W), on the device of the model, to an image.

    Example:
        >>> PerturbationConfidenceMetric(lambda image, map: image)(images, np.ones((2, 32, 32)), [0, 1], model)
        array([0., 0.], dtype=float32)
    """

    def __init__(self, perturbation: Perturbation) -> None:
        self.perturbation = perturbation

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Any,
        targets: Any,
        model: nn.Module,
        return_visualization: bool = False,
        return_diff: bool = True,
    ) -> Any:
        """Score a batch.

        Args:
            input_tensor: preprocessed images (B, C, H, W).
            cams: maps (B, H, W), array or tensor.
            targets: class index or callable, or a list of B of them; None is the best class of each image. A callable
                may return N values.
            model: the network; its state is restored.
            return_visualization: also return the perturbed images, a tensor (B, C, H, W).
            return_diff: subtract the scores of the unchanged images.

        Returns:
            float32 array (B,), or (B, N) if targets return N values; with return_visualization a pair of it and the
            images

        Raises:
            ValueError: if shapes or counts do not match, or maps hold NaN.
        """
        with torch.inference_mode(False):
            inputs = prepare_inputs(input_tensor, {}, model, "input_tensor")
        images = inputs.images
        maps = as_maps(cams, images.shape[2:], images.device)
        if maps.shape != (len(images), *images.shape[2:]):
            raise ValueError(
                f"cams have shape {tuple(maps.shape)}, expected one map for each image, "
                f"{(len(images), *images.shape[2:])}"
            )
        with inference_state(model), torch.no_grad():
            outputs = inputs.clone().run(model) if return_diff or targets is None else None
            resolved = resolve_targets(targets, outputs, len(images))
            pairs = zip(images.clone(), maps, strict=True)
            perturbed = torch.stack([self.perturbation(*pair) for pair in pairs]).to(images)
            scores = _values(resolved, inputs.with_images(perturbed.clone()).run(model))
            if return_diff:
                scores = scores - _values(resolved, outputs)
        return (scores, perturbed) if return_visualization else scores


class RemoveMostRelevantFirst:
    """Perturbation that imputes the most relevant pixels of an image.

    Differs from grad-cam 1.5.7: pixels are ranked, so exactly the share above the percentile is imputed even if values
    are equal. "auto" imputes the pixels above Otsu's threshold, not those below.

    Args:
        percentile: percentile of the map, 0 to 100; pixels above it are imputed, so 80 imputes a fifth. "auto" is
            Otsu's threshold.
        imputer: function from an image (C, H, W) and a mask (H, W), 0 for pixels to impute, to an image.

    Raises:
        ValueError: if percentile is out of range.

    Example:
        >>> blank = torch.zeros(2, 5)
        >>> RemoveMostRelevantFirst(70, lambda image, mask: image * mask)(torch.ones(1, 2, 5), blank)
        tensor([[[0., 0., 0., 1., 1.],
                 [1., 1., 1., 1., 1.]]])
    """

    def __init__(self, percentile: float | Literal["auto"], imputer: Perturbation) -> None:
        if percentile != "auto":
            pixel_counts([percentile], 1)
        self.percentile = percentile
        self.imputer = imputer

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """Impute the most relevant pixels of one image.

        Args:
            input_tensor: image (C, H, W).
            mask: map (H, W), in [0, 1] for "auto".

        Returns:
            (C, H, W)
        """
        if self.percentile == "auto":
            removed = _above_otsu(mask)
        else:
            (count,) = pixel_counts([100 - self.percentile], mask.numel())
            removed = rank_pixels(mask[None])[0] < count
        return self.imputer(input_tensor, (~removed).float())


class RemoveLeastRelevantFirst(RemoveMostRelevantFirst):
    """Perturbation that imputes the least relevant pixels of an image, the most relevant ones of 1 - map."""

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """Impute the least relevant pixels of one image.

        Args:
            input_tensor: image (C, H, W).
            mask: map (H, W), in [0, 1] for "auto".

        Returns:
            (C, H, W)
        """
        return super().__call__(input_tensor, 1 - mask)


class AveragerAcrossThresholds:
    """Mean of a metric over percentiles.

    Args:
        imputer: function from a percentile to a metric, such as the class `ROADMostRelevantFirst`.
        percentiles: list of percentiles, each 0 to 100.

    Raises:
        ValueError: if the list is empty, or a percentile is out of range.
    """

    def __init__(
        self, imputer: Callable[[float], Callable[..., Any]], percentiles: Sequence[float] = PERCENTAGES
    ) -> None:
        pixel_counts(percentiles, 1)
        self.imputer = imputer
        self.percentiles = percentiles

    def __call__(self, input_tensor: Tensor, cams: Any, targets: Any, model: nn.Module) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            input_tensor: preprocessed images (B, C, H, W).
            cams: maps (B, H, W), array or tensor.
            targets: class index or callable, or a list of B of them; None is the best class of each image.
            model: the network; its state is restored.

        Returns:
            float32 array (B,)

        Raises:
            ValueError: if shapes or counts do not match, or maps hold NaN.
        """
        metrics = [self.imputer(percentile) for percentile in self.percentiles]
        scores = [metric(input_tensor, cams, targets, model) for metric in metrics]
        mean: NDArray[np.float32] = np.array(scores, np.float32).mean(axis=0)
        return mean


def _values(targets: Targets, outputs: Any) -> NDArray[np.float32]:
    """Apply one target per image to its output: (B,), or (B, N) if targets return N values."""
    if targets.has_target_axis and len(targets.rows[0]) > 1:
        raise ValueError(f"{len(targets.rows[0])} targets for each image, expected one: each image has one map")
    rows = zip(targets.rows, per_image(outputs, len(targets.rows)), strict=True)
    values = torch.stack([target(output) for (target,), output in rows])
    return values.float().cpu().numpy()


def _above_otsu(map: Tensor) -> Tensor:
    import cv2

    levels = (map * 255).clamp(0, 255).byte().cpu().numpy()
    _, above = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return torch.from_numpy(above > 0).to(map.device)
