"""Explain why a model failed on its input, and what to do."""

import re

import torch
from torch import Tensor, nn


def find_misfits(model: nn.Module, images: Tensor, said: str) -> list[str]:
    """List what is wrong with the images, or the model, and what to do about it."""
    misfits = []
    weights = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    autocast = torch.is_autocast_enabled(images.device.type)
    if weights and not autocast and images.dtype != weights[0].dtype and "type" in said:
        misfits.append(f"its weights are {weights[0].dtype}: give the input as input_tensor.to({weights[0].dtype})")
    if any(weight.is_inference() for weight in weights):
        misfits.append(
            "its weights were made in inference mode and cannot be differentiated: give copy.deepcopy(model), made "
            "outside of torch.inference_mode()"
        )
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and images.ndim == 3:
        misfits.append(
            "the axis of the batch is missing: give input_tensor.unsqueeze(0), or torch.stack(images) of several"
        )
    elif first is not None and images.ndim == 4:
        misfits += _channel_misfits(images, first.in_channels, said)
    return misfits


def _channel_misfits(images: Tensor, wanted: int, said: str) -> list[str]:
    # A convolution names the shape that it got, which may be another than that of the images.
    refused = re.search(r"input(\[.*?\]) to have (\d+) channels", said)
    if refused and refused[1] != str(list(images.shape)):
        return []
    wanted = int(refused[2]) if refused else wanted
    if "channel" not in said or images.shape[1] == wanted:
        return []
    if images.shape[3] == wanted:
        return ["its channels stand last: give input_tensor.permute(0, 3, 1, 2)"]
    return [f"it has {images.shape[1]} channels, and the model takes {wanted}"]
