"""Models of every make: wrapped, compiled, quantized; with any arguments and any outputs."""

import copy
import threading
from collections import UserDict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import (
    METHODS,
    AblationCAM,
    EigenCAM,
    GradCAM,
    GuidedBackpropReLUModel,
    LayerCAM,
    ScoreCAM,
    list_layers,
)
from tests.helpers.tiny_networks import ConvNet, GapNet

# --- wrapped and compiled


def compiled_parts(model, backend="eager"):
    model.features = torch.compile(model.features, backend=backend)
    return model


def compiled_in_place(model, backend="eager"):
    model.compile(backend=backend)
    return model


def compiled_forward(model, backend="eager"):
    model.forward = torch.compile(model.forward, backend=backend)
    return model


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
        partial(torch.compile, backend="eager"),
        compiled_parts,
        compiled_in_place,
        compiled_forward,
    ],
)
@pytest.mark.parametrize("method", [GradCAM, AblationCAM])
def test_wrapped_and_compiled_models(model, images, wrap, method):
    expected = method(model, "features")(images), method(model)(images), method(model, "features.-1")(images)
    wrapped = wrap(copy.deepcopy(model))
    with torch.no_grad():
        wrapped(images)  # compiled code runs no hook that comes after it
    assert np.array_equal(method(wrapped, "features")(images), expected[0])
    assert np.array_equal(method(wrapped)(images), expected[1])
    assert np.array_equal(method(wrapped, "features.-1")(images), expected[2])


def test_a_traced_graph_has_the_layers_that_run(model, images):
    traced = torch.fx.symbolic_trace(model)  # it calls the parts of a Sequential, not the Sequential
    assert np.array_equal(GradCAM(traced, "features.3")(images), GradCAM(model, "features.3")(images))
    with pytest.raises(RuntimeError, match="'features' did not run in the forward pass.*list_layers shows which do"):
        GradCAM(traced, "features")(images)


@pytest.mark.parametrize("wrap", [torch.compile, compiled_parts, compiled_in_place, compiled_forward])
def test_nothing_is_compiled_in_a_call_and_all_is_after_it(model, images, wrap):
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    compiled = wrap(model, backend=backend)
    GradCAM(compiled, "features")(images)
    with pytest.raises(ZeroDivisionError):
        GradCAM(compiled, "features")(images, lambda scores: 1 / 0)
    assert not calls
    compiled(images)
    assert calls


def test_threads_that_overlap_in_a_compiled_model(model, images):
    expected = GradCAM(model, "features")(images)
    compiled = compiled_in_place(copy.deepcopy(model))
    with torch.no_grad():
        compiled(images)
    inside, left = threading.Event(), threading.Event()
    found = []

    def slow(scores):
        inside.set()
        assert left.wait(20)
        return scores.max()

    thread = threading.Thread(target=lambda: GradCAM(compiled, "features")(images, slow))
    thread.start()
    assert inside.wait(20)
    for _ in range(2):  # the first to leave must not start compiled code under the other
        found.append(GradCAM(compiled, "features")(images))
    left.set()
    thread.join()
    found.append(GradCAM(compiled, "features")(images))
    assert all(np.array_equal(one, expected) for one in found)


class WithStem(GapNet):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

    def forward(self, x):
        return super().forward(self.stem(x))


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("make", [lambda part, x: torch.jit.trace(part, x), lambda part, _: torch.jit.script(part)])
@pytest.mark.parametrize("method", METHODS.values())
def test_a_part_that_is_traced_or_scripted(method, make, images):
    model = WithStem().eval()
    expected = method(model, model.features)(images, 1)
    model.stem = make(model.stem, images)
    model.train()
    flags = [module.training for module in model.modules()]
    assert np.allclose(method(model, model.features)(images, 1), expected, atol=1e-5)
    assert [module.training for module in model.modules()] == flags


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("method", METHODS.values())
def test_a_part_that_is_frozen_has_no_training_flag(method, images):
    model = WithStem().eval()
    expected = method(model, model.features)(images, 1)
    model.stem = torch.jit.freeze(torch.jit.script(model.stem))
    assert not hasattr(model.stem, "training")
    assert np.allclose(method(model, model.features)(images, 1), expected, atol=1e-5)
    assert not hasattr(model.stem, "training")


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_script_modules_are_refused_with_what_to_do(images):
    with pytest.raises(TypeError, match="ScriptModule, whose layers cannot be observed; give the nn.Module"):
        GradCAM(torch.jit.trace(ConvNet().eval(), images))


