"""Layouts found from the tensor itself, and the ready-made transforms."""

import pytest
import torch
from tiny_networks import make

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.utils.reshape_transforms import (
    find_layout,
    swinT_reshape_transform,
    tokens_to_grid,
    vit_reshape_transform,
)


def marked(*shape):
    """Values that tell position and channel: (B, C, H, W)."""
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def test_ready_made_transforms():
    grid = marked(2, 5, 14, 14)
    tokens = grid.flatten(2).mT
    with_class = torch.cat([torch.zeros(2, 1, 5), tokens], 1)
    assert torch.equal(vit_reshape_transform(with_class), grid)
    assert torch.equal(swinT_reshape_transform(grid[:, :, :7, :7].flatten(2).mT), grid[:, :, :7, :7])
    assert torch.equal(swinT_reshape_transform(grid[:, :, :7, :7].permute(0, 2, 3, 1)), grid[:, :, :7, :7])
    assert torch.equal(tokens_to_grid(28, 7)(tokens), tokens.mT.reshape(2, 5, 28, 7))
    with pytest.raises(ValueError, match=r"the layer returned \(2, 196, 5\); expected tokens \(B, 1 \+ 14 \* 14, C\)"):
        vit_reshape_transform(tokens)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(224, 224), (160, 240), (32, 64)])
def test_tokens_of_any_prefix_and_proportion(prefix, size):
    grid = marked(2, 6, size[0] // 16, size[1] // 16)
    tokens = torch.cat([-torch.ones(2, prefix, 6), grid.flatten(2).mT], 1)
    assert torch.equal(find_layout(tokens, torch.zeros(2, 3, *size))(tokens), grid)


def test_channels_last_and_channels_first():
    inputs = torch.zeros(2, 3, 64, 96)
    grid = marked(2, 5, 8, 12)
    assert torch.equal(find_layout(grid, inputs)(grid), grid)
    last = grid.permute(0, 2, 3, 1)
    assert torch.equal(find_layout(last, inputs)(last), grid)
    volume = marked(2, 5, 4, 6, 8)
    last = volume.permute(0, 2, 3, 4, 1)
    assert torch.equal(find_layout(last, torch.zeros(2, 1, 16, 24, 32))(last), volume)


def test_what_keeps_no_positions_has_no_layout():
    inputs = torch.zeros(2, 3, 64, 96)
    for output in (torch.zeros(2, 10), torch.zeros(2, 5, 1, 1), torch.zeros(2, 13, 5), torch.zeros(3, 5, 8, 12), None):
        assert find_layout(output, inputs) is None


def test_an_ambiguous_number_of_tokens_is_an_error_with_the_line_to_write():
    tokens = torch.zeros(1, 9, 8)
    with pytest.raises(
        ValueError, match=r"tokens \(1, 9, 8\) of an input \(1, 3, 96, 96\).*height=3, width=3, prefix=0"
    ):
        find_layout(tokens, torch.zeros(1, 3, 96, 96))


@pytest.mark.parametrize("network", ["tokens", "channels-last"])
@pytest.mark.parametrize("method", METHODS)
def test_no_transform_equals_the_right_one(method, network):
    network, layer, inputs = make(network)
    expected = METHODS[method](network, layer, network.to_activations)(inputs)
    assert (METHODS[method](network, layer)(inputs) == expected).all()
