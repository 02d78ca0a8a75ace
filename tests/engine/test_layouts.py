"""Layouts found from the tensor itself, and the ready-made transforms."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS, GradCAM
from pytorch_grad_cam._engine.layouts import Layout, find_layout, find_transform
from pytorch_grad_cam.utils.reshape_transforms import (
    fasterrcnn_reshape_transform,
    swinT_reshape_transform,
    tokens_to_grid,
    vit_reshape_transform,
)
from tests.helpers.tiny_networks import make


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


# --- what the model and its layers say


class Saying(nn.Module):
    """A model that says something of itself, and has a layer of which nothing is known."""

    def __init__(self, **said):
        super().__init__()
        self.layer = nn.ReLU()
        for name, value in said.items():
            setattr(self, name, value)


def layout_in(model, shape, size):
    return str(found(torch.zeros(shape), torch.zeros(shape[0], 3, *size), model.layer, model))


def test_the_number_of_other_tokens_that_the_model_says():
    assert layout_in(Saying(), (1, 196 + 20, 7), (224, 224)) == "None"
    assert layout_in(Saying(num_prefix_tokens=20), (1, 196 + 20, 7), (224, 224)) == "(B, 20 + 14 * 14, C)"
    assert layout_in(Saying(num_prefix_tokens=7), (1, 16, 7), (96, 96)) == "(B, 7 + 3 * 3, C)"
    assert layout_in(Saying(num_prefix_tokens=0), (1, 16, 7), (96, 96)) == "(B, 4 * 4, C)"
    assert layout_in(Saying(num_prefix_tokens=1), (1, 196, 7), (224, 224)) == "(B, 14 * 14, C)", "not yet there"


@pytest.mark.parametrize(
    "said",
    [
        {"patch_size": 14},
        {"patch_size": (14, 14)},
        {"patch_embed": SimpleNamespace(patch_size=(14, 14))},
        {"config": SimpleNamespace(patch_size=14)},
        {"config": SimpleNamespace(patch_size=[14, 14])},
    ],
)
def test_the_size_of_patches_that_the_model_says(said):
    """Where neither the patches divide the input nor a power of two does, and with many other tokens."""
    assert layout_in(Saying(), (1, 5 + 7 * 10, 9), (100, 150)) == "None"
    assert layout_in(Saying(**said), (1, 5 + 7 * 10, 9), (100, 150)) == "(B, 5 + 7 * 10, C)", "cut off"
    assert layout_in(Saying(**said), (1, 100 + 16 * 16, 9), (224, 224)) == "(B, 100 + 16 * 16, C)"
    assert layout_in(Saying(**said), (1, 2 + 8 * 11, 9), (100, 150)) == "(B, 2 + 8 * 11, C)", "padded"
    assert layout_in(Saying(**said), (1, 196, 256), (224, 224)) == "(B, C, 16 * 16)"


def test_the_innermost_module_that_says_something_is_right():
    part = Saying(num_prefix_tokens=7)
    model = Saying(num_prefix_tokens=3, layer=None, part=part)
    tokens, pictures = torch.zeros(1, 16, 7), torch.zeros(1, 3, 96, 96)
    assert str(found(tokens, pictures, part.layer, model)) == "(B, 7 + 3 * 3, C)"


def test_patches_of_video_that_the_model_says():
    model = Saying(config=SimpleNamespace(patch_size=16, tubelet_size=2))
    tokens = torch.zeros(1, 8 * 14 * 14, 7)
    assert found(tokens, torch.zeros(1, 3, 16, 224, 224), model.layer, model).grid == (8, 14, 14)


def test_tokens_of_a_volume_are_cubes_or_not():
    tokens, volume = torch.zeros(1, 1 + 2 * 4 * 4, 7), torch.zeros(1, 1, 16, 32, 32)
    with pytest.raises(
        ValueError, match=r"tokens_to_grid\(2, 4, 4, prefix=1\).* or tokens_to_grid\(8, 2, 2, prefix=1\)"
    ):
        found(tokens, volume)
    model = Saying(patch_size=(8, 8, 8))
    assert str(found(tokens, volume, model.layer, model)) == "(B, 1 + 2 * 4 * 4, C)"


def test_films_whose_frames_are_not_reduced_as_their_height_is():
    film, grid = torch.zeros(2, 3, 8, 64, 96), marked(2, 7, 4, 2, 3)
    assert torch.equal(found(grid, film)(grid), grid)
    last = grid.movedim(1, -1)
    assert torch.equal(found(last, film)(last), grid)


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        (nn.LayerNorm(8), "(B, 8, 8, C)"),
        (nn.Linear(8, 8), "(B, 8, 8, C)"),
        (nn.Conv2d(8, 8, 1), "(B, C, 8, 8)"),
        (nn.BatchNorm2d(8), "(B, C, 8, 8)"),
        (nn.GroupNorm(2, 8), "(B, C, 8, 8)"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()), "(B, C, 8, 8)"),
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU()), "(B, 8, 8, C)"),
    ],
)
def test_the_kind_of_a_layer_decides(layer, layout):
    cube = torch.zeros(1, 8, 8, 8)
    assert str(found(cube, torch.zeros(1, 3, 64, 64), layer)) == layout
    inner = nn.ReLU()  # of which its neighbours say it
    assert str(found(cube, torch.zeros(1, 3, 64, 64), inner, nn.Sequential(layer, inner))) == layout


class Attending(nn.Module):
    """Channels first, but for what attends."""

    def __init__(self, channels):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, 1, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).mT
        return x + self.attend(tokens, tokens, tokens)[0].mT.reshape(x.shape)


def test_an_attention_within_a_block_does_not_say_how_the_block_is_laid_out():
    cube, inputs, block = torch.zeros(1, 8, 8, 8), torch.zeros(1, 3, 64, 64), Attending(8)
    assert str(found(cube, inputs, block, nn.Sequential(nn.Conv2d(3, 8, 1), block))) == "(B, C, 8, 8)"
    with pytest.raises(ValueError, match="may be laid out in 2 ways"):
        found(cube, inputs, block)


def test_a_convolution_has_its_channels_first_whatever_else_would_fit():
    output, inputs = torch.zeros(1, 6, 8, 10), torch.zeros(1, 3, 48, 64)
    assert str(found(output, inputs, nn.Conv2d(3, 6, 1))) == "(B, C, 8, 10)"
    assert str(found(output, inputs, nn.Linear(10, 10))) == "(B, 6, 8, C)"
    assert found(torch.zeros(1, 48, 64, 5), inputs) is not None
    assert found(torch.zeros(1, 48, 64, 5), inputs, nn.Conv2d(3, 48, 1)) is None


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 14, 15, 19), (97, 131)), ((1, 9, 10, 16), (100, 150))],  # rounded up, rounded down
)
def test_a_grid_whose_stride_was_rounded_fits_better_than_one_that_is_distorted(shape, size):
    assert str(found(torch.zeros(shape), torch.zeros(1, 3, *size))) == "(B, C, {}, {})".format(*shape[2:])


def test_a_normalisation_of_tokens_in_the_batch_says_nothing_of_their_order():
    """LeViT's blocks normalise (B * N, C)."""
    block = nn.Sequential(nn.Linear(256, 256), nn.BatchNorm1d(256))
    model = nn.Sequential(block, nn.ReLU())
    pictures = torch.zeros(1, 3, 224, 224)
    assert str(found(torch.zeros(1, 196, 256), pictures, model[1], model)) == "(B, 14 * 14, C)"
    assert str(found(torch.zeros(1, 196, 256), pictures, block, model)) == "(B, 14 * 14, C)"


