"""List the layers at which a map can be made, and choose one where none is named."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.forward import Score
from pytorch_grad_cam._engine.hooks import gradients, hooked, record_outputs
from pytorch_grad_cam._engine.inputs import ModelInput, ModelInputs, prepare_inputs
from pytorch_grad_cam._engine.layer_candidates import LayerCandidate, LayerCandidates
from pytorch_grad_cam._engine.layouts import Layout, Transform, find_transform, first_tensor
from pytorch_grad_cam._engine.model_state import inference_state, prepare_model
from pytorch_grad_cam._engine.pytree import tensors_in
from pytorch_grad_cam._engine.targets import TargetsLike, parse_targets, score_outputs

logger = logging.getLogger(__name__)


def list_layers(
    model: nn.Module,
    input_tensor: ModelInput | None = None,
    targets: TargetsLike = None,
    *,
    reshape_transform: Transform | None = None,
    **forward_kwargs: Any,
) -> LayerCandidates:
    """Every layer that a map can be made at, with its layout and how much of the score's gradient reaches it.

    Args:
        model: any network; it runs with the first image, and the outputs of all layers are held at once.
        input_tensor: as a CAM takes it.
        targets: as a CAM takes them; None is the best class, or the sum of all outputs where those are no classes.
        reshape_transform: from what a layer returns to (B, C, *S); None recognizes the layouts.
        forward_kwargs: further arguments of the model, by name.

    Raises:
        TypeError, ValueError: naming what was given and what was expected.

    Example:
        >>> layers = list_layers(model, images)  # print(layers) is a table
        >>> layers.best.name, layers.best.layout
        ('mix', '(B, C, 16, 16)')
    """
    model = prepare_model(model, use_cuda=False)
    with inference_state(model), torch.no_grad():
        inputs = prepare_inputs(input_tensor, forward_kwargs, model, "input_tensor")
        candidates = find_candidates(model, inputs, reshape_transform)
        parsed = parse_targets(targets, len(inputs))
        first = None if parsed is None else parsed.of_copies(0, 1)
        score = partial(score_outputs, targets=first, batch=1, needed=False)
        measured = _with_gradients(model, inputs, candidates, score=score)
        return LayerCandidates(measured, candidates.unclear, candidates.attentions)


def find_target_layer(
    model: nn.Module,
    inputs: ModelInputs,
    score: Score,
    reshape_transform: Transform | None,
    *,
    needs_gradients: bool,
    needs_normalized_activations: bool,
) -> nn.Module:
    """The layer to take where none is named: `LayerCandidates.best` or `last`, searched from the end of the network.

    Args:
        model: the network, in eval mode; to be called under no_grad.
        inputs: what it is called with; the first image is looked at.
        score: from the outputs for the first image to its targets and scores; without scores, the sum of all
            outputs is differentiated.
        reshape_transform: of the user.
        needs_gradients: otherwise, where no gradient reaches any layer, one without will do.
        needs_normalized_activations: take `LayerCandidates.last`, otherwise `best`.

    Raises:
        ValueError: if no layer keeps positions, or the method needs gradients and none but zero arrives at any.
    """
    candidates = find_candidates(model, inputs, reshape_transform)
    measure = partial(_with_gradients, model, inputs, score=score)
    ranked = candidates.ranked or list(candidates)
    start, count = 0, 4  # few of them, as a rule the first, so that only the end of the network is differentiated
    while start < len(ranked):
        measured = measure(ranked[start : start + count])
        if last := next((candidate for candidate in measured if candidate.gradient), None):
            before = None if needs_normalized_activations else candidates.input_of_last_window_block(last)
            if before and measure([before])[0].gradient:
                _log(candidates, before, "what enters the last block")
                return before.layer
            _log(candidates, last, "the last one that keeps positions and that the score's gradient reaches")
            return last.layer
        start, count = start + count, 2 * count
    if needs_gradients:
        raise ValueError(
            f"the gradient of the score is zero, or there is none, at every layer of {type(model).__name__} that keeps "
            "positions; check that the weights of its head are not zero, as in some untrained networks, and that "
            "neither the model nor the target detaches, rounds or compares; through quantized layers no gradient "
            "passes: there take a method without gradients, such as EigenCAM"
        )
    _log(candidates, ranked[0], "the last one that keeps positions")
    return ranked[0].layer


def find_candidates(model: nn.Module, inputs: ModelInputs, reshape_transform: Transform | None) -> LayerCandidates:
    """Every layer that keeps positions, from one forward pass with the first image; their gradients are None.

    Raises:
        ValueError: if there is none, and why.
    """
    # Two copies, so that what has a first axis of 1, such as an embedding of positions, is not taken for what a layer
    # says of an image; a network may take no more than one, though.
    image = inputs.image(0)
    try:
        candidates = _survey(model, image.copies(2), reshape_transform)
    except Exception as error:
        logger.debug("two copies of an image cannot run at once: %s", error)
        candidates = _survey(model, image, reshape_transform)
    if not candidates:
        why = "; ".join(message for _, message in candidates.unclear[-1:])
        raise ValueError(
            f"{type(model).__name__} has no layer that keeps positions of the input {tuple(inputs.images.shape)}, as "
            "(B, C, H, W), (B, H, W, C) or tokens (B, N, C); for another layout give target_layers and "
            f"reshape_transform{'; ' * bool(why)}{why}"
        )
    return candidates


def _survey(model: nn.Module, image: ModelInputs, reshape_transform: Transform | None) -> LayerCandidates:
    names = {module: name for name, module in model.named_modules()}
    candidates: dict[nn.Module, LayerCandidate] = {}
    unclear: list[tuple[int, str]] = []
    attentions: dict[str, bool] = {}
    thread = threading.get_ident()

    def look(layer: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        candidates.pop(layer, None)
        attention = _attention_of(model, names[layer])
        if attention is not None and attention == names[layer]:
            attentions.pop(attention, None)
            attentions[attention] = _looks_at_windows(layer)
        try:
            transform = find_transform(output, image.images, model, layer, reshape_transform)
        except Exception as error:  # the user's transform is for some of the layers, and fails at others as it likes
            if reshape_transform is None:
                unclear.append((len(candidates), f"{names[layer]}: {error}"))
            return
        if transform is not None:
            layout = str(transform) if isinstance(transform, Layout) else "reshape_transform"
            shape, grid = (1, *first_tensor(output).shape[1:]), tuple(transform(output).shape[2:])
            inside = attention not in (None, names[layer])
            candidates[layer] = LayerCandidate(names[layer], layer, shape, layout, grid, inside, transform)

    with hooked([module for module in model.modules() if module is not model], look):
        image.clone().run(model)
    return LayerCandidates(list(candidates.values()), unclear, attentions)


def _with_gradients(
    model: nn.Module, inputs: ModelInputs, candidates: Sequence[LayerCandidate], *, score: Score
) -> list[LayerCandidate]:
    """Measure the gradients at candidates, in one forward and one backward pass with the first image."""
    with record_outputs([candidate.layer for candidate in candidates], differentiable=True) as records, torch.no_grad():
        returned = inputs.image(0).clone().run(model)
        _, scores = score(returned)
    with torch.enable_grad():
        total = _sum_of_all(returned) if scores is None else scores.sum()
    recorded = [first_tensor(records.outputs.get(candidate.layer)) for candidate in candidates]
    grads = gradients(total, recorded, keep_graph=False)
    norms = [
        None if gradient is None else float(candidate.transform(gradient).float().norm())
        for candidate, gradient in zip(candidates, grads, strict=True)
    ]
    return [replace(candidate, gradient=norm) for candidate, norm in zip(candidates, norms, strict=True)]


def _log(candidates: LayerCandidates, chosen: LayerCandidate, why: str) -> None:
    logger.info("target layer %s, %s %s: %s", chosen.name, type(chosen.layer).__name__, chosen.layout, why)
    position = [candidate.layer for candidate in candidates].index(chosen.layer)
    for before, what in candidates.unclear[-1:]:
        if before > position:
            logger.warning("another layer comes after target layer %s, but it is unclear: %s", chosen.name, what)


def _sum_of_all(outputs: Any) -> Tensor:
    sums = [tensor.float().sum() for tensor in tensors_in(outputs)]
    return torch.stack(sums).sum() if sums else torch.zeros(())


def _attention_of(model: nn.Module, name: str) -> str | None:
    """The outermost attention that a module is, or is a part of, by names and classes.

    A block of attention and all that goes with it is none.
    """
    path = name.split(".")
    for depth, name_of_part in enumerate(path, 1):
        outer = ".".join(path[:depth])
        words = [word.lower() for word in (name_of_part, type(model.get_submodule(outer)).__name__)]
        if any(("attn" in word or "attention" in word) and "block" not in word for word in words):
            return outer
    return None


def _looks_at_windows(attention: nn.Module) -> bool:
    """Tell window attention by its window_size, as the Swins of torchvision, timm and transformers have it."""
    parts = (attention, *attention.children())
    return any(isinstance(getattr(part, "window_size", None), list | tuple) for part in parts)
