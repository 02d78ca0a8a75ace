"""Sanity check by randomization: maps must change when the parameters of the model do."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.blank_maps import BlankMapWarning
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.metrics._validation import as_maps
from pytorch_grad_cam.metrics.sensitivity import correlation


@dataclass(frozen=True, eq=False)
class Randomization:
    """Similarity of the maps of randomized models to those of the trained model.

    Attributes:
        layers: L layer names in the order of randomization; at stage l the parameters of layers[: l + 1] are random.
        similarity: (L, B) or (L, B, K), rank correlation with the maps of the trained model, in [-1, 1].
    """

    layers: tuple[str, ...]
    similarity: Tensor


def cascading_randomization(
    model: nn.Module,
    method: type[BaseCAM] | Callable[[nn.Module], Any],
    input_tensor: Any = None,
    targets: Any = None,
    target_layers: Any = None,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> Randomization:
    """Randomize the parameters of a model layer by layer and compare its maps with those of the trained model.

    If a method depends on the parameters, the similarity falls to about 0.

    Adebayo et al., 2018, section 3.1, https://arxiv.org/abs/1810.03292

    Differs from the paper:
        - Parameters are drawn from a normal distribution with the mean and the standard deviation of their values, not
          from their initializer, which a trained model does not record. Buffers are unchanged.
        - The similarity is Spearman's rank correlation without absolute values, one of the measures of the paper.
        - Classes and target layers are those of the trained model.

    Args:
        model: the network; a deep copy of it is randomized.
        method: CAM class, such as GradCAM; or a function from a model to maps (B, H, W) or (B, K, H, W).
        input_tensor: preprocessed images (B, C, *S), for a CAM class.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of the
            trained model for each image.
        target_layers: module or dotted name, or a list of them, for a CAM class; None lets the class pick a layer.
        layers: names of the layers to randomize, in this order; None is all, from the last in
            `model.named_parameters()` to the first. A layer has the parameters that it holds itself. A shared parameter
            belongs to the first of its layers.
        seed: seed of the random values, which are equal on all devices.
        options: keyword arguments of the CAM class.

    Returns:
        `Randomization` with the layer names and a similarity (L, B) or (L, B, K)

    Raises:
        TypeError: if method is a CAM of a model, not its class.
        ValueError: if a name is not a layer with parameters, or the model has none.

    Example:
        >>> from pytorch_grad_cam import GradCAM
        >>> stages = cascading_randomization(model, GradCAM, images, targets=2, target_layers="features")
        >>> stages.layers
        ('fc', 'mix', 'features.2', 'features.0')
        >>> stages.similarity.shape
        torch.Size([4, 2])
    """
    if isinstance(method, BaseCAM):
        raise TypeError(f"method is a {type(method).__name__} of one model, expected the class {type(method).__name__}")
    holders = _holders(model)
    names = tuple(reversed(holders) if layers is None else [layers] if isinstance(layers, str) else layers)
    if not names or not set(names) <= set(holders):
        raise ValueError(f"layers are {names}, expected names of layers that hold parameters: {', '.join(holders)}")
    with torch.inference_mode(False):  # tensors made in inference mode have no gradients
        stage = copy.deepcopy(model)
    explain: Callable[[nn.Module], Any]
    axes = 2
    if isinstance(method, type):
        cam = method(model, target_layers, **options)
        options.pop("target_layer", None)
        explanation = cam.explain(input_tensor, targets)
        layer_names = [layer_name(cam.model, layer) for layer in cam.target_layers or ()]
        fixed = explanation.targets
        has_target_axis = fixed is not None and fixed.has_target_axis
        original = explanation.maps if has_target_axis else explanation.maps[:, 0]
        axes = len(explanation.evidence[0].spatial)

        def explain(stage: nn.Module) -> Any:
            return method(stage, layer_names, **options)(input_tensor, fixed)
    else:
        explain = method
        original = explain(model)
    original = as_maps(original).cpu()
    parameters = dict(stage.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    similarity = []
    for name in names:
        for parameter in holders[name]:
            _randomize(parameters[parameter], generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BlankMapWarning)  # a blank map has a similarity of 0
            maps = as_maps(explain(stage)).cpu()
        if maps.shape != original.shape:
            raise ValueError(
                f"maps of a randomized model have shape {tuple(maps.shape)}, expected the shape of the trained model, "
                f"{tuple(original.shape)}"
            )
        similarity.append(rank_correlation(*(m.flatten(-axes).unsqueeze(-2) for m in (maps, original))))
    return Randomization(names, torch.stack(similarity))


def _holders(model: nn.Module) -> dict[str, list[str]]:
    """Map each layer that holds parameters to their names.

    A shared parameter belongs to the first of its layers. Parameters of a parametrization, such as weight_norm, belong
    to the parametrized layer.
    """
    holders: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        owner = name.rpartition(".")[0]
        owner = "" if owner.startswith("parametrizations.") else owner.partition(".parametrizations.")[0]
        holders.setdefault(owner, []).append(name)
    return holders


def rank_correlation(first: Any, second: Any) -> Tensor:
    """Spearman's rank correlation of maps, 0 if either map is constant.

    Pixels of equal value share the mean of their ranks.

    Args:
        first: array or tensor (..., H, W), finite.
        second: maps of the same shape.

    Returns:
        float32 (...) in [-1, 1]

    Raises:
        ValueError: if the shapes differ, or maps hold NaN.

    Example:
        >>> map = torch.tensor([[0.0, 0.1], [0.2, 0.7]])
        >>> rank_correlation(map, map**2), rank_correlation(map, -map)
        (tensor(1.), tensor(-1.))
    """
    a, b = as_maps(first), as_maps(second)
    if a.shape != b.shape:
        raise ValueError(f"maps have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected equal shapes")
    return correlation(_mean_ranks(a.flatten(-2)), _mean_ranks(b.flatten(-2))).float()


def _mean_ranks(values: Tensor) -> Tensor:
    values = values.contiguous()
    ordered = values.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + up_to).double() / 2


def _randomize(parameter: nn.Parameter, generator: torch.Generator) -> None:
    if not parameter.is_floating_point():
        return
    values = parameter.detach().double()
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values.device)
    parameter.data.copy_(values.mean() + values.std(correction=0) * drawn)
