"""The layer that is taken where none is given, the table of those that could be, and layers that cannot work."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer

from pytorch_grad_cam import (
    METHODS,
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    LayerCAM,
    explain_dataset,
    list_layers,
)
from pytorch_grad_cam.base_cam import explain_together
from pytorch_grad_cam.targets import SemanticSegmentationTarget
from pytorch_grad_cam.utils.find_layers import (
    find_layer_predicate_recursive,
    find_layer_types_recursive,
    replace_all_layer_type_recursive,
    replace_layer_recursive,
)
from tests.helpers.tiny_networks import ChannelsLast, ConvNet, Tokens


class Block(nn.Module):
    """Block of a ViT: attention, then a small network, each on normalized input."""

    def __init__(self, width=8):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.proj(self.softmax(q @ k.mT) @ v)


class ViT(nn.Module):
    """One class token before patches of 8 x 8 pixels; the class token is read, or the mean of the patches."""

    def __init__(self, read_mean=False):
        super().__init__()
        self.patches, self.cls = nn.Conv2d(3, 8, 8, stride=8), nn.Parameter(torch.randn(1, 1, 8))
        self.blocks, self.norm, self.drop = nn.Sequential(Block(), Block()), nn.LayerNorm(8), nn.Dropout()
        self.head, self.read_mean = nn.Linear(8, 4), read_mean

    def forward(self, x):
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.patches(x).flatten(2).mT], 1)
        tokens = self.drop(self.norm(self.blocks(tokens)))
        return self.head(tokens[:, 1:].mean(1) if self.read_mean else tokens[:, 0])


@pytest.fixture
def pictures():
    return torch.randn(2, 3, 32, 48)


def name_of_choice(model, pictures, method=GradCAM, targets=None):
    cam = method(model)
    cam(pictures, targets)
    return next(name for name, module in model.named_modules() if module is cam.target_layers[0])


@pytest.mark.parametrize("method", METHODS)
def test_of_a_vit_the_norm_before_the_last_attention(pictures, method):
    assert name_of_choice(ViT().eval(), pictures, METHODS[method]) == "blocks.1.norm1"


def test_of_a_vit_whose_patches_are_read_the_last_norm_and_not_the_dropout_after_it(pictures):
    assert name_of_choice(ViT(read_mean=True).eval(), pictures) == "norm"


def small_swin(classes=4):
    return SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], num_classes=classes, stochastic_depth_prob=0.0).eval()


@pytest.mark.parametrize("method", ["gradcam", "eigencam", "ablationcam", "scorecam"])
def test_of_a_swin_what_enters_the_last_block_whose_windows_move_the_evidence(pictures, method):
    assert name_of_choice(small_swin(), pictures, METHODS[method]) == "features.3.0"


@pytest.mark.parametrize("method", ["gradcam++", "xgradcam", "layercam", "eigengradcam"])
def test_of_a_swin_the_last_norm_for_a_method_that_needs_normalized_activations(pictures, method):
    assert METHODS[method].needs_normalized_activations
    assert name_of_choice(small_swin(), pictures, METHODS[method]) == "permute"


def test_the_table_shows_what_each_sort_of_method_takes(pictures):
    model = small_swin()
    layers = list_layers(model, pictures)
    marked = {line.split("  ")[0]: line.split("<- ")[1] for line in str(layers).splitlines() if "<-" in line}
    assert marked == {
        "features.3.0": "taken if none is given",
        "permute": "taken if none is given and needs_normalized_activations",
    }
    assert (layers.best.layer, layers.last.layer) == (model.features[3][0], model.permute)


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("version", ["SwinTransformer", "SwinTransformerV2"])
def test_of_a_swin_of_timm(version, window):
    timm = pytest.importorskip("timm")
    model = getattr(timm.models, version)(
        img_size=32, patch_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=window, num_classes=4
    ).eval()
    assert name_of_choice(model, torch.randn(2, 3, 32, 32)) == "layers.1.blocks.0"
    assert name_of_choice(model, torch.randn(2, 3, 32, 32), LayerCAM) == "norm"


@pytest.mark.parametrize("version", ["Swin", "Swinv2"])
def test_of_a_swin_of_transformers(version):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{version}Config")(
        image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2, num_labels=4
    )
    model = getattr(transformers, f"{version}ForImageClassification")(config).eval()
    assert name_of_choice(model, torch.randn(2, 3, 32, 32)).endswith("encoder.layers.1.blocks.0")
    assert name_of_choice(model, torch.randn(2, 3, 32, 32), LayerCAM).endswith("layernorm")


class Pyramid(nn.Module):
    """Blocks of attention on two grids, of which the mean is read; `window_size` is that of a Swin's attention."""

    def __init__(self, *stages, window_size=None):
        super().__init__()
        self.patches, self.merge = nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 2, stride=2)
        self.stages, self.norm, self.head = nn.Sequential(*stages), nn.LayerNorm(8), nn.Linear(8, 4)
        for module in self.modules():
            if isinstance(module, Attention):
                module.window_size = window_size

    def forward(self, x):
        x = self.patches(x)
        for stage in self.stages:
            grid = x.shape[2:]
            x = stage(x.flatten(2).mT).mT.unflatten(2, grid)
            x = self.merge(x) if stage is not self.stages[-1] else x
        return self.head(self.norm(x.flatten(2).mT).mean(1))


