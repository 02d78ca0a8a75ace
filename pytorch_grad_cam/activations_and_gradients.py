"""Compatibility with grad-cam 1.x: record the outputs and gradients of layers for a backward pass of one's own."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from pytorch_grad_cam._engine.hooks import hooked
from pytorch_grad_cam._engine.layouts import first_tensor


class ActivationsAndGradients:
    """Run a model and record target layers; their gradients arrive when you call `backward` on a score.

    `BaseCAM.explain` gives both without a backward pass of your own. Hooks on the model live for one call.

    Args:
        model: the network.
        target_layers: modules of the model.
        reshape_transform: from what a layer returns to (B, C, *S); None takes it as it is.
        detach: move activations and gradients to the CPU and cut them off from the graph.

    Attributes:
        activations: of each layer the output (B, C, *S), in the order in which the layers ran.
        gradients: of each layer the gradient (B, C, *S), in the same order, after a backward pass.

    Example:
        >>> record = ActivationsAndGradients(model, [model.features], None)
        >>> record(images)[:, 0].sum().backward()
        >>> record.activations[0].shape == record.gradients[0].shape
        True
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: Callable[[Any], Tensor] | None = None,
        detach: bool = True,
    ) -> None:
        self.model = model
        self.target_layers = list(target_layers)
        self.reshape_transform = reshape_transform
        self.detach = detach
        self.clear()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.activations: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def __call__(self, x: Any) -> Any:
        """Run the model on x and return its outputs."""
        self.clear()
        gradient_of: dict[int, Tensor] = {}

        def record(layer: nn.Module, args: Any, output: Any) -> Any:
            number = len(self.activations)
            self.activations.append(self._prepared(output))
            tensor = first_tensor(output)
            returned = None
            if not tensor.requires_grad:  # where neither weights nor input require gradients, those of the layer do
                returned = tensor = tensor.detach().requires_grad_()

            def keep(gradient: Tensor) -> None:
                gradient_of[number] = self._prepared(gradient)
                self.gradients = [gradient_of[number] for number in sorted(gradient_of)]

            tensor.register_hook(keep)
            return returned

        with hooked(self.target_layers, record):
            return self.model(x)

    def release(self) -> None:
        """Do nothing: hooks on the model live for one call."""

    def _prepared(self, value: Any) -> Tensor:
        tensor: Tensor = value if self.reshape_transform is None else self.reshape_transform(value)
        return tensor.detach().cpu() if self.detach else tensor