# --- quantized


class Quantizable(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU())
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.dequant(self.fc(self.features(self.quant(x)).mean((2, 3))))


@pytest.fixture
def quantized(images):
    model = Quantizable().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    prepared = torch.ao.quantization.prepare(model)
    prepared(images)
    return torch.ao.quantization.convert(prepared), model


QUANTIZATION = pytest.mark.filterwarnings(
    "ignore:.*quant:DeprecationWarning", "ignore:.*quant:UserWarning", "ignore:.*reduce_range", "ignore:.*TypedStorage"
)


@QUANTIZATION
@pytest.mark.parametrize("method", [EigenCAM, ScoreCAM, AblationCAM])
def test_methods_without_gradients_run_on_quantized_models(quantized, images, method):
    model, original = quantized
    assert model(images).shape == (3, 4), "it is quantized"
    assert not isinstance(model.features[0], nn.Conv2d)
    chosen, given = method(model)(images, 1), method(model, "features")(images, 1)
    assert np.array_equal(chosen, given)
    expected = method(original, "features")(images, 1)
    assert np.corrcoef(given.ravel(), expected.ravel())[0, 1] > 0.6, "8 bits of a random network"


@QUANTIZATION
def test_channels_of_a_quantized_layer_are_silenced(quantized, images):
    model, _ = quantized

    def silenced(channel):
        def hook(layer, args, output):
            plain = output.dequantize()
            plain[:, channel] = 0
            return torch.quantize_per_tensor(plain, output.q_scale(), output.q_zero_point(), output.dtype)

        handle = model.features.register_forward_hook(hook)
        try:
            return model(images)[:, 1]
        finally:
            handle.remove()

    before = model(images)[:, 1]
    expected = torch.stack([(before - silenced(channel)) / before.abs() for channel in range(6)], dim=1)
    assert expected.any()
    assert torch.allclose(AblationCAM(model, "features").explain(images, 1).weights[0][:, 0, :, 0, 0], expected)


@QUANTIZATION
def test_methods_with_gradients_say_why_they_cannot(quantized, images):
    for layer in (None, "features"):
        with pytest.raises((ValueError, RuntimeError), match="quantized layer.* such as EigenCAM"):
            GradCAM(quantized[0], layer)(images)


# --- arguments of forward


