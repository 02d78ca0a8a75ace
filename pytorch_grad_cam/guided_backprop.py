"""Guided backpropagation."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytorch_grad_cam._engine.inputs import prepare_inputs
from pytorch_grad_cam._engine.model_state import inference_state, prepare_model
from pytorch_grad_cam._engine.targets import resolve_targets


class GuidedBackpropReLUModel:
    """Guided backpropagation: the gradient of the score at the input, negative parts dropped at every ReLU.

        R = (A > 0) (R' > 0) R'        (section 3.4, R' the gradient that arrives at a ReLU whose output is A)

    Springenberg et al., 2015, https://arxiv.org/abs/1412.6806

    Differs from the paper: nothing. Every ReLU counts, be it a module or a function, in place or not; no module of the
    model is touched.

    Args:
        model: any network.
        use_cuda: move the model to the GPU.
        device: move the model to this device; by position it may stand in the place of use_cuda.

    Example:
        >>> GuidedBackpropReLUModel(model)(images).shape
        (2, 32, 32, 3)
    """

    def __init__(self, model: nn.Module, use_cuda: Any = False, device: torch.device | str | None = None) -> None:
        if not isinstance(use_cuda, bool):
            use_cuda, device = False, use_cuda
        self.model = prepare_model(model, use_cuda)
        if device is not None:
            self.model.to(device)

    def __call__(
        self, input_img: Any = None, target_category: Any = None, **forward_kwargs: Any
    ) -> NDArray[np.float32]:
        """The guided gradients of a batch.

        Args:
            input_img: (B, C, H, W), or what else a CAM takes: a tuple of arguments or a dict of named ones.
            target_category: as `targets` of a map: None, a class, a callable, or a list of one for each image.
            forward_kwargs: further arguments of the model, by name.

        Returns:
            float32 (B, H, W, C), signed; (H, W, C) for a batch of one
        """
        with inference_state(self.model), torch.enable_grad():
            inputs = prepare_inputs(input_img, forward_kwargs, self.model, "input_img")
            images = inputs.images.detach().requires_grad_()
            with _GuidedReLUs():
                # A leaf must not be changed in place.
                outputs = inputs.with_images(images.clone()).run(self.model)
            targets = resolve_targets(target_category, outputs, len(inputs))
            if targets.has_target_axis:
                raise ValueError("target_category holds a list for each image, expected one target for each image")
            (gradient,) = torch.autograd.grad(targets.scores(outputs).sum(), images)
        result = gradient.float().movedim(1, -1).cpu().numpy()
        return result[0] if len(result) == 1 else result


class GuidedBackpropReLU(torch.autograd.Function):
    """A ReLU of any tensor whose backward pass drops negative gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool = False) -> Tensor:
        """(*) to (*), at least 0."""
        if inplace:
            ctx.mark_dirty(x)
        output = x.relu_() if inplace else x.relu()
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Keep the positive part of the gradient where the output is positive."""
        (output,) = ctx.saved_tensors
        return gradient.relu() * (output > 0), None


class GuidedBackpropReLUasModule(nn.Module):
    """The same, to stand in the place of an nn.ReLU."""

    def forward(self, input_img: Tensor) -> Any:
        """(*) to (*), at least 0."""
        return GuidedBackpropReLU.apply(input_img)


class _GuidedReLUs(TorchFunctionMode):
    """Every ReLU that runs in the block, in this thread, has the guided gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.relu, torch.relu, Tensor.relu):
            return _guided(*args, **kwargs)
        if func in (torch.relu_, Tensor.relu_):
            return _guided(args[0], inplace=True)
        return func(*args, **kwargs)


def _guided(input: Tensor, inplace: bool = False) -> Any:  # the names of F.relu's arguments
    return GuidedBackpropReLU.apply(input, inplace)
