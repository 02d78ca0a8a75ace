"""The layers of a network that keep positions of the input, and which of them are best, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from pytorch_grad_cam._engine.layouts import Transform


@dataclass(frozen=True, eq=False)
class LayerCandidate:
    """A layer that keeps positions of the input.

    Attributes:
        name: dotted, as `target_layers` takes it.
        layer: the module.
        shape: of what it returned for one image; of the first tensor where it returned several.
        layout: how the positions lie in it, such as "(B, 1 + 14 * 14, C)".
        grid: positions along each spatial axis.
        inside_attention: whether it is a part of an attention.
        gradient: Euclidean norm of the score's gradient at the positions; None if none arrives, or none was asked for.
    """

    name: str
    layer: nn.Module
    shape: tuple[int, ...]
    layout: str
    grid: tuple[int, ...]
    inside_attention: bool
    transform: Transform = field(repr=False)
    gradient: float | None = None


class LayerCandidates(list[LayerCandidate]):
    """The layers of a network that keep positions, in the order in which they finish; printed as a table.

    Attributes:
        unclear: layers of which several layouts fit: how many candidates had finished before, and what is unclear.
        attentions: dotted names of those that ran, in order, and whether each looks at windows.
    """

    def __init__(
        self,
        candidates: Sequence[LayerCandidate] = (),
        unclear: Sequence[tuple[int, str]] = (),
        attentions: Mapping[str, bool] | None = None,
    ) -> None:
        super().__init__(candidates)
        self.unclear = list(unclear)
        self.attentions = dict(attentions or {})

    @property
    def ranked(self) -> list[LayerCandidate]:
        """The last first; where a layer passes on what a part of it returned, the layer before the part.

        Those inside an attention come second, and those that pass on, or pool, what another returned are left out.
        """
        own = [one for one in reversed(self) if not isinstance(one.layer, _PASS_THROUGH)]
        return sorted(own, key=lambda one: one.inside_attention)

    @property
    def last(self) -> LayerCandidate | None:
        """The first in rank that the score's gradient reaches: what methods with `needs_normalized_activations` take.

        After the last attention of a ViT only the class token is read: no gradient reaches the patches there.
        """
        return next((one for one in self.ranked if one.gradient), None)

    @property
    def best(self) -> LayerCandidate | None:
        """The layer for methods without `needs_normalized_activations`: `last`, but in a Swin the last block's input.

        The last block of a Swin has moved the evidence to other places of its windows.
        """
        last = self.last
        before = last and self.input_of_last_window_block(last)
        return before if before and before.gradient else last

    def input_of_last_window_block(self, last: LayerCandidate) -> LayerCandidate | None:
        """What enters the last block, in a network of attentions to windows, on several grids, that ends with it.

        Only normalisation may come between the block and `last`, and the block keeps the grid. None for other networks:
        of a ViT, some tokens of what enters a block may be huge (Darcet et al., 2023), and drown the others.
        """
        windows = [name for name, looks_at_windows in self.attentions.items() if looks_at_windows]
        blocks = [self._block_around(name) for name in windows]
        block = blocks[-1] if blocks else None
        if block is None or windows[-1] != list(self.attentions)[-1] or len({one.grid for one in blocks if one}) < 2:
            return None
        inside = [index for index, one in enumerate(self) if one is block or one.name.startswith(f"{block.name}.")]
        end = [one.layer for one in self].index(last.layer) + 1
        after = self[max(inside) + 1 : end]
        more = any(weight.ndim > 1 for one in after for weight in one.layer.parameters(recurse=False))
        if more or end <= max(inside):
            return None
        before = next(iter(LayerCandidates(self[: min(inside)]).ranked), None)
        return before if before and before.grid == block.grid else None

    def _block_around(self, attention: str) -> LayerCandidate | None:
        """The innermost layer with positions that an attention, and no other, is a part of."""
        around = [one for one in self if attention.startswith(f"{one.name}.")]
        block = max(around, key=lambda one: len(one.name), default=None)
        alone = block is not None and sum(name.startswith(f"{block.name}.") for name in self.attentions) == 1
        return block if alone else None

    def __str__(self) -> str:
        best, last = self.best, self.last
        rows = [("name", "kind", "output", "layout", "gradient", "")]
        for one in self:
            gradient = "none" if one.gradient is None else f"{one.gradient:.3g}"
            chosen = "<- taken if none is given" if one is best else ""
            if last is not best and one in (best, last):
                chosen = "<- taken if none is given" + " and needs_normalized_activations" * (one is last)
            rows.append((one.name, type(one.layer).__name__, str(one.shape), one.layout, gradient, chosen))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


# In eval mode these add nothing to what the layer before them says; pooling to a fixed size blurs or enlarges it.
_PASS_THROUGH = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
