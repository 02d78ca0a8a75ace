"""A check of sanity: maps must change when the weights do."""

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
    """How like the maps of the trained model those of each stage are.

    Attributes:
        layers: L names, from the last layer to the first; stage l has the parameters of layers[: l + 1] randomized.
        similarity: (L, B) or (L, B, K), rank correlation with the maps of the trained model in [-1, 1].
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
    """Randomise the parameters of a model layer by layer, from the last to the first, and watch its maps.

    A method that reads the model gives maps less and less like those it began with: the similarity falls to about 0.

    Adebayo et al., 2018, section 3.1, https://arxiv.org/abs/1810.03292

    Differs from the paper: parameters are drawn from the normal distribution of the mean and standard deviation of
    their values, and not by an initialiser, which no trained model remembers; buffers stay. Of the paper's measures,
    Spearman's rank correlation without absolute values. The class, and the target layer, stay those of the trained
    model.

    Args:
        model: left as it was found; a deep copy of it is randomized.
        method: a class of maps, such as GradCAM; or a function from a model to maps (B, H, W) or (B, K, H, W).
        input_tensor: (B, C, *S), for a class.
        targets: as the class takes them; None is the best class of the trained model.
        target_layers: as the class takes them.
        layers: names of those to randomise, in this order, of each the parameters that it holds itself; None is all,
            from the last in `model.named_parameters()` to the first. What two layers share is the first one's.
        seed: of what is drawn, the same on every device.
        options: of the class.

    Raises:
        TypeError: if method is a CAM of a model and not its class.
        ValueError: if a name is no layer with parameters, or the model has none.

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
    with torch.inference_mode(False):  # what is made there cannot be differentiated
        stage = copy.deepcopy(model)
    explain: Callable[[nn.Module], Any]
    axes = 2
    if isinstance(method, type):
        cam = method(model, target_layers, **options)
        options.pop("target_layer", None)
        explanation = cam.explain(input_tensor, targets)
        found = [layer_name(cam.model, layer) for layer in cam.target_layers or ()]
        fixed = explanation.targets
        several = fixed is not None and fixed.several
        original = explanation.maps if several else explanation.maps[:, 0]
        axes = len(explanation.evidence[0].spatial)

        def explain(stage: nn.Module) -> Any:
            return method(stage, found, **options)(input_tensor, fixed)
    else:
        explain = method
        original = explain(model)
    original = as_maps(original).cpu()
    parameters = dict(stage.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    similarity = []
    for name in names:
        for parameter in holders[name]:
            _randomise(parameters[parameter], generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BlankMapWarning)  # it is what a correlation of 0 says
            maps = as_maps(explain(stage)).cpu()
        if maps.shape != original.shape:
            raise ValueError(f"maps of a randomized model have shape {tuple(maps.shape)}, not {tuple(original.shape)}")
        similarity.append(rank_correlation(*(m.flatten(-axes).unsqueeze(-2) for m in (maps, original))))
    return Randomization(names, torch.stack(similarity))


def _holders(model: nn.Module) -> dict[str, list[str]]:
    """The names of the parameters of each layer that holds some; one that two layers share is the first one's.

    What a parametrisation, such as weight_norm, keeps in modules of its own is the layer's.
    """
    holders: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        owner = name.rpartition(".")[0]
        owner = "" if owner.startswith("parametrizations.") else owner.partition(".parametrizations.")[0]
        holders.setdefault(owner, []).append(name)
    return holders


def rank_correlation(first: Any, second: Any) -> Tensor:
    """Spearman's rank correlation of maps (..., H, W): (...) in [-1, 1], float32.

    Pixels of one value share the mean of their ranks. 0 where either map is constant.

    Example:
        >>> map = torch.tensor([[0.0, 0.1], [0.2, 0.7]])
        >>> rank_correlation(map, map**2), rank_correlation(map, -map)
        (tensor(1.), tensor(-1.))
    """
    a, b = as_maps(first), as_maps(second)
    if a.shape != b.shape:
        raise ValueError(f"maps have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected the same")
    return correlation(_mean_ranks(a.flatten(-2)), _mean_ranks(b.flatten(-2))).float()


def _mean_ranks(values: Tensor) -> Tensor:
    values = values.contiguous()
    ordered = values.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + up_to).double() / 2


def _randomise(parameter: nn.Parameter, generator: torch.Generator) -> None:
    if not parameter.is_floating_point():
        return
    values = parameter.detach().double()
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values.device)
    parameter.data.copy_(values.mean() + values.std(correction=0) * drawn)
