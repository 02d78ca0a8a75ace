"""Why a map is blank: one warning a call, with the cause and the numbers."""

import warnings

from torch import Tensor, nn

from pytorch_grad_cam._engine.explanation import Explanation, LayerEvidence
from pytorch_grad_cam._engine.layers import layer_name


class BlankMapWarning(UserWarning):
    """A map is 0 everywhere; the message says why and what to try.

    To have it raised: `warnings.simplefilter("error", BlankMapWarning)`; to silence it: "ignore".
    """


def warn_of_blank_maps(model: nn.Module, explanation: Explanation, maps: Tensor) -> None:
    """Say why maps are 0 everywhere, if any are: once, to the caller of the caller.

    Args:
        model: what was explained.
        explanation: whose maps they are.
        maps: (B, K, *S), its maps, on any device.
    """
    blank = causes_of_blank_maps(model, explanation, maps)
    if not blank:
        return
    causes: dict[str, list[int]] = {}
    for (image, _), cause in blank.items():
        causes.setdefault(cause, []).append(image)
    reasons = ". ".join(f"{_images(images)}: {cause}" for cause, images in causes.items())
    count = maps.shape[0] * maps.shape[1]
    warnings.warn(f"{len(blank)} of {count} maps are blank. {reasons}", BlankMapWarning, stacklevel=3)


def causes_of_blank_maps(model: nn.Module, explanation: Explanation, maps: Tensor) -> dict[tuple[int, int], str]:
    """Why each map that is 0 everywhere is, by image and target; takes what `warn_of_blank_maps` does."""
    blank = (maps.flatten(2).amax(dim=2) == 0).nonzero().tolist()
    return {
        (image, target): "; ".join(dict.fromkeys(_causes(model, explanation, image, target))) for image, target in blank
    }


def _causes(model: nn.Module, explanation: Explanation, image: int, target: int) -> list[str]:
    """Why a map is blank: for each layer, or for those whose values are not finite."""
    records = list(zip(explanation.evidence, explanation.weights, explanation.layer_maps, strict=True))
    broken = [
        _not_finite(model, evidence, image, target)
        for evidence, _, layer_map in records
        if not layer_map[image, target].isfinite().all()
    ]
    return broken or [
        _zero(layer_name(model, evidence.layer), evidence, weights, layer_map, image, target)
        for evidence, weights, layer_map in records
    ]


def _not_finite(model: nn.Module, evidence: LayerEvidence, image: int, target: int) -> str:
    """Find the first value that is not finite on the way from the input to the map."""
    layer = layer_name(model, evidence.layer)
    overflow = "numbers grew too large or were divided by 0: try the model in float32, and look at earlier layers"
    values = [("the input", evidence.forward.inputs.images[image], "check how the images were prepared")]
    for name, value in model.state_dict().items():
        values.append((f"weight {name!r}", value, "check the file of weights, or the training"))
    values.append((f"what layer {layer!r} returned", evidence.activations[image], overflow))
    if evidence.forward.scores is not None:
        values.append(("the score", evidence.scores[image, target], overflow))
    if evidence.maybe_gradients is not None:
        values.append((f"the score's gradient at layer {layer!r}", evidence.gradients[image, target], overflow))
    for name, value, advice in values:
        if isinstance(value, Tensor) and not value.is_quantized and (bad := int((~value.isfinite()).sum())):
            return f"{bad} of {value.numel()} values of {name} are NaN or infinite; {advice}"
    return f"the map of layer {layer!r} is NaN or infinite, though all that it is made of is finite; {overflow}"


def _zero(
    layer: str, evidence: LayerEvidence, weights: Tensor | None, layer_map: Tensor, image: int, target: int
) -> str:
    """Why the positive part of a finite map is the same everywhere."""
    activations, values = evidence.activations[image], layer_map[image, target]
    score = f", score {float(evidence.scores[image, target]):.3g}" if evidence.forward.scores is not None else ""
    if not activations.any():
        return (
            f"what layer {layer!r} returned is 0 everywhere{score}: nothing passes there; check the weights and how "
            "the input was prepared, or take another layer"
        )
    if evidence.maybe_gradients is not None and not evidence.gradients[image, target].any():
        return (
            f"the score's gradient is 0 everywhere at layer {layer!r}{score}: nothing there would change the score; "
            "take an earlier layer (list_layers shows the gradient at each), another target, or check that the "
            "weights of the head are not 0"
        )
    if weights is not None and not weights[image, min(target, weights.shape[1] - 1)].any():
        return (
            f"the weights of all {activations.shape[1]} channels of layer {layer!r} are 0{score}: none speaks for the "
            "target; take another layer, target or method"
        )
    low, high, negative = float(values.min()), float(values.max()), int((values < 0).sum())
    if low == high:
        return (
            f"all {values.numel()} positions of layer {layer!r} are alike, {high:.3g}{score}: no place counts "
            "more than another; check that the input is no blank image, or take an earlier layer"
        )
    return (
        f"the map of layer {layer!r} is negative at {negative} of {values.numel()} positions and "
        f"nowhere positive before the ReLU ({low:.3g} to {high:.3g}{score}), so nothing is left after it: "
        "this layer is evidence against the target; explain() gives the "
        "signed map; try another target, an earlier layer, or LayerCAM"
    )


def _images(images: list[int]) -> str:
    different = list(dict.fromkeys(images))
    named = ", ".join(map(str, different[:8])) + (", ..." if len(different) > 8 else "")
    return f"image{'s' * (len(different) > 1)} {named}"
