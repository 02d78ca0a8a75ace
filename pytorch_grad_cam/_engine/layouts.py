"""Decide how the positions of the input lie in a layer's output: channels first, channels last, or tokens.

The decision, in this order:

1. The layer's kind: a convolution, its norm or pooling is channels first; a linear layer or attention is channels last.
2. All grids that fit: the proportions of the input, as far as rounding and unpadded convolutions leave them.
3. What the model declares: the number of prefix tokens, the patch size, the order of channels in its parts.
4. The best fit of those left. Several equal ones are an error with the lines to write.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod
from typing import Any

from torch import Tensor, nn

from pytorch_grad_cam._engine.pytree import tensors_in

Transform = Callable[[Any], Tensor]

MAX_PREFIX = 8  # a class token, a distillation token, registers; more only where the model says so
MAX_PREFIX_WHEN_ROUNDED = 2  # fewer where something is cut off or padded, as more grids fit then
MAX_DISTORTION = 1.5  # convolutions without padding leave some play


@dataclass(frozen=True)
class Layout:
    """Layout of a layer's output; calling it turns the output into activations.

    Attributes:
        grid: positions along each spatial axis.
        channels_last: whether channels are the last axis or, if not, the one after the batch.
        prefix: how many tokens stand before those of the grid; None where the positions have axes of their own.
    """

    grid: tuple[int, ...]
    channels_last: bool
    prefix: int | None = None

    def __call__(self, output: Any) -> Tensor:
        """(B, C, *grid) of the first tensor of what the layer returned."""
        tensor: Tensor = first_tensor(output)
        channels_first = tensor.movedim(-1, 1) if self.channels_last else tensor
        return channels_first if self.prefix is None else channels_first[:, :, self.prefix :].unflatten(2, self.grid)

    def __str__(self) -> str:
        """Write the axes as a shape: "(B, 1 + 14 * 14, C)"."""
        positions = ", ".join(map(str, self.grid))
        if self.prefix is not None:
            positions = f"{self.prefix} + " * bool(self.prefix) + positions.replace(",", " *")
        return f"(B, {positions}, C)" if self.channels_last else f"(B, C, {positions})"

    @property
    def transform(self) -> str:
        """The reshape_transform that says the same, as source code."""
        if self.prefix is not None and self.channels_last:
            return f"tokens_to_grid({', '.join(map(str, self.grid))}, prefix={self.prefix})"
        if self.prefix is not None:
            return f"lambda x: x[:, :, {self.prefix}:].unflatten(2, {self.grid})"
        return "lambda x: x.movedim(-1, 1)" if self.channels_last else "lambda x: x"


def find_layout(output: Any, images: Tensor, model: nn.Module, layer: nn.Module) -> Layout | None:
    """The layout of what a layer returned, or None if it keeps no positions of the input.

    A grid has the input's proportions, as far as rounding, or convolutions without padding, leave them. Tokens are a
    grid after up to eight others, or after as many as the model says. Where several layouts fit, the model says how
    many other tokens it has and how large its patches are, and what the layers are made of whether channels come first.

    Args:
        output: (B, ...)
        images: (B, C_in, *S_in), the input.
        model: the network.
        layer: the module of it that returned the output.

    Raises:
        ValueError: if several layouts fit equally well.
    """
    if not isinstance(output, Tensor) or output.ndim < 3 or len(output) != len(images):
        return None
    size = tuple(images.shape[2:])
    layer_order = _order(layer)
    is_tokens = output.ndim < images.ndim
    prefix, grids = _declared_by_model(model, layer, size) if is_tokens else (None, set())
    fits = [
        (layout, misfit)
        for layout, misfit in _fitting(tuple(output.shape), size, prefix, grids)
        if layer_order in (None, layout.channels_last) and (_channels_first(layout) or _within(layout.grid, size))
    ]
    if len(fits) > 1 or (fits and is_tokens):
        around = _order_around(model, layer, is_tokens)
        if around:  # a row of tokens has its channels first only where nothing says otherwise
            fits = [fit for fit in fits if fit[0].channels_last or fit[0].prefix is None]
        fits = _prefer(fits, lambda layout: prefix is not None and layout.prefix == prefix)
        fits = _prefer(fits, lambda layout: layout.grid in grids)
        fits = _prefer(fits, lambda layout: layout.channels_last == around)
        if len(size) == 1 and not (layer_order or around):  # any number of positions is some other tokens and a series
            fits = _prefer(fits, lambda layout: layout.prefix is None)
    if fits:
        least = min(misfit for _, misfit in fits)
        fits = [(layout, misfit) for layout, misfit in fits if misfit == least]
    if len(fits) > 1:
        lines = " or ".join(f"{layout.transform} for {layout}" for layout, _ in fits)
        raise ValueError(
            f"{tuple(output.shape)} for an input {tuple(images.shape)} may be laid out in {len(fits)} ways; say "
            f"which by reshape_transform={lines}"
        )
    return fits[0][0] if fits else None


def _channels_first(layout: Layout) -> bool:
    return layout.prefix is None and not layout.channels_last


def _within(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Not more positions than the input has pixels: such an axis would be that of the channels."""
    return all(positions <= pixels for positions, pixels in zip(grid, size, strict=True))


