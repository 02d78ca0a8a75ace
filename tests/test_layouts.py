"""Layouts found from the tensor itself, and the ready-made transforms."""

import re

import pytest
import torch
from tiny_networks import make
from torch import nn

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.utils.layouts import find_layout
from pytorch_grad_cam.utils.reshape_transforms import (
    swinT_reshape_transform,
    tokens_to_grid,
    vit_reshape_transform,
)


def marked(*shape):
    """Values that tell position and channel: (B, C, H, W)."""
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def found(output, inputs, layer=None, model=None):
    """The layout of what a layer returned, of which nothing else is known unless it is given."""
    layer = nn.ReLU() if layer is None else layer
    return find_layout(output, inputs, nn.Sequential(layer) if model is None else model, layer)


def test_ready_made_transforms():
    grid = marked(2, 5, 14, 14)
    tokens = grid.flatten(2).mT
    with_class = torch.cat([torch.zeros(2, 1, 5), tokens], 1)
    assert torch.equal(vit_reshape_transform(with_class), grid)
    assert torch.equal(swinT_reshape_transform(grid[:, :, :7, :7].flatten(2).mT), grid[:, :, :7, :7])
    assert torch.equal(swinT_reshape_transform(grid[:, :, :7, :7].permute(0, 2, 3, 1)), grid[:, :, :7, :7])
    assert torch.equal(tokens_to_grid(28, 7)(tokens), tokens.mT.reshape(2, 5, 28, 7))
    with pytest.raises(ValueError, match=r"returned a tensor \(2, 196, 5\); expected tokens \(B, 1 \+ 14 \* 14, C\)"):
        vit_reshape_transform(tokens)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(224, 224), (160, 240), (32, 64)])
def test_tokens_of_any_prefix_and_proportion(prefix, size):
    grid = marked(2, 7, size[0] // 16, size[1] // 16)
    tokens = torch.cat([-torch.ones(2, prefix, 7), grid.flatten(2).mT], 1)
    assert torch.equal(found(tokens, torch.zeros(2, 3, *size))(tokens), grid)


def test_channels_last_and_channels_first():
    inputs = torch.zeros(2, 3, 64, 96)
    grid = marked(2, 5, 8, 12)
    assert torch.equal(found(grid, inputs)(grid), grid)
    last = grid.permute(0, 2, 3, 1)
    assert torch.equal(found(last, inputs)(last), grid)
    volume = marked(2, 5, 4, 6, 8)
    last = volume.permute(0, 2, 3, 4, 1)
    assert torch.equal(found(last, torch.zeros(2, 1, 16, 24, 32))(last), volume)


def test_what_keeps_no_positions_has_no_layout():
    inputs = torch.zeros(2, 3, 64, 96)
    for output in (torch.zeros(2, 10), torch.zeros(2, 5, 1, 1), torch.zeros(2, 13, 5), torch.zeros(3, 5, 8, 12), None):
        assert found(output, inputs) is None


@pytest.mark.parametrize(
    ("shape", "size", "lines"),
    [
        (
            (1, 196, 256),
            (224, 224),
            "reshape_transform=lambda x: x[:, :, 0:].unflatten(2, (16, 16)) for (B, C, 16 * 16) or "
            "tokens_to_grid(14, 14, prefix=0) for (B, 14 * 14, C)",
        ),
        (
            (1, 16, 7),
            (96, 96),
            "grid(3, 3, prefix=7) for (B, 7 + 3 * 3, C) or tokens_to_grid(4, 4, prefix=0)",
        ),
        ((1, 8, 8, 8), (64, 64), "lambda x: x for (B, C, 8, 8) or lambda x: x.movedim(-1, 1) for (B, 8, 8, C)"),
    ],
)
def test_an_ambiguous_tensor_is_an_error_with_the_lines_to_write(shape, size, lines):
    with pytest.raises(ValueError, match=rf"{re.escape(str(shape))} for an input.*{re.escape(lines)}"):
        found(torch.zeros(shape), torch.zeros(1, 3, *size))


@pytest.mark.parametrize("network", ["tokens", "channels-last"])
@pytest.mark.parametrize("method", METHODS)
def test_no_transform_equals_the_right_one(method, network):
    network, layer, inputs = make(network)
    expected = METHODS[method](network, layer, network.to_activations)(inputs)
    assert (METHODS[method](network, layer)(inputs) == expected).all()
