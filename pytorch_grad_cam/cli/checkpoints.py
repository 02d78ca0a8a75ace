"""Files of weights: whatever somebody sends, its tensors or one line that says why not."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class NetworkError(ValueError):
    """A network, its weights or a class that cannot be had; the message says which and why."""


def read_state_dict(path: str) -> Mapping[str, Tensor]:
    """The names of parameters and their tensors in a file that torch.save or safetensors wrote; no code in it is run.

    What training scripts save around it is unwrapped, and the names are those of the model without DataParallel.

    Raises:
        NetworkError: if there is no such file, it holds something else, or it is damaged or hostile.
    """
    if not os.path.isfile(path):
        raise NetworkError(f"{path!r} is no file" if os.path.exists(path) else f"no such file of weights: {path!r}")
    try:
        read = _read_safetensors if path.lower().endswith(".safetensors") else _read_pickle
        state = _unwrapped(read(path))
    except PermissionError:
        raise NetworkError(f"no permission to read {path!r}") from None
    named = isinstance(state, Mapping) and [isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()]
    if not (named and all(named)):
        raise NetworkError(f"{path!r} holds no state dict: names of parameters and their tensors")
    for key, value in state.items():
        if value.is_complex():  # only their real parts would be loaded
            raise NetworkError(f"{key!r} in {path!r} holds complex numbers, expected real ones")
        if value.layout is torch.strided and value.untyped_storage().nbytes() < value.nbytes:
            raise NetworkError(f"{key!r} in {path!r} claims {value.nbytes} bytes that the file does not hold")
    prefix = "module." if all(key.startswith("module.") for key in state) else ""  # of DataParallel
    plain = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items())
    if metadata := getattr(state, "_metadata", None):  # without its versions some models take the weights for old ones
        names = {f"{key}.": value for key, value in metadata.items()}
        own = {name.removeprefix(prefix)[:-1]: value for name, value in names.items() if name.startswith(prefix)}
        plain._metadata = own  # type: ignore[attr-defined]
    return plain


def _read_pickle(path: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    # A file of any other kind is read as a pickle, which can fail in any way.
    except Exception as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            reason = "holds objects other than tensors, whose code is not run; save model.state_dict() instead"
        else:
            reason = "is no file that torch.save wrote, or a damaged one"
        raise NetworkError(f"{path!r} {reason}") from None


def _read_safetensors(path: str) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise NetworkError(f"{path!r} needs safetensors, which is not installed: pip install safetensors") from None
    try:
        return load_file(path)
    except PermissionError:
        raise
    except Exception as error:  # its own SafetensorError, and what the numbers in a damaged header lead to
        raise NetworkError(f"{path!r} is no safetensors file, or a damaged one: {error}") from None


def _unwrapped(content: Any) -> Any:
    """The state dict in what training scripts save around it, at most twice."""
    for _ in range(2):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
                break
    return content