def find_transform(
    output: Any, images: Tensor, model: nn.Module, layer: nn.Module, given: Transform | None = None
) -> Transform | None:
    """From what a layer returned to activations (B, C, *S) with more than one position: as given, or the layout found.

    None if it keeps no positions. Takes and raises what `find_layout` does, and what the given transform raises.
    """
    transform = given or find_layout(first_tensor(output), images, model, layer)
    try:
        activations = transform(output) if transform else None
    except Exception:
        # The Swins of timm came to keep the grid, (B, H, W, C), and transforms were written for their tokens (B, N, C).
        if given is None or not _keeps_the_grid_before_channels(first_tensor(output), images, model, layer):
            raise
        transform = _of_tokens(given)
        activations = transform(output)
    spatial = (
        isinstance(activations, Tensor)
        and activations.ndim == images.ndim
        and len(activations) == len(images)
        and activations[0, 0].numel() > 1
    )
    return transform if spatial else None


def _keeps_the_grid_before_channels(output: Any, images: Tensor, model: nn.Module, layer: nn.Module) -> bool:
    try:
        layout = find_layout(output, images, model, layer)
    except ValueError:
        return False
    return layout is not None and layout.channels_last and layout.prefix is None


def _of_tokens(given: Transform) -> Transform:
    return lambda output: given(first_tensor(output).flatten(1, -2))


def first_tensor(output: Any) -> Any:
    """Return the first tensor of an output, or the output itself if it holds none."""
    return next(iter(tensors_in(output)), output)


_Fits = list[tuple[Layout, float]]


def _prefer(fits: _Fits, wanted: Callable[[Layout], bool]) -> _Fits:
    return [fit for fit in fits if wanted(fit[0])] or fits


def _fitting(
    shape: tuple[int, ...], size: tuple[int, ...], prefix: int | None, grids: set[tuple[int, ...]]
) -> Iterator[tuple[Layout, float]]:
    """Every layout that fits the shape of an output, and how far it is from the proportions of the input."""
    for channels_last in (False, True):
        positions = shape[1:-1] if channels_last else shape[2:]
        own_axes = _misfit(positions, size) if len(positions) == len(size) and prod(positions) > 1 else inf
        if own_axes < inf:
            yield Layout(positions, channels_last), own_axes
        # Of a series, only what is last is tokens, and has others before it only where it does not fit as it is.
        if len(positions) == 1 and (len(size) > 1 or (channels_last and own_axes > 0)):
            (tokens,) = positions
            for grid in sorted(grids | _grids_of_patches(size)):
                before = tokens - prod(grid)
                misfit = _misfit(grid, size)
                told = before == prefix or (grid in grids and misfit == 0)
                usual = MAX_PREFIX if misfit == 0 or grid in grids else MAX_PREFIX_WHEN_ROUNDED
                most = prod(grid) if told else min(prod(grid), usual)
                if prod(grid) > 1 and 0 <= before <= most * channels_last:
                    yield Layout(grid, channels_last, before), misfit


