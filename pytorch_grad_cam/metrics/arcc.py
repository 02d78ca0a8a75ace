"""Compatibility with grad-cam 1.x: ARCC, one figure from coherency, complexity and ROAD, at its old path."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam.metrics._validation import as_maps
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.metrics.sensitivity import correlation


def batch_pearson_coherency(A: Any, B: Any) -> NDArray[np.float32]:  # noqa: N803 their known names
    """Pearson correlation of each pair of maps, 0 if either map is constant.

    Args:
        A: array or tensor (B, H, W), finite.
        B: maps of the same shape.

    Returns:
        float32 array (B,) in [-1, 1]

    Raises:
        ValueError: if the shapes differ, or maps hold NaN.

    Example:
        >>> maps = np.random.rand(2, 4, 4)
        >>> batch_pearson_coherency(maps, 1 - maps)
        array([-1., -1.], dtype=float32)
    """
    first, second = as_maps(A).double().cpu(), as_maps(B).double().cpu()
    if first.shape != second.shape:
        raise ValueError(f"maps have shapes {tuple(first.shape)} and {tuple(second.shape)}, expected equal shapes")
    return correlation(first.flatten(1), second.flatten(1)).float().numpy()


class Complexity:
    """Mean absolute value of each map, in [0, 1] for maps in [0, 1]; lower is better.

    Poppi et al., 2021, https://arxiv.org/abs/2104.10252

    Example:
        >>> Complexity()(np.full((2, 4, 4), 0.25))
        array([0.25, 0.25], dtype=float32)
    """

    def __call__(self, grayscale_cams: Any) -> NDArray[np.float32]:
        """Score maps (B, H, W), array or tensor, as a float32 array (B,)."""
        return as_maps(grayscale_cams).abs().flatten(1).mean(dim=1).float().cpu().numpy()


class Coherency:
    """Similarity of each map to the map of the image multiplied with it, in [0, 1]; higher is better.

        (Pearson correlation + 1) / 2

    Poppi et al., 2021, https://arxiv.org/abs/2104.10252
    """

    def __call__(
        self,
        input_tensor: Tensor,
        grayscale_cams: Any,
        targets: Any,
        model: nn.Module,
        base_method: Callable[..., Any],
    ) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            input_tensor: preprocessed images (B, C, H, W).
            grayscale_cams: maps (B, H, W) in [0, 1], array or tensor.
            targets: class index or callable, or a list of B of them.
            model: ignored, since base_method has its model.
            base_method: CAM, called with input_tensor and targets by name.

        Returns:
            float32 array (B,)

        Raises:
            ValueError: if shapes do not match, or maps hold NaN.
        """
        maps = as_maps(grayscale_cams, input_tensor.shape[2:], input_tensor.device)
        products = input_tensor * maps.unsqueeze(1).to(input_tensor.dtype)
        correlations = batch_pearson_coherency(base_method(input_tensor=products, targets=targets), maps)
        return np.float32(0.5) * (correlations + 1)


class ARCC:
    """Harmonic mean of coherency, 1 - complexity, and ROAD scaled to [0, 1]; higher is better.

        3 / (1 / coherency + 1 / (1 - complexity) + 1 / road),    road = 2 * ROADCombined clipped to [0, 1]

    The result is 0 if one of the three is 0. Needs SciPy: `pip install "grad-cam[metrics]"`.

    https://arxiv.org/abs/2605.14641, as grad-cam 1.5.7 cites and computes it

    Args:
        base_method: CAM of the model, called with input_tensor and targets by name.
        road_percentiles: percentiles of ROAD, each 0 to 100.

    Example:
        >>> from pytorch_grad_cam import GradCAM
        >>> cam = GradCAM(model, "features")
        >>> ARCC(cam)(images, cam(images, [1, 2]), [1, 2], model).shape
        (2,)
    """

    def __init__(self, base_method: Callable[..., Any], road_percentiles: Sequence[float] = (20, 40, 60, 80)) -> None:
        self.complexity = Complexity()
        self.coherency = Coherency()
        self.road = ROADCombined(percentiles=road_percentiles)
        self.base_method = base_method

    def __call__(
        self, input_tensor: Tensor, grayscale_cams: Any, targets: Any, model: nn.Module
    ) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            input_tensor: preprocessed images (B, C, H, W).
            grayscale_cams: maps (B, H, W) in [0, 1], array or tensor.
            targets: class index or callable, or a list of B of them.
            model: the network; its state is restored.

        Returns:
            float32 array (B,) in [0, 1]

        Raises:
            ValueError: if shapes or counts do not match, or maps hold NaN.
            ImportError: if SciPy is not installed.
        """
        shares = torch.tensor(
            np.stack(
                [
                    self.coherency(input_tensor, grayscale_cams, targets, model, self.base_method),
                    1 - self.complexity(grayscale_cams),
                    2 * self.road(input_tensor, grayscale_cams, targets, model),
                ]
            )
        )
        mean: NDArray[np.float32] = (3 / shares.clamp(0, 1).reciprocal().sum(dim=0)).numpy()
        return mean
