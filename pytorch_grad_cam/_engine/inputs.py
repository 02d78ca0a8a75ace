"""Arguments of a model: the images that are explained, and whatever else its forward takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.input_errors import find_misfits
from pytorch_grad_cam._engine.pytree import map_tensors

ModelInput = Tensor | Sequence[Any] | Mapping[str, Any]
"""Images (B, C, *S), a tuple of arguments that begins with them, or named arguments."""


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """The arguments of a forward pass for B images.

    Of the arguments other than the images, tensors with a first axis of length B hold something for each image; all
    others are the same for every image.

    Attributes:
        images: (B, C, *S), what the maps are laid over.
        args: by position; None stands where the images go.
        kwargs: by name, likewise.
        key: of the images in args or kwargs.
    """

    images: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: int | str

    def __len__(self) -> int:
        return len(self.images)

    def run(self, model: nn.Module) -> Any:
        """Call the model.

        Raises:
            ValueError: if it fails, and the images are seen not to suit it; all else that it raises goes through.
        """
        args, kwargs = list(self.args), dict(self.kwargs)
        if isinstance(self.key, int):
            args[self.key] = self.images
        else:
            kwargs[self.key] = self.images
        try:
            return model(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError) as error:
            misfits = [] if isinstance(error, torch.OutOfMemoryError) else find_misfits(model, self.images, str(error))
            if not misfits:
                raise
            raise ValueError(
                f"{type(model).__name__} cannot run on an input {tuple(self.images.shape)} of {self.images.dtype}: "
                f"{'; '.join(misfits)} ({type(error).__name__}: {error})"
            ) from error

    def with_images(self, images: Tensor) -> "ModelInputs":
        """Replace the images by others of the same number."""
        return replace(self, images=images)

    def clone(self) -> "ModelInputs":
        """Tensors of its own, for a model that changes them in place."""
        return self._with_own_arguments().with_images(self.images.clone())

    def image(self, index: int) -> "ModelInputs":
        """The arguments for one image."""
        return self._each(lambda tensor: tensor[index : index + 1])

    def rows(self, indices: Tensor) -> "ModelInputs":
        """The arguments for images by their numbers (n,), each as often as it is named."""
        return self._each(lambda tensor: tensor[indices])

    def copies(self, count: int) -> "ModelInputs":
        """The arguments for copies of one image; the images share their memory."""

        def expanded(tensor: Tensor) -> Tensor:
            single = tensor.numel() == 1 and tensor.ndim < 3  # for the image or for all: it is the same for every copy
            return tensor if single else tensor.expand(count, *tensor.shape[1:])

        return self._each(expanded)._with_own_arguments()

    def _with_own_arguments(self) -> "ModelInputs":
        args, kwargs = map_tensors(torch.clone, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs)

    def _each(self, change: Any) -> "ModelInputs":
        batch = len(self)

        def per_image(tensor: Tensor) -> Tensor:
            changed: Tensor = change(tensor) if tensor.ndim and len(tensor) == batch else tensor
            return changed

        args, kwargs = map_tensors(per_image, (self.args, self.kwargs))
        return replace(self, images=change(self.images), args=args, kwargs=kwargs)


def prepare_inputs(given: Any, forward_kwargs: Mapping[str, Any], model: nn.Module, name: str) -> ModelInputs:
    """Check the arguments, move them to the model's device and detach them; call it outside of inference mode.

    Args:
        given: the images, a tuple of arguments that begins with them, a mapping of named arguments, or None.
        forward_kwargs: further named arguments.
        model: what will be called.
        name: of the argument `given`, for messages.

    Raises:
        TypeError: if there are no images in it.
        ValueError: if they are no batch (B, C, *S).
    """
    args: tuple[Any, ...] = ()
    kwargs = dict(forward_kwargs)
    if isinstance(given, Mapping):
        kwargs = {**given, **kwargs}
    elif given is not None:
        args = tuple(given) if isinstance(given, tuple | list) else (given,)
    key = _key_of_images(args, kwargs)
    images = args[0] if isinstance(key, int) else kwargs.get(key)
    if not isinstance(images, Tensor):
        by_name = f", and {describe(kwargs)} by name" if kwargs else ""
        found = describe(given) if given is not None else f"nothing{by_name}"
        raise TypeError(
            f"{name} is {found}, expected a torch.Tensor (B, C, H, W), a tuple of arguments that begins with one, or a "
            "dict of named arguments with `pixel_values`"
        )
    if images.ndim < 3 or 0 in images.shape:
        raise ValueError(f"{name} has shape {tuple(images.shape)}, expected (B, C, H, W), none of them 0")
    device = next(chain(model.parameters(), model.buffers()), images).device
    at_hand = partial(map_tensors, partial(_at_hand, device=device))
    args, kwargs = tuple(map(at_hand, args)), {name: at_hand(value) for name, value in kwargs.items()}
    if isinstance(key, int):
        images, args = args[0], (None, *args[1:])
    else:
        images = kwargs.pop(key)
    return ModelInputs(images, args, kwargs, key)


def _key_of_images(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str:
    """The first argument by position; of named ones pixel_values, or else the only tensor that could be images."""
    if args:
        return 0
    shaped = [name for name, value in kwargs.items() if isinstance(value, Tensor) and value.ndim > 2]
    return "pixel_values" if "pixel_values" in kwargs or len(shaped) != 1 else shaped[0]


def _at_hand(tensor: Tensor, device: torch.device) -> Tensor:
    tensor = tensor.detach().to(device)
    return tensor.clone() if tensor.is_inference() else tensor