def test_a_subclass_of_layer_norm_for_channels_in_front():
    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    assert str(found(torch.zeros(1, 16, 7, 9), torch.zeros(1, 3, 224, 288), LayerNorm2d(16))) == "(B, C, 7, 9)"


def test_rows_of_positions_with_channels_first():
    pictures = torch.zeros(1, 3, 224, 224)
    for layer in (nn.Conv1d(9, 9, 1), nn.BatchNorm1d(9), nn.ReLU()):
        assert str(found(torch.zeros(1, 9, 196), pictures, layer)) == "(B, C, 14 * 14)"
    queries = nn.TransformerDecoderLayer(256, 4)
    assert found(torch.zeros(1, 100, 256), pictures, queries) is None, "256 channels are no 16 x 16 positions"


@pytest.mark.parametrize(
    ("layer", "shape", "length", "layout"),
    [
        (nn.Conv1d(3, 9, 3), (1, 9, 50), 100, "(B, C, 50)"),
        (nn.Conv1d(3, 10, 3), (1, 10, 50), 100, "(B, C, 50)"),
        (nn.Linear(10, 10), (1, 50, 10), 100, "(B, 50, C)"),
        (nn.LayerNorm(10), (1, 51, 10), 100, "(B, 1 + 50, C)"),
        (nn.Conv1d(3, 10, 3), (1, 10, 98), 100, "(B, C, 98)"),
        (nn.ReLU(), (1, 7, 50), 100, "(B, C, 50)"),
    ],
)
def test_series(layer, shape, length, layout):
    assert str(found(torch.zeros(shape), torch.zeros(1, 3, length), layer)) == layout


