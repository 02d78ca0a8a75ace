"""How a score changes with the picture: the calls of the well-known package.

In one line: `metric(input_tensor, maps, targets, model)` gives what the targets' scores become, less what they were.
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
from pytorch_grad_cam.metrics.ranking import pixel_counts, rank_pixels

Perturbation = Callable[[Tensor, Tensor], Tensor]


class PerturbationConfidenceMetric:
    """The change of the score when pictures are perturbed by what their maps say.

    Differs from grad-cam 1.5.7: targets are whatever a method takes; the model runs in eval mode.

    Args:
        perturbation: a picture (C, H, W) and its map (H, W), on the model's device, to a picture.

    Example:
        >>> PerturbationConfidenceMetric(lambda picture, map: picture)(images, np.ones((2, 32, 32)), [0, 1], model)
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
        """Ask the model.

        Args:
            input_tensor: (B, C, H, W)
            cams: maps (B, H, W), array or tensor.
            targets: one for each picture, as a method takes them; a callable may give several values.
            model: left as it was found.
            return_visualization: give the perturbed pictures (B, C, H, W) as well.
            return_diff: the score less that of the unchanged picture; False is the score itself.

        Returns:
            float32 array (B,), or (B, N) where targets give N values; with return_visualization a pair

        Raises:
            ValueError: if shapes or counts do not go together, or maps hold NaN.
        """
        with torch.inference_mode(False):
            inputs = prepare_inputs(input_tensor, {}, model, "input_tensor")
        pictures = inputs.pictures
        maps = as_maps(cams, pictures.shape[2:], pictures.device)
        if maps.shape != (len(pictures), *pictures.shape[2:]):
            raise ValueError(
                f"cams have shape {tuple(maps.shape)}, expected one map for each picture, "
                f"{(len(pictures), *pictures.shape[2:])}"
            )
        with inference_state(model), torch.no_grad():
            outputs = inputs.clone().run(model) if return_diff or targets is None else None
            asked = resolve_targets(targets, outputs, len(pictures))
            pairs = zip(pictures.clone(), maps, strict=True)
            perturbed = torch.stack([self.perturbation(picture, one) for picture, one in pairs]).to(pictures)
            scores = _values(asked, inputs.with_pictures(perturbed.clone()).run(model))
            if return_diff:
                scores = scores - _values(asked, outputs)
        return (scores, perturbed) if return_visualization else scores


class RemoveMostRelevantFirst:
    """Impute the most relevant pixels of a picture.

    Differs from grad-cam 1.5.7: pixels are ranked, so that exactly the share above the percentile goes however many
    have one value; "auto" removes what lies above Otsu's threshold, not what lies below.

    Args:
        percentile: of the map, above which pixels go, 0 to 100: 80 removes a fifth of them; "auto" is Otsu's threshold.
        imputer: a picture (C, H, W) and a mask (H, W), 0 where a pixel goes, to a picture.

    Example:
        >>> blank = torch.zeros(2, 5)
        >>> RemoveMostRelevantFirst(70, lambda picture, mask: picture * mask)(torch.ones(1, 2, 5), blank)
        tensor([[[0., 0., 0., 1., 1.],
                 [1., 1., 1., 1., 1.]]])
    """

    def __init__(self, percentile: float | Literal["auto"], imputer: Perturbation) -> None:
        if percentile != "auto":
            pixel_counts([percentile], 1)
        self.percentile = percentile
        self.imputer = imputer

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """A picture (C, H, W) and its map (H, W) to the picture with pixels imputed."""
        if self.percentile == "auto":
            removed = _above_otsu(mask)
        else:
            (count,) = pixel_counts([100 - self.percentile], mask.numel())
            removed = rank_pixels(mask[None])[0] < count
        return self.imputer(input_tensor, (~removed).float())


class RemoveLeastRelevantFirst(RemoveMostRelevantFirst):
    """Impute the least relevant pixels of a picture: the most relevant ones of 1 - map."""

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """A picture (C, H, W) and its map (H, W) to the picture with pixels imputed."""
        return super().__call__(input_tensor, 1 - mask)


class AveragerAcrossThresholds:
    """The mean of a metric over percentiles.

    Args:
        imputer: a percentile to a metric, such as the class `ROADMostRelevantFirst`.
        percentiles: each from 0 to 100.
    """

    def __init__(
        self,
        imputer: Callable[[float], Callable[..., Any]],
        percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    ) -> None:
        pixel_counts(percentiles, 1)
        self.imputer = imputer
        self.percentiles = percentiles

    def __call__(self, input_tensor: Tensor, cams: Any, targets: Any, model: nn.Module) -> NDArray[np.float32]:
        """(B,) float32"""
        metrics = [self.imputer(percentile) for percentile in self.percentiles]
        scores = [metric(input_tensor, cams, targets, model) for metric in metrics]
        mean: NDArray[np.float32] = np.array(scores, np.float32).mean(axis=0)
        return mean


def _values(targets: Targets, outputs: Any) -> NDArray[np.float32]:
    """What the only target of each image makes of its output: (B,), or (B, N) where targets give N values."""
    if targets.several and len(targets.rows[0]) > 1:
        raise ValueError(f"{len(targets.rows[0])} targets for each picture, expected one: its map is one")
    rows = zip(targets.rows, per_image(outputs, len(targets.rows)), strict=True)
    values = torch.stack([target(image) for (target,), image in rows])
    return values.float().cpu().numpy()


def _above_otsu(map: Tensor) -> Tensor:
    import cv2

    levels = (map * 255).clamp(0, 255).byte().cpu().numpy()
    _, above = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return torch.from_numpy(above > 0).to(map.device)