@pytest.mark.parametrize(("window_size", "choice"), [((2, 2), "stages.1.0"), (None, "norm"), (7, "norm")])
def test_a_pyramid_of_attentions_that_is_no_swin_has_its_last_norm(pictures, window_size, choice):
    stages = (nn.Sequential(Block(), Block()) for _ in range(2))
    assert name_of_choice(Pyramid(*stages, window_size=window_size).eval(), pictures) == choice


def test_a_last_block_that_makes_the_grid_coarser():
    """What enters it is finer; its attention, one window of a CoAtNet, looks at all of its own grid."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_coatnet").eval()
    assert name_of_choice(model, torch.randn(1, 3, 160, 160)) == "norm"


def test_windows_in_no_block_of_their_own(pictures):
    alone = Pyramid(Attention(8), Attention(8), window_size=(2, 2)).eval()
    assert name_of_choice(alone, pictures) == "norm"
    together = Pyramid(*(nn.Sequential(Attention(8), Attention(8)) for _ in range(2)), window_size=(2, 2)).eval()
    assert name_of_choice(together, pictures) == "norm"

    class Flat(Pyramid):
        def __init__(self):
            super().__init__(Attention(8), Attention(8), window_size=(2, 2))
            self.attn1, self.attn2 = self.stages
            del self.stages
            vars(self)["stages"] = [self.attn1, self.attn2]

    assert list_layers(Flat().eval(), pictures).best.name == "norm"


def test_a_swin_whose_last_block_looks_at_everything(pictures):
    model = Pyramid(*(nn.Sequential(Block(), Block()) for _ in range(2)), window_size=(2, 2)).eval()
    model.stages[1][1].attn.window_size = None
    assert name_of_choice(model, pictures) == "norm"


def test_a_pyramid_of_attention_with_more_than_a_norm_after_it_ends_there(pictures):
    model = small_swin()
    model.permute = nn.Sequential(model.permute, nn.Conv2d(16, 16, 1))
    assert name_of_choice(model, pictures) == "permute"


def test_of_a_swin_of_which_no_gradient_reaches_what_enters_the_last_block(pictures):
    model = small_swin()

    class Cut(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return self.block(x.detach())

    model.features[3][1] = Cut(model.features[3][1])
    assert name_of_choice(model, pictures) == "permute"
    assert list_layers(model, pictures).best.name == "permute"


def test_methods_that_run_together_take_each_its_own_layer(pictures):
    model = small_swin()
    explained = explain_together([method(model) for method in (GradCAM, LayerCAM, EigenGradCAM)], pictures, 1)
    assert [one.evidence[0].layer for one in explained] == [model.features[3][0], model.permute, model.permute]
    for one, method in zip(explained, (GradCAM, LayerCAM, EigenGradCAM), strict=True):
        assert torch.equal(one.maps, method(model).explain(pictures, 1).maps)
    assert explained[1].forward is explained[2].forward, "one pass"


def test_of_a_cnn_the_last_stage_and_not_the_pooling_after_it(pictures):
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU())),
        nn.AdaptiveAvgPool2d(7),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(5 * 49, 3),
    )
    assert name_of_choice(model.eval(), pictures) == "0"


class SelfAttention(Attention):
    pass


class MHSA(Attention):
    pass


class FactorAttn(Attention):
    pass


class ClassAttentionBlock(Block):
    pass


def test_a_block_named_after_its_attention_is_none(pictures):
    model = ViT()
    model.blocks = nn.Sequential()
    model.attn_blocks = nn.Sequential(Block(), ClassAttentionBlock())
    model.blocks.append(model.attn_blocks)
    assert name_of_choice(model.eval(), pictures).endswith("1.norm1")


@pytest.mark.parametrize(
    ("name", "kind"), [("attn", MHSA), ("mixer", SelfAttention), ("self_attention", MHSA), ("factor", FactorAttn)]
)
def test_an_attention_is_known_by_its_name_or_its_class(pictures, name, kind):
    class Mixing(Block):
        def __init__(self):
            super().__init__()
            del self.attn
            self.add_module(name, kind(8))

        def forward(self, x):
            return x + getattr(self, name)(self.norm1(x))

    model = ViT()
    model.blocks[1] = Mixing()
    assert name_of_choice(model.eval(), pictures) == "blocks.1.norm1"


def test_a_layer_inside_an_attention_only_if_there_is_no_other(pictures):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.head = Attention(3), nn.Linear(3, 4)

        def forward(self, x):
            tokens = x.flatten(2).mT
            return self.head(self.attn(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))[:, 0])

    assert name_of_choice(Bare().eval(), pictures[:, :, :8, :12]) == "attn.qkv"


@pytest.mark.parametrize("batch", [1, 2])
def test_an_embedding_of_positions_says_nothing_of_an_image(batch):
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.grid = nn.Embedding(8 * 8, 3)

        def forward(self):
            return self.grid(torch.arange(64)).mT.reshape(1, 3, 8, 8)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.positions, self.head = nn.Conv2d(3, 3, 1), Positions(), nn.Linear(3, 4)

        def forward(self, x):
            return self.head((self.conv(x) * self.positions()).mean((2, 3)))

    model = Network().eval()
    pictures = torch.randn(batch, 3, 8, 8)
    assert name_of_choice(model, pictures) == "conv"
    assert [one.name for one in list_layers(model, pictures)] == ["conv"]


def test_a_network_that_takes_one_image_at_a_time(images):
    class Single(ConvNet):
        def forward(self, x):
            assert len(x) == 1, "one at a time"
            return super().forward(x)

    model = Single().eval()
    assert name_of_choice(model, images[:1]) == "mix"
    with pytest.raises(AssertionError, match="one at a time"):
        GradCAM(model)(images)
    assert all(not module._forward_hooks for module in model.modules())


def test_the_targets_of_the_call_decide(pictures):
    """Of two heads that of the target is looked at."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Conv2d(3, 4, 3)
            self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            x = self.trunk(x)
            return torch.cat([self.first(x).mean((2, 3)), self.second(x).mean((2, 3))], 1)

    model = Heads().eval()
    assert name_of_choice(model, pictures, targets=[0, 5]) == "first"
    assert name_of_choice(model, pictures, targets=torch.tensor([5, 0])) == "second"
    assert name_of_choice(model, pictures, targets=[[5, 1], [0, 1]]) == "second"
    assert name_of_choice(model, pictures, targets=lambda scores: scores[1]) == "first"