def test_layouts_as_source_code_say_the_same():
    for layout, shape in [
        (Layout((3, 4), True, 2), (2, 14, 5)),
        (Layout((3, 4), False, 2), (2, 5, 14)),
        (Layout((3, 4), True), (2, 3, 4, 5)),
        (Layout((3, 4), False), (2, 5, 3, 4)),
    ]:
        tensor = marked(*shape)
        transform = eval(layout.transform, {"tokens_to_grid": tokens_to_grid})
        assert torch.equal(transform(tensor), layout(tensor))
        assert layout(tensor).shape == (2, 5, 3, 4)


# --- transforms that users bring


def vit_snippet(tensor, height=4, width=4):
    """As tutorials of the well-known package have it."""
    result = tensor[:, 1:, :].reshape(tensor.size(0), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def swin_snippet(tensor, height=6, width=8):
    """The same for a Swin that gives tokens; those of timm and torchvision came to give their grid."""
    result = tensor.reshape(tensor.size(0), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


@pytest.mark.parametrize(("network", "snippet"), [("tokens", vit_snippet), ("channels-last", swin_snippet)])
@pytest.mark.parametrize("method", METHODS)
def test_snippets_of_tutorials_run_as_they_are(method, network, snippet):
    network, layer, inputs = make(network)
    expected = METHODS[method](network, layer)(inputs)
    assert np.array_equal(METHODS[method](network, layer, reshape_transform=snippet)(inputs), expected)


def test_a_transform_of_the_user_always_wins(images):
    network, layer, inputs = make("tokens")
    flipped = GradCAM(network, layer, lambda tokens: network.to_activations(tokens).flip(-1)).explain(inputs)
    found = GradCAM(network, layer).explain(inputs)
    assert torch.equal(flipped.evidence[0].activations.flip(-1), found.evidence[0].activations)


@pytest.mark.parametrize(
    "transform", [lambda a: a[:1], lambda a: a.mean((2, 3), keepdim=True), lambda a: a.flatten(2), lambda a: None]
)
def test_a_transform_that_gives_no_activations(model, images, transform):
    with pytest.raises(ValueError, match=r"after reshape_transform for an input \(3, 3, 12, 16\); expected"):
        GradCAM(model, "features", transform)(images)


def test_what_a_transform_raises_is_raised(model, images):
    def transform(activations):
        raise ZeroDivisionError("of the user")

    with pytest.raises(ZeroDivisionError, match="of the user"):
        GradCAM(model, "features", transform)(images)
    cube, pictures, unknown = torch.zeros(1, 8, 8, 8), torch.zeros(1, 3, 64, 64), nn.ReLU()
    with pytest.raises(ZeroDivisionError, match="of the user"):
        find_transform(cube, pictures, nn.Sequential(unknown), unknown, transform)


def test_tokens_of_several_tensors():
    layer_output = (torch.zeros(2, 13, 5), None)
    assert tokens_to_grid(3, 4, prefix=1)(layer_output).shape == (2, 5, 3, 4)
    assert tokens_to_grid(2, 2, 3, prefix=1)(layer_output).shape == (2, 5, 2, 2, 3)
    with pytest.raises(ValueError, match=r"returned a value of type NoneType; expected tokens \(B, 3 \* 4, C\)"):
        tokens_to_grid(3, 4)(None)


@pytest.mark.parametrize("network", ["tokens", "channels-last"])
@pytest.mark.parametrize("method", METHODS)
def test_no_transform_equals_the_right_one(method, network):
    network, layer, inputs = make(network)
    expected = METHODS[method](network, layer, network.to_activations)(inputs)
    assert (METHODS[method](network, layer)(inputs) == expected).all()


def test_more_channels_than_pixels_are_no_positions():
    """Found by random networks: a block with an attention inside that returns (B, C, H, W)."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(26, 2, batch_first=True)

    block = Block()
    layout = find_layout(torch.zeros(1, 26, 9, 4), torch.zeros(1, 3, 9, 4), nn.Sequential(block), block)
    assert str(layout) == "(B, C, 9, 4)"


def test_a_series_of_one_position_is_no_series_of_its_channels():
    with pytest.raises(ValueError, match="more than one position"):
        GradCAM(nn.Sequential(nn.Conv1d(3, 26, 4), nn.ReLU(), nn.Flatten()), "1")(torch.randn(2, 3, 4))


def test_a_feature_pyramid_as_one_layer():
    levels = {"0": torch.randn(2, 3, 8, 12), "1": torch.randn(2, 3, 4, 6), "pool": torch.randn(2, 3, 2, 3)}
    found = fasterrcnn_reshape_transform(levels)
    assert found.shape == (2, 9, 2, 3)
    assert torch.equal(found[:, 6:], levels["pool"].abs())
    # 2 x 2 positions of which the middle falls between all four.
    expected = torch.nn.functional.avg_pool2d(levels["1"].abs(), 2)
    assert torch.allclose(found[:, 3:6], expected)