class Several(nn.Module):
    """Scores that depend on a mask for each image, on a scale for all and on a switch."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, pixel_values, mask, scale=1.0, *, double=False):
        assert len(mask) == len(pixel_values), "each copy of an image comes with its mask"
        return self.net(pixel_values * mask) * scale * (2 if double else 1)


@pytest.fixture
def several(images):
    class Given(nn.Module):
        """The same with the arguments in it, for one image after another."""

        def __init__(self, model, mask):
            super().__init__()
            self.model, self.mask = model, mask

        def forward(self, x):
            return self.model(x, self.mask.expand(len(x), -1, -1, -1), torch.tensor([2.0, 1, 1, 1]), double=True)

    model = Several().eval()
    masks = torch.rand(3, 1, 12, 16)

    def expected(method, **options):
        one_by_one = zip(images.split(1), masks.split(1), strict=True)
        return np.concatenate([method(Given(model, mask), model.net.mix)(x, **options) for x, mask in one_by_one])

    return model, masks, expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["net.mix", None])
def test_positional_and_keyword_arguments_go_through(several, images, method, layer):
    model, masks, expected = several
    method = METHODS[method]
    scale = torch.tensor([2.0, 1, 1, 1])  # of another length than the batch: the same for all images
    by_position = method(model, layer)((images, masks, scale), double=True)
    by_name = method(model, layer)(images, mask=masks, scale=scale, double=True)
    all_by_name = method(model, layer)(pixel_values=images, mask=masks, scale=scale, double=True)
    mapping = method(model, layer)(UserDict(pixel_values=images, mask=masks, scale=scale, double=True))
    assert np.abs(by_position - expected(method)).max() < 1e-4
    for other in (by_name, all_by_name, mapping):
        assert np.array_equal(other, by_position)


def test_arguments_of_each_copy_are_there_in_a_replay(several, images, caplog):
    model, masks, _ = several
    with caplog.at_level("INFO", "pytorch_grad_cam._engine.replay"):
        AblationCAM(model, "net.mix")(images, mask=masks)
    assert not caplog.records, "it fell back on whole passes"


def test_arguments_with_augmentations_and_other_models(several, images):
    model, masks, _ = several
    arguments = {"mask": masks, "scale": torch.tensor([2.0, 1, 1, 1]), "double": True}
    flat = {**arguments, "mask": torch.ones(3, 1, 1, 1)}
    smooth = GradCAM(model, "net.mix")(images, aug_smooth=True, **flat)
    assert np.array_equal(smooth, GradCAM(model, "net.mix")({"pixel_values": images, **flat}, aug_smooth=True))
    guided = GuidedBackpropReLUModel(model)({"pixel_values": images, **arguments})
    assert np.array_equal(guided, GuidedBackpropReLUModel(model)(images, **arguments))
    assert list_layers(model, images, **arguments).best.name == "net.mix"
    assert list_layers(model, {"pixel_values": images, **arguments}).best.name == "net.mix"


def test_arguments_that_were_made_in_inference_mode(several, images):
    model, masks, _ = several
    with torch.inference_mode():
        given = {"pixel_values": images.clone(), "mask": masks.clone()}
    plain = {"pixel_values": images, "mask": masks}
    assert np.array_equal(GradCAM(model, "net.mix")(given), GradCAM(model, "net.mix")(plain))
    assert np.array_equal(GuidedBackpropReLUModel(model)(given), GuidedBackpropReLUModel(model)(plain))


def test_pictures_by_another_name(model, images):
    class Named(ConvNet):
        def forward(self, image, size):
            return super().forward(image) * size.sum()

    named = Named().eval()
    expected = GradCAM(named, "mix")((images, torch.ones(2)))
    assert np.array_equal(GradCAM(named, "mix")({"size": torch.ones(2), "image": images}), expected)


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        (None, {}, "input_tensor is nothing"),
        ((), {}, r"input_tensor is a tuple of 0 \(\)"),
        (None, {"size": 3}, r"nothing, and dict\(size: a value of type int\) by name"),
        ({"a": torch.zeros(1, 3, 8, 8), "b": torch.zeros(1, 3, 8, 8)}, {}, r"dict\(a: a tensor \(1, 3, 8, 8\), b: a"),
        (([1, 2],), {}, "a tuple of 1"),
    ],
)
def test_inputs_without_pictures_are_described(model, given, named, message):
    with pytest.raises(TypeError, match=f"{message}.*expected a torch.Tensor.*dict of named arguments"):
        GradCAM(model)(given, **named)


def test_a_misspelt_option_is_not_swallowed(model, images):
    with pytest.raises(TypeError, match="eigen_smoth"):
        GradCAM(model)(images, eigen_smoth=True)


# --- outputs


@pytest.mark.parametrize("method", METHODS)
def test_clip_explains_what_speaks_for_a_sentence(method):
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {**text, "patch_size": 8, "image_size": 32}
    special = {"vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    model = CLIPModel(CLIPConfig(text_config={**text, **special}, vision_config=vision, projection_dim=8)).eval()
    sentences = torch.randint(3, 99, (3, 7))
    sentences[:, -1] = 1
    given = {"pixel_values": torch.randn(2, 3, 32, 32), "input_ids": sentences}
    cam = METHODS[method](model)
    maps = cam(given, [0, 2])
    assert maps.shape == (2, 32, 32)
    assert cam.outputs.logits_per_image.shape == (2, 3)
    assert cam.target_layers == [model.vision_model.encoder.layers[0].layer_norm1]
    assert np.allclose(cam({**given, "pixel_values": given["pixel_values"][1:]}, 2), maps[1:], atol=1e-4)


def test_layers_may_return_dicts_and_lists(images):
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ConvNet()
            self.stage = Stage(self.net.features)

        def forward(self, x):
            return {"logits": self.net.head(self.stage(x)["maps"][0])}

    class Stage(nn.Module):
        def __init__(self, features):
            super().__init__()
            self.features = features

        def forward(self, x):
            return {"maps": [self.features(x)], "size": len(x)}

    model = Pyramid().eval()
    for method in (GradCAM, LayerCAM, AblationCAM, ScoreCAM):
        expected = method(model.net, "features")(images)
        assert np.abs(method(model, "stage")(images) - expected).max() < 1e-5
