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
        """Candidates by preference: later layers first; a container before its child when both return the same tensor.

        Those inside an attention come second, and those that pass on, or pool, what another returned are left out.
        """
        layers = [candidate for candidate in reversed(self) if not isinstance(candidate.layer, _PASS_THROUGH)]
        return sorted(layers, key=lambda candidate: candidate.inside_attention)

    @property
    def last(self) -> LayerCandidate | None:
        """The first in rank that the score's gradient reaches: what methods with `needs_normalized_activations` take.

        After the last attention of a ViT only the class token is read: no gradient reaches the patches there.
        """
        return next((candidate for candidate in self.ranked if candidate.gradient), None)

    @property
    def best(self) -> LayerCandidate | None:
        """The layer for methods without `needs_normalized_activations`: `last`, but in a Swin the last block's input.

        The last block of a Swin has moved the evidence to other places of its windows.
        """
        last = self.last
        before = last and self.input_of_last_window_block(last)
        return before if before and before.gradient else last

    def input_of_last_window_block(self, last: LayerCandidate) -> LayerCandidate | None:
        """Find the input of the last block, in a network of window attention on several grids that ends with it.

        Only normalization may come between the block and `last`, and the block keeps the grid. None for other networks:
        of a ViT, some tokens of what enters a block may be huge (Darcet et al., 2023), and drown the others.
        """
        windows = [name for name, looks_at_windows in self.attentions.items() if looks_at_windows]
        blocks = [self._block_around(name) for name in windows]
        block = blocks[-1] if blocks else None
        if (
            block is None
            or windows[-1] != list(self.attentions)[-1]
            or len({candidate.grid for candidate in blocks if candidate}) < 2
        ):
            return None
        inside = [
            index
            for index, candidate in enumerate(self)
            if candidate is block or candidate.name.startswith(f"{block.name}.")
        ]
        end = [candidate.layer for candidate in self].index(last.layer) + 1
        after = self[max(inside) + 1 : end]
        more = any(weight.ndim > 1 for candidate in after for weight in candidate.layer.parameters(recurse=False))
        if more or end <= max(inside):
            return None
        before = next(iter(LayerCandidates(self[: min(inside)]).ranked), None)
        return before if before and before.grid == block.grid else None

    def _block_around(self, attention: str) -> LayerCandidate | None:
        """The innermost layer with positions that an attention, and no other, is a part of."""
        around = [candidate for candidate in self if attention.startswith(f"{candidate.name}.")]
        block = max(around, key=lambda candidate: len(candidate.name), default=None)
        alone = block is not None and sum(name.startswith(f"{block.name}.") for name in self.attentions) == 1
        return block if alone else None

    def __str__(self) -> str:
        best, last = self.best, self.last
        rows = [("name", "kind", "output", "layout", "gradient", "")]
        for candidate in self:
            gradient = "none" if candidate.gradient is None else f"{candidate.gradient:.3g}"
            chosen = "<- taken if none is given" if candidate is best else ""
            if last is not best and candidate in (best, last):
                chosen = "<- taken if none is given" + " and needs_normalized_activations" * (candidate is last)
            rows.append(
                (
                    candidate.name,
                    type(candidate.layer).__name__,
                    str(candidate.shape),
                    candidate.layout,
                    gradient,
                    chosen,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


# In eval mode these add nothing to what the layer before them says; pooling to a fixed size blurs or enlarges it.
_PASS_THROUGH = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