@lru_cache(maxsize=64)
def _grids_of_patches(size: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The grids of square patches that an input is made of; rounded where the side is a power of two.

    Of a volume, or a film, what is behind a square may be of any length that divides the first axis.
    """
    if len(size) == 3:
        lengths = {size[0] // depth for depth in range(1, size[0] + 1) if size[0] % depth == 0}
        return {(length, *grid) for length in lengths for grid in _grids_of_patches(size[1:])}
    grids = {
        tuple(side // patch for side in size)
        for patch in range(1, min(size) + 1)
        if all(side % patch == 0 for side in size)
    }
    for patch in (2**power for power in range(min(size).bit_length())):
        grids |= {tuple(side // patch for side in size), tuple(-(side // -patch) for side in size)}
    return grids


def _misfit(grid: Sequence[int], size: Sequence[int]) -> float:
    """0 if one whole stride leads from the input to the grid, 1 if it is rounded, 2 if it is distorted, or infinity.

    The first axis of three, which may be time, has a stride of its own.
    """
    if len(grid) == 3:
        along = _misfit(grid[:1], size[:1])
        return max(along, _misfit(grid[1:], size[1:])) if grid[0] <= size[0] else inf
    pairs = list(zip(size, grid, strict=True))
    strides = [whole / part for whole, part in pairs]
    if min(strides) == max(strides) and strides[0].is_integer():
        return 0
    # The strides s for which ceil(whole / s), or floor(whole / s), is the part on every axis.
    rounded_up = max(strides) < min(whole / (part - 1) if part > 1 else inf for whole, part in pairs)
    rounded_down = max(whole / (part + 1) for whole, part in pairs) < min(strides)
    if rounded_up or rounded_down:
        return 1
    return 2 if max(strides) / min(strides) <= MAX_DISTORTION else inf


_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
)
_LAST = (nn.Linear, nn.MultiheadAttention)


def _order(layer: nn.Module) -> bool | None:
    """Tell whether a layer of a known kind has its channels last; None for any other."""
    if type(layer) is nn.LayerNorm and len(layer.normalized_shape) == 1:  # subclasses may normalise channels in front
        return True
    if isinstance(layer, _FIRST):
        return False
    return True if isinstance(layer, _LAST) else None


def _order_around(model: nn.Module, layer: nn.Module, is_tokens: bool) -> bool | None:
    """Tell whether channels are last in a layer's children or, if these are undecided, in its ancestors."""
    # A one-dimensional normalization serves tokens, too, after their positions were made part of the batch; and what is
    # not in rows was put into rows for an attention.
    ignored = nn.BatchNorm1d if is_tokens else (nn.BatchNorm1d, nn.MultiheadAttention)
    for module in _with_ancestors(model, layer):
        ignored_modules = {part for child in module.modules() if isinstance(child, ignored) for part in child.modules()}
        orders = {_order(part) for part in module.modules() if part not in ignored_modules} - {None}
        if orders:
            return orders.pop() if len(orders) == 1 else None
    return None


def _declared_by_model(
    model: nn.Module, layer: nn.Module, size: tuple[int, ...]
) -> tuple[int | None, set[tuple[int, ...]]]:
    """Read the number of prefix tokens and the grid, rounded down and up, from the model's attributes.

    The attributes are those of timm, transformers and torchvision.
    """
    prefix, patch = None, None
    for module in _with_ancestors(model, layer):
        told = getattr(module, "num_prefix_tokens", None)
        prefix = told if prefix is None and isinstance(told, int) else prefix
        for holder in (module, getattr(module, "patch_embed", None), getattr(module, "config", None)):
            patch = patch or _patch_of(holder, len(size))
    if patch is None:
        return prefix, set()
    down = tuple(whole // part for whole, part in zip(size, patch, strict=True))
    up = tuple(-(whole // -part) for whole, part in zip(size, patch, strict=True))
    return prefix, {down, up}


def _patch_of(holder: Any, axes: int) -> tuple[int, ...] | None:
    told = getattr(holder, "patch_size", None)
    patch = [told] * min(axes, 2) if isinstance(told, int) else told
    if not isinstance(patch, list | tuple):
        return None
    patch = [getattr(holder, "tubelet_size", told), *patch] if len(patch) == axes - 1 else patch
    return tuple(patch) if len(patch) == axes and all(isinstance(part, int) and part > 0 for part in patch) else None


def _with_ancestors(model: nn.Module, layer: nn.Module) -> Iterator[nn.Module]:
    """A layer and the modules that it is a part of, innermost first."""
    path = next((name for name, module in model.named_modules() if module is layer), "").split(".")
    for depth in range(len(path), 0, -1):
        yield model.get_submodule(".".join(path[:depth]))
    if path != [""]:
        yield model