def test_a_segmentation_network(pictures):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    target = SemanticSegmentationTarget(1, np.ones((32, 48), np.float32))
    assert name_of_choice(model, pictures, targets=[target, target]) == "2"
    assert name_of_choice(model, pictures, EigenCAM) == "2"


def test_a_transform_of_the_user_is_what_layers_are_tried_with(pictures):
    model = ViT().eval()
    cam = GradCAM(model, reshape_transform=lambda tokens: tokens[:, 1:].unflatten(1, (4, 6)).movedim(-1, 1))
    assert np.array_equal(cam(pictures), GradCAM(model)(pictures))
    assert cam.target_layers == [model.blocks[1].norm1]
    layers = list_layers(model, pictures, reshape_transform=cam.reshape_transform)
    assert {one.layout for one in layers} == {"reshape_transform"}
    assert "patches" not in [one.name for one in layers]


def test_one_line_of_log_says_what_was_taken_and_why(pictures, caplog):
    with caplog.at_level(logging.INFO, "pytorch_grad_cam"):
        cam = GradCAM(ViT().eval())
        cam(pictures)
        cam(pictures)
    assert [record.getMessage() for record in caplog.records] == [
        "target layer blocks.1.norm1, LayerNorm (B, 1 + 4 * 6, C): the last one that keeps positions and that the "
        "score's gradient reaches"
    ]


