"""Find class scores, and the part of each image, in whatever a model returned."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in


def class_scores(outputs: Any, batch: int | None) -> Tensor | None:
    """The scores (B, N) in what a classifier returned: a tensor, `.logits`, an entry of a dict, a member of a tuple."""
    scores = _scores_tensor(outputs)
    return scores if scores is not None and scores.ndim == 2 and batch in (None, len(scores)) else None


def per_image(outputs: Any, batch: int) -> Tensor | Sequence[Any]:
    """Split a model's outputs by image: a tensor (B, ...), or a list of B.

    Of a tuple with one tensor (B, N), of `.logits` and of the entries that classifiers of a dict have, that tensor; of
    all else the image's part of each tensor, in the structure that the model returned.

    Raises:
        TypeError: if it cannot be told apart.
    """
    scores = _scores_tensor(outputs)
    several_heads = isinstance(outputs, list | tuple) and len(_tables(outputs)) > 1
    if scores is not None and not several_heads and scores.ndim and len(scores) == batch:
        return scores
    if isinstance(outputs, list | tuple) and len(outputs) == batch and not isinstance(outputs[0], Tensor):
        return outputs  # a detector: one dict for each image
    tensors = tensors_in(outputs)
    if tensors and all(tensor.ndim and len(tensor) == batch for tensor in tensors):
        return [map_tensors(itemgetter(image), outputs) for image in range(batch)]
    raise TypeError(
        f"the model returned {describe(outputs)} for {batch} images; expected a tensor (B, ...), a field `logits` or "
        "`out`, tensors (B, ...) in any structure, or a list of one output for each image; wrap the model in a module "
        "that returns one of them"
    )


def _scores_tensor(outputs: Any) -> Tensor | None:
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        found = [outputs[name] for name in ("logits", "logits_per_image", "out") if name in outputs]
    elif isinstance(outputs, list | tuple):
        found = _tables(outputs)
    else:
        found = [getattr(outputs, "logits", None)]
    return next((field for field in found if isinstance(field, Tensor)), None)


def _tables(outputs: Sequence[Any]) -> list[Tensor]:
    return [field for field in outputs if isinstance(field, Tensor) and field.ndim == 2]
