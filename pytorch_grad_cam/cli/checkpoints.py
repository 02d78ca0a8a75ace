"""Read state dicts from untrusted checkpoint files without running their code."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class NetworkError(ValueError):
    """Error for a network, a checkpoint or a class that is unknown or unusable."""


def read_state_dict(path: str) -> Mapping[str, Tensor]:
    """Read a state dict from a file of `torch.save` or safetensors, without running code from it.

    Unwraps a dict that a training script saved around it, and strips the prefix `module.` of DataParallel.

    Args:
        path: file; the suffix `.safetensors` selects that format, any other a pickle read with `weights_only=True`.

    Returns:
        parameter and buffer names, mapped to real-valued tensors on the CPU

    Raises:
        NetworkError: if the file is missing, damaged or hostile, or holds no state dict.
    """
    if not os.path.isfile(path):
        raise NetworkError(f"{path!r} is not a file" if os.path.exists(path) else f"no such weights file: {path!r}")
    try:
        read = _read_safetensors if path.lower().endswith(".safetensors") else _read_pickle
        state = _unwrapped(read(path))
    except PermissionError:
        raise NetworkError(f"no permission to read {path!r}") from None
    valid = isinstance(state, Mapping) and [isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()]
    if not (valid and all(valid)):
        raise NetworkError(
            f"{path!r} holds no state dict, expected parameter names and tensors; save model.state_dict()"
        )
    for key, value in state.items():
        if value.is_complex():  # load_state_dict would keep the real parts only
            raise NetworkError(f"{key!r} in {path!r} holds complex numbers, expected real ones")
        if value.layout is torch.strided and value.untyped_storage().nbytes() < value.nbytes:
            raise NetworkError(f"{key!r} in {path!r} claims {value.nbytes} bytes that the file does not hold")
    prefix = "module." if all(key.startswith("module.") for key in state) else ""  # of DataParallel
    stripped = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items())
    if metadata := getattr(
        state, "_metadata", None
    ):  # without the versions, some models read the weights as an old format
        names = {f"{key}.": value for key, value in metadata.items()}
        versions = {name.removeprefix(prefix)[:-1]: value for name, value in names.items() if name.startswith(prefix)}
        stripped._metadata = versions  # type: ignore[attr-defined]
    return stripped


def _read_pickle(path: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    # Any other kind of file is read as a pickle, which can raise any exception.
    except Exception as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            reason = "holds objects other than tensors, whose code is not run; save model.state_dict()"
        else:
            reason = "is damaged, or not a file that torch.save wrote"
        raise NetworkError(f"{path!r} {reason}") from None


def _read_safetensors(path: str) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise NetworkError(f"{path!r} needs the package safetensors: pip install safetensors") from None
    try:
        return load_file(path)
    except PermissionError:
        raise
    except Exception as error:  # SafetensorError, and whatever the numbers of a damaged header cause
        raise NetworkError(f"{path!r} is damaged, or not a safetensors file: {error}") from None


def _unwrapped(content: Any) -> Any:
    """Take the state dict out of the dicts of a training script, at most two levels deep."""
    for _ in range(2):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
                break
    return content