def test_a_later_layer_that_is_unclear_is_told(caplog):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.mix, self.head = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Linear(256, 4)

        def forward(self, x):
            return self.head(self.mix(self.first(x)[:, :1].flatten(1).unfold(1, 256, 256)[:, :196]).mean(1))

    with caplog.at_level(logging.WARNING, "pytorch_grad_cam"):
        assert name_of_choice(Rows().eval(), torch.randn(1, 3, 224, 224)) == "first"
    (record,) = caplog.records
    assert "after target layer first, but it is unclear: mix: (2, 196, 256) for an input" in record.getMessage()
    assert "tokens_to_grid(14, 14, prefix=0) for (B, 14 * 14, C)" in record.getMessage()


def test_only_the_end_of_the_network_is_differentiated(pictures):
    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            backward.append(len(gradient))
            return gradient

    class Passed(nn.Module):
        def forward(self, x):
            return Counting.apply(x)

    backward = []
    layers = nn.Conv2d(3, 3, 1), Passed(), *(nn.Conv2d(3, 3, 1) for _ in range(9))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 32 * 48, 2)).eval()
    assert name_of_choice(model, pictures) == "10"
    assert not backward
    assert list_layers(model, pictures).best.name == "10"
    assert backward == [1]


def test_it_is_taken_once_and_kept(pictures):
    cam = GradCAM(ConvNet().eval())
    assert cam.target_layers is None
    cam(pictures)
    (layer,) = cam.target_layers
    cam(pictures)
    assert cam.target_layers == [layer]


def test_what_a_module_reads_before_it_returns_is_not_what_it_returned(pictures):
    """Of an encoder that returns its map and the pooled map, only the second is read."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = self.conv(x)
            return x, x.mean((2, 3))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = Encoder(), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.encoder(x)[1])

    model = Network().eval()
    assert name_of_choice(model, pictures) == "encoder.conv"
    with pytest.raises(ValueError, match=r"30 x 46 positions of target layer 'encoder'.*take 'encoder.conv'"):
        GradCAM(model, "encoder")(pictures)


# --- the table


def test_the_table_of_layers(pictures):
    layers = list_layers(ViT().eval(), pictures)
    assert [line.split("  ")[0] for line in str(layers).splitlines()] == ["name", *(one.name for one in layers)]
    assert str(layers).splitlines()[0].split() == ["name", "kind", "output", "layout", "gradient"]
    (chosen,) = [line for line in str(layers).splitlines() if line.endswith("<- taken if none is given")]
    assert chosen.split("  ")[0] == layers.best.name == "blocks.1.norm1"
    found = {one.name: one for one in layers}
    assert found["patches"].shape == (1, 8, 4, 6)
    assert found["patches"].layout == "(B, C, 4, 6)"
    assert found["blocks"].layout == "(B, 1 + 4 * 6, C)"
    assert found["blocks"].grid == (4, 6)
    assert found["blocks"].gradient == 0
    assert found["blocks.1.attn.qkv"].inside_attention
    assert not found["blocks.1.attn"].inside_attention
    assert "head" not in found


def test_the_gradient_in_the_table_is_that_at_the_positions(pictures):
    model = ConvNet().eval()
    explained = GradCAM(model, "features").explain(pictures[:1], 2)
    (features,) = [one for one in list_layers(model, pictures, 2) if one.name == "features"]
    assert features.gradient == pytest.approx(float(explained.evidence[0].gradients.norm()))


def test_the_table_leaves_the_model_as_it_is(pictures):
    model = ViT().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        list_layers(model, pictures)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- layers that cannot work


@pytest.mark.parametrize("layer", ["blocks.1", "norm", "blocks.1.mlp", "blocks.1.norm2"])
def test_a_layer_after_the_last_attention_of_a_vit(pictures, layer):
    with pytest.raises(
        ValueError, match=rf"no gradient reaches the 4 x 6 positions of target layer '{layer}'.*take 'blocks.1.norm1'"
    ):
        GradCAM(ViT().eval(), layer)(pictures)
    with pytest.raises(ValueError, match="no gradient reaches"):
        GradCAM(ViT().eval(), layer).explain(pictures, aug_smooth=True)
    with pytest.raises(ValueError, match="no gradient reaches"):
        GradCAM(ViT().eval(), ["blocks.1.norm1", layer])(pictures)
    with pytest.raises(ValueError, match="no gradient reaches"):
        list(explain_dataset(GradCAM(ViT().eval(), layer), [pictures]))
    assert EigenCAM(ViT().eval(), layer)(pictures).any(), "its activations are there"


def test_tokens_whose_score_is_dead_are_no_matter_of_the_layer(pictures):
    model = ViT().eval()
    assert not GradCAM(model, "blocks.1.norm1")(pictures, lambda scores: 0 * scores[0]).any()


def test_a_layer_that_is_not_spatial(pictures):
    with pytest.raises(ValueError, match=r"target layer 'head' gives a tensor \(2, 4\).*list_layers shows which"):
        GradCAM(ViT().eval(), "head")(pictures)


def test_no_gradient_anywhere(pictures):
    model = ViT().eval()
    nn.init.zeros_(model.head.weight)  # as torchvision's ViT is before training
    with pytest.raises(ValueError, match="gradient of the score is zero.*at every layer of ViT.*weights of its head"):
        GradCAM(model)(pictures)
    assert list_layers(model, pictures).best is None
    assert "<-" not in str(list_layers(model, pictures))
    assert EigenCAM(model)(pictures).any()


def test_a_layout_that_is_not_clear_is_told_if_there_is_no_other(pictures):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.head = nn.ReLU(), nn.Parameter(torch.randn(256, 4))

        def forward(self, x):
            return self.mix(x[:, :1].flatten(1).unfold(1, 256, 256)[:, :196]).mean(1) @ self.head

    with pytest.raises(ValueError, match=r"no layer that keeps positions.*mix: \(2, 196, 256\).*may be laid out in 2"):
        GradCAM(Rows().eval())(torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize("network", [Tokens, ChannelsLast])
def test_ablation_finds_what_the_others_find(network, images):
    model = network().eval()
    pictures = images[:, :, :12, :12]
    assert name_of_choice(model, pictures, AblationCAM) == name_of_choice(model, pictures) == "norm"


def test_layers_of_a_type_are_found_in_order():
    inner = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU6())
    model = nn.Sequential(nn.Conv2d(1, 1, 1), inner, nn.ReLU())
    assert find_layer_types_recursive(model, [nn.ReLU]) == [inner[0], model[2]]
    assert find_layer_types_recursive(model, [nn.ReLU, nn.Conv2d]) == [model[0], inner[0], inner[1], model[2]]
    assert find_layer_types_recursive(model, [nn.Sequential]) == [inner]  # within the model: not itself
    assert find_layer_predicate_recursive(model, lambda layer: isinstance(layer, nn.Hardtanh)) == [inner[2]]


def test_layers_are_replaced_by_type_in_every_place():
    relu, new = nn.ReLU(), nn.SiLU()
    inner = nn.Sequential(relu, nn.ReLU6(), nn.Sequential(relu))
    model = nn.Sequential(inner, relu, nn.Hardtanh())
    replace_all_layer_type_recursive(model, nn.ReLU, new)
    assert [*inner[:2], inner[2][0], *model[1:]] == [new, inner[1], new, new, model[2]]
    replace_all_layer_type_recursive(model, nn.Hardtanh, new)
    assert inner[1] is model[2] is new, "ReLU6 is a subclass"
    replace_all_layer_type_recursive(model, nn.Sequential, new)
    assert list(model) == [new, new, new]
    assert not list(new.children()), "what is replaced itself is no place any more"


def test_one_layer_is_replaced_in_its_first_place():
    relu, new = nn.ReLU(), nn.SiLU()
    model = nn.Sequential(nn.Sequential(nn.ReLU(), relu), relu)
    assert replace_layer_recursive(model, relu, new) is True
    assert model[0][1] is new
    assert model[1] is relu
    assert replace_layer_recursive(model, nn.ReLU(), new) is False
